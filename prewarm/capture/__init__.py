"""Carry out a plan: dependency order, bounded threads, one capture a key, every failure collected, results in order.

The only module with threads of its own. ``builder`` makes each template; nothing is left running when ``run`` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prewarm.capture.builder import Builder, Made, Work
from prewarm.errors import InterruptedBuildError
from prewarm.failure import Failure
from prewarm.plan import Action, PlanItem, Reason, Status
from prewarm.request import TemplateRef

if TYPE_CHECKING:  # Nothing to capture, no thread pool: the import alone takes milliseconds.
    from concurrent.futures import Future, ThreadPoolExecutor

MOST_JOBS: Final = 4
_TICK_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one sandbox.

    Attributes:
        item: What was decided.
        status: What came of it.
        reason: Why, at the end of the run.
        detail: What the reason leaves open.
        ref: Where the template is, if it is there.
        seconds: By phase, of a capture in this run, also of one that failed, or of a pull.
        size: Bytes that it adds; ``None`` if unknown.
        saved_s: Seconds that not capturing it saved.
        failure: What went wrong.
    """

    item: PlanItem
    status: Status
    reason: Reason
    detail: str = ""
    ref: TemplateRef | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    saved_s: float = 0.0
    failure: Failure | None = None


def run(
    items: Sequence[PlanItem],
    works: Mapping[str, Work],
    *,
    builder: Builder,
    jobs: int,
    fail_fast: bool = False,
    finished: Callable[[Outcome], None],
) -> tuple[Outcome, ...]:
    """Carry out a plan.

    Ctrl-C (``KeyboardInterrupt`` in the calling thread) cancels what runs and is not raised: what it stopped is
    ``skipped``, ``interrupted``, and ``builder.cancellation`` says so.

    Args:
        items: Parents before those that extend them.
        works: What is to be captured, by name.
        builder: Makes one template.
        jobs: How many at a time.
        fail_fast: Whether a failure keeps what has not begun from beginning.
        finished: Hears each outcome as it comes, in the calling thread.

    Returns:
        An outcome for every item, in their order.
    """
    return _Run(items, works, builder=builder, jobs=jobs, fail_fast=fail_fast, finished=finished).carry_out()


