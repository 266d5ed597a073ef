"""How long a session lives: until nobody has used it for a while, or its time is up; counted by a watchdog.

The watchdog is a shell loop of this machine, without Python and without any client: it counts ticks (so a clock that jumps
does not matter), and when the time is up it kills the holder and takes the session's directory away. Where somebody else took the
directory away, it ends the session all the same. What it reads lies in that directory:

    lease       seconds of a tick, ticks without use, ticks of life
    active      there: used since the last tick; the watchdog renames it to ``quiet``, a call renames it back
    running/N   one command: client and entering process, each with its start time; both alive means in use
    holder      the holder and its start time
    watchdog    the watchdog and its start time
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from prewarm import process
from prewarm.backends.environment import DEFAULT_PATH
from prewarm.backends.local.disk import write_file
from prewarm.backends.local.processes import is_alive, own_start_time, start_time
from prewarm.errors import SessionFailedError

_FEWEST_TICKS: Final = 5
_LONGEST_TICK_S: Final = 15.0
_SHORTEST_TICK_S: Final = 0.1
_SCRIPT: Final = r"""
cd "$1" || exit 0
life=$2
alive() {
  { read -r line < "/proc/$1/stat"; } 2>/dev/null || return 1
  want=$2
  set -- ${line##*) }
  [ "$1" != Z ] && [ "$1" != X ] && [ "${20}" = "$want" ]
}
in_use() {
  for command in running/*; do
    { read -r client began entering entered < "$command"; } 2>/dev/null || continue
    alive "$client" "$began" && alive "$entering" "$entered" && return 0
  done
  return 1
}
look() {
  read -r tick most_idle most_life < lease || return 1
  holder= groups=
  while read -r pid began rest; do holder=$pid started=$began; done < holder
  while read -r group; do groups="$groups
$group"; done < groups
  [ -e meta.json ]
}
watch() {
  idle=0 waited=0
  while [ -e meta.json ] && ! [ -e holder ] && [ "$waited" -lt 100 ]; do sleep 0.1; waited=$((waited + 1)); done
  while look; do
    sleep "$tick"
    life=$((life + 1)) idle=$((idle + 1))
    if [ -e active ]; then mv active quiet; idle=0; elif in_use; then idle=0; fi
    if [ "$idle" -ge "$most_idle" ] || [ "$life" -ge "$most_life" ]; then
      look && mv meta.json expired.json && gone=$PWD
      break
    fi
  done
}
clean() {
  [ -n "$holder" ] && alive "$holder" "$started" && kill -9 "$holder"
  cd /
  IFS="
"
  for try in 1 2 3 4 5 6 7 8 9 10; do
    left=
    for group in $groups; do rmdir "$group" || { [ -d "$group" ] && left=$group; }; done
    [ -z "$left" ] && break
    sleep 0.3
  done
  [ -n "$gone" ] && rm -rf "$gone"
}
(
  exec < /dev/null > /dev/null 2>&1
  watch
  clean
) &
echo $!
"""


class Term(NamedTuple):
    """How long a session may live.

    Attributes:
        idle_s: Seconds without use.
        life_s: Seconds in all.
    """

    idle_s: float
    life_s: float

    @property
    def tick_s(self) -> float:
        shortest = min(self.idle_s, self.life_s)
        return min(_LONGEST_TICK_S, max(_SHORTEST_TICK_S, shortest / _FEWEST_TICKS))

    def text(self) -> str:
        """Give the lease file."""
        idle, life = (max(1, math.ceil(seconds / self.tick_s)) for seconds in (self.idle_s, self.life_s))
        return f"{self.tick_s:.3f} {idle} {life}\n"


class Lease:
    """The lease of one session.

    Args:
        directory: The session's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._active = str(directory / "active")
        self._quiet = str(directory / "quiet")

    def prepare(self) -> None:
        """Lay the files out in a new session's directory."""
        (self._directory / "running").mkdir(mode=0o700)
        (self._directory / "active").touch(mode=0o600)

    def set(self, term: Term, groups: Iterable[Path]) -> None:
        """Say how long the session may live, and which cgroups go with it."""
        write_file(self._directory / "groups", "".join(f"{group}\n" for group in groups).encode())
        write_file(self._directory / "lease", term.text().encode())

    def touch(self) -> None:
        """Say that the session is in use now."""
        with contextlib.suppress(FileNotFoundError):  # It is active already.
            os.rename(self._quiet, self._active)

    def command(self, pid: int) -> Path | None:
        """Say that a command is running, which keeps the session from being idle; the path goes when it ends."""
        entered = start_time(pid)
        if entered is None:
            return None
        path = self._directory / "running" / f"{pid}.{os.urandom(4).hex()}"
        try:
            path.write_text(f"{os.getpid()} {own_start_time(os.getpid())} {pid} {entered}\n", encoding="ascii")
        except OSError:  # A full disk: the session then counts as idle while this runs.
            return None
        return path

    @contextlib.contextmanager
    def watching(self, lived_s: float, term: Term) -> Iterator[None]:
        """Have a watchdog running, from the end of this context on; it starts while the context does something else.

        Args:
            lived_s: Seconds that the session has lived already.
            term: How long it may.

        Raises:
            SessionFailedError: It could not be started.
        """
        if self.watched:
            yield
            return
        ticks = int(lived_s / term.tick_s)
        try:
            child = process.start(
                ("/bin/sh", "-c", _SCRIPT, "prewarm-watchdog", str(self._directory), str(ticks)),
                env={"PATH": DEFAULT_PATH},
                cwd="/",
                stderr=process.DEVNULL,
            )
        except OSError as error:
            raise SessionFailedError(f"the session's watchdog could not be started: {error}") from error
        with child:
            try:
                yield
            finally:
                pid = b"" if child.stdout is None else child.stdout.readline().strip()
                child.wait()
                if pid.isdigit():
                    write_file(self._directory / "watchdog", b"%s %d\n" % (pid, start_time(int(pid)) or 0))
            if not pid.isdigit():
                raise SessionFailedError("the session's watchdog could not be started: the shell failed")

    @property
    def watched(self) -> bool:
        """Whether a watchdog is counting."""
        return self._watchdog() is not None

    def groups(self) -> list[Path]:
        """Give the cgroups that go with the session."""
        try:
            return [Path(line) for line in (self._directory / "groups").read_text(encoding="utf-8").splitlines()]
        except OSError:
            return []

    def end(self) -> None:
        """Stop the watchdog, with the tick it is sleeping through."""
        pid = self._watchdog()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)

    def unused_s(self) -> float:
        """Give the seconds since the last use, by the clock: for a session that nobody watches."""
        for path in (self._active, self._quiet):
            with contextlib.suppress(OSError):
                return time.time() - os.stat(path).st_ctime
        return 0.0

    def _watchdog(self) -> int | None:
        try:
            pid, started = (self._directory / "watchdog").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return None
        return int(pid) if is_alive(int(pid), int(started)) else None
