"""Who this process may be inside a sandbox: everybody (real root), or the one user it is. Pure but for ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

_NEEDED: Final = (0, 6, 7, 21)  # CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
_MOST: Final = 65536


class Identity(NamedTuple):
    """What ids sandboxes of this process have.

    Attributes:
        uid: Of this process.
        gid: The same.
        many: Whether a sandbox has ids 0 to ``ids - 1``, each itself. Otherwise it has one, this process's, seen as 0
            from the sandbox's own namespace and as the command's user from the command's.
        ids: How many.
    """

    uid: int
    gid: int
    many: bool
    ids: int = 1


def identity_of_this_process() -> Identity:
    """Find out; root of a container that has been given few ids or capabilities counts as an ordinary user."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 or not _has_capabilities():
        return Identity(uid=uid, gid=gid, many=False)
    mapped = min(_mapped("uid_map"), _mapped("gid_map"))
    return Identity(uid=uid, gid=gid, many=mapped == _MOST, ids=mapped if mapped == _MOST else 1)


def _has_capabilities() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> number & 1 for number in _NEEDED)
    return False


def _mapped(name: str) -> int:
    """Count the ids from 0 on that exist in this process's user namespace, up to 65536."""
    covered = 0
    lines = Path("/proc/self", name).read_text(encoding="ascii").splitlines()
    for start, _, count in sorted(tuple(int(part) for part in line.split()) for line in lines):
        if start <= covered:
            covered = max(covered, start + count)
    return min(covered, _MOST)
