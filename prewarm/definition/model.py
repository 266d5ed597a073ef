"""Definitions as values: what an author asked for, checked and complete.

Standard library only, so that the runtime half may import it. Not here: YAML and pydantic (``load``, ``schema``),
reading the disk (``inputs``), rendering (``render``). Everybody reads these types; ``load`` and Python callers make them.

What counts for the template key lives in ``Template``; how to capture lives in ``BuildOptions`` and ``StepLimits``;
how to open lives in ``SessionOptions``. ``key.KeyInputs`` is built from the first alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from prewarm.definition.bases import Base, DockerfileBase, ExtendsBase, HostBase, ImageBase, RootfsBase
from prewarm.definition.build_options import (
    DEFAULT_BUILD_TIMEOUT_S,
    DEFAULT_STEP_TIMEOUT_S,
    BuildOptions,
    Secret,
    StepLimits,
)
from prewarm.definition.options import (
    DEFAULT_IDLE_TIMEOUT_S,
    DEFAULT_MAX_LIFETIME_S,
    Json,
    Network,
    Resources,
    SessionOptions,
)

__all__ = [
    "DEFAULT_BUILD_TIMEOUT_S",
    "DEFAULT_IDLE_TIMEOUT_S",
    "DEFAULT_MAX_LIFETIME_S",
    "DEFAULT_STEP_TIMEOUT_S",
    "Action",
    "Base",
    "BuildOptions",
    "Definition",
    "DockerfileBase",
    "ExtendsBase",
    "HostBase",
    "ImageBase",
    "InlineSeed",
    "Json",
    "Network",
    "Origin",
    "Project",
    "PythonAction",
    "Resources",
    "RootfsBase",
    "RunAction",
    "ScriptAction",
    "Secret",
    "Seed",
    "SessionOptions",
    "Step",
    "StepLimits",
    "Template",
    "TreeSeed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where in a file something was written; lines and columns start at 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSeed:
    """Files of the project, put into the template before bootstrap.

    Attributes:
        source: File, directory or glob, relative to the project directory.
        target: Absolute path inside. A directory's contents land in it; a single file lands at it
            (or in it, where ``target`` ends with ``/``); a glob's matches keep their paths below the glob's fixed part.
        ignore: Patterns as in ``.gitignore``, relative to ``source``.
    """

    source: str
    target: str
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineSeed:
    """A file whose content stands in the definition.

    Attributes:
        path: Absolute path inside.
        content: Exact bytes, after rendering.
        mode: Permission bits.
    """

    path: str
    content: bytes
    mode: int = 0o644


Seed: TypeAlias = TreeSeed | InlineSeed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAction:
    """Shell text, run by ``/bin/sh -e`` inside the template (or an argv list, run as it is)."""

    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptAction:
    """A script file of the project, copied in, run, and removed again. Its ``#!`` line is honoured.

    Attributes:
        path: Relative to the project directory.
        arguments: Passed to the script.
    """

    path: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonAction:
    """A function of the project, called in the build process with the sandbox as its argument.

    Attributes:
        module: Dotted, found from the project directory.
        function: A name in it.
    """

    module: str
    function: str


Action: TypeAlias = RunAction | ScriptAction | PythonAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of bootstrap or verify.

    Attributes:
        action: What to do.
        user: Who does it; ``None``: root for bootstrap, the definition's user for verify.
        secrets: Ids of the build secrets mounted at ``/run/secrets/ID`` for this step; ``()`` means none.
        limits: How it runs; not in the key.
    """

    action: Action
    user: str | None = None
    secrets: tuple[str, ...] = ()
    limits: StepLimits = field(default_factory=StepLimits)

    @property
    def text(self) -> str:
        """The step as a person knows it, on one line or several."""
        match self.action:
            case RunAction(command=str() as command):
                return command.strip()
            case RunAction(command=argv):
                return " ".join(argv)
            case ScriptAction(path=path, arguments=arguments):
                return " ".join(("script", path, *arguments))
            case PythonAction(module=module, function=function):
                return f"python {module}:{function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The half of a definition that the template key covers.

    Attributes:
        base: What it starts from.
        user: Who sessions and verify steps run as; created if missing (uid 1000 for the first). ``root`` is allowed.
        workdir: Absolute; created if missing, owned by ``user``.
        env: For steps and sessions.
        seeds: In order; a later one wins over an earlier one at the same path.
        bootstrap: In order.
        verify: Run in a session opened from the fresh capture.
        inputs: Further files or globs whose content counts, relative to the project directory.
        revalidate: Free text that counts.
        options: The backends' own options that change content: in a ``Project`` by backend name
            (``{"docker": {…}}``); flat once ``Definition.for_backend`` has chosen one, as backends see them.
    """

    base: Base
    user: str = "sandbox"
    workdir: str = "/workspace"
    env: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[Seed, ...] = ()
    bootstrap: tuple[Step, ...] = ()
    verify: tuple[Step, ...] = ()
    inputs: tuple[str, ...] = ()
    revalidate: str | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One sandbox, checked and complete.

    Attributes:
        name: 1 to 63 of ``a-z 0-9 . _ -``, starting and ending with a letter or digit.
        template: What counts for the key.
        backend: ``auto`` or the name of an installed backend.
        build: How to capture.
        session: How to open.
        origin: Where it was written; ``None`` for one built in Python.
        unsaid: Of ``user``, ``workdir`` and ``backend``: what the author left open and a parent may give.
    """

    name: str
    template: Template
    backend: str = "auto"
    build: BuildOptions = field(default_factory=BuildOptions)
    session: SessionOptions = field(default_factory=SessionOptions)
    origin: Origin | None = None
    unsaid: frozenset[str] = frozenset()

    def for_backend(self, name: str) -> Definition:
        """Give this definition for one backend: its name instead of ``auto``, its options flat, those of others gone."""
        return replace(
            self,
            backend=name,
            template=replace(self.template, options=_of_backend(self.template.options, name)),
            session=replace(self.session, options=_of_backend(self.session.options, name)),
        )


def _of_backend(options: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    chosen = options.get(name, {})
    return dict(chosen) if isinstance(chosen, Mapping) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """All sandboxes of one ``prewarm.yaml``, rendered; the directory that their paths start from.

    Attributes:
        namespace: In every name and label that a backend makes.
        directory: Absolute.
        definitions: In file order, combinations of a matrix in place of their definition.
    """

    namespace: str
    directory: Path
    definitions: tuple[Definition, ...]
