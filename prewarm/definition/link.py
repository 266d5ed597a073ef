"""What definitions say about each other: names, who extends whom, what a child takes from its parent. Pure.

A template that extends another goes on from it as a Dockerfile goes on from its ``FROM``: ``user`` and ``workdir`` are the
parent's unless it names its own, ``env`` is added to the parent's, and the backend is the parent's, because a template can
only stand on one of the same backend. Seeds, steps, build and session options are not taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TypeAlias

from prewarm.definition.model import Definition, ExtendsBase
from prewarm.definition.problems import nearest

Tell: TypeAlias = Callable[[Definition, str, str], None]


def link(definitions: Sequence[Definition], tell: Tell, *, known: Collection[str] = ()) -> tuple[Definition, ...]:
    """Complete definitions by what they extend; in the order given.

    Linking what is linked already changes nothing.

    Args:
        definitions: Each complete in itself.
        tell: Hears problems: whose, at which field (empty: its name), and what is wrong.
        known: Further names that there are, of definitions left out because something else is wrong with them.
    """
    by_name: dict[str, Definition] = {}
    for definition in definitions:
        if definition.name in by_name:
            tell(definition, "", f"there are two sandboxes named '{definition.name}'")
        by_name.setdefault(definition.name, definition)
    for definition in by_name.values():
        base = definition.template.base
        if isinstance(base, ExtendsBase) and base.sandbox not in by_name and base.sandbox not in known:
            tell(
                definition,
                "extends",
                f"there is no sandbox '{base.sandbox}'{nearest(base.sandbox, {*by_name, *known})}",
            )
    linked: dict[str, Definition] = {}
    for definition in by_name.values():
        _complete(definition, by_name, linked, tell)
    return tuple(linked[definition.name] for definition in by_name.values())


def _complete(
    definition: Definition, by_name: dict[str, Definition], linked: dict[str, Definition], tell: Tell
) -> None:
    chain = [definition]
    while (parent := _parent(chain[-1], by_name, linked)) is not None:
        if parent in chain:
            circle = [*(member.name for member in chain[chain.index(parent) :]), parent.name]
            tell(chain[-1], "extends", f"'extends' goes in a circle: {' -> '.join(circle)}")
            break
        chain.append(parent)
    for child in reversed(chain):
        if child.name not in linked:
            base = child.template.base
            found = linked.get(base.sandbox) if isinstance(base, ExtendsBase) else None
            linked[child.name] = child if found is None else _inherit(child, found, tell)


def _parent(definition: Definition, by_name: dict[str, Definition], linked: dict[str, Definition]) -> Definition | None:
    base = definition.template.base
    if not isinstance(base, ExtendsBase) or definition.name in linked:
        return None
    return by_name.get(base.sandbox)


def _inherit(child: Definition, parent: Definition, tell: Tell) -> Definition:
    if "backend" not in child.unsaid and child.backend not in {"auto", parent.backend}:
        tell(
            child,
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
