#!/usr/bin/env bash
# Run every test, with every service that it needs: ci/test.sh VENV [pytest arguments]
#
# Under root (a container, CI) what is missing is installed and a private Docker engine is started and stopped again.
# As an ordinary user nothing is installed and nothing started: what is absent skips, and says so.
# With CI=true (or PREWARM_REQUIRE set) an absent service is a failure.
set -euo pipefail
# Whoever starts this in the background has SIGINT ignored, and so would every program that a test interrupts.
[ -n "${PREWARM_TEST_SIGNALS:-}" ] || PREWARM_TEST_SIGNALS=default exec env --default-signal=INT,QUIT "$0" "$@"
venv=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
export PREWARM_TEST_CACHE=${PREWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prewarm-tests}
mkdir -p "$PREWARM_TEST_CACHE"

require=()
if [ "$(id -u)" = 0 ]; then
  ci/packages.sh
  ci/services.sh up
  trap 'ci/services.sh down' EXIT
  eval "$(ci/services.sh env)"
  for name in ${PREWARM_REQUIRE:-local docker registry busybox}; do require+=(--require "$name"); done
elif [ -n "${PREWARM_REQUIRE:-}" ]; then
  for name in $PREWARM_REQUIRE; do require+=(--require "$name"); done
fi

ci/check.sh "$venv"
if [ "$(id -u)" = 0 ] && [ $# -eq 0 ]; then
  # The wheel's own test runs every scenario once more; here the ordinary user does that, from the built wheel.
  "$venv/bin/python" -m pytest tests/unit tests/contract tests/scenarios tests/faults "${require[@]}" \
    --ignore tests/scenarios/test_wheel.py
  ci/user.sh "$venv" tests/unit/test_local_*.py tests/unit/test_security_*.py tests/contract/test_local.py tests/scenarios tests/faults \
    --ignore tests/scenarios/test_wheel.py --ignore tests/scenarios/docker --ignore tests/faults/test_docker_engine.py \
    --deselect tests/faults/test_killed_builders.py::test_a_builder_killed_at_random_moments_leaves_no_wrong_template
else
  "$venv/bin/python" -m pytest tests/unit tests/contract tests/scenarios tests/faults "${require[@]}" "$@"
fi
