"""What the catalog keeps, as values; ``plan`` weighs them without knowing where they were kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prewarm.key import TemplateKey
from prewarm.request import TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which template of a namespace: its key, at its backend."""

    backend: str
    key: TemplateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One capture.

    Attributes:
        namespace: Of the project.
        place: Key and backend.
        name: Of the sandbox it was captured for.
        ref: Where it was kept.
        parent: Ref of the template that it was captured on; ``None`` if on a base.
        seconds: By phase.
        size: Bytes that it added.
        captured_at: Seconds since the epoch.
    """

    namespace: str
    place: Place
    name: str
    ref: TemplateRef
    parent: TemplateRef | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    size: int = 0
    captured_at: float = 0.0

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """That a sandbox came to a key, once; history, newest last."""

    place: Place
    built_at: float
