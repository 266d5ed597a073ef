"""A command of the memory backend while it runs: what a Python function gets in place of a process."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from prewarm.backends.memory.files import MemoryFiles
from prewarm.definition.model import Network

_POLL_S: Final = 0.02
_CHUNK: Final = 65536


class KilledError(BaseException):
    """Unwinds a command that was killed; not an ``Exception``, so that commands do not catch it by accident."""


Sink: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One command under way.

    Attributes:
        argv: The command's own name first.
        cwd: Absolute.
        env: Variables.
        user: Who runs it, as the request said.
        network: What it may reach; a function that talks to a network must honour it.
        files: The session's files.
        read: Gives all of standard input.
        out: Takes standard output.
        err: Takes standard error.
        killed: Set once the command is to end.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    user: str
    network: Network
    files: MemoryFiles
    read: Callable[[], bytes]
    out: Sink
    err: Sink
    killed: threading.Event

    def path(self, name: str) -> str:
        """Give an absolute path, from the working directory."""
        return os.path.normpath(os.path.join(self.cwd, name))

    def say(self, text: str) -> None:
        """Write a line to standard output."""
        self.out(f"{text}\n".encode("utf-8", "surrogateescape"))

    def complain(self, text: str) -> None:
        """Write a line to standard error."""
        self.err(f"{text}\n".encode("utf-8", "surrogateescape"))

    def sleep(self, seconds: float) -> None:
        """Wait; a kill ends it at once."""
        if self.killed.wait(seconds):
            raise KilledError

    def with_argv(self, argv: tuple[str, ...]) -> Call:
        """Give the same call of another command."""
        return replace(self, argv=argv)


CommandFunction: TypeAlias = Callable[[Call], int]


class PipeWriter:
    """Writes to a pipe without ever blocking past a kill; output that nobody reads any more is dropped."""

    def __init__(self, descriptor: int, killed: threading.Event) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._killed = killed

    def __call__(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._killed.is_set():
                raise KilledError
            try:
                rest = rest[os.write(self._descriptor, rest[:_CHUNK]) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [], _POLL_S)
            except BrokenPipeError:
                return

    def close(self) -> None:
        os.close(self._descriptor)


class PipeReader:
    """Reads a pipe to its end, or until a kill."""

    def __init__(self, descriptor: int, killed: threading.Event) -> None:
        self._descriptor = descriptor
        self._killed = killed

    def __call__(self) -> bytes:
        whole = bytearray()
        while True:
            if self._killed.is_set():
                raise KilledError
            if select.select([self._descriptor], [], [], _POLL_S)[0]:
                chunk = os.read(self._descriptor, _CHUNK)
                if not chunk:
                    return bytes(whole)
                whole += chunk

    def close(self) -> None:
        os.close(self._descriptor)
