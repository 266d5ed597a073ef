"""What was captured on this machine: records with their key inputs and timings, and known lock files.

A record alone proves nothing: ``plan`` weighs it against what the backend says in this run. Losing all records costs
nothing but explanations, as templates are found by their keys. Called by ``pipeline`` and ``gc``; thread-safe.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from prewarm import document
from prewarm.catalog.records import Built, Place, Record
from prewarm.errors import HomeError
from prewarm.home import Home, unusable
from prewarm.key import KeyInputs, TemplateKey
from prewarm.refs import ref_from, ref_text

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS captures_1 (
    namespace TEXT, backend TEXT, key TEXT, name TEXT, ref TEXT, parent TEXT, inputs TEXT, seconds TEXT, size INTEGER,
    captured_at REAL, PRIMARY KEY (namespace, backend, key)
);
CREATE TABLE IF NOT EXISTS names_1 (
    id INTEGER PRIMARY KEY, namespace TEXT, name TEXT, platform TEXT, backend TEXT, key TEXT, built_at REAL
);
CREATE INDEX IF NOT EXISTS names_1_by_name ON names_1 (namespace, platform, name, id);
CREATE TABLE IF NOT EXISTS lock_files_1 (path TEXT PRIMARY KEY, namespace TEXT);
CREATE TABLE IF NOT EXISTS met_lock_files_1 (path TEXT PRIMARY KEY, namespace TEXT);
"""
_READ: Final = "SELECT namespace, backend, key, name, ref, parent, seconds, size, captured_at FROM captures_1"
_READ_KEYS: Final = _READ + " WHERE namespace = ? AND key IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants.
_LATEST: Final = (
    "SELECT name, backend, key, built_at FROM names_1 WHERE id IN"
    " (SELECT max(id) FROM names_1 WHERE namespace = ? AND platform = ? GROUP BY name)"
)
_HISTORY: Final = "SELECT name, backend, key, built_at FROM names_1 WHERE namespace = ? AND platform = ? AND name = ?"
_LOCK_FILES: Final = (
    "SELECT path, namespace FROM lock_files_1 UNION SELECT path, namespace FROM met_lock_files_1 ORDER BY path"
)
_KEPT: Final = 20
_PRIMARY_CODE: Final = 0xFF
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_T = TypeVar("_T")


