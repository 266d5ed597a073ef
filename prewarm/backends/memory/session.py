"""A live session of the memory backend: its files, its commands, its expiry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from prewarm.backends.environment import default_environment
from prewarm.backends.hosting import ProcessRequest
from prewarm.backends.memory.calls import Call, KilledError, PipeReader, PipeWriter
from prewarm.backends.memory.files import MemoryFiles
from prewarm.backends.memory.processes import MemoryProcess
from prewarm.definition.model import Json, Network
from prewarm.errors import SessionFailedError
from prewarm.key import TemplateKey

if TYPE_CHECKING:  # The store holds sandboxes, a handle goes through the store.
    from prewarm.backends.memory.store import MemoryStore

STATE_SCHEMA: Final = "prewarm.memory-session/1"


class Sandbox:
    """Files and commands together; a session is one, and so is a template while it is made.

    Args:
        files: Where commands work.
        execute: Runs a call.
        network: Handed to commands.
        touched: Called with +1 when a command starts and -1 when it has ended.
    """

    def __init__(
        self,
        files: MemoryFiles,
        *,
        execute: Callable[[Call], int],
        network: Network,
        touched: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.files = files
        self.network = network
        self._execute = execute
        self._touched = touched
        self._guard = threading.Lock()  # Guards _processes.
        self._processes: set[MemoryProcess] = set()

    def start(self, request: ProcessRequest) -> MemoryProcess:
        """Start a command in a thread of its own.

        Raises:
            SessionFailedError: A terminal was asked for, or ``cwd`` is no directory.
        """
        if request.terminal is not None:
            raise SessionFailedError("the memory backend has no terminals")
        if not self.files.is_directory(request.cwd):
            raise SessionFailedError(f"cannot start in {request.cwd}: it is not a directory")

        def prepare(read: PipeReader, out: PipeWriter, err: PipeWriter, killed: threading.Event) -> Call:
            def alive() -> None:
                if killed.is_set():
                    raise KilledError

            return Call(
                argv=request.argv,
                cwd=request.cwd,
                env={**default_environment(request.user), **request.env},
                user=request.user,
                network=self.network,
                files=self.files.view(alive),
                read=read,
                out=out,
                err=err,
                killed=killed,
            )

        self._touched(1)
        with self._guard:
            process = MemoryProcess(prepare=prepare, execute=self._execute, ended=self._ended, stdin=request.stdin)
            if process.wait(0) is None:
                self._processes.add(process)
        return process

    def kill_all(self) -> None:
        """End every command."""
        with self._guard:
            processes = list(self._processes)
        for process in processes:
            process.kill()

    def _ended(self, process: MemoryProcess) -> None:
        self._touched(-1)
        with self._guard:
            self._processes.discard(process)


class MemorySession:
    """A ``SessionHandle``; several may stand for one session.

    Args:
        store: Where the session lives.
        identity: Which one it is.
    """

    def __init__(self, store: MemoryStore, identity: str) -> None:
        self._store = store
        self._identity = identity
        session = store.alive(identity)
        self._files = session.sandbox.files
        self._template_key = session.request.key

    @property
    def id(self) -> str:
        return self._identity

    @property
    def template_key(self) -> TemplateKey:
        return self._template_key

    @property
    def files(self) -> MemoryFiles:
        return self._files

    def start(self, request: ProcessRequest) -> MemoryProcess:
        return self._store.alive(self._identity).sandbox.start(request)

    def state(self) -> Mapping[str, Json]:
        return {"schema": STATE_SCHEMA, "id": self._identity}

    def detach(self) -> None:
        """Let go of it; there is nothing to let go of."""

    def remove(self) -> None:
        self._store.end(self._identity)
