"""Layers and templates on disk: what is noticed, what is kept, what goes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from local import backend_at, eventually, host

from prewarm.backends.capturing import Presence
from prewarm.backends.local import host_base, layers
from prewarm.backends.local.disk import entries, maker, remove_tree
from prewarm.errors import CaptureFailedError, TemplateCorruptError, TemplateInUseError, TemplateNotFoundError
from prewarm.testing.builders import seed_directory, seed_file, shell
from prewarm.testing.workplace import Workplace


@pytest.fixture
def place(tmp_path, absent):
    backend = backend_at(tmp_path / "home")
    health = backend.check()
    if not health.ok:
        absent("local", health.reason)
    place = Workplace(backend, host(backend, tmp_path), "unit")
    yield place
    place.close()


def presence(place, captured):
    return place.backend.probe([(captured.key, captured.ref)])[0]


def top(place, captured):
    return place.backend.store.tree(captured.ref.value["layers"][-1])


def flip(path):
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def tree(tmp_path, name="tree"):
    root = tmp_path / name
    (root / "sub").mkdir(parents=True)
    (root / "sub/file").write_bytes(b"content")
    (root / "link").symlink_to("sub/file")
    (root / "empty").mkdir()
    return root


def digest(root):
    return layers.read_content(root, single_owner=False).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "sub/file").write_bytes(b"Content"),
        lambda root: (root / "sub/file").chmod(0o755),
        lambda root: (root / "sub/file").rename(root / "sub/other"),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("sub")),
        lambda root: (root / "empty").rmdir(),
        lambda root: (root / "empty").chmod(0o700),
        lambda root: (root / "new").touch(),
    ],
)
def test_any_change_of_a_tree_changes_its_digest_and_its_seal(tmp_path, change):
    root = tree(tmp_path)
    before = digest(root), layers.read_seal(root)
    time.sleep(0.02)
    change(root)
    assert before[0] != digest(root)
    assert before[1] != layers.read_seal(root)


def test_a_copy_has_the_same_digest_and_another_seal(tmp_path):
    root = tree(tmp_path)
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    assert digest(root) == digest(tmp_path / "copy")
    assert layers.read_seal(root) != layers.read_seal(tmp_path / "copy")


def test_a_flipped_byte_is_noticed_and_named_although_size_and_time_are_the_same(place):
    captured = place.capture(shell("mkdir /srv/deep; echo abc > /srv/deep/file"))
    flip(top(place, captured) / "srv/deep/file")

    found = presence(place, captured)

    assert found.presence is Presence.CORRUPT
    assert "srv/deep/file was changed" in found.detail


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / "srv/file").unlink(), "srv/file is missing"),
        (lambda root: (root / "srv/more").touch(), "srv/more was added"),
        (lambda root: (root / "srv/file").chmod(0o600), "srv/file was changed"),
        (remove_tree, "is gone"),
        (lambda root: remove_tree(root.parent), "is gone"),
    ],
)
def test_damage_is_noticed_and_said(place, damage, said):
    captured = place.capture(shell("echo abc > /srv/file"))
    damage(top(place, captured))
    found = presence(place, captured)
    assert found.presence is Presence.CORRUPT
    assert said in found.detail


def test_a_template_whose_layer_is_gone_cannot_be_opened(place):
    captured = place.capture(shell("true"))
    remove_tree(top(place, captured).parent)
    with pytest.raises(TemplateCorruptError) as caught:
        place.open(captured)
    assert "build" in caught.value.hint


def test_a_template_that_is_not_there_is_never_the_bare_base(place):
    captured = place.capture(shell("true"))
    place.backend.remove(captured.ref)
    with pytest.raises(TemplateNotFoundError):
        place.open(captured)
    assert not list(place.backend.store.sessions.iterdir())


def test_a_layer_that_was_only_touched_is_sound_and_looked_at_quickly_again(place, monkeypatch):
    captured = place.capture(shell("echo abc > /srv/file"))
    os.utime(top(place, captured) / "srv/file")
    assert presence(place, captured).presence is Presence.PRESENT
    monkeypatch.setattr("prewarm.backends.local.store.read_content", lambda *_, **__: pytest.fail("was read in full"))
    assert presence(place, captured).presence is Presence.PRESENT


def test_a_copied_home_holds_the_same_templates(place, tmp_path):
    captured = place.capture(shell("echo abc > /srv/file"))
    subprocess.run(["cp", "-a", tmp_path / "home", tmp_path / "copy"], check=True)
    other = backend_at(tmp_path / "copy")
    assert other.probe([(captured.key, captured.ref)])[0].presence is Presence.PRESENT


def test_deep_verification_reads_what_no_seal_would_tell(place, monkeypatch):
    captured = place.capture(shell("echo abc > /srv/file"))
    flip(top(place, captured) / "srv/file")
    monkeypatch.setattr("prewarm.backends.local.store.read_seal", lambda _: "the same")
    for path in entries(place.backend.store.layers):
        (path / "layer.json").write_text(json.dumps({"seal": "the same"}))
    asked = [(captured.key, captured.ref)]
    assert place.backend.probe(asked)[0].presence is Presence.PRESENT
    assert place.backend.verify_content(asked)[0].presence is Presence.CORRUPT


def test_a_lost_seal_costs_a_reading_and_nothing_else(place):
    captured = place.capture(shell("true"))
    (top(place, captured).parent / "layer.json").write_bytes(b"{")
    assert presence(place, captured).presence is Presence.PRESENT


def test_a_damaged_record_is_a_missing_template(place):
    captured = place.capture(shell("true"))
    (record,) = (place.backend.store.templates / "unit").iterdir()
    record.write_bytes(record.read_bytes()[:40])
    assert presence(place, captured).presence is Presence.MISSING


def test_capturing_again_puts_a_damaged_layer_right(place):
    request = replace(place.request(seeds=(seed_directory("/workspace"), seed_file("/workspace/a", b"abc"))), env={})
    captured = place.publish(request)
    flip(top(place, captured) / "workspace/a")
    assert presence(place, captured).presence is Presence.CORRUPT

    again = place.publish(replace(request, replaces=True))

    assert presence(place, again).presence is Presence.PRESENT
    assert again.ref == captured.ref


def test_removing_takes_what_only_it_used(place):
    kept = place.capture(shell("echo 1 > /srv/kept"))
    child = place.capture(shell("echo 2 > /srv/child"), parent=kept)
    with pytest.raises(TemplateInUseError, match="stands on"):
        place.backend.remove(kept.ref)

    place.backend.remove(child.ref)
    place.backend.remove(child.ref)

    assert presence(place, kept).presence is Presence.PRESENT
    place.backend.remove(kept.ref)
    store = place.backend.store
    assert [entries(path) for path in (store.layers, store.bases, store.stagings)] == [[], [], []]


def test_a_template_in_use_by_a_session_stays_until_the_session_ends(place):
    captured = place.capture(shell("true"))
    session = place.open(captured)
    with pytest.raises(TemplateInUseError, match="session"):
        place.backend.remove(captured.ref)
    session.remove()
    place.backend.remove(captured.ref)


KILLED = """
import sys, time
sys.path[:0] = {path!r}
from local import *
from pathlib import Path
from prewarm.testing.builders import shell
backend = backend_at(Path({home!r}))
Workplace(backend, host(backend, Path({home!r})), "unit").capture(shell("echo begun > /srv/begun; sleep 600"))
"""


def test_a_killed_capture_takes_its_sandbox_along_and_leaves_litter_that_goes(place, tmp_path):
    script = KILLED.format(path=sys.path, home=str(tmp_path / "home"))
    child = subprocess.Popen([sys.executable, "-c", script])
    stagings = place.backend.store.stagings
    assert eventually(lambda: list(stagings.glob("*/upper/srv/begun")))
    assert not place.backend.litter()
    assert holders_over(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert eventually(lambda: not holders_over(tmp_path))
    found = place.backend.litter()
    assert [piece.description for piece in found if "half a capture" in piece.description]
    for piece in found:
        piece.remove()
        piece.remove()
    assert not place.backend.litter()
    assert not entries(stagings)


KILLED_AT_START = """
import ctypes, os, signal, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from prewarm.backends.local import holder
from prewarm.backends.local.checking import _sandbox
ctypes.CDLL(None).prctl(36, 1)  # Who loses its parent is our child then.
told, tell = os.pipe()
builder = os.fork()
if not builder:
    begin = holder.process.start
    def start(*arguments, **options):  # Die as soon as bubblewrap has begun, which goes on when we are dead.
        child = begin(*arguments, **options)
        os.kill(child.pid, signal.SIGSTOP)
        os.write(tell, b"%d" % child.pid)
        os.kill(os.getpid(), signal.SIGKILL)
    holder.process.start = start
    _sandbox(Path({home!r}))
