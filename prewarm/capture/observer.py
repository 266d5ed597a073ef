"""Hearing one capture: lines redacted, seconds by phase."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from prewarm.backends.base import Phase


class Progress(Protocol):
    """Hears how a run goes, by template. Calls come from any thread; it is quick and never raises."""

    def template_started(self, name: str, key: str, reason: str) -> None:
        """Say that a template is being made, and why."""

    def phase(self, name: str, phase: Phase) -> None:
        """Say that a phase of its capture begins."""

    def step(self, name: str, number: int, total: int, text: str) -> None:
        """Say that a step of the phase begins; numbers start at 1."""

    def line(self, name: str, text: str) -> None:
        """Hand over a line that the step wrote, redacted."""

    def note(self, text: str) -> None:
        """Say something about the run."""


class PhaseClock:
    """The observer of one capture: times its phases, hides secrets, says whose lines they are.

    Args:
        name: The sandbox.
        progress: Who hears it.
        redact: Hides secrets.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        name: str,
        *,
        progress: Progress,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._progress = progress
        self._redact = redact
        self._clock = clock
        self._lock = threading.Lock()  # Guards all below: a backend may observe from several threads.
        self._phase: Phase | None = None
        self._began = 0.0
        self._seconds: dict[str, float] = {}

    @property
    def seconds(self) -> dict[str, float]:
        """What each phase took, up to now."""
        with self._lock:
            self._settle()
            return dict(self._seconds)

    def phase(self, phase: Phase) -> None:
        """Begin a phase; the one before ends."""
        with self._lock:
            self._settle()
            self._phase = phase
        self._progress.phase(self._name, phase)

    def step(self, number: int, total: int, text: str) -> None:
        """Pass a step on."""
        self._progress.step(self._name, number, total, self._redact(text))

    def line(self, text: str) -> None:
        """Pass a line on."""
        self._progress.line(self._name, self._redact(text))

    def _settle(self) -> None:
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase.value] = self._seconds.get(self._phase.value, 0.0) + now - self._began
        self._began = now
