"""What is needed: what lock files known to this machine name, what live sessions stand on, and what those were captured on."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prewarm import lockfile
from prewarm.backends.base import Backend
from prewarm.catalog.records import Place, Record
from prewarm.errors import LockFileError
from prewarm.lockfile import LockFile
from prewarm.refs import ref_names
from prewarm.request import TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Needs, and what stands in the way of knowing them.

    Attributes:
        places: Why a key of a namespace is needed.
        refs: Why a ref is needed, by each of its names.
        unknown: Namespaces of which a lock file cannot be read: everything of theirs is needed, and why.
        gone: Lock files that do not exist any more.
        notes: What a person should know about it.
    """

    places: Mapping[tuple[str, Place], str] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def need(self, namespace: str, place: Place, ref: TemplateRef | None = None) -> str | None:
        """Say why a template is needed; ``None`` if nothing needs it."""
        names = () if ref is None else ref_names(ref)
        by_ref = next((self.refs[name] for name in names if name in self.refs), None)
        return self.unknown.get(namespace) or self.places.get((namespace, place)) or by_ref


def find_roots(known: Iterable[tuple[Path, str]], backends: Iterable[Backend], records: Iterable[Record]) -> Roots:
    """Find all that is needed.

    Args:
        known: Lock files that were written or used on this machine, with their namespaces.
        backends: Whose sessions to look at.
        records: What was captured here; says what stands on what.

    Raises:
        BackendUnavailableError: A backend does not answer.
    """
    places: dict[tuple[str, Place], str] = {}
    refs: dict[str, str] = {}
    unknown: dict[str, str] = {}
    gone: list[Path] = []
    for path, namespace in known:
        try:
            lock = _read(path)
        except LockFileError as error:
            unknown[namespace] = f"a lock file cannot be read: {error.message}"
            continue
        if lock is None:
            gone.append(path)
            continue
        for entry in lock.entries:
            if entry.key is not None and entry.ref is not None:
                why = f"'{entry.name}' of {path}"
                places[lock.namespace, Place(backend=entry.backend, key=entry.key)] = why
                refs |= dict.fromkeys(ref_names(entry.ref), why)
    for backend in backends:
        for session in backend.sessions():
            why = f"live session '{session.session_key}' of '{session.name}'"
            places[session.namespace, Place(backend=backend.name, key=session.key)] = why
            refs |= dict.fromkeys(ref_names(session.ref), why)
    _add_parents(places, refs, list(records))
    return Roots(
        places=places, refs=refs, unknown=unknown, gone=tuple(dict.fromkeys(gone)), notes=tuple(unknown.values())
    )


def _add_parents(places: dict[tuple[str, Place], str], refs: dict[str, str], records: list[Record]) -> None:
    """Need what the needed was captured on, and so on down."""
    by_ref: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for name in ref_names(record.ref):
            by_ref[name].append(record)
    by_place = {(record.namespace, record.place): record for record in records}
    open_ends = [by_place[place] for place in places if place in by_place]
    open_ends += [record for ref in refs for record in by_ref[ref]]
    while open_ends:
        record = open_ends.pop()
        for name in () if record.parent is None else ref_names(record.parent):
            if name not in refs:
                refs[name] = f"'{record.name}' stands on it"
                open_ends += by_ref[name]


def _read(path: Path) -> LockFile | None:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LockFileError(f"cannot read the lock file {path}: {error.strerror}") from error
    return lockfile.read(path)
