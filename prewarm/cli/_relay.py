"""Join this process's own streams to a command in a session: bytes both ways, as they come, until the command ends.

With a terminal the user's own is put into raw mode meanwhile and given back in any case, and its size is passed on.
Called by ``open`` and ``exec``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import IO, Final, Protocol

from prewarm.cli import _interrupts, _output

_CHUNK: Final = 65536
_POLL_S: Final = 0.1
_GRACE_S: Final = 0.2
_USUAL_SIZE: Final = (80, 24)


class Running(Protocol):
    """A command in a session, as far as it is needed here."""

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes]: ...
    @property
    def stderr(self) -> IO[bytes]: ...
    def wait(self, timeout: float | None = None) -> int | None: ...
    def kill(self) -> None: ...
    def resize(self, columns: int, rows: int) -> None: ...


def terminal_size() -> tuple[int, int]:
    """Give the columns and rows of the user's terminal, or usual ones."""
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except OSError:  # It was closed.
        return _USUAL_SIZE
    return (size.columns or _USUAL_SIZE[0], size.lines or _USUAL_SIZE[1])


def relay(process: Running, *, terminal: bool) -> int:
    """Pass bytes to and fro until the command ends; give its exit code.

    What the command left behind may hold its output open; it is not waited for. Whatever else ends this, an interrupt
    or a reader that went away, ends the command.

    Args:
        process: What runs. Its standard input is fed from this process's, unless it has none.
        terminal: Whether it has one of its own, which this process's terminal then serves.
    """
    try:
        with (
            _raw_terminal() if terminal else contextlib.nullcontext(),
            _resizing(process) if terminal else contextlib.nullcontext(),
        ):
            _Relay(process, terminal=terminal).run()
            code = process.wait()
    except BaseException:
        process.kill()
        raise
    return 0 if code is None else code


class _Relay:
    def __init__(self, process: Running, *, terminal: bool) -> None:
        self._process = process
        self._terminal = terminal
        self._selector = selectors.PollSelector()
        self._pending = b""
        self._input_ended = False
        self._feeding = process.stdin
        self._reading = 0

    def run(self) -> None:
        with self._selector:
            self._begin()
            ended_at: float | None = None
            while self._reading and (ended_at is None or time.monotonic() < ended_at + _GRACE_S):
                events = self._selector.select(_POLL_S)
                if not events and ended_at is None and self._process.wait(0) is not None:
                    ended_at = time.monotonic()
                for key, _ in events:
                    self._ready(key.fd, is_error=key.data == "stderr", is_output=key.data is not None)

    def _begin(self) -> None:
        for name, stream in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            self._selector.register(stream.fileno(), selectors.EVENT_READ, name)
            self._reading += 1
        if self._feeding is not None:
            os.set_blocking(self._feeding.fileno(), False)
            self._listen()

    def _ready(self, descriptor: int, *, is_output: bool, is_error: bool) -> None:
        if is_output:
            chunk = _read(descriptor)
            if chunk:
                _output.raw(chunk, error=is_error)
            else:
                self._selector.unregister(descriptor)
                self._reading -= 1
        elif self._feeding is not None and descriptor == self._feeding.fileno():
            self._feed(self._feeding)
        else:
            self._selector.unregister(descriptor)
            self._pending = _read(descriptor)
            self._input_ended = not self._pending
            if self._input_ended and self._terminal:  # In raw mode no key ends the input: the terminal was closed.
                _interrupts.hang_up()
            if self._feeding is not None:
                self._feed(self._feeding, registered=False)

    def _feed(self, stream: IO[bytes], *, registered: bool = True) -> None:
        """Write what is pending; go on when there is room, read more when it is gone, close at the end."""
        try:
            if self._pending:
                self._pending = self._pending[os.write(stream.fileno(), self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # It has closed its standard input: the rest is not wanted.
            self._pending, self._input_ended = b"", True
        if self._pending:
            if not registered:
                self._selector.register(stream.fileno(), selectors.EVENT_WRITE)
            return
        if registered:
            self._selector.unregister(stream.fileno())
        if self._input_ended:
            self._feeding = None
            with contextlib.suppress(OSError):
                stream.close()
        else:
            self._listen()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # This process may have been started without a standard input.
            self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:  # EIO: how a pty says that its other end is gone.
        return b""


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    descriptor = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:
        _interrupts.hang_up()
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # What was typed ahead is for the command.
        yield
    finally:
        with contextlib.suppress(termios.error):  # It was closed; nobody is left to give it back to.
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(process: Running) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda _number, _frame: process.resize(*terminal_size()))
    try:
        process.resize(*terminal_size())  # It may have changed since the command was given its terminal.
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
