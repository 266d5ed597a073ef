"""What a run came to: JSON ``prewarm.report/1``, text for people, a summary for GitHub. Pure.

``pipeline`` fills it in; the command line and CI print it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prewarm.errors import BuildFailedError, CaptureFailedError, InterruptedBuildError
from prewarm.failure import Failure
from prewarm.key import TemplateKey
from prewarm.plan import Reason, Status
from prewarm.refs import ref_json
from prewarm.request import TemplateRef

REPORT_SCHEMA: Final = "prewarm.report/1"
_MINUTE: Final = 60
_TENTHS_BELOW: Final = 10.0
_WORTH_SAYING_S: Final = 0.05
_KILO: Final = 1024
_DONE: Final = frozenset({Status.REUSED, Status.FRESH})


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateReport:
    """What became of one template; in a plan, what would.

    Attributes:
        name: The sandbox.
        platform: ``os/arch``.
        status: What became of it.
        reason: Why it was reused, captured or skipped.
        key: ``None`` where it could not be computed.
        backend: Empty where none was chosen.
        ref: Where it is kept; ``None`` unless it is there.
        changes: Which inputs changed, old -> new.
        detail: What the reason leaves open.
        seconds: By phase of its capture in this run, or ``pull``.
        size: Bytes that it adds; ``None`` if unknown.
        saved_s: Seconds that reusing it saved.
        error: Why it failed.
    """

    name: str
    platform: str
    status: Status
    reason: Reason
    key: TemplateKey | None = None
    backend: str = ""
    ref: TemplateRef | None = None
    changes: tuple[str, ...] = ()
    detail: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    size: int | None = None
    saved_s: float = 0.0
    error: Failure | None = None

    @property
    def short_key(self) -> str:
        """The first 12 digits, or a dash."""
        return "-" if self.key is None else self.key.short

    @property
    def total_s(self) -> float:
        """Seconds that it took in this run."""
        return sum(self.seconds.values())

    @property
    def sentence(self) -> str:
        """Why, on one line: the error, or the reason with what goes with it."""
        if self.error is not None:
            return self.error.message
        told = "; ".join(self.changes) or self.detail
        return f"{self.reason.value}: {told}" if told else self.reason.value

    def to_json(self) -> dict[str, Any]:
        """Give it as an item of the report's ``templates``."""
        return {
            "name": self.name,
            "platform": self.platform,
            "key": self.key,
            "backend": self.backend,
            "status": self.status.value,
            "reason": self.reason.value,
            "detail": self.detail,
            "changes": list(self.changes),
            "seconds": {phase: round(taken, 3) for phase, taken in self.seconds.items()},
            "bytes": self.size,
            "saved_seconds": round(self.saved_s, 3),
            "ref": None if self.ref is None else ref_json(self.ref),
            "error": None if self.error is None else self.error.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to.

    Attributes:
        namespace: Of the project.
        platform: ``os/arch``.
        templates: In the order asked.
        seconds: Of the whole run.
        planned: Whether nothing was done, and this is what would be.
        interrupted: Whether it was stopped from outside.
        backends: Why each backend was chosen, by name.
    """

    namespace: str
    platform: str
    templates: tuple[TemplateReport, ...]
    seconds: float = 0.0
    planned: bool = False
    interrupted: bool = False
    backends: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[TemplateReport, ...]:
        """Those that failed."""
        return tuple(template for template in self.templates if template.status is Status.FAILED)

    @property
    def saved_s(self) -> float:
        """Seconds that reusing saved."""
        return sum(template.saved_s for template in self.templates)

    @property
    def exit_code(self) -> int:
        """0 if every template is there; 130 after an interruption; the errors' own code, or 5 where they differ."""
        if self.interrupted:
            return InterruptedBuildError.exit_code
        codes = {template.error.exit_code for template in self.failed if template.error is not None}
        if len(codes) == 1:
            return codes.pop()
        return 0 if all(template.status in _DONE for template in self.templates) else CaptureFailedError.exit_code

    def raise_for_failures(self) -> None:
        """Raise unless every template is there.

        Raises:
            InterruptedBuildError: The run was stopped.
            BuildFailedError: At least one template is missing; all are named.
        """
        if self.interrupted:
            raise InterruptedBuildError("the build was interrupted", hint="run it again; what is finished is reused")
        missing = [template for template in self.templates if template.status not in _DONE]
        if missing:
            told = "; ".join(f"{template.name}: {template.sentence}" for template in missing)
            raise BuildFailedError(f"{len(missing)} of {_templates(len(self.templates))} failed: {told}")

    def to_json(self) -> dict[str, Any]:
        """Give it as ``prewarm.report/1``."""
        counts = self._counts()
        return {
            "schema": REPORT_SCHEMA,
            "namespace": self.namespace,
            "platform": self.platform,
            "planned": self.planned,
            "interrupted": self.interrupted,
            "backends": dict(self.backends),
            "templates": [template.to_json() for template in self.templates],
            "totals": {"templates": len(self.templates)} | {status.value: counts[status] for status in Status},
            "seconds": round(self.seconds, 3),
            "saved_seconds": round(self.saved_s, 3),
        }

    def text(self) -> str:
        """Give it for people: a line for each template, the failures in full, and one last line for all."""
        width = max((len(template.name) for template in self.templates), default=0)
        lines = [
            f"{template.status.value:<7}  {template.name:<{width}}  {template.short_key:<12}  {template.sentence}"
            for template in self.templates
        ]
        for template in self.failed:
            lines += ["", *_failure_lines(template)]
        return "\n".join([*lines, self.last_line()])

    def last_line(self) -> str:
        """Sum it up: ``prepared 9 templates (7 reused, 2 fresh) in 41.2s, saved about 6m 12s``."""
        counts, total = self._counts(), len(self.templates)
        done = counts[Status.REUSED] + counts[Status.FRESH]
        parts = [f"{counts[status]} {status.value}" for status in (Status.REUSED, Status.FRESH)]
        parts += [f"{counts[status]} {status.value}" for status in (Status.FAILED, Status.SKIPPED) if counts[status]]
        how_many = _templates(total) if done == total else f"{done} of {_templates(total)}"
        verb = "would prepare" if self.planned else "prepared"
        saved = (
            f", saved about {_duration(self.saved_s)}" if self.saved_s >= _WORTH_SAYING_S and not self.planned else ""
        )
        spent = "" if self.planned else f" in {self.seconds:.1f}s"
        return f"{verb} {how_many} ({', '.join(parts)}){spent}{saved}"

    def summary_markdown(self) -> str:
        """Give it for ``$GITHUB_STEP_SUMMARY``: a table, and what each failure wrote last, folded."""
        rows = ["| template | status | key | why | seconds | size |", "|---|---|---|---|---:|---:|"]
        rows += [
            f"| {template.name} | {template.status.value} | `{template.short_key}` | {_cell(template.sentence)} "
            f"| {template.total_s:.1f} | {_size(template.size)} |"
            for template in self.templates
        ]
        parts = ["### prewarm", "", self.last_line(), "", *rows]
        for template in self.failed:
            body = "\n".join(_failure_lines(template)).replace("```", "` ` `")
            parts += [
                "",
                f"<details><summary>{template.name} failed</summary>",
                "",
                "```text",
                body,
                "```",
                "</details>",
            ]
        return "\n".join(parts) + "\n"

    def _counts(self) -> Counter[Status]:
        return Counter(template.status for template in self.templates)


def _failure_lines(template: TemplateReport) -> list[str]:
    if template.error is None:
        return []
    lines = [f"{template.name}: {template.error.message}"]
    if template.error.tail:
        lines += [f"  | {line}" for line in template.error.tail]
    if template.error.hint:
        lines.append(f"  hint: {template.error.hint}")
    return lines


def _templates(count: int) -> str:
    return f"{count} template" if count == 1 else f"{count} templates"


def _duration(seconds: float) -> str:
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < _KILO:
            return f"{amount:.0f} {unit}"
        amount /= _KILO
    return f"{amount:.1f} GiB"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
