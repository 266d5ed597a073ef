"""Threads for the synchronous core's calls, a pool for each session; what a cancellation waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Value = TypeVar("_Value")

THREADS: Final = 64  # Calls of one session at a time; made as they are needed.


class Threads:
    """Runs the synchronous core's calls; the loop never waits for one."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="prewarm-session")
        self._guard = threading.Lock()  # Guards _is_closed.
        self._is_closed = False

    def submit(self, call: Callable[_Given, _Value], *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Value]:
        with self._guard:
            if not self._is_closed:
                return self._executor.submit(call, *args, **kwargs)
        # The session was closed: a thread of its own for what comes late, such as a kill, or an error that says so.
        late = ThreadPoolExecutor(max_workers=1)
        try:
            return late.submit(call, *args, **kwargs)
        finally:
            late.shutdown(wait=False)

    async def run(self, call: Callable[_Given, _Value], *args: _Given.args, **kwargs: _Given.kwargs) -> _Value:
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    async def finish(self, call: Callable[_Given, _Value], *args: _Given.args, **kwargs: _Given.kwargs) -> _Value:
        """Run a call to its end, also where the caller is cancelled meanwhile; the cancellation goes on after it."""
        return await finished(self.submit(call, *args, **kwargs), lambda: None)

    def close(self) -> None:
        """End the pool once its calls have ended. Twice is fine."""
        with self._guard:
            self._is_closed = True
        self._executor.shutdown(wait=False)


async def finished(future: Future[_Value], stop: Callable[[], None]) -> _Value:
    """Wait for a call; where the caller is cancelled, ``stop`` it, wait for its end, and let the cancellation go on."""
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not waiting.cancelled() and not future.cancel():
            await asyncio.to_thread(stop)
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                waiting.exception()  # Looked at, so that asyncio does not complain of what nobody wants any more.
        raise
