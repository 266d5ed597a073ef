"""A live session: run and spawn commands, use its files, write down its state, let go of it or end it."""

from __future__ import annotations

import contextlib
import posixpath
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from prewarm.backends.commands import command_argv, command_env, run_command
from prewarm.backends.hosting import ExposesPorts, ProcessRequest, SessionHandle
from prewarm.backends.paths import session_path
from prewarm.cancellation import Cancellation
from prewarm.definition.options import Json
from prewarm.errors import CommandFailedError, HomeError, SessionGoneError, UnsupportedOptionError
from prewarm.key import TemplateKey
from prewarm.session.files import SessionFiles
from prewarm.values import CommandResult

if TYPE_CHECKING:  # Loaded by the first ``spawn``, and where there is a state directory; neither is every session's.
    from prewarm.session.ledger import Ledger
    from prewarm.session.processes import Process

STATE_SCHEMA: Final = "prewarm.session/1"
DEFAULT_TIMEOUT_S: Final = 60.0
DEFAULT_MAX_OUTPUT: Final = 1024 * 1024
_TOUCH_EVERY_S: Final = 60.0
_SHOWN: Final = 200


class Binding(NamedTuple):
    """What a session is called and how its commands run; with the handle's own state, all of ``Session.state``."""

    backend: str
    namespace: str
    name: str
    session_key: str
    user: str
    workdir: str
    env: Mapping[str, str]

    def __repr__(self) -> str:
        return object.__repr__(self)  # Variables can be secrets.


