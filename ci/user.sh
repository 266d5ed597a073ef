#!/usr/bin/env bash
# Run the tests that matter to an ordinary user as one, from the built wheel in an environment of its own:
#
#   ci/user.sh VENV [pytest arguments]
#
# Needs root (to become somebody else) and a Python that everybody may read. The user is a bare number: none is added
# to the machine. Its environment and cache stay in ${PREWARM_TEST_USER:-/var/tmp/prewarm-tests-user} for the next run, and
# may be deleted; all else is taken away.
set -euo pipefail
venv=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
place=${PREWARM_TEST_USER:-/var/tmp/prewarm-tests-user}
uid=20001

usable() {
  setpriv --reuid "$uid" --regid "$uid" --clear-groups "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
python=
for candidate in "${PREWARM_TEST_USER_PYTHON:-/usr/bin/python3}" "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')"; do
  if usable "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "user: no Python 3.11 or later that an ordinary user may run" >&2; exit 1; }

mkdir -p "$place"
chmod 755 "$place"
[ -x "$place/venv/bin/python" ] || "$python" -m venv --without-pip "$place/venv"
pip=(env PIP_CACHE_DIR="${PREWARM_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prewarm-tests}/pip" "$venv/bin/python" -m pip)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"${pip[@]}" wheel --quiet --disable-pip-version-check --no-deps -w "$wheels" .
"${pip[@]}" --python "$place/venv/bin/python" install --quiet --disable-pip-version-check \
  --force-reinstall --no-deps "$wheels"/prewarm-*.whl
"${pip[@]}" --python "$place/venv/bin/python" install --quiet --disable-pip-version-check \
  "$(echo "$wheels"/prewarm-*.whl)" pytest pytest-timeout pyte hypothesis jsonschema

rm -rf "$wheels" "$place/checkout" "$place/home" "$place/tmp"
trap 'rm -rf "$place/checkout" "$place/home" "$place/tmp"' EXIT
mkdir -p "$place/checkout" "$place/home" "$place/tmp" "$place/cache"
cp -r tests templates pyproject.toml "$place/checkout/"
find "$place/checkout" -name __pycache__ -prune -exec rm -rf {} +
chown -R "$uid:$uid" "$place/checkout" "$place/home" "$place/tmp" "$place/cache"

# A job in the background has SIGINT ignored; it is one so that an interrupt reaches it whoever gets it.
cd "$place/checkout"
setpriv --reuid "$uid" --regid "$uid" --clear-groups env --default-signal=INT,QUIT -u DOCKER_HOST -u DOCKER_CONFIG -u PREWARM_HOME \
  HOME="$place/home" USER=somebody LOGNAME=somebody TMPDIR="$place/tmp" PATH="$place/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" \
  PREWARM_TEST_CACHE="$place/cache" \
  "$place/venv/bin/python" -m pytest --require local "$@" &
tests=$!
trap 'kill -INT "$tests" 2>/dev/null' INT TERM
status=0
wait "$tests" || status=$?
while kill -0 "$tests" 2>/dev/null; do wait "$tests" || status=$?; done  # It was interrupted, and is ending.
exit "$status"
