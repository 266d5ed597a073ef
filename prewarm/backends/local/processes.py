"""Processes of this machine as ``/proc`` shows them: is it still the same one, and which belong to a command.

A command's processes carry a mark: a value of the resource limit ``RLIMIT_RSS``, which Linux does not enforce, which
every descendant inherits through fork, exec, setsid and a daemon's double fork, and which nobody can raise again inside.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from typing import Final

MARK_RESOURCE: Final = 5  # RLIMIT_RSS
_PF_EXITING: Final = 0x4
_MARKS_FROM: Final = 1 << 60
_ROUND_PAUSE_S: Final = 0.002
_GIVE_UP_S: Final = 10.0
_STOP_S: Final = 1.0


def new_mark() -> int:
    """Give a mark that no other command has."""
    return _MARKS_FROM | (int.from_bytes(os.urandom(8), "little") >> 4)


def start_time(pid: int) -> int | None:
    """Give when a process started, in ticks since boot; with its id it names it for ever. ``None`` if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


@functools.cache
def own_start_time(pid: int) -> int:
    """Give when this process started; ``pid`` is its own, so that a forked child asks anew."""
    return start_time(pid) or 0


def is_alive(pid: int, started: int) -> bool:
    """Say whether this very process still runs."""
    return start_time(pid) == started


def is_running(pid: int, started: int) -> bool:
    """Say whether this very process runs and is not on its way out, where it has let go of its files already."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in {b"Z", b"X"} and int(fields[19]) == started and not int(fields[6]) & _PF_EXITING


def kill_process(pid: int, started: int, *, wait_s: float = _GIVE_UP_S) -> None:
    """Kill this very process and wait until it is gone; one that is gone already is fine.

    Raises:
        TimeoutError: It does not go (it hangs in the kernel).
    """
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if is_alive(pid, started):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
    deadline = time.monotonic() + wait_s
    while is_alive(pid, started):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not end")
        time.sleep(_ROUND_PAUSE_S)


def kill_tree(entering: int | None, mark: int) -> None:
    """Kill a command and all its descendants: ``entering`` is our child that leads into the sandbox, if it lives.

    Returns when none is left. Whatever they start meanwhile carries the mark too, so it is found in the next round.

    Raises:
        TimeoutError: Some do not go.
    """
    if entering is not None:
        _kill_entering(entering)
    deadline = time.monotonic() + _GIVE_UP_S
    while marked := _marked(mark):
        for pid in marked:  # Stopped first, so that none can start another while its turn has not come.
            _signal_marked(pid, mark, signal.SIGSTOP)
        for pid in marked:
            _signal_marked(pid, mark, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(marked)} processes of a killed command do not end")
        time.sleep(_ROUND_PAUSE_S)


def _kill_entering(pid: int) -> None:
    """Kill what is on its way in: it may have forked and not be marked yet. It is our child and not yet collected.

    Its own child is left for it to collect (it then ends by the same signal): a zombie whose parent is gone would wait
    for the init of this machine, and the sandbox with it.
    """
    with contextlib.suppress(ProcessLookupError):
        children: list[int] = []
        os.kill(pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + _STOP_S
            while _state(pid) not in {b"T", b"t", b"Z", b"X", b""} and time.monotonic() < deadline:
                time.sleep(_ROUND_PAUSE_S / 4)
            children = _children(pid)
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        finally:  # Also where Ctrl-C comes: stopped, it would never end.
            os.kill(pid, signal.SIGCONT if children else signal.SIGKILL)


def _state(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _children(parent: int) -> list[int]:
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b") ")[2].split()
            if int(fields[1]) == parent:
                found.append(pid)
    return found


def _marked(mark: int) -> list[int]:
    return [pid for pid in _pids() if _has_mark(pid, mark) and _state(pid) not in {b"Z", b"X", b""}]


def _has_mark(pid: int, mark: int) -> bool:
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            return b" %d " % mark in file.read()
    except OSError:
        return False


def _signal_marked(pid: int, mark: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has_mark(pid, mark):  # Asked again: the descriptor holds the process, the number did not.
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
