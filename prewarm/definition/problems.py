"""Problems of a definition: collected, put in order, told all at once.

Called by every step of loading. A problem has a place (``prewarm.yaml:12:5``, or ``bootstrap[1].timeout`` for a definition
made in Python) and a sentence; there is no severity, because nothing that is wrong is let through.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from prewarm.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        line: For the order; 0 where there are no lines.
        column: For the order.
        where: As a person reads it.
        message: What is wrong there: lower case, no full stop.
    """

    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Problems:
    """Collects problems until somebody asks whether there were any.

    Args:
        subject: What they are problems of: the file's name, or the definition's.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._found: dict[Problem, None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, where: str, message: str, *, line: int = 0, column: int = 0) -> None:
        """Keep a problem; the same one twice (from two combinations of a matrix) is one."""
        self._found[Problem(line=line, column=column, where=where, message=message)] = None

    def raise_if_any(self) -> None:
        """Tell all of them, in the order of the file.

        Raises:
            DefinitionError: There is at least one.
        """
        if not self._found:
            return
        told = tuple(str(problem) for problem in sorted(self._found))
        if len(told) == 1:
            raise DefinitionError(told[0], problems=told)
        raise DefinitionError(
            f"{len(told)} problems in {self._subject}:\n" + "\n".join(f"  {t}" for t in told), problems=told
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """Give ``; did you mean 'x'?`` for the name that is nearest, or what there is to choose from."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.lower(), known, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(known)}" if known else ""
