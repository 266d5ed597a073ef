"""Small parts for tar streams that go through the engine: a sink, a checked copy."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, Final

from prewarm.backends.docker.accounts import Account
from prewarm.backends.tree import member_path
from prewarm.errors import PathEscapesError

_SAFE_BITS: Final = 0o777
_DIRECTORY_MODE: Final = 0o755


class Sink(io.RawIOBase):
    """Takes what is written, to be fetched in between."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override] # typeshed: ReadableBuffer.
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """Give what was written since the last time."""
        parts, self._parts = self._parts, []
        yield from parts


def copy_checked(source: tarfile.TarFile, target: IO[bytes], owner: Account, stands: Callable[[str], bool]) -> None:
    """Copy an archive member by member: owned by ``owner``, without set-id bits.

    Args:
        source: The archive.
        target: Where the copy goes.
        owner: Of all members, and of directories that the archive does not have and its members lie in.
        stands: Says whether a directory, relative to where the copy is unpacked, is there before; raises where it leads
            away from there.

    Raises:
        PathEscapesError: A member, or what it is linked to, leaves the root, directly or through a link before it.
        tarfile.TarError: It is no archive.
    """
    links: dict[str, str] = {}
    known = {""}
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as checked:
        for member in source:
            path = member_path(member)
            parent = _followed(posixpath.dirname(path), links, member.name)
            if member.issym():
                links[posixpath.join(parent, posixpath.basename(path))] = member.linkname
                _followed(posixpath.join(parent, member.linkname), links, member.name)
                if member.linkname.startswith("/"):
                    raise PathEscapesError(f"link '{member.name}' in the archive points out of it")
            for above in _unknown(posixpath.dirname(path), known):
                if not stands(above):
                    directory = tarfile.TarInfo(above)
                    directory.type, directory.mode = tarfile.DIRTYPE, _DIRECTORY_MODE
                    directory.uid, directory.gid = owner.uid, owner.gid
                    checked.addfile(directory)
            if not member.isreg():
                known.add(path)
            member.name = path
            member.pax_headers = {}  # They would bring the old name and owner back.
            member.uid, member.gid, member.uname, member.gname = owner.uid, owner.gid, "", ""
            member.mode &= _SAFE_BITS
            checked.addfile(member, source.extractfile(member) if member.isreg() else None)


def _unknown(path: str, known: set[str]) -> list[str]:
    """Give a path and those above it that are not known yet, topmost first; they are from now on."""
    found = []
    while path not in known:
        known.add(path)
        found.append(path)
        path = posixpath.dirname(path)
    return found[::-1]


def _followed(path: str, links: dict[str, str], name: str) -> str:
    """Resolve a relative path by the links that the archive itself has made so far."""
    done: list[str] = []
    waiting = [part for part in path.split("/") if part not in {"", "."}]
    steps = 0
    while waiting:
        steps += 1
        part = waiting.pop(0)
        if part == "..":
            if not done:
                raise PathEscapesError(f"archive member '{name}' leaves its root through a link")
            done.pop()
            continue
        here = "/".join((*done, part))
        if here in links and steps < 256:  # noqa: PLR2004 - a loop of links leads nowhere; the engine says so.
            if links[here].startswith("/"):
                raise PathEscapesError(f"archive member '{name}' leaves its root through a link")
            waiting = [one for one in links[here].split("/") if one not in {"", "."}] + waiting
            continue
        done.append(part)
    return "/".join(done)
