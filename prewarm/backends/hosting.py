"""The session half of a backend: what a session can do, and the protocol ``SessionBackend``."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol, runtime_checkable

from prewarm.definition.options import Json, SessionOptions
from prewarm.key import TemplateKey
from prewarm.values import TemplateRef


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
        env: Of the definition and the caller. The backend lays it over what it knows better: its base's own variables
            and ``environment.default_environment`` (PATH, HOME, USER).
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
    def template_key(self) -> TemplateKey:
        """Of the template it was born from, which may be older than the one that was asked for."""

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


@runtime_checkable
class ExposesPorts(Protocol):
    """A ``SessionHandle`` whose ports can be reached from outside, where the session's options say so."""

    def expose(self, port: int) -> tuple[str, int]:
        """Give host and port, on the backend's machine, where a port of the session answers.

        Raises:
            SessionFailedError: It is not among the ports that the session exposes.
            SessionGoneError: The session has ended.
        """


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
