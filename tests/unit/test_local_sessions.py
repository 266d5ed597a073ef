"""Sessions of the local backend: what holds them, what ends them, what cannot get out of them."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from local import backend_at, eventually, host

from prewarm.backends.local import limits, session_record
from prewarm.backends.local.command import LocalProcess
from prewarm.backends.local.disk import entries, remove_tree
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.backends.local.lease import Lease, Term
from prewarm.backends.local.users import find_user, with_user
from prewarm.definition.options import Network, Resources
from prewarm.errors import (
    PathEscapesError,
    PrewarmError,
    SessionFailedError,
    SessionFileError,
    SessionGoneError,
    SessionStateError,
    UnsupportedOptionError,
)
from prewarm.testing.builders import shell
from prewarm.testing.workplace import Workplace


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def workshop(home):
    backend = backend_at(home)
    health = backend.check()
    if not health.ok:
        pytest.skip(health.reason)
    workshop = Workplace(backend, host(backend, home), "unit")
    template = workshop.capture(
        shell("mkdir -p /srv/lower/deep; echo x > /srv/lower/deep/file; chown -R sandbox /srv || true")
    )
    yield workshop, template
    workshop.close()


@pytest.fixture
def place(workshop):
    shared, _ = workshop
    place = Workplace(shared.backend, shared.base, "unit")
    yield place
    place.close()


@pytest.fixture
def template(workshop):
    return workshop[1]


@pytest.fixture
def session(place, template):
    return place.open(template)


def directory(place, session):
    return place.backend.store.sessions / session.id


def process_of(place, session, name):
    return int((directory(place, session) / name).read_text().split()[0])


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


# holders and watchdogs


def test_a_session_whose_holder_was_killed_goes_on_with_its_files(place, session):
    session.files.write("/workspace/kept", b"x")
    holder = process_of(place, session, "holder")
    os.kill(holder, signal.SIGKILL)
    assert eventually(lambda: not runs(holder))
    assert place.text(session, "cat /workspace/kept") == "x"
    assert place.backend.attach(session.state()).files.read("/workspace/kept") == b"x"


def test_a_holder_is_small_and_shows_nothing_of_this_machine(place, session):
    pid = process_of(place, session, "holder")
    assert (
        place.run(session, "tr '\\0' ' ' < /proc/1/cmdline; ls -l /proc/1/fd", user="root").stdout.split()[0]
        == "prewarm"
    )
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in "012"} == {"/dev/null"}


def test_an_idle_session_needs_less_than_three_megabytes_of_its_own(place, session):
    place.text(session, "true")
    watchdog = process_of(place, session, "watchdog")
    group = os.getpgid(watchdog)
    own = [
        process_of(place, session, "holder"),
        *(pid for pid in processes() if _group(pid) == group),
    ]
    assert watchdog in own
    private = sum(
        int(kb) for pid in own for kb in re.findall(r"Private_\w+: +(\d+) kB", _read(f"/proc/{pid}/smaps_rollup"))
    )
    assert 0 < private <= 3 * 1024


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _says(pid):
    return _read(f"/proc/{pid}/cmdline")


def _group(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def kill_watchdog(place, session):
    killed = process_of(place, session, "watchdog")
    os.killpg(os.getpgid(killed), signal.SIGKILL)
    assert eventually(lambda: not runs(killed))
    return killed


def test_a_killed_watchdog_is_replaced_at_the_next_opening_and_counts_on(place, template, monkeypatch):
    opening = place.opening(template, idle_timeout_s=10.0, max_lifetime_s=100.0)  # A tick is two seconds.
    session = place.open(opening)
    killed = kill_watchdog(place, session)
    monkeypatch.setattr(session_record, "boot_seconds", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 97)
    again = place.open(opening)
    assert again.id == session.id
    assert process_of(place, session, "watchdog") != killed
    process = place.start(again, "sleep 600")  # Which is no idle session.
    assert eventually(lambda: not directory(place, session).exists()), "the new watchdog began to count from nothing"
    process.kill()
    process.close()


def test_a_session_without_watchdog_is_over_when_its_time_is_up(place, template, monkeypatch):
    opening = place.opening(template, idle_timeout_s=600.0)
    session = place.open(opening)
    kill_watchdog(place, session)
    assert session.id in [record.id for record in place.backend.sessions()]
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 600)
    assert session.id not in [record.id for record in place.backend.sessions()]
    with pytest.raises(SessionGoneError):
        place.backend.attach(session.state())
    assert [piece for piece in place.backend.litter() if session.id in piece.description]
    assert place.open(opening).id != session.id


def test_an_expired_session_leaves_no_process_directory_or_cgroup(place, template):
    session = place.open(place.opening(template, idle_timeout_s=5.0))
    process = place.start(session, "exec sleep 600")
    groups = _read(directory(place, session) / "groups").split()
    Lease(directory(place, session)).set(Term(idle_s=0.6, life_s=600.0), map(Path, groups))  # From the next second on.
    own = [process_of(place, session, name) for name in ("holder", "watchdog")]
    gone_meanwhile = eventually(lambda: not directory(place, session).exists(), 2.5)
    assert not gone_meanwhile, "a command that runs keeps a session alive while its client lives"
    process.kill()
    process.close()
    assert eventually(lambda: not directory(place, session).exists())
    assert eventually(lambda: not any(runs(pid) for pid in own))
    assert not [group for group in groups if os.path.exists(group)]


def test_where_the_state_directory_is_deleted_its_sessions_end(tmp_path, absent):
    backend = backend_at(tmp_path / "home")
    if not backend.check().ok:
        absent("local", backend.check().reason)
    place = Workplace(backend, host(backend, tmp_path), "unit")
    session = place.open(place.opening(place.capture(shell("true")), idle_timeout_s=15.0))
    own = [process_of(place, session, name) for name in ("holder", "watchdog")]
    groups = _read(directory(place, session) / "groups").split()
    group = os.getpgid(own[1])
    ticks = eventually(
        lambda: [pid for pid in processes() if _group(pid) == group and _says(pid) == "sleep\0003.000\0"]
    )
    assert ticks, "the watchdog has not looked around"
    remove_tree(tmp_path / "home")
    assert eventually(lambda: not any(runs(pid) for pid in own))
    assert not [group for group in groups if os.path.exists(group)]
    with pytest.raises(SessionGoneError):
        place.run(session, "true")


def test_a_clients_death_starts_the_idle_time_although_its_command_runs(place, template, home):
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from local import *; from pathlib import Path\n"
        "import pickle; request = pickle.loads(sys.stdin.buffer.read())\n"
        f"session = backend_at(Path({str(home)!r})).open(request)\n"
        "from prewarm.backends.base import ProcessRequest\n"
        "session.start(ProcessRequest(argv=('sleep', '600'), cwd='/', env={}, user='sandbox'))\n"
        "print(session.id, flush=True); import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    import pickle

    request = place.opening(template, idle_timeout_s=1.0)
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(request), capture_output=True, check=False)
    identity = done.stdout.decode().strip()
    assert identity, done.stderr
    assert eventually(lambda: not (place.backend.store.sessions / identity).exists())


@pytest.mark.parametrize("idle_s", [0.2, 1.0, 60.0, 1800.0])
def test_ticks_are_few_and_times_are_kept(idle_s):
    term = Term(idle_s=idle_s, life_s=idle_s * 10)
    tick, idle, life = (float(part) for part in term.text().split())
    assert idle_s <= tick * idle <= idle_s + tick + 0.001
    assert idle_s * 10 <= tick * life <= idle_s * 10 + tick + 0.001
    assert 0.1 <= tick <= 15


# two hundred


def test_two_hundred_sessions_from_eight_threads_all_work_and_are_all_gone(place, template):
    before = set(entries(place.backend.store.sessions))
    failures = []

    def one(number):
        session = place.backend.open(place.opening(template, f"many-{number}"))
        try:
            if place.text(session, f"echo {number} > /workspace/n; cat /workspace/n") != str(number):
                failures.append(number)
        finally:
            session.remove()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))

    assert not failures
    assert set(entries(place.backend.store.sessions)) == before
    assert not [
        piece for piece in place.backend.litter() if "session" in piece.description or "sandbox" in piece.description
    ]


# policy


def test_opening_again_with_another_network_applies_it(place, template):
    opening = place.opening(template)
    first = place.open(opening)
    names = "ls /sys/class/net 2>/dev/null || tail -n +3 /proc/net/dev"
    lonely = place.text(first, names)
    other = place.open(replace(opening, options=replace(opening.options, network=Network.ALL)))
    assert other.id == first.id
    assert place.text(other, "readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")
    assert place.text(first, "readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")
    place.open(opening)
    assert place.text(first, names) == lonely


def test_a_disk_limit_is_refused_before_anything_runs(place, template):
    before = set(entries(place.backend.store.sessions))
    with pytest.raises(UnsupportedOptionError):
        place.open(place.opening(template, resources=Resources(disk=1)))
    assert set(entries(place.backend.store.sessions)) == before


def test_a_session_that_could_not_be_written_down_leaves_no_cgroup(place, template, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    opening = place.opening(template)
    with monkeypatch.context() as patch:
        patch.setattr(place.backend, "_known_hierarchy", limits.Hierarchy(version=2, parents={"pids": tmp_path}))
        patch.setattr("prewarm.backends.local.session_record.write_file", full)
        with pytest.raises(SessionFailedError, match="No space left"):
            place.open(opening)
    assert not list(tmp_path.iterdir())
    assert place.text(place.open(opening), "echo works") == "works"


def test_processors_are_limited_one_way_or_the_other(place, template):
    session = place.open(place.opening(template, resources=Resources(cpus=1)))
    groups = place.backend.store.sessions / session.id / "groups"
    seen = place.text(session, "nproc")
    assert seen == "1" or "cpu" in groups.read_text()


def test_without_cgroups_resource_limits_hold(place, template, monkeypatch):
    monkeypatch.setattr(place.backend, "_known_hierarchy", limits.Hierarchy())
    session = place.open(place.opening(template, resources=Resources(memory=100_000_000, pids=20, cpus=1)))
    allocate = "python3 -c 'len(bytearray(300_000_000))'"
    assert not place.run(session, allocate).ok
    assert place.text(session, "ulimit -u 2>/dev/null || grep -m1 'Max processes' /proc/self/limits").split()[-1] in {
        "20",
        "processes",
    }
    assert place.text(session, "nproc") == "1"


def test_cgroup_v2_is_found_where_it_is_delegated(tmp_path):
    inner = tmp_path / "user/app/mine"
    inner.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    for path, handed in (
        (tmp_path, "cpu memory pids"),
        (tmp_path / "user", "memory pids"),
        (tmp_path / "user/app", "memory pids"),
        (inner, ""),
    ):
        (path / "cgroup.subtree_control").write_text(handed)
        (path / "cgroup.procs").write_text("")
    (tmp_path / "own").write_text("0::/user/app/mine\n")

    found = limits.find_hierarchy(tmp_path, tmp_path / "own")

    assert (found.version, set(found.parents.values())) == (2, {tmp_path / "user/app"})
    applied = limits.apply(found, "s1", Resources(memory=1000, pids=5, cpus=0.5), {})
    group = tmp_path / "user/app/prewarm-s1"
    assert (group / "memory.max").read_text() == "1000"
    assert (group / "pids.max").read_text() == "5"
    assert applied.join == (f"{group}/cgroup.procs",)
    assert applied.cpus, "processors by affinity where the controller is not handed down"


def test_a_narrower_limit_is_applied_at_the_next_opening(place, template):
    opening = place.opening(template, resources=Resources(pids=100))
    session = place.open(opening)
    narrow = place.open(place.opening(template, opening.session_key, resources=Resources(pids=12)))
    assert narrow.id == session.id
    done = place.run(narrow, "for i in $(seq 1 40); do sleep 5 & done; wait", timeout=20)
    assert "fork" in done.stderr.lower() or "resource" in done.stderr.lower()


# processes


def test_a_command_killed_before_it_became_one_is_gone_too(place, session):
    for _ in range(30):
        process = place.start(session, "sleep 600")
        process.kill()
        assert process.wait(60) == 137
        process.close()
    assert "sleep" not in place.text(session, "cat /proc/[0-9]*/comm 2>/dev/null || true")


def test_a_daemon_that_made_itself_a_session_and_an_empty_environment_dies_with_its_command(place, session):
    escape = "setsid env -i /bin/sh -c '(setsid sleep 601 &) ; (setsid sleep 601 &); sleep 601' & sleep 601"
    process = place.start(session, escape)
    count = "n=0; for c in /proc/[0-9]*/cmdline; do case $(tr '\\0' ' ' < $c 2>/dev/null) in 'sleep 601 ') n=$((n+1));; esac; done; echo $n"
    assert eventually(lambda: place.text(session, count) == "4")
    process.kill()
    process.kill()
    assert place.text(session, count) == "0"
    process.close()


def test_killing_one_command_leaves_the_others(place, session):
    doomed, other = place.start(session, "sleep 600"), place.start(session, "sleep 1; echo done")
    doomed.kill()
    assert other.stdout.read() == b"done\n"
    assert other.wait(60) == 0
    for process in (doomed, other):
        process.close()


def test_loader_variables_act_inside_and_never_on_the_way_in(place, session):
    done = place.run(session, "echo $LD_PRELOAD $LD_LIBRARY_PATH $GCONV_PATH", env={
        "LD_PRELOAD": "/workspace/evil.so", "LD_LIBRARY_PATH": "/workspace", "GCONV_PATH": "/workspace",
    })  # fmt: skip
    assert done.stdout == "/workspace/evil.so /workspace /workspace\n"
    assert "nsenter" not in done.stderr


def test_what_leads_a_command_in_tells_nothing_of_it(place, session):
    process = place.start(session, "exec sleep 602 # an-argument")
    assert eventually(lambda: "nsenter" in _says(process._child.pid))  # For a moment it says nothing at all.
    told = [text for pid in processes() if "nsenter" in (text := _says(pid))]
    process.kill()
    process.close()
    assert told
    assert not [text for text in told if "an-argument" in text]


def test_a_terminal_is_one_inside_too(place, session):
    process = place.start(session, "tty; stty size; test -t 0 && echo yes", terminal=(100, 30))
    assert isinstance(process, LocalProcess)
    said = b""
    while True:
        try:
            chunk = os.read(process.stdout.fileno(), 4096)
        except OSError:
            break
        if not chunk:
            break
        said += chunk
    assert process.wait(60) == 0
    process.close()
    assert said.split() == [b"/dev/pts/0", b"30", b"100", b"yes"]


def test_an_unknown_user_is_told_with_a_way_out(place, session):
    with pytest.raises(SessionFailedError, match="no user 'nobody-here'") as caught:
        place.run(session, "true", user="nobody-here")
    assert caught.value.hint


def test_a_session_for_a_user_that_is_not_there_is_not_opened(place, template):
    before = {record.id for record in place.backend.sessions()}

    with pytest.raises(SessionFailedError, match="no user 'nobody-here'"):
        place.open(replace(place.opening(template), user="nobody-here"))

    assert {record.id for record in place.backend.sessions()} == before


def test_a_session_that_lost_its_user_is_found_repaired_and_ended(place, session):
    accounts = session.files.read("/etc/passwd")
    place.run(session, "echo nobody-is-here > /etc/passwd", user="root")

    found = place.backend.attach(session.state())

    with pytest.raises(SessionFailedError, match="no user 'sandbox'"):
        place.run(found, "true")
    assert place.run(found, "cat > /etc/passwd", user="root", stdin=accounts).exit_code == 0
    assert place.text(found, "id -un") == "sandbox"


def test_a_session_whose_template_is_gone_ends_without_being_started(place, tmp_path):
    backend = backend_at(tmp_path)
    away = Workplace(backend, host(backend, tmp_path), "unit")
    template = away.capture(shell("echo x > /srv/x || true"))
    session = away.open(template)
    holder = process_of(away, session, "holder")
    os.kill(holder, signal.SIGKILL)
    assert eventually(lambda: not runs(holder))
    for layer in entries(backend.store.layers):
        remove_tree(layer)
    with pytest.raises(PrewarmError):
        backend.attach(session.state())

    backend.end_session(session.state())

    assert not backend.sessions()
    assert not list(backend.store.sessions.iterdir())
    away.close()


def test_root_inside_is_nobody_outside(place, session):
    tries = "mount -t tmpfs x /mnt || echo no; echo x > /proc/sys/kernel/hostname || echo no; echo b > /proc/sysrq-trigger || echo no"
    assert place.run(session, tries, user="root").stdout.split() == ["no", "no", "no"]


# files


@pytest.mark.parametrize(
    "link",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "/proc/1/root/etc/passwd",
        "/proc/self/root/etc/passwd",
        "/proc/1/environ",
    ],
)
def test_a_hostile_link_never_leads_to_this_machine(place, session, link):
    outside = _read("/etc/passwd").encode()
    place.text(
        session, f"ln -s {link} /workspace/link; mkdir /workspace/d; ln -s {os.path.dirname(link)} /workspace/d/link"
    )
    for path in ("/workspace/link", f"/workspace/d/link/{os.path.basename(link)}"):
        try:
            assert session.files.read(path) != outside
        except SessionFileError:
            continue
    with pytest.raises(SessionFileError) if "proc" in link else _nothing():
        session.files.write("/workspace/link", b"overwritten")
    assert _read("/etc/passwd").encode() == outside


class _nothing:  # noqa: N801 - reads as what it is.
    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        return None


def test_a_fifo_neither_blocks_nor_is_written(place, session):
    place.text(session, "mkfifo /workspace/fifo")
    for use in (lambda: session.files.read("/workspace/fifo"), lambda: session.files.write("/workspace/fifo", b"x")):
        with pytest.raises(SessionFileError, match="not a file"):
            use()


def test_a_member_may_not_go_through_a_link_out_of_the_tree(session):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        out = tarfile.TarInfo("out")
        out.type, out.linkname = tarfile.SYMTYPE, "/workspace"
        tar.addfile(out)
        evil = tarfile.TarInfo("out/evil")
        evil.size = 1
        tar.addfile(evil, io.BytesIO(b"x"))
    buffer.seek(0)
    with pytest.raises(PathEscapesError):
        session.files.put_tree("/workspace/tree", buffer)
    assert "evil" not in [info.path for info in session.files.list("/workspace")]


def test_a_directory_of_a_layer_can_be_renamed(place, session):
    session.files.rename("/srv/lower", "/srv/moved")
    assert session.files.read("/srv/moved/deep/file") == b"x\n"
    assert place.run(session, "ls /srv").stdout == "moved\n"


def test_files_made_from_outside_belong_to_the_sessions_user(place, session):
    session.files.write("/workspace/new/deep/file", b"x")
    assert (
        place.text(session, "cd /workspace; stat -c %U new new/deep new/deep/file; rm -r new").split()
        == ["sandbox"] * 3
    )


def test_a_state_of_something_else_is_refused(place):
    for state in (
        {},
        {"schema": "prewarm.local-session/9", "id": "x"},
        {"schema": "prewarm.local-session/1", "id": "../../x"},
    ):
        with pytest.raises(SessionStateError):
            place.backend.attach(state)


def test_openings_and_endings_of_one_key_at_once_never_fail(place, template):
    opening = place.opening(template, "contended")
    stop = time.monotonic() + 3
    failures = []

    def work():
        while time.monotonic() < stop:
            try:
                session = place.backend.open(opening)
                place.run(session, "true")
                session.remove()
            except SessionGoneError:
                continue
            except Exception as error:
                failures.append(repr(error))
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [failure for failure in failures if "ended" not in failure], failures


# users


def test_users_are_found_by_name_and_number():
    passwd, group = b"root:x:0:0::/root:/bin/sh\nann:x:7:8::/a:/bin/sh\nbroken\n", b"wheel:x:10:bob,ann\n"
    ann = find_user("ann", passwd, group)
    assert (ann.uid, ann.gid, ann.groups, ann.home) == (7, 8, (10,), "/a")
    assert (find_user("7", passwd, group).gid, find_user("9:5", passwd, group).gid) == (8, 5)
    assert find_user("root", b"", b"").uid == 0


def test_the_first_new_user_is_1000_and_the_next_is_free():
    passwd, group, first = with_user("sandbox", b"root:x:0:0::/root:/bin/sh", b"")
    assert (first.uid, passwd) == (1000, b"root:x:0:0::/root:/bin/sh\nsandbox:*:1000:1000::/home/sandbox:/bin/sh\n")
    assert with_user("second", passwd, group)[2].uid == 1001


def test_this_process_is_somebody():
    identity = identity_of_this_process()
    assert identity.many == (os.geteuid() == 0 and identity.ids == 65536)
