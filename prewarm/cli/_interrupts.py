"""When Ctrl-C counts: held back while something is made that somebody has to let go of again. Called by ``open``."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt wait until the block has ended; a second one does not wait.

    Raises:
        KeyboardInterrupt: One came; at the end of the block.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    held: list[signal.Signals] = []
    with contextlib.suppress(ValueError):  # Not in the main thread: somebody's program calls main().
        for number in _NUMBERS:
            if signal.getsignal(number) is signal.default_int_handler:
                signal.signal(number, note)
                held.append(number)
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
