"""Several builders at once, clocks that jump, disks that are full, directories that cannot be written, broken databases."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

PRIVILEGED = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
TEN_YEARS_S = 10 * 365 * 86400


def _twenty(machine):
    sandboxes = "\n".join(
        f"""  t{n:02}:
    base: host
    backend: local
    bootstrap:
      - run: sleep 0.1; echo {n} > /workspace/number; cat /proc/sys/kernel/random/uuid > /workspace/capture
"""
        for n in range(20)
    )
    machine.file.write_text(f"version: 1\nnamespace: many\nsandboxes:\n{sandboxes}")


def test_eight_processes_build_the_same_twenty_definitions_once(machine):
    _twenty(machine)
    builders = [machine.start("build", "--backend", "local", "--json") for _ in range(8)]
    reports = []
    for builder in builders:
        out, _ = builder.communicate(timeout=300)
        assert builder.returncode == 0, out
        reports.append(json.loads(out[out.index("{\n") if "{\n" in out else out.index("{") :]))
    fresh = [t["name"] for report in reports for t in report["templates"] if t["status"] == "fresh"]
    assert sorted(fresh) == [f"t{n:02}" for n in range(20)]
    assert all(t["status"] in {"fresh", "reused"} for report in reports for t in report["templates"])
    assert set(machine.statuses().values()) == {"reused"}
    for name in ("t00", "t07", "t19"):
        shown = machine.run("open", name, "--", "cat", "/workspace/number")
        assert int(shown.stdout) == int(name[1:])
    machine.collect_garbage()


@PRIVILEGED
def test_a_full_disk_fails_with_the_way_out_and_heals(machine):
    machine.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", machine.home], check=True)
    try:
        text = machine.file.read_text()
        machine.file.write_text(text.replace("echo half", "head -c 64M /dev/zero > /workspace/large && echo half"))
        failed = machine.run("build", "--backend", "local")
        assert failed.returncode == 5, failed.stderr
        assert "No space left" in failed.stderr
        assert f"hint: free some space: the disk of {machine.home} is full\n" in failed.stderr
        _fill(machine.home / "fill")
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            (machine.home / name).unlink(missing_ok=True)
        full = machine.run("plan", "--backend", "local")
        assert full.returncode == 9
        assert "no space left on its disk\nhint: free some space, or run 'prewarm gc --apply'\n" in full.stderr
        (machine.home / "fill").unlink()
        machine.file.write_text(text)
        machine.assert_right()
        machine.collect_garbage()
    finally:
        subprocess.run(["umount", "--lazy", machine.home], check=True)


def _fill(path):
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"\0" * 65536):
            pass


@PRIVILEGED
def test_a_home_that_fills_up_at_the_very_end_leaves_no_wrong_template(machine):
    machine.home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", machine.home], check=True)
    try:
        machine.run("build", "--backend", "local")
        ballast = machine.home / "ballast"
        _fill(ballast)
        text = machine.file.read_text()
        machine.file.write_text(text.replace("base: host", 'base: host\n    revalidate: "full"'))
        failed = machine.run("build", "--backend", "local")
        assert failed.returncode in {5, 9}, (failed.returncode, failed.stderr)
        assert "Traceback" not in failed.stderr
        ballast.unlink()
        machine.assert_right()
        machine.collect_garbage()
    finally:
        subprocess.run(["umount", "--lazy", machine.home], check=True)


@PRIVILEGED
def test_a_read_only_home_says_so_and_what_to_do(machine):
    machine.statuses()
    subprocess.run(["mount", "--bind", machine.home, machine.home], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", machine.home], check=True)
    try:
        machine.file.write_text(machine.file.read_text().replace("base: host", 'base: host\n    revalidate: "ro"'))
        failed = machine.run("build", "--backend", "local")
        assert failed.returncode == 9, failed.stderr
        assert str(machine.home) in failed.stderr
        assert "hint: " in failed.stderr
        assert "Traceback" not in failed.stderr
    finally:
        subprocess.run(["umount", machine.home], check=True)
    machine.assert_right()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "gone"])
def test_a_corrupted_database_costs_no_template(machine, damage):
    machine.statuses()
    database = machine.home / "state.db"
    for suffix in ("-wal", "-shm"):
        (machine.home / f"state.db{suffix}").unlink(missing_ok=True)
    match damage:
        case "garbage":
            database.write_bytes(os.urandom(40960))
        case "truncated":
            database.write_bytes(database.read_bytes()[:5000])
        case "gone":
            database.unlink()
    assert set(machine.statuses().values()) == {"reused"}
    machine.assert_right()
    machine.run("gc", "--apply")
    assert not list(machine.home.glob("*.damaged*"))


@pytest.mark.parametrize("jump", [TEN_YEARS_S, -TEN_YEARS_S])
def test_a_clock_that_jumps_captures_nothing_again_and_loses_no_session(machine, tmp_path, jump):
    machine.statuses()
    opened = machine.run("open", "first", "--key", "kept", "--keep", "--", "sh", "-c", "echo mine > /workspace/mine")
    assert opened.returncode == 0, opened.stderr
    (tmp_path / "jumped").mkdir()
    (tmp_path / "jumped" / "sitecustomize.py").write_text(
        f"import time\nreal, real_ns = time.time, time.time_ns\n"
        f"time.time = lambda: real() + {jump}\ntime.time_ns = lambda: real_ns() + {jump} * 10**9\n"
    )
    machine.environment["PYTHONPATH"] = str(tmp_path / "jumped")
    assert set(machine.statuses().values()) == {"reused"}
    shown = machine.run("exec", "kept", "--", "cat", "/workspace/mine")
    assert shown.stdout == "mine\n", shown.stderr
    machine.collect_garbage()
    assert machine.run("exec", "kept", "--", "cat", "/workspace/mine").stdout == "mine\n"


def test_a_flipped_byte_is_noticed_and_captured_again(machine):
    machine.statuses()
    victim = next(machine.home.glob("local/layers/**/tree-b"))
    before = victim.stat()
    victim.write_bytes(b"X\n")
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert machine.run("check").returncode == 8
    assert machine.statuses() == {"first": "reused", "second": "fresh", "third": "reused"}
    machine.assert_right()


def test_a_removed_layer_is_noticed_and_captured_again(machine):
    machine.statuses()
    victim = next(machine.home.glob("local/layers/**/tree-b"))
    layer = machine.home / "local" / "layers" / victim.relative_to(machine.home / "local" / "layers").parts[0]
    shutil.rmtree(layer)
    assert machine.run("check").returncode in {7, 8}
    assert machine.statuses() == {"first": "reused", "second": "fresh", "third": "reused"}
    machine.assert_right()
