"""What became of templates that travelled: values, as JSON and as text. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final

from prewarm.errors import CaptureFailedError, InterruptedBuildError
from prewarm.failure import Failure
from prewarm.key import TemplateKey

TRANSPORT_SCHEMA: Final = "prewarm.transport/1"


class Move(enum.Enum):
    """What became of one template."""

    MOVED = "moved"
    THERE = "already there"
    ABSENT = "not in cache"  # Nor here: the next build captures it.
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One template and what became of it.

    Attributes:
        name: The sandbox.
        key: Full template key.
        move: What became of it.
        seconds: How long that took; ``None`` where all went at once.
        error: Why it failed.
    """

    name: str
    key: TemplateKey
    move: Move
    seconds: float | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What became of all; in the lock file's order."""

    templates: tuple[Moved, ...]
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What went wrong, each once: two sandboxes may share a template, and all of them a registry that is down."""
        return tuple(dict.fromkeys(one.error for one in self.templates if one.error is not None))

    @property
    def exit_code(self) -> int:
        """0 if all are where they should be; 130 after an interruption; the errors' own code, or 5 where they differ."""
        if self.interrupted:
            return InterruptedBuildError.exit_code
        codes = {failure.exit_code for failure in self.failures}
        if len(codes) > 1:
            return CaptureFailedError.exit_code
        return codes.pop() if codes else 0

    def to_json(self) -> dict[str, Any]:
        """Give it as one JSON object."""
        return {
            "schema": TRANSPORT_SCHEMA,
            "interrupted": self.interrupted,
            "templates": [
                {
                    "name": one.name,
                    "key": one.key,
                    "move": one.move.value,
                    "seconds": None if one.seconds is None else round(one.seconds, 3),
                    "error": None if one.error is None else one.error.to_json(),
                }
                for one in self.templates
            ],
            "seconds": round(self.seconds, 3),
        }

    def text(self) -> str:
        """Give a line for each."""
        width = max((len(one.name) for one in self.templates), default=0)
        return "\n".join(
            f"{one.move.value:<13}  {one.key.short}  {one.name:<{width}}"
            + ("" if one.seconds is None else f"  {one.seconds:.1f}s")
            for one in self.templates
        )
