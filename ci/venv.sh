#!/usr/bin/env bash
# Make a development environment: ci/venv.sh DIRECTORY. Takes the first Python >= 3.11 that can make one.
set -euo pipefail
directory=$1
cd "$(dirname "$0")/.."
usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
  if usable "$python"; then
    [ -x "$directory/bin/python" ] || "$python" -m venv "$directory"
    # The dependency group, not an extra: what developers need is no part of the package.
    groups=$("$directory/bin/python" -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))')
    mapfile -t tools <<<"$groups"
    exec "$directory/bin/python" -m pip install --quiet --disable-pip-version-check -e . "${tools[@]}"
  fi
done
echo "error: no Python 3.11 or later that can make a virtual environment" >&2
echo "hint: install python3 and python3-venv, or name one: make PYTHON=/path/to/python3 venv" >&2
exit 1
