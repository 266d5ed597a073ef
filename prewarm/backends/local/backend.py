"""The local backend: both protocols over a ``Store``. No daemon, no root; bubblewrap and overlayfs."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prewarm.backends.context import BackendContext, Feature
from prewarm.backends.hosting import OpenRequest, SessionRecord
from prewarm.backends.local import limits
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.backends.local.machine_code import MACHINES
from prewarm.backends.local.sandbox import Machine
from prewarm.backends.local.session import LocalSession
from prewarm.backends.local.session_record import STATE_SCHEMA
from prewarm.backends.local.sessions import Sessions
from prewarm.backends.local.store import Store
from prewarm.backends.local.templates import CAPTURE_FORMAT, NAME, Templates
from prewarm.errors import BackendUnavailableError, SessionStateError
from prewarm.key import TemplateKey
from prewarm.process import find_program

if TYPE_CHECKING:  # Annotations of the half that captures, which opening a session does not pay for.
    from prewarm.backends.capturing import (
        CaptureObserver,
        CaptureRequest,
        Litter,
        Probe,
        StagedTemplate,
        TemplateRecord,
    )
    from prewarm.backends.health import Health
    from prewarm.definition.model import Base, Json
    from prewarm.request import ResolvedBase, TemplateRef

_IDENTITY: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
_FEATURES: Final = frozenset(
    {
        Feature.PROCESSES,
        Feature.ROOTFS,
        Feature.IMAGES,
        Feature.HOST,
        Feature.CROSS_PROCESS,
        Feature.NETWORK_POLICY,
        Feature.NETWORK,
        Feature.LIMITS,
        Feature.SECRETS,
        Feature.TERMINAL,
        Feature.SELF_EXPIRY,
    }
)


class LocalBackend:
    """Templates as overlay layers, sessions as namespaces, on this machine.

    Args:
        context: Keeps its things in ``home / "local"``.
    """

    def __init__(self, context: BackendContext) -> None:
        identity = identity_of_this_process()
        self._home = context.home
        self._environment = context.environment
        self.store = Store(context.home, single_owner=not identity.many)
        self._templates = Templates(self.store)
        self._sessions = Sessions(self.store, self._templates, self._machine, self._hierarchy)
        self._guard = threading.Lock()  # Guards what is found out once.
        self._known_machine: Machine | None = None
        self._known_hierarchy: limits.Hierarchy | None = None

    @property
    def name(self) -> str:
        return NAME

    @property
    def capture_format(self) -> str:
        return CAPTURE_FORMAT

    @property
    def features(self) -> frozenset[Feature]:
        return _FEATURES

    def check(self) -> Health:
        from prewarm.backends.local.checking import check  # Opening does without.

        return check(self._home)

    def option_problems(self, template: Mapping[str, Json], session: Mapping[str, Json]) -> Sequence[str]:
        from prewarm.backends.local import options

        return options.problems(template, session)

    def resolve_base(self, base: Base, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
        from prewarm.backends.local import resolving

        return resolving.resolve(base, project=project, platform=platform, sha256=sha256, environment=self._environment)

    def capture(self, request: CaptureRequest, observer: CaptureObserver) -> AbstractContextManager[StagedTemplate]:
        from prewarm.backends.local.bases import Bases
        from prewarm.backends.local.capture import Maker
        from prewarm.backends.local.litter import Cleaner

        self.store.ensure()
        bases = Bases(self.store, self._templates, self._environment)
        cleaner = Cleaner(self.store, self._templates, self._sessions)
        return Maker(self.store, self._templates, bases, self._machine(), cleaner).capture(request, observer)

    def probe(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> Sequence[Probe]:
        return self._templates.probe(wanted)

    def verify_content(self, wanted: Sequence[tuple[TemplateKey, TemplateRef]]) -> Sequence[Probe]:
        """Answer as ``probe`` does, from every byte of every layer."""
        return self._templates.probe(wanted, deep=True)

    def find(self, namespace: str, key: TemplateKey) -> TemplateRef | None:
        found = self._templates.find(namespace, key)
        return None if found is None else found.ref

    def templates(self, namespace: str | None = None) -> Sequence[TemplateRecord]:
        from prewarm.backends.capturing import TemplateRecord

        return [
            TemplateRecord(namespace=t.namespace, name=t.name, key=t.key, ref=t.ref, size=t.size)
            for t in self._templates.all(namespace)
        ]

    def remove(self, ref: TemplateRef) -> None:
        from prewarm.backends.local.litter import Cleaner

        self.store.ensure()
        Cleaner(self.store, self._templates, self._sessions).remove(ref)

    def litter(self, namespace: str | None = None) -> Sequence[Litter]:
        """Find what crashes left. What has no template belongs to no namespace, so it is found whichever is asked for."""
        del namespace
        from prewarm.backends.local.litter import Cleaner

        return list(Cleaner(self.store, self._templates, self._sessions).litter())

    def open(self, request: OpenRequest) -> LocalSession:
        return LocalSession(self._sessions, *self._sessions.open(request))

    def attach(self, state: Mapping[str, Json]) -> LocalSession:
        return LocalSession(self._sessions, *self._sessions.attach(_identity(state)))

    def end_session(self, state: Mapping[str, Json]) -> None:
        self._sessions.end(_identity(state))

    def sessions(self, namespace: str | None = None) -> Sequence[SessionRecord]:
        return list(self._sessions.all(namespace))

    def _machine(self) -> Machine:
        """Give what this machine offers.

        Raises:
            BackendUnavailableError: It lacks what this backend is made of.
        """
        with self._guard:
            if self._known_machine is None:
                nsenter = find_program("nsenter", self._environment.get("PATH"))
                if nsenter is None or os.uname().sysname != "Linux" or os.uname().machine not in MACHINES:
                    raise BackendUnavailableError(
                        "backend 'local' needs nsenter, on Linux", hint="run 'prewarm doctor' to see what is missing"
                    )
                self._known_machine = Machine(identity=identity_of_this_process(), nsenter=nsenter)
            return self._known_machine

    def _hierarchy(self) -> limits.Hierarchy:
        with self._guard:
            if self._known_hierarchy is None:
                self._known_hierarchy = limits.find_hierarchy()
            return self._known_hierarchy


def _identity(state: Mapping[str, Json]) -> str:
    identity = state.get("id")
    if state.get("schema") != STATE_SCHEMA or not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
        raise SessionStateError(
            f"this is no session state of the local backend: schema {state.get('schema')!r}, not {STATE_SCHEMA!r}"
        )
    return identity
