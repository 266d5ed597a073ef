"""What garbage collection finds and does, as values. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from prewarm.catalog.records import Place
from prewarm.request import TemplateRef

GC_SCHEMA: Final = "prewarm.gc/1"


class GarbageKind(enum.Enum):
    """What a piece of garbage is."""

    TEMPLATE = "template"
    LITTER = "litter"
    RECORD = "record"
    LOCK_FILE = "lock file"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Something that may go.

    Attributes:
        kind: What it is.
        description: For people.
        name: Sandbox of a template; empty for the rest.
        namespace: Whose it is; empty where it is nobody's.
        place: Key and backend, of a template or record.
        ref: Of a template.
        size: Bytes, 0 if unknown.
        remove: Takes it away; taking away what is gone already is fine.
    """

    kind: GarbageKind
    description: str
    name: str = ""
    namespace: str = ""
    place: Place | None = None
    ref: TemplateRef | None = None
    size: int = 0
    remove: Callable[[], None] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Give it as an item of ``garbage``."""
        return {
            "kind": self.kind.value,
            "description": self.description,
            "namespace": self.namespace,
            "backend": None if self.place is None else self.place.backend,
            "key": None if self.place is None else self.place.key,
            "bytes": self.size,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A template that stays, and why."""

    name: str
    namespace: str
    place: Place | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Give it as an item of ``kept``."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "backend": None if self.place is None else self.place.backend,
            "key": None if self.place is None else self.place.key,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What may go, or went, and what stays.

    Attributes:
        garbage: What may go; after ``apply``, what went.
        kept: Templates that stay.
        failed: What was to go and did not, and why.
        notes: What a person should know about it.
        applied: Whether anything was removed.
    """

    garbage: tuple[Garbage, ...] = ()
    kept: tuple[Kept, ...] = ()
    failed: tuple[tuple[Garbage, str], ...] = ()
    notes: tuple[str, ...] = ()
    applied: bool = False

    @property
    def size(self) -> int:
        """Bytes that go, as far as they are known."""
        return sum(item.size for item in self.garbage)

    @property
    def exit_code(self) -> int:
        """0 unless something could not be removed."""
        return 1 if self.failed else 0

    def to_json(self) -> dict[str, Any]:
        """Give it as ``prewarm.gc/1``."""
        return {
            "schema": GC_SCHEMA,
            "applied": self.applied,
            "garbage": [item.to_json() for item in self.garbage],
            "kept": [item.to_json() for item in self.kept],
            "failed": [item.to_json() | {"reason": why} for item, why in self.failed],
            "notes": list(self.notes),
            "bytes": self.size,
        }

    def text(self) -> str:
        """Give a line for each, and one for all."""
        verb = "removed" if self.applied else "would remove"
        lines = [f"{verb} {item.kind.value}: {item.description}" for item in self.garbage]
        lines += [f"not removed: {item.description}: {why}" for item, why in self.failed]
        lines += list(self.notes)
        many = "1 thing" if len(self.garbage) == 1 else f"{len(self.garbage)} things"
        return "\n".join([*lines, f"{verb} {many}, {self.size} bytes; {len(self.kept)} templates stay"])
