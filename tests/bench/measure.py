"""What every bench shares: medians, alternating runs, and one way to print a ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians(*works: Callable[[], object], rounds: int = 9) -> list[float]:
    """Time several pieces of work in turns, so that a busy machine is busy for all of them; give their medians."""
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for times, work in zip(taken, works, strict=True):
            times.append(seconds(work))
    return [statistics.median(times) for times in taken]


def show(
    what: str, measured: float, *, floor: float | None = None, named: str = "", limit: float | None = None
) -> None:
    """Print one result: the time, the floor that it stands on, their ratio, and the limit set for it."""
    if floor is None:
        bound = f"   limit {limit:.3f}s" if limit is not None else ""
        verdict = "" if limit is None else "   ok" if measured <= limit else "   OVER"
        print(f"{what:<52} {measured * 1000:9.2f} ms{bound}{verdict}", flush=True)
        return
    ratio = measured / floor
    verdict = "" if limit is None else "   ok" if ratio <= limit else "   OVER"
    bound = f" (limit {limit:g})" if limit is not None else ""
    print(
        f"{what:<52} {measured * 1000:9.2f} ms   {ratio:5.2f} x {named} {floor * 1000:.2f} ms{bound}{verdict}",
        flush=True,
    )
