"""One command of a session: an exec of the engine, with streams that have descriptors, an end, and a kill.

The engine cannot kill an exec, and what an exec started may have left its process group. So every command carries a
variable of its own, which everything it starts inherits, runs under an init that orphans go to, and a kill is another
exec that looks for both.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Final

from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.launching import is_text, launch
from prewarm.backends.docker.pump import Pump
from prewarm.backends.environment import default_environment
from prewarm.backends.hosting import ProcessRequest
from prewarm.errors import SessionFailedError, SessionGoneError

if TYPE_CHECKING:
    from docker.api.client import APIClient

MARKER: Final = "PREWARM_PROCESS"
_POLL_S: Final = 0.02
_SLOWEST_POLL_S: Final = 0.25
_KILL_TIMEOUT_S: Final = 10.0
_ASK_TIMEOUT_S: Final = 1.0
_NOT_FOUND: Final = 404
_KILLED: Final = 128 + signal.SIGKILL
# Only what a shell has built in: at the limit of processes nothing more can be started. Reads each process's variables
# and parent; takes those with the marker and all that descend from them, again until there are none left. The init over
# the command stands still meanwhile and goes last: while it is there, orphans are its children and can be found.
_KILL: Final = r"""
marker=$1; round=0
while [ $round -lt 50 ]; do
  round=$((round + 1)); victims=' '
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    [ "$pid" = $$ ] && continue
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in *"$marker"*) victims="$victims$pid "; break;; esac
    done < "$dir/environ"
  done 2>/dev/null
  grown=1
  while [ $grown = 1 ]; do
    grown=0
    for dir in /proc/[0-9]*; do
      pid=${dir#/proc/}
      [ "$pid" = $$ ] && continue
      case $victims in *" $pid "*) continue;; esac
      IFS= read -r line < "$dir/stat" || continue
      line=${line##*) }; line=${line#* }; parent=${line%% *}
      case $victims in *" $parent "*) victims="$victims$pid "; grown=1;; esac
    done 2>/dev/null
  done
  alive=0; others=0; inits=
  for pid in $victims; do
    IFS= read -r line < "/proc/$pid/stat" || continue
    case ${line##*) } in Z*|X*) continue;; esac
    alive=1
    case $line in
      *' (docker-init) '*) inits="$inits $pid"; kill -STOP "$pid";;
      *) others=1; kill -9 "$pid";;
    esac
  done 2>/dev/null
  [ $others = 0 ] || [ $round -gt 40 ] && [ -n "$inits" ] && kill -9 $inits 2>/dev/null
  [ $alive = 0 ] && exit 0
