"""What is known of each key, asked in this run: records, and what the backends say. One question a backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from prewarm.backends.base import Backend, Presence
from prewarm.catalog import Catalog
from prewarm.catalog.records import Place, Record
from prewarm.errors import HomeError
from prewarm.home import Home
from prewarm.key import TemplateKey
from prewarm.lockfile import LockFile
from prewarm.plan import Found
from prewarm.refs import same_template
from prewarm.request import TemplateRef

Choose: TypeAlias = Callable[[str], tuple[Backend, str]]
"""Gives a backend that works here by its name or ``auto``, and why it is this one."""


def ask(
    namespace: str,
    places: Iterable[tuple[Backend, Place]],
    records: Mapping[Place, Record],
    lock: LockFile | None = None,
) -> dict[Place, Found]:
    """Ask every backend about all its keys at once; what has no record is looked for by its key.

    Where something else than the record says stands under a key, its labels are not word enough: it is taken only if
    the lock file names it, as after ``prewarm pull``.

    Raises:
        BackendUnavailableError: A backend does not answer; that is never taken for missing.
    """
    by_backend: dict[str, tuple[Backend, list[Place]]] = {}
    for backend, place in places:
        by_backend.setdefault(backend.name, (backend, []))[1].append(place)
    named = {
        Place(backend=one.backend, key=one.key): one.ref
        for one in (lock.entries if lock is not None else ())
        if one.key is not None and one.ref is not None
    }
    found: dict[Place, Found] = {}
    for backend, of_it in by_backend.values():
        refs = {
            place: records[place].ref if place in records else backend.find(namespace, place.key)
            for place in dict.fromkeys(of_it)
        }
        found |= _probe(backend, refs, records)
        lost = [place for place in refs if place in records and not found[place].usable]
        again = {place: backend.find(namespace, place.key) for place in lost}
        moved = {
            place: ref
            for place, ref in again.items()
            if ref is not None and ref != records[place].ref and _is_vouched(found[place], ref, named.get(place))
        }
        found |= {place: one for place, one in _probe(backend, moved, {}).items() if one.usable}
    return found


def drop_lost(keys: Iterable[TemplateKey], backend: Backend, home: Home) -> None:
    """Drop the records of those of these keys whose template does not stand any more.

    A state directory that cannot be written keeps them: the next build captures again. One that is not there has none.
    """
    if not home.path.exists():
        return
    places = {Place(backend=backend.name, key=key) for key in keys}
    with contextlib.suppress(HomeError), Catalog(home) as catalog:
        records = [one for one in catalog.all_records() if one.place in places]
        probes = backend.probe([(one.place.key, one.ref) for one in records]) if records else ()
        for record, probe in zip(records, probes, strict=True):
            if probe.presence is not Presence.PRESENT:
                catalog.forget(record.namespace, record.place)


def _is_vouched(lost: Found, ref: TemplateRef, named: TemplateRef | None) -> bool:
    """Say whether what the backend finds may stand for a record that does not hold."""
    is_other = lost.probe is not None and lost.probe.presence is Presence.CORRUPT
    return not is_other or (named is not None and same_template(ref, named))


def _probe(
    backend: Backend, refs: Mapping[Place, TemplateRef | None], records: Mapping[Place, Record]
) -> dict[Place, Found]:
    known = [(place, ref) for place, ref in refs.items() if ref is not None]
    probes = backend.probe([(place.key, ref) for place, ref in known]) if known else ()
    found = {place: Found() for place in refs}
    for (place, ref), probe in zip(known, probes, strict=True):
        found[place] = Found(ref=ref, probe=probe, record=records.get(place))
    return found
