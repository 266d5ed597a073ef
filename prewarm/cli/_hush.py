"""Keep what is typed off the rows, and the rows off the shell: no echo while they are drawn, none drawn while suspended.

Interrupts and suspension work as ever, and what was typed is there for the shell afterwards. Called by ``_screen`` (the
echo) and ``_live`` (the signals).
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, TextIO

_LOCAL_FLAGS: Final = 3  # Of what tcgetattr gives.
_UNTIL_STOPPED_S: Final = 0.1  # The kernel stops the threads of a process one after another, well within that.


class Hush:
    """No echo on a terminal between ``begin`` and ``end``; either twice is fine. One that is not ours is left alone.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before: int | None = None  # The flags that ``end`` gives back.

    def begin(self) -> None:
        if self._before is None and in_foreground(self._stream) is True:
            with contextlib.suppress(termios.error):
                flags = self._flags()
                self._set_flags(flags & ~termios.ECHO)
                self._before = flags

    def end(self) -> None:
        before, self._before = self._before, None
        if before is not None and in_foreground(self._stream) is True:
            with contextlib.suppress(termios.error):  # It was closed; nobody is left to give it back to.
                self._set_flags(before)

    def _flags(self) -> int:
        flags = termios.tcgetattr(self._stream)[_LOCAL_FLAGS]
        return flags if isinstance(flags, int) else 0

    def _set_flags(self, flags: int) -> None:
        attributes = termios.tcgetattr(self._stream)  # Everything else stays as it is now.
        attributes[_LOCAL_FLAGS] = flags
        termios.tcsetattr(self._stream, termios.TCSANOW, attributes)


def in_foreground(stream: TextIO) -> bool | None:
    """Say whether a terminal serves this program at the moment; ``None`` where it is not the one that controls it."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def suspendable(pause: Callable[[], None], resume: Callable[[], None]) -> Iterator[None]:
    """Have ``pause`` called before a key suspends this program or ends it at once, and ``resume`` when it goes on.

    Both are called in threads of their own: the main thread may hold any lock when the signal comes.
    """

    def raise_paused(number: int) -> None:
        pause()
        os.kill(os.getpid(), number)
        time.sleep(_UNTIL_STOPPED_S)
        resume()  # It goes on; at once where nobody could make it go on, as the kernel then does not suspend it.

    def act(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        _apart(lambda: raise_paused(number))

    def go_on(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTSTP, act)
        _apart(resume)

    ours: list[signal.Signals] = []
    with contextlib.suppress(ValueError):  # Not in the main thread: somebody's program builds.
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:  # A shell without job control has it ignored.
            for number, handler in {signal.SIGTSTP: act, signal.SIGQUIT: act, signal.SIGCONT: go_on}.items():
                signal.signal(number, handler)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _apart(action: Callable[[], None]) -> None:
    threading.Thread(target=action, name="prewarm-terminal", daemon=True).start()
