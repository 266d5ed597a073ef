"""Lock files for tests of applications: what a build would have written, without the build."""

from __future__ import annotations

from pathlib import Path

from prewarm import lockfile
from prewarm.definition.model import SessionOptions
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.testing.workplace import Captured


def lock_entry(captured: Captured, *, session: SessionOptions | None = None) -> LockEntry:
    """Give the lock file's entry of a captured template."""
    request = captured.request
    return LockEntry(
        name=request.name,
        platform=request.platform,
        status=EntryStatus.CAPTURED,
        key=request.key,
        backend=captured.ref.backend,
        ref=captured.ref,
        user=request.user,
        workdir=request.workdir,
        env=request.env,
        session=session or SessionOptions(),
    )


def write_lock(directory: Path, *entries: LockEntry, namespace: str = "contract") -> Path:
    """Write a lock file of these entries into a directory; give its path."""
    path = directory / lockfile.LOCK_NAME
    lockfile.write(path, LockFile(namespace=namespace, entries=entries))
    return path
