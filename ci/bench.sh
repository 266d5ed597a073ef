#!/usr/bin/env bash
# Run the benches, each in a process of its own: ci/bench.sh VENV [NAME…]   (names: build keys open local docker)
set -euo pipefail
bin=$(realpath "$1")/bin
shift
cd "$(dirname "$0")/.."
# An installed package has its bytecode beside it; a checkout must be allowed to write it, or every start compiles anew.
unset PYTHONDONTWRITEBYTECODE
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(keys build open local)
for name in "${names[@]}"; do
  if [ "$name" = docker ] && [ -z "${DOCKER_HOST:-}" ] && [ "$(id -u)" = 0 ]; then
    ci/services.sh up
    trap 'ci/services.sh down' EXIT
    eval "$(ci/services.sh env)"
  fi
  echo "== $name"
  "$bin/python" "tests/bench/bench_$name.py"
done
