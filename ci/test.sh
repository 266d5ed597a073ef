#!/usr/bin/env bash
# Run every test, with every service that it needs: ci/test.sh VENV [pytest arguments]
#
# Under root (a container, CI) what is missing is installed and a private Docker engine is started and stopped again.
# As an ordinary user nothing is installed and nothing started: what is absent skips, and says so.
# Under root, and of what PREWARM_REQUIRE names, an absent service is a failure.
set -euo pipefail
# Whoever starts this in the background has SIGINT ignored, and so would every program that a test interrupts.
[ -n "${PREWARM_TEST_SIGNALS:-}" ] || PREWARM_TEST_SIGNALS=default exec env --default-signal=INT,QUIT "$0" "$@"
venv=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
export PREWARM_TEST_CACHE=${PREWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prewarm-tests}
mkdir -p "$PREWARM_TEST_CACHE"

require() { [ $# -eq 0 ] || printf -- '--require=%s\n' "$@"; }

if [ "$(id -u)" != 0 ]; then
  ci/check.sh "$venv"
  "$venv/bin/python" -m pytest tests/unit tests/contract tests/scenarios tests/faults $(require ${PREWARM_REQUIRE:-}) "$@"
  exit
fi
ci/packages.sh
ci/services.sh up
trap 'ci/services.sh down' EXIT
eval "$(ci/services.sh env)"
required=${PREWARM_REQUIRE:-local docker registry busybox}
if [ $# -gt 0 ]; then
  "$venv/bin/python" -m pytest tests/unit tests/contract tests/scenarios tests/faults $(require $required) "$@"
  exit
fi

# Three lanes at once, which mostly wait: what asks the engine; the rest, without one; and the rest as an ordinary user.
engine=(tests/unit/test_docker_*.py tests/contract/test_docker*.py tests/scenarios/docker tests/faults/test_docker_engine.py)
# The wheel's own test runs every scenario once more; here the ordinary user does that, from the built wheel.
rest=(--ignore tests/scenarios/test_wheel.py "${engine[@]/#/--ignore=}")
work=$(mktemp -d)  # What the lanes say, and their temporary files.
declare -A lanes=()
stop() { [ ${#lanes[@]} -eq 0 ] || { kill -INT "${lanes[@]}" && wait "${lanes[@]}"; } 2>/dev/null; }
trap 'stop; ci/services.sh down; rm -rf --one-file-system "$work"' EXIT
# A job in the background has SIGINT ignored.
lane() { env --default-signal=INT,QUIT "${@:2}" >"$work/$1" 2>&1 </dev/null & lanes[$1]=$!; }
without_engine=(env -u DOCKER_HOST -u DOCKER_CONFIG)

lane engine "$venv/bin/python" -m pytest --basetemp "$work/e" "${engine[@]}" $(require $required)
lane user "${without_engine[@]}" ci/user.sh "$venv" tests/unit/test_local_*.py tests/unit/test_security_*.py \
  tests/contract/test_local.py tests/scenarios tests/faults "${rest[@]}" \
  --deselect tests/faults/test_killed_builders.py::test_a_builder_killed_at_random_moments_leaves_no_wrong_template
status=0
"${without_engine[@]}" ci/check.sh "$venv" || status=$?
"${without_engine[@]}" "$venv/bin/python" -m pytest --basetemp "$work/r" tests/unit tests/contract tests/scenarios tests/faults \
  "${rest[@]}" $(require local busybox) || status=$?
for name in user engine; do
  echo "== $name =="
  wait "${lanes[$name]}" || status=$?
  cat "$work/$name"
done
lanes=()
exit "$status"
