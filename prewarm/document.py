"""Parsed JSON from outside, read piece by piece into checked values; every complaint names its place.

Standard library only: lock files and session states are read by the runtime. It knows JSON and no meaning; the modules
that own a format (``lockfile``, ``catalog``, ``session``) say what belongs where and turn complaints into their errors.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Final, NoReturn, TypeVar

from prewarm.definition.options import Json

_LARGEST: Final = 2**63 - 1
_DEEPEST: Final = 100
_EnumT = TypeVar("_EnumT", bound=Enum)


def parse(data: bytes | str) -> Node:
    """Parse JSON strictly: no ``NaN``, no name twice in an object.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        value: object = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return Node(value)


class Node:
    """One place in parsed JSON. Its methods give checked values and raise ``ValueError`` naming the place.

    Args:
        value: Parsed JSON.
        where: Its place in the document.
    """

    __slots__ = ("_value", "_where")

    def __init__(self, value: object, where: str = "top") -> None:
        self._value = value
        self._where = where

    def complain(self, wanted: str) -> NoReturn:
        """Raise ``ValueError``: this place is not what was wanted there."""
        raise ValueError(f"{self._where} is not {wanted}")

    def get(self, name: str) -> Node:
        """Give the place below, which must be there."""
        if not isinstance(self._value, dict):
            self.complain("an object")
        if name not in self._value:
            raise ValueError(f"{self._where} has no '{name}'")
        return Node(self._value[name], f"{self._where}.{name}")

    def object(self) -> dict[str, Json]:
        """Give an object as it stands, nested no deeper than whoever reads it can follow."""
        if not isinstance(self._value, dict):
            self.complain("an object")
        if _is_deep(self._value):
            self.complain(f"nested at most {_DEEPEST} deep")
        return self._value

    def items(self) -> list[Node]:
        """Give the places of a list."""
        if not isinstance(self._value, list):
            self.complain("a list")
        return [Node(item, f"{self._where}[{number}]") for number, item in enumerate(self._value)]

    def text(self, pattern: re.Pattern[str] | None = None) -> str:
        """Give text without NUL and halves of characters, matching a pattern in full."""
        if not isinstance(self._value, str) or "\0" in self._value or not _can_be_written(self._value):
            self.complain("text")
        if pattern is not None and not pattern.fullmatch(self._value):
            self.complain("well-formed")
        return self._value

    def texts(self) -> dict[str, str]:
        """Give an object of texts."""
        return {name: self.get(name).text() for name in self.object()}

    def member(self, kind: type[_EnumT]) -> _EnumT:
        """Give the member of an enum that has this value."""
        found = next((one for one in kind if one.value == self._value), None)
        if found is None:
            self.complain(f"one of {', '.join(str(one.value) for one in kind)}")
        return found

    def positive(self) -> float:
        """Give a number above zero that can be reckoned with."""
        if isinstance(self._value, bool) or not isinstance(self._value, (int, float)):
            self.complain("a number")
        if not 0 < self._value <= _LARGEST:
            self.complain("a positive number")
        return self._value

    def positive_or_none(self) -> float | None:
        """Give a finite number above zero, or ``None``."""
        return None if self._value is None else self.positive()

    def count_or_none(self) -> int | None:
        """Give a whole number above zero, or ``None``."""
        if self._value is None:
            return None
        if isinstance(self._value, bool) or not isinstance(self._value, int) or not 0 < self._value <= _LARGEST:
            self.complain("a positive whole number or null")
        return self._value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)  # type: ignore[attr-defined] # It is a list.
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has a name twice")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
