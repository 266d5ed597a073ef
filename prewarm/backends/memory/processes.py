"""A command of the memory backend as a ``ProcessHandle``: a thread with three pipes in place of a process.

A Python function cannot be ended from outside: ``kill`` makes its next output, read or sleep raise, and from then on the
handle reports it as killed. Threads, because ``start`` returns while the command runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import IO, Final

from prewarm.backends.memory.calls import Call, KilledError, PipeReader, PipeWriter

EXIT_KILLED: Final = 137
EXIT_CRASHED: Final = 1


class MemoryProcess:
    """One command.

    Args:
        prepare: Makes the call out of reader, writers and kill event.
        execute: Runs it and gives its exit code.
        ended: Called once, when the command has ended or was killed.
        stdin: Whether the caller will write.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[PipeReader, PipeWriter, PipeWriter, threading.Event], Call],
        execute: Callable[[Call], int],
        ended: Callable[[MemoryProcess], None],
        stdin: bool,
    ) -> None:
        self._killed = threading.Event()
        self._done = threading.Event()
        self._guard = threading.Lock()  # Guards _exit_code: the first of end and kill decides it.
        self._exit_code: int | None = None
        self._ended = ended
        reading, feeding = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self._stdin: IO[bytes] | None = None
        if stdin:
            self._stdin = os.fdopen(feeding, "wb", buffering=0)
        else:
            os.close(feeding)
        self._stdout: IO[bytes] = os.fdopen(out_read, "rb", buffering=0)
        self._stderr: IO[bytes] = os.fdopen(err_read, "rb", buffering=0)
        pipes = (
            PipeReader(reading, self._killed),
            PipeWriter(out_write, self._killed),
            PipeWriter(err_write, self._killed),
        )
        call = prepare(*pipes, self._killed)
        threading.Thread(target=self._run, args=(call, execute, pipes), name=call.argv[0], daemon=True).start()

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._stdin

    @property
    def stdout(self) -> IO[bytes]:
        return self._stdout

    @property
    def stderr(self) -> IO[bytes]:
        return self._stderr

    def wait(self, timeout: float | None = None) -> int | None:
        """Give the exit code, or ``None`` after ``timeout`` seconds."""
        return self._exit_code if self._done.wait(timeout) else None

    def kill(self) -> None:
        """End it; a function that goes on is heard no more."""
        self._finish(EXIT_KILLED)
        self._killed.set()

    def resize(self, columns: int, rows: int) -> None:
        """Do nothing: there is no terminal."""

    def close(self) -> None:
        """Let go of the streams."""
        for stream in (self._stdin, self._stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _run(
        self, call: Call, execute: Callable[[Call], int], pipes: tuple[PipeReader, PipeWriter, PipeWriter]
    ) -> None:
        exit_code = EXIT_CRASHED
        try:
            exit_code = execute(call)
        except KilledError:
            exit_code = EXIT_KILLED
        except Exception as error:  # noqa: BLE001 - a command's failure is its exit code, as of any program.
            with contextlib.suppress(KilledError):
                call.complain(f"{call.argv[0]}: {type(error).__name__}: {error}")
        finally:
            for pipe in pipes:
                pipe.close()
            self._finish(exit_code)

    def _finish(self, exit_code: int) -> None:
        with self._guard:
            if self._exit_code is not None:
                return
            self._exit_code = exit_code
        self._done.set()
        self._ended(self)
