"""Child processes: the only module that imports subprocess, and with ``cli`` the only one that reads the environment.

``run(Command) -> Outcome`` for what ends by itself, ``start(Command) -> Child`` for what is talked to. A non-zero exit
is data; whoever asked decides. Every child leads a process group of its own, so that a kill takes what it started too.
Who enters a sandbox kills through the sandbox; this module knows nothing of those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Final, NamedTuple, Self

from prewarm.streams import DEFAULT_OUTPUT_CAP, collect

REDACTED: Final = "***"
PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL
STDOUT: Final = subprocess.STDOUT
_SHORTEST_SECRET: Final = 4
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127


def environment() -> Mapping[str, str]:
    """Give a copy of this process's environment."""
    return dict(os.environ)


def find_program(name: str, search: str | None = None) -> str | None:
    """Give a program's path, found in the directories of ``search`` or else of this process's own PATH."""
    for directory in (*(search or "").split(":"), *os.environ.get("PATH", os.defpath).split(":")):
        path = os.path.join(directory, name)
        if directory and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


class Redactor:
    """Replaces secret values in text. Values shorter than four characters are left alone: they are in every text.

    Args:
        secrets: Values to hide; each line of a value of several lines is hidden as well, and all of them also as JSON, URLs
            and Python write them.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts: set[str] = set()
        for secret in secrets:
            parts.update((secret, secret.strip(), *secret.splitlines()))
        parts.update([written for part in parts for written in _ways_to_write(part)])
        self._parts = sorted((p for p in parts if len(p) >= _SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for part in self._parts:
            text = text.replace(part, REDACTED)
        return text


def _ways_to_write(text: str) -> tuple[str, ...]:
    if text.isalnum() and text.isascii():
        return ()
    import json
    from urllib.parse import quote

    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text, safe=""), repr(text)[1:-1]


class Command(NamedTuple):
    """A child process to be.

    Attributes:
        argv: Never shell text.
        env: The whole environment; ``None`` inherits this process's.
        cwd: Where it starts; ``None`` here.
        stdin: Bytes to hand over; ``None``: nothing to read.
        secrets: Values to hide in ``Outcome.describe``.
        timeout_s: Seconds until its group is killed; ``None`` waits for ever.
        pass_fds: Descriptors that it inherits.
        output_cap: Bytes kept of each stream; more is read and dropped.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    stdin: bytes | None = None
    secrets: frozenset[str] = frozenset()
    timeout_s: float | None = 120.0
    pass_fds: tuple[int, ...] = ()
    output_cap: int = DEFAULT_OUTPUT_CAP

    def __repr__(self) -> str:
        return object.__repr__(self)  # There are secrets in it.


class Outcome(NamedTuple):
    """How a child process ended.

    Attributes:
        exit_code: 128 + n where signal n ended it; 127 and 126 where it could not be started.
        stdout: What it wrote, cut at the cap.
        stderr: The same.
        timed_out: Its time was up and its group was killed.
        truncated: At least one stream was cut.
        seconds: From start to end.
    """

    command: Command
    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0

    def __repr__(self) -> str:
        return object.__repr__(self)  # Output can be long, and can hold secrets.

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    def describe(self) -> str:
        """Say in one redacted sentence how it ended, with its last line of error output."""
        redact = Redactor(self.command.secrets)
        how = f"timed out after {self.seconds:.0f}s" if self.timed_out else exit_reason(self.exit_code)
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return redact(f"{os.path.basename(self.command.argv[0])} {how}{last}")


def exit_reason(exit_code: int) -> str:
    """Say what an exit code means: ``exited 3``, ``killed by SIGKILL``."""
    if exit_code > 128:  # noqa: PLR2004 - POSIX shells report signal n as 128 + n.
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(exit_code - 128).name}"
    return f"exited {exit_code}"


def normal_exit_code(returncode: int) -> int:
    """Turn subprocess's -n for signal n into a shell's 128 + n."""
    return 128 - returncode if returncode < 0 else returncode


class Child:
    """A running child process that leads its own group; a context manager that kills what is left."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        return self._popen.stderr

    def wait(self, timeout: float | None = None) -> int | None:
        """Give the exit code (128 + n for signal n), or ``None`` after ``timeout`` seconds."""
        try:
            return normal_exit_code(self._popen.wait(timeout))
        except subprocess.TimeoutExpired:
            return None

    def signal_group(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the whole group; one that is gone is fine."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def kill(self) -> None:
        """Kill the whole group and collect the child."""
        if self._popen.poll() is None:
            self.signal_group()
            self._popen.wait()

    def close(self) -> None:
        """Let go of the streams; the child goes on."""
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        self.close()


def start(  # noqa: PLR0913 - what a child can be given.
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    group: bool = True,
    before_exec: Callable[[], None] | None = None,
) -> Child:
    """Start a child process; whoever starts it waits for it or kills it.

    Args:
        argv: Program and arguments.
        env: Whole environment; ``None`` inherits.
        cwd: Where it starts.
        stdin: As for subprocess: ``PIPE``, ``DEVNULL``, a descriptor, or ``None`` to inherit.
        stdout: The same.
        stderr: The same.
        pass_fds: Descriptors that it inherits.
        group: Whether it leads a session and process group of its own.
        before_exec: Runs in the child between fork and exec; slow, and not for use with threads about.

    Raises:
        OSError: The program cannot be started.
    """
    return Child(
        subprocess.Popen(  # noqa: S603 - argv lists only.
            list(argv),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            start_new_session=group,
            preexec_fn=before_exec,  # noqa: PLW1509 - documented above.
        )
    )


def run(command: Command) -> Outcome:
    """Run a child process to its end. Never raises for how it ends, nor where the program is missing (127, 126)."""
    began = time.monotonic()
    try:
        child = start(
            command.argv,
            env=command.env,
            cwd=command.cwd,
            stdin=DEVNULL if command.stdin is None else PIPE,
            pass_fds=command.pass_fds,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        return Outcome(command=command, exit_code=EXIT_NOT_FOUND, stdout=b"", stderr=str(error).encode())
    except PermissionError as error:
        return Outcome(command=command, exit_code=EXIT_NOT_EXECUTABLE, stdout=b"", stderr=str(error).encode())
    with child:
        deadline = None if command.timeout_s is None else began + command.timeout_s
        collected = collect(child, stdin=command.stdin, deadline=deadline, cap=command.output_cap)
        if collected.timed_out:
            child.kill()
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        code = child.wait(left)
        timed_out = collected.timed_out or code is None
        if code is None:
            child.kill()
            code = child.wait()
        return Outcome(
            command=command,
            exit_code=code if code is not None else EXIT_NOT_EXECUTABLE,
            stdout=collected.stdout,
            stderr=collected.stderr,
            timed_out=timed_out,
            truncated=collected.truncated,
            seconds=time.monotonic() - began,
        )
