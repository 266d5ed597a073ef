"""The engine's archive interface: what a path of a container is, and a small file's text, without running anything in it.

The SDK has no call for the question alone (HEAD), only for the content with it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import posixpath
import stat
import tarfile
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from prewarm.backends.docker.engine import raw
from prewarm.backends.tree import ChunkReader

if TYPE_CHECKING:
    from docker.api.client import APIClient

# Go's os.FileMode, as the engine reports modes: type bits at the top, set-id and sticky bits below them.
_GO_DIRECTORY: Final = 1 << 31
_GO_SYMLINK: Final = 1 << 27
_GO_OTHER: Final = (1 << 26) | (1 << 25) | (1 << 24) | (1 << 21) | (1 << 19)
_GO_SPECIAL: Final = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_STAT_HEADER: Final = "X-Docker-Container-Path-Stat"
_LARGEST_TEXT: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFacts:
    """One path of a container; a link is not followed.

    Attributes:
        mode: Permission bits with set-id and sticky.
        link: Where a link leads, absolute, resolved inside the container; empty for a link that leads to itself, and for
            anything else.
    """

    name: str
    size: int
    mode: int
    modified: float
    link: str
    is_directory: bool
    is_link: bool
    is_other: bool


def path_facts(api: APIClient, container: str, path: str) -> PathFacts | None:
    """Ask what a path is; ``None`` if there is nothing.

    Raises:
        docker.errors.APIError: The engine refused, or the container is gone (404 is told apart by asking for it).
    """
    client = raw(api)
    response = client.head(
        client._url("/containers/{0}/archive", container),  # noqa: SLF001 - see the module's docstring.
        params={"path": os.fsencode(path)},
        timeout=client.timeout,
    )
    if response.status_code == _NOT_FOUND:
        return None
    if response.status_code == _SERVER_ERROR and path != "/":
        # How the engine puts "not a directory": below something that is none there is nothing.
        parent = path_facts(api, container, posixpath.dirname(path))
        if parent is None or not (parent.is_directory or parent.is_link):
            return None
        # And how it puts a link that leads to itself.
        name = posixpath.basename(path)
        return PathFacts(
            name=name, size=0, mode=0o777, modified=0.0, link="", is_directory=False, is_link=True, is_other=False
        )
    client._raise_for_status(response)  # noqa: SLF001 - the same.
    return parsed(response.headers[_STAT_HEADER])


def small_text(api: APIClient, container: str, path: str) -> str | None:
    """Read a small file, such as one of accounts; a link is followed. ``None`` if there is nothing, or anything else.

    Raises:
        docker.errors.APIError: As ``path_facts`` does.
    """
    found = path_facts(api, container, path)
    if found is not None and found.is_link and found.link:
        path = found.link
        found = path_facts(api, container, path)
    if found is None or found.is_directory or found.is_link or found.is_other or found.size > _LARGEST_TEXT:
        return None
    chunks, _ = raw(api).get_archive(container, os.fsencode(path))
    with (
        contextlib.closing(chunks),
        tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks)), mode="r|", errors="surrogateescape") as tar,
    ):
        # Whoever runs in the container may have put something else there meanwhile.
        content = next((tar.extractfile(member) for member in tar if member.isreg()), None)
        return content.read(_LARGEST_TEXT).decode("utf-8", "surrogateescape") if content else None


def parsed(header: str) -> PathFacts:
    """Read the engine's header."""
    value = json.loads(base64.b64decode(header))
    mode = int(value["mode"])
    special = sum(bit for go, bit in _GO_SPECIAL if mode & go)
    return PathFacts(
        name=value["name"],
        size=int(value["size"]),
        mode=(mode & 0o777) | special,
        modified=_seconds(value["mtime"]),
        link=value.get("linkTarget") or "",
        is_directory=bool(mode & _GO_DIRECTORY),
        is_link=bool(mode & _GO_SYMLINK),
        is_other=bool(mode & _GO_OTHER),
    )


def _seconds(text: str) -> float:
    """Turn RFC 3339 with up to nine digits of fraction into seconds since the epoch."""
    head, dot, tail = text.partition(".")
    if dot:
        digits = tail.rstrip("Z").split("+")[0].split("-")[0]
        zone = tail[len(digits) :]
        text = f"{head}.{digits[:6].ljust(6, '0')}{zone}"
    return datetime.fromisoformat(text).timestamp()
