"""Opening and making files below a root that belongs to somebody else: the moves that ``files`` and ``file_trees`` share.

Files of ``/proc`` are refused: a link may lead there, and whoever follows it may be root of this machine.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from typing import Final

from prewarm.backends.local.openat2 import openat2
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
_QUIET: Final = os.O_NONBLOCK | os.O_NOCTTY  # Neither waits for the other end of a fifo nor takes a terminal.


@contextlib.contextmanager
def translated(doing: str, path: str) -> Iterator[None]:
    """Turn what the kernel refuses into errors that name the path of the session."""
    try:
        yield
    except FileNotFoundError as error:
        raise SessionFileNotFoundError(f"{path} does not exist in the session") from error
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise PathEscapesError(f"cannot {doing} {path}: a link leads out of it") from error
        raise SessionFileError(f"cannot {doing} {path}: {(error.strerror or str(error)).lower()}") from error


def open_regular(root: int, path: bytes) -> int:
    """Open an existing file for reading; links are followed inside the root.

    Raises:
        SessionFileError: It is anything but a file.
        OSError: It cannot be opened.
    """
    place = openat2(root, path, os.O_PATH)
    try:
        _refuse_special(root, place, path)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | _QUIET)
    finally:
        os.close(place)


def open_for_writing(root: int, path: bytes) -> tuple[int, bool]:
    """Open a file for writing, making it if it is missing; say whether it was. Nothing is cut off yet.

    Raises:
        SessionFileError: It is anything but a file.
        OSError: It cannot be opened.
    """
    try:
        return openat2(root, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _QUIET, 0o600), True
    except FileExistsError:
        pass
    try:
        place = openat2(root, path, os.O_PATH)
    except FileNotFoundError:  # A link to what is not there yet.
        return openat2(root, path, os.O_WRONLY | os.O_CREAT | _QUIET, 0o600), True
    try:
        _refuse_special(root, place, path)
        return os.open(f"/proc/self/fd/{place}", os.O_WRONLY | os.O_CLOEXEC | _QUIET), False
    finally:
        os.close(place)


def make_directories(
    root: int, path: bytes, owner: tuple[int, int] | None, mode: int = 0o755, *, beneath: bool = False
) -> int:
    """Open a directory (``O_PATH``), making it and its parents where they are missing; the caller closes it.

    Args:
        root: Descriptor that paths start from.
        path: Of the directory.
        owner: Of those that are made; ``None`` where it cannot be given.
        mode: Of the last one; its parents get 0755.
        beneath: Whether leading out of ``root`` is an error.

    Raises:
        OSError: One of them cannot be made, or is there and no directory.
    """
    with contextlib.suppress(FileNotFoundError):
        return openat2(root, path, _DIRECTORY, beneath=beneath)
    head, name = os.path.split(path)
    parent = make_directories(root, head, owner, beneath=beneath)
    try:
        with contextlib.suppress(FileExistsError):  # Somebody else made it; or it is a link to nothing, found below.
            os.mkdir(name, 0o700, dir_fd=parent)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                own(made, owner)
                os.fchmod(made, mode)
            finally:
                os.close(made)
    finally:
        os.close(parent)
    return openat2(root, path, _DIRECTORY, beneath=beneath)


def own(descriptor: int, owner: tuple[int, int] | None) -> None:
    """Give a file just made to its owner, where that can be done."""
    if owner is not None:
        os.fchown(descriptor, *owner)


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _refuse_special(root: int, place: int, path: bytes) -> None:
    status = os.fstat(place)
    shown = os.fsdecode(path)
    if stat.S_ISDIR(status.st_mode):
        raise SessionFileError(f"cannot open {shown}: it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise SessionFileError(f"cannot open {shown}: it is not a file")
    if status.st_dev != os.fstat(root).st_dev and status.st_dev == _proc_device(root):
        raise SessionFileError(f"cannot open {shown}: it is a file of /proc", hint="read it with a command")


def _proc_device(root: int) -> int | None:
    try:
        place = openat2(root, b"proc", os.O_PATH)
    except OSError:
        return None
    try:
        return os.fstat(place).st_dev
    finally:
        os.close(place)
