"""The template half of a backend: what a capture asks for and gives, and the protocol ``TemplateBackend``."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from prewarm.cancellation import Cancellation

if TYPE_CHECKING:  # Annotations alone: a backend imports this to open a session too, which pays for none of these.
    from prewarm.backends.buildkit import BuildKitOptions
    from prewarm.backends.context import Feature
    from prewarm.backends.health import Health
    from prewarm.definition.model import Base, Json
    from prewarm.inputs import SeedEntry
    from prewarm.key import TemplateKey
    from prewarm.request import CaptureStep, ResolvedBase, TemplateRef


class Presence(enum.Enum):
    """What a backend found where a ref points, asked in this run."""

    PRESENT = "present"
    MISSING = "missing"
    CORRUPT = "corrupt"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One answer of ``TemplateBackend.probe``."""

    presence: Presence
    detail: str = ""


class Phase(enum.Enum):
    """Where a capture is; seconds are reported by phase."""

    BASE = "base"
    SEED = "seed"
    BOOTSTRAP = "bootstrap"
    SEAL = "seal"
    VERIFY = "verify"
    PUBLISH = "publish"


class CaptureObserver(Protocol):
    """Hears how a capture goes. Thread-safe; cheap; never raises. Lines may be redacted on the way."""

    def phase(self, phase: Phase) -> None:
        """Say that a phase begins."""

    def step(self, number: int, total: int, text: str) -> None:
        """Say that a step of the present phase begins; numbers start at 1."""

    def line(self, text: str) -> None:
        """Hand over one line that a step wrote (either stream, no line end)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Everything a backend needs to capture one template; nothing to look up, nothing to render.

    Attributes:
        namespace: In every name and label.
        name: The definition's name, for people.
        key: The full key; stored with the template and compared by ``probe``.
        base: What it starts from.
        platform: ``os/arch`` as in OCI (``linux/amd64``).
        user: Of sessions; created if missing: uid 1000 for the first user made, home ``/home/NAME``.
        workdir: Created if missing, owned by ``user``.
        env: For steps and sessions.
        seeds: Sorted by target, parents first, no two at one target. Owned by ``user``; placed before any step.
        steps: In order, each rendered. Any failure fails the capture.
        options: The backend's own, from the template half, already validated.
        pass_env: For steps only: values must not end in the template.
        secrets: Id to value, mounted at ``/run/secrets/ID`` (mode 0400, the step's user) for the steps that name them.
        timeout_s: Seconds for the whole capture.
        project: Where the project is; only a Dockerfile base needs it.
        replaces: Whether what is published under this key gives way to this capture: it was found unusable, or a new one
            was asked for. Otherwise who published first has won: ``publish`` adopts that, and ``ref`` is then its ref.
        anew: Whether every step runs although the backend remembers what it did.
        revalidate: Free text of the definition: what the backend remembers of steps run under another one does not count.
        buildkit: What is handed on to BuildKit; only for backends that have one.
        cancellation: To be handed to ``run_step``, and to whatever else of the capture may take long.
    """

    namespace: str
    name: str
    key: TemplateKey
    base: ResolvedBase
    platform: str
    user: str
    workdir: str
    env: Mapping[str, str]
    seeds: tuple[SeedEntry, ...] = field(repr=False)
    steps: tuple[CaptureStep, ...]
    options: Mapping[str, Json] = field(default_factory=dict)
    pass_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    timeout_s: float
    project: Path
    replaces: bool = False
    anew: bool = False
    revalidate: str | None = None
    buildkit: BuildKitOptions | None = None
    cancellation: Cancellation = field(default_factory=Cancellation, repr=False)


class StagedTemplate(Protocol):
    """A finished capture that nobody can find yet: it can be opened by its ref (for verify), then published or dropped.

    Attributes:
        ref: Opens before publishing and after; the same in both.
        size: Bytes that this template adds to what it starts from.
    """

    @property
    def ref(self) -> TemplateRef: ...

    @property
    def size(self) -> int: ...

    def publish(self) -> None:
        """Make it findable under its key, atomically. Publishing what another builder published first is no error.

        What is published under the key already is adopted, or gives way where the request ``replaces`` it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """A template that a backend holds, as ``templates`` and ``gc`` see it."""

    namespace: str
    name: str
    key: TemplateKey
    ref: TemplateRef
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Litter:
    """Something that a crash left behind: a half capture, a holder without a session, an unreferenced layer.

    Attributes:
        description: What it is, for people; no two things have the same.
        size: Bytes, 0 if unknown.
        remove: Takes it away; taking away what is gone already is fine.
    """

    description: str
    size: int
    remove: Callable[[], None]


class TemplateBackend(Protocol):
    """Captures templates and keeps them."""

    @property
    def name(self) -> str: ...

    @property
    def capture_format(self) -> str:
        """In every key; raised when the same request would give another content."""

    @property
    def features(self) -> frozenset[Feature]: ...

    def check(self) -> Health:
        """Find out whether this backend can work here. Quick (well under a second), changes nothing, never raises."""

    def option_problems(self, template: Mapping[str, Json], session: Mapping[str, Json]) -> Sequence[str]:
        """Say what is wrong with the backend's own options: template half, session half. Pure."""

    def resolve_base(self, base: Base, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
        """Find a base by content. Never called for ``ExtendsBase``.

        Args:
            base: As written in the definition.
            project: The directory that relative paths start from.
            platform: ``os/arch``.
            sha256: Digest of a file, cached by its stat data; use it for archives.

        Raises:
            UnkeyableInputError: It cannot be read or does not exist; its digest is not the one expected.
            BackendUnavailableError: The backend does not answer.
        """

    def capture(self, request: CaptureRequest, observer: CaptureObserver) -> AbstractContextManager[StagedTemplate]:
        """Make a template in a fresh place of its own; leaving the context unpublished removes all of it.

        Raises:
            StepFailedError: A step failed, with its number, text, exit code and last lines.
            CaptureFailedError: Anything else went wrong.
        """

    def probe(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> Sequence[Probe]:
        """Say for each ref, in order, whether it is there, carries this full key, and can be opened: one question for all.

        Raises:
            BackendUnavailableError: The backend does not answer; never reported as missing.
        """

    def find(self, namespace: str, key: TemplateKey) -> TemplateRef | None:
        """Find a published template by its key, without any record; ``None`` if there is none."""

    def templates(self, namespace: str | None = None) -> Sequence[TemplateRecord]:
        """List what is held, of one namespace or of all."""

    def remove(self, ref: TemplateRef) -> None:
        """Take a template away, with all that only it used. Removing twice is fine.

        Raises:
            TemplateInUseError: A live session was opened from it, or another template stands on it.
        """

    def litter(self, namespace: str | None = None) -> Sequence[Litter]:
        """Find what crashes left; nothing that a running build or session is using."""
