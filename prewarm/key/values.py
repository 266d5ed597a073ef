"""What a template key is made of, as frozen values; nothing that does not count can be put in.

``inputs`` fills them in, ``canonical`` turns them into bytes, ``catalog`` stores them as JSON so that a later run can
say what changed. Not here: reading disks, and anything of section "Not in" of the key (paths of this machine, mtimes,
owners, environment, limits, session options), which lives in other types and has no field here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prewarm.definition.model import Json
from prewarm.key import KEY_SCHEMA


class EntryKind(enum.Enum):
    """What a seed entry is; anything else on disk (socket, fifo, device) is refused."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class FileFact(NamedTuple):
    """What counts of one file, directory or link.

    Attributes:
        path: Inside the template for a seed; relative to the project for everything else. Bytes, ``/`` between parts.
        kind: What it is.
        mode: Permission bits without those that a umask decides: 0o644, 0o755, 0o777 for links; an inline seed's own.
        sha256: Of the content, hex; empty unless a file.
        link: Target of a link as it stands; empty unless a link.
    """

    path: bytes
    kind: EntryKind
    mode: int
    sha256: str
    link: bytes


class StepKind(enum.Enum):
    """How a step's words are meant."""

    SHELL = "shell"
    ARGV = "argv"
    SCRIPT = "script"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFact:
    """What counts of one step.

    Attributes:
        kind: How ``words`` are meant.
        words: Rendered: the shell text; the argv; script path and arguments; module and function.
        user: Who does it.
        secrets: Ids of the secrets it may read.
        files: The script, or the hook's module and every project module it imports; sorted by path.
    """

    kind: StepKind
    words: tuple[str, ...]
    user: str
    secrets: tuple[str, ...] = ()
    files: tuple[FileFact, ...] = ()

    @property
    def text(self) -> str:
        """The step as a person knows it."""
        match self.kind:
            case StepKind.SHELL:
                return self.words[0].strip()
            case StepKind.ARGV:
                return " ".join(self.words)
            case StepKind.SCRIPT:
                return " ".join(("script", *self.words))
            case StepKind.PYTHON:
                return f"python {':'.join(self.words)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInputs:
    """Everything that makes two captures the same, and nothing else.

    Attributes:
        backend: Name of the backend that captures.
        capture_format: The backend's own version of how it captures.
        options: Those of the backend's options that change content.
        platform: ``os/arch``.
        base: Content digest of the base; ``None`` where the template extends another.
        parent: Key of the template that it extends; ``None`` where it starts from a base.
        user: Of sessions.
        workdir: Of sessions.
        env: Of steps and sessions.
        seeds: By path.
        inputs: Further files that count, by path.
        bootstrap: In order.
        verify: In order.
        revalidate: Free text that counts.
        recipe: A rendered recipe, where the backend captures by one that ``capture_format`` does not already stand for.
    """

    backend: str
    capture_format: str
    platform: str
    base: str | None
    parent: str | None
    user: str
    workdir: str
    options: Mapping[str, Json] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[FileFact, ...] = ()
    inputs: tuple[FileFact, ...] = ()
    bootstrap: tuple[StepFact, ...] = ()
    verify: tuple[StepFact, ...] = ()
    revalidate: str | None = None
    recipe: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON from which ``from_json`` makes an equal value; bytes are surrogate-escaped text."""
        return {
            "schema": KEY_SCHEMA,
            "backend": self.backend,
            "capture_format": self.capture_format,
            "platform": self.platform,
            "base": self.base,
            "parent": self.parent,
            "user": self.user,
            "workdir": self.workdir,
            "options": dict(self.options),
            "env": dict(self.env),
            "seeds": [_fact_to_json(fact) for fact in self.seeds],
            "inputs": [_fact_to_json(fact) for fact in self.inputs],
            "bootstrap": [_step_to_json(step) for step in self.bootstrap],
            "verify": [_step_to_json(step) for step in self.verify],
            "revalidate": self.revalidate,
            "recipe": self.recipe,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> KeyInputs:
        """Read what ``to_json`` gave.

        Raises:
            ValueError: It is of another schema, or not what ``to_json`` writes.
        """
        if stored.get("schema") != KEY_SCHEMA:
            raise ValueError(f"key inputs of schema {stored.get('schema')!r}, not {KEY_SCHEMA!r}")
        try:
            return cls(
                backend=stored["backend"],
                capture_format=stored["capture_format"],
                platform=stored["platform"],
                base=stored["base"],
                parent=stored["parent"],
                user=stored["user"],
                workdir=stored["workdir"],
                options=dict(stored["options"]),
                env=dict(stored["env"]),
                seeds=tuple(_fact_from_json(fact) for fact in stored["seeds"]),
                inputs=tuple(_fact_from_json(fact) for fact in stored["inputs"]),
                bootstrap=tuple(_step_from_json(step) for step in stored["bootstrap"]),
                verify=tuple(_step_from_json(step) for step in stored["verify"]),
                revalidate=stored["revalidate"],
                recipe=stored["recipe"],
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"damaged key inputs: {error!r}") from error


def _fact_to_json(fact: FileFact) -> list[str | int]:
    path, kind, mode, sha256, link = fact
    return [_text(path), kind.value, mode, sha256, _text(link)]


def _fact_from_json(stored: list[Any]) -> FileFact:
    path, kind, mode, sha256, link = stored
    return FileFact(_bytes(path), EntryKind(kind), mode, sha256, _bytes(link))


def _step_to_json(step: StepFact) -> dict[str, Any]:
    return {
        "kind": step.kind.value,
        "words": list(step.words),
        "user": step.user,
        "secrets": list(step.secrets),
        "files": [_fact_to_json(fact) for fact in step.files],
    }


def _step_from_json(stored: Mapping[str, Any]) -> StepFact:
    return StepFact(
        kind=StepKind(stored["kind"]),
        words=tuple(stored["words"]),
        user=stored["user"],
        secrets=tuple(stored["secrets"]),
        files=tuple(_fact_from_json(fact) for fact in stored["files"]),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