class Session:
    """A sandbox that commands can enter. Thread-safe: each command is a process of its own.

    As a context manager it lets go at the end: a session whose key the application chose lives on until it expires,
    one whose key was made up for it is removed, because nobody could find it again.

    Args:
        handle: The backend's; this session owns it.
        binding: Names, and how commands run.
        ledger: Where its use is written down; ``None`` for nowhere.
        is_anonymous: Its key was made up.
    """

    def __init__(
        self, handle: SessionHandle, binding: Binding, *, ledger: Ledger | None = None, is_anonymous: bool = False
    ) -> None:
        self._handle = handle
        self._binding = binding
        self._ledger = ledger
        self._is_anonymous = is_anonymous
        self._guard = threading.Lock()  # Guards the two below.
        self._is_closed = False
        self._touched = time.monotonic()
        self._files = SessionFiles(lambda: self._live().files, binding.workdir)

    @property
    def name(self) -> str:
        """The sandbox's name."""
        return self._binding.name

    @property
    def key(self) -> str:
        """The session key."""
        return self._binding.session_key

    @property
    def id(self) -> str:
        """The backend's own name for it."""
        return self._handle.id

    @property
    def backend(self) -> str:
        """The name of the backend that hosts it."""
        return self._binding.backend

    @property
    def workdir(self) -> str:
        """Where commands start."""
        return self._binding.workdir

    @property
    def template_key(self) -> TemplateKey:
        """The key of the template it was born from.

        A session that was open already may be older than the lock file: compare this with the entry's key to see.
        """
        return self._handle.template_key

    @property
    def files(self) -> SessionFiles:
        """Its files."""
        return self._files

    def run(  # noqa: PLR0913 - what a command can be given.
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | str | None = None,
        max_output: int = DEFAULT_MAX_OUTPUT,
        check: bool = False,
        cancellation: Cancellation | None = None,
    ) -> CommandResult:
        """Run a command to its end. A non-zero exit is data, an unknown command is exit code 127.

        Args:
            command: Text for ``/bin/sh -c``, or an argv list that is run as it is.
            timeout: Seconds after which it and all its descendants are killed (``timed_out``, exit code 124);
                ``None`` leaves it as long as the session lives.
            cwd: Where it starts; relative to ``workdir``.
            env: Over the definition's.
            user: Instead of the definition's.
            stdin: For its standard input, which is empty otherwise.
            max_output: Bytes kept of each stream; what comes after is read and dropped (``truncated``).
            check: Whether anything but exit code 0 raises.
            cancellation: Ends it, descendants and all, when it comes from another thread.

        Raises:
            CommandFailedError: ``check`` was given and it did not exit with 0.
            InterruptedBuildError: It was cancelled.
            SessionGoneError: The session has ended.
        """
        data = stdin.encode() if isinstance(stdin, str) else stdin
        result = run_command(
            self._live(),
            self._request(command, cwd=cwd, env=env, user=user, stdin=data is not None),
            stdin=data,
            deadline=None if timeout is None else time.monotonic() + timeout,
            max_output=max_output,
            cancellation=cancellation,
        )
        if check and not result.ok:
            raise self._failure(command, result)
        return result

    def spawn(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Start a command and go on; it lives as long as the session unless it ends or is killed.

        Args:
            command: As for ``run``.
            cwd: As for ``run``.
            env: As for ``run``.
            user: As for ``run``.
            stdin: Whether the caller will write to it.
            terminal: Columns and rows of a terminal for it; both streams are then one.

        Raises:
            SessionGoneError: The session has ended.
        """
        from prewarm.session.processes import Process

        request = self._request(command, cwd=cwd, env=env, user=user, stdin=stdin, terminal=terminal)
        return Process(self._live().start(request))

    def expose(self, port: int) -> tuple[str, int]:
        """Give host and port, on the backend's machine, where a port of the session answers.

        Raises:
            UnsupportedOptionError: The backend's sessions expose none.
            SessionFailedError: It is not among those in the session's options.
        """
        handle = self._live()
        if not isinstance(handle, ExposesPorts):
            raise UnsupportedOptionError(
                f"sessions of the {self.backend} backend expose no ports",
                hint="talk to the service by commands in the session, or use the docker backend",
            )
        return handle.expose(port)

    def state(self) -> dict[str, Json]:
        """Give plain JSON from which ``attach_session`` finds it again, in another process or on another host."""
        binding = self._binding
        return {
            "schema": STATE_SCHEMA,
            "backend": binding.backend,
            "namespace": binding.namespace,
            "name": binding.name,
            "key": binding.session_key,
            "template_key": str(self.template_key),
            "user": binding.user,
            "workdir": binding.workdir,
            "env": dict(binding.env),
            "handle": dict(self._handle.state()),
        }

    def close(self, *, remove: bool | None = None, keep: bool | None = None) -> None:
        """Let go of it. Twice is fine.

        Args:
            remove: End it and take away its files.
            keep: Leave it to live until it expires. Without either, it is removed only if its key was made up.

        Raises:
            ValueError: Both were asked for, or neither.
        """
        if remove is not None and remove == keep:
            raise ValueError("a session is either removed or kept")
        goes = remove if remove is not None else not keep if keep is not None else self._is_anonymous
        with self._guard:
            was_closed, self._is_closed = self._is_closed, True
        if goes:
            self._handle.remove()
            self._forget()
        if not was_closed:
            self._handle.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _request(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None,
        env: Mapping[str, str] | None,
        user: str | None,
        stdin: bool,
        terminal: tuple[int, int] | None = None,
    ) -> ProcessRequest:
        binding = self._binding
        return ProcessRequest(
            argv=command_argv(command),
            cwd=session_path(posixpath.join(binding.workdir, cwd)) if cwd else binding.workdir,
            env=command_env({**binding.env, **(env or {})}),
            user=user or binding.user,
            stdin=stdin,
            terminal=terminal,
        )

    def _live(self) -> SessionHandle:
        now = time.monotonic()
        with self._guard:
            if self._is_closed:
                raise SessionGoneError(
                    f"session '{self.key}' of '{self.name}' was closed here",
                    hint="open it again; one that was kept is found by its key",
                )
            is_due = self._ledger is not None and now - self._touched > _TOUCH_EVERY_S
            if is_due:
                self._touched = now
        if is_due and self._ledger is not None:
            with contextlib.suppress(HomeError):  # What this machine remembers is a courtesy; the session goes on.
                self._ledger.touch(self.backend, self.id)
        return self._handle

    def _forget(self) -> None:
        if self._ledger is not None:
            with contextlib.suppress(HomeError):  # As above; what is remembered too long expires.
                self._ledger.forget(self.backend, self.id)

    def _failure(self, command: str | Sequence[str], result: CommandResult) -> CommandFailedError:
        from prewarm.process import exit_reason

        shown = command if isinstance(command, str) else " ".join(command)
        how = f"timed out after {result.seconds:.0f}s" if result.timed_out else exit_reason(result.exit_code)
        lines = result.stderr_bytes.decode("utf-8", "replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return CommandFailedError(
            f"command in session '{self.key}' of '{self.name}' {how}: {shown[:_SHOWN]}{last}",
            command_exit_code=None if result.timed_out else result.exit_code,
            stdout=result.stdout_bytes,
            stderr=result.stderr_bytes,
        )
