"""Run one command of a session to its end: bounded in time and output, its whole tree killed where it overruns.

``Session.run``, Python hooks and the steps of bootstrap and verify all go through ``run_command``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Final

from prewarm.backends.hosting import ProcessRequest, SessionHandle
from prewarm.cancellation import Cancellation
from prewarm.streams import collect
from prewarm.values import CommandResult

EXIT_TIMED_OUT: Final = 124
LINE_LIMIT: Final = 8192
_SLACK: Final = 128 * 1024  # No variable, and so hardly a secret, is longer.


def command_argv(command: str | Sequence[str]) -> tuple[str, ...]:
    """Give the argv of a command: text is for ``/bin/sh -c``, a list is run as it is.

    Raises:
        ValueError: It is empty, or holds a zero byte.
    """
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    if not argv or not argv[0] or command == "":
        raise ValueError("a command must not be empty")
    if any("\0" in part for part in argv):
        raise ValueError("a command must not hold a zero byte")
    return argv


def command_env(env: Mapping[str, str]) -> Mapping[str, str]:
    """Give an environment that a command can have.

    Raises:
        ValueError: A name is empty or holds ``=``, or something holds a zero byte.
    """
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"{name!r} cannot be set: a variable has a name without '=', and no zero byte")
    return env


def run_command(
    handle: SessionHandle,
    request: ProcessRequest,
    *,
    stdin: bytes | None = None,
    deadline: float | None = None,
    max_output: int,
    on_output: Callable[[bytes], None] | None = None,
    on_error: Callable[[bytes], None] | None = None,
    cancellation: Cancellation | None = None,
) -> CommandResult:
    """Start a command and wait for its end.

    What it left running in the background lives on, unless its time was up or an exception (such as Ctrl-C) came.

    Args:
        handle: The session.
        request: The command; ``stdin`` of it says whether ``stdin`` here is handed over.
        stdin: Bytes for its standard input.
        deadline: ``time.monotonic`` seconds at which its tree is killed.
        max_output: Bytes kept of each stream; more is read and dropped.
        on_output: Hears the chunks of standard output as they come.
        on_error: The same of standard error.
        cancellation: Kills its tree when it comes.

    Raises:
        InterruptedBuildError: It was cancelled.
    """
    began = time.monotonic()
    process = handle.start(request)
    exit_code: int | None = None
    try:
        with nullcontext() if cancellation is None else cancellation.calling(process.kill):
            collected = collect(
                process, stdin=stdin, deadline=deadline, cap=max_output, on_output=on_output, on_error=on_error
            )
        if cancellation is not None:
            cancellation.check()
        if not collected.timed_out:
            exit_code = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    finally:
        if exit_code is None:
            process.kill()
        process.close()
    return CommandResult(
        exit_code=EXIT_TIMED_OUT if exit_code is None else exit_code,
        stdout_bytes=collected.stdout,
        stderr_bytes=collected.stderr,
        timed_out=exit_code is None,
        truncated=collected.truncated,
        seconds=time.monotonic() - began,
    )


class LineSplitter:
    """Turns the chunks of one stream into redacted lines; of a line that is redrawn with carriage returns, its last state.

    Args:
        redact: Hides secrets in a whole line.
        hear: Takes each line that is not blank.
    """

    def __init__(self, redact: Callable[[str], str], hear: Callable[[str], None]) -> None:
        self._redact = redact
        self._hear = hear
        self._line = bytearray()

    def __call__(self, chunk: bytes) -> None:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._grow(part)
            self.flush()
        self._grow(rest)

    def flush(self) -> None:
        """Hand over the line begun, if there is one; called at the end of the stream too."""
        line, self._line = self._line, bytearray()
        text = self._redact(line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", "replace"))
        if len(line) == LINE_LIMIT + _SLACK:  # Cut: it may end in a part of a secret, which nobody can tell.
            text = text[: max(0, len(text) - _SLACK)]
        if text.strip():
            self._hear(text[:LINE_LIMIT])

    def _grow(self, part: bytes) -> None:
        # More is kept than shown, so that a secret across the cut is hidden whole; the rest of the line is dropped.
        self._line += part[: max(0, LINE_LIMIT + _SLACK - len(self._line))]
