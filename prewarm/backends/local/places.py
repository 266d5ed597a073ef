"""Where something is mounted in a sandbox: found through its layers before it starts, links followed inside alone.

Bubblewrap makes the places it mounts on while it still sees this machine's root, and follows links as it goes. What lies in
a layer or was left by a session is hostile: an ``/etc`` that is a link to ``/oldroot`` would have it write on this
machine. So it is told places without links. Nothing runs over the directories meanwhile, so nobody can change them.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prewarm.errors import SessionFailedError

_MOST_LINKS: Final = 40
_OPAQUE: Final = "user.overlay.opaque"
_NOT_OURS: Final = ("/proc", "/dev")  # What is below them leads out of the sandbox; they have to be where they belong.


class Places:
    """The directory tree that layers make together.

    Args:
        directories: Lowest first, the sandbox's own upper directory last.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = [str(directory) for directory in reversed(directories)]

    def of(self, path: str) -> str:
        """Give the place that an absolute path leads to; none of its parts is a link, some may not be there yet.

        Raises:
            SessionFailedError: It leads to where nothing can be mounted.
        """
        waiting = path.split("/")[::-1]
        at, trees, links = "/", self._directories, 0
        while waiting:
            part = waiting.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                at = posixpath.dirname(at)
                trees = self._trees(at)
                continue
            below, link = _enter(trees, part)
            if link is None:
                at, trees = posixpath.join(at, part), below
                continue
            links += 1
            if links > _MOST_LINKS:
                raise SessionFailedError(f"{path} of the sandbox is a link that leads nowhere")
            waiting += link.split("/")[::-1]
            if link.startswith("/"):
                at, trees = "/", self._directories
        if at != path and (at == "/" or path in _NOT_OURS or at.startswith(_NOT_OURS)):
            raise SessionFailedError(
                f"{path} of the sandbox leads to {at}, where nothing can be mounted", hint="make it no link"
            )
        return at

    def _trees(self, path: str) -> list[str]:
        trees = self._directories
        for part in path.split("/"):
            if part:
                trees, _ = _enter(trees, part)
        return trees


def _enter(trees: Sequence[str], name: str) -> tuple[list[str], str | None]:
    """Give the directories of this name, the upmost first, down to what hides those below; or where a link leads."""
    found: list[str] = []
    for tree in trees:
        path = f"{tree}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode) and not found:
            return [], os.readlink(path)
        if not stat.S_ISDIR(mode):  # A deletion, or something that is no directory.
            break
        found.append(path)
        if _is_opaque(path):
            break
    return found, None


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise
        return False
