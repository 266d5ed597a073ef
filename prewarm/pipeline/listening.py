"""Who hears how a run goes: ``RunListener``, and what makes one listener do for many threads."""

from __future__ import annotations

import threading
from typing import Protocol

from prewarm.backends.base import Phase
from prewarm.capture.observer import Progress
from prewarm.report import TemplateReport


class RunListener(Progress, Protocol):
    """Hears how a run goes, by template. Calls come one at a time, from any thread; it is quick and never raises."""

    def template_finished(self, report: TemplateReport) -> None:
        """Say what became of a template; also of one that did not have to be made."""


class Silent:
    """A listener for those who do not listen."""

    def template_started(self, name: str, key: str, reason: str) -> None:
        """Do nothing."""

    def phase(self, name: str, phase: Phase) -> None:
        """Do nothing."""

    def step(self, name: str, number: int, total: int, text: str) -> None:
        """Do nothing."""

    def line(self, name: str, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def template_finished(self, report: TemplateReport) -> None:
        """Do nothing."""


class InTurn:
    """Passes calls of many threads on, one at a time.

    Args:
        listener: Who hears them; need not be thread-safe.
    """

    def __init__(self, listener: RunListener) -> None:
        self._listener = listener
        self._lock = threading.Lock()  # Guards the listener.

    def template_started(self, name: str, key: str, reason: str) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.template_started(name, key, reason)

    def phase(self, name: str, phase: Phase) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.phase(name, phase)

    def step(self, name: str, number: int, total: int, text: str) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.step(name, number, total, text)

    def line(self, name: str, text: str) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.line(name, text)

    def note(self, text: str) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.note(text)

    def template_finished(self, report: TemplateReport) -> None:
        """Pass it on."""
        with self._lock:
            self._listener.template_finished(report)