bubblewrap = int(os.read(told, 20))
os.waitpid(builder, 0)
os.kill(bubblewrap, signal.SIGCONT)
until = time.monotonic() + 60
while time.monotonic() < until:
    try:
        time.sleep(0.05 if os.waitpid(-1, os.WNOHANG) == (0, 0) else 0)
    except ChildProcessError:
        sys.exit(0)
sys.exit("a process was left waiting")
"""


@pytest.mark.parametrize("time", range(3))
def test_a_builder_killed_while_a_sandbox_starts_leaves_no_process_waiting(place, tmp_path, time):
    script = KILLED_AT_START.format(path=sys.path, home=str(tmp_path / "home"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (time, done.stderr)


def holders_over(tmp_path):
    """The processes that hold a sandbox over this home."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as line, open(f"/proc/{name}/mountinfo") as mounts:
                if line.read() == "prewarm\0" and f"upperdir=/oldroot{tmp_path}" in mounts.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


def test_what_is_only_there_for_a_moment_is_litter_once_its_maker_is_dead(place, tmp_path):
    place.capture(shell("true"))
    dead = subprocess.Popen(["true"])
    dead.wait()
    templates = place.backend.store.templates / "unit"
    mine = [templates / f".a.json.{maker()}", tmp_path / "home" / f".prewarm-check.{maker()}"]
    theirs = [templates / f".b.json.{dead.pid}-1-00", tmp_path / "home" / f".prewarm-check.{dead.pid}-1-00"]
    for file, directory in (mine, theirs):
        file.touch()
        directory.mkdir()
    for piece in place.backend.litter():
        piece.remove()
    assert [path.exists() for path in mine + theirs] == [True, True, False, False]


