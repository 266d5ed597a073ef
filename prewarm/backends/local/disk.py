"""Files on disk: written whole or not at all, taken away whatever their modes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
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
    """Take a directory away, also one whose owner made parts of it unreadable; one that is gone is fine.

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
        except PermissionError:
            _open_up(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not left:  # Somebody put a file in; he finds out that all is gone.
                raise
            time.sleep(_PAUSE_S)
        else:
            return
    shutil.rmtree(path)


def _open_up(path: Path) -> None:
    waiting = [path]
    while waiting:
        directory = waiting.pop()
        directory.chmod(0o700)
        with os.scandir(directory) as entries:
            waiting.extend(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def tree_size(path: Path) -> int:
    """Give the bytes of all files below a directory, as far as they can be seen."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(directory, name))
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
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
