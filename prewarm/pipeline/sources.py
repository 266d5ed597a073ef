"""Where a run looks for what it would have to capture: a registry, asked by key. Called by ``preparation``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from prewarm.backends.base import Backend, Presence, Probe
from prewarm.backends.travel import TravelsByRegistry
from prewarm.cancellation import Cancellation
from prewarm.capture import several
from prewarm.catalog.keylock import holding, key_lock
from prewarm.catalog.records import Place
from prewarm.errors import InterruptedBuildError, TemplateCorruptError, UnsupportedOptionError
from prewarm.home import Home
from prewarm.plan import Action, Found, PlanItem, Reason

PULL: Final = "pull"
# What stands here under the key is on another parent, or is not what was captured: no name or label makes it so.
_NOT_FOUND_HERE: Final = frozenset({Reason.PARENT_CAPTURED_AGAIN, Reason.CORRUPT})


class Source(Protocol):
    """Somewhere to look for templates."""

    def look(self, namespace: str, wanted: Sequence[tuple[Backend, PlanItem]]) -> Mapping[Place, Found]:
        """Say what is there of these; what is not there is left out.

        Raises:
            BackendUnavailableError: The source does not answer; never taken for missing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """A registry that is only asked what it has."""

    registry: str
    jobs: int = several.AT_A_TIME

    def look(self, namespace: str, wanted: Sequence[tuple[Backend, PlanItem]]) -> Mapping[Place, Found]:
        """Say what a build could pull."""
        there = Found(probe=Probe(presence=Presence.PRESENT, detail=self.registry), in_registry=True)

        def asked(one: tuple[Backend, PlanItem]) -> Found | None:
            backend, item = one
            return there if _travels(backend).offers(namespace, item.place.key, self.registry) else None

        cancellation = Cancellation()
        found = _several(wanted, asked, jobs=self.jobs, cancellation=cancellation, note=lambda _: None)
        cancellation.check()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """A registry whose templates are pulled, then asked about like any other.

    Attributes:
        registry: A host, and what stands before the image's name.
        home: Where locks are: nobody else captures meanwhile what is pulled.
        note: Hears what is pulled, and whom it waits for.
        cancellation: Stops it; what is not there by then is for the capture to report.
        jobs: How many at a time.
    """

    registry: str
    home: Home
    note: Callable[[str], None] = field(repr=False)
    cancellation: Cancellation = field(repr=False)
    jobs: int = several.AT_A_TIME

    def look(self, namespace: str, wanted: Sequence[tuple[Backend, PlanItem]]) -> Mapping[Place, Found]:
        """Pull what the registry has; one that fails does not keep the others from coming."""

        def pulled(one: tuple[Backend, PlanItem]) -> Found | None:
            backend, item = one
            if not _travels(backend).offers(namespace, item.place.key, self.registry):
                return None
            return self._pull(namespace, backend, item)

        return _several(wanted, pulled, jobs=self.jobs, cancellation=self.cancellation, note=self.note)

    def _pull(self, namespace: str, backend: Backend, item: PlanItem) -> Found:
        key = item.place.key

        def waiting(holder: str) -> None:
            self.note(f"'{item.name}' waits for {holder}, which is capturing {key.short}")

        lock = key_lock(namespace, item.place)
        with holding(self.home, lock, cancellation=self.cancellation, waiting=waiting):
            known = None if item.reason in _NOT_FOUND_HERE else backend.find(namespace, key)
            if known is not None:  # Another build may have captured it while this one waited.
                (probe,) = backend.probe([(key, known)])
                if probe.presence is Presence.PRESENT:
                    return Found(ref=known, probe=probe)
            self.note(f"'{item.name}' ({key.short}) is pulled from {self.registry}")
            began = time.monotonic()
            try:
                ref = _travels(backend).fetch(namespace, key, self.registry, lambda _: self.cancellation.check())
            except TemplateCorruptError as error:
                return Found(probe=Probe(presence=Presence.CORRUPT, detail=error.message))
            if ref is None:
                return Found()
            (probe,) = backend.probe([(key, ref)])
        if probe.presence is not Presence.PRESENT:
            return Found(ref=ref, probe=probe, in_registry=True)
        there = Probe(presence=Presence.PRESENT, detail=self.registry)
        return Found(ref=ref, probe=there, in_registry=True, seconds={PULL: time.monotonic() - began})


def _several(
    wanted: Sequence[tuple[Backend, PlanItem]],
    work: Callable[[tuple[Backend, PlanItem]], Found | None],
    *,
    jobs: int,
    cancellation: Cancellation,
    note: Callable[[str], None],
) -> dict[Place, Found]:
    """Do it for each key once, several at a time; the first error is raised when all have ended, the others are noted."""
    firsts = list({item.place: (backend, item) for backend, item in reversed(wanted)}.values())[::-1]
    found: dict[Place, Found] = {}
    errors: dict[str, Exception] = {}
    for (_, item), done in zip(firsts, several.each(firsts, work, jobs=jobs, cancellation=cancellation), strict=True):
        if done.value is not None:
            found[item.place] = done.value
        if done.error is not None and not isinstance(done.error, InterruptedBuildError):
            errors.setdefault(str(done.error), done.error)
    if errors:
        first, *others = errors.values()
        for error in others:
            note(str(error))
        raise first
    return found


def askable(items: Iterable[PlanItem], asked: AbstractSet[Place]) -> tuple[PlanItem, ...]:
    """Give what is to be captured, was not asked for by force, was not looked for, and stands on what is there."""
    known = {item.name: item for item in items}
    return tuple(
        item
        for item in known.values()
        if item.action is Action.CAPTURE
        and item.reason is not Reason.FORCED
        and item.place not in asked
        and (item.parent is None or known[item.parent].action is Action.REUSE)
    )


def refuse_without_registry(backends: Iterable[Backend]) -> None:
    """Check that the templates of these backends come from registries.

    Raises:
        UnsupportedOptionError: Those of one do not.
    """
    unable = sorted({backend.name for backend in backends if not isinstance(backend, TravelsByRegistry)})
    if unable:
        raise UnsupportedOptionError(
            f"templates of the {' and the '.join(unable)} backend do not come from a registry",
            hint="build without --from, or with a backend whose templates travel, such as docker",
        )


def _travels(backend: Backend) -> TravelsByRegistry:
    """Give it by its ability, which was asked for before."""
    return cast("TravelsByRegistry", backend)
