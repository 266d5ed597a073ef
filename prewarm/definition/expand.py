"""From located YAML to plain data: variables, the combinations of a matrix, rendered strings.

YAML is parsed before strings are rendered, so no value can become structure. Pure. Called by ``load``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from prewarm.definition.document import Located
from prewarm.definition.problems import nearest
from prewarm.errors import DefinitionError
from prewarm.render import Renderer, Variables

Path: TypeAlias = tuple[str | int, ...]
Tell: TypeAlias = Callable[[Path, str], None]

VARIABLE_PREFIX: Final = "PREWARM_VAR_"
MOST_COMBINATIONS: Final = 1000
_EXPRESSION: Final = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_STAND_IN: Final = "0"  # For a value of a matrix that is refused.


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One combination of a matrix.

    Attributes:
        suffix: What it adds to the sandbox's name: ``-3.11-slim``.
        values: For ``{{ matrix.KEY }}``.
    """

    suffix: str = ""
    values: Mapping[str, str]


def variables(
    declared: Mapping[str, str | None],
    *,
    used: frozenset[str],
    given: Mapping[str, str],
    environment: Mapping[str, str],
    tell: Tell,
) -> dict[str, str]:
    """Settle the value of every variable: given by hand, else by ``PREWARM_VAR_NAME``, else as the file says.

    Args:
        declared: By the file; ``None`` where it leaves the value open.
        used: Names that stand in some ``{{ … }}``.
        given: By ``--set``.
        environment: Of the process; a variable's name stands there in capitals.
        tell: Hears of what is given for nothing, and of what is left without a value.
    """
    from_environment = {
        name.removeprefix(VARIABLE_PREFIX): value
        for name, value in environment.items()
        if name.startswith(VARIABLE_PREFIX)
    }
    values: dict[str, str] = {}
    for name in sorted({*declared, *used, *given} - {"matrix"}):
        value = given.get(name, from_environment.get(name.upper(), declared.get(name)))
        if name in given and name not in declared and name not in used:
            tell((), f"--set names '{name}', which is no variable of this file{nearest(name, {*declared, *used})}")
        elif value is not None:
            values[name] = value
        elif name in declared:
            told = f"give it: --set {name}=… or {VARIABLE_PREFIX}{name.upper()}"
            tell(("vars", name), f"the variable '{name}' has no value; {told}")
    return values


def used_names(located: Located) -> frozenset[str]:
    """Find every word that stands in a ``{{ … }}`` or ``{% … %}``; more than are variables, never fewer."""
    found: set[str] = set()
    for text in _texts(located):
        for expression in _EXPRESSION.findall(text):
            found.update(_WORD.findall(expression))
    return frozenset(found)


def _texts(located: Located) -> Iterator[str]:
    match located.value:
        case str() as text if "{" in text:
            yield text
        case list() as items:
            for item in items:
                yield from _texts(item)
        case dict() as entries:
            for item in entries.values():
                yield from _texts(item)


def combinations(sandbox: Located, tell: Tell) -> list[Combination]:
    """Give the combinations of a sandbox's matrix; the one empty combination where it has none.

    Where the matrix is wrong there is at least one all the same, so that the rest of the sandbox is checked in the same run.
    """
    matrix = sandbox.entries.get("matrix")
    if matrix is None:
        return [Combination(values={})]
    if not matrix.entries:
        tell(("matrix",), 'expected a mapping of lists, such as {python: ["3.11", "3.12"]}')
        return [Combination(values=dict.fromkeys(used_names(sandbox), _STAND_IN))]
    axes = [_axis(key, values, tell) for key, values in matrix.entries.items()]
    total = 1
    for axis in axes:
        total *= len(axis)
    if total > MOST_COMBINATIONS:
        tell(("matrix",), f"{total} combinations are more than {MOST_COMBINATIONS}")
        axes = [axis[:1] for axis in axes]
    return [
        Combination(
            suffix="".join(f"-{value}" for value in chosen), values=dict(zip(matrix.entries, chosen, strict=True))
        )
        for chosen in itertools.product(*axes)
    ]


def _axis(key: str, values: Located, tell: Tell) -> list[str]:
    if not isinstance(values.value, list) or not values.value:
        tell(("matrix", key), "expected a list of at least one text")
        return [values.text or _STAND_IN]
    axis: list[str] = []
    for number, item in enumerate(values.value):
        if not isinstance(item.value, str):
            quoted = f'; quote it: "{item.text}"' if item.text else ""
            tell(("matrix", key, number), f"expected text, found {item.text or 'something else'}{quoted}")
            axis += [text for text in [item.text or _STAND_IN] if text not in axis]
        elif item.value in axis:
            tell(("matrix", key, number), f"'{item.value}' stands here twice")
        else:
            axis.append(item.value)
    return axis


class Filler:
    """Turns a located tree into plain data with its strings rendered; what failed is left out and remembered.

    Args:
        renderer: Shared, for it keeps what it compiled.
        tell: Hears problems.
    """

    def __init__(self, renderer: Renderer, tell: Tell) -> None:
        self._renderer = renderer
        self._tell = tell
        self.failed: set[Path] = set()

    def mapping(
        self, located: Located, names: Variables, *, without: frozenset[str] = frozenset()
    ) -> dict[str, object]:
        """Give the plain data of a mapping, without some of its keys."""
        return self._mapping({k: v for k, v in located.entries.items() if k not in without}, names, ())

    def _mapping(self, entries: Mapping[str, Located], names: Variables, path: Path) -> dict[str, object]:
        filled: dict[str, object] = {}
        for key, item in entries.items():
            if item.value is None:
                self._fail((*path, key), f"nothing is written at '{key}'; give it a value, or leave it out")
            else:
                filled[key] = self._value(item, names, (*path, key))
        return filled

    def _value(self, located: Located, names: Variables, path: Path) -> object:
        match located.value:
            case str() as text:
                try:
                    return self._renderer.render(text, names)
                except DefinitionError as error:
                    self._fail(path, error.message if error.hint is None else f"{error.message} ({error.hint})")
                    return text
            case dict() as entries:
                return self._mapping(entries, names, path)
            case list() as items:
                return [self._value(item, names, (*path, number)) for number, item in enumerate(items)]
            case scalar:
                return scalar

    def _fail(self, path: Path, message: str) -> None:
        self.failed.add(path)
        self._tell(path, message)
