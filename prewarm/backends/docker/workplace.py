"""A build's own directory, and the identity by which anybody can tell whether that build is still under way.

The directory holds a lock that the kernel frees with its process. What the build makes in the engine carries the
identity; on this machine the lock is asked, of another machine's builds only their age is known.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prewarm.errors import CaptureFailedError

PREFIX: Final = "build-"
_LOCK: Final = "lock"
_DOOR: Final = "builds.lock"
_FOREIGN_AGE_S: Final = 2 * 3600.0
_PARTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """A build's place.

    Attributes:
        path: Its directory, with ``context/scripts`` in it.
        identity: Goes into tags and labels: machine, token, time.
    """

    path: Path
    identity: str

    @property
    def context(self) -> Path:
        return self.path / "context"


@contextlib.contextmanager
def workplace(home: Path) -> Iterator[Workplace]:
    """Give a fresh place; it is gone afterwards.

    Raises:
        CaptureFailedError: It cannot be made.
    """
    token = secrets.token_hex(8)
    path = home / "docker" / f"{PREFIX}{token}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _unseen(path.parent):
            path.mkdir(mode=0o700)
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise CaptureFailedError(f"cannot make a directory for the build: {error}") from error
    try:
        (path / "context" / "scripts").mkdir(parents=True)
        yield Workplace(path=path, identity=f"{machine_of(home)}-{token}-{int(time.time()):x}")
    finally:
        shutil.rmtree(path / "context", ignore_errors=True)
        with contextlib.suppress(OSError), _unseen(path.parent):  # Somebody may have deleted the state directory.
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def machine_of(home: Path) -> str:
    """Give the first part of the identities of all builds with this state directory."""
    return hashlib.sha256(f"{os.uname().nodename}\0{home}".encode()).hexdigest()[:8]


def under_way(home: Path, identity: str) -> bool:
    """Say whether the build of an identity may still be running."""
    parts = identity.split("-")
    if len(parts) != _PARTS:
        return False
    machine, token, began = parts
    if machine == machine_of(home):
        return _is_locked(home / "docker" / f"{PREFIX}{token}")
    try:
        return time.time() - int(began, 16) < _FOREIGN_AGE_S
    except ValueError:
        return False


def abandoned(home: Path) -> list[Path]:
    """Give the directories of builds that were killed."""
    try:
        with _unseen(home / "docker"):
            return sorted(path for path in (home / "docker").glob(f"{PREFIX}*") if not _is_locked(path))
    except OSError:  # Nothing was ever built here.
        return []


def clear(path: Path) -> None:
    """Take away the directory of a build that was killed, and end the builder that it left behind."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # It has ended meanwhile, or is none of ours.
            if os.fsencode(path / "context") in process.read_bytes().split(b"\0"):
                os.kill(int(process.parent.name), signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _unseen(builds: Path) -> Iterator[None]:
    """Have nobody look for abandoned builds while one is made and not locked yet, or half gone; and the other way round."""
    door = os.open(builds / _DOOR, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


def _is_locked(path: Path) -> bool:
    try:
        lock = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
