"""What the smaller questions are answered with: keys, whether a lock file holds here, why a sandbox is built again. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prewarm.errors import TemplateCorruptError, TemplateNotFoundError
from prewarm.failure import Failure
from prewarm.key import TemplateKey
from prewarm.plan import Reason, Status
from prewarm.report import REPORT_SCHEMA, TemplateReport

CHECK_SCHEMA: Final = "prewarm.check/1"
EXPLAIN_SCHEMA: Final = "prewarm.explain/1"
_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedKey:
    """The key of one sandbox.

    Attributes:
        name: The sandbox.
        backend: Whose capture it would be.
        key: ``None`` where it cannot be computed.
        error: Why not; ``None`` too where what it extends has none.
    """

    name: str
    backend: str
    key: TemplateKey | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyList:
    """The keys of a project.

    Attributes:
        namespace: Of the project.
        platform: ``os/arch``.
        templates: In the order asked; without a key where it cannot be computed.
    """

    namespace: str
    platform: str
    templates: tuple[NamedKey, ...]

    @property
    def exit_code(self) -> int:
        """0 if all have a key; else that of the first error."""
        return next((one.error.exit_code for one in self.templates if one.error is not None), 0)

    def to_json(self) -> dict[str, Any]:
        """Give it as the report's ``templates``, of what is known before anything is asked."""
        return {
            "schema": REPORT_SCHEMA,
            "namespace": self.namespace,
            "platform": self.platform,
            "templates": [
                {
                    "name": one.name,
                    "platform": self.platform,
                    "key": one.key,
                    "backend": one.backend,
                    "error": None if one.error is None else one.error.to_json(),
                }
                for one in self.templates
            ],
        }

    def text(self) -> str:
        """Give a line for each: the full key and the name, as ``sha256sum`` does; dashes for none."""
        return "\n".join(f"{one.key or '-' * _DIGITS}  {one.name}" for one in self.templates)


class CheckStatus(enum.Enum):
    """Whether an entry of a lock file can be opened here."""

    PRESENT = "present"
    MISSING = "missing"
    CORRUPT = "corrupt"
    EXPIRED = "expired"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNAVAILABLE = "unavailable"
    OTHER_PLATFORM = "other platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEntry:
    """One entry of a lock file, checked.

    Attributes:
        name: The sandbox.
        platform: ``os/arch``.
        status: Whether it can be opened here.
        key: ``None`` where it was not captured.
        backend: Empty where it was not captured.
        detail: What the backend, or the build, had to say.
        exit_code: What it makes the whole check end with, 0 if nothing.
        hint: What to do about it, where that is not to build.
    """

    name: str
    platform: str
    status: CheckStatus
    key: TemplateKey | None = None
    backend: str = ""
    detail: str = ""
    exit_code: int = 0
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether every ref of a lock file can be opened on this host.

    Attributes:
        namespace: Of the project.
        platform: Whose entries count.
        entries: In the lock file's order.
    """

    namespace: str
    platform: str
    entries: tuple[CheckedEntry, ...]

    @property
    def exit_code(self) -> int:
        """0 if all can be opened; 8 if any is corrupt; else that of the first that cannot."""
        codes = [entry.exit_code for entry in self.entries if entry.exit_code]
        if TemplateCorruptError.exit_code in codes:
            return TemplateCorruptError.exit_code
        return codes[0] if codes else 0

    @property
    def hint(self) -> str | None:
        """What to do about it: all that backends which do not work here ask for, and to build what is not there."""
        hints = [
            one.hint or TemplateNotFoundError.default_hint
            for one in sorted(self.entries, key=lambda one: one.hint is None)
            if one.exit_code
        ]
        return "\n".join(dict.fromkeys(hints)) or None

    def to_json(self) -> dict[str, Any]:
        """Give it as ``prewarm.check/1``."""
        return {
            "schema": CHECK_SCHEMA,
            "namespace": self.namespace,
            "platform": self.platform,
            "ok": self.exit_code == 0,
            "templates": [
                {
                    "name": entry.name,
                    "platform": entry.platform,
                    "key": entry.key,
                    "backend": entry.backend,
                    "status": entry.status.value,
                    "detail": entry.detail,
                }
                for entry in self.entries
            ],
        }

    def text(self) -> str:
        """Give a line for each, and one for all."""
        width = max((len(entry.name) for entry in self.entries), default=0)
        words = max((len(entry.status.value) for entry in self.entries), default=0)
        lines = [
            f"{entry.status.value:<{words}}  {entry.name:<{width}}  {entry.platform}  {entry.detail}".rstrip()
            for entry in self.entries
        ]
        counted = [entry for entry in self.entries if entry.status is not CheckStatus.OTHER_PLATFORM]
        good = sum(1 for entry in counted if not entry.exit_code)
        return "\n".join([*lines, f"{good} of {len(counted)} can be opened on {self.platform}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a sandbox would be reused or captured now, and why it was captured last.

    Attributes:
        now: What a build would do.
        last_key: What it was built to last; ``None`` if never on this machine.
        last_built_at: When, seconds since the epoch.
        last_seconds: How long that capture took; ``None`` if not on record.
        before_key: What it was built to before that.
        last_changes: How the last differed from the one before.
    """

    now: TemplateReport
    last_key: TemplateKey | None = None
    last_built_at: float | None = None
    last_seconds: float | None = None
    before_key: TemplateKey | None = None
    last_changes: tuple[str, ...] = ()

    @property
    def reason(self) -> Reason:
        return self.now.reason

    @property
    def exit_code(self) -> int:
        """0 unless it has no key."""
        return 0 if self.now.error is None else self.now.error.exit_code

    def to_json(self) -> dict[str, Any]:
        """Give it as ``prewarm.explain/1``."""
        return {
            "schema": EXPLAIN_SCHEMA,
            **self.now.to_json(),
            "sentence": self.now.reason.sentence,
            "last": None
            if self.last_key is None
            else {"key": self.last_key, "built_at": self.last_built_at, "seconds": self.last_seconds},
            "before": None if self.before_key is None else {"key": self.before_key, "changes": list(self.last_changes)},
        }

    def text(self) -> str:
        """Give it for people: what would happen, why, and each change on a line."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        now = self.now
        match now.status:
            case Status.REUSED:
                what = "would be reused"
            case Status.FRESH:
                what = "would be captured"
            case Status.FAILED | Status.SKIPPED:
                what = "cannot be captured"
        yield f"{now.name} ({now.short_key}, {now.backend}, {now.platform}) {what}: {now.reason.sentence}"
        if now.error is not None:
            yield f"  {now.error.message}"
        elif now.detail:
            yield f"  {now.detail}"
        for change in now.changes:
            yield f"  {change}"
        if self.last_key is not None and self.last_key != now.key:
            yield f"last built as {self.last_key.short}"
        if self.before_key is not None and self.last_key is not None:
            yield f"that was {self.before_key.short} before, and {self.last_key.short} since:"
            yield from (f"  {change}" for change in self.last_changes or ("the old inputs are not on record any more",))
