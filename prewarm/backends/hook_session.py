"""What a Python hook gets, over any backend's session handle: run, read, write, upload.

Commands' output goes where the step's output goes; a non-zero exit raises unless the hook says ``check=False``.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from prewarm.backends.base import ProcessRequest, SessionHandle
from prewarm.backends.commands import LineSplitter, command_argv, run_command
from prewarm.cancellation import Cancellation
from prewarm.errors import InterruptedBuildError, StepFailedError
from prewarm.process import exit_reason
from prewarm.request import CommandResult

MAX_OUTPUT: Final = 16 * 1024 * 1024
TAIL_LINES: Final = 40


class HookSession:
    """A ``BootstrapSession`` over a session handle.

    Args:
        handle: The sandbox; the caller keeps it open and lets go of it.
        text: The step's text, for failures.
        number: Of the step, from 1.
        env: Of the definition, with what is passed through for steps.
        workdir: Where commands start.
        user: Who runs them unless the hook says otherwise.
        hear: Takes each line that a command writes, redacted.
        redact: Hides secrets.
        deadline: ``time.monotonic`` seconds at which the step's time is up.
        project: Where relative sources of ``upload`` start.
        cancellation: Ends its commands when it comes.
    """

    def __init__(  # noqa: PLR0913 - what its commands run with.
        self,
        handle: SessionHandle,
        *,
        text: str,
        number: int,
        env: Mapping[str, str],
        workdir: str,
        user: str,
        hear: Callable[[str], None],
        redact: Callable[[str], str],
        deadline: float,
        project: Path | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._handle = handle
        self._text = text
        self._number = number
        self._env = env
        self._workdir = workdir
        self._user = user
        self._hear = hear
        self._redact = redact
        self._deadline = deadline
        self._project = project
        self._cancellation = cancellation
        self._left = False

    def leave(self) -> None:
        """Refuse every further call: nobody waits for the hook any more."""
        self._left = True

    def _check(self) -> None:
        if self._left:
            raise InterruptedBuildError(f"hook '{self._text}' was left behind")

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: bytes | str | None = None,
        check: bool = True,
    ) -> CommandResult:
        """Run a command (text by ``/bin/sh -c``, a list as it is) to its end.

        Args:
            command: What to run.
            timeout: Seconds; the step's own time is the limit in any case.
            cwd: Absolute; the definition's ``workdir`` by default.
            env: Over the definition's.
            user: Instead of the step's.
            stdin: For its standard input.
            check: Whether a non-zero exit raises.

        Raises:
            StepFailedError: It did not exit with 0, or the step's time is up.
        """
        self._check()
        argv = command_argv(command)
        until = self._deadline if timeout is None else min(self._deadline, time.monotonic() + timeout)
        tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

        def hear(line: str) -> None:
            tail.append(line)
            self._hear(line)

        splitters = LineSplitter(self._redact, hear), LineSplitter(self._redact, hear)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        request = ProcessRequest(
            argv=argv,
            cwd=cwd or self._workdir,
            env={**self._env, **(env or {})},
            user=user or self._user,
            stdin=data is not None,
        )
        result = run_command(
            self._handle,
            request,
            stdin=data,
            deadline=until,
            max_output=MAX_OUTPUT,
            on_output=splitters[0],
            on_error=splitters[1],
            cancellation=self._cancellation,
        )
        for splitter in splitters:
            splitter.flush()
        step_is_over = result.timed_out and until == self._deadline
        if step_is_over or (check and not result.ok):
            shown = self._redact(command if isinstance(command, str) else " ".join(argv))
            reason = f"timed out after {result.seconds:.0f}s" if result.timed_out else exit_reason(result.exit_code)
            raise StepFailedError(
                f"command of hook '{self._text}' {reason}: {shown}",
                step=self._number,
                text=self._text,
                reason=reason,
                command_exit_code=None if result.timed_out else result.exit_code,
                tail=tuple(tail),
            )
        return result

    def read(self, path: str) -> bytes:
        """Give a file's exact bytes."""
        self._check()
        return self._handle.files.read(path)

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """Write a file whole, making its parents."""
        self._check()
        self._handle.files.write(path, data.encode() if isinstance(data, str) else data, mode=mode)

    def upload(self, source: Path | str, target: str) -> None:
        """Copy a file (to ``target``, or into it where that ends with ``/``) or a directory's contents (into it)."""
        from prewarm.backends.tree import upload  # tarfile is not needed by most hooks.

        self._check()
        upload(self._handle.files, (self._project or Path.cwd()) / source, target)
