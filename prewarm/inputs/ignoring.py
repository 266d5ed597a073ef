"""Which files of a tree count: ``ignore`` patterns as in ``.gitignore``, and the globs of a seed's source. Pure.

Both are asked while a tree is walked, directory by directory, so that what is left out is never entered.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import operator
import re
from collections.abc import Callable, Sequence
from typing import Final

from prewarm.inputs.gitignore import Rule, rule

_MAGIC: Final = re.compile(r"[*?\[]")


class Ignore:
    """Patterns as git reads them: the last one that matches decides, ``!`` brings back, ``name/`` means directories.

    What lies in a directory that is left out cannot be brought back, as with git.

    Args:
        patterns: Relative to where the walk begins.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.keeps_git = any(pattern.strip().rstrip("/") in {"!.git", "!/.git"} for pattern in patterns)
        rules = [found for found in map(rule, reversed(patterns)) if found is not None]
        self._for_directories = _compiled(rules)
        self._for_files = _compiled([one for one in rules if not one.only_directories])

    def hides(self, path: bytes, *, is_directory: bool) -> bool:
        """Tell whether a path, relative to where the walk begins, is left out."""
        text = path.decode("utf-8", "surrogateescape")
        for hides, match in self._for_directories if is_directory else self._for_files:
            if match(text) is not None:
                return hides
        return False


def _compiled(rules: Sequence[Rule]) -> list[tuple[bool, Callable[[str], object]]]:
    """Put neighbours that say the same into one expression; the order between the others decides."""
    return [
        (hides, re.compile("|".join(one.regex for one in group), re.DOTALL).fullmatch)
        for hides, group in itertools.groupby(rules, key=operator.attrgetter("hides"))
    ]


class Glob:
    """A path pattern: ``*``, ``?`` and ``[…]`` within a name, ``**`` for any directories. Names with a dot are no exception.

    A directory that matches brings its whole tree. Used as an automaton: a state is the set of parts that may come next.

    Args:
        parts: Of the pattern, after its fixed part.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = [None if part == "**" else _name_matcher(part) for part in parts]
        self.start = self._open({0})

    def step(self, state: frozenset[int], name: bytes) -> frozenset[int]:
        """Go down into a name; the empty state means that nothing below can match."""
        text = name.decode("utf-8", "surrogateescape")
        last = len(self._parts) - 1
        reached: set[int] = set()
        for position in state:
            if position > last:
                reached.add(position)  # Below a match everything is one.
            elif (matcher := self._parts[position]) is None:
                reached.add(position if position < last else position + 1)
            elif matcher.fullmatch(text):
                reached.add(position + 1)
        return self._open(reached)

    def matches(self, state: frozenset[int]) -> bool:
        """Tell whether what led to this state is a match."""
        return len(self._parts) in state

    def _open(self, state: set[int]) -> frozenset[int]:
        """Add what ``**`` reaches by standing for no directory; at the end of a pattern it stands for something."""
        opened = set(state)
        for position in state:
            following = position
            while following < len(self._parts) - 1 and self._parts[following] is None:
                following += 1
                opened.add(following)
        return frozenset(opened)


def is_magic(text: str) -> bool:
    """Tell whether a path is a pattern."""
    return _MAGIC.search(text) is not None


@functools.cache
def _name_matcher(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part))
