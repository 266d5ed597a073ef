"""A session and its files, awaited."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from prewarm import session as core
from prewarm.aio.processes import Process
from prewarm.aio.threads import Threads, finished
from prewarm.backends.hosting import FileInfo
from prewarm.cancellation import Cancellation
from prewarm.definition.options import Json
from prewarm.key import TemplateKey
from prewarm.session.live import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S
from prewarm.values import CommandResult


class Session:
    """As ``prewarm.Session``, awaited. Made by ``open_session`` and ``attach_session`` of this module.

    Args:
        session: The synchronous one.
        threads: Where its calls run; closed with it.
    """

    def __init__(self, session: core.Session, threads: Threads) -> None:
        self._session = session
        self._threads = threads
        self._files = SessionFiles(session.files, threads)

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self._session.name

    @property
    def key(self) -> str:
        """The session key."""
        return self._session.key

    @property
    def id(self) -> str:
        """The backend's own name for it."""
        return self._session.id

    @property
    def backend(self) -> str:
        """The name of the backend that hosts it."""
        return self._session.backend

    @property
    def workdir(self) -> str:
        """Where commands start."""
        return self._session.workdir

    @property
    def template_key(self) -> TemplateKey:
        """The key of the template it was born from."""
        return self._session.template_key

    @property
    def files(self) -> SessionFiles:
        """Its files."""
        return self._files

    async def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109 - the command's, and it is killed by it.
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | str | None = None,
        max_output: int = DEFAULT_MAX_OUTPUT,
        check: bool = False,
    ) -> CommandResult:
        """Run a command to its end, as ``prewarm.Session.run``. Cancelling kills it and all its descendants first."""
        cancellation = Cancellation()
        call = functools.partial(
            self._session.run,
            command,
            timeout=timeout,
            cwd=cwd,
            env=env,
            user=user,
            stdin=stdin,
            max_output=max_output,
            check=check,
            cancellation=cancellation,
        )
        return await finished(self._threads.submit(call), cancellation.cancel)

    async def spawn(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Start a command and go on, as ``prewarm.Session.spawn``."""
        call = functools.partial(
            self._session.spawn, command, cwd=cwd, env=env, user=user, stdin=stdin, terminal=terminal
        )
        return Process(await self._threads.run(call), self._threads)

    async def expose(self, port: int) -> tuple[str, int]:
        """Give host and port where a port of the session answers, as ``prewarm.Session.expose``."""
        return await self._threads.run(functools.partial(self._session.expose, port))

    def state(self) -> dict[str, Json]:
        """Give plain JSON from which ``attach_session`` finds it again."""
        return self._session.state()

    async def close(self, *, remove: bool | None = None, keep: bool | None = None) -> None:
        """Let go of it, as ``prewarm.Session.close``. Twice is fine."""
        call = functools.partial(self._session.close, remove=remove, keep=keep)
        try:
            await self._threads.finish(call)
        finally:
            self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


class SessionFiles:
    """As ``prewarm.SessionFiles``, awaited.

    Args:
        files: The synchronous ones.
        threads: Where their calls run.
    """

    def __init__(self, files: core.SessionFiles, threads: Threads) -> None:
        self._files = files
        self._threads = threads

    async def read(self, path: str, *, limit: int | None = None) -> bytes:
        """Give a file's exact bytes."""
        return await self._threads.run(self._files.read, path, limit=limit)

    async def read_text(
        self, path: str, *, encoding: str = "utf-8", errors: str = "strict", limit: int | None = None
    ) -> str:
        """Give a file's text."""
        return await self._threads.run(self._files.read_text, path, encoding=encoding, errors=errors, limit=limit)

    async def write(self, path: str, data: bytes | str, *, mode: int | None = None) -> None:
        """Write a file whole, making its parents."""
        await self._threads.run(self._files.write, path, data, mode=mode)

    async def append(self, path: str, data: bytes | str) -> None:
        """Write at the end of a file."""
        await self._threads.run(self._files.append, path, data)

    async def list(self, path: str = ".") -> Sequence[FileInfo]:
        """Give a directory's entries, by name."""
        return await self._threads.run(self._files.list, path)

    async def stat(self, path: str) -> FileInfo:
        """Say what a path is."""
        return await self._threads.run(self._files.stat, path)

    async def exists(self, path: str) -> bool:
        """Say whether there is anything at a path."""
        return await self._threads.run(self._files.exists, path)

    async def mkdir(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory and its parents."""
        await self._threads.run(self._files.mkdir, path, mode=mode)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a link, or a directory."""
        await self._threads.run(self._files.remove, path, recursive=recursive)

    async def rename(self, source: str, target: str) -> None:
        """Move a file or tree within the session."""
        await self._threads.run(self._files.rename, source, target)

    async def upload(self, source: Path | str, target: str) -> None:
        """Copy a file or tree of this machine into the session."""
        await self._threads.run(self._files.upload, source, target)

    async def download(self, source: str, target: Path | str) -> None:
        """Copy a file or tree of the session to this machine."""
        await self._threads.run(self._files.download, source, target)
