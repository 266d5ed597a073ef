"""Layers: directories named by their content, never changed once they are there.

A layer's digest covers paths, kinds, modes, owners, contents, link targets, whiteouts and opaque marks. Beside it lies a
*seal*: a hash over what ``lstat`` says of every entry, so that "nobody has touched it" is asked without reading a byte, and
a manifest, so that what was touched can be named. Overlayfs and this module agree on what a whiteout is: a character
device 0/0, and ``user.overlay.opaque`` on a directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

_CHUNK: Final = 1024 * 1024
_OPAQUE: Final = "user.overlay.opaque"
_SHORT: Final = 16
_by_name = attrgetter("name")


class Content(NamedTuple):
    """What a directory tree holds.

    Attributes:
        digest: sha256 over all of it, 64 hex digits.
        manifest: Path to the first digits of its own digest, in walking order.
        size: Bytes of all files.
    """

    digest: str
    manifest: dict[bytes, str]
    size: int


def read_content(tree: Path, *, single_owner: bool) -> Content:
    """Read a tree in full.

    Args:
        tree: The directory; its own mode and owner count too.
        single_owner: Whether all files have the one owner there is, which then does not count.

    Raises:
        OSError: Something cannot be read.
    """
    whole = hashlib.sha256()
    manifest: dict[bytes, str] = {}
    size = 0
    for path, full in _walk(os.fsencode(tree)):
        status = os.lstat(full)
        payload, length = _payload(full, status)
        owner = b"" if single_owner else b"%d:%d" % (status.st_uid, status.st_gid)
        mode = b"%o" % status.st_mode
        entry = hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in (path, mode, owner, payload))).digest()
        manifest[path] = entry.hex()[:_SHORT]
        whole.update(entry)
        size += length
    return Content(digest=whole.hexdigest(), manifest=manifest, size=size)


def _payload(path: bytes, status: os.stat_result) -> tuple[bytes, int]:
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFREG:
            digest = hashlib.sha256()
            length = 0
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    length += len(chunk)
            return digest.digest(), length
        case stat.S_IFLNK:
            return os.readlink(path), 0
        case stat.S_IFDIR:
            return (b"opaque" if _is_opaque(path) else b""), 0
        case stat.S_IFCHR | stat.S_IFBLK:
            return b"%d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev)), 0
        case _:
            return b"", 0


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _walk(root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give (path below the root, full path) of every entry, the root as ``.``, in an order that only names decide."""
    yield b".", root
    waiting = [(b"", root)]
    while waiting:
        prefix, directory = waiting.pop()
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=_by_name):
                path = prefix + entry.name
                yield path, entry.path
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((path + b"/", entry.path))


def read_seal(tree: Path) -> str:
    """Give a hash over what ``lstat`` says of every entry; another one means that something was touched.

    Raises:
        OSError: It cannot be walked.
    """
    seal = hashlib.sha256()
    waiting = [str(tree)]
    while waiting:
        directory = waiting.pop()
        lines = []
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=_by_name):
                status = entry.stat(follow_symlinks=False)
                lines.append(
                    f"{entry.name}/{status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
                )
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        seal.update("\n".join(lines).encode("utf-8", "surrogateescape"))
        seal.update(b"\0")
    status = os.lstat(tree)
    seal.update(b"%d %d" % (status.st_mode, status.st_mtime_ns))
    return seal.hexdigest()


def first_difference(recorded: dict[bytes, str], found: dict[bytes, str]) -> str:
    """Say where two manifests differ first: ``etc/hosts was changed``."""
    for path in sorted({*recorded, *found}):
        if recorded.get(path) != found.get(path):
            what = "is missing" if path not in found else "was added" if path not in recorded else "was changed"
            return f"{os.fsdecode(path)} {what}"
    return "its records differ"


def write_manifest(manifest: dict[bytes, str]) -> bytes:
    """Give a manifest as bytes: digits, a space, the path, a zero byte."""
    return b"".join(b"%s %s\0" % (digits.encode(), path) for path, digits in manifest.items())


def read_manifest(content: bytes) -> dict[bytes, str]:
    """Read what ``write_manifest`` gave; what is no line of it is left out."""
    found = {}
    for line in content.split(b"\0"):
        digits, space, path = line.partition(b" ")
        if space:
            found[path] = digits.decode("ascii", "replace")
    return found
