"""One builder a key on this machine: the second waits for the first, and a holder that dies frees the key at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from prewarm.cancellation import Cancellation
from prewarm.catalog.records import Place
from prewarm.home import Home

KEY_LOCK_PREFIX: Final = "capture-"
_WAIT_S: Final = 0.2


def key_lock(namespace: str, place: Place) -> str:
    """Give the name of the kernel lock under which a key is captured or removed."""
    return f"{KEY_LOCK_PREFIX}{namespace}-{place.backend}-{place.key}"


def build_lock(namespace: str) -> str:
    """Give the name of the kernel lock that builds of a namespace share and ``gc`` takes for itself."""
    return f"build-{namespace}"


@contextlib.contextmanager
def holding(home: Home, name: str, *, cancellation: Cancellation, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock exclusively, waiting as long as it takes.

    Args:
        home: Where the locks are.
        name: Of the lock.
        cancellation: Ends the waiting.
        waiting: Hears once who holds it.

    Raises:
        InterruptedBuildError: It was cancelled while waiting.
    """
    with contextlib.ExitStack() as stack:
        told = False
        while True:
            cancellation.check()
            try:
                stack.enter_context(home.lock(name, timeout=_WAIT_S if told else 0))
                break
            except TimeoutError:
                if not told:
                    waiting(home.lock_holder(name) or "another process")
                told = True
        yield
