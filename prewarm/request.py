"""What a capture is made of, as plain values: template refs, bases by content, steps rendered.

``inputs`` produces them, backends take them (``backends.base`` shows them all on one page), nobody else needs them.
Standard library only: the runtime half imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from prewarm.definition.options import Json, Network
from prewarm.values import CommandResult, TemplateRef

__all__ = [
    "HOOK_THREAD",
    "BootstrapSession",
    "CaptureStep",
    "CommandResult",
    "HookStep",
    "ResolvedBase",
    "RunStep",
    "ScriptStep",
    "TemplateRef",
]

HOOK_THREAD: Final = "prewarm-hook"  # Name of the threads that hooks run in; one may be left behind.


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBase:
    """A base by content.

    Attributes:
        digest: What the key counts: of an image, an archive, this machine's programs. Never a path or a tag.
        description: For people: ``debian:bookworm (sha256:1f2e…)``.
        value: What the backend needs to start from it.
        parent: Set where the base is another sandbox's template: its ref.
    """

    digest: str
    description: str
    value: Mapping[str, Json] = field(default_factory=dict)
    parent: TemplateRef | None = None


class BootstrapSession(Protocol):
    """What a Python hook gets: the sandbox while it is being made, or checked.

    Commands run as root by default, with the definition's environment; a non-zero exit raises unless ``check=False``.
    """

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | str | None = None,
        check: bool = True,
    ) -> CommandResult: ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None: ...

    def upload(self, source: Path | str, target: str) -> None:
        """Copy a file or tree of this machine into the sandbox; relative sources start at the project directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """A step, rendered: an argv to run inside. Shell text has become ``("/bin/sh", "-e", "-c", text)`` already."""

    text: str
    argv: tuple[str, ...]
    user: str
    timeout_s: float
    network: Network
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptStep:
    """A step that puts a script inside, runs it, removes it."""

    text: str
    content: bytes = field(repr=False)
    arguments: tuple[str, ...]
    user: str
    timeout_s: float
    network: Network
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStep:
    """A step that calls a Python function in this process, against the sandbox.

    Attributes:
        source_digest: Of the hook's source closure, for backends that cache step by step.
        call: Takes the sandbox; raises ``StepFailedError`` with the hook's own file and line.
    """

    text: str
    source_digest: str
    call: Callable[[BootstrapSession], None]
    user: str
    timeout_s: float
    network: Network
    secrets: tuple[str, ...] = ()


CaptureStep: TypeAlias = RunStep | ScriptStep | HookStep
