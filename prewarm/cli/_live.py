"""Progress of a build on a terminal: a row that moves for each template in work, finished ones above. With rich.

What sandboxes wrote is cleaned and cut to the width before rich sees it, so that it can neither drive the terminal nor
tear the rows. The rows go away at the end; the lines above them stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Self, TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from prewarm.backends.base import Phase
from prewarm.cli import _output, _text
from prewarm.cli._board import Board, Row
from prewarm.report import TemplateReport

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_A_SECOND: Final = 8
_SHORTEST_NAME: Final = 8
_SHORTEST_TEXT: Final = 12
_STYLES: Final = {"fresh": "green", "reused": "cyan", "failed": "bold red", "skipped": "yellow"}


class LiveProgress:
    """Rows on a terminal, renewed a few times a second; a run listener.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._board = Board()
        self._console = Console(
            file=stream, no_color=not _output.in_colour(stream), highlight=False, markup=False, emoji=False
        )
        self._live = Live(
            _Rows(self._board),
            console=self._console,
            refresh_per_second=_FRAMES_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()

    def template_started(self, name: str, key: str, reason: str) -> None:  # noqa: ARG002 - the listener's signature.
        self._board.begin(name)

    def phase(self, name: str, phase: Phase) -> None:
        self._board.phase(name, phase.value)

    def step(self, name: str, number: int, total: int, text: str) -> None:
        self._board.step(name, number, total, text)

    def line(self, name: str, text: str) -> None:
        self._board.line(name, text)

    def template_finished(self, report: TemplateReport) -> None:
        self._board.end(report.name)
        self._console.print(finished_line(report))

    def note(self, text: str) -> None:
        """Say what the run found worth saying, above the rows."""
        self._console.print(Text.assemble(("note: ", "cyan"), _text.clean(text)))


def finished_line(report: TemplateReport) -> Text:
    """Give what is said of a template when it is done: ``fresh  analyst  3f2a9c1b7d04  12.3s  first capture``."""
    word = report.status.value
    rest = f"  {report.name}  {report.short_key}  {_text.duration(report.total_s)}  {_text.clean(report.sentence)}"
    return Text.assemble((word.ljust(7), _STYLES.get(word, "")), rest)


class _Rows:
    """Renders a board as it is at the moment rich asks."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(1, options.max_width - 1)  # The last column stays free: some terminals wrap when it is written.
        yield from lines(self._board.rows(), now=self._board.clock(), width=width, height=console.height)


def lines(rows: tuple[Row, ...], *, now: float, width: int, height: int) -> Iterator[Text]:
    """Give the rows as lines that fit: two each, one each where there are many, and how many more there are."""
    room = max(1, height - 2)
    shown = rows if len(rows) <= room else rows[: room - 1]
    both = 2 * len(rows) <= room
    for row in shown:
        yield _fit(_head(row, now, width), width)
        if both and row.said:
            yield _fit(Text(f"  {row.said}", style="dim"), width)
    if len(shown) < len(rows):
        yield _fit(Text(f"  … and {len(rows) - len(shown)} more", style="dim"), width)


def _head(row: Row, now: float, width: int) -> Text:
    frame = _FRAMES[int(time.monotonic() * _FRAMES_A_SECOND) % len(_FRAMES)]
    elapsed = _text.duration(now - row.began)
    fixed = len(f"{frame} ") + len(f"  {row.doing}  {elapsed}")
    name = _text.shorten(row.name, max(_SHORTEST_NAME, width - fixed))
    head = Text.assemble((f"{frame} ", "cyan"), (name, "bold"), f"  {row.doing}  {elapsed}")
    if head.cell_len + _SHORTEST_TEXT <= width:
        head.append(f"  {_text.first_line(row.text)}", style="dim")
    return head


def _fit(text: Text, width: int) -> Text:
    text.no_wrap = True
    text.truncate(width, overflow="ellipsis")
    return text
