"""What a run has to do: keys, records and what exists now -> reuse or capture, with the reason.

Pure: no files, no clock, no backend. ``pipeline`` gathers what goes in and ``capture`` carries out what comes out;
``prewarm plan`` stops here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import assert_never

from prewarm.backends.base import Presence, Probe
from prewarm.catalog.records import Place, Record
from prewarm.key import KeyInputs, diff
from prewarm.refs import same_template
from prewarm.request import TemplateRef


class Status(enum.Enum):
    """What became of a template in a run; in a plan, what would."""

    REUSED = "reused"
    FRESH = "fresh"
    FAILED = "failed"
    SKIPPED = "skipped"


class Reason(enum.Enum):
    """Why a template was reused, captured or skipped."""

    UNCHANGED = "unchanged"
    FOUND = "found at the backend"
    FOUND_IN_REGISTRY = "found in registry"
    CAPTURED_MEANWHILE = "captured meanwhile"
    IDENTICAL = "identical"
    FIRST_CAPTURE = "first capture"
    INPUTS_CHANGED = "inputs changed"
    MISSING = "missing"
    CORRUPT = "corrupt"
    EXPIRED = "expired"
    FORCED = "forced"
    PARENT_CAPTURED_AGAIN = "parent captured again"
    CAPTURE_FORMAT_CHANGED = "capture format changed"
    UNKEYABLE = "no key"
    PARENT_FAILED = "parent failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"

    @property
    def sentence(self) -> str:
        """The reason as a person would say it."""
        return _SENTENCES[self]


_SENTENCES: Mapping[Reason, str] = {
    Reason.UNCHANGED: "nothing that counts has changed, and the backend has it",
    Reason.FOUND: "the backend has it, though it was not captured from here",
    Reason.FOUND_IN_REGISTRY: "the registry had it",
    Reason.CAPTURED_MEANWHILE: "another build captured it meanwhile",
    Reason.IDENTICAL: "another sandbox of this run is the same",
    Reason.FIRST_CAPTURE: "it was not captured before",
    Reason.INPUTS_CHANGED: "what it is made of has changed",
    Reason.MISSING: "it was captured before, and the backend has it no more",
    Reason.CORRUPT: "what the backend has is not what was captured",
    Reason.EXPIRED: "the backend has let it expire",
    Reason.FORCED: "asked for by --force",
    Reason.PARENT_CAPTURED_AGAIN: "the template that it extends is captured again",
    Reason.CAPTURE_FORMAT_CHANGED: "the backend captures in another way now",
    Reason.UNKEYABLE: "its key cannot be computed",
    Reason.PARENT_FAILED: "the template that it extends is not there",
    Reason.STOPPED: "the run stopped at the first failure",
    Reason.INTERRUPTED: "the run was interrupted",
}


class Action(enum.Enum):
    """What a run does for a sandbox."""

    REUSE = "reuse"
    CAPTURE = "capture"
    SHARE = "share"  # another sandbox of the run has the same key


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A sandbox with its key, before it is decided what to do.

    Attributes:
        name: The sandbox.
        place: Key and backend.
        inputs: What the key was made of.
        parent: Name of the sandbox that it extends.
    """

    name: str
    place: Place
    inputs: KeyInputs = field(repr=False)
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a key.

    Attributes:
        ref: Where it is, as recorded or as the backend found it; ``None`` if neither knows it.
        probe: The backend's answer about that ref, in this run.
        record: The capture's record, if there is one.
        in_registry: Whether the probe is about what a registry has, or had: there is no record of it.
        seconds: What getting it from there took, by phase.
    """

    ref: TemplateRef | None = None
    probe: Probe | None = None
    record: Record | None = None
    in_registry: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return self.probe is not None and self.probe.presence is Presence.PRESENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """What a sandbox was built to last; ``inputs`` where that capture is still on record."""

    place: Place
    inputs: KeyInputs | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanItem:
    """What to do for one sandbox, and why.

    Attributes:
        name: The sandbox.
        place: Key and backend.
        action: What to do.
        reason: Why.
        changes: Which inputs changed, old -> new, a sentence each.
        detail: What the backend or the plan has to add.
        ref: Of what is reused.
        saved_s: Seconds that reusing saves, from the recorded capture.
        size: Bytes of what is reused.
        parent: Name of the sandbox that it extends.
        shares: Name of the sandbox that is captured for both.
    """

    name: str
    place: Place
    action: Action
    reason: Reason
    changes: tuple[str, ...] = ()
    detail: str = ""
    ref: TemplateRef | None = None
    saved_s: float = 0.0
    size: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    parent: str | None = None
    shares: str | None = None

    @property
    def status(self) -> Status:
        """What it comes to if all goes well."""
        return Status.FRESH if self.action is Action.CAPTURE else Status.REUSED


def decide(
    candidates: Sequence[Candidate],
    *,
    found: Mapping[Place, Found],
    previous: Mapping[str, Previous],
    forced: AbstractSet[str] = frozenset(),
) -> tuple[PlanItem, ...]:
    """Decide for each sandbox; the order is kept.

    Args:
        candidates: Parents before those that extend them.
        found: What is known of each key, asked in this run.
        previous: What each name was built to last.
        forced: Names to capture in any case.
    """
    forced_places = {candidate.place for candidate in candidates if candidate.name in forced}
    items: dict[str, PlanItem] = {}
    leaders: dict[Place, PlanItem] = {}
    for candidate in candidates:
        leader = leaders.get(candidate.place)
        if leader is not None and leader.action is Action.CAPTURE:
            item = _sharing(candidate, leader)
        else:
            item = _decide(
                candidate,
                found.get(candidate.place, Found()),
                previous=previous.get(candidate.name),
                parent=items.get(candidate.parent) if candidate.parent is not None else None,
                forced=candidate.place in forced_places,
            )
            leaders[candidate.place] = item
        items[candidate.name] = item
    return tuple(items.values())


def stands_on(record: Record | None, parent: TemplateRef | None) -> bool:
    """Say whether a capture stands on this template of its parent; without a record, its key is word enough."""
    if record is None or record.parent is None or parent is None:
        return True
    return same_template(record.parent, parent)


def _decide(
    candidate: Candidate, found: Found, *, previous: Previous | None, parent: PlanItem | None, forced: bool
) -> PlanItem:
    if forced:
        return _capture(candidate, Reason.FORCED)
    if not found.usable:
        return _not_usable(candidate, found, previous)
    if parent is not None and parent.action is not Action.REUSE:
        return _capture(candidate, Reason.PARENT_CAPTURED_AGAIN)
    if not stands_on(found.record, None if parent is None else parent.ref):
        return _capture(candidate, Reason.PARENT_CAPTURED_AGAIN)
    return PlanItem(
        name=candidate.name,
        place=candidate.place,
        action=Action.REUSE,
        reason=_presence(found),
        detail=found.probe.detail if found.in_registry and found.probe is not None else "",
        ref=found.ref,
        saved_s=0.0 if found.record is None else found.record.total_s,
        size=None if found.record is None else found.record.size,
        seconds=found.seconds,
        parent=candidate.parent,
    )


def _presence(found: Found) -> Reason:
    if found.in_registry:
        return Reason.FOUND_IN_REGISTRY
    return Reason.FOUND if found.record is None else Reason.UNCHANGED


def _not_usable(candidate: Candidate, found: Found, previous: Previous | None) -> PlanItem:
    moved = previous is not None and previous.place != candidate.place
    if found.probe is not None and not (moved and found.probe.presence is Presence.MISSING):
        return _capture(candidate, _absence(found.probe.presence), detail=found.probe.detail)
    if previous is None:
        return _capture(candidate, Reason.FIRST_CAPTURE)
    if not moved:
        return _capture(candidate, Reason.MISSING)
    if previous.inputs is None:
        return _capture(candidate, Reason.INPUTS_CHANGED, detail=f"its key was {previous.place.key.short}")
    changes = diff(previous.inputs, candidate.inputs)
    return _capture(candidate, _difference(previous.inputs, candidate.inputs), changes=changes)


def _difference(old: KeyInputs, new: KeyInputs) -> Reason:
    if replace(old, parent=new.parent) == new:
        return Reason.PARENT_CAPTURED_AGAIN
    if replace(old, parent=new.parent, capture_format=new.capture_format) == new:
        return Reason.CAPTURE_FORMAT_CHANGED
    return Reason.INPUTS_CHANGED


def _absence(presence: Presence) -> Reason:
    match presence:
        case Presence.MISSING | Presence.PRESENT:
            return Reason.MISSING
        case Presence.CORRUPT:
            return Reason.CORRUPT
        case Presence.EXPIRED:
            return Reason.EXPIRED
        case _:
            assert_never(presence)


def _capture(candidate: Candidate, reason: Reason, *, changes: tuple[str, ...] = (), detail: str = "") -> PlanItem:
    return PlanItem(
        name=candidate.name,
        place=candidate.place,
        action=Action.CAPTURE,
        reason=reason,
        changes=changes,
        detail=detail,
        parent=candidate.parent,
    )


def _sharing(candidate: Candidate, leader: PlanItem) -> PlanItem:
    return PlanItem(
        name=candidate.name,
        place=candidate.place,
        action=Action.SHARE,
        reason=Reason.IDENTICAL,
        detail=f"the same as '{leader.name}'",
        parent=candidate.parent,
        shares=leader.name,
    )
