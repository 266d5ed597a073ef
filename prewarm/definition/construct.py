"""Definitions made in Python, in the words of ``prewarm.yaml``: the same checks, the same values, the same key.

    analyst = define("analyst", base="debian:bookworm", bootstrap=["apt-get update", {"run": "make", "timeout": "10m"}])
    everything = project("acme-bot", Path("sandboxes"), [analyst, define("tester", extends="analyst")])

Strings are taken as they are: Python fills in its own. Called by applications; ``prewarm.Definition`` is ``define``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePath
from typing import TypeAlias

from prewarm.definition import assemble, checking, fields, schema
from prewarm.definition.link import lineage_problems, link
from prewarm.definition.load import BUILT_IN_BACKENDS
from prewarm.definition.model import Definition, ExtendsBase, Project
from prewarm.definition.problems import Problems

Value: TypeAlias = (
    "str | bool | int | float | bytes | PurePath | timedelta | Sequence[Value] | Mapping[str, Value] | None"
)
Seeds: TypeAlias = Sequence[Mapping[str, Value]]
Steps: TypeAlias = Sequence["str | Mapping[str, Value]"]


def define(  # noqa: PLR0913 - the vocabulary of a definition.
    name: str,
    *,
    base: str | Mapping[str, Value] | None = None,
    extends: str | None = None,
    backend: str | None = None,
    user: str | None = None,
    workdir: str | None = None,
    env: Mapping[str, str] | None = None,
    seed: Seeds = (),
    bootstrap: Steps = (),
    verify: Steps = (),
    inputs: Sequence[str | PurePath] = (),
    revalidate: str | None = None,
    build: Mapping[str, Value] | None = None,
    session: Mapping[str, Value] | None = None,
    **options: Mapping[str, Value],
) -> Definition:
    """Make one definition; every argument means what its key means in ``prewarm.yaml``.

    Paths may be ``pathlib`` paths, durations ``timedelta``, and the ``content`` of a seed ``bytes``.

    Args:
        name: Of the sandbox.
        base: An image, ``host``, or a mapping: ``{"rootfs": …}``, ``{"dockerfile": …}``, ``{"image": …}``.
        extends: Name of the sandbox that it starts from, instead of a base.
        backend: ``auto`` or the name of an installed backend.
        user: Who sessions run as.
        workdir: Where commands start.
        env: For steps and sessions.
        seed: Files, as mappings.
        bootstrap: Steps; plain text is a command.
        verify: Steps that must pass in the fresh capture.
        inputs: Further files that count.
        revalidate: Free text that counts.
        build: How to capture.
        session: How to open.
        options: Of backends, by their names: ``docker={…}``.

    Raises:
        DefinitionError: Something is wrong; all of it is told at once.
    """
    said: dict[str, Value] = {
        "base": base,
        "extends": extends,
        "backend": backend,
        "user": user,
        "workdir": workdir,
        "env": env,
        "seed": seed or None,
        "bootstrap": bootstrap or None,
        "verify": verify or None,
        "inputs": list(inputs) or None,
        "revalidate": revalidate,
        "build": build,
        "session": session,
        **options,
    }
    problems = Problems(f"definition '{name}'")
    places = _Places(name, problems)
    try:
        fields.name(name)
    except ValueError as error:
        places.problem((), f"'{name}' cannot be a sandbox's name: {error}")
    data = {key: _plain(value) for key, value in said.items() if value is not None}
    backends = BUILT_IN_BACKENDS | {str(backend)}
    apart = checking.options_apart(data, backends)
    shape = checking.check(schema.SandboxShape, apart, places, more_keys=tuple(sorted(BUILT_IN_BACKENDS)))
    for path, message in checking.disagreements(data):
        places.problem(path, message)
    problems.raise_if_any()
    if shape is None:
        raise AssertionError("a shape that is refused has a problem")
    return assemble.definition(name, shape, None)


def project(namespace: str, directory: Path | str, definitions: Iterable[Definition]) -> Project:
    """Put definitions together, as a file does: names, who extends whom, what a child takes from its parent.

    Args:
        namespace: Of the application.
        directory: Where the paths of seeds, scripts and hooks start from.
        definitions: In the order in which reports show them.

    Raises:
        DefinitionError: They do not go together.
    """
    problems = Problems(f"project '{namespace}'")
    try:
        fields.name(namespace)
    except ValueError as error:
        problems.add("namespace", f"{error}, found '{namespace}'")

    members = tuple(definitions)
    names = [member.name for member in members]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(f"definition '{name}'", "there are two of this name")

    def tell(name: str, field: str, message: str) -> None:
        problems.add(f"definition '{name}': {field}", message)

    bases = {member.name: member.template.base for member in members}
    extends = {name: base.sandbox if isinstance(base, ExtendsBase) else None for name, base in bases.items()}
    for name, message in lineage_problems(extends):
        tell(name, "extends", message)
    linked = link(members, tell)
    problems.raise_if_any()
    return Project(namespace=namespace, directory=Path(directory).absolute(), definitions=linked)


class _Places:
    """Names places as Python does: ``bootstrap[1].timeout``; implements ``checking.Places``."""

    def __init__(self, name: str, problems: Problems) -> None:
        self._name = name
        self._problems = problems

    def problem(self, path: checking.Path, message: str, *, at_key: bool = False) -> None:  # noqa: ARG002 - no keys here.
        parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        self._problems.add(f"definition '{self._name}'{': ' if parts else ''}{parts.lstrip('.')}", message)

    def written(self, path: checking.Path) -> str | None:  # noqa: ARG002 - nothing is written anywhere.
        return None


def _plain(value: Value) -> object:
    match value:
        case PurePath():
            return value.as_posix()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            plain = {key: _plain(item) for key, item in value.items() if item is not None}
            content = value.get("content")
            if isinstance(content, bytes):
                del plain["content"]
                plain["base64"] = base64.b64encode(content).decode("ascii")
            return plain
        case str() | bytes():
            return value
        case Sequence():
            return [_plain(item) for item in value]
    return value
