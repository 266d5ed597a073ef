"""Read files and hash them, several at a time; notices a file that changes while it is read."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from prewarm.errors import UnkeyableInputError

_ATTEMPTS: Final = 5
_BLOCK: Final = 1 << 20
_SMALL: Final = 1 << 16
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_BUFFERS: Final = threading.local()


class Digested(NamedTuple):
    """A file's digest, and its stat data from before and after it was read, which were the same."""

    sha256: str
    status: os.stat_result


def hash_files(files: Sequence[tuple[bytes, os.stat_result]], threads: int) -> list[Digested]:
    """Hash files, in order.

    Small files are hashed here: Python's lock would make threads wait for each other longer than they read.

    Args:
        files: Paths with the stat data by which they were found.
        threads: How many large files are read at once.

    Raises:
        UnkeyableInputError: One cannot be read, is no file any more, or changes faster than it can be read.
    """
    large = [number for number, (_, status) in enumerate(files) if status.st_size > _SMALL]
    if threads < 2 or len(large) < 2:  # noqa: PLR2004 - one thread is this one.
        return [_hash(path, status) for path, status in files]
    with ThreadPoolExecutor(threads, thread_name_prefix="prewarm-digest") as pool:
        futures = {number: pool.submit(_hash, *files[number]) for number in large}
        return [
            futures[number].result() if number in futures else _hash(path, status)
            for number, (path, status) in enumerate(files)
        ]


def _hash(path: bytes, status: os.stat_result) -> Digested:
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(path, _FLAGS)
            try:
                sha256 = _read(descriptor, status.st_size)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnkeyableInputError(
                f"cannot read {shown(path)}: {error.strerror}",
                hint="make it readable, or list it under 'ignore' if the template does not need it",
            ) from error
        if not stat.S_ISREG(after.st_mode):
            raise UnkeyableInputError(f"cannot read {shown(path)}: it is not a file any more")
        if _unchanged(status, after):
            return Digested(sha256, after)
        status = after
    raise UnkeyableInputError(
        f"cannot read {shown(path)}: it keeps changing", hint="stop what is writing it, or list it under 'ignore'"
    )


def _read(descriptor: int, size: int) -> str:
    if size <= _SMALL:
        data = os.read(descriptor, size + 1)
        if len(data) == size:
            return hashlib.sha256(data).hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
    buffer: bytearray | None = getattr(_BUFFERS, "block", None)
    if buffer is None:
        buffer = _BUFFERS.block = bytearray(_BLOCK)
    view = memoryview(buffer)
    digest = hashlib.sha256()
    while count := os.readv(descriptor, [view]):
        digest.update(view[:count])
    return digest.hexdigest()


def _unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_ino == after.st_ino
        and before.st_dev == after.st_dev
    )


def shown(path: bytes) -> str:
    """Give a path as people read it, whatever its bytes are."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
