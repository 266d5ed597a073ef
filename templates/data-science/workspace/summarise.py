"""Sum a CSV file by customer: python summarise.py FILE.csv [RESULT.csv]"""

import sys

import pandas

source, *result = sys.argv[1:]
totals = pandas.read_csv(source).groupby("customer", as_index=False)["amount"].agg(["sum", "mean", "count"])
if result:
    totals.to_csv(result[0], index=False)
print(totals.to_string(index=False))
