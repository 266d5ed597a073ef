"""Take the templates of a lock file somewhere else and back: registries, archives, the cache of a CI system.

A backend that cannot do it says so for its own templates, before anything moves. Called by the commands ``push``,
``pull``, ``export``, ``import`` and ``cache``.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from prewarm import lockfile
from prewarm.backends.base import Backend, Presence
from prewarm.backends.travel import Stored, Traveller, TravelsByArchive, TravelsByCache, TravelsByRegistry
from prewarm.cancellation import Cancellation
from prewarm.capture import several
from prewarm.catalog import meet_lock_file
from prewarm.errors import (
    InterruptedBuildError,
    PrewarmError,
    TemplateNotFoundError,
    UnsupportedOptionError,
)
from prewarm.failure import Failure
from prewarm.home import Home
from prewarm.key import TemplateKey
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.machine import host_platform
from prewarm.moves import TRANSPORT_SCHEMA, Move, Moved, Moves
from prewarm.pipeline.presence import Choose, drop_lost
from prewarm.refs import ref_text

__all__ = [
    "TRANSPORT_SCHEMA",
    "Move",
    "Moved",
    "Moves",
    "cache_key",
    "cache_restore",
    "cache_save",
    "export",
    "pull",
    "push",
    "take_in",
]
_Ability = TypeVar("_Ability")


def push(
    lock: Path,
    registry: str,
    *,
    only: Sequence[str],
    choose: Choose,
    hear: Callable[[str], None],
    jobs: int = several.AT_A_TIME,
    cancellation: Cancellation | None = None,
) -> Moves:
    """Put the templates of a lock file into a registry; what it has already does not move.

    One that fails does not stop the others; all failures are in what is returned. Ctrl-C stops them, and is there too.

    Args:
        lock: Which templates.
        registry: Where to.
        only: Names of sandboxes; none means all.
        choose: Gives a backend by name.
        hear: Takes one line at a time on how it goes.
        jobs: How many at a time.
        cancellation: Stops it from another thread.

    Raises:
        LockFileError: It cannot be read.
        TemplateNotFoundError: It has no template of a name in ``only``.
        UnsupportedOptionError: A backend's templates do not go to registries.
        BackendUnavailableError: A backend does not work here.
    """
    stop = cancellation or Cancellation()

    def move(backend: TravelsByRegistry, template: Traveller, said: Callable[[str], None]) -> bool:
        return backend.push(template, registry, said)

    return _each(lockfile.read(lock), only, choose, move, hear=hear, jobs=jobs, cancellation=stop)


def pull(
    lock: Path,
    registry: str,
    *,
    only: Sequence[str],
    choose: Choose,
    home: Home,
    hear: Callable[[str], None],
    jobs: int = several.AT_A_TIME,
    cancellation: Cancellation | None = None,
) -> Moves:
    """Get the templates of a lock file from a registry; what is here already does not move. The rest is as ``push``.

    The state directory takes note of the lock file, so that ``gc`` leaves there what it names.
    """
    stop = cancellation or Cancellation()

    def move(backend: TravelsByRegistry, template: Traveller, said: Callable[[str], None]) -> bool:
        return backend.pull(template, registry, said)

    return _each(_met(lock, home), only, choose, move, hear=hear, jobs=jobs, cancellation=stop)


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


def take_in(source: Path, *, backend: Backend, home: Home, lock: Path | None) -> Sequence[TemplateKey]:
    """Take templates in from an archive, each checked against its key.

    Args:
        source: The archive.
        backend: Whose templates they are.
        home: Takes note of the lock file, so that ``gc`` leaves what it names.
        lock: The one that names them, where there is one.

    Raises:
        TemplateCorruptError: It is no such archive, or is damaged.
        LockFileError: The lock file cannot be read; nothing has been taken in.
    """
    able = _able(backend, _by_archive, "an archive")
    if lock is not None:
        _met(lock, home)
    drop_lost(taken := able.import_templates(source), backend, home)  # What took their places was asked for.
    return taken


def cache_save(lock: Path, directory: Path, *, choose: Choose) -> Stored:
    """Make a directory hold what the lock file needs and nothing else.

    Raises:
        As ``push``.
    """
    read = lockfile.read(lock)
    backend, travellers = _of_one_backend(_entries(read, ()), read.namespace, choose, _by_cache, "a cache")
    return backend.cache_save(travellers, directory)


def cache_restore(lock: Path, directory: Path, *, choose: Choose, home: Home) -> Moves:
    """Take in what a directory has of a lock file's templates; what is here already does not move. Noted as by ``pull``.

    What is neither there nor here is told and no failure: a cache may be empty, and the next build captures it.

    Raises:
        As ``pull``.
    """
    read = _met(lock, home)
    entries = _entries(read, ())
    backend, travellers = _of_one_backend(entries, read.namespace, choose, _by_cache, "a cache")
    taken = set(backend.cache_restore(travellers, directory))
    rest = [(one.key, one.ref) for one in travellers if one.key not in taken]
    probes = choose(entries[0].backend)[0].probe(rest) if rest else ()
    absent = [key for (key, _), one in zip(rest, probes, strict=True) if one.presence is not Presence.PRESENT]
    return _all(entries, taken, absent)


def cache_key(lock: Path) -> str:
    """Give the name under which a CI system keeps the cache: the same for the same templates, on any machine.

    Raises:
        LockFileError: It cannot be read.
    """
    refs = sorted(ref_text(entry.ref) for entry in _entries(lockfile.read(lock), ()) if entry.ref is not None)
    return f"prewarm-{hashlib.sha256(chr(10).join(refs).encode()).hexdigest()[:32]}"


def _met(lock: Path, home: Home) -> LockFile:
    """Read a lock file whose templates come here; they are needed here from now on."""
    read = lockfile.read(lock)
    meet_lock_file(home, lock, read.namespace)
    return read


def _each(
    lock: LockFile,
    only: Sequence[str],
    choose: Choose,
    move: Callable[[TravelsByRegistry, Traveller, Callable[[str], None]], bool],
    *,
    hear: Callable[[str], None],
    jobs: int,
    cancellation: Cancellation,
) -> Moves:
    began = time.monotonic()
    entries = _entries(lock, only)
    backends = {name: _able(choose(name)[0], _by_registry, "a registry") for name in {e.backend for e in entries}}
    firsts = {(entry.backend, _traveller(entry, lock.namespace).key): entry for entry in reversed(entries)}
    in_turn = threading.Lock()  # Guards ``hear``: lines of several do not tear.

    def moved(entry: LockEntry) -> bool:
        def said(line: str) -> None:
            cancellation.check()
            if line:
                with in_turn:
                    hear(f"{entry.name}: {line}")

        return move(backends[entry.backend], _traveller(entry, lock.namespace), said)

    work = list(reversed(firsts.values()))
    done = several.each(work, moved, jobs=jobs, cancellation=cancellation)
    ends = {(entry.backend, entry.key): one for entry, one in zip(work, done, strict=True)}
    return Moves(
        templates=tuple(_moved(entry, entry.key, ends[entry.backend, entry.key]) for entry in entries if entry.key),
        seconds=time.monotonic() - began,
        interrupted=cancellation.cancelled,
    )


def _moved(entry: LockEntry, key: TemplateKey, done: several.Done[bool]) -> Moved:
    error = done.error
    if error is None:
        return Moved(name=entry.name, key=key, move=Move.MOVED if done.value else Move.THERE, seconds=done.seconds)
    if isinstance(error, InterruptedBuildError):
        return Moved(name=entry.name, key=key, move=Move.SKIPPED, seconds=done.seconds)
    if not isinstance(error, PrewarmError):
        raise error
    failure = Failure.of(error, name=entry.name, redact=str)
    return Moved(name=entry.name, key=key, move=Move.FAILED, seconds=done.seconds, error=failure)


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
    if not names:
        raise TemplateNotFoundError(f"the lock file has no template for {host_platform()}")
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


def _all(entries: Sequence[LockEntry], moved: set[TemplateKey], absent: Sequence[TemplateKey] = ()) -> Moves:
    became = dict.fromkeys(absent, Move.ABSENT) | dict.fromkeys(moved, Move.MOVED)
    return Moves(
        templates=tuple(
            Moved(name=entry.name, key=entry.key, move=became.get(entry.key, Move.THERE))
            for entry in entries
            if entry.key is not None
        )
    )
