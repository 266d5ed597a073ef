"""What may go: templates that no lock file and no live session needs, litter of crashes, leftovers of the state directory.

Two steps: ``plan`` looks and removes nothing; ``apply`` looks again with all builds of a namespace kept out, and removes
what both agree on. What is needed is found by ``roots``. Age only narrows the choice, and is never a reason by itself. A
namespace that this machine never built is not touched unless it is named.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from prewarm.backends.base import Backend, TemplateRecord
from prewarm.catalog import Catalog
from prewarm.catalog.keylock import KEY_LOCK_PREFIX, build_lock
from prewarm.catalog.records import Place
from prewarm.errors import PrewarmError, TemplateInUseError
from prewarm.gc.garbage import Garbage, GarbageKind, GcReport, Kept
from prewarm.gc.roots import Roots, find_roots
from prewarm.home import Home
from prewarm.session.ledger import Ledger

__all__ = ["Garbage", "GarbageKind", "GcReport", "Kept", "Scope", "apply", "plan"]

_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to look at.

    Attributes:
        home: The state directory.
        backends: Those that work here; what others keep is left alone.
        namespace: That one alone; ``None`` means all that were built on this machine.
        older_than_s: Templates captured less than so many seconds ago stay, and those whose age is unknown.
        clock: Gives seconds since the epoch.
    """

    home: Home
    backends: Sequence[Backend] = field(repr=False)
    namespace: str | None = None
    older_than_s: float | None = None
    clock: Callable[[], float] = field(default=time.time, repr=False)


def plan(scope: Scope) -> GcReport:
    """Find what may go; remove nothing.

    Raises:
        BackendUnavailableError: A backend does not answer.
        HomeError: The state directory cannot be used.
    """
    with Catalog(scope.home) as catalog:
        return _Search(scope, catalog).report()


def apply(scope: Scope) -> GcReport:
    """Remove what may go. Builds of a namespace wait meanwhile; one that is running keeps its namespace as it is.

    What cannot be removed is reported in ``failed``, and the rest goes all the same.

    Raises:
        BackendUnavailableError: A backend does not answer.
        HomeError: The state directory cannot be used.
    """
    with Catalog(scope.home) as catalog, contextlib.ExitStack() as stack:
        search = _Search(scope, catalog)
        for namespace in search.namespaces:
            try:
                stack.enter_context(scope.home.lock(build_lock(namespace), timeout=0))
            except TimeoutError:
                search.leave_out(namespace, f"a build of '{namespace}' is running; nothing of it is removed")
        living = {backend.name: {one.id for one in backend.sessions()} for backend in scope.backends}
        Ledger(scope.home).retain(living)
        removed = _remove(search.report())
        if all(item.kind is not GarbageKind.TEMPLATE for item in removed.garbage):
            return removed
        told = {item.description for item in (*removed.garbage, *(item for item, _ in removed.failed))}
        # Such as the bases that only these templates stood on.
        freed = _remove(GcReport(garbage=tuple(item for item in search.litter() if item.description not in told)))
        return replace(removed, garbage=removed.garbage + freed.garbage, failed=removed.failed + freed.failed)


