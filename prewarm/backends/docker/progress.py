"""What BuildKit says of a build, as JSON, turned into steps, lines and the reason of a failure.

Pure but for the observer and the clock it is given. BuildKit's own words are read in one place only: the exit code at
the end of a vertex's error, which it has no field for.
"""

from __future__ import annotations

import base64
import collections
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prewarm.backends.capturing import CaptureObserver, Phase
from prewarm.backends.commands import LineSplitter

TAIL_LINES: Final = 40
_RUN: Final = re.compile(r"\[(?:\S+)? *(\d+)/\d+\] RUN ")
_EXIT_CODE: Final = re.compile(r"exit code: (\d+)$")
_CONNECTING: Final = ("[internal] waiting for connection", "[internal] booting")
_EXPORTING: Final = "exporting to "
_CACHED: Final = "unchanged since an earlier build: taken from the build cache"


@dataclass(slots=True)
class StepProgress:
    """One step under way or done.

    Attributes:
        index: Of the step in the build, from 0.
        started: By the clock; ``None`` while it waits, or where it came from the cache.
        done: It has ended, well or not.
        error: What BuildKit says of its failure.
    """

    index: int
    started: float | None = None
    cached: bool = False
    done: bool = False
    error: str = ""
    tail: collections.deque[str] = field(default_factory=lambda: collections.deque(maxlen=TAIL_LINES))

    @property
    def exit_code(self) -> int | None:
        """Of the command, where BuildKit names one."""
        found = _EXIT_CODE.search(self.error)
        return int(found.group(1)) if found else None


class Progress:
    """Follows one build.

    Args:
        texts: Of its steps, redacted; none for a Dockerfile of somebody's own, of which only the lines are told.
        first: Number of its first step among those of the whole capture.
        total: How many steps the whole capture has.
        seals: Whether this build ends the capture; a hook may come after it.
        observer: Hears steps and lines.
        redact: Hides secrets in lines.
        clock: Gives seconds.
    """

    def __init__(
        self,
        *,
        texts: Sequence[str],
        first: int,
        total: int,
        seals: bool,
        observer: CaptureObserver,
        redact: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        self._texts = texts
        self._first = first
        self._total = total
        self._seals = seals
        self._observer = observer
        self._redact = redact
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._steps: dict[str, StepProgress] = {}
        self._splitters: dict[tuple[str, int], LineSplitter] = {}
        self._object: list[str] = []
        self.rest: list[str] = []
        self.errors: list[str] = []
        self.unreachable = False  # buildx got through to no builder.

    @property
    def running(self) -> StepProgress | None:
        """The step that runs now."""
        return next((s for s in self._steps.values() if s.started is not None and not s.done), None)

    @property
    def failed(self) -> StepProgress | None:
        """The step that failed."""
        return next((s for s in self._steps.values() if s.error), None)

    @property
    def steps_run(self) -> int:
        """How many steps ran, and did not come from the cache."""
        return sum(1 for s in self._steps.values() if s.started is not None and not s.cached)

    def feed(self, line: str) -> None:
        """Take one line of what buildx writes: JSON objects, one a line or spread over several, then perhaps text."""
        if self._object:
            self._object.append(line)
            if line == "}":
                text, self._object = "\n".join(self._object), []
                self._take(text)
        elif line == "{":
            self._object.append(line)
        elif line.startswith("{"):
            self._take(line)
        elif line.strip():
            self.rest.append(self._redact(line))

    def flush(self) -> None:
        """Hand over lines begun and not ended."""
        for splitter in self._splitters.values():
            splitter.flush()

    def _take(self, text: str) -> None:
        try:
            status = json.loads(text)
        except ValueError:  # A line of text that happens to begin with a brace.
            self.rest.append(self._redact(text))
            return
        for vertex in status.get("vertexes") or ():
            self._vertex(vertex)
        for log in status.get("logs") or ():
            self._log(log)

    def _vertex(self, vertex: dict[str, object]) -> None:
        digest, name = str(vertex.get("digest")), str(vertex.get("name"))
        error = str(vertex.get("error") or "")
        found = _RUN.match(name)
        if found is None or not self._texts:
            if error:
                self.errors.append(self._redact(error))
                self.unreachable = self.unreachable or name.startswith(_CONNECTING)
            elif self._seals and vertex.get("started") and not vertex.get("completed") and name.startswith(_EXPORTING):
                self._observer.phase(Phase.SEAL)
            return
        self._numbers[digest] = int(found.group(1))
        if not vertex.get("started"):
            return
        step = self._steps.get(digest)
        if step is None:
            # BuildKit names all steps before the first of them starts: the lowest number is the first step's.
            step = StepProgress(index=self._numbers[digest] - min(self._numbers.values()))
            self._steps[digest] = step
            step.started = self._clock()
            self._observer.step(self._first + step.index, self._total, self._texts[step.index])
        if vertex.get("cached") and not step.cached:
            step.cached = True
            self._observer.line(_CACHED)
        step.done = bool(vertex.get("completed"))
        step.error = error

    def _log(self, log: dict[str, object]) -> None:
        digest, stream = str(log.get("vertex")), int(str(log.get("stream") or 1))
        step = self._steps.get(digest)
        if step is None and self._texts:
            return
        splitter = self._splitters.get((digest, stream))
        if splitter is None:

            def hear(line: str) -> None:
                if step is not None:
                    step.tail.append(line)
                self._observer.line(line)

            splitter = self._splitters[digest, stream] = LineSplitter(self._redact, hear)
        splitter(base64.b64decode(str(log.get("data") or "")))
