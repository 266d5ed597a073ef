"""Run one ``docker buildx build`` and follow it: steps as they come, each with its own time limit, stoppable.

Not through python-on-whales: its build cannot be stopped, takes this process's environment instead of the one it is
given, and costs 160 ms to import (``prewarm/README.md``).
"""

from __future__ import annotations

import os
import re
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prewarm.backends.capturing import CaptureObserver
from prewarm.backends.docker.progress import Progress, StepProgress
from prewarm.cancellation import Cancellation
from prewarm.errors import BackendUnavailableError, CaptureFailedError, StepFailedError
from prewarm.process import DEVNULL, Child, exit_reason, start

_CHUNK: Final = 65536
_TICK_S: Final = 0.2
_NO_SPACE: Final = "no space left on device"
# gRPC's own words for a connection that was cut, by either of the two calls that notice, and for a builder that was
# stopped and gave up its builds (`docker buildx stop`); buildx has no others.
_GONE: Final = re.compile(
    r"(?:failed to build: )?failed to (?:solve|receive status): (?:rpc error: code = )?(?:Unavailable|Canceled)\b"
)
_NO_EXEC: Final = "exec format error"
_HINT: Final = "see the lines above; BuildKit's own log has more"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """What must be known of a step to follow it: its text, redacted, and its time limit in seconds."""

    text: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build.

    Attributes:
        title: What failures call it: ``'analyst' (3f2a9c1b7d04)``.
        context: Directory with a ``Dockerfile``.
        tag: Name of the image.
        labels: Of the image.
        secrets: Id to value; none of them is written anywhere.
        files: Id to path of files mounted like secrets, which are none.
        steps: That the Dockerfile runs, in order.
        first: Number of the first of them in the whole capture.
        total: Of the whole capture.
        seals: Whether it ends the capture.
        platform: Only where it is not the engine's own.
        arguments: Further ones for buildx; among them where the image goes.
        dockerfile: Where it is not ``context/Dockerfile``.
    """

    title: str
    context: Path
    tag: str
    labels: Mapping[str, str]
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    files: Mapping[str, Path] = field(default_factory=dict)
    steps: Sequence[BuildStep] = ()
    first: int = 1
    total: int = 0
    seals: bool = False
    platform: str | None = None
    arguments: Sequence[str] = ()
    dockerfile: Path | None = None


def build(
    what: Build,
    *,
    environment: Mapping[str, str],
    builder: str | None,
    observer: CaptureObserver,
    redact: Callable[[str], str],
    cancellation: Cancellation,
    deadline: float,
) -> int:
    """Build an image into the engine; give how many steps ran and did not come from the cache.

    Args:
        what: To build.
        environment: Of the child process: which engine, which builder.
        builder: Its name, for failures; ``None`` for the engine's own.
        observer: Hears steps and lines.
        redact: Hides secrets.
        cancellation: Stops it.
        deadline: ``time.monotonic`` seconds at which the time of the whole capture is up.

    Raises:
        StepFailedError: A step exited with anything but 0, or its time was up.
        CaptureFailedError: Anything else in the build failed.
        BackendUnavailableError: There is no buildx, or its builder or the engine cannot be reached.
        InterruptedBuildError: It was cancelled.
    """
    progress = Progress(
        texts=[step.text for step in what.steps],
        first=what.first,
        total=what.total,
        seals=what.seals,
        observer=observer,
        redact=redact,
        clock=time.monotonic,
    )
    names = {f"PREWARM_SECRET_{number}": one for number, one in enumerate(what.secrets)}
    child_environment = dict(environment)
    child_environment |= {name: os.fsdecode(what.secrets[one]) for name, one in names.items()}
    cancellation.check()
    try:
        child = start(_argv(what, names), env=child_environment, stdout=DEVNULL)
    except OSError as error:
        raise BackendUnavailableError(
            f"cannot start 'docker': {error.strerror}", hint="install Docker's command line and its buildx plugin"
        ) from error
    with child, cancellation.calling(child.signal_group):
        late = _follow(child, progress, what, deadline)
        if late is not None:
            child.kill()
        exit_code = child.wait()
    progress.flush()
    cancellation.check()
    if late is not None or exit_code != 0:
        raise _failure(what, progress, late, exit_code, builder)
    return progress.steps_run


def _argv(what: Build, names: Mapping[str, str]) -> list[str]:
    argv = ["docker", "buildx", "build", "--progress=rawjson", "--tag", what.tag]
    # Every clock in the image's configuration and history; those in layers where the output is told to rewrite them.
    argv += ["--build-arg", "SOURCE_DATE_EPOCH=0"]
    for name, value in sorted(what.labels.items()):
        argv += ["--label", f"{name}={value}"]
    for name, one in names.items():
        argv += ["--secret", f"id={one},env={name}"]
    for one, path in what.files.items():
        argv += ["--secret", f"id={one},src={path}"]
    if what.platform:
        argv += ["--platform", what.platform]
    if what.dockerfile:
        argv += ["--file", str(what.dockerfile)]
    return [*argv, *what.arguments, str(what.context)]


def _follow(child: Child, progress: Progress, what: Build, deadline: float) -> float | None:
    """Read until buildx ends; give when (by the clock) a limit was passed, or ``None``."""
    stream = child.stderr
    if stream is None:
        return None
    descriptor, pending = stream.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK_S):
                chunk = os.read(descriptor, _CHUNK)
                if not chunk:
                    break
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    progress.feed(line.decode("utf-8", "replace"))
            now = time.monotonic()
            if now >= deadline or now >= _step_ends(progress.running, what.steps):
                return now
    progress.feed(pending.decode("utf-8", "replace"))
    return None


def _step_ends(step: StepProgress | None, steps: Sequence[BuildStep]) -> float:
    if step is None or step.started is None:
        return float("inf")
    return step.started + steps[step.index].timeout_s


def _failure(
    what: Build, progress: Progress, late: float | None, exit_code: int | None, builder: str | None
) -> Exception:
    # Whichever of them names the disk; the last otherwise.
    said = (*progress.errors, *(line.removeprefix("ERROR: ") for line in progress.rest if line.startswith("ERROR: ")))
    reason = said[-1] if said else (progress.rest[-1] if progress.rest else exit_reason(exit_code or 0))
    # Before the steps: a builder that is stopped ends the one that runs, and calls that a failure of it.
    if late is None and _GONE.match(reason):
        which = f"the builder '{builder}'" if builder else "the engine, whose own builder is in use,"
        return BackendUnavailableError(
            f"{which} went away during the build of {what.title}: {reason}",
            hint="see that it runs ('docker buildx ls') and build again, or choose another in BUILDX_BUILDER",
        )
    step = progress.failed or (progress.running if late is not None else None)
    if step is not None:
        return _step_failure(what, step, late)
    if late is not None:
        return CaptureFailedError(
            f"capture of {what.title} timed out before its steps were done", hint="raise 'timeout' under 'build'"
        )
    if progress.unreachable:
        which = f"the builder '{builder}'" if builder else "the engine's own builder"
        start = f"'docker buildx inspect --bootstrap{f' {builder}' if builder else ''}'"
        return BackendUnavailableError(
            f"{which} cannot be reached: {reason}",
            hint=f"start it ({start}), or choose another: see 'docker buildx ls', 'docker buildx use' and BUILDX_BUILDER",
        )
    full = next((one for one in said if _NO_SPACE in one), None)
    if full is not None:
        reason = full
        return BackendUnavailableError(
            f"the Docker engine's disk is full: {reason}",
            hint="free space with 'prewarm gc --apply' or 'docker system prune'",
        )
    return CaptureFailedError(f"capture of {what.title} failed: {reason}", hint=_HINT)


def _step_failure(what: Build, step: StepProgress, late: float | None) -> StepFailedError:
    text, code, hint = what.steps[step.index].text, step.exit_code, None
    if late is not None:
        seconds = late - (step.started or late)
        reason, code, hint = f"timed out after {seconds:.0f}s", None, "raise the step's 'timeout'"
        if seconds < what.steps[step.index].timeout_s:
            reason += ", as the time of the whole capture was up"
            hint = "raise 'timeout' under 'build'"
    elif code is not None:
        reason = exit_reason(code)
    else:
        reason = f"could not run: {step.error}"
    if hint is None and any(_NO_EXEC in line.lower() for line in (*step.tail, step.error)):
        hint = (
            f"the builder cannot run programs of {what.platform or 'this platform'}: register an emulator there"
            " (Debian: qemu-user-static), or choose a builder of that platform in BUILDX_BUILDER"
        )
    if hint is None and any(_NO_SPACE in line.lower() for line in (*step.tail, step.error)):
        hint = "free space on the engine's disk, for example with 'prewarm gc --apply'"
    number = what.first + step.index
    first, _, rest = text.partition("\n")
    return StepFailedError(
        f"bootstrap step {number} of {what.total} of {what.title} {reason}: {first}{' …' if rest else ''}",
        step=number,
        text=text,
        reason=reason,
        command_exit_code=code,
        tail=tuple(step.tail),
        hint=hint,
    )
