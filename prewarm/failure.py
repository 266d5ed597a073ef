"""An error as a value: what a report and a lock file say of a template that was not captured. Pure.

Built once, where the error is caught, with everything secret hidden; nothing after that sees the exception itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prewarm.errors import CaptureFailedError, PrewarmError, StepFailedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with one template.

    Attributes:
        kind: Name of the error's class.
        exit_code: That the error's class stands for.
        message: What failed and why.
        hint: The remedy.
        step: Number of the step that failed; ``None`` where it was none.
        text: That step's own text.
        command_exit_code: Of that step's command.
        tail: The last lines that the step wrote.
    """

    kind: str
    exit_code: int
    message: str
    hint: str | None = None
    step: int | None = None
    text: str | None = None
    command_exit_code: int | None = None
    tail: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException, *, name: str, redact: Callable[[str], str]) -> Failure:
        """Read an error; one that is not of our tree becomes a failed capture that names it.

        Args:
            error: What was raised.
            name: The sandbox, for an error that does not know it.
            redact: Hides secrets.
        """
        known = error if isinstance(error, PrewarmError) else _unexpected(error, name)
        step = known if isinstance(known, StepFailedError) else None
        return cls(
            kind=type(known).__name__,
            exit_code=known.exit_code,
            message=redact(known.message),
            hint=None if known.hint is None else redact(known.hint),
            step=None if step is None else step.step,
            text=None if step is None else redact(step.text),
            command_exit_code=None if step is None else step.command_exit_code,
            tail=() if step is None else tuple(redact(line) for line in step.tail),
        )

    def to_json(self) -> dict[str, Any]:
        """Give it as the report's ``error``."""
        return {
            "class": self.kind,
            "message": self.message,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "step": self.step,
            "text": self.text,
            "command_exit_code": self.command_exit_code,
            "tail": list(self.tail),
        }


def _unexpected(error: BaseException, name: str) -> CaptureFailedError:
    return CaptureFailedError(
        f"capture of '{name}' failed: {type(error).__name__}: {error}",
        hint="this is a bug in prewarm or in the backend; please report it",
    )
