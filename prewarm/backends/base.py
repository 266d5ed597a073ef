"""What a backend is: the protocols and plain values that a backend author reads.

Two protocols are required, ``TemplateBackend`` and ``SessionBackend`` (one class implements both). Everything else is
an ability of its own, asked for with ``isinstance``. A backend is found by the entry point group ``prewarm.backends``;
the entry is a class whose call takes a ``BackendContext`` and does no work. Standard library only: the runtime imports it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, runtime_checkable

from prewarm.definition.model import Base, Json, Network, SessionOptions
from prewarm.key import TemplateKey
from prewarm.request import (
    BootstrapSession,
    CaptureStep,
    CommandResult,
    HookStep,
    ResolvedBase,
    RunStep,
    ScriptStep,
    TemplateRef,
)

if TYPE_CHECKING:  # inputs reads disks and caches; the runtime half needs none of it.
    from prewarm.inputs import SeedEntry

__all__ = [
    "Backend",
    "BackendContext",
    "Base",
    "BootstrapSession",
    "CaptureObserver",
    "CaptureRequest",
    "CaptureStep",
    "CommandResult",
    "Feature",
    "FileInfo",
    "FileKind",
    "FileStore",
    "Finding",
    "Health",
    "HookStep",
    "Json",
    "Litter",
    "Network",
    "OpenRequest",
    "Phase",
    "Presence",
    "Probe",
    "ProcessHandle",
    "ProcessRequest",
    "ResolvedBase",
    "RunStep",
    "ScriptStep",
    "SessionBackend",
    "SessionHandle",
    "SessionOptions",
    "SessionRecord",
    "StagedTemplate",
    "TemplateBackend",
    "TemplateKey",
    "TemplateRecord",
    "TemplateRef",
]

# what goes round


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendContext:
    """What a backend may use of this machine; passed in, so that nothing is found behind the caller's back.

    Attributes:
        home: The state directory ($PREWARM_HOME); a backend keeps its own things in ``home / <backend name>``.
        environment: The process environment as read once at the edge.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)


class Feature(enum.Enum):
    """What a backend can do; what it lacks is refused before anything runs, and skipped by the contract suite."""

    PROCESSES = "processes"  # runs real programs
    ROOTFS = "rootfs"  # bases from archives
    IMAGES = "images"  # bases from container images
    HOST = "host"  # base "host"
    DOCKERFILES = "dockerfiles"  # base {dockerfile: …}
    CROSS_PROCESS = "cross-process"  # sessions and templates survive the process
    NETWORK_POLICY = "network-policy"  # can take the network away
    NETWORK = "network"  # can give a network
    LIMITS = "limits"  # enforces resources (memory, pids)
    SECRETS = "secrets"  # step-scoped secret mounts
    TERMINAL = "terminal"  # interactive shells with a pty
    SELF_EXPIRY = "self-expiry"  # sessions end with every client dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that ``check`` looked at.

    Attributes:
        subject: What, in two or three words (``user namespaces``).
        ok: Whether the backend can work with it. A false one with ``required=False`` is a warning.
        detail: What was found.
        hint: How to put it right.
    """

    subject: str
    ok: bool
    detail: str
    hint: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a backend can work here, and how that was found out."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings if finding.required)

    @property
    def reason(self) -> str:
        """The first thing that stands in the way, or an empty string."""
        return next((f"{f.subject}: {f.detail}" for f in self.findings if f.required and not f.ok), "")


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


# capturing


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
        """Make it findable under its key, atomically. Publishing what another builder published first is no error."""


# templates


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
        description: What it is, for people.
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


# sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Everything a backend needs to open a session.

    Attributes:
        namespace: In every name and label.
        name: The sandbox's name.
        key: Full key that the template must carry.
        ref: The template.
        session_key: The application's own name for the session, validated: 1 to 128 of ``A-Z a-z 0-9 . _ : @ -``.
        user: Who commands run as.
        workdir: Where commands start.
        env: Of every command.
        options: Network, limits, lifetimes.
    """

    namespace: str
    name: str
    key: TemplateKey
    ref: TemplateRef
    session_key: str
    user: str
    workdir: str
    env: Mapping[str, str]
    options: SessionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRequest:
    """One command of a session.

    Attributes:
        argv: Run as it is; ``argv[0]`` is looked up on the session's PATH.
        cwd: Absolute.
        env: The whole environment of the command.
        user: Name or ``uid`` or ``uid:gid``, known inside.
        stdin: Whether the caller will write; without it, standard input is empty.
        terminal: Columns and rows where the command gets a pty (both streams are then one, on ``stdout``).
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    user: str
    stdin: bool = False
    terminal: tuple[int, int] | None = None


class ProcessHandle(Protocol):
    """A command that runs in a session. Whoever starts it closes it."""

    @property
    def stdin(self) -> IO[bytes] | None: ...

    @property
    def stdout(self) -> IO[bytes]: ...

    @property
    def stderr(self) -> IO[bytes]: ...

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; seconds. Give the exit code (128 + n for signal n), or ``None`` on time-out. Twice is fine."""

    def kill(self) -> None:
        """End the command and all its descendants (SIGKILL), also those that made sessions of their own. Twice is fine."""

    def resize(self, columns: int, rows: int) -> None:
        """Tell a terminal its size; without a terminal, nothing."""

    def close(self) -> None:
        """Let go of the streams; the command goes on. Twice is fine."""