done
exit 1
"""


class Execution:
    """A running command; a ``ProcessHandle``."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        exec_id: str,
        request: ProcessRequest,
        marker: str,
        touch: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._container = container
        self._id = exec_id
        self._user = request.user
        self._terminal = request.terminal is not None
        self._marker = marker
        self._exit_code: int | None = None
        out, err = os.pipe(), os.pipe()
        given = os.pipe() if request.stdin or self._terminal else None
        self._stdout: IO[bytes] = os.fdopen(out[0], "rb", buffering=0)
        self._stderr: IO[bytes] = os.fdopen(err[0], "rb", buffering=0)
        self._stdin: IO[bytes] | None = os.fdopen(given[1], "wb", buffering=0) if given else None
        ends = (out[1], err[1])
        try:
            connection, early = _attach(engine.api, exec_id, request.terminal)
        except BaseException:
            for descriptor in (*ends, *(given[:1] if given else ())):
                os.close(descriptor)
            self._close_streams()
            raise
        self._pump = Pump(
            connection, early, terminal=self._terminal, stdin=given[0] if given else None, outputs=ends, touch=touch
        )

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._stdin

    @property
    def stdout(self) -> IO[bytes]:
        return self._stdout

    @property
    def stderr(self) -> IO[bytes]:
        return self._stderr

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; what it left running does not count. Twice is fine."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL_S
        while self._exit_code is None:
            self._exit_code = self._ask()
            if self._exit_code is not None:
                break
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            step = pause if left is None else min(pause, left)
            # The end of the streams is news at once; a command that left them to a child is found by asking.
            if self._pump.ended.is_set():
                time.sleep(min(step, _POLL_S))
            else:
                self._pump.ended.wait(step)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)
        return self._exit_code

    def kill(self) -> None:
        """End it and all that carries its marker or descends from it. Twice is fine."""
        from docker.errors import APIError, NotFound

        with translated():
            try:
                made = self._engine.api.exec_create(
                    self._container,
                    ["/bin/sh", "-c", _KILL, "kill", f"{MARKER}={self._marker}"],
                    user=self._user,
                    stdout=False,
                    stderr=False,
                )["Id"]
                self._engine.api.exec_start(made, detach=True)
                _await(self._engine.api, made, _KILL_TIMEOUT_S)
            except NotFound:
                return  # The container is gone, and the command with it.
            except APIError as error:
                if error.status_code != 409:  # noqa: PLR2004 - the container has stopped: nothing runs in it.
                    raise

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size; one that has ended does not mind."""
        from docker.errors import APIError

        if self._terminal:
            with contextlib.suppress(APIError):
                self._engine.api.exec_resize(self._id, height=rows, width=columns)

    def close(self) -> None:
        """Let go of the streams; the command goes on. Twice is fine."""
        self._pump.stop()
        self._close_streams()

    def _close_streams(self) -> None:
        for stream in (self._stdin, self._stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _ask(self) -> int | None:
        """Ask the engine for the exit code; ``None`` while it runs.

        Not for long: while what a command left behind still writes, the engine answers only after somebody has read on,
        and that is whoever waits here.
        """
        from requests.exceptions import Timeout

        client = raw(self._engine.api)
        with translated():
            try:
                response = client.get(client._url("/exec/{0}/json", self._id), timeout=_ASK_TIMEOUT_S)  # noqa: SLF001
            except Timeout:
                return None
            if response.status_code == _NOT_FOUND:  # The container was removed, which kills.
                return _KILLED
            client._raise_for_status(response)  # noqa: SLF001 - the SDK's own call has no time limit.
        found = response.json()
        if found["Running"] or found["ExitCode"] is None:
            return None
        return int(found["ExitCode"])


def start(
    engine: Engine,
    container: str,
    request: ProcessRequest,
    *,
    known: frozenset[str],
    extra: Mapping[str, str],
    touch: Callable[[], None],
) -> Execution:
    """Start a command.

    Args:
        engine: Where.
        container: Its full id.
        request: The command.
        known: Variables that the container has already.
        extra: Of the session, under the command's own.
        touch: Said now and then while the command's streams are held: the session is in use.

    Raises:
        SessionGoneError: The container has gone or stopped.
        SessionFailedError: The engine refused, for example for a user that the session does not know.
    """
    from docker.errors import APIError, NotFound

    marker = secrets.token_hex(12)
    defaults = default_environment(request.user)
    # PATH and HOME are the engine's business: it knows the image's PATH and the user's home.
    env = {name: value for name, value in defaults.items() if name not in known and name not in {"PATH", "HOME"}}
    env |= {**extra, **request.env, MARKER: marker}
    argv, env = launch(request.argv, env, request.cwd)
    with translated():
        try:
            made = engine.api.exec_create(
                container,
                argv,
                stdin=request.stdin or request.terminal is not None,
                tty=request.terminal is not None,
                environment=env,
                workdir=request.cwd if is_text(request.cwd) else "/",
                user=request.user,
            )
            return Execution(engine, container, made["Id"], request, marker, touch)
        except NotFound as error:
            raise SessionGoneError(f"the session's container {container[:12]} is gone", hint="open it again") from error
        except APIError as error:
            if error.status_code == 409:  # noqa: PLR2004 - conflict: it is not running.
                raise SessionGoneError(
                    f"the session's container {container[:12]} is not running", hint="attach to it, or open it again"
                ) from error
            raise SessionFailedError(f"the command could not be started: {error.explanation}") from error


def _attach(api: APIClient, exec_id: str, terminal: tuple[int, int] | None) -> tuple[socket.socket, bytes]:
    """Start the exec and give its raw socket, with what was read of it beyond the answer's head."""
    size = {"ConsoleSize": [terminal[1], terminal[0]]} if terminal is not None else {}
    client = raw(api)
    response = client._post_json(  # noqa: SLF001 - the SDK's own call loses bytes that came with the head.
        client._url("/exec/{0}/start", exec_id),  # noqa: SLF001
        headers={"Connection": "Upgrade", "Upgrade": "tcp"},
        data={"Tty": terminal is not None, "Detach": False, **size},
        stream=True,
    )
    client._raise_for_status(response)  # noqa: SLF001
    # http.client's reader over the socket, which no public name leads to.
    buffered = response.raw._fp.fp  # type: ignore[union-attr] # noqa: SLF001
    original: socket.socket = buffered.raw._sock  # type: ignore[union-attr] # noqa: SLF001
    original.settimeout(0)  # So that looking at what is buffered does not wait for more.
    early = bytes(buffered.peek())
    connection = socket.socket(fileno=os.dup(original.fileno()))
    response.close()
    return connection, early


def _await(api: APIClient, exec_id: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while api.exec_inspect(exec_id)["Running"] and time.monotonic() < deadline:
        time.sleep(_POLL_S)
