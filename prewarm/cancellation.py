"""Stopping a run from outside: Ctrl-C, SIGTERM, or the application that started it.

A ``Cancellation`` is handed down with what may take long. Whoever waits for something that can be stopped registers
how (``calling``); whoever goes from one thing to the next asks in between (``check``). Standard library only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from prewarm.errors import InterruptedBuildError


class Cancellation:
    """A wish to stop, said once, from any thread, and never taken back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Guards all below.
        self._cancelled = False
        self._registered = 0
        self._stops: dict[int, Callable[[], None]] = {}

    def __reduce__(self) -> tuple[type[Cancellation], tuple[()]]:
        """Become, in another process, a wish of that process."""
        return Cancellation, ()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Wish it to stop: calls all that is registered now, once, in this thread. Twice is fine."""
        with self._lock:
            self._cancelled = True
            stops = list(self._stops.values())
            self._stops.clear()
        with contextlib.ExitStack() as stack:  # One that raises does not keep the others from being called.
            for stop in stops:
                stack.callback(stop)

    def cancel_aside(self) -> None:
        """Wish it to stop, and leave the calling to a thread: a second Ctrl-C does not end what the first has begun."""
        self._cancelled = True  # What registers from now on stops itself; the thread finds all that was there before.
        threading.Thread(target=self.cancel, name="prewarm-cancel").start()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            InterruptedBuildError: It was cancelled.
        """
        if self._cancelled:
            raise InterruptedBuildError("interrupted")

    @contextlib.contextmanager
    def calling(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` called if it is cancelled within this context, or was before.

        Args:
            stop: Ends what the context waits for. Called at most once: before the body runs, or from another thread,
                which may come just after the body has ended. The body sees the thing end, and then asks ``check``.
        """
        with self._lock:
            self._registered += 1
            token = self._registered
            late = self._cancelled
            if not late:
                self._stops[token] = stop
        if late:
            stop()
        try:
            yield
        finally:
            with self._lock:
                self._stops.pop(token, None)
