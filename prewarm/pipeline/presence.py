"""What is known of each key, asked in this run: records, and what the backends say. One question a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from prewarm.backends.base import Backend
from prewarm.catalog.records import Place, Record
from prewarm.plan import Found
from prewarm.request import TemplateRef

Choose: TypeAlias = Callable[[str], tuple[Backend, str]]
"""Gives a backend that works here by its name or ``auto``, and why it is this one."""


def ask(namespace: str, places: Iterable[tuple[Backend, Place]], records: Mapping[Place, Record]) -> dict[Place, Found]:
    """Ask every backend about all its keys at once; what has no record is looked for by its key.

    Raises:
        BackendUnavailableError: A backend does not answer; that is never taken for missing.
    """
    by_backend: dict[str, tuple[Backend, list[Place]]] = {}
    for backend, place in places:
        by_backend.setdefault(backend.name, (backend, []))[1].append(place)
    found: dict[Place, Found] = {}
    for backend, of_it in by_backend.values():
        refs = {
            place: records[place].ref if place in records else backend.find(namespace, place.key)
            for place in dict.fromkeys(of_it)
        }
        found |= _probe(backend, refs, records)
        lost = [place for place in refs if place in records and not found[place].usable]
        again = {place: backend.find(namespace, place.key) for place in lost}
        moved = {place: ref for place, ref in again.items() if ref is not None and ref != records[place].ref}
        found |= {place: one for place, one in _probe(backend, moved, {}).items() if one.usable}
    return found


def _probe(
    backend: Backend, refs: Mapping[Place, TemplateRef | None], records: Mapping[Place, Record]
) -> dict[Place, Found]:
    known = [(place, ref) for place, ref in refs.items() if ref is not None]
    probes = backend.probe([(place.key, ref) for place, ref in known]) if known else ()
    found = {place: Found() for place in refs}
    for (place, ref), probe in zip(known, probes, strict=True):
        found[place] = Found(ref=ref, probe=probe, record=records.get(place))
    return found
