"""Digests of files, remembered by their stat data in the state directory's database.

A digest is taken from the cache only where size, mtime, ctime, inode and device are what they were when the file was read.
A file touched so shortly before it was read that another change could carry the same time stamp is not remembered: it is
read again next time. Without a usable state directory there is no cache, and nothing else changes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar, cast

from prewarm.errors import HomeError, UnkeyableInputError
from prewarm.home import Home
from prewarm.inputs.hashing import Digested, hash_files

Made = TypeVar("Made")

# Kernels stamp with the time of their last tick, at most 10 ms ago; a stamp without nanoseconds is of a coarser clock
# (FAT counts in 2 s). Only ctime matters: nobody can set it, and every change sets it.
_FINE_NS: Final = 100_000_000
_COARSE_NS: Final = 2_500_000_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS file_digests (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
    inode INTEGER NOT NULL, device INTEGER NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID
"""
_LOAD: Final = "SELECT path, size, mtime, ctime, inode, device, sha256 FROM file_digests WHERE path >= ? AND path < ?"
_STORE: Final = "INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET: Final = "DELETE FROM file_digests WHERE path = ?"
_BUSY_MS: Final = 2000  # Reading files again is quicker than waiting for another writer.
_SIGNED: Final = 1 << 63


class Row(NamedTuple):
    """One remembered digest; the numbers as SQLite keeps them, in 64 bits with a sign."""

    path: bytes
    size: int
    mtime: int
    ctime: int
    inode: int
    device: int
    sha256: str


class FileDigests:
    """The disk as one run sees it: digests of files, and what was made of them. Thread-safe.

    Args:
        home: Where the cache is; ``None`` for none.
        threads: How many files are read at once.
        now: The clock that stamps files, in nanoseconds since the epoch.
    """

    def __init__(self, home: Home | None, threads: int | None = None, *, now: Callable[[], int] = time.time_ns) -> None:
        self._home = home
        self._threads = threads if threads is not None else min(8, os.cpu_count() or 1)
        self._now = now
        self._lock = threading.RLock()  # Guards everything below.
        self._connection: sqlite3.Connection | None = None
        self._loaded: list[bytes] = []
        self._new: dict[bytes, Row] = {}
        self._made: dict[Hashable, object] = {}
        self.known: dict[bytes, Row] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def sha256(self, path: Path) -> str:
        """Give the digest of one file's content, links followed.

        Raises:
            UnkeyableInputError: It cannot be read, or is no file.
        """
        name = os.fsencode(os.path.realpath(path))
        try:
            status = os.stat(name, follow_symlinks=False)
        except OSError as error:
            raise UnkeyableInputError(f"cannot read {path}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise UnkeyableInputError(f"cannot take the digest of {path}: it is not a file")
        with self._lock:
            self.load(os.path.dirname(name))
            found = self.remembered(name, status)
        return found or self.digest([(name, status)])[0].sha256

    def once(self, name: Hashable, make: Callable[[], Made]) -> Made:
        """Give what was made under this name in this run, making it the first time."""
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return cast("Made", self._made[name])  # What is kept under a name was made by the same ``make``.

    def load(self, directory: bytes) -> None:
        """Have everything remembered of a directory's tree at hand, by one query the first time."""
        with self._lock:
            if any(directory == done or directory.startswith(done.rstrip(b"/") + b"/") for done in self._loaded):
                return
            self._loaded.append(directory)
            stem = directory.rstrip(b"/")
            with self._degrading():
                connection = self._connect()
                if connection is not None:
                    rows = connection.execute(_LOAD, (stem + b"/", stem + b"0")).fetchall()
                    self.known.update({row[0]: row for row in rows})

    def remembered(self, path: bytes, status: os.stat_result) -> str | None:
        """Give the digest of a file that is as it was, ``None`` for any other."""
        row = self.known.get(path)
        same = row is not None and _stamp(status) == row[1:6]
        return row[6] if row is not None and same else None

    def digest(self, files: Sequence[tuple[bytes, os.stat_result]]) -> list[Digested]:
        """Read files and give their digests, in order; they are remembered if their time stamps can be trusted.

        Raises:
            UnkeyableInputError: One cannot be read, or changes faster than it can be read.
        """
        began = self._now()
        digested = hash_files(files, self._threads)
        rows = [Row(path, *_stamp(one.status), one.sha256) for (path, _), one in zip(files, digested, strict=True)]
        with self._lock:
            self._new.update({row.path: row for row in rows if not _is_racy(row, began)})
        return digested

    def close(self) -> None:
        """Write what is new in one transaction; a full disk costs the next run some time and nothing else."""
        with self._lock:
            new, self._new = self._new, {}
            connection = self._connect() if new else self._connection
            self._connection, self._home = None, None
            if connection is None:
                return
            with contextlib.closing(connection), self._degrading():
                if new:
                    gone = [(path,) for path in self._stale(new)]
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_FORGET, gone)
                    connection.executemany(_STORE, list(new.values()))
                    connection.execute("COMMIT")

    def _stale(self, new: dict[bytes, Row]) -> list[bytes]:
        """Find rows of files that are no more, a bounded number of them each time something is written anyway."""
        candidates = [path for path in self.known if path not in new]
        first = self._now() % max(1, len(candidates))  # Anywhere, so that in time all are looked at.
        return [path for path in candidates[first : first + len(new)] if not os.path.lexists(path)]

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and self._home is not None:
            try:
                self._connection = self._home.connect()
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                self._connection.execute(_SCHEMA)
            except (HomeError, sqlite3.Error):  # A cache that cannot be used is no cache; keys do not depend on it.
                self._forget_connection()
        return self._connection

    @contextlib.contextmanager
    def _degrading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error:  # The same: a full disk, a read-only home, a damaged page.
            self._forget_connection()

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._home = None, None


def _stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, _signed(status.st_ino), _signed(status.st_dev))


def _signed(number: int) -> int:
    """Fit an unsigned 64-bit number (overlayfs makes inodes that large) into SQLite's signed one."""
    return number - 2 * _SIGNED if number >= _SIGNED else number


def _is_racy(row: Row, read_at: int) -> bool:
    return row.ctime + (_FINE_NS if row.ctime % 1000 else _COARSE_NS) >= read_at
