"""What is being captured at this moment: rows that the capturing threads write and a printer reads.

Called by ``_progress``. Not here: any printing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prewarm.cli import _text

_LONGEST_LINE = 2000
_INPUTS = "the inputs"  # No sandbox can be named so.


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One template in work.

    Attributes:
        phase: ``base``, ``seed``, ``bootstrap``, …; empty before the first.
        step: ``2/5``; empty outside steps.
        text: The step's own, as it was given.
        last: The last line that it wrote, as it came.
        began: Monotonic seconds.
    """

    name: str
    began: float
    phase: str = ""
    step: str = ""
    text: str = ""
    last: str = ""

    @property
    def doing(self) -> str:
        """Where it is, for people: ``bootstrap 2/5``."""
        return f"{self.phase or 'starting'} {self.step}".rstrip()

    @property
    def said(self) -> str:
        """The last line, safe to print."""
        return _text.clean(self.last)


class Board:
    """All rows, in the order they began. Thread-safe.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()  # Guards _rows: capturing threads write, the printer reads.
        self._rows: dict[str, Row] = {}

    def begin(self, name: str) -> None:
        """Take up a row."""
        with self._lock:
            self._rows[name] = Row(name=name, began=self.clock())

    def begin_reading(self) -> None:
        """Take up the row of what comes before any capture: files are read, bases and templates are asked about."""
        self.begin(_INPUTS)
        self.phase(_INPUTS, "reading")

    def end_reading(self) -> None:
        """Take that row away; twice is fine."""
        self.end(_INPUTS)

    def phase(self, name: str, phase: str) -> None:
        """Move a row to a phase."""
        self._change(name, lambda row: replace(row, phase=phase, step="", text="", last=""))

    def step(self, name: str, number: int, total: int, text: str) -> None:
        """Move a row to a step."""
        self._change(name, lambda row: replace(row, step=f"{number}/{total}", text=text, last=""))

    def line(self, name: str, text: str) -> None:
        """Note what a row's step said last; empty lines say nothing."""
        if text and not text.isspace():
            self._change(name, lambda row: replace(row, last=text[-_LONGEST_LINE:]))

    def end(self, name: str) -> bool:
        """Take a row away; say whether it was there."""
        with self._lock:
            return self._rows.pop(name, None) is not None

    def rows(self) -> tuple[Row, ...]:
        """Give the rows as they are now."""
        with self._lock:
            return tuple(self._rows.values())

    def _change(self, name: str, changed: Callable[[Row], Row]) -> None:
        with self._lock:
            self._rows[name] = changed(self._rows.get(name) or Row(name=name, began=self.clock()))
