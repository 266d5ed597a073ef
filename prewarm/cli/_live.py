"""Progress of a build on a terminal: a row that moves for each template in work, finished ones above.

``_screen`` draws; it is not even imported before something is captured.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self, TextIO

from prewarm.backends.base import Phase
from prewarm.cli import _lines, _text
from prewarm.cli._board import Board
from prewarm.cli._hush import suspendable
from prewarm.report import TemplateReport

if TYPE_CHECKING:  # rich costs start-up time that only a capture repays.
    from prewarm.cli._screen import Screen

_SILENT_S: Final = 2.0


class LiveProgress:
    """Rows on a terminal, from the moment that something is captured or reading takes long; a run listener.

    Args:
        stream: The terminal.
        talk: Takes one line, until then.
    """

    def __init__(self, stream: TextIO, *, talk: Callable[[str], None]) -> None:
        self._stream = stream
        self._talk = talk
        self._board = Board()
        self._lock = threading.Lock()  # Guards _screen and _read: several captures may begin at once.
        self._read = False
        self._screen: Screen | None = None
        self._told: set[str] = set()
        self._signals = contextlib.ExitStack()
        self._reading = threading.Timer(_SILENT_S, self._begin_reading)
        self._reading.daemon = True

    @property
    def told(self) -> frozenset[str]:
        """Names of templates whose end stands on the screen."""
        return frozenset(self._told)

    def __enter__(self) -> Self:
        self._signals.enter_context(suspendable(self._pause, self._resume))
        self._reading.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._signals:
            self._end_reading()
            if self._screen is not None:
                self._screen.close()

    def template_started(self, name: str, key: str, reason: str) -> None:  # noqa: ARG002 - the listener's signature.
        self._end_reading()
        self._board.begin(name)
        with self._lock:
            self._show()

    def phase(self, name: str, phase: Phase) -> None:
        self._board.phase(name, phase.value)

    def step(self, name: str, number: int, total: int, text: str) -> None:
        self._board.step(name, number, total, text)

    def line(self, name: str, text: str) -> None:
        self._board.line(name, text)

    def template_finished(self, report: TemplateReport) -> None:
        self._end_reading()
        if self._board.end(report.name):
            self._told.add(report.name)
            self._say(_lines.template(report, stream=self._stream))

    def note(self, text: str) -> None:
        """Say what the run found worth saying, above the rows."""
        self._say(f"note: {_text.clean(text)}")

    def _begin_reading(self) -> None:
        with self._lock:
            if not self._read:
                self._board.begin_reading()
                self._show()

    def _end_reading(self) -> None:
        self._reading.cancel()
        with self._lock:
            self._read = True
            self._board.end_reading()

    def _show(self) -> None:
        if self._screen is None:
            from prewarm.cli._screen import Screen

            self._screen = Screen(self._stream, self._board)

    def _pause(self) -> None:
        if self._screen is not None:
            self._screen.pause()

    def _resume(self) -> None:
        if self._screen is not None:
            self._screen.resume()

    def _say(self, text: str) -> None:
        if self._screen is None:
            self._talk(text)
        else:
            self._screen.say(text)
