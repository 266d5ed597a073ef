"""Files on disk: written whole or not at all, taken away whatever their modes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from pathlib import Path
from typing import Final

from prewarm.backends.local.processes import is_alive, own_start_time

_TRIES: Final = 20
_PAUSE_S: Final = 0.01


def maker() -> str:
    """Give the end of a name of something that is only there for a moment: it says which process makes it."""
    return f"{os.getpid()}-{own_start_time(os.getpid())}-{os.urandom(6).hex()}"


def is_orphan(path: Path) -> bool:
    """Say whether the process that made something for a moment (``maker``) is dead, and so will never take it away."""
    pid, _, rest = path.name.rpartition(".")[2].partition("-")
    started = rest.partition("-")[0]
    return not (pid.isdigit() and started.isdigit() and is_alive(int(pid), int(started)))


def write_file(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file beside its place, then put it there: it is whole or not there; ``durable`` holds after a power cut too."""
    beside = path.with_name(f".{path.name}.{maker()}")
    try:
        if durable:
            write_through(beside, content)
        else:
            beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Take a directory away, also one made unreadable, or deeper than can be walked; one that is gone is fine.

    Raises:
        OSError: It cannot be taken away.
    """
    import shutil  # Opening a session does without.

    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:  # Of the directory itself, or of a file that somebody else took away meanwhile.
            if not path.exists():
                return
        except (PermissionError, RecursionError):
            _flatten(path)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENAMETOOLONG}:
                _flatten(path)
            elif error.errno != errno.ENOTEMPTY or not left:  # Somebody put a file in; he finds out that all is gone.
                raise
            else:
                time.sleep(_PAUSE_S)
        else:
            return
    shutil.rmtree(path)


def _flatten(path: Path) -> None:
    """Open every directory up and move it to the top, so that none is too closed or too deep to be taken away."""
    path.chmod(0o700)
    waiting = _directories(str(path))
    while waiting:
        directory = waiting.pop()
        os.chmod(directory, 0o700)
        for place in _directories(directory):
            os.chmod(place, 0o700)  # A directory moves only where it may be written itself.
            beside = f"{path}/.{os.urandom(8).hex()}"
            os.rename(place, beside)
            waiting.append(beside)


def _directories(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def tree_size(path: Path) -> int:
    """Give the bytes of all files below a directory, as far as they can be seen."""
    total = 0
    waiting = [str(path)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def entries(directory: Path) -> list[Path]:
    """Give what is in a directory, without names that begin with a dot; nothing where it is not there."""
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []


def write_through(path: Path, content: bytes) -> None:
    """Write a file down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def add_line(path: Path, line: str) -> None:
    """Add a line to a file."""
    with path.open("a", encoding="ascii") as file:
        file.write(line + "\n")


def sync_filesystem(directory: Path) -> None:
    """Have everything on this filesystem written: one call instead of one for each file."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Have a directory's names written."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
