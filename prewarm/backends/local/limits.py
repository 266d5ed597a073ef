"""Limits of a session: by cgroup where this user may, by resource limits of each process otherwise.

Found out once (``find_hierarchy``), applied when a session starts and again at every attach. A cgroup counts all
processes of a session together; resource limits hold for each process (memory) or, in a user namespace of its own, for all
of a user's (pids). Processors are given by affinity where there is no cgroup for them, which a program can undo.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from prewarm.definition.options import Resources
from prewarm.errors import SessionFailedError, UnsupportedOptionError

_PREFIX: Final = "prewarm-"
_CONTROLLERS: Final = ("memory", "pids", "cpu")
_PERIOD_US: Final = 100_000
_GIVE_UP_S: Final = 5.0
_PAUSE_S: Final = 0.005
_SWAP: Final = frozenset(("memory.memsw.limit_in_bytes", "memory.swap.max"))
_RLIMIT_DATA: Final = 2
_RLIMIT_NPROC: Final = 6


class Hierarchy(NamedTuple):
    """Where cgroups can be made: a writable directory for each controller; with cgroup v2 it is the same for all."""

    version: int = 0
    parents: Mapping[str, Path] = MappingProxyType({})

    def describe(self) -> str:
        """Say what holds: ``memory, pids by cgroup v2; cpu by affinity``."""
        by_group = [name for name in _CONTROLLERS if name in self.parents]
        by_limit = [name for name in _CONTROLLERS if name not in self.parents]
        parts = [f"{', '.join(by_group)} by cgroup v{self.version}"] if by_group else []
        if by_limit:
            how = "resource limits of each process" if set(by_limit) - {"cpu"} else "affinity"
            parts.append(f"{', '.join(by_limit)} by {how}")
        return "; ".join(parts)


class Limits(NamedTuple):
    """How a session's commands are limited.

    Attributes:
        join: Cgroup files through which a command enters its cgroups.
        groups: The session's cgroups, by controller.
        process: Resource limits by number.
        cpus: Processors by affinity; empty: all.
    """

    join: tuple[str, ...] = ()
    groups: Mapping[str, Path] = MappingProxyType({})
    process: Mapping[int, int] = MappingProxyType({})
    cpus: tuple[int, ...] = ()


def find_hierarchy(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Hierarchy:
    """Find out where this user may make cgroups; changes nothing."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return Hierarchy()
    if (root / "cgroup.controllers").exists():
        path = next((path for number, _, path in lines if number == "0"), "/")
        return _find_v2(root, root / path.lstrip("/"))
    found = {}
    for _, controllers, path in lines:
        for name in set(controllers.split(",")) & set(_CONTROLLERS):
            place = root / name / path.lstrip("/")
            place = place if place.is_dir() else root / name
            if os.access(place, os.W_OK):
                found[name] = place
    return Hierarchy(version=1, parents=found)


def _find_v2(root: Path, own: Path) -> Hierarchy:
    """Take the nearest group at or above our own that is ours to write and hands its controllers down."""
    for place in (own, *own.parents):
        if not place.is_relative_to(root):
            break
        try:
            handed_down = set((place / "cgroup.subtree_control").read_text(encoding="ascii").split())
        except OSError:
            continue
        if (
            os.access(place, os.W_OK)
            and os.access(place / "cgroup.procs", os.W_OK)
            and {"memory", "pids"} <= handed_down
        ):
            return Hierarchy(version=2, parents={name: place for name in _CONTROLLERS if name in handed_down})
    return Hierarchy(version=2)


def refuse(resources: Resources) -> None:
    """Refuse what this backend cannot limit.

    Raises:
        UnsupportedOptionError: A disk limit is asked for.
    """
    if resources.disk is not None:
        raise UnsupportedOptionError(
            "backend 'local' cannot limit the disk space of a session",
            hint="leave 'disk' out, or put PREWARM_HOME on a filesystem of the size that is wanted",
        )


