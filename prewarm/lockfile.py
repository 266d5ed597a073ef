"""``prewarm.lock``: which template each sandbox opens. The build writes it, the runtime reads it and never hashes.

Standard library only. Nothing in it depends on a machine or a clock: the same captures give the same bytes. What is
read may come from anywhere, so every field is checked before it becomes a value.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from prewarm import document
from prewarm.definition.options import Network, Resources, SessionOptions
from prewarm.document import Node
from prewarm.errors import LockFileError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.machine import PLATFORM, host_platform
from prewarm.refs import in_order, ref_from, ref_json
from prewarm.values import TemplateRef

LOCK_SCHEMA: Final = "prewarm.lock/1"
LOCK_NAME: Final = "prewarm.lock"
_SCHEMA: Final = re.compile(r"prewarm\.lock/([1-9][0-9]{0,5})")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_BACKEND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_ABSOLUTE: Final = re.compile(r"/[^\0]*")
_VARIABLE: Final = re.compile(r"[^=\0]+")
_CONFLICT: Final = rb"(?m)^(?:<<<<<<<|>>>>>>>) "  # Compiled where it is asked for: a lock file seldom has one.
_LARGEST: Final = 64 * 1024 * 1024
_NEAREST: Final = 3
_WRITABLE: Final = "make its directory writable, or free some space"
_REBUILD: Final = "it is generated: delete it and run 'prewarm build'"


class EntryStatus(Enum):
    """Whether a sandbox of the lock file can be opened."""

    CAPTURED = "captured"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """One sandbox on one platform.

    Attributes:
        name: The sandbox.
        platform: ``os/arch``.
        status: Only a captured one has a key, a ref and the rest.
        key: Full template key.
        backend: Who keeps the template; empty where none was chosen.
        ref: Where it is kept.
        user: Who commands run as.
        workdir: Where they start.
        env: What they get.
        session: How to open unless the application says otherwise.
        reason: Why it is not captured; empty if it is.
    """

    name: str
    platform: str
    status: EntryStatus
    key: TemplateKey | None = None
    backend: str = ""
    ref: TemplateRef | None = None
    user: str = ""
    workdir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    session: SessionOptions = field(default_factory=SessionOptions)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """All entries of one project.

    Attributes:
        namespace: Of the project.
        entries: Sorted by name, then platform; no two alike.
    """

    namespace: str
    entries: tuple[LockEntry, ...] = ()

    def entry(self, name: str, platform: str | None = None) -> LockEntry:
        """Find a captured entry.

        Args:
            name: The sandbox.
            platform: ``os/arch``; ``None`` means this machine's.

        Raises:
            TemplateNotFoundError: The name is unknown (the nearest are named), was captured for other platforms only,
                or was not captured: then with the reason that the build gave.
        """
        wanted = platform or host_platform()
        named = [entry for entry in self.entries if entry.name == name]
        if not named:
            raise TemplateNotFoundError(f"the lock file knows no sandbox '{name}'", hint=self._known(name))
        found = next((entry for entry in named if entry.platform == wanted), None)
        if found is None:
            others = ", ".join(entry.platform for entry in named)
            raise TemplateNotFoundError(
                f"sandbox '{name}' was captured for {others}, not for {wanted}",
                hint=f"run 'prewarm build --platform {wanted}', and ship the lock file that it writes",
            )
        if found.status is not EntryStatus.CAPTURED:
            raise TemplateNotFoundError(
                f"sandbox '{name}' was not captured: {found.reason or found.status.value}",
                hint="put that right and run 'prewarm build'",
            )
        return found

    def merged(self, entries: Iterable[LockEntry], *, defined: Collection[str]) -> LockFile:
        """Give a lock file with these entries in place of the old; others stay if their definition still exists."""
        kept = {(entry.name, entry.platform): entry for entry in self.entries if entry.name in defined}
        kept.update({(entry.name, entry.platform): entry for entry in entries})
        return LockFile(namespace=self.namespace, entries=tuple(kept[place] for place in sorted(kept)))

    def _known(self, name: str) -> str:
        import difflib  # Only a mistake needs it; opening must stay quick.

        names = sorted({entry.name for entry in self.entries})
        near = difflib.get_close_matches(name, names, n=_NEAREST)
        if near:
            return "did you mean " + " or ".join(f"'{one}'" for one in near) + "?"
        return f"it knows: {', '.join(names)}" if names else "run 'prewarm build'"


def read(path: Path) -> LockFile:
    """Read a lock file.

    Raises:
        LockFileError: It is missing, unreadable, damaged, or of a version that this prewarm does not know.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise LockFileError(f"no lock file at {path}", hint="run 'prewarm build' where prewarm.yaml is") from error
    except OSError as error:
        raise LockFileError(f"cannot read the lock file {path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise LockFileError(f"the lock file {path} is larger than {_LARGEST} bytes", hint=_REBUILD)
    try:
        return _lock(document.parse(data))
    except _UnknownVersionError as error:
        raise LockFileError(
            f"the lock file {path} has schema {error}, this prewarm reads {LOCK_SCHEMA}",
            hint=f"use a prewarm that reads {error}, or build again with this one after deleting the file",
        ) from error
    except ValueError as error:
        why = "it holds the marks of a merge that was left unfinished" if re.search(_CONFLICT, data) else str(error)
        raise LockFileError(f"the lock file {path} is damaged: {why}", hint=_REBUILD) from error


def require_writable(path: Path) -> None:
    """Say before a long build what ``write`` would only say after it.

    Raises:
        LockFileError: It could not be written.
    """
    directory = Path(os.path.realpath(path)).parent
    if not directory.is_dir():
        raise LockFileError(f"cannot write the lock file {path}: there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise LockFileError(f"cannot write the lock file {path}: {directory} is read-only", hint=_WRITABLE)


def write(path: Path, lock: LockFile) -> bool:
    """Write a lock file atomically, or leave it alone if it says the same already; say whether it was written.

    Raises:
        LockFileError: It cannot be written; the old one is as it was.
    """
    data = dumps(lock)
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and target.read_bytes() == data:
            return False
        try:
            with beside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(target)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise LockFileError(
            f"cannot write the lock file {path}: {error.strerror}",
            hint=_WRITABLE,
        ) from error
    return True


def dumps(lock: LockFile) -> bytes:
    """Give the exact bytes of a lock file: sorted, indented, with a line end."""
    templates = [_entry_json(entry) for entry in sorted(lock.entries, key=lambda one: (one.name, one.platform))]
    whole = {"schema": LOCK_SCHEMA, "namespace": lock.namespace, "templates": templates}
    return (json.dumps(whole, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def _entry_json(entry: LockEntry) -> dict[str, Any]:
    head: dict[str, Any] = {"name": entry.name, "platform": entry.platform, "status": entry.status.value}
    if entry.status is not EntryStatus.CAPTURED or entry.key is None or entry.ref is None:
        return head | {"reason": entry.reason}
    return head | {
        "key": str(entry.key),
        "ref": ref_json(entry.ref),
        "user": entry.user,
        "workdir": entry.workdir,
        "env": dict(sorted(entry.env.items())),
        "session": {
            "network": entry.session.network.value,
            "resources": asdict(entry.session.resources),
            "idle_timeout_s": entry.session.idle_timeout_s,
            "max_lifetime_s": entry.session.max_lifetime_s,
            "options": in_order(entry.session.options),
        },
    }


class _UnknownVersionError(ValueError):
    """One of our schemas, of another version."""


def _lock(top: Node) -> LockFile:
    schema = top.get("schema").text()
    if schema != LOCK_SCHEMA and _SCHEMA.fullmatch(schema):
        raise _UnknownVersionError(schema)
    if schema != LOCK_SCHEMA:
        raise ValueError("it is not a prewarm lock file")
    entries = tuple(_entry(item) for item in top.get("templates").items())
    places = sorted((entry.name, entry.platform) for entry in entries)
    if len(set(places)) != len(places):
        raise ValueError("a sandbox stands in it twice for one platform")
    return LockFile(namespace=top.get("namespace").text(_NAME), entries=entries)


def _entry(node: Node) -> LockEntry:
    name, platform = node.get("name").text(_NAME), node.get("platform").text(PLATFORM)
    status = node.get("status").member(EntryStatus)
    if status is not EntryStatus.CAPTURED:
        return LockEntry(name=name, platform=platform, status=status, reason=node.get("reason").text())
    node.get("ref").get("backend").text(_BACKEND)
    ref = ref_from(node.get("ref"))
    env = node.get("env").texts()
    if not all(_VARIABLE.fullmatch(variable) for variable in env):
        node.get("env").complain("an environment: a name in it can be no variable's")
    return LockEntry(
        name=name,
        platform=platform,
        status=status,
        key=TemplateKey(node.get("key").text(_KEY)),
        backend=ref.backend,
        ref=ref,
        user=node.get("user").text(_USER),
        workdir=node.get("workdir").text(_ABSOLUTE),
        env=env,
        session=_session(node.get("session")),
    )


def _session(node: Node) -> SessionOptions:
    resources = node.get("resources")
    return SessionOptions(
        network=node.get("network").member(Network),
        resources=Resources(
            memory=resources.get("memory").count_or_none(),
            cpus=resources.get("cpus").positive_or_none(),
            pids=resources.get("pids").count_or_none(),
            disk=resources.get("disk").count_or_none(),
        ),
        idle_timeout_s=node.get("idle_timeout_s").positive(),
        max_lifetime_s=node.get("max_lifetime_s").positive(),
        options=node.get("options").object(),
    )
