"""Take the templates of a lock file somewhere else and back: registries, archives, the cache of a CI system.

A backend that cannot do it says so for its own templates, before anything moves. Called by the commands ``push``,
``pull``, ``export``, ``import`` and ``cache``.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from prewarm import lockfile
from prewarm.backends.base import Backend
from prewarm.backends.travel import Stored, Traveller, TravelsByArchive, TravelsByCache, TravelsByRegistry
from prewarm.errors import TemplateNotFoundError, UnsupportedOptionError
from prewarm.key import TemplateKey
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.machine import host_platform
from prewarm.pipeline.presence import Choose
from prewarm.refs import ref_text

TRANSPORT_SCHEMA: Final = "prewarm.transport/1"
_Ability = TypeVar("_Ability")


class Move(enum.Enum):
    """What became of one template."""

    MOVED = "moved"
    THERE = "already there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One template and what became of it."""

    name: str
    key: TemplateKey
    move: Move


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What became of all; in the lock file's order."""

    templates: tuple[Moved, ...]

    def to_json(self) -> dict[str, Any]:
        """Give it as one JSON object."""
        return {
            "schema": TRANSPORT_SCHEMA,
            "templates": [{"name": one.name, "key": one.key, "move": one.move.value} for one in self.templates],
        }

    def text(self) -> str:
        """Give a line for each."""
        return "\n".join(f"{one.move.value:<13}  {one.key.short}  {one.name}" for one in self.templates)


def push(lock: Path, registry: str, *, only: Sequence[str], choose: Choose, hear: Callable[[str], None]) -> Moves:
    """Put the templates of a lock file into a registry; what it has already does not move.

    Raises:
        LockFileError: It cannot be read.
        UnsupportedOptionError: A backend's templates do not go to registries.
        TemplateNotFoundError: One is not here.
        BackendUnavailableError: The registry refuses.
    """
    return _each(lock, only, choose, lambda backend, template: backend.push(template, registry, hear))


def pull(lock: Path, registry: str, *, only: Sequence[str], choose: Choose, hear: Callable[[str], None]) -> Moves:
    """Get the templates of a lock file from a registry; what is here already does not move.

    Raises:
        As ``push``; TemplateCorruptError: The registry has something else under a key.
    """
    return _each(lock, only, choose, lambda backend, template: backend.pull(template, registry, hear))


def export(lock: Path, target: Path, *, only: Sequence[str], choose: Choose) -> Moves:
    """Write the templates of a lock file to one archive.

    Raises:
        As ``push``; UnsupportedOptionError: They are of several backends.
    """
    read = lockfile.read(lock)
    entries = _entries(read, only)
    backend, travellers = _of_one_backend(entries, read.namespace, choose, _by_archive, "an archive")
    backend.export_templates(travellers, target)
    return _all(entries, {template.key for template in travellers})


def take_in(source: Path, *, backend: Backend) -> Sequence[TemplateKey]:
    """Take templates in from an archive, each checked against its key.

    Raises:
        TemplateCorruptError: It is no such archive, or is damaged.
    """
    return _able(backend, _by_archive, "an archive").import_templates(source)


def cache_save(lock: Path, directory: Path, *, choose: Choose) -> Stored:
    """Make a directory hold what the lock file needs and nothing else.

    Raises:
        As ``push``.
    """
    read = lockfile.read(lock)
    backend, travellers = _of_one_backend(_entries(read, ()), read.namespace, choose, _by_cache, "a cache")
    return backend.cache_save(travellers, directory)


def cache_restore(lock: Path, directory: Path, *, choose: Choose) -> Moves:
    """Take in what a directory has of a lock file's templates; what is here already does not move.

    Raises:
        As ``pull``.
    """
    read = lockfile.read(lock)
    entries = _entries(read, ())
    backend, travellers = _of_one_backend(entries, read.namespace, choose, _by_cache, "a cache")
    return _all(entries, set(backend.cache_restore(travellers, directory)))


def cache_key(lock: Path) -> str:
    """Give the name under which a CI system keeps the cache: the same for the same templates, on any machine.

    Raises:
        LockFileError: It cannot be read.
    """
    refs = sorted(ref_text(entry.ref) for entry in _entries(lockfile.read(lock), ()) if entry.ref is not None)
    return f"prewarm-{hashlib.sha256(chr(10).join(refs).encode()).hexdigest()[:32]}"


def _each(
    lock: Path, only: Sequence[str], choose: Choose, move: Callable[[TravelsByRegistry, Traveller], bool]
) -> Moves:
    read = lockfile.read(lock)
    entries = _entries(read, only)
    backends = {name: _able(choose(name)[0], _by_registry, "a registry") for name in {e.backend for e in entries}}
    moved = set()
    for entry in entries:
        template = _traveller(entry, read.namespace)
        if template.key not in moved and move(backends[entry.backend], template):
            moved.add(template.key)
    return _all(entries, moved)


def _entries(lock: LockFile, only: Sequence[str]) -> list[LockEntry]:
    here = [e for e in lock.entries if e.platform == host_platform() and e.status is EntryStatus.CAPTURED]
    if missing := set(only) - {entry.name for entry in here}:
        raise TemplateNotFoundError(f"the lock file has no template of '{min(missing)}' for {host_platform()}")
    return [entry for entry in here if not only or entry.name in only]


def _of_one_backend(
    entries: Sequence[LockEntry],
    namespace: str,
    choose: Choose,
    ability: Callable[[Backend], _Ability | None],
    way: str,
) -> tuple[_Ability, list[Traveller]]:
    names = sorted({entry.backend for entry in entries})
    if len(names) != 1:
        raise UnsupportedOptionError(
            f"one archive or cache is for the templates of one backend, not of {len(names)}: {', '.join(names)}",
            hint="name sandboxes of one backend",
        )
    travellers = {entry.key: _traveller(entry, namespace) for entry in entries}
    return _able(choose(names[0])[0], ability, way), list(travellers.values())


def _able(backend: Backend, ability: Callable[[Backend], _Ability | None], way: str) -> _Ability:
    able = ability(backend)
    if able is None:
        raise UnsupportedOptionError(
            f"templates of the {backend.name} backend do not travel by {way}", hint="build them where they are needed"
        )
    return able


def _by_registry(backend: Backend) -> TravelsByRegistry | None:
    return backend if isinstance(backend, TravelsByRegistry) else None


def _by_archive(backend: Backend) -> TravelsByArchive | None:
    return backend if isinstance(backend, TravelsByArchive) else None


def _by_cache(backend: Backend) -> TravelsByCache | None:
    return backend if isinstance(backend, TravelsByCache) else None


def _traveller(entry: LockEntry, namespace: str) -> Traveller:
    if entry.key is None or entry.ref is None:
        raise TemplateNotFoundError(f"the lock file has no template of '{entry.name}'")
    return Traveller(namespace=namespace, key=entry.key, ref=entry.ref)


def _all(entries: Sequence[LockEntry], moved: set[TemplateKey]) -> Moves:
    return Moves(
        templates=tuple(
            Moved(name=entry.name, key=entry.key, move=Move.MOVED if entry.key in moved else Move.THERE)
            for entry in entries
            if entry.key is not None
        )
    )
