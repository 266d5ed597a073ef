#!/usr/bin/env bash
# What must hold before any test runs: ci/check.sh VENV
set -uo pipefail
bin=$(realpath "${1:-.venv}")/bin
cd "$(dirname "$0")/.."
failed=0
check() {
  local name=$1
  shift
  if "$@"; then echo "ok      $name"; else echo "FAILED  $name"; failed=1; fi
}
check "ruff check" "$bin/ruff" check --quiet prewarm tests ci
check "ruff format" "$bin/ruff" format --quiet --check prewarm tests
check "mypy" "$bin/mypy" --no-error-summary
check "import-linter" env PATH="$bin:$PATH" "$bin/lint-imports" --no-cache
check "module size" "$bin/python" ci/module_size.py prewarm
exit "$failed"
