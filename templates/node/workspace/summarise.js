// Sum the orders of a CSV file by customer: shows that the packages of package-lock.json are there.
import { readFileSync } from "node:fs";

import { parse } from "csv-parse/sync";
import { z } from "zod";

const Order = z.object({ customer: z.string().min(1), amount: z.coerce.number().positive() });

const rows = parse(readFileSync(process.argv[2]), { columns: true, skip_empty_lines: true });
const totals = {};
for (const { customer, amount } of rows.map((row) => Order.parse(row))) {
  totals[customer] = (totals[customer] ?? 0) + amount;
}
console.log(JSON.stringify(totals));