class FileKind(enum.Enum):
    """What a path in a session is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """One file of a session; links are not followed.

    Attributes:
        path: Absolute.
        size: Bytes.
        mode: Permission bits.
        modified: Seconds since the epoch.
    """

    path: str
    kind: FileKind
    size: int
    mode: int
    modified: float


class FileStore(Protocol):
    """The files of a session. Paths are absolute; ``..`` and links never lead out of the session.

    Raises (all): SessionFileNotFoundError, PathEscapesError, SessionFileError, SessionGoneError.
    """

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """Give the exact bytes; more than ``limit`` is a ``SessionFileError``."""

    def write(self, path: str, data: bytes, *, mode: int | None = None, append: bool = False) -> None:
        """Write all of it, making parents; owner is the session's user. A new file has mode 0644 unless told otherwise."""

    def list(self, path: str) -> Sequence[FileInfo]:
        """Give a directory's entries, by name."""

    def stat(self, path: str) -> FileInfo: ...

    def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents; one that exists is fine."""

    def remove(self, path: str, *, recursive: bool = False) -> None: ...

    def rename(self, source: str, target: str) -> None: ...

    def put_tree(self, target: str, archive: IO[bytes]) -> None:
        """Unpack a tar stream into a directory, making it. Members that leave it, and device nodes, are refused."""

    def get_tree(self, source: str) -> Iterator[bytes]:
        """Give a tar stream of a directory's contents (or of one file), names relative to it."""


class SessionHandle(Protocol):
    """A live session of one backend. Thread-safe. Detaching leaves it running."""

    @property
    def id(self) -> str:
        """The backend's own name for it; never reused."""

    @property
    def files(self) -> FileStore: ...

    def start(self, request: ProcessRequest) -> ProcessHandle:
        """Start a command in a process of its own.

        Raises:
            SessionGoneError: The session has ended.

        An unknown command is no exception but exit code 127, one that is not executable 126, as a shell reports them.
        """

    def state(self) -> Mapping[str, Json]:
        """Plain JSON from which ``attach`` finds the session again from another process or host."""

    def detach(self) -> None:
        """Let go of it; it lives on until it expires. Twice is fine."""

    def remove(self) -> None:
        """End it and take away its files. Twice is fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session that a backend holds, as ``sessions`` and ``gc`` see it.

    Attributes:
        expires_at: Seconds since the epoch when its lifetime ends; ``None`` if unknown.
        running: Whether commands can enter now; a stopped one starts again at attach.
    """

    id: str
    namespace: str
    name: str
    session_key: str
    key: TemplateKey
    ref: TemplateRef
    running: bool
    expires_at: float | None
    state: Mapping[str, Json]


class SessionBackend(Protocol):
    """Hosts sessions."""

    @property
    def name(self) -> str: ...

    def open(self, request: OpenRequest) -> SessionHandle:
        """Open a new session, or attach to the one of this namespace, name and session key (a lost race attaches too).

        A session found stays bound to the template it was born from; network policy and limits are applied again.

        Raises:
            TemplateNotFoundError, TemplateCorruptError: Nothing is opened from anything else instead.
            SessionFailedError: It could not be started.
        """

    def attach(self, state: Mapping[str, Json]) -> SessionHandle:
        """Find a session again; start it if it is stopped; apply policy and limits again.

        Raises:
            SessionGoneError: It has expired or was removed.
            SessionStateError: The state is not one of this backend's, or of an unknown version.
        """

    def sessions(self, namespace: str | None = None) -> Sequence[SessionRecord]:
        """List live sessions, of one namespace or of all."""


@runtime_checkable
class Backend(TemplateBackend, SessionBackend, Protocol):
    """Both halves; what an entry point's class gives when called with a ``BackendContext``."""