class Catalog:
    """The records of one state directory; a context manager.

    Args:
        home: The state directory.
        clock: Gives seconds since the epoch.

    Raises:
        HomeError: The database cannot be read or written (from every method); nothing is half recorded.
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._clock = clock
        self._lock = threading.Lock()  # Guards the connection: statements of one transaction stay together.
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database. Twice is fine."""
        with self._lock:
            self._disconnect()

    def records(self, namespace: str, keys: Iterable[TemplateKey]) -> dict[Place, Record]:
        """Give what is recorded of these keys, at any backend, in one query."""
        wanted = json.dumps(sorted(set(keys)))
        return _by_place(self._do(lambda db: db.execute(_READ_KEYS, (namespace, wanted)).fetchall()))

    def all_records(self) -> tuple[Record, ...]:
        """Give every record."""
        rows = self._do(lambda db: db.execute(f"{_READ} ORDER BY namespace, captured_at").fetchall())
        return tuple(record for row in rows if (record := _record(row)) is not None)

    def latest(self, namespace: str, platform: str) -> dict[str, Built]:
        """Give for every sandbox what it was built to last."""
        rows = self._do(lambda db: db.execute(_LATEST, (namespace, platform)).fetchall())
        return {row[0]: _built(row) for row in rows}

    def history(self, namespace: str, platform: str, name: str) -> tuple[Built, ...]:
        """Give what one sandbox was built to, oldest first; a key that follows itself stands once."""
        rows = self._do(lambda db: db.execute(f"{_HISTORY} ORDER BY id", (namespace, platform, name)).fetchall())
        return tuple(_built(row) for row in rows)

    def inputs(self, namespace: str, place: Place) -> KeyInputs | None:
        """Give the key inputs of a recorded capture; ``None`` if there is none."""
        query = "SELECT inputs FROM captures_1 WHERE namespace = ? AND backend = ? AND key = ?"
        row = self._do(lambda db: db.execute(query, (namespace, place.backend, place.key)).fetchone())
        if row is None:
            return None
        try:
            return KeyInputs.from_json(document.parse(row[0]).object())
        except (ValueError, TypeError, KeyError):  # Written by another version: no explanation, and no harm.
            return None

    def add(self, record: Record, inputs: KeyInputs) -> None:
        """Record a capture, in place of one of the same key."""
        row = (
            record.namespace,
            record.place.backend,
            record.place.key,
            record.name,
            ref_text(record.ref),
            None if record.parent is None else ref_text(record.parent),
            json.dumps(inputs.to_json(), separators=(",", ":")),
            json.dumps(dict(record.seconds)),
            record.size,
            self._clock(),
        )
        marks = ", ".join("?" * len(row))
        self._do(lambda db: db.execute(f"INSERT OR REPLACE INTO captures_1 VALUES ({marks})", row))  # noqa: S608 - marks.

    def remember(self, namespace: str, platform: str, built: Mapping[str, Place]) -> None:
        """Note what sandboxes were built to, where that is not what they were built to before."""
        before = self.latest(namespace, platform)
        now = self._clock()
        rows = [
            (namespace, name, platform, place.backend, place.key, now)
            for name, place in built.items()
            if name not in before or before[name].place != place
        ]
        if rows:
            self._do(lambda db: _remember(db, rows))

    def forget(self, namespace: str, place: Place) -> None:
        """Drop the record of a template that is gone. One that is not there is fine."""
        query = "DELETE FROM captures_1 WHERE namespace = ? AND backend = ? AND key = ?"
        self._do(lambda db: db.execute(query, (namespace, place.backend, place.key)))

    def lock_files(self) -> tuple[tuple[Path, str], ...]:
        """Give the lock files known here, written by builds or met since, with their namespaces: the roots of ``gc``."""
        rows = self._do(lambda db: db.execute(_LOCK_FILES).fetchall())
        return tuple((Path(path), namespace) for path, namespace in rows)

    def built_namespaces(self) -> tuple[str, ...]:
        """Give the namespaces that were built here; of others, lock files may be known all the same."""
        query = "SELECT namespace FROM captures_1 UNION SELECT namespace FROM lock_files_1 ORDER BY namespace"
        return tuple(row[0] for row in self._do(lambda db: db.execute(query).fetchall()))

    def add_lock_file(self, path: Path, namespace: str) -> None:
        """Note a lock file that a build here writes; one that is known already costs no write."""
        row = (str(path), namespace)
        query = "SELECT 1 FROM lock_files_1 WHERE path = ? AND namespace = ?"
        if self._do(lambda db: db.execute(query, row).fetchone()) is None:
            self._do(lambda db: db.execute("INSERT OR REPLACE INTO lock_files_1 VALUES (?, ?)", row))

    def meet_lock_file(self, path: Path, namespace: str) -> None:
        """Note a lock file that came from elsewhere; one that is known already costs no write."""
        if (path, namespace) not in self.lock_files():
            row = (str(path), namespace)
            self._do(lambda db: db.execute("INSERT OR REPLACE INTO met_lock_files_1 VALUES (?, ?)", row))

    def forget_lock_file(self, path: Path) -> None:
        """Drop a lock file from the roots. One that is not there is fine."""
        self._do(lambda db: db.execute("DELETE FROM lock_files_1 WHERE path = ?", (str(path),)))
        self._do(lambda db: db.execute("DELETE FROM met_lock_files_1 WHERE path = ?", (str(path),)))

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run one transaction; over a damaged database, once more on a new one."""
        with self._lock:
            try:
                return self._transaction(work)
            except sqlite3.DatabaseError as error:
                self._disconnect()
                if (getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE) not in _DAMAGED:
                    raise unusable(self._home.path / "state.db", error) from error
            self._home.repair()
            try:
                return self._transaction(work)
            except sqlite3.DatabaseError as error:
                self._disconnect()
                raise unusable(self._home.path / "state.db", error) from error

    def _transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._connection is None:
            self._connection = self._home.connect()
            self._connection.executescript(_SCHEMA)
        return work(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def meet_lock_file(home: Home, path: Path, namespace: str) -> None:
    """Note that a lock file is in use here, though no build here wrote it: ``gc`` then keeps what it names.

    A state directory that cannot be written takes no note and is no error: ``gc`` cannot work from it either.
    """
    with contextlib.suppress(HomeError), Catalog(home) as catalog:
        catalog.meet_lock_file(path.absolute(), namespace)


def _remember(db: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for row in rows:
            db.execute(
                "INSERT INTO names_1 (namespace, name, platform, backend, key, built_at) VALUES (?, ?, ?, ?, ?, ?)", row
            )
            db.execute(
                "DELETE FROM names_1 WHERE (namespace, name, platform) = (:namespace, :name, :platform) AND id NOT IN ("
                "SELECT id FROM names_1 WHERE (namespace, name, platform) = (:namespace, :name, :platform)"
                " ORDER BY id DESC LIMIT :kept)",
                {"namespace": row[0], "name": row[1], "platform": row[2], "kept": _KEPT},
            )
        db.execute("COMMIT")
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.OperationalError):  # A full disk has rolled it back already.
            db.execute("ROLLBACK")
        raise


def _by_place(rows: Iterable[Sequence[object]]) -> dict[Place, Record]:
    records = (record for row in rows if (record := _record(row)) is not None)
    return {record.place: record for record in records}


def _record(row: Sequence[object]) -> Record | None:
    """Read a row; one that another version wrote is as good as none, for templates are found without."""
    namespace, backend, key, name, ref, parent, seconds, size, captured_at = row
    try:
        return Record(
            namespace=str(namespace),
            place=Place(backend=str(backend), key=TemplateKey(str(key))),
            name=str(name),
            ref=ref_from(document.parse(str(ref))),
            parent=None if parent is None else ref_from(document.parse(str(parent))),
            seconds={phase: float(str(taken)) for phase, taken in document.parse(str(seconds)).object().items()},
            size=int(str(size)),
            captured_at=float(str(captured_at)),
        )
    except ValueError:
        return None


def _built(row: Sequence[object]) -> Built:
    _, backend, key, built_at = row
    return Built(place=Place(backend=str(backend), key=TemplateKey(str(key))), built_at=float(str(built_at)))
