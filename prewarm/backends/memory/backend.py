"""The memory backend itself: both protocols over a ``MemoryStore``."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import CaptureObserver, CaptureRequest, Litter, Probe, StagedTemplate, TemplateRecord
from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.health import Finding, Health
from prewarm.backends.hosting import OpenRequest, SessionRecord
from prewarm.backends.memory.calls import Call, CommandFunction
from prewarm.backends.memory.files import MemoryFiles
from prewarm.backends.memory.programs import execute_with
from prewarm.backends.memory.session import STATE_SCHEMA, MemorySession, Sandbox
from prewarm.backends.memory.store import BACKEND, FORMAT, MemoryStore, Session, identity_of, ref_of, store_of
from prewarm.definition.model import (
    Base,
    DockerfileBase,
    ExtendsBase,
    HostBase,
    ImageBase,
    Json,
    RootfsBase,
)
from prewarm.errors import SessionStateError, UnkeyableInputError
from prewarm.key import TemplateKey
from prewarm.request import ResolvedBase, TemplateRef

_SECRETS: Final = "/run/secrets"


class MemoryBackend:
    """Templates and sessions in this process.

    Args:
        context: Backends of one home share their templates and sessions.
        commands: Python functions by command name; what a test's definitions and sessions run.
        store: Instead of the home's own.
    """

    def __init__(
        self,
        context: BackendContext,
        *,
        commands: Mapping[str, CommandFunction] | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.store = store or store_of(context.home)
        self._execute: Callable[[Call], int] = execute_with(commands or {})

    @property
    def name(self) -> str:
        return BACKEND

    @property
    def capture_format(self) -> str:
        return FORMAT

    @property
    def features(self) -> frozenset[Feature]:
        """What it has; a network's policy is handed to commands, which are the test's own."""
        return frozenset(
            {
                Feature.HOST,
                Feature.IMAGES,
                Feature.NETWORK,
                Feature.NETWORK_POLICY,
                Feature.SECRETS,
                Feature.SELF_EXPIRY,
            }
        )

    def check(self) -> Health:
        return Health(findings=(Finding(subject="memory", ok=True, detail="works everywhere"),))

    def option_problems(self, template: Mapping[str, Json], session: Mapping[str, Json]) -> Sequence[str]:
        return tuple(f"the memory backend has no option '{name}'" for name in sorted({*template, *session}))

    def resolve_base(
        self,
        base: Base,
        *,
        project: Path,  # noqa: ARG002 - the protocol's.
        platform: str,
        sha256: Callable[[Path], str],  # noqa: ARG002 - the protocol's.
    ) -> ResolvedBase:
        """Tell bases apart by what they say; all hold the same few directories."""
        match base:
            case HostBase():
                text = "host"
            case ImageBase(reference=reference):
                text = f"image {reference}"
            case RootfsBase() | DockerfileBase() | ExtendsBase():
                raise UnkeyableInputError(
                    f"the memory backend cannot start from {type(base).__name__}",
                    hint="use 'host' or the name of an image; it stands for a few empty directories",
                )
        digest = hashlib.sha256(f"{text} {platform}".encode()).hexdigest()
        return ResolvedBase(digest=f"sha256:{digest}", description=f"{text} (in memory)")

    def capture(self, request: CaptureRequest, observer: CaptureObserver) -> AbstractContextManager[StagedTemplate]:
        from prewarm.backends.memory.making import capture  # Opening needs none of it.

        return capture(self.store, request, observer, self._execute)

    def probe(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> Sequence[Probe]:
        return [self.store.probe(key, identity_of(ref)) for key, ref in wanted]

    def find(self, namespace: str, key: TemplateKey) -> TemplateRef | None:
        found = self.store.find(namespace, key)
        return None if found is None else ref_of(found.identity)

    def templates(self, namespace: str | None = None) -> Sequence[TemplateRecord]:
        with self.store.guard:
            kept = [t for t in self.store.templates.values() if t.published and namespace in {None, t.namespace}]
        return [
            TemplateRecord(namespace=t.namespace, name=t.name, key=t.key, ref=ref_of(t.identity), size=t.size)
            for t in kept
        ]

    def remove(self, ref: TemplateRef) -> None:
        self.store.expire()
        self.store.remove(identity_of(ref))

    def litter(self, namespace: str | None = None) -> Sequence[Litter]:  # noqa: ARG002 - the protocol's.
        """Find nothing: what a crash would leave goes with the process."""
        return ()

    def open(self, request: OpenRequest) -> MemorySession:
        store = self.store
        with store.guard:
            store.expire()
            wanted = (request.namespace, request.name, request.session_key)
            for session in store.sessions.values():
                known = session.request
                if (known.namespace, known.name, known.session_key) == wanted:
                    session.request = replace(known, options=request.options)
                    session.sandbox.network = request.options.network
                    return MemorySession(store, session.identity)
            template = store.template(request.key, identity_of(request.ref))
            identity = f"memory-{secrets.token_hex(8)}"
            files = MemoryFiles(dict(template.tree), clock=time.time, alive=lambda: _touch(store, identity))
            sandbox = Sandbox(
                files,
                execute=self._execute,
                network=request.options.network,
                touched=lambda commands: store.touch(identity, commands),
            )
            now = store.clock()
            store.sessions[identity] = Session(
                identity=identity,
                request=request,
                template=template.identity,
                sandbox=sandbox,
                created=now,
                used=now,
            )
            return MemorySession(store, identity)

    def attach(self, state: Mapping[str, Json]) -> MemorySession:
        identity = state.get("id")
        if state.get("schema") != STATE_SCHEMA or not isinstance(identity, str):
            raise SessionStateError(
                f"this is no session state of the memory backend: schema {state.get('schema')!r}, not {STATE_SCHEMA!r}"
            )
        return MemorySession(self.store, identity)

    def sessions(self, namespace: str | None = None) -> Sequence[SessionRecord]:
        self.store.expire()
        with self.store.guard:
            now, wall = self.store.clock(), time.time()
            return [
                SessionRecord(
                    id=session.identity,
                    namespace=session.request.namespace,
                    name=session.request.name,
                    session_key=session.request.session_key,
                    key=session.request.key,
                    ref=session.request.ref,
                    running=True,
                    expires_at=wall + session.left(now),
                    state={"schema": STATE_SCHEMA, "id": session.identity},
                )
                for session in self.store.sessions.values()
                if namespace in {None, session.request.namespace}
            ]


def _touch(store: MemoryStore, identity: str) -> None:
    store.alive(identity)