def test_no_two_pieces_of_litter_are_called_the_same(place, tmp_path):
    place.capture(shell("true"))
    dead = subprocess.Popen(["true"])
    dead.wait()
    for number in range(2):
        (place.backend.store.templates / "unit" / f".a.json.{dead.pid}-1-0{number}").touch()
        (tmp_path / "home" / f".prewarm-check.{dead.pid}-1-0{number}").mkdir()
        with place.backend.store.staging() as staging:
            kept = staging.path.rename(staging.path.with_name(f"kept{number}"))
        (kept / "lock").touch()

    found = [piece.description for piece in place.backend.litter()]

    assert len(found) == len(set(found)) == 6


def test_a_sandbox_that_nothing_knows_is_litter(place):
    session = place.open(place.capture(shell("true")))
    (record,) = place.backend.store.sessions.glob("*/holder")
    pid = int(record.read_text().split()[0])
    record.unlink()
    (found,) = [piece for piece in place.backend.litter() if "nothing knows" in piece.description]
    found.remove()
    assert eventually(lambda: not _runs(pid))
    assert place.text(session, "echo again") == "again"


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_a_seed_below_what_the_host_gives_is_refused_with_a_reason(place):
    with pytest.raises(CaptureFailedError) as caught:
        place.capture(seeds=(seed_file("/usr/lib/seed", b"x"),))
    assert "/usr/lib/seed" in caught.value.message
    assert "read-only" in caught.value.hint


def test_the_copy_of_etc_tells_nothing_of_people_and_secrets(tmp_path):
    host_base.write_layer(tmp_path)
    etc = tmp_path / "etc"
    assert not [
        name for name in ("shadow", "gshadow", "sudoers", "ssh", "machine-id", "fstab") if (etc / name).exists()
    ]
    assert "root" in (etc / "passwd").read_text()
    assert (etc / "passwd").read_text().count("\n") == 2


def test_the_layer_of_the_host_is_the_same_under_any_umask(tmp_path):
    digests = set()
    for number, mask in enumerate((0o022, 0o077)):
        root = tmp_path / str(number)
        old = os.umask(mask)
        try:
            root.mkdir()
            host_base.write_layer(root)
        finally:
            os.umask(old)
        digests.add(digest(root))
    assert len(digests) == 1


def test_the_host_is_known_by_its_programs_and_not_by_paths(monkeypatch):
    before = host_base.digest()
    monkeypatch.setattr(sys, "base_prefix", "/somewhere/else")
    assert host_base.digest() == before
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert host_base.digest() != before


def test_a_further_path_of_the_host_is_seen_read_only(place, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "data").write_text("shared\n")
    captured = place.publish(replace(place.request(shell("true")), options={"host_paths": [str(shared)]}))
    session = place.open(captured)
    assert place.text(session, f"cat {shared}/data") == "shared"
    assert not place.run(session, f"touch {shared}/more", user="root").ok


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"host_path": []}, "no option 'host_path'"),
        ({"host_paths": "/data"}, "a list of"),
        ({"host_paths": ["data"]}, "not an absolute path"),
        ({"host_paths": ["/a/../b"]}, "not an absolute path"),
        ({"host_paths": ["/etc/ssh"]}, "of its own"),
    ],
)
def test_wrong_options_are_told(place, template, said):
    (problem,) = place.backend.option_problems(template, {})
    assert said in problem
