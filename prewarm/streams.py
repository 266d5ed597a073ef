"""Reading a running process: both streams at once, bounded, without a thread.

``process.run`` and the sessions use it; it starts nothing and kills nothing. Below ``process``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable
from typing import IO, Final, NamedTuple, Protocol, TypeAlias

DEFAULT_OUTPUT_CAP: Final = 16 * 1024 * 1024
_CHUNK: Final = 65536
_POLL_S: Final = 0.05
_GRACE_S: Final = 0.2
_DRAIN_S: Final = 3.0


class Collected(NamedTuple):
    """What was read from two streams until both ended, the process ended, or time was up."""

    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool

    def __repr__(self) -> str:
        return object.__repr__(self)  # It can be long.


class Streams(Protocol):
    """A running process as ``collect`` sees it; its streams have a ``fileno``. ``Child`` is one, so is a ProcessHandle."""

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    def wait(self, timeout: float | None = None) -> int | None: ...


def collect(
    process: Streams,
    *,
    stdin: bytes | None = None,
    deadline: float | None = None,
    cap: int = DEFAULT_OUTPUT_CAP,
    on_output: Callable[[bytes], None] | None = None,
    on_error: Callable[[bytes], None] | None = None,
) -> Collected:
    """Feed a process and read both its streams at once, without a thread.

    Returns when both streams end; or once the process itself has ended and what it left behind, which holds them open,
    is silent for a moment (or is not, for a few seconds); or at ``deadline`` (``time.monotonic`` seconds). Kills nothing.

    Args:
        process: What runs.
        stdin: Bytes to feed; the stream is closed after them.
        deadline: When to give up.
        cap: Bytes kept of each stream; what comes after is read and dropped.
        on_output: Hears every chunk of either stream as it comes.
        on_error: Hears those of standard error instead, where given.
    """
    collector = _Collector(process, stdin or b"", cap, (on_output, on_error or on_output))
    timed_out = collector.run(deadline)
    out, err = collector.kept
    return Collected(stdout=bytes(out), stderr=bytes(err), timed_out=timed_out, truncated=collector.truncated)


_Hearer: TypeAlias = Callable[[bytes], None]


def read_ready(descriptor: int) -> bytes:
    """Give what a pipe or pty has to read now; nothing at its end, or where it had nothing after all."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return b""
    except OSError:  # EIO: the other end of a pty is gone, which is how a pty says end of file.
        return b""


class _Collector:
    """The loop of ``collect`` and what it has read so far."""

    def __init__(
        self, process: Streams, stdin: bytes, cap: int, hearers: tuple[_Hearer | None, _Hearer | None]
    ) -> None:
        self._process = process
        self._pending = memoryview(stdin)
        self._cap = cap
        self._hearers = hearers
        self._reading = 0
        self.kept = (bytearray(), bytearray())
        self.truncated = False

    def run(self, deadline: float | None) -> bool:
        """Read until there is no more; give whether time was up first."""
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            ended_at: float | None = None
            heard_at = time.monotonic()
            look_at = heard_at + _POLL_S
            while self._reading:
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    return True
                if ended_at is not None and now >= min(max(ended_at, heard_at) + _GRACE_S, ended_at + _DRAIN_S):
                    return False
                events = selector.select(_POLL_S if deadline is None else min(_POLL_S, deadline - now))
                # Also where there is always something to read: what a command left behind may write for ever.
                if ended_at is None and (not events or now >= look_at):
                    look_at = now + _POLL_S
                    # The clock again: asking may take longer than the grace for what is still on its way.
                    ended_at = time.monotonic() if self._process.wait(0) is not None else None
                heard_at = now if events else heard_at
                for ready, _ in events:
                    done = self._feed(ready.fd) if ready.data is None else self._take(ready.fd, ready.data)
                    if done:
                        selector.unregister(ready.fd)
                        if ready.data is None and self._process.stdin is not None:
                            with contextlib.suppress(OSError):
                                self._process.stdin.close()
        return False

    def _register(self, selector: selectors.BaseSelector) -> None:
        for stream, buffer in zip((self._process.stdout, self._process.stderr), self.kept, strict=True):
            if stream is not None:
                selector.register(stream.fileno(), selectors.EVENT_READ, buffer)
                self._reading += 1
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
            selector.register(self._process.stdin.fileno(), selectors.EVENT_WRITE)

    def _feed(self, descriptor: int) -> bool:
        self._pending, done = _feed(descriptor, self._pending)
        return done

    def _take(self, descriptor: int, buffer: bytearray) -> bool:
        chunk = read_ready(descriptor)
        if not chunk:
            self._reading -= 1
            return True
        hearer = self._hearers[buffer is self.kept[1]]
        if hearer is not None:
            hearer(chunk)
        room = max(0, self._cap - len(buffer))
        buffer += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room
        return False


def _feed(descriptor: int, pending: memoryview) -> tuple[memoryview, bool]:
    try:
        if pending:
            pending = pending[os.write(descriptor, pending[:_CHUNK]) :]
    except BlockingIOError:
        return pending, False
    except OSError:  # It has closed its standard input: what is left is not wanted.
        return pending, True
    return pending, not pending
