"""All sessions of a store: opened, found again, started when stopped, ended, listed.

A session is a directory; whoever starts or ends it holds the lock of its first digits. Its id is never used again: it
begins with a hash of who it is for, so that opening the same key finds it, and ends with chance.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from prewarm.backends.hosting import OpenRequest, SessionRecord
from prewarm.backends.local import holder as holders
from prewarm.backends.local import limits, session_record
from prewarm.backends.local.disk import entries, remove_tree, write_file
from prewarm.backends.local.holder import Holder
from prewarm.backends.local.lease import Lease
from prewarm.backends.local.limits import Hierarchy, Limits
from prewarm.backends.local.sandbox import Machine, Sandbox, Surroundings, view_of
from prewarm.backends.local.session_record import STATE_SCHEMA, LocalSessionRecord
from prewarm.backends.local.store import Store
from prewarm.backends.local.templates import Template, Templates
from prewarm.definition.options import Json, Network
from prewarm.errors import SessionFailedError, SessionGoneError, TemplateNotFoundError

_WHO_DIGITS: Final = 16
_LOCK_DIGITS: Final = 2


class Sessions:
    """The sessions of a store.

    Args:
        store: Where they are.
        templates: What they are opened from.
        machine: Finds out what this machine offers; raises where it does not work here.
        hierarchy: Finds out where cgroups can be made.
    """

    def __init__(
        self, store: Store, templates: Templates, machine: Callable[[], Machine], hierarchy: Callable[[], Hierarchy]
    ) -> None:
        self._store = store
        self._templates = templates
        self._machine = machine
        self._hierarchy = hierarchy

    def open(self, request: OpenRequest) -> tuple[LocalSessionRecord, Sandbox]:
        """Open a session, or attach to the one there is: ``SessionBackend.open``."""
        limits.refuse(request.options.resources)
        self._machine()
        self._store.ensure()
        who = hashlib.sha256(f"{request.namespace}\0{request.name}\0{request.session_key}".encode()).hexdigest()
        with self._lock(who):
            for directory in entries(self._store.sessions):
                if directory.name.startswith(who[:_WHO_DIGITS]):
                    record = session_record.read(directory)
                    if record is None or self._is_over(directory, record):
                        self._end(directory)
                    else:
                        return self._up(directory, record._replace(options=request.options), changed=True)
            return self._new(f"{who[:_WHO_DIGITS]}-{os.urandom(8).hex()}", request)

    def attach(self, identity: str) -> tuple[LocalSessionRecord, Sandbox]:
        """Find a session again; start it if it is stopped.

        Raises:
            SessionGoneError: It has ended.
        """
        self._machine()
        with self._lock(identity):
            directory = self._store.sessions / identity
            record = session_record.read(directory)
            if record is None or self._is_over(directory, record):
                raise SessionGoneError(f"session {identity} has ended", hint="open it anew")
            return self._up(directory, record, changed=False)

    def end(self, identity: str) -> None:
        """End a session and take its files away; one that has ended is fine."""
        with self._lock(identity):
            self._end(self._store.sessions / identity)

    def all(self, namespace: str | None = None) -> Iterator[SessionRecord]:
        """Give all live ones."""
        for directory in entries(self._store.sessions):
            record = session_record.read(directory)
            if record is None or self._is_over(directory, record):
                continue
            if namespace is None or record.namespace == namespace:
                yield _listed(record, running=_holder(directory) is not None)

    def over(self) -> list[str]:
        """Give the ids of those that have ended, or never began, and still lie about."""
        found = []
        for directory in entries(self._store.sessions):
            with contextlib.suppress(TimeoutError), self._lock(directory.name, timeout=0):
                record = session_record.read(directory)
                if directory.exists() and (record is None or self._is_over(directory, record)):
                    found.append(directory.name)
        return found

    def knows(self, identity: str, pid: int) -> bool:
        """Say whether a process holds a session; also while somebody is starting or ending it."""
        try:
            with self._lock(identity, timeout=0):
                recorded = _recorded_holder(self._store.sessions / identity)
        except TimeoutError:
            return True
        return recorded is not None and recorded.pid == pid

    def templates_in_use(self) -> Iterator[Template]:
        """Give the templates that sessions stand on; call while the store is ``changing``."""
        for directory in entries(self._store.sessions):
            record = session_record.read(directory)
            if record is not None:
                yield record.template

    def _new(self, identity: str, request: OpenRequest) -> tuple[LocalSessionRecord, Sandbox]:
        directory = self._store.sessions / identity
        try:
            with self._store.using():
                template = self._template(request)
                directory.mkdir(mode=0o700)
                for name in ("upper", "work"):
                    (directory / name).mkdir()
                (directory / "upper").chmod(0o755)
                Lease(directory).prepare()
                record = LocalSessionRecord.new(identity, request, template)
                groups = limits.plan(self._hierarchy(), identity, request.options.resources, {})
                record = self._note(directory, record._replace(groups=groups))
            applied = limits.apply(self._hierarchy(), identity, request.options.resources, groups)
            record, sandbox = self._run(directory, record, applied)
            sandbox.find_user(record.user)  # Nobody could use it otherwise.
        except OSError as error:
            self._end(directory)
            raise SessionFailedError(f"session '{request.session_key}' could not be opened: {error}") from error
        except BaseException:
            self._end(directory)
            raise
        return record, sandbox

    def _template(self, request: OpenRequest) -> Template:
        template = self._templates.by_ref(request.ref)
        if template.key != request.key:
            raise TemplateNotFoundError(f"the ref is of template {template.key.short}, not of {request.key.short}")
        return template

    def _up(self, directory: Path, record: LocalSessionRecord, *, changed: bool) -> tuple[LocalSessionRecord, Sandbox]:
        """Have one that exists running, its policy and limits applied again."""
        Lease(directory).touch()
        applied = limits.apply(self._hierarchy(), record.id, record.options.resources, record.groups)
        if changed or applied.groups != record.groups:
            record = self._note(directory, record._replace(groups=applied.groups))
        return self._run(directory, record, applied)

    def _note(self, directory: Path, record: LocalSessionRecord) -> LocalSessionRecord:
        Lease(directory).set(record.term, record.groups.values())
        session_record.write(directory, record)
        return record

    def _run(self, directory: Path, record: LocalSessionRecord, applied: Limits) -> tuple[LocalSessionRecord, Sandbox]:
        lease = Lease(directory)
        with lease.watching(record.lived_s, record.term):
            holder = _holder(directory, record.options.network) or self._start(directory, record, applied)
        surroundings = Surroundings(
            user=record.user,
            network=record.options.network,
            environment=record.template.environment,
            limits=applied,
        )
        return record, Sandbox(holder, self._machine(), surroundings, lambda pid: _in_use(lease, pid), lease.touch)

    def _start(self, directory: Path, record: LocalSessionRecord, applied: Limits) -> Holder:
        """Start it, with the network it may have; one that runs with another is ended first, with its processes."""
        before = _recorded_holder(directory)
        if before is not None:  # Also one that is dying: two mounts over one upper directory would damage it.
            before.kill()
        view = view_of(
            tuple(self._store.tree(digest) for digest in record.template.layers),
            directory / "upper",
            directory / "work",
            binds=record.template.binds,
            network=record.options.network,
        )
        network = record.options.network.value

        def note(holder: Holder) -> None:
            write_file(directory / "holder", f"{holder.pid} {holder.started} {network}\n".encode())

        return holders.start(view, self._machine().identity, note, applied.join)

    def _is_over(self, directory: Path, record: LocalSessionRecord) -> bool:
        if record.lived_s >= record.term.life_s:
            return True
        lease = Lease(directory)
        return not lease.watched and lease.unused_s() >= record.term.idle_s

    def _end(self, directory: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(directory / "meta.json", directory / "ended.json")  # From here on nobody finds it.
        lease = Lease(directory)
        lease.end()
        holder = _recorded_holder(directory)
        if holder is not None:
            holder.kill()
        limits.remove(lease.groups())
        remove_tree(directory)

    def _lock(self, identity: str, *, timeout: float | None = None) -> AbstractContextManager[None]:
        return self._store.lock(f"session-{identity[:_LOCK_DIGITS]}", timeout=timeout)


def _holder(directory: Path, network: Network | None = None) -> Holder | None:
    """Give the holder of a session that runs (with this network)."""
    found = _recorded_holder(directory, network)
    return found if found is not None and found.alive else None


def _recorded_holder(directory: Path, network: Network | None = None) -> Holder | None:
    try:
        pid, started, policy = (directory / "holder").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    if network is not None and policy != network.value:
        return None
    return Holder(pid=int(pid), started=int(started))


def _in_use(lease: Lease, pid: int) -> Callable[[], None]:
    """Have a session count as in use while a command runs, and once more when it ends."""
    lease.touch()
    path = lease.command(pid)

    def ended() -> None:
        lease.touch()
        if path is not None:
            path.unlink(missing_ok=True)

    return ended


def state_of(identity: str) -> Mapping[str, Json]:
    """Give the state from which a session is found again."""
    return {"schema": STATE_SCHEMA, "id": identity}


def _listed(record: LocalSessionRecord, *, running: bool) -> SessionRecord:
    return SessionRecord(
        id=record.id,
        namespace=record.namespace,
        name=record.name,
        session_key=record.session_key,
        key=record.template.key,
        ref=record.template.ref,
        running=running,
        expires_at=record.opened_at + record.term.life_s,
        state=state_of(record.id),
    )
