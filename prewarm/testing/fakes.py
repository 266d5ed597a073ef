"""Fakes for tests."""

from __future__ import annotations

import threading

from prewarm.backends.capturing import Phase


class RecordingObserver:
    """Keeps what a capture told; a ``CaptureObserver``."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # Guards the three lists.
        self._phases: list[Phase] = []
        self._steps: list[tuple[int, int, str]] = []
        self._lines: list[str] = []

    @property
    def phases(self) -> tuple[Phase, ...]:
        with self._guard:
            return tuple(self._phases)

    @property
    def steps(self) -> tuple[tuple[int, int, str], ...]:
        with self._guard:
            return tuple(self._steps)

    @property
    def lines(self) -> tuple[str, ...]:
        with self._guard:
            return tuple(self._lines)

    def phase(self, phase: Phase) -> None:
        with self._guard:
            self._phases.append(phase)

    def step(self, number: int, total: int, text: str) -> None:
        with self._guard:
            self._steps.append((number, total, text))

    def line(self, text: str) -> None:
        with self._guard:
            self._lines.append(text)


class FakeClock:
    """A clock that moves when it is told to.

    Args:
        now: Where it starts; seconds.
    """

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move it."""
        self._now += seconds
