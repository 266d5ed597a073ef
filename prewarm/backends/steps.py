"""Run one step of bootstrap or verify through a session handle, the same way for every backend that has sessions.

Lines go to the observer as they come, redacted; a step that fails says its number, text, exit code and last lines.
Not here: secrets and network of a step, which the backend has put into the handle it passes.
"""

from __future__ import annotations

import collections
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, assert_never

from prewarm.backends.base import CaptureObserver, CaptureRequest, Phase, ProcessRequest, SessionHandle
from prewarm.backends.commands import LineSplitter, run_command
from prewarm.backends.hook_call import call_hook
from prewarm.backends.hook_session import TAIL_LINES, HookSession
from prewarm.cancellation import Cancellation
from prewarm.errors import SessionFailedError, SessionFileNotFoundError, StepFailedError
from prewarm.key import TemplateKey
from prewarm.process import exit_reason
from prewarm.request import CaptureStep, HookStep, RunStep, ScriptStep

_SHEBANG: Final = b"#!"
_ELF: Final = b"\x7fELF"


def run_step(  # noqa: PLR0913 - what a step needs, and what its failure says.
    handle: SessionHandle,
    step: CaptureStep,
    *,
    number: int,
    total: int,
    phase: Phase,
    name: str,
    key: TemplateKey,
    env: Mapping[str, str],
    workdir: str,
    observer: CaptureObserver,
    redact: Callable[[str], str],
    deadline: float | None = None,
    project: Path | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Run one step to its end. Where it is killed or fails, all it started is killed.

    Args:
        handle: Where it runs.
        step: What to run.
        number: Of this step within its phase, from 1.
        total: How many steps the phase has.
        phase: Bootstrap or verify; for the message.
        name: The definition's name.
        key: Of the template.
        env: Of the definition, with what is passed through for steps.
        workdir: Where it starts.
        observer: Hears the step and each of its lines.
        redact: Hides secrets.
        deadline: ``time.monotonic`` seconds at which the time of the whole capture is up.
        project: Where a hook's relative paths start.
        cancellation: Kills what it started when it comes: ``CaptureRequest.cancellation``.

    Raises:
        InterruptedBuildError: It was cancelled.
        StepFailedError: It exited with anything but 0, was killed, timed out, or its hook raised.
    """
    run = _StepRun(
        handle=handle,
        step=step,
        number=number,
        title=f"{phase.value} step {number} of {total} of '{name}' ({key.short})",
        env=env,
        workdir=workdir,
        observer=observer,
        redact=redact,
        deadline=deadline,
        project=project,
        cancellation=cancellation,
    )
    observer.step(number, total, redact(step.text))
    match step:
        case RunStep(argv=argv):
            run.command(argv)
        case ScriptStep():
            with _script(handle, step) as argv:
                run.command(argv)
        case HookStep():
            run.hook(step)
        case _:
            assert_never(step)


def run_bootstrap_step(
    handle: SessionHandle,
    number: int,
    request: CaptureRequest,
    observer: CaptureObserver,
    *,
    redact: Callable[[str], str],
    deadline: float,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run one step of a capture, as ``run_step`` does.

    Args:
        handle: Where it runs.
        number: Of the step in the request, from 1.
        request: What is captured.
        observer: Hears the step and each of its lines.
        redact: Hides secrets.
        deadline: ``time.monotonic`` seconds at which the time of the whole capture is up.
        env: Further variables than the request has for steps.

    Raises:
        InterruptedBuildError, StepFailedError: As ``run_step``.
    """
    run_step(
        handle,
        request.steps[number - 1],
        number=number,
        total=len(request.steps),
        phase=Phase.BOOTSTRAP,
        name=request.name,
        key=request.key,
        env={**request.env, **request.pass_env, **(env or {})},
        workdir=request.workdir,
        observer=observer,
        redact=redact,
        deadline=deadline,
        project=request.project,
        cancellation=request.cancellation,
    )


class _StepRun:
    """One step under way: who hears it, when its time is up, what its failure says."""

    def __init__(  # noqa: PLR0913 - as run_step.
        self,
        *,
        handle: SessionHandle,
        step: CaptureStep,
        number: int,
        title: str,
        env: Mapping[str, str],
        workdir: str,
        observer: CaptureObserver,
        redact: Callable[[str], str],
        deadline: float | None,
        project: Path | None,
        cancellation: Cancellation | None,
    ) -> None:
        self._handle = handle
        self._step = step
        self._number = number
        self._title = title
        self._env = env
        self._workdir = workdir
        self._observer = observer
        self._redact = redact
        self._project = project
        self._cancellation = cancellation
        own = time.monotonic() + step.timeout_s
        self._until = own if deadline is None else min(own, deadline)
        self._is_last = self._until < own
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

    def command(self, argv: tuple[str, ...]) -> None:
        splitters = LineSplitter(self._redact, self._hear), LineSplitter(self._redact, self._hear)
        request = ProcessRequest(argv=argv, cwd=self._workdir, env=self._env, user=self._step.user)
        try:
            result = run_command(
                self._handle,
                request,
                deadline=self._until,
                max_output=0,
                on_output=splitters[0],
                on_error=splitters[1],
                cancellation=self._cancellation,
            )
        except SessionFailedError as error:
            raise self._failure(f"could not run: {error.message}", None, error.hint) from error
        for splitter in splitters:
            splitter.flush()
        if result.timed_out:
            raise self._timed_out(result.seconds)
        if not result.ok:
            raise self._failure(exit_reason(result.exit_code), result.exit_code)

    def hook(self, step: HookStep) -> None:
        session = HookSession(
            self._handle,
            text=self._redact(step.text),
            number=self._number,
            env=self._env,
            workdir=self._workdir,
            user=step.user,
            hear=self._hear,
            redact=self._redact,
            deadline=self._until,
            project=self._project,
            cancellation=self._cancellation,
        )
        try:
            came_back = call_hook(step.call, session, until=self._until, cancellation=self._cancellation)
        except StepFailedError as error:
            raise self._failure(self._redact(error.reason), error.command_exit_code, error.hint) from error
        except SessionFailedError as error:
            raise self._failure(self._redact(error.message), None, error.hint) from error
        if not came_back or time.monotonic() > self._until:
            raise self._timed_out(time.monotonic() - self._until + step.timeout_s)

    def _hear(self, line: str) -> None:
        self._tail.append(line)
        self._observer.line(line)

    def _timed_out(self, seconds: float) -> StepFailedError:
        if self._is_last:
            return self._failure(
                f"timed out after {seconds:.0f}s, as the time of the whole capture was up",
                None,
                "raise 'timeout' under 'build'",
            )
        return self._failure(f"timed out after {seconds:.0f}s", None, "raise the step's 'timeout'")

    def _failure(self, reason: str, exit_code: int | None, hint: str | None = None) -> StepFailedError:
        text = self._redact(self._step.text)
        first, _, rest = text.partition("\n")
        return StepFailedError(
            f"{self._title} {reason}: {first}{' …' if rest else ''}",
            step=self._number,
            text=text,
            reason=reason,
            command_exit_code=exit_code,
            tail=tuple(self._tail),
            hint=hint,
        )


@contextlib.contextmanager
def _script(handle: SessionHandle, step: ScriptStep) -> Iterator[tuple[str, ...]]:
    path = f"{_script_directory(handle)}prewarm-script-{secrets.token_hex(8)}"
    handle.files.write(path, step.content, mode=0o755)
    try:
        yield (*_interpreter(step.content), path, *step.arguments)
    finally:
        with contextlib.suppress(SessionFileNotFoundError):  # A script may remove itself.
            handle.files.remove(path)


def _script_directory(handle: SessionHandle) -> str:
    try:
        handle.files.stat("/tmp")  # noqa: S108 - inside the sandbox, with a random name.
    except SessionFileNotFoundError:
        return "/"
    return "/tmp/"  # noqa: S108 - the same.


def _interpreter(content: bytes) -> tuple[str, ...]:
    """Read a ``#!`` line as the kernel does, so that a ``noexec`` /tmp does not matter; without one, a shell runs it."""
    if content.startswith(_ELF):
        return ()
    if not content.startswith(_SHEBANG):
        return ("/bin/sh", "-e")
    line = content[len(_SHEBANG) :].split(b"\n", 1)[0].decode("utf-8", "surrogateescape").strip()
    program, _, argument = line.partition(" ")
    return (program, argument.strip()) if argument.strip() else (program,)
