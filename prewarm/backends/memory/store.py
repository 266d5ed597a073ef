"""What all memory backends of one home share: templates and sessions, and the ways to break them for a test."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import Presence, Probe
from prewarm.backends.hosting import FileKind, OpenRequest
from prewarm.backends.memory.files import Node, tree_digest
from prewarm.backends.memory.session import Sandbox
from prewarm.errors import SessionGoneError, TemplateCorruptError, TemplateInUseError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.request import TemplateRef

BACKEND: Final = "memory"
FORMAT: Final = "memory/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One captured template.

    Attributes:
        identity: What its ref says: made of key and content.
        digest: Of the tree as it was sealed; the tree is compared with it whenever somebody asks.
        parent: Identity of the template it stands on, or an empty string.
        published: Whether ``find`` and ``templates`` know it.
    """

    identity: str
    namespace: str
    name: str
    key: TemplateKey
    digest: str
    parent: str
    size: int
    tree: Mapping[str, Node] = field(repr=False)
    published: bool = False


@dataclass(slots=True, kw_only=True)
class Session:
    """One live session; changes under the store's guard."""

    identity: str
    request: OpenRequest
    template: str
    sandbox: Sandbox = field(repr=False)
    created: float
    used: float
    running: int = 0

    def left(self, now: float) -> float:
        """Give the seconds until it ends, unless it is used."""
        options = self.request.options
        idle = options.idle_timeout_s if not self.running else options.max_lifetime_s
        return min(self.created + options.max_lifetime_s, self.used + idle) - now


class MemoryStore:
    """Templates and sessions of one home, while this process lives.

    Args:
        clock: Seconds that never jump; expiry goes by it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.guard = threading.RLock()  # Guards both dictionaries and the sessions in them.
        self.templates: dict[str, Template] = {}
        self.sessions: dict[str, Session] = {}

    def template(self, key: TemplateKey, identity: str) -> Template:
        """Give a template that can be opened.

        Raises:
            TemplateNotFoundError: It is not there.
            TemplateCorruptError: It carries another key, or is not what was sealed.
        """
        with self.guard:
            probe = self.probe(key, identity)
            if probe.presence is Presence.MISSING:
                raise TemplateNotFoundError(f"template {key.short} is not in the memory backend: {probe.detail}")
            if probe.presence is not Presence.PRESENT:
                raise TemplateCorruptError(f"template {key.short} of the memory backend is damaged: {probe.detail}")
            return self.templates[identity]

    def probe(self, key: TemplateKey, identity: str) -> Probe:
        """Say whether a template is there, carries this key, and is what was sealed."""
        with self.guard:
            found = self.templates.get(identity)
        if found is None:
            return Probe(presence=Presence.MISSING, detail="nothing is kept under this ref")
        if found.key != key:
            return Probe(presence=Presence.CORRUPT, detail=f"it carries the key {found.key.short}")
        if tree_digest(found.tree) != found.digest:
            return Probe(presence=Presence.CORRUPT, detail="its content is not what was captured")
        return Probe(presence=Presence.PRESENT)

    def find(self, namespace: str, key: TemplateKey) -> Template | None:
        """Find a published template by key."""
        with self.guard:
            wanted = (namespace, key)
            return next((t for t in self.templates.values() if t.published and (t.namespace, t.key) == wanted), None)

    def publish(self, identity: str, *, replaces: bool = False) -> str:
        """Publish a staged template, or drop it where another was first; give the identity that is published.

        One that is replaced stays while sessions or templates stand on it, and is found no more.
        """
        with self.guard:
            mine = self.templates[identity]
            first = self.find(mine.namespace, mine.key)
            if first is not None and first.identity != identity:
                if not replaces:
                    del self.templates[identity]
                    return first.identity
                self.templates[first.identity] = replace(first, published=False)
                with contextlib.suppress(TemplateInUseError):
                    self.remove(first.identity)
            self.templates[identity] = replace(mine, published=True)
            return identity

    def remove(self, identity: str) -> None:
        """Take a template away.

        Raises:
            TemplateInUseError: A live session or another template stands on it.
        """
        with self.guard:
            found = self.templates.get(identity)
            if found is None:
                return
            session = next((s for s in self.sessions.values() if s.template == identity), None)
            if session is not None:
                raise TemplateInUseError(
                    f"template {found.key.short} of '{found.name}' is used by session '{session.request.session_key}'",
                    hint="remove the session first",
                )
            child = next((t for t in self.templates.values() if t.parent == identity), None)
            if child is not None:
                raise TemplateInUseError(
                    f"template {found.key.short} of '{found.name}' carries the template of '{child.name}'",
                    hint=f"remove the template of '{child.name}' first",
                )
            del self.templates[identity]

    def alive(self, identity: str) -> Session:
        """Give a live session and count this as a client's call.

        Raises:
            SessionGoneError: It has expired or was removed.
        """
        with self.guard:
            self.expire()
            session = self.sessions.get(identity)
            if session is None:
                raise SessionGoneError(f"session {identity} is gone", hint="open it again")
            session.used = self.clock()
            return session

    def touch(self, identity: str, commands: int) -> None:
        """Count commands that run; a session with one is not idle."""
        with self.guard:
            session = self.sessions.get(identity)
            if session is not None:
                session.running += commands
                session.used = self.clock()

    def end(self, identity: str) -> None:
        """Take a session away; one that is gone is fine."""
        with self.guard:
            session = self.sessions.pop(identity, None)
        if session is not None:
            session.sandbox.kill_all()

    def expire(self) -> None:
        """End every session whose time is up; called before anything looks at sessions."""
        with self.guard:
            now = self.clock()
            over = [session for session in self.sessions.values() if session.left(now) <= 0]
        for session in over:
            self.end(session.identity)

    # for tests: what happens behind a backend's back

    def lose(self, identity: str) -> None:
        """Delete a template as an accident would: whatever stands on it."""
        with self.guard:
            del self.templates[identity]

    def damage(self, identity: str) -> None:
        """Change a template's content as an accident would: its seal stays as it was."""
        with self.guard:
            found = self.templates[identity]
            stray = Node(kind=FileKind.FILE, mode=0o644, data=secrets.token_bytes(8))
            self.templates[identity] = replace(found, tree={**found.tree, "/damaged": stray})


def ref_of(identity: str) -> TemplateRef:
    """Give the ref of a template."""
    return TemplateRef(backend=BACKEND, format=FORMAT, value={"id": identity})


def identity_of(ref: TemplateRef | None) -> str:
    """Give the identity that a ref names; an empty string where there is none."""
    return "" if ref is None else str(ref.value.get("id", ""))


_STORES: Final[dict[Path, MemoryStore]] = {}  # One a home, so that two backends of this process see the same.
_STORES_GUARD: Final = threading.Lock()


def store_of(home: Path) -> MemoryStore:
    """Give the store of a home; it lives as long as this process."""
    with _STORES_GUARD:
        return _STORES.setdefault(home.absolute(), MemoryStore())
