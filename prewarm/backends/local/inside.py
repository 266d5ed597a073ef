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

from prewarm.backends.local.openat2 import filesystem, openat2
from prewarm.errors import PathEscapesError, SessionFileError, SessionFileNotFoundError

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
_PROC: Final = 0x9FA0
_QUIET: Final = os.O_NONBLOCK | os.O_NOCTTY  # Neither waits for the other end of a fifo nor takes a terminal.


@contextlib.contextmanager
def translated(doing: str, path: str) -> Iterator[None]:
    """Turn what the kernel refuses into errors that name the path of the session."""
    try:
        yield
    except FileNotFoundError as error:
        raise SessionFileNotFoundError(f"{path} does not exist in the session") from error
    except RecursionError as error:
        raise SessionFileError(
            f"cannot {doing} {path}: it is nested too deeply", hint="do it with a command"
        ) from error
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
        _refuse_special(place, path)
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
        made = openat2(root, path, os.O_WRONLY | os.O_CREAT | _QUIET, 0o600)
        try:
            _refuse_special(made, path)  # Unless somebody has turned it meanwhile.
        except BaseException:
            os.close(made)
            raise
        return made, True
    try:
        _refuse_special(place, path)
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
    missing: list[bytes] = []
    at = path
    while (place := _directory(root, at, beneath=beneath)) is None:
        missing.append(at)
        at = os.path.dirname(at)
    for at in reversed(missing):
        try:
            _make(place, os.path.basename(at), owner, mode if at == path else 0o755)
        finally:
            os.close(place)
        place = openat2(root, at, _DIRECTORY, beneath=beneath)
    return place


def _directory(root: int, path: bytes, *, beneath: bool) -> int | None:
    try:
        return openat2(root, path, _DIRECTORY, beneath=beneath)
    except FileNotFoundError:
        if not path.strip(b"/"):  # The root itself has gone.
            raise
        return None


def _make(parent: int, name: bytes, owner: tuple[int, int] | None, mode: int) -> None:
    with contextlib.suppress(FileExistsError):  # Somebody else made it; or it is a link to nothing, found later.
        os.mkdir(name, 0o700, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            own(made, owner)
            os.fchmod(made, mode)
        finally:
            os.close(made)


def own(descriptor: int, owner: tuple[int, int] | None) -> None:
    """Give a file just made to its owner, where that can be done."""
    if owner is not None:
        os.fchown(descriptor, *owner)


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def _refuse_special(place: int, path: bytes) -> None:
    status = os.fstat(place)
    shown = os.fsdecode(path)
    if stat.S_ISDIR(status.st_mode):
        raise SessionFileError(f"cannot open {shown}: it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise SessionFileError(f"cannot open {shown}: it is not a file")
    if is_of_proc(place):
        raise SessionFileError(f"cannot open {shown}: it is a file of /proc", hint="read it with a command")


def is_of_proc(place: int) -> bool:
    """Say whether an open file is one of a ``/proc``, the sandbox's own or this machine's."""
    return filesystem(place) == _PROC
