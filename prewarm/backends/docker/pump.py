"""Carry the bytes of one exec between the engine's single socket and three pipes.

The engine sends both streams of a command through one socket, in frames; whoever runs commands selects on descriptors.
So one thread a command takes the frames apart. It is a thread because nothing else could move the bytes while the
caller does something different, and it ends with the socket.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final

from prewarm.errors import PrewarmError

_CHUNK: Final = 65536
_HEADER: Final = struct.Struct(">BxxxL")
_STDERR: Final = 2
_TOUCH_S: Final = 0.5
_MOST_WAITING: Final = 1024 * 1024  # Bytes kept of what nobody has read; a reader of one stream only gets this far.


class Frames:
    """Takes the engine's frames apart. Pure."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._rest = b""
        self._left = 0
        self._is_error = False

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Give the parts in ``data``: whether each is of standard error, and its bytes."""
        if self._terminal:
            return [(False, data)] if data else []
        parts: list[tuple[bool, bytes]] = []
        data = self._rest + data
        self._rest = b""
        position = 0
        while position < len(data):
            if self._left == 0:
                if len(data) - position < _HEADER.size:
                    self._rest = data[position:]
                    break
                kind, self._left = _HEADER.unpack_from(data, position)
                self._is_error = kind == _STDERR
                position += _HEADER.size
                continue
            part = data[position : position + self._left]
            parts.append((self._is_error, part))
            position += len(part)
            self._left -= len(part)
        return parts


class Pump:
    """Moves the bytes until the command's streams end or ``stop`` is called. Owns the socket and its ends of the pipes.

    Args:
        connection: The engine's socket.
        early: Bytes that came with the engine's answer.
        terminal: Whether there is one stream without frames.
        stdin: Descriptor to read standard input from; ``None`` for none.
        outputs: Descriptors to write standard output and error to.
        touch: Said every second while the streams are open.
    """

    def __init__(
        self,
        connection: socket.socket,
        early: bytes,
        *,
        terminal: bool,
        stdin: int | None,
        outputs: tuple[int, int],
        touch: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._frames = Frames(terminal=terminal)
        self._stdin = stdin
        self._pipes: list[int | None] = list(outputs)
        self._waiting = (bytearray(), bytearray())
        self._sending = bytearray()
        self._open = True
        self._touch = touch
        self._early = early
        self._wake_read, self._wake_write = os.pipe()
        self._lock = threading.Lock()  # Guards _wake_write, which stop() writes and the end of the thread closes.
        self._stopped = False
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prewarm-exec", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go of everything. Twice is fine."""
        with self._lock:
            self._stopped = True
            if not self.ended.is_set():
                os.write(self._wake_write, b"x")
        self._thread.join()

    def _run(self) -> None:
        try:
            self._connection.settimeout(0)
            for pipe in self._pipes:
                if pipe is not None:
                    os.set_blocking(pipe, False)
            self._take(self._early)
            while not self._stopped and (self._open or any(self._waiting)):
                self._round()
                with contextlib.suppress(PrewarmError):  # The engine is away: the streams will say so.
                    self._touch()
        finally:
            self._release()

    def _round(self) -> None:
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            for ready, mask in selector.select(_TOUCH_S):
                if ready.fileobj is self._connection:
                    if mask & selectors.EVENT_READ:
                        self._receive()
                    if mask & selectors.EVENT_WRITE:
                        self._send()
                elif ready.fileobj == self._stdin:
                    self._read_stdin(ready.fd)
                elif ready.fileobj in self._pipes:
                    self._write(self._pipes.index(ready.fd))

    def _register(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._wake_read, selectors.EVENT_READ)
        has_room = all(len(waiting) < _MOST_WAITING for waiting in self._waiting)
        events = selectors.EVENT_READ if self._open and has_room else 0
        if self._open and self._sending:
            events |= selectors.EVENT_WRITE
        if events:
            selector.register(self._connection, events)
        if self._stdin is not None and not self._sending:
            selector.register(self._stdin, selectors.EVENT_READ)
        for pipe, waiting in zip(self._pipes, self._waiting, strict=True):
            if pipe is not None and waiting:
                selector.register(pipe, selectors.EVENT_WRITE)

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:  # The engine went away: for the streams that is their end; the exit code is asked for apart.
            data = b""
        if data:
            self._take(data)
            return
        self._open = False
        for index, waiting in enumerate(self._waiting):
            if not waiting:
                self._close_pipe(index)

    def _take(self, data: bytes) -> None:
        for is_error, part in self._frames.feed(data):
            if self._pipes[is_error] is not None:
                self._waiting[is_error].extend(part)
        for index, waiting in enumerate(self._waiting):
            if waiting:
                self._write(index)

    def _write(self, index: int) -> None:
        pipe, waiting = self._pipes[index], self._waiting[index]
        if pipe is None:
            return
        try:
            del waiting[: os.write(pipe, waiting[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # Nobody reads any more: what comes is dropped, as it would be at any closed pipe.
            waiting.clear()
            self._close_pipe(index)
            return
        if not waiting and not self._open:
            self._close_pipe(index)

    def _read_stdin(self, descriptor: int) -> None:
        data = os.read(descriptor, _CHUNK)
        if data:
            self._sending += data
            self._send()
            return
        os.close(descriptor)
        self._stdin = None
        with contextlib.suppress(OSError):  # The command has ended meanwhile.
            self._connection.shutdown(socket.SHUT_WR)

    def _send(self) -> None:
        try:
            del self._sending[: self._connection.send(self._sending)]
        except BlockingIOError:
            return
        except OSError:  # The command has ended, or closed its standard input: what is left is not wanted.
            self._sending.clear()

    def _close_pipe(self, index: int) -> None:
        pipe, self._pipes[index] = self._pipes[index], None
        if pipe is not None:
            os.close(pipe)

    def _release(self) -> None:
        for index in range(len(self._pipes)):
            self._close_pipe(index)
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None
        self._connection.close()
        with self._lock:
            self.ended.set()
            os.close(self._wake_read)
            os.close(self._wake_write)