class _Run:
    """One run: what waits, what is being made, what became of the rest. Only the calling thread touches it."""

    def __init__(
        self,
        items: Sequence[PlanItem],
        works: Mapping[str, Work],
        *,
        builder: Builder,
        jobs: int,
        fail_fast: bool,
        finished: Callable[[Outcome], None],
    ) -> None:
        self._items = items
        self._works = works
        self._builder = builder
        self._jobs = jobs
        self._fail_fast = fail_fast
        self._finished = finished
        self._waiting = {item.name: item for item in items}
        self._making: dict[Future[Made], PlanItem] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._untold: dict[str, Outcome] = {}
        self._executor: ThreadPoolExecutor | None = None

    def carry_out(self) -> tuple[Outcome, ...]:
        interrupted = False
        try:
            while self._waiting or self._making or self._untold:
                try:
                    if interrupted:
                        self._builder.cancellation.cancel_aside()
                        interrupted = False
                    self._tell()
                    self._settle()
                    self._start()
                    self._collect()
                except (KeyboardInterrupt, InterruptedBuildError):
                    interrupted = True
        finally:
            if self._making:  # Something unforeseen came up; nothing is to be left running all the same.
                self._builder.cancellation.cancel()
            if self._executor is not None:
                self._executor.shutdown(wait=True, cancel_futures=True)
        return tuple(self._outcomes[item.name] for item in self._items)

    def _settle(self) -> None:
        """Give an outcome to all that needs no making, or cannot be made any more."""
        for item in tuple(self._waiting.values()):
            outcome = self._outcome_without_making(item)
            if outcome is not None:
                self._end(outcome)

    def _outcome_without_making(self, item: PlanItem) -> Outcome | None:
        if item.action is Action.REUSE:
            return Outcome(
                item=item,
                status=Status.REUSED,
                reason=item.reason,
                ref=item.ref,
                seconds=item.seconds,
                size=item.size,
                saved_s=item.saved_s,
            )
        if item.shares is not None:
            leader = self._outcomes.get(item.shares)
            return None if leader is None else _shared(item, leader)
        if self._builder.cancellation.cancelled:
            return _skipped(item, Reason.INTERRUPTED)
        parent = self._outcomes.get(item.parent or "")
        if parent is not None and parent.ref is None:
            return _skipped(item, Reason.PARENT_FAILED, _without(parent))
        failed = next((o for o in self._outcomes.values() if o.status is Status.FAILED), None)
        if self._fail_fast and failed is not None:
            return _skipped(item, Reason.STOPPED, f"'{failed.item.name}' failed")
        return None

    def _start(self) -> None:
        """Begin what can be made now, as many as may run at a time."""
        for item in tuple(self._waiting.values()):
            if len(self._making) >= self._jobs:
                return
            if item.action is not Action.CAPTURE or (item.parent is not None and item.parent not in self._outcomes):
                continue
            parent = self._outcomes[item.parent].ref if item.parent is not None else None
            future = self._pool().submit(self._builder.make, self._works[item.name], parent)
            self._making[future] = item
            del self._waiting[item.name]

    def _collect(self) -> None:
        """Wait until something is made or has failed, but not long."""
        if not self._making:
            return
        from concurrent.futures import FIRST_COMPLETED, wait

        # Not for ever: a signal that the kernel gives to another thread is not heard before this one wakes.
        done, _ = wait(self._making, timeout=_TICK_S, return_when=FIRST_COMPLETED)
        for future in done:
            if self._making[future].name not in self._outcomes:  # An interrupt may have come just here.
                self._end(self._judge(self._making[future], future))
            del self._making[future]

    def _judge(self, item: PlanItem, future: Future[Made]) -> Outcome:
        error = future.exception()
        if error is None:
            return _made(item, future.result())
        if self._builder.cancellation.cancelled:
            return _skipped(item, Reason.INTERRUPTED)
        failure = Failure.of(error, name=item.name, redact=self._works[item.name].credentials.redact)
        seconds = self._builder.seconds(item.name)
        return Outcome(item=item, status=Status.FAILED, reason=item.reason, failure=failure, seconds=seconds)

    def _end(self, outcome: Outcome) -> None:
        self._untold[outcome.item.name] = outcome
        self._outcomes[outcome.item.name] = outcome
        self._waiting.pop(outcome.item.name, None)
        self._tell()

    def _tell(self) -> None:
        """Tell each outcome; one whose telling an interrupt cut short is told again."""
        for name, outcome in tuple(self._untold.items()):
            self._finished(outcome)
            del self._untold[name]

    def _pool(self) -> ThreadPoolExecutor:
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(max_workers=self._jobs, thread_name_prefix="prewarm-capture")
        return self._executor


def _made(item: PlanItem, made: Made) -> Outcome:
    if made.adopted is None:
        return Outcome(
            item=item, status=Status.FRESH, reason=item.reason, ref=made.ref, seconds=made.seconds, size=made.size
        )
    return Outcome(
        item=item,
        status=Status.REUSED,
        reason=made.adopted,
        ref=made.ref,
        size=made.size,
        saved_s=sum(made.seconds.values()),
    )


def _shared(item: PlanItem, leader: Outcome) -> Outcome:
    if leader.ref is None:
        return Outcome(
            item=item, status=leader.status, reason=leader.reason, detail=item.detail, failure=leader.failure
        )
    return Outcome(
        item=item,
        status=Status.REUSED,
        reason=Reason.IDENTICAL,
        detail=item.detail,
        ref=leader.ref,
        size=leader.size,
        saved_s=sum(leader.seconds.values()) or leader.saved_s,
    )


def _without(parent: Outcome) -> str:
    return f"'{parent.item.name}' {'failed' if parent.status is Status.FAILED else 'was skipped'}"


def _skipped(item: PlanItem, reason: Reason, detail: str = "") -> Outcome:
    return Outcome(item=item, status=Status.SKIPPED, reason=reason, detail=detail)
