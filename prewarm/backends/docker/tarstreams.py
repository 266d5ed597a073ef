"""Small parts for tar streams that go through the engine: a sink, a checked copy."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Final

from prewarm.backends.docker.accounts import Account
from prewarm.backends.tree import member_path
from prewarm.errors import PathEscapesError

_SAFE_BITS: Final = 0o777


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


def copy_checked(source: tarfile.TarFile, target: IO[bytes], owner: Account) -> None:
    """Copy an archive member by member: owned by ``owner``, without set-id bits.

    Raises:
        PathEscapesError: A member, or what it is linked to, leaves the root, directly or through a link before it.
        tarfile.TarError: It is no archive.
    """
    links: dict[str, str] = {}
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as checked:
        for member in source:
            path = member_path(member)
            parent = _followed(posixpath.dirname(path), links, member.name)
            if member.issym():
                links[posixpath.join(parent, posixpath.basename(path))] = member.linkname
                _followed(posixpath.join(parent, member.linkname), links, member.name)
                if member.linkname.startswith("/"):
                    raise PathEscapesError(f"link '{member.name}' in the archive points out of it")
            member.name = path
            member.pax_headers = {}  # They would bring the old name and owner back.
            member.uid, member.gid, member.uname, member.gname = owner.uid, owner.gid, "", ""
            member.mode &= _SAFE_BITS
            checked.addfile(member, source.extractfile(member) if member.isreg() else None)


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
