#!/usr/bin/env bash
# Show what prewarm does, with a real template: numpy and pandas from PyPI, more than 2,000 seed files, a Python hook.
# Captured, reused, changed, opened, used; everything is below one temporary directory, which is gone afterwards.
# Needs the `prewarm` command on the PATH; neither root nor Docker. DEMO_DIR says where (default: below $TMPDIR or /tmp).
set -euo pipefail
work=$(mktemp -d "${DEMO_DIR:-${TMPDIR:-/tmp}}/prewarm-demo.XXXXXX")
export PREWARM_HOME=$work/home

leave() {
  cd /
  prewarm sessions --remove-all >/dev/null 2>&1 || true
  chmod -R u+rwX "$work" 2>/dev/null || true
  rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
timed() { # timed VARIABLE COMMAND...: run it and put its wall time in seconds into VARIABLE
  local -n seconds=$1
  shift
  local began=${EPOCHREALTIME/,/.}
  show "$@"
  seconds=$(awk -v a="$began" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.2f", b - a }')
}
[ -t 1 ] || say() { printf '\n# %s\n' "$*"; }

say "1. A project: the ready-made data-science definition, and 2,000 files of our own beside it"
cd "$work"
show prewarm init --template data-science --namespace prewarm-demo project
cd project
mkdir -p workspace/data
awk 'BEGIN {
  for (i = 0; i < 2000; i++) {
    directory = sprintf("workspace/data/%02d", i % 40)
    if (i < 40) system("mkdir -p " directory)
    file = sprintf("%s/part-%04d.csv", directory, i)
    printf "customer,amount\ncustomer-%d,%d\ncustomer-%d,%d\n", i % 7, i, i % 11, i * 3 > file
    close(file)
  }
}'
echo "seed files: $(find workspace -type f | wc -l)"

say "2. Build: the template is captured, verified in a session, published"
timed first prewarm build --backend local

say "3. Build again: nothing is run; the backend is asked, and has it"
timed second prewarm build --backend local
printf '\n%-12s %-12s\n%-12s %-12s\n' "first build" "second build" "${first}s" "${second}s"

say "4. One seed file changes: what will happen, and why"
echo "customer-3,12345" >> workspace/data/07/part-0007.csv
show prewarm plan --backend local
show prewarm explain analyst --backend local
timed third prewarm build --backend local

say "5. An application opens a session, puts a file in, computes with pandas, reads the answer back"
cat > application.py <<'PYTHON'
import time

import prewarm

orders = "customer,amount\n" + "".join(f"customer-{n % 5},{n}\n" for n in range(1000))
began = time.monotonic()
with prewarm.open_session("analyst", key="demo-user") as sandbox:
    sandbox.files.write("/workspace/orders.csv", orders.encode())
    print(f"session open, file written: {(time.monotonic() - began) * 1000:.0f} ms")
    result = sandbox.run(["python", "summarise.py", "orders.csv", "totals.csv"], timeout=60)
    assert result.exit_code == 0, result.stderr
    totals = sandbox.files.read("/workspace/totals.csv").decode()
    files = sandbox.run("find /workspace/data -type f | wc -l").stdout.strip()
    network = sandbox.run(["python", "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 2)"])
print(totals, end="")
assert totals.splitlines()[1] == "customer-0,99500,497.5,200", totals
print(f"seed files in the session: {files}; network: {'none' if network.exit_code else 'reachable'}")
PYTHON
python=$(dirname "$(command -v prewarm)")/python
[ -x "$python" ] || python=python3
show "$python" application.py

say "6. The same session again, from the command line: its files are still there"
show prewarm exec demo-user -- head -n 2 totals.csv

printf '\n%-14s %-14s %-14s\n%-14s %-14s %-14s\n' \
  "first build" "nothing to do" "one changed" "${first}s" "${second}s" "${third}s"
