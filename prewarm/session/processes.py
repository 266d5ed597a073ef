"""A command that runs in a session while the application goes on: what ``Session.spawn`` gives."""

from __future__ import annotations

import contextlib
import enum
import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final, Self

from prewarm.backends.hosting import ProcessHandle
from prewarm.streams import read_ready

_LINE_LIMIT: Final = 1024 * 1024
_SLICE_S: Final = 1.0
_POLL_S: Final = 0.05
_GRACE_S: Final = 0.2


class Stream(enum.Enum):
    """Which of a command's two outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of output: a chunk as it came, or one whole line with its line end."""

    stream: Stream
    data: bytes

    @property
    def text(self) -> str:
        """The piece as text without its line end; undecodable bytes are surrogate escapes."""
        return self.data.decode("utf-8", "surrogateescape").rstrip("\r\n")


class Lines:
    """Makes lines out of the chunks of two streams."""

    def __init__(self) -> None:
        self._begun = {Stream.STDOUT: b"", Stream.STDERR: b""}

    def take(self, chunk: Output) -> Iterator[Output]:
        """Give the lines that a chunk completes."""
        *whole, begun = (self._begun[chunk.stream] + chunk.data).split(b"\n")
        for line in whole:
            yield Output(chunk.stream, line + b"\n")
        if len(begun) > _LINE_LIMIT:
            yield Output(chunk.stream, begun)
            begun = b""
        self._begun[chunk.stream] = begun

    def rest(self) -> Iterator[Output]:
        """Give what was begun and has no line end."""
        for stream, data in self._begun.items():
            if data:
                yield Output(stream, data)


class Reader:
    """Reads both streams of a command, one chunk at a time; a context manager.

    Args:
        handle: What runs.
    """

    def __init__(self, handle: ProcessHandle) -> None:
        self._handle = handle
        self._ended_at: float | None = None
        self._ready: list[tuple[int, Stream]] = []
        self._selector = selectors.DefaultSelector()
        for stream, name in ((handle.stdout, Stream.STDOUT), (handle.stderr, Stream.STDERR)):
            if not stream.closed:
                self._selector.register(stream.fileno(), selectors.EVENT_READ, name)

    @property
    def is_over(self) -> bool:
        """Whether both streams have ended, or the command has and what it left behind is silent."""
        silent = self._ended_at is not None and time.monotonic() >= self._ended_at + _GRACE_S
        return not self._ready and (silent or not self._selector.get_map())

    def next(self, timeout: float) -> Output | None:
        """Give the next chunk, or ``None`` where there is none within so many seconds."""
        deadline = time.monotonic() + timeout
        while not self.is_over:
            if not self._ready:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                events = self._selector.select(min(_POLL_S, left))
                self._ready = [(key.fd, key.data) for key, _ in events]
                if not events and self._ended_at is None and self._handle.wait(0) is not None:
                    self._ended_at = time.monotonic()
                continue
            descriptor, stream = self._ready.pop()
            data = read_ready(descriptor)
            if data:
                return Output(stream, data)
            self._selector.unregister(descriptor)
        return None

    def close(self) -> None:
        """Let go of it; the streams stay open."""
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Process:
    """A running command. A context manager: at its end the command and all its descendants are killed.

    One thread reads, any thread may write, wait, kill and close.

    Args:
        handle: The backend's.
    """

    def __init__(self, handle: ProcessHandle) -> None:
        self._handle = handle

    @property
    def stdin(self) -> IO[bytes] | None:
        """The raw stream, ``None`` unless ``spawn`` was told ``stdin=True`` or given a terminal."""
        return self._handle.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The raw stream."""
        return self._handle.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """The raw stream."""
        return self._handle.stderr

    def write(self, data: bytes | str) -> None:
        """Write all of it to the command's standard input.

        Raises:
            BrokenPipeError: The command has closed it or has ended.
            ValueError: It was spawned without standard input, or ``close_stdin`` was called.
        """
        stream = self._handle.stdin
        if stream is None:
            raise ValueError("the command has no standard input; spawn it with stdin=True")
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while rest:
            rest = rest[stream.write(rest) or 0 :]
        stream.flush()

    def close_stdin(self) -> None:
        """Let the command read the end of its standard input. Twice is fine."""
        if self._handle.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._handle.stdin.close()

    def chunks(self, *, timeout: float | None = None) -> Iterator[Output]:
        """Give both streams' output as it comes, until both have ended, or the command has and is silent.

        Args:
            timeout: Seconds after which it stops; the command goes on, and the next call goes on from there.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with Reader(self._handle) as reader:
            while not reader.is_over:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                output = reader.next(_SLICE_S if left is None else min(_SLICE_S, left))
                if output is not None:
                    yield output

    def lines(self, *, timeout: float | None = None) -> Iterator[Output]:
        """Give both streams' output line by line, each with its line end.

        The last line of a stream may lack it, and one of more than a mebibyte comes in pieces.

        Args:
            timeout: As for ``chunks``; a line begun by then is given as it stands.
        """
        splitter = Lines()
        for chunk in self.chunks(timeout=timeout):
            yield from splitter.take(chunk)
        yield from splitter.rest()

    def reader(self) -> Reader:
        """Give what ``chunks`` reads with, for a caller who reads in a way of its own and closes it."""
        return Reader(self._handle)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end; give the exit code (128 + n for signal n), or ``None`` after ``timeout`` seconds.

        A command that writes much is waited for while somebody reads (``chunks``, ``lines``), or it blocks.
        """
        return self._handle.wait(timeout)

    def kill(self) -> None:
        """End the command and all its descendants. Twice is fine."""
        self._handle.kill()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the command's terminal its size; without a terminal, nothing."""
        self._handle.resize(columns, rows)

    def close(self) -> None:
        """Let go of the streams; the command goes on. Twice is fine."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        self.close()
