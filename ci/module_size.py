"""Fail where a module has grown past 300 lines: it is asking to be two."""

import pathlib
import sys

LIMIT = 300

too_long = [
    f"{path}: {lines} lines"
    for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.py"))
    if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LIMIT
]
print("\n".join(too_long), end="\n" if too_long else "")
sys.exit(bool(too_long))
