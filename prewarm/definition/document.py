"""YAML with its places: text in, a tree of values that know line and column out. The only importer of yaml.

Refuses here, because nobody can see it later: duplicate keys, keys that are not text, tags, cycles and bombs of aliases.
Anchors, aliases and merge keys (``<<``) are fine; a key written beside a merge wins over the merged one. Called by ``load``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml

from prewarm.definition.problems import Problems

try:
    from yaml import CSafeLoader as _Loader  # ten times as fast
except ImportError:  # PyYAML without libyaml: slower, not different
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MOST_NODES: Final = 200_000
_TAG: Final = "tag:yaml.org,2002:"
_DEEPEST: Final = 100
_NESTED: Final = 1000  # More than any file is deep, and less than a stack holds.
_OPENINGS: Final = ("[", "{", "- ", "? ")


@dataclass(frozen=True, slots=True)
class Misread:
    """Text that YAML reads as something with no place in a definition: a date, a set of bytes.

    Attributes:
        text: As it stands in the file.
    """

    text: str


Scalar: TypeAlias = "str | int | float | bool | Misread | None"


@dataclass(slots=True)
class Located:
    """A value and where it stands; lines and columns start at 1.

    Attributes:
        value: A scalar, or a list or mapping of located values.
        text: A scalar as it stands in the file, without quotes.
        key: Line and column of the key that it belongs to; its own where it has none.
    """

    value: Scalar | list[Located] | dict[str, Located]
    line: int
    column: int
    text: str
    key: tuple[int, int]

    def at(self, path: tuple[str | int, ...]) -> Located:
        """Find what a path leads to; parts that lead nowhere are passed over, so the nearest that exists is found."""
        found = self
        for part in path:
            match found.value:
                case dict() as mapping if isinstance(part, str) and part in mapping:
                    found = mapping[part]
                case list() as items if isinstance(part, int) and part < len(items):
                    found = items[part]
                case _:
                    continue
        return found

    @property
    def entries(self) -> dict[str, Located]:
        """The mapping's entries; none where this is no mapping."""
        return self.value if isinstance(self.value, dict) else {}


def parse(text: str, file: str, problems: Problems) -> Located | None:
    """Parse one YAML document.

    Args:
        text: Of the file.
        file: Its name, as problems show it.
        problems: Hears what is wrong.

    Returns:
        What was read, without what was refused; ``None`` where nothing can be made of the text.
    """
    try:
        line = _too_deep(text) if sum(text.count(opening) for opening in _OPENINGS) > _NESTED else 0
        if line:
            problems.add(f"{file}:{line}:1", "nested too deeply", line=line, column=1)
            return None
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = "; ".join(part for part in (error.context, error.problem) if part)
        problems.add(f"{file}:{line}:{column}", f"not valid YAML: {said}", line=line, column=column)
        return None
    except yaml.YAMLError as error:
        problems.add(f"{file}:1:1", f"not valid YAML: {' '.join(str(error).split())}", line=1, column=1)
        return None
    if root is None:
        problems.add(f"{file}:1:1", "nothing is written here", line=1, column=1)
        return None
    reader = _Reader(file, problems)
    located = reader.read(root)
    return located if reader.count <= MOST_NODES else None


def _too_deep(text: str) -> int:
    """Give the line where collections are nested so deeply that composing them would end the process; 0 for none.

    libyaml composes by calling itself, as deep as the text says, in a stack that nobody guards.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _NESTED and event.start_mark is not None:
            return int(event.start_mark.line) + 1
    return 0


class _Reader:
    """Turns nodes into located values; counts them, because aliases make many out of few."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._constructor = yaml.constructor.SafeConstructor()
        self.count = 0
        self._open: set[int] = set()

    def read(self, node: yaml.Node, key: yaml.Node | None = None) -> Located:
        self.count += 1
        mark = node.start_mark
        place = (mark.line + 1, mark.column + 1)
        at = (key.start_mark.line + 1, key.start_mark.column + 1) if key is not None else place
        if isinstance(node, yaml.ScalarNode) and not node.value and node.tag == f"{_TAG}null":
            place = at  # Nothing stands there; its key is what can be seen.
        found = Located(None, *place, "", at)
        if self.count > MOST_NODES:
            if self.count == MOST_NODES + 1:
                self._refuse(node, f"aliases make more than {MOST_NODES} values of this file")
        elif isinstance(node, yaml.ScalarNode):
            found.value, found.text = self._scalar(node), node.value
        elif id(node) in self._open or len(self._open) > _DEEPEST:
            self._refuse(node, "this alias holds itself" if id(node) in self._open else "nested too deeply")
        else:
            self._open.add(id(node))
            self._collection(node, found)
            self._open.discard(id(node))
        return found

    def _collection(self, node: yaml.Node, found: Located) -> None:
        if isinstance(node, yaml.MappingNode):
            if node.tag != f"{_TAG}map":
                self._refuse(node, f"the tag {_shown(node.tag)} is not known here")
            found.value = self._mapping(node)
        elif isinstance(node, yaml.SequenceNode):
            if node.tag != f"{_TAG}seq":
                self._refuse(node, f"the tag {_shown(node.tag)} is not known here")
            found.value = [self.read(item) for item in node.value]

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Located]:
        own: dict[str, Located] = {}
        merged: dict[str, Located] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for entries in self._merged(value):
                    merged = {**entries, **merged}
            elif not isinstance(key, yaml.ScalarNode):
                self._refuse(key, "a key must be text")
            elif key.tag != f"{_TAG}str":
                self._refuse(key, f'the key {key.value or "null"} is read as {_kind(key.tag)}; quote it: "{key.value}"')
            elif key.value in own:
                first = own[key.value].key[0]
                self._refuse(key, f"the key '{key.value}' stands here twice, first in line {first}")
            else:
                own[key.value] = self.read(value, key)
        return {**merged, **own} if merged else own

    def _merged(self, node: yaml.Node) -> Iterator[dict[str, Located]]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            if isinstance(part, yaml.MappingNode):
                yield self.read(part).entries
            else:
                self._refuse(part, "'<<' takes a mapping, or a list of mappings")

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "value" | "merge":
                if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                    self._refuse(node, "this text holds half a surrogate pair, which is no character")
                    return ""
                return text
            case "null":
                return None
            case "bool" | "int" | "float" as kind:
                return self._number(node, kind)
            case "timestamp" | "binary":
                return Misread(text)
        self._refuse(node, f"the tag {_shown(node.tag)} is not known here")
        return Misread(text)

    def _number(self, node: yaml.ScalarNode, kind: str) -> Scalar:
        construct = self._constructor
        try:
            match kind:
                case "bool":
                    return bool(construct.construct_yaml_bool(node))
                case "int":
                    return int(construct.construct_yaml_int(node))
                case _:
                    number = float(construct.construct_yaml_float(node))
                    return number if math.isfinite(number) else Misread(node.value)
        except (ValueError, KeyError):
            return Misread(node.value)

    def _refuse(self, node: yaml.Node, message: str) -> None:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self._problems.add(f"{self._file}:{line}:{column}", message, line=line, column=column)


def _shown(tag: str) -> str:
    return f"'{tag.replace(_TAG, '!!')}'"


def _kind(tag: str) -> str:
    return {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}.get(
        tag.removeprefix(_TAG), f"{_shown(tag)}"
    )
