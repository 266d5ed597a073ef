"""A command in a sandbox: started through ``nsenter`` and the ``enter`` program, a ``ProcessHandle`` while it runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO, Final, NamedTuple

from prewarm import process
from prewarm.backends.local.holder import Holder
from prewarm.backends.local.openat2 import openat2
from prewarm.backends.local.processes import MARK_RESOURCE, kill_tree, new_mark
from prewarm.backends.local.programs import Credentials, Entry, enter, executable
from prewarm.errors import SessionFailedError, SessionGoneError

_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTPEER: Final = 0x5441
_OPTIONS: Final = {"user": "user", "mnt": "mount", "pid": "pid", "ipc": "ipc", "uts": "uts", "net": "net"}


class Launch(NamedTuple):
    """What it takes to start a command.

    Attributes:
        argv: Of the command.
        env: Its whole environment.
        cwd: Inside.
        credentials: Who it is inside.
        network: Whether the sandbox has a network namespace of its own to be entered.
        limits: Resource limits by number.
        cpus: Processors it may use; empty: all.
        join: ``cgroup.procs`` files outside.
        stdin: Whether its standard input will be written.
        terminal: Columns and rows of a pty.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    credentials: Credentials
    network: bool
    limits: Mapping[int, int] = MappingProxyType({})
    cpus: tuple[int, ...] = ()
    join: tuple[str, ...] = ()
    stdin: bool = False
    terminal: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return object.__repr__(self)  # Arguments and variables can be secrets.


def start(
    holder: Holder, launch: Launch, *, nsenter: str, entered: Callable[[int], Callable[[], None]]
) -> LocalProcess:
    """Start a command in a sandbox.

    Args:
        holder: Of the sandbox.
        launch: What to start.
        nsenter: Path of the program.
        entered: Told the entering process; gives what is to be called once, when the command is known to have ended.

    Raises:
        SessionGoneError: The sandbox has ended.
        SessionFailedError: The command could not be brought in.
    """
    mark = new_mark()
    with contextlib.ExitStack() as stack:
        try:
            namespaces = stack.enter_context(holder.namespaces(network=launch.network))
            join = tuple(_group(stack, path) for path in launch.join)
            image = stack.enter_context(executable(enter(os.uname().machine, _entry(launch, mark, join))))
            terminal = (
                _Terminal(stack, holder, launch.credentials, launch.terminal) if launch.terminal is not None else None
            )
            child = process.start(
                (
                    nsenter,
                    *(f"--{_OPTIONS[name]}=/proc/self/fd/{fd}" for name, fd in namespaces.items()),
                    "--preserve-credentials",
                    "--",
                    f"/proc/self/fd/{image}",
                ),
                env={},
                cwd="/",
                stdin=terminal.slave if terminal else process.PIPE if launch.stdin else process.DEVNULL,
                stdout=terminal.slave if terminal else process.PIPE,
                stderr=terminal.slave if terminal else process.PIPE,
                pass_fds=(*namespaces.values(), *join, image),
            )
        except OSError as error:
            raise SessionFailedError(f"the command could not be started: {error}") from error
        return LocalProcess(child, mark, terminal.taken() if terminal else None, entered(child.pid))


def _entry(launch: Launch, mark: int, join: tuple[int, ...]) -> Entry:
    env = {os.fsencode(name): os.fsencode(value) for name, value in launch.env.items()}
    search = env.get(b"PATH", b"").split(b":")
    return Entry(
        argv=tuple(os.fsencode(part) for part in launch.argv),
        env=env,
        cwd=os.fsencode(launch.cwd),
        credentials=launch.credentials,
        search=tuple(directory for directory in search if directory.startswith(b"/")),
        limits={**launch.limits, MARK_RESOURCE: mark},
        cpus=launch.cpus,
        join=join,
        terminal=launch.terminal is not None,
    )


def _group(stack: contextlib.ExitStack, path: str) -> int:
    """Open a cgroup's file; where the session has a cgroup, it lives as long as the session."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SessionGoneError("the session has ended", hint="open it again") from error
    stack.callback(os.close, descriptor)
    return descriptor


class _Terminal:
    """A pty of the sandbox's own, while a command is started with it.

    Its slave end is closed with the stack, its master is ``taken``.
    """

    def __init__(self, stack: contextlib.ExitStack, holder: Holder, owner: Credentials, size: tuple[int, int]) -> None:
        with holder.root() as root:
            self._master = openat2(root, b"dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        self._on_failure = stack.enter_context(contextlib.ExitStack())
        self._on_failure.callback(os.close, self._master)
        fcntl.ioctl(self._master, _TIOCSPTLCK, struct.pack("i", 0))
        self.slave = fcntl.ioctl(self._master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        stack.callback(os.close, self.slave)
        if not owner.nested:
            os.fchown(self.slave, owner.uid, owner.gid)
        _resize(self._master, *size)

    def taken(self) -> int:
        self._on_failure.pop_all()
        return self._master


def _resize(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class LocalProcess:
    """A running command. Thread-safe but for its streams.

    Args:
        child: The entering process, which ends as the command does.
        mark: That of the command and its descendants.
        master: Of its pty; owned from here on.
        ended: Called once, when the command is known to have ended.
    """

    def __init__(self, child: process.Child, mark: int, master: int | None, ended: Callable[[], None]) -> None:
        self._child = child
        self._mark = mark
        self._ended = ended
        self._guard = threading.Lock()  # Guards _is_over and, while killing, the child's number.
        self._is_over = False
        self._master = master
        self._streams: tuple[IO[bytes], ...] = ()
        if master is not None:
            empty, closed = os.pipe()
            os.close(closed)
            self._streams = (
                open(master, "rb", buffering=0),  # noqa: SIM115 - closed by close().
                open(os.dup(master), "wb", buffering=0),  # noqa: SIM115 - the same.
                open(empty, "rb", buffering=0),  # noqa: SIM115 - the same.
            )

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._streams[1] if self._streams else self._child.stdin

    @property
    def stdout(self) -> IO[bytes]:
        return self._streams[0] if self._streams else _present(self._child.stdout)

    @property
    def stderr(self) -> IO[bytes]:
        return self._streams[2] if self._streams else _present(self._child.stderr)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; seconds. Give the exit code, or ``None`` on time-out."""
        code = self._child.wait(timeout)
        if code is not None:
            self._over()
        return code

    def kill(self) -> None:
        """Kill the command and all its descendants, wherever they have gone. Twice is fine."""
        with self._guard:
            if self._child.wait(0) is None:  # Not collected, so its number is still its own.
                kill_tree(self._child.pid, self._mark)
                self._child.wait()
            else:
                kill_tree(None, self._mark)
        self._over()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size; without one, nothing."""
        if self._streams and not self._streams[0].closed:
            _resize(self._streams[0].fileno(), columns, rows)

    def close(self) -> None:
        """Let go of the streams; the command goes on. Twice is fine."""
        self._child.close()
        for stream in self._streams:
            stream.close()

    def _over(self) -> None:
        with self._guard:
            first, self._is_over = not self._is_over, True
        if first:
            self._ended()


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise SessionFailedError("the command has no such stream")
    return stream
