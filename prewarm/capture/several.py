"""Do one thing for several, a bounded number at a time: results in order, every failure kept, Ctrl-C stops them all.

For what stands on nothing else, such as pulls and pushes; captures have an order (``capture.run``).
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prewarm.cancellation import Cancellation
from prewarm.errors import InterruptedBuildError

AT_A_TIME: Final = 4
_GRACE_S: Final = 5.0
_TICK_S: Final = 0.1
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[_Value]):
    """How it went for one.

    Attributes:
        value: What came of it; ``None`` where it failed.
        error: Why it failed; an ``InterruptedBuildError`` where it was stopped, or never begun.
        seconds: How long it took.
    """

    value: _Value | None = None
    error: Exception | None = None
    seconds: float = 0.0


def each(
    items: Sequence[_Item], work: Callable[[_Item], _Value], *, jobs: int, cancellation: Cancellation
) -> list[Done[_Value]]:
    """Do something for all items; an outcome for each, in their order.

    Ctrl-C (``KeyboardInterrupt`` in the calling thread) cancels and is not raised: ``cancellation`` says so. What then
    does not end within five seconds, because somebody far away does not answer, is left behind.

    Args:
        items: What to do it for.
        work: Called from several threads; asks ``cancellation`` now and then.
        jobs: How many at a time.
        cancellation: Stops it.
    """
    waiting: queue.SimpleQueue[tuple[int, _Item]] = queue.SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)
    ended: queue.SimpleQueue[tuple[int, Done[_Value]]] = queue.SimpleQueue()

    def take() -> None:
        while True:
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            ended.put((number, _done(work, item, cancellation)))

    results: dict[int, Done[_Value]] = {}
    threads, left_s = 0, _GRACE_S
    interrupted = False
    while len(results) < len(items) and left_s > 0:
        try:
            if interrupted:
                cancellation.cancel_aside()
                interrupted = False
            while threads < min(jobs, len(items)):
                threads += 1
                threading.Thread(target=take, name=f"prewarm-several-{threads}", daemon=True).start()
            with contextlib.suppress(queue.Empty):
                number, done = ended.get(timeout=_TICK_S)
                results[number] = done
                continue
            left_s -= _TICK_S if cancellation.cancelled else 0.0
        except (KeyboardInterrupt, InterruptedBuildError):  # Here nothing else is done: another may come at any moment.
            interrupted = True
    never: Done[_Value] = Done(error=InterruptedBuildError("interrupted"))
    return [results.get(number, never) for number in range(len(items))]


def _done(work: Callable[[_Item], _Value], item: _Item, cancellation: Cancellation) -> Done[_Value]:
    began = time.monotonic()
    try:
        cancellation.check()
        value = work(item)
    except KeyboardInterrupt as error:  # Raised by what was called: the wish of whoever sits there.
        cancellation.cancel()
        return Done(error=InterruptedBuildError(str(error) or "interrupted"), seconds=time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - whoever called judges it; nothing is swallowed.
        return Done(error=error, seconds=time.monotonic() - began)
    return Done(value=value, seconds=time.monotonic() - began)
