"""What is needed: what lock files on this machine name, what live sessions stand on, and what those were captured on."""

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
from prewarm.refs import ref_text
from prewarm.request import TemplateRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Needs, and what stands in the way of knowing them.

    Attributes:
        places: Why a key of a namespace is needed.
        refs: Why a ref is needed.
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
        by_ref = None if ref is None else self.refs.get(ref_text(ref))
        return self.unknown.get(namespace) or self.places.get((namespace, place)) or by_ref


def find_roots(known: Iterable[tuple[Path, str]], backends: Iterable[Backend], records: Iterable[Record]) -> Roots:
    """Find all that is needed.

    Args:
        known: Lock files that were written on this machine, with their namespaces.
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
                refs[ref_text(entry.ref)] = why
    for backend in backends:
        for session in backend.sessions():
            why = f"live session '{session.session_key}' of '{session.name}'"
            places[session.namespace, Place(backend=backend.name, key=session.key)] = why
            refs[ref_text(session.ref)] = why
    _add_parents(places, refs, list(records))
    return Roots(places=places, refs=refs, unknown=unknown, gone=tuple(gone), notes=tuple(unknown.values()))


def _add_parents(places: dict[tuple[str, Place], str], refs: dict[str, str], records: list[Record]) -> None:
    """Need what the needed was captured on, and so on down."""
    by_ref: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_ref[ref_text(record.ref)].append(record)
    by_place = {(record.namespace, record.place): record for record in records}
    open_ends = [by_place[place] for place in places if place in by_place]
    open_ends += [record for ref in refs for record in by_ref[ref]]
    while open_ends:
        record = open_ends.pop()
        parent = None if record.parent is None else ref_text(record.parent)
        if parent is not None and parent not in refs:
            refs[parent] = f"'{record.name}' stands on it"
            open_ends += by_ref[parent]


def _read(path: Path) -> LockFile | None:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LockFileError(f"cannot read the lock file {path}: {error.strerror}") from error
    return lockfile.read(path)
