"""Captures by many processes at once: one a key, whoever dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import shared

from prewarm import lockfile
from prewarm.catalog.keylock import KEY_LOCK_PREFIX
from prewarm.lockfile import EntryStatus


def start(directory, sandboxes, seconds) -> subprocess.Popen[str]:
    program = [sys.executable, shared.__file__, str(directory), str(sandboxes), str(seconds)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(shared.__file__))


def ran(directory) -> list[str]:
    path = directory / "ran"
    return path.read_text().split() if path.exists() else []


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waits(builder, directory) -> bool:
    """Whether a builder has the lock file of a key open: it holds the lock, or waits for it."""
    locks = str(directory / "home" / "locks" / KEY_LOCK_PREFIX)
    for descriptor in Path(f"/proc/{builder.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor).startswith(locks):
                return True
    return False


def test_eight_processes_build_the_same_twenty_sandboxes_and_each_is_captured_once(tmp_path):
    builders = [start(tmp_path, 20, 0.02) for _ in range(8)]
    answers = [json.loads(builder.communicate(timeout=280)[0]) for builder in builders]
    assert {code for _, _, code in answers} == {0}
    assert Counter(ran(tmp_path)) == {f"n{number}": 1 for number in range(20)}
    fresh = Counter(name for statuses, _, _ in answers for name, status in statuses.items() if status == "fresh")
    assert fresh == {f"n{number}": 1 for number in range(20)}
    entries = lockfile.read(tmp_path / "project" / "prewarm.lock").entries
    assert [entry.status for entry in entries] == [EntryStatus.CAPTURED] * 20
    assert not list(tmp_path.glob("home/*.damaged*"))


def test_a_killed_builder_frees_its_keys_at_once_and_the_one_that_waited_captures(tmp_path):
    first = start(tmp_path, 1, 300)
    wait_until(lambda: ran(tmp_path) == ["n0"])
    second = start(tmp_path, 1, 0)
    wait_until(lambda: waits(second, tmp_path))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    statuses, _, code = json.loads(second.communicate(timeout=60)[0])
    assert (statuses, code, ran(tmp_path)) == ({"n0": "fresh"}, 0, ["n0", "n0"])


def test_a_builder_killed_between_publication_and_record_costs_no_second_capture(tmp_path):
    shop = shared.workshop(tmp_path, 1, 0)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import shared\n"
        "from prewarm.catalog import Catalog\n"
        "Catalog.add = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        "shared.workshop(Path(sys.argv[1]), 1, 0).build()\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=False,
        cwd=os.path.dirname(shared.__file__),
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    report = shop.build()
    assert [one.reason.value for one in report.templates] == ["found at the backend"]
    assert ran(tmp_path) == ["n0"]


def test_sigint_to_a_whole_process_ends_it_with_130_and_the_next_build_is_right(tmp_path):
    builder = start(tmp_path, 3, 300)
    wait_until(lambda: len(ran(tmp_path)) == 3)
    builder.send_signal(signal.SIGINT)
    statuses, reasons, code = json.loads(builder.communicate(timeout=60)[0])
    assert (set(statuses.values()), set(reasons.values()), code) == ({"skipped"}, {"interrupted"}, 130)
    report = shared.workshop(tmp_path, 3, 0).build()
    assert [one.status.value for one in report.templates] == ["fresh"] * 3
