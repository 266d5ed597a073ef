"""A session's handle: what ``open`` and ``attach`` give."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.local.command import LocalProcess
from prewarm.backends.local.files import LocalFiles
from prewarm.backends.local.sandbox import Sandbox
from prewarm.backends.local.session_record import LocalSessionRecord
from prewarm.backends.local.sessions import Sessions, state_of
from prewarm.definition.options import Json
from prewarm.errors import SessionGoneError
from prewarm.key import TemplateKey


class LocalSession:
    """A ``SessionHandle``; several may stand for one session.

    Where another client has started the session again (with another network, after its holder was killed), it is followed.

    Args:
        sessions: Where it lives.
        record: Which one it is.
        sandbox: It, running.
    """

    def __init__(self, sessions: Sessions, record: LocalSessionRecord, sandbox: Sandbox) -> None:
        self._sessions = sessions
        self._record = record
        self._sandbox = sandbox
        self._guard = threading.Lock()  # Guards _sandbox and _is_removed.
        self._is_removed = False

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def template_key(self) -> TemplateKey:
        return self._record.template.key

    @property
    def files(self) -> LocalFiles:
        return LocalFiles(self._root, self._sandbox.owner)

    def start(self, request: ProcessRequest) -> LocalProcess:
        try:
            return self._running().start(request)
        except (
            SessionGoneError
        ):  # Its holder died between the look and the start; if the session ended, it says so now.
            return self._running().start(request)

    def state(self) -> Mapping[str, Json]:
        return state_of(self.id)

    def detach(self) -> None:
        """Let go of it; there is nothing to let go of."""

    def remove(self) -> None:
        """End it and take its files away. Twice is fine."""
        with self._guard:
            self._is_removed = True
        self._sessions.end(self.id)

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        with contextlib.ExitStack() as stack:
            try:
                sandbox = self._running()
                root = stack.enter_context(sandbox.holder.root())
            except SessionGoneError:  # As in ``start``.
                sandbox = self._running()
                root = stack.enter_context(sandbox.holder.root())
            sandbox.touch()
            yield root

    def _running(self) -> Sandbox:
        with self._guard:
            if self._is_removed:
                raise SessionGoneError(f"session {self.id} was removed", hint="open it anew")
            if not self._sandbox.holder.alive:
                self._record, self._sandbox = self._sessions.attach(self.id)
            return self._sandbox
