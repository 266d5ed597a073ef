"""What the local backend costs: opening, commands, probing, an idle session, two hundred sessions.

python tests/bench/bench_local.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import medians, show

from prewarm.backends.base import Backend, BackendContext, ProcessRequest
from prewarm.backends.local import LocalBackend
from prewarm.backends.local.bwrap import find_bwrap
from prewarm.backends.local.templates import Template, Templates
from prewarm.definition.model import HostBase
from prewarm.machine import host_platform
from prewarm.testing.builders import seed_file, shell
from prewarm.testing.workplace import Workplace

OPEN_LIMIT = 3.0
COMMAND_LIMIT = 2.0
PROBE_LIMIT_S = 0.080
IDLE_LIMIT_KB = 3 * 1024
TEMPLATES = 100
FILES = 100
SESSIONS = 200
THREADS = 8


def main() -> None:
    """Print every measurement beside what it stands on."""
    with tempfile.TemporaryDirectory(prefix="prewarm-bench-") as directory:
        home = Path(directory)
        backend = LocalBackend(BackendContext(home=home, environment=dict(os.environ)))
        base = backend.resolve_base(HostBase(), project=home, platform=host_platform(), sha256=str)
        place = Workplace(backend, base, "bench")
        try:
            opening_and_commands(place, backend)
            idle(place)
            many(place)
            probing(place)
        finally:
            place.close()


def opening_and_commands(place: Workplace, backend: LocalBackend) -> None:
    """Compare with bubblewrap alone, and with nsenter alone."""
    captured = place.capture(shell("true"))
    template = Templates(backend.store).by_ref(captured.ref)
    held = place.open(captured)
    pid = (backend.store.sessions / held.id / "holder").read_text().split()[0]
    bare = bare_bwrap(backend, template)
    options = ("--user", "--mount", "--pid", "--net", "--ipc", "--uts", "--preserve-credentials")
    entering = ["nsenter", "--target", pid, *options, "--", "true"]

    def first() -> None:
        session = backend.open(place.opening(captured))
        true(session)
        place.keep(session)

    bwrap, opened, nsenter, command = medians(
        lambda: subprocess.run(bare, check=True),
        first,
        lambda: subprocess.run(entering, check=True),
        lambda: true(held),
        rounds=41,
    )
    show("open + first command", opened, floor=bwrap, named="one bare bwrap", limit=OPEN_LIMIT)
    show("each further command", command, floor=nsenter, named="a bare nsenter", limit=COMMAND_LIMIT)


def true(session) -> None:
    """Run the smallest command."""
    process = session.start(ProcessRequest(argv=("true",), cwd="/workspace", env={}, user="sandbox"))
    process.wait()
    process.close()


def bare_bwrap(backend: LocalBackend, template: Template) -> list[str]:
    """Give one run of bubblewrap with the mounts that a session has."""
    scratch = backend.store.path / "bare"
    for name in ("upper", "work"):
        (scratch / name).mkdir(parents=True)
    told = [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-net",
        "--uid",
        "0",
        "--gid",
        "0",
    ]
    for digest in template.layers:
        told += ["--overlay-src", str(backend.store.tree(digest))]
    told += ["--overlay", str(scratch / "upper"), str(scratch / "work"), "/"]
    for source, target in template.binds:
        told += ["--ro-bind", source, target]
    told += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm", "--tmpfs", "/run"]
    return [find_bwrap() or "bwrap", *told, "true"]


def idle(place: Workplace) -> None:
    """Add up the memory that an idle session has for itself."""
    session = place.open(place.capture(shell("true")))
    directory = place.backend.store.sessions / session.id
    holder, watchdog = (int((directory / name).read_text().split()[0]) for name in ("holder", "watchdog"))
    group = os.getpgid(watchdog)
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    own = [holder, *(pid for pid in pids if group_of(pid) == group)]
    private = sum(
        int(kb)
        for pid in own
        for kb in re.findall(r"Private_\w+: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    )
    verdict = "ok" if private <= IDLE_LIMIT_KB else "OVER"
    print(
        f"{'an idle session, memory of its own':<52} {private:9d} kB   limit {IDLE_LIMIT_KB} kB   {verdict}", flush=True
    )


def group_of(pid: int) -> int | None:
    """Give a process's group, if it is still there."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def many(place: Workplace) -> None:
    """Open, use and remove many sessions at once."""
    captured = place.capture(shell("true"))
    backend: Backend = place.backend

    def one(number: int) -> None:
        session = backend.open(place.opening(captured, f"many-{number}"))
        true(session)
        session.remove()

    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(SESSIONS)))
    show(f"{SESSIONS} sessions from {THREADS} threads, each used and removed", time.perf_counter() - began)


def probing(place: Workplace) -> None:
    """Ask about many templates in one question."""
    captured = [
        place.capture(seeds=tuple(seed_file(f"/workspace/{number}/{file:03}", b"x" * 300) for file in range(FILES)))
        for number in range(TEMPLATES)
    ]
    wanted = [(one.key, one.ref) for one in captured]
    (probed,) = medians(lambda: place.backend.probe(wanted), rounds=9)
    show(f"probe of {TEMPLATES} templates with {TEMPLATES * FILES} files", probed, limit=PROBE_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