def apply(hierarchy: Hierarchy, session: str, resources: Resources, known: Mapping[str, Path]) -> Limits:
    """Make a session's cgroups, or set those it has to these limits; say how commands join them.

    Args:
        hierarchy: Where new ones are made.
        session: Its id.
        resources: The limits.
        known: The cgroups it has, by controller: made by this process or by one that lives in another place.

    Raises:
        SessionFailedError: A cgroup could not be made.
        UnsupportedOptionError: As ``refuse`` does.
    """
    refuse(resources)
    groups = plan(hierarchy, session, resources, known)
    try:
        for group in groups.values():
            group.mkdir(exist_ok=True)
        for name, group in groups.items():
            _set(group, _settings(2 if hierarchy.version == 2 else 1, name, resources))  # noqa: PLR2004 - of cgroups.
    except OSError as error:
        raise SessionFailedError(f"the limits of session {session} could not be set: {error}") from error
    process = {}
    if resources.memory is not None and "memory" not in groups:
        process[_RLIMIT_DATA] = resources.memory
    if resources.pids is not None and "pids" not in groups:
        process[_RLIMIT_NPROC] = resources.pids
    cpus = _some_cpus(session, resources.cpus) if resources.cpus is not None and "cpu" not in groups else ()
    entrance = "cgroup.procs" if hierarchy.version == 2 else "tasks"  # noqa: PLR2004 - of cgroups. The second waits less.
    join = tuple(f"{group}/{entrance}" for group in dict.fromkeys(groups.values()))
    return Limits(join=join, groups=groups, process=process, cpus=cpus)


def plan(hierarchy: Hierarchy, session: str, resources: Resources, known: Mapping[str, Path]) -> dict[str, Path]:
    """Give the cgroups that ``apply`` will make or use, so that they can be written down before they are there."""
    wanted = {"memory": resources.memory, "pids": resources.pids, "cpu": resources.cpus}
    groups = {name: group for name, group in known.items() if group.parent.is_dir()}
    for name, parent in hierarchy.parents.items():
        if name not in groups and wanted[name] is not None:
            groups[name] = parent / f"{_PREFIX}{session}"
    return groups


def _settings(version: int, name: str, resources: Resources) -> list[tuple[str, str]]:
    quota = -1 if resources.cpus is None else max(1000, int(resources.cpus * _PERIOD_US))
    memory = resources.memory
    match version, name:
        case 1, "memory":
            value = "-1" if memory is None else str(memory)
            return [("memory.limit_in_bytes", value), ("memory.memsw.limit_in_bytes", value)]
        case 1, "cpu":
            return [("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]
        case 2, "memory":
            return [("memory.max", "max" if memory is None else str(memory)), ("memory.swap.max", "0")]
        case 2, "cpu":
            return [("cpu.max", f"{'max' if quota < 0 else quota} {_PERIOD_US}")]
        case _:
            return [("pids.max", "max" if resources.pids is None else str(resources.pids))]


def _set(group: Path, settings: list[tuple[str, str]]) -> None:
    again = []
    for name, value in settings:
        try:
            (group / name).write_text(value, encoding="ascii")
        except FileNotFoundError:
            if name not in _SWAP:  # Kernels without swap accounting lack these.
                raise
        except OSError:
            again.append((name, value))
    for name, value in again:  # Memory may not be above memory with swap, at no moment: one waits for the other.
        (group / name).write_text(value, encoding="ascii")


def _some_cpus(session: str, cpus: float) -> tuple[int, ...]:
    available = sorted(os.sched_getaffinity(0))
    count = min(len(available), max(1, math.ceil(cpus)))
    first = zlib.crc32(session.encode()) % len(available)  # Sessions spread over the processors.
    return tuple(sorted((available + available)[first : first + count]))


def remove(groups: Iterable[Path]) -> None:
    """Take a session's cgroups away. Those that are gone are fine; processes just killed get a moment to leave.

    Raises:
        TimeoutError: One is still in use.
    """
    deadline = time.monotonic() + _GIVE_UP_S
    for group in set(groups):
        while True:
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"cgroup {group} is still in use") from error
                time.sleep(_PAUSE_S)
            else:
                break
