"""The rows on the terminal: drawing them, with rich. Imported when something is captured, which repays its start-up time.

What sandboxes wrote is cleaned and cut to the width before rich sees it, so that it can neither drive the terminal nor
tear the rows. The rows go away at the end; the lines above them stay. A terminal that was closed takes all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from prewarm.cli import _output, _text
from prewarm.cli._board import Board, Row
from prewarm.cli._hush import Hush, in_foreground

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_A_SECOND: Final = 8
_SHORTEST_NAME: Final = 8
_SHORTEST_TEXT: Final = 12


class Screen:
    """A terminal with rows that are drawn again a few times a second, from now until ``close``. Thread-safe.

    Args:
        stream: The terminal.
        board: What the rows are.
    """

    def __init__(self, stream: TextIO, board: Board) -> None:
        self._stream = stream
        self._board = board
        self._console = Console(
            file=cast("TextIO", _output.Lasting(stream)),
            no_color=not _output.in_colour(stream),
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._hush = Hush(stream)
        self._lock = threading.Lock()  # Guards what follows: signals pause and resume while captures begin and end.
        self._live: Live | None = None
        self._closed = False
        self.resume()

    def say(self, text: str) -> None:
        """Print a line above the rows; it stays. Colours in it are kept."""
        self._console.print(Text.from_ansi(text))

    def pause(self) -> None:
        """Take the rows away until ``resume``. Twice is fine."""
        with self._lock:
            live, self._live = self._live, None
            if live is not None:
                live.stop()
            self._hush.end()

    def resume(self) -> None:
        """Draw the rows again, unless the terminal serves another program now. Twice is fine."""
        with self._lock:
            if self._live is None and not self._closed and in_foreground(self._stream) is not False:
                self._hush.begin()
                self._live = Live(  # A new one: it does not know where it left the cursor.
                    _Rows(self._board),
                    console=self._console,
                    refresh_per_second=_FRAMES_A_SECOND,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()

    def close(self) -> None:
        """Take the rows away for good. Twice is fine."""
        self._closed = True
        self.pause()


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
    frame = _FRAMES[int(now * _FRAMES_A_SECOND) % len(_FRAMES)]
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
