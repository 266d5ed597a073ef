"""What definitions say about each other: names, who extends whom, what a child takes from its parent. Pure.

A template that extends another goes on from it as a Dockerfile goes on from its ``FROM``: ``user`` and ``workdir`` are the
parent's unless it names its own, ``env`` is added to the parent's, and the backend is the parent's, because a template can
only stand on one of the same backend. Seeds, steps, build and session options are not taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from prewarm.definition.model import Definition, ExtendsBase
from prewarm.definition.problems import nearest

Tell: TypeAlias = Callable[[str, str, str], None]


def lineage_problems(extends: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """Find whose ``extends`` leads nowhere or in a circle: its name, and what is wrong.

    Args:
        extends: Every sandbox's name, with the name that it extends.
    """
    judged: set[str] = set()
    for name, parent in extends.items():
        if parent is not None and parent not in extends:
            yield name, f"there is no sandbox '{parent}'{nearest(parent, extends)}"
        chain: list[str] = []
        at: str | None = name
        while at is not None and at in extends and at not in judged:
            chain.append(at)
            judged.add(at)
            at = extends[at]
        if at in chain:
            circle = [*chain[chain.index(at) :], at]
            yield chain[-1], f"'extends' goes in a circle: {' -> '.join(circle)}"


def link(definitions: Sequence[Definition], tell: Tell) -> tuple[Definition, ...]:
    """Complete definitions by what they extend; in the order given. What is linked already stays as it is.

    Args:
        definitions: No two of one name. One whose parent is missing, or in a circle, is left as it is.
        tell: Hears problems: whose, at which field, and what is wrong.
    """
    by_name = {definition.name: definition for definition in definitions}
    linked: dict[str, Definition] = {}
    for definition in definitions:
        chain = [definition]
        while (parent := by_name.get(_extended(chain[-1]) or "")) is not None and parent.name not in linked:
            if parent.name in {child.name for child in chain}:
                break
            chain.append(parent)
        for child in reversed(chain):
            ancestor = linked.get(_extended(child) or "")
            linked[child.name] = child if ancestor is None else _inherit(child, ancestor, tell)
    return tuple(linked[definition.name] for definition in definitions)


def _extended(definition: Definition) -> str | None:
    base = definition.template.base
    return base.sandbox if isinstance(base, ExtendsBase) else None


def _inherit(child: Definition, parent: Definition, tell: Tell) -> Definition:
    if "backend" not in child.unsaid and child.backend not in {"auto", parent.backend}:
        tell(
            child.name,
            "backend",
            f"'{child.name}' is captured by '{child.backend}' but extends '{parent.name}', "
            f"which is captured by '{parent.backend}'; say the same in both",
        )
    template = replace(
        child.template,
        user=parent.template.user if "user" in child.unsaid else child.template.user,
        workdir=parent.template.workdir if "workdir" in child.unsaid else child.template.workdir,
        env={**parent.template.env, **child.template.env},
    )
    return replace(child, template=template, backend=parent.backend)
