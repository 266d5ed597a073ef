"""The state directory ($PREWARM_HOME): where it is, how it is laid out, its database.

Everything in it may be deleted at any time; the next build captures again. Standard library only: the runtime uses it.

    state.db      SQLite (WAL): catalog, sessions, file digests; one connection a thread
    locks/        one file a lock; held with flock, so the kernel frees what a dead process held
    local/ …      a directory for each backend that keeps something on this machine
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from prewarm.errors import HomeError

CACHEDIR_TAG: Final = "CACHEDIR.TAG"
_TAG_TEXT: Final = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Kept by prewarm. Everything here can be deleted; the next build captures again.\n"
    "# https://bford.info/cachedir/\n"
)
_BUSY_TIMEOUT_S: Final = 30.0
_WAL_PAUSE_S: Final = 0.01
_WAIT_STEP_S: Final = 0.05
_NEXT_TO_NOTHING: Final = 64 * 1024
_MAKE_ROOM: Final = "free some space, or run 'prewarm gc --apply'"
_PRIMARY_CODE: Final = 0xFF  # Extended result codes carry the primary one in the low byte.


def default_home(environment: Mapping[str, str]) -> Path:
    """Give the state directory: ``$PREWARM_HOME``, else the user's data directory as the XDG rules (or macOS) say."""
    if chosen := environment.get("PREWARM_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "prewarm"
    data = environment.get("XDG_DATA_HOME") or ""
    root = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    return root / "prewarm"


class Home:
    """The state directory, made on first use.

    Args:
        path: Where it is; absolute.

    Raises:
        HomeError: It cannot be made or written (from ``ensure`` and everything that calls it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ensure(self) -> Path:
        """Make it if it is missing, mode 0700, tagged as a cache directory; give its path."""
        try:
            if not (self.path / CACHEDIR_TAG).exists():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self.path / "locks").mkdir(mode=0o700, exist_ok=True)
                (self.path / CACHEDIR_TAG).write_text(_TAG_TEXT, encoding="ascii")
        except OSError as error:
            raise unusable(self.path, error) from error
        return self.path

    def connect(self) -> sqlite3.Connection:
        """Open the database in autocommit mode; the caller closes it. A damaged one is set aside and begun anew."""
        path = self.ensure() / "state.db"
        try:
            return _open_database(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _looks_damaged(error):
                raise unusable(path, error) from error
        with self.lock("state-repair"):
            try:
                return _open_database(path)
            except sqlite3.DatabaseError:
                _set_aside(path)
            try:
                return _open_database(path)
            except sqlite3.DatabaseError as error:
                raise unusable(path, error) from error

    @contextlib.contextmanager
    def lock(self, name: str, *, timeout: float | None = None, exclusive: bool = True) -> Iterator[None]:
        """Hold a kernel lock; freed the moment this process dies.

        Args:
            name: Becomes a file name; made of letters, digits, dots and dashes by the caller.
            timeout: Seconds to wait; ``None`` for ever, ``0`` tries once.
            exclusive: Whether it is the only holder; otherwise other shared holders are fine.

        Raises:
            TimeoutError: Somebody else holds it; the message says who, where that is known.
        """
        directory = self.ensure() / "locks"
        descriptor = _lock_file(directory, name, timeout=timeout, exclusive=exclusive)
        try:
            if exclusive:
                with contextlib.suppress(OSError):  # Who holds it is a courtesy; a full disk must not fail the lock.
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def forget_lock(self, name: str) -> bool:
        """Remove a lock file that nobody holds; say whether it is gone. Whoever waits for it at this moment makes it anew."""
        try:
            with self.lock(name, timeout=0):
                (self.path / "locks" / name).unlink(missing_ok=True)
        except TimeoutError:
            return False
        return True

    def repair(self) -> None:
        """Set a damaged database aside, so that the next ``connect`` begins a new one; a sound one is left alone."""
        path = self.ensure() / "state.db"
        with self.lock("state-repair"):
            try:
                with contextlib.closing(_open_database(path)) as connection:
                    sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and not _looks_damaged(error):
                    raise unusable(path, error) from error
                sound = False
            if not sound:
                _set_aside(path)

    def lock_holder(self, name: str) -> str:
        """Say who holds a lock, as far as is known: ``process 4711``, or an empty string."""
        try:
            return (self.path / "locks" / name).read_text(encoding="ascii", errors="replace")[:80]
        except OSError:
            return ""


def _lock_file(directory: Path, name: str, *, timeout: float | None, exclusive: bool) -> int:
    """Open a lock file and lock it; again from the start where ``forget_lock`` removed it in between."""
    path = directory / name
    while True:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            _acquire(descriptor, name, timeout=timeout, exclusive=exclusive)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _acquire(descriptor: int, name: str, *, timeout: float | None, exclusive: bool) -> None:
    operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    if timeout is None:
        fcntl.flock(descriptor, operation)
        return
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 80, 0).decode("ascii", "replace") or "another process"
                raise TimeoutError(f"lock '{name}' is held by {holder}") from None
            time.sleep(_WAIT_STEP_S)
        else:
            return


def _set_aside(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{path}.damaged{suffix}")


def _open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; several may do so at once in a new directory, and SQLite lets none of them wait for another."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_WAL_PAUSE_S)
        else:
            return


def _says_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL


def _looks_damaged(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & _PRIMARY_CODE in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_full(path: Path) -> bool:
    """Say whether the disk of a directory is full: SQLite calls that an I/O error, and a shell says what it likes."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING or (disk.f_files > 0 and disk.f_favail == 0)


def unusable(path: Path, error: Exception) -> HomeError:
    """Say that the state directory, or a file in it, cannot be used: why, and what to do."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    hint = "set PREWARM_HOME to a directory that this user can write"
    if isinstance(error, FileExistsError):
        reason = "Not a directory"
    elif isinstance(error, sqlite3.Error) and is_full(path.parent):
        reason, hint = "no space left on its disk", _MAKE_ROOM
    elif (isinstance(error, OSError) and error.errno == errno.ENOSPC) or _says_full(error):
        hint = _MAKE_ROOM
    return HomeError(f"cannot use the state directory {path}: {reason}", hint=hint)