class _Search:
    """One look at everything.

    Args:
        scope: What to look at.
        catalog: What was captured here.
    """

    def __init__(self, scope: Scope, catalog: Catalog) -> None:
        self._scope = scope
        self._catalog = catalog
        self.namespaces = list(catalog.built_namespaces()) if scope.namespace is None else [scope.namespace]
        self._notes: list[str] = []

    def leave_out(self, namespace: str, why: str) -> None:
        """Look at a namespace no more."""
        self.namespaces.remove(namespace)
        self._notes.append(why)

    def report(self) -> GcReport:
        """Find what may go now."""
        records = self._catalog.all_records()
        roots = find_roots(self._catalog.lock_files(), self._scope.backends, records)
        self._captured_at = {(record.namespace, record.place): record.captured_at for record in records}
        garbage: list[Garbage] = []
        kept: list[Kept] = []
        for namespace in self.namespaces:
            for backend in self._scope.backends:
                held = backend.templates(namespace)
                for template in held:
                    found = self._judge(template, backend, roots)
                    if isinstance(found, Kept):
                        kept.append(found)
                    else:
                        garbage.append(found)
                garbage += self._lost_records(namespace, backend, held, roots)
        garbage += self.litter()
        if self._scope.namespace is None:
            garbage += [*self._gone_lock_files(roots), *_leftovers(self._scope.home)]
        return GcReport(garbage=tuple(garbage), kept=tuple(kept), notes=(*self._notes, *roots.notes))

    def litter(self) -> tuple[Garbage, ...]:
        """Find what nobody would look for: what crashes left, and what no template stands on any more."""
        found: dict[str, Garbage] = {}
        for namespace in self.namespaces:
            for backend in self._scope.backends:
                for one in backend.litter(namespace):
                    description = f"{one.description} ({backend.name})"
                    again = description in found  # A backend that cannot tell whose it is gives it to all.
                    found[description] = Garbage(
                        kind=GarbageKind.LITTER,
                        description=description,
                        namespace="" if again else namespace,
                        size=one.size,
                        remove=one.remove,
                    )
        return tuple(found.values())

    def _judge(self, template: TemplateRecord, backend: Backend, roots: Roots) -> Garbage | Kept:
        namespace = template.namespace
        place = Place(backend=backend.name, key=template.key)
        why = roots.need(namespace, place, template.ref) or self._too_young(namespace, place)
        if why is not None:
            return Kept(name=template.name, namespace=namespace, place=place, reason=why)

        def remove() -> None:
            backend.remove(template.ref)
            self._catalog.forget(namespace, place)

        return Garbage(
            kind=GarbageKind.TEMPLATE,
            description=f"{namespace}/{template.name} {template.key.short} ({backend.name})",
            name=template.name,
            namespace=namespace,
            place=place,
            ref=template.ref,
            size=template.size,
            remove=remove,
        )

    def _too_young(self, namespace: str, place: Place) -> str | None:
        least = self._scope.older_than_s
        if least is None:
            return None
        captured_at = self._captured_at.get((namespace, place))
        if captured_at is None:
            return "its age is unknown"
        age = self._scope.clock() - captured_at
        return None if age >= least else f"captured {age / _DAY_S:.1f} days ago"

    def _lost_records(
        self, namespace: str, backend: Backend, held: Sequence[TemplateRecord], roots: Roots
    ) -> Iterator[Garbage]:
        """Find records of templates that are gone and that nobody waits for."""
        there = {template.key for template in held}
        for record_namespace, place in self._captured_at:
            if (record_namespace, place.backend) != (namespace, backend.name) or place.key in there:
                continue
            if roots.need(namespace, place) is None:
                yield Garbage(
                    kind=GarbageKind.RECORD,
                    description=f"the record of {namespace} {place.key.short} ({backend.name}), which is gone",
                    namespace=namespace,
                    place=place,
                    remove=functools.partial(self._catalog.forget, namespace, place),
                )

    def _gone_lock_files(self, roots: Roots) -> Iterator[Garbage]:
        for path in roots.gone:
            yield Garbage(
                kind=GarbageKind.LOCK_FILE,
                description=f"{path} is remembered and does not exist",
                remove=functools.partial(self._catalog.forget_lock_file, path),
            )


def _leftovers(home: Home) -> Iterator[Garbage]:
    """Find databases set aside and lock files of keys that nobody holds."""
    for path in sorted(home.path.glob("state.db.damaged*")):
        yield Garbage(
            kind=GarbageKind.STATE,
            description=f"a damaged database, set aside: {path}",
            size=path.stat().st_size,
            remove=functools.partial(path.unlink, missing_ok=True),
        )
    locks = sorted(path.name for path in (home.path / "locks").glob(f"{KEY_LOCK_PREFIX}*"))
    if locks:
        yield Garbage(
            kind=GarbageKind.STATE,
            description=f"{len(locks)} {'lock' if len(locks) == 1 else 'locks'} of keys, unless somebody holds them",
            remove=functools.partial(_forget_locks, home, locks),
        )


def _forget_locks(home: Home, names: Sequence[str]) -> None:
    for name in names:
        home.forget_lock(name)


def _remove(found: GcReport) -> GcReport:
    """Remove garbage; what other garbage stands on waits until that is gone, what something needed stands on stays."""
    waiting = list(found.garbage)
    removed: list[Garbage] = []
    failed: list[tuple[Garbage, str]] = []
    kept = list(found.kept)
    while waiting:
        in_use: list[tuple[Garbage, str]] = []
        for item in waiting:
            try:
                item.remove()
            except TemplateInUseError as error:
                in_use.append((item, error.message))
            except (PrewarmError, OSError) as error:
                failed.append((item, str(error)))
            else:
                removed.append(item)
        if len(in_use) == len(waiting):
            kept += [
                Kept(name=item.name, namespace=item.namespace, place=item.place, reason=why) for item, why in in_use
            ]
            break
        waiting = [item for item, _ in in_use]
    return GcReport(garbage=tuple(removed), kept=tuple(kept), failed=tuple(failed), notes=found.notes, applied=True)
