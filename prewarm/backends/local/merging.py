"""Layers laid over each other into one directory, as overlayfs would show them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prewarm.backends.local.disk import remove_tree

_OPAQUE: Final = "user.overlay.opaque"


def merge(layers: Sequence[Path], target: Path) -> None:
    """Copy layers into an empty directory, lowest first: whiteouts and opaque directories take away what is below.

    Raises:
        OSError: Something cannot be read or written.
    """
    for layer in layers:
        _lay(layer, target)
    # Parents last, so that directories that may not be written could be filled before.
    for layer in layers:
        _restore_directories(layer, target)


def _lay(source: Path, target: Path) -> None:
    if _is_opaque(source):
        for old in list(target.iterdir()):
            _remove(old)
    with os.scandir(source) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            place = target / entry.name
            if is_whiteout(status):
                _remove(place)
            elif stat.S_ISDIR(status.st_mode):
                if not place.is_dir() or place.is_symlink():
                    _remove(place)
                    place.mkdir(mode=0o700)
                place.chmod(0o700)
                _lay(Path(entry.path), place)
            else:
                _remove(place)
                _copy(Path(entry.path), place, status)


def _copy(source: Path, place: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        place.symlink_to(os.readlink(source))
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, place)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(place)
    else:
        return  # Sockets are of no use without their process; devices are in no layer.
    _give(place, status)
    if not stat.S_ISLNK(status.st_mode):
        place.chmod(stat.S_IMODE(status.st_mode))
    os.utime(place, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _restore_directories(source: Path, target: Path) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if entry.is_dir(follow_symlinks=False) and place.is_dir() and not place.is_symlink():
                _restore_directories(Path(entry.path), place)
    status = os.lstat(source)
    _give(target, status)
    target.chmod(stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _give(place: Path, status: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
    else:
        place.unlink(missing_ok=True)


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether an entry stands for a deletion: a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(directory: Path) -> bool:
    try:
        return os.getxattr(directory, _OPAQUE) == b"y"
    except OSError:
        return False
