"""What Ctrl-C, SIGTERM and a terminal that closes do: end the command, once it can let go of what it made.

``KeyboardInterrupt`` is how each of them comes. Ctrl-C counts every time; a terminal closes once, however many signals
say so, and does not hurry what is let go of. What is ignored (nohup) stays ignored. Called by ``_run``; ``open`` and
``_relay`` say what is special about them. Where this is not the main thread somebody's program calls ``main``, and its
signals are left alone.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Let SIGTERM and a terminal that closes end the command as Ctrl-C does."""
    with contextlib.suppress(ValueError):  # Not in the main thread.
        for number, handler in ((signal.SIGTERM, signal.default_int_handler), (signal.SIGHUP, hang_up)):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, handler)


def hang_up(_number: int = signal.SIGHUP, _frame: FrameType | None = None) -> NoReturn:
    """End the command: its terminal was closed. The shell may say so too, and the kernel again when the shell has ended.

    Raises:
        KeyboardInterrupt: Always; SIGHUP does nothing from here on.
    """
    _stop_hearing(signal.SIGHUP)
    raise KeyboardInterrupt


def hear_no_more() -> None:
    """Let none of them do anything from here on: what is left is to print what came of it, and to end."""
    _stop_hearing(*_NUMBERS)


def hear_no_more_at_all() -> None:
    """Do the same for the interpreter's own end, which gives the signals back to the kernel before it is over."""
    hear_no_more()
    signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)  # None is on its way any more: now they can be ignored.
    for number in _NUMBERS:
        if signal.getsignal(number) is _hear_nothing:  # Only the main thread can have put that there.
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Leave the handlers behind as they were."""
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # Not in the main thread.
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt wait until the block has ended: it makes what somebody has to let go of. A second does not wait.

    Raises:
        KeyboardInterrupt: One came; at the end of the block.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came and number != signal.SIGHUP:
            raise KeyboardInterrupt
        came.append(number)

    held = {number: handler for number in _NUMBERS if _ends(handler := signal.getsignal(number))}
    with contextlib.suppress(ValueError):  # Not in the main thread.
        for number in held:
            signal.signal(number, note)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # As above.
            for number, handler in held.items():
                signal.signal(number, handler)
    if signal.SIGHUP in came:
        hang_up()
    if came:
        raise KeyboardInterrupt


def _stop_hearing(*numbers: signal.Signals) -> None:
    with contextlib.suppress(ValueError):  # Not in the main thread.
        for number in numbers:
            if _ends(signal.getsignal(number)):
                signal.signal(number, _hear_nothing)


def _ends(handler: object) -> bool:
    return handler in (signal.default_int_handler, hang_up)


def _hear_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by doing nothing; ``SIG_IGN`` would complain of one that is on its way."""
