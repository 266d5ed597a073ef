"""Whether a backend can work on a machine, and how that was found out: what ``check`` gives, and ``prewarm doctor`` shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that ``check`` looked at.

    Attributes:
        subject: What, in two or three words (``user namespaces``).
        ok: Whether the backend can work with it. A false one with ``required=False`` is a warning.
        detail: What was found.
        hint: How to put it right.
    """

    subject: str
    ok: bool
    detail: str
    hint: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a backend can work here, and how that was found out."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings if finding.required)

    @property
    def reason(self) -> str:
        """The first thing that stands in the way, or an empty string."""
        return next((f"{f.subject}: {f.detail}" for f in self.findings if f.required and not f.ok), "")
