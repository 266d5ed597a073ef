"""Find a template in the lock file and open a session from it, or find a session again. Never hashes, never guesses."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prewarm import lockfile
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import OpenRequest
from prewarm.definition.options import Json, Network, SessionOptions
from prewarm.document import Node
from prewarm.errors import (
    BackendUnavailableError,
    HomeError,
    LockFileError,
    SessionStateError,
    TemplateCorruptError,
    TemplateNotFoundError,
)
from prewarm.key import TemplateKey
from prewarm.session.live import STATE_SCHEMA, Binding, Session
from prewarm.session.names import checked_key, checked_name, new_key
from prewarm.session.options import Overrides, refuse_unsupported
from prewarm.values import TemplateRef

if TYPE_CHECKING:  # ``base`` is all that a backend is; opening needs the session half.
    from prewarm.backends.base import Backend
    from prewarm.session.ledger import Ledger


def open_session(  # noqa: PLR0913 - what can be said when opening.
    name: str,
    *,
    key: str | None = None,
    lock: Path | str | None = None,
    home: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    backend: Backend | None = None,
    platform: str | None = None,
    network: Network | str | None = None,
    memory: int | str | None = None,
    cpus: float | None = None,
    pids: int | None = None,
    disk: int | str | None = None,
    idle_timeout: float | str | None = None,
    max_lifetime: float | str | None = None,
    env: Mapping[str, str] | None = None,
    options: Mapping[str, Json] | None = None,
) -> Session:
    """Open a session from the template that the lock file names, or attach to the one of this key.

    A session found stays bound to the template it was born from (``Session.template_key`` says which), also where the
    lock file has moved on since; network policy and limits are those given now.

    Args:
        name: The sandbox, as in the definition.
        key: The application's own name for the session: who opens the same one again gets the same session. Without one,
            a new session is opened that is removed at the end of the ``with`` block.
        lock: The lock file, or the directory it is in; searched here and in the parents by default.
        home: The state directory; ``$PREWARM_HOME`` or the user's data directory by default.
        environment: Instead of this process's.
        backend: Instead of the installed one that the lock file names; must be of that name.
        platform: ``os/arch``; this machine's by default.
        network: ``all`` or ``none``, instead of the definition's. So are all that follow.
        memory: Bytes, or text such as ``512m``.
        cpus: Cores.
        pids: Processes and threads.
        disk: Bytes that the session may write, or text.
        idle_timeout: Seconds without a call after which the session ends, or text such as ``30m``.
        max_lifetime: Seconds after which it ends in any case, or text.
        env: Over the definition's.
        options: The backend's own, over the definition's.

    Raises:
        InvalidNameError: ``name`` or ``key`` is not one.
        LockFileError: There is no lock file, or it cannot be read.
        TemplateNotFoundError: It does not name this sandbox, or the template is not there; never the bare base instead.
        TemplateCorruptError: What is there is not what was captured.
        UnsupportedOptionError: The backend cannot honour what is asked for.
        BackendUnavailableError: The backend cannot work here.
        SessionFailedError: The session could not be started.
        ValueError: An override has no meaning.
    """
    overrides = Overrides(
        network=network,
        memory=memory,
        cpus=cpus,
        pids=pids,
        disk=disk,
        idle_timeout=idle_timeout,
        max_lifetime=max_lifetime,
        options=options,
    )
    checked_name(name)
    session_key = new_key() if key is None else checked_key(key)
    locked = lockfile.read(find_lock_file(lock))
    entry = locked.entry(name, platform)
    if entry.key is None or entry.ref is None:
        raise LockFileError(f"the lock file's entry of '{name}' has no template")
    wanted = overrides.over(entry.session)
    context = _context(home, environment)
    chosen = _backend(entry.backend, backend, context)
    refuse_unsupported(chosen, wanted)
    request = OpenRequest(
        namespace=locked.namespace,
        name=name,
        key=entry.key,
        ref=entry.ref,
        session_key=session_key,
        user=entry.user,
        workdir=entry.workdir,
        env={**entry.env, **(env or {})},
        options=wanted,
    )
    try:
        handle = chosen.open(request)
    except (TemplateNotFoundError, TemplateCorruptError) as error:
        raise type(error)(f"sandbox '{name}' cannot be opened: {error.message}", hint=error.hint) from error
    binding = Binding(
        backend=chosen.name,
        namespace=request.namespace,
        name=name,
        session_key=session_key,
        user=request.user,
        workdir=request.workdir,
        env=request.env,
    )
    ledger = _ledger(chosen, context)
    session = Session(handle, binding, ledger=ledger, is_anonymous=key is None)
    if ledger is not None:
        with contextlib.suppress(HomeError):  # A session needs no state directory; the backend knows what lives.
            _record(ledger, session, binding, entry.ref, wanted)
    return session


def attach_session(
    state: Mapping[str, Json],
    *,
    home: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    backend: Backend | None = None,
) -> Session:
    """Find a session again from what ``Session.state`` gave, in another process or on another host of its backend.

    Args:
        state: As ``Session.state`` gave it.
        home: As for ``open_session``.
        environment: As for ``open_session``.
        backend: As for ``open_session``.

    Raises:
        SessionStateError: It is no session's state, or one of another version or backend.
        SessionGoneError: The session has expired or was removed.
    """
    try:
        binding, own = _parsed(Node(state, "state"))
    except ValueError as error:
        raise SessionStateError(
            f"this is no session state: {error}", hint="pass on what Session.state() gave"
        ) from error
    context = _context(home, environment)
    if backend is not None and backend.name != binding.backend:
        raise SessionStateError(f"the session is hosted by backend '{binding.backend}', not by '{backend.name}'")
    chosen = _backend(binding.backend, backend, context)
    handle = chosen.attach(own)
    ledger = _ledger(chosen, context)
    if ledger is not None:
        with contextlib.suppress(HomeError):  # As in ``open_session``.
            ledger.touch(binding.backend, handle.id)
    return Session(handle, binding, ledger=ledger)


def find_lock_file(lock: Path | str | None = None) -> Path:
    """Give the lock file: this one, the one in this directory, or the nearest here and upwards.

    Raises:
        LockFileError: None was found.
    """
    if lock is not None:
        path = Path(lock)
        return path / lockfile.LOCK_NAME if path.is_dir() else path
    try:
        start = Path.cwd()
    except OSError as error:
        raise LockFileError(
            f"cannot look for {lockfile.LOCK_NAME}: the current directory cannot be read ({error.strerror})",
            hint="go to a directory that exists, or say where the lock file is",
        ) from error
    for directory in (start, *start.parents):
        path = directory / lockfile.LOCK_NAME
        if path.is_file():
            return path
    raise LockFileError(
        f"no {lockfile.LOCK_NAME} in {start} or above it",
        hint="run 'prewarm build' where prewarm.yaml is, or say where the lock file is",
    )


def _context(home: Path | str | None, environment: Mapping[str, str] | None) -> BackendContext:
    from prewarm.home import default_home

    if environment is None:
        from prewarm.process import environment as read_environment

        environment = read_environment()
    chosen = default_home(environment) if home is None else Path(home).expanduser().absolute()
    return BackendContext(home=chosen, environment=environment)


def _backend(name: str, given: Backend | None, context: BackendContext) -> Backend:
    if given is None:
        from prewarm.backends import registry

        return registry.load(name, context)
    if given.name != name:
        raise BackendUnavailableError(
            f"the template is kept by backend '{name}', not by '{given.name}'", hint="build with the backend that opens"
        )
    return given


def _ledger(backend: Backend, context: BackendContext) -> Ledger | None:
    if Feature.CROSS_PROCESS not in backend.features:
        return None
    from prewarm.home import Home
    from prewarm.session.ledger import Ledger

    return Ledger(Home(context.home))


def _record(ledger: Ledger, session: Session, binding: Binding, ref: TemplateRef, options: SessionOptions) -> None:
    from prewarm.session.ledger import Lease

    now = time.time()
    ledger.record(
        Lease(
            backend=binding.backend,
            id=session.id,
            namespace=binding.namespace,
            name=binding.name,
            session_key=binding.session_key,
            template_key=session.template_key,
            ref=ref,
            state=json.dumps(session.state()),
            created=now,
            used=now,
            expires=now + options.max_lifetime_s,
        )
    )


def _parsed(node: Node) -> tuple[Binding, Mapping[str, Json]]:
    schema = node.get("schema").text()
    if schema != STATE_SCHEMA:
        raise ValueError(f"its schema is {schema!r}, this prewarm reads {STATE_SCHEMA!r}")
    TemplateKey(node.get("template_key").text())
    binding = Binding(
        backend=node.get("backend").text(),
        namespace=node.get("namespace").text(),
        name=checked_name(node.get("name").text()),
        session_key=checked_key(node.get("key").text()),
        user=node.get("user").text(),
        workdir=node.get("workdir").text(),
        env=node.get("env").texts(),
    )
    return binding, node.get("handle").object()
