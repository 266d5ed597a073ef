"""Progress of a build for people who cannot watch a screen: plain lines, and a sign of life every ten seconds.

``following`` chooses: rows that move on a terminal (``_live``, with rich), lines elsewhere, nothing where that was
asked for. Called by ``build``; the capturing threads call the listener.
"""

from __future__ import annotations

import contextlib
import enum
import io
import sys
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final, Protocol, Self

from prewarm.backends.base import Phase
from prewarm.cli import _output, _text
from prewarm.cli._board import Board, Row
from prewarm.cli._live import LiveProgress
from prewarm.pipeline.listening import RunListener, Silent
from prewarm.report import TemplateReport
from prewarm.request import HOOK_THREAD

HEARTBEAT_S: Final = 10.0
_LONGEST_LINE: Final = 160


class ProgressKind(enum.Enum):
    """How a build shows what it is doing."""

    AUTO = "auto"
    PLAIN = "plain"
    NONE = "none"


class Listening(RunListener, Protocol):
    """A listener that knows of which templates it has said how they ended."""

    @property
    def told(self) -> AbstractSet[str]:
        """Names of templates whose end stands on the screen, in the words of the report."""


class Quiet(Silent):
    """Says nothing while it runs; the report says what came of it.

    Args:
        talk: Takes one line.
    """

    told: AbstractSet[str] = frozenset()

    def __init__(self, *, talk: Callable[[str], None]) -> None:
        self._talk = talk

    def note(self, text: str) -> None:
        """Say what the run found worth saying."""
        self._talk(f"note: {_text.clean(text)}")


class PlainProgress:
    """A line where something begins or ends, and one for each template in work every so often.

    Args:
        heartbeat_s: Seconds between two signs of life.
        talk: Takes one line.
    """

    told: AbstractSet[str] = frozenset()

    def __init__(self, *, heartbeat_s: float = HEARTBEAT_S, talk: Callable[[str], None]) -> None:
        self._board = Board()
        self._heartbeat_s = heartbeat_s
        self._talk = talk
        self._stop = threading.Event()
        # A capture may be silent for minutes inside one call; only another thread can say that it is alive.
        self._beat = threading.Thread(target=self._beat_until_stopped, name="prewarm-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._board.begin_reading()
        self._beat.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._beat.join()

    def template_started(self, name: str, key: str, reason: str) -> None:
        self._board.end_reading()
        self._board.begin(name)
        self._say(f"{name}: capturing {key[:12]} ({reason})")

    def phase(self, name: str, phase: Phase) -> None:
        self._board.phase(name, phase.value)

    def step(self, name: str, number: int, total: int, text: str) -> None:
        self._board.step(name, number, total, text)
        for row in self._board.rows():
            if row.name == name:
                self._say(f"{name}: {row.doing}: {_text.first_line(text)}")

    def line(self, name: str, text: str) -> None:
        self._board.line(name, text)

    def template_finished(self, report: TemplateReport) -> None:
        self._board.end_reading()
        if self._board.end(report.name):
            self._say(f"{report.name}: {report.status.value} after {_text.duration(report.total_s)}")

    def note(self, text: str) -> None:
        """Say what the run found worth saying."""
        self._say(f"note: {text}")

    def _say(self, text: str) -> None:
        self._talk(_text.shorten(_text.clean(text), _LONGEST_LINE))

    def _beat_until_stopped(self) -> None:
        while not self._stop.wait(self._heartbeat_s):
            for row in self._board.rows():
                self._say(sign_of_life(row, self._board.clock()))


def sign_of_life(row: Row, now: float) -> str:
    """Say in one line that a template is still in work, where it is, and what it said last."""
    latest = row.said or _text.first_line(row.text)
    return f"{row.name}: {row.doing}, {_text.duration(now - row.began)} so far{': ' if latest else ''}{latest}"


class LineWriter(io.TextIOBase):
    """A text stream that hands on whole lines, for what Python code of this process prints meanwhile. Thread-safe."""

    def __init__(self, hand_on: Callable[[str], None]) -> None:
        super().__init__()
        self._hand_on = hand_on
        self._lock = threading.Lock()  # Guards _begun: hooks of several templates print at once.
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._hand_on(line)
        return len(text)

    def finish(self) -> None:
        """Hand on a last line that has no end."""
        with self._lock:
            rest, self._begun = self._begun, ""
        if rest:
            self._hand_on(rest)
        self._hand_on = _drop


def _drop(_line: str) -> None:
    """Take what a hook prints that was left behind."""


@contextlib.contextmanager
def following(kind: ProgressKind) -> Iterator[Listening]:
    """Show a run while it lasts; what hooks print goes the same way, so that stdout stays for data."""
    progress = _choose(kind, _output.talker())
    with _output.stdout_kept_for_data(), progress as listener:
        printed = LineWriter(lambda line: listener.note(line) if line.strip() else None)
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                yield listener
        finally:
            printed.finish()
            _output.keep_apart({thread for thread in threading.enumerate() if thread.name == HOOK_THREAD})


def _choose(kind: ProgressKind, talk: Callable[[str], None]) -> contextlib.AbstractContextManager[Listening]:
    if kind is ProgressKind.NONE:
        return contextlib.nullcontext(Quiet(talk=talk))
    if kind is ProgressKind.PLAIN or not (_output.is_terminal(sys.stderr) and _output.is_unicode(sys.stderr)):
        return PlainProgress(talk=talk)
    return LiveProgress(sys.stderr, talk=talk)
