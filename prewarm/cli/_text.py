"""Text for people: made safe for a terminal, cut to a width, times and sizes in words. Pure.

What a sandbox writes is hostile until shown otherwise: it may carry escape sequences that move the cursor, set the
title or answer questions. ``clean`` is what every such text goes through before it is printed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 4096
_TAB: Final = "    "
# ESC [ … letter, ESC ] … BEL or ST (also DCS, SOS, PM, APC), ESC and one more; the same as single C1 characters.
_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Zl", "Zp"})
_PLAIN: Final = re.compile(r"[ -~]*")
_MARKS_IN_A_ROW: Final = 2
_MINUTE: Final = 60
_KILO: Final = 1024
_NARROWEST: Final = 8


def clean(text: str) -> str:
    """Give one line that no terminal acts upon: no escape sequences, no control, bidirectional or invisible characters.

    Of a line that a program overwrote with carriage returns, what it wrote last stays.
    """
    text = text[:_LONGEST]
    if _PLAIN.fullmatch(text):
        return text.rstrip()
    text = _SEQUENCE.sub("", text).replace("\t", _TAB).rstrip("\r\n")
    text = text.rpartition("\r")[2].replace("\n", " ")
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if category == "Cs":
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif category not in _UNSAFE_CATEGORIES and marks <= _MARKS_IN_A_ROW:
            kept.append(character)
    return "".join(kept).rstrip()


def clean_lines(text: str) -> list[str]:
    """Clean a text of several lines, line by line."""
    return [clean(line) for line in text.split("\n")]


def first_line(text: str) -> str:
    """Give the first line of a step's text, with a sign that there is more."""
    lines = text.strip().splitlines() or [""]
    return f"{clean(lines[0])} …" if len(lines) > 1 else clean(lines[0])


def shorten(text: str, width: int) -> str:
    """Cut to so many characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def fitted(widths: Sequence[int], *, room: int, cut: Sequence[int]) -> list[int]:
    """Give widths of columns, two blanks apart, of which some are made narrower until all fit; none below eight."""
    found = list(widths)
    while sum(found) + 2 * (len(found) - 1) > room:
        widest = max(cut, key=lambda at: found[at])
        if found[widest] <= _NARROWEST:
            break
        found[widest] -= 1
    return found


def duration(seconds: float) -> str:
    """Say how long: ``0.4s``, ``41.2s``, ``6m 12s``, ``1h 02m``."""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // _MINUTE}h {minutes % _MINUTE:02d}m"


def size(count: int) -> str:
    """Say how big: ``812 B``, ``1.4 MiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KILO:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KILO
    return f"{amount:.1f} TiB"
