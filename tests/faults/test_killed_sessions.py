"""SIGKILL around sessions: their clients, their holders. Files survive, nothing leaks, sessions end by themselves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CLIENT = """
import sys, time, prewarm
session = prewarm.open_session("first", key=sys.argv[1], idle_timeout=float(sys.argv[2]))
session.run("echo kept > /workspace/kept")
process = session.spawn("sleep 300")
print("ready", flush=True)
time.sleep(300)
"""


def _client(machine, key, idle_timeout):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, key, str(idle_timeout)],
        cwd=machine.project,
        env=machine.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout.readline() == "ready\n"
    return client


def _sessions(machine):
    return json.loads(machine.run("sessions", "--json").stdout)["sessions"]


def test_files_survive_the_death_of_the_client(machine):
    machine.statuses()
    client = _client(machine, "orphan", 600)
    client.kill()
    client.communicate()
    assert machine.run("exec", "orphan", "--", "cat", "/workspace/kept").stdout == "kept\n"


def test_a_session_whose_client_was_killed_ends_by_itself(machine):
    machine.statuses()
    client = _client(machine, "short", 2)
    assert [s["session_key"] for s in _sessions(machine)] == ["short"]
    client.kill()
    client.communicate()
    assert _eventually(lambda: not _sessions(machine))
    assert _eventually(lambda: not any(_is_holder(pid, machine) for pid in _processes()))
    machine.collect_garbage()
    assert not list((machine.home / "local" / "sessions").iterdir())


def test_the_death_of_the_holder_costs_no_file(machine):
    machine.statuses()
    client = _client(machine, "held", 600)
    client.kill()
    client.communicate()
    holders = [pid for pid in _processes() if _is_holder(pid, machine)]
    assert holders
    for pid in holders:
        with contextlib.suppress(ProcessLookupError):  # The first to go may have been pid 1, and taken the rest along.
            os.kill(pid, signal.SIGKILL)
    assert _eventually(lambda: not any(_is_holder(pid, machine) for pid in _processes()))
    shown = machine.run("exec", "held", "--", "cat", "/workspace/kept")
    assert shown.stdout == "kept\n", shown.stderr


def _processes():
    return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}


def _is_holder(pid, machine):
    """Whether a process has the machine's session directory as an overlay's upper: its mounts name it."""
    try:
        mounts = Path(f"/proc/{pid}/mounts").read_text(errors="replace")
        own = os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    except OSError:
        return False
    return own and f"upperdir=/oldroot{machine.home}/local/sessions" in mounts


def _eventually(fact, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if fact():
            return True
        time.sleep(0.1)
    return fact()
