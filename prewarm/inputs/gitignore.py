"""Patterns as in ``.gitignore``, as regular expressions: one path, one answer, no look at what lies above it. Pure.

Whoever walks a tree asks for each directory before entering it, which is how git reads its patterns; a library that judges
whole paths has to guess at that (``*.log`` then ``!build/`` brings ``build/a.log`` back with pathspec 1.1, not with git).
A test compares with git itself. As with git, a pattern that is malformed matches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CLASSES: Final = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One pattern.

    Attributes:
        hides: Whether it leaves out what it matches; ``!`` brings back.
        only_directories: Whether it ended with ``/``.
        regex: For the whole of a relative path.
    """

    hides: bool
    only_directories: bool
    regex: str


def rule(line: str) -> Rule | None:
    """Read one line; ``None`` for what is blank, a comment, or malformed."""
    text = _without_final_blanks(line.rstrip("\r\n"))
    if not text or text.startswith("#"):
        return None
    hides = not text.startswith("!")
    text = text if hides else text[1:]
    only_directories = text.endswith("/")
    text = text[:-1] if only_directories else text
    is_anchored = "/" in text
    body = _translate(text.removeprefix("/"), is_anchored=is_anchored)
    if body is None or not text:
        return None
    return Rule(hides=hides, only_directories=only_directories, regex=body if is_anchored else f"(?:.*/)?{body}")


def _without_final_blanks(text: str) -> str:
    stripped = text.rstrip(" ")
    is_escaped = len(text) > len(stripped) and (len(stripped) - len(stripped.rstrip("\\"))) % 2 == 1
    return f"{stripped} " if is_escaped else stripped


def _translate(text: str, *, is_anchored: bool) -> str | None:
    """Give the regular expression for a pattern, of paths or of names alone; ``None`` where git would match nothing."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "*":
            part, at = _stars(text, at) if is_anchored else ("[^/]*", at + 1)
        elif character == "?":
            part, at = "[^/]", at + 1
        elif character == "[":
            found = _bracket(text, at)
            if found is None:
                return None
            part, at = found
        elif character == "\\":
            if at + 1 == len(text):
                return None
            part, at = re.escape(text[at + 1]), at + 2
        else:
            part, at = re.escape(character), at + 1
        parts.append(part)
    return "".join(parts)


def _stars(text: str, at: int) -> tuple[str, int]:
    """Read ``*``, ``**`` or more; two and more are more than one only as a whole part of the path."""
    end = at
    while end < len(text) and text[end] == "*":
        end += 1
    begins, ends = at == 0 or text[at - 1] == "/", end == len(text) or text[end] == "/"
    if end - at == 1 or not (begins and ends):
        return "[^/]*", end
    if end == len(text):
        return ".+", end
    return "(?:.*/)?", end + 1


def _bracket(text: str, at: int) -> tuple[str, int] | None:
    """Read ``[…]``, with ``!`` or ``^`` for "none of", ranges, and classes such as ``[:digit:]``."""
    at += 1
    negated = text[at : at + 1] in {"!", "^"}
    at += negated
    items: list[str] = []
    is_first = True
    while at < len(text) and (text[at] != "]" or is_first):
        is_first = False
        if text.startswith("[:", at):
            name, mark, _ = text[at + 2 :].partition(":]")
            if not mark or name not in _CLASSES:
                return None
            items.append(_CLASSES[name])
            at += len(name) + 4
            continue
        low, at = _literal(text, at)
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in {"]", ""}:
            high, at = _literal(text, at + 1)
            items.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low))
        else:
            items.append(re.escape(low))
    if at >= len(text):
        return None
    inside = "".join(items)
    if not inside:
        return ("[^/]" if negated else "(?!)"), at + 1
    return (f"(?!/)[{'^' if negated else ''}{inside}]"), at + 1


def _literal(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        return text[at + 1], at + 2
    return text[at], at + 1
