"""Which sandboxes a run is about, in which order. Pure; called by ``pipeline``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from prewarm.definition.model import Definition, ExtendsBase, Project
from prewarm.errors import DefinitionError


def parent_name(definition: Definition) -> str | None:
    """Name the sandbox that this one extends."""
    base = definition.template.base
    return base.sandbox if isinstance(base, ExtendsBase) else None


def select(project: Project, only: Sequence[str] = ()) -> tuple[Definition, ...]:
    """Give the definitions of a run and all that they extend, parents first, else in file order.

    Args:
        project: All definitions.
        only: Names, or patterns such as ``analyst-*``; none means all.

    Raises:
        DefinitionError: A name or pattern matches nothing, with the nearest names; what is extended is not there, or
            extends itself.
    """
    by_name = {definition.name: definition for definition in project.definitions}
    ordered: dict[str, Definition] = {}
    for name in matching(by_name, only) if only else by_name:
        for definition in reversed(_lineage(by_name, name)):
            ordered.setdefault(definition.name, definition)
    return tuple(ordered.values())


def matching(names: Iterable[str], only: Sequence[str]) -> tuple[str, ...]:
    """Give the names that are asked for, in the order asked.

    Raises:
        DefinitionError: A name or pattern matches nothing.
    """
    known = tuple(names)
    found: dict[str, None] = {}
    for wanted in only:
        matches = [name for name in known if fnmatchcase(name, wanted)]
        if not matches:
            near = difflib.get_close_matches(wanted, known, n=3)
            hint = "did you mean " + " or ".join(f"'{name}'" for name in near) + "?" if near else None
            raise DefinitionError(
                f"no sandbox is named '{wanted}'", hint=hint or f"there are: {', '.join(sorted(known)) or 'none'}"
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)


def _lineage(by_name: dict[str, Definition], name: str) -> list[Definition]:
    """Give a definition, what it extends, and so on."""
    lineage: dict[str, Definition] = {}
    next_name: str | None = name
    while next_name is not None:
        if next_name in lineage:
            raise DefinitionError(f"sandbox '{next_name}' extends itself: {' -> '.join([*lineage, next_name])}")
        if next_name not in by_name:
            raise DefinitionError(f"sandbox '{name}' extends '{next_name}', which is not defined")
        lineage[next_name] = by_name[next_name]
        next_name = parent_name(by_name[next_name])
    return list(lineage.values())
