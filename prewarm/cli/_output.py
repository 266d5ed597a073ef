"""Print: the only module that writes. Data goes to stdout, talk to stderr; both can be read without colour.

Called by the commands with values of the library; it decides nothing. What a sandbox wrote has passed ``_text.clean``
before it gets here or passes it here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TextIO, TypeAlias

from prewarm import process
from prewarm.cli import _interrupts, _text
from prewarm.definition.model import Json
from prewarm.errors import PrewarmError
from prewarm.failure import Failure

JsonObject: TypeAlias = Mapping[str, Json]
LAST_LINES: Final = 40
_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STATUS_COLOURS: Final = {
    "fresh": "green",
    "reused": "cyan",
    "failed": "red",
    "skipped": "yellow",
    "capture": "yellow",
    "reuse": "cyan",
}


class UnwritableError(PrewarmError):
    """Say that what was asked for cannot be written where it was to go."""


def prepare() -> None:
    """Let no stream that is closed, and no character that one cannot encode, end the command.

    What was closed becomes /dev/null, under its own number: no file opened later may take its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it lives as long as we do.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and process.environment().get("TERM", "") not in {"", "dumb", "unknown"}


def in_colour(stream: TextIO) -> bool:
    """Say whether a stream takes colour: a terminal, and nobody asked for none (https://no-color.org)."""
    return is_terminal(stream) and not process.environment().get("NO_COLOR")


def is_unicode(stream: TextIO) -> bool:
    """Say whether a stream can show more than ASCII."""
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def paint(text: str, *styles: str, stream: TextIO) -> str:
    """Colour a text where the stream takes colour."""
    if not styles or not in_colour(stream):
        return text
    return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def data(text: str) -> None:
    """Print what was asked for; for a terminal that was closed, nothing.

    Raises:
        BrokenPipeError: Whoever read it went away.
        UnwritableError: It cannot be written.
    """
    with _told(sys.stdout):
        _write(sys.stdout, text + "\n")


def finish() -> None:
    """Print what a command left unprinted; raises as ``data`` does."""
    with _told(sys.stdout):
        sys.stdout.flush()


def lines(text: str) -> None:
    """Print a text of several lines that may quote what a sandbox or a stranger wrote."""
    for line in _text.clean_lines(text):
        data(line)


def raw(chunk: bytes, *, error: bool = False) -> None:
    """Pass on the bytes of a command in a session, as they are."""
    stream = sys.stderr if error else sys.stdout
    with _told(stream):
        stream.buffer.write(chunk)
        stream.buffer.flush()


def json_object(value: JsonObject) -> None:
    """Print the one object that ``--json`` promises: whole, and nothing after it."""
    text = json.dumps(value, indent=2)
    _interrupts.hear_no_more()
    data(text)


def talk(text: str) -> None:
    """Say something about what is going on; where nobody can hear it any more, go on."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, text + "\n")


def talker() -> Callable[[str], None]:
    """Give what says a line on stderr as it is now, whatever stands in its place later."""
    stream = sys.stderr

    def talk_there(text: str) -> None:
        with contextlib.suppress(OSError):
            _write(stream, text + "\n")

    return talk_there


def hint(text: str) -> None:
    """Say what can be done."""
    first, *rest = _text.clean_lines(text)
    talk("\n".join((f"{paint('hint:', 'cyan', stream=sys.stderr)} {first}", *(f"      {line}" for line in rest))))


def status(word: str, *, width: int = 0, stream: TextIO) -> str:
    """Colour a status word, padded to a width."""
    colour = _STATUS_COLOURS.get(word)
    return paint(word.ljust(width), *((colour,) if colour else ()), stream=stream)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, cut: Sequence[int] = ()) -> None:
    """Print rows under their headings, columns aligned; the last one as long as it is.

    Args:
        columns: The headings.
        rows: A text a column.
        cut: Columns that are cut, the widest first, where the table does not fit a terminal.
    """
    cells = [[_text.clean(cell) for cell in row] for row in rows]
    widths = [max(len(line[at]) for line in ([*columns], *cells)) for at in range(len(columns))]
    if cut and is_terminal(sys.stdout):
        widths = _text.fitted(widths, room=shutil.get_terminal_size().columns, cut=cut)
    for number, line in enumerate(([*columns], *cells)):
        shown = (_text.shorten(cell, width).ljust(width) for cell, width in zip(line, widths, strict=True))
        padded = "  ".join(shown).rstrip()
        data(paint(padded, "bold", stream=sys.stdout) if number == 0 else padded)


def failure(failed: Failure) -> None:
    """Print an error: what failed, its last lines where a step failed, and the way out on a line of its own."""
    first, *rest = _text.clean_lines(failed.message)
    talk(f"{paint('error:', 'red', 'bold', stream=sys.stderr)} {first}")
    for line in rest:
        talk(f"  {line.strip()}")
    if failed.step is not None:
        _failed_step(failed)
    if failed.hint:
        hint(failed.hint)


def error_object(failed: Failure) -> JsonObject:
    """Give an error as the object that ``--json`` prints where there is no answer."""
    return {"schema": "prewarm.error/1", "error": failed.to_json()}


class _KeptApart:
    """A stream that some threads write to in vain; for everybody else it is what it was."""

    def __init__(self, stream: TextIO, unheard: AbstractSet[threading.Thread]) -> None:
        self._stream = stream
        self._unheard = unheard

    def write(self, text: str) -> int:
        return len(text) if threading.current_thread() in self._unheard else self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def keep_apart(threads: AbstractSet[threading.Thread]) -> None:
    """Let threads that a run has left behind write nothing any more: no line of theirs belongs into what is printed."""
    if threads:
        for name in ("stdout", "stderr"):
            setattr(sys, name, _KeptApart(getattr(sys, name), threads))


def _failed_step(failed: Failure) -> None:
    text, *more = _text.clean_lines((failed.text or "").strip())
    talk(f"  step {failed.step}: {text}")
    for line in more:
        talk(f"    {line}")
    if failed.command_exit_code is not None:
        talk(f"  exit code {failed.command_exit_code}{'; it wrote last:' if failed.tail else '; it wrote nothing'}")
    bar = paint("|", "dim", stream=sys.stderr)
    for line in failed.tail[-LAST_LINES:]:
        talk(f"    {bar} {_text.clean(line)}")


@contextlib.contextmanager
def stdout_kept_for_data() -> Iterator[None]:
    """Send what children of this process write to its stdout to stderr instead.

    Hooks run in this process; what a program writes that one of them started must not end up in front of the object
    that ``--json`` promises.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def forget(stream: TextIO) -> None:
    """Let what is still to be written to a stream that takes nothing any more go nowhere, the interpreter's flush too."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Lasting:
    """A terminal's stream to which nothing fails to be written: what is for one that was closed is dropped.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _told(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            forget(stream)  # A terminal that was closed. That ends the command, or by SIGHUP it was told not to.
            return
        raise UnwritableError(
            f"cannot write the output: {error.strerror}", hint="send it somewhere else, or free some space"
        ) from error


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
