"""Sessions of the local backend that attack: the machine, the client that handles their files, their own limits."""

import ctypes
import io
import os
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from local import backend_at, eventually, host

from prewarm.backends.local.disk import entries
from prewarm.backends.local.identity import identity_of_this_process
from prewarm.definition.options import Network, Resources
from prewarm.errors import PathEscapesError, PrewarmError, SessionFileError
from prewarm.testing.builders import shell
from prewarm.testing.workplace import Workplace

NEW_USER_NAMESPACE = 0x10000000
SESSION_KEYRING = -3
NAMES = ("add_key", "keyctl", "unshare", "clone", "io_uring_setup", "perf_event_open", "bpf", "ptrace")
NUMBERS = {"x86_64": (248, 250, 272, 56, 425, 298, 321, 101), "aarch64": (217, 219, 97, 220, 425, 241, 280, 117)}
CALLS = dict(zip(NAMES, NUMBERS.get(os.uname().machine, ()), strict=False))
USERS = ("sandbox", "root")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, absent):
    home = tmp_path_factory.mktemp("home")
    backend = backend_at(home)
    health = backend.check()
    if not health.ok:
        absent("local", health.reason)
    workshop = Workplace(backend, host(backend, home), "attack")
    template = workshop.capture(
        shell("mkdir /srv/shared; echo template > /srv/shared/file; chmod -R a+rwX /srv/shared")
    )
    yield workshop, template
    workshop.close()


@pytest.fixture
def place(workshop):
    shared, _ = workshop
    place = Workplace(shared.backend, shared.base, "attack")
    yield place
    place.close()


@pytest.fixture
def session(workshop, place):
    _, template = workshop
    return place.open(template)


@pytest.fixture
def secret(tmp_path):
    """Give a file of this machine that no session may read or change."""
    path = tmp_path / "secret"
    path.write_text("of this machine")
    yield path
    assert path.read_text() == "of this machine"
    assert sorted(os.listdir(tmp_path)) == ["secret"]


def python(place, session, code, **options):
    return place.run(session, ["python3", "-c", code], **options)


# What a command may ask of the kernel


CALL = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    print("ok" if result >= 0 else errno.errorcode[ctypes.get_errno()])
"""


@pytest.mark.parametrize("user", USERS)
def test_no_command_makes_a_user_namespace(place, session, user):
    unshare, clone = CALLS["unshare"], CALLS["clone"]
    done = python(
        place,
        session,
        CALL + f"call({unshare}, {NEW_USER_NAMESPACE}); call({unshare}, {NEW_USER_NAMESPACE} | 0x20000);"
        f"call({clone}, {NEW_USER_NAMESPACE} | 17, 0, 0, 0, 0); call(435, 0, 0)",
        user=user,
    )
    assert done.stdout.split() == ["EPERM", "EPERM", "EPERM", "ENOSYS"]


@pytest.mark.parametrize("user", USERS)
def test_no_command_reaches_the_larger_interfaces_of_the_kernel(place, session, user):
    ring, perf, bpf = (CALLS[name] for name in ("io_uring_setup", "perf_event_open", "bpf"))
    code = CALL + f"call({ring}, 8, 0); call({perf}, 0, 0, -1, -1, 0); call({bpf}, 0, 0, 0)"
    assert python(place, session, code, user=user).stdout.split() == ["EPERM"] * 3


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="has no 32-bit calls that a 64-bit program can make")
def test_calls_of_32_bit_programs_are_refused_alike(place, session):
    code = (
        CALL
        + f"""
import mmap
def old(number, argument):
    code = b"\\x53\\xb8" + number.to_bytes(4, "little") + b"\\xbb" + argument.to_bytes(4, "little") + b"\\xcd\\x80\\x5b\\xc3"
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    print(errno.errorcode[-result] if result < 0 else "ok")
old(20, 0); old(310, {NEW_USER_NAMESPACE}); old(288, 0); old(435, 0)
"""
    )
    assert python(place, session, code).stdout.split() in (["ok", "EPERM", "EPERM", "ENOSYS"], [])  # Or no such calls.


def test_ordinary_programs_do_not_notice(place, session):
    code = "import threading, subprocess; t = threading.Thread(target=print, args=('thread',), kwargs={'flush': True}); t.start(); t.join()"
    assert python(place, session, f"{code}; subprocess.run(['echo', 'child'])").stdout.split() == ["thread", "child"]


@pytest.mark.parametrize("user", USERS)
def test_keys_of_whoever_opened_a_session_stay_out_of_it(place, session, user):
    add, keyctl = CALLS["add_key"], CALLS["keyctl"]
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(add, b"user", b"prewarm-test", b"of this machine", 15, SESSION_KEYRING)
    if key < 0:
        pytest.skip("this process can have no keys")
    try:
        code = CALL + f"b = ctypes.create_string_buffer(64); call({keyctl}, 11, {key}, b, 64); print(b.value)"
        assert python(place, session, code, user=user).stdout.split("\n")[:2] == ["EPERM", "b''"]
    finally:
        libc.syscall(keyctl, 9, key, SESSION_KEYRING)


@pytest.mark.parametrize("user", USERS)
def test_a_command_has_no_more_than_its_streams(place, session, user):
    listed = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))); print(len(os.listdir('/proc/self/task')))"
    assert python(place, session, listed, user=user).stdout.split("\n")[0] in ("[0, 1, 2, 3]", "[0, 1, 2]")


@pytest.mark.parametrize("user", USERS)
def test_the_first_process_shows_and_obeys_nobody(place, session, user):
    tries = (
        "cat /proc/1/environ; cat /proc/1/mem; ls /proc/1/fd/; readlink /proc/1/root /proc/1/exe /proc/1/cwd;"
        "ls /proc/1/root/; kill -STOP 1; kill -9 1; cat /proc/1/cmdline"
    )
    assert place.run(session, tries, user=user).stdout.replace("0\n1\n2\n", "") == "prewarm\0"
    attach = CALL + f"call({CALLS['ptrace']}, 16, 1, 0, 0)"
    assert python(place, session, attach, user=user).stdout == "EPERM\n"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "command",
    [
        "echo x > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
        "mount -t tmpfs none /tmp",
        "umount /etc/hosts",
        "umount -l /proc/sys",
        "mknod /tmp/disk b 8 0",
        "hostname other",
        "cat /etc/shadow",
        "test -e /sys/kernel",
        "test -e /run/docker.sock",
        "head -c 1 /proc/kcore",
        "dmesg",
        "chroot /proc/1/root true",
        "nice -n -5 true | grep -q x",
        "echo -1000 > /proc/self/oom_score_adj",
    ],
)
def test_what_belongs_to_the_machine_is_out_of_reach(place, session, command, user):
    assert not place.run(session, command, user=user).ok


def test_what_a_session_sees_of_mounts_is_its_own(place, session):
    mounts = [line.split()[4] for line in place.text(session, "cat /proc/self/mountinfo").split("\n")]
    assert "/" in mounts
    assert not any(mount.startswith(("/oldroot", "/newroot", "/home", "/work", "/sys")) for mount in mounts)


def test_a_variable_of_the_loader_acts_inside_alone(place, session, tmp_path):
    library = tmp_path / "not-there.so"
    done = place.run(session, "echo $LD_PRELOAD", env={"LD_PRELOAD": str(library), "LD_AUDIT": str(library)})
    assert done.stdout == f"{library}\n"


def test_abstract_sockets_of_the_machine_are_out_of_reach_without_a_network(place, workshop):
    import socket

    name = f"\0prewarm-test-{os.getpid()}"
    _, template = workshop
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        assert not python(place, place.open(place.opening(template, network=Network.NONE)), code).ok


def test_one_session_reaches_no_process_of_another(place, workshop, session):
    other = place.open(workshop[1])
    with_pid = place.start(other, "exec sleep 611")
    assert "sleep 611" not in place.text(session, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; kill -9 -1 || true")
    assert with_pid.wait(0.2) is None
    with_pid.kill()
    with_pid.close()


def test_writing_never_reaches_a_layer(place, session, workshop):
    place.run(
        session, "echo session > /srv/shared/file; rm -rf /srv/shared; mkdir /srv/shared; chmod 777 /", user="root"
    )
    assert place.text(place.open(workshop[1]), "cat /srv/shared/file") == "template"
    ref = workshop[1].ref
    assert workshop[0].backend.verify_content([(workshop[1].key, ref)])[0].presence.value == "present"


def test_what_is_pushed_into_a_terminal_stays_in_it(place, session):
    code = "import fcntl, termios, os; fcntl.ioctl(0, termios.TIOCSTI, b'x')"
    process = place.start(session, ["python3", "-c", code], terminal=(80, 24))
    eventually(lambda: process.wait(0) is not None)
    process.kill()
    process.close()
    assert place.text(session, "echo alive") == "alive"


# Limits


def test_a_fork_bomb_ends_with_its_session_and_harms_no_other(place, workshop):
    other = place.open(workshop[1])
    bombed = place.open(place.opening(workshop[1], resources=Resources(pids=60, memory=256 * 2**20)))
    began = time.monotonic()
    done = place.run(bombed, "bomb() { bomb | bomb & }; bomb; sleep 600", timeout=2)
    assert done.timed_out
    assert time.monotonic() - began < 60
    assert place.text(other, "echo alive") == "alive"
    bombed.remove()
    assert not (workshop[0].backend.store.sessions / bombed.id).exists()


def test_memory_beyond_the_limit_is_not_had(place, workshop):
    limited = place.open(place.opening(workshop[1], resources=Resources(memory=128 * 2**20)))
    assert not python(place, limited, "print(len(bytearray(512 * 2**20)))").ok
    assert place.text(limited, "echo alive") == "alive"


def test_a_flood_of_output_is_cut(place, session):
    done = place.run(session, "yes & exec yes >&2", timeout=2, max_output=1000)
    assert (len(done.stdout_bytes), len(done.stderr_bytes), done.truncated) == (1000, 1000, True)


# Files


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("way", ["{}", "/../../..{}", "/proc/1/root{}", "/proc/self/root{}", "/proc/1/cwd/..{}"])
def test_no_link_leads_a_file_call_to_this_machine(place, session, secret, way, user):
    place.run(session, ["ln", "-s", way.format(secret), "/workspace/link"], user=user)
    place.run(session, ["ln", "-s", way.format(secret.parent), "/workspace/directory"], user=user)
    for call in (
        lambda: session.files.read("/workspace/link"),
        lambda: session.files.read("/workspace/directory/secret"),
        lambda: session.files.list("/workspace/directory"),
        lambda: b"".join(session.files.get_tree("/workspace/directory")),
    ):
        with pytest.raises(PrewarmError):
            call()
    for change in (
        lambda: session.files.write("/workspace/link", b"changed"),
        lambda: session.files.write("/workspace/directory/new", b"new"),
        lambda: session.files.mkdir("/workspace/directory/made"),
        lambda: session.files.rename("/workspace/directory/secret", "/workspace/mine"),
        lambda: session.files.remove("/workspace/directory", recursive=True),
    ):
        try:
            change()
        except PrewarmError:
            continue


@pytest.mark.parametrize(
    "path",
    ["/proc/self/root/etc/shadow", "/proc/1/root/etc/passwd", "/proc/1/cwd/etc/passwd", "/proc/1/exe", "/proc/1/fd/0",
     "/proc/1/environ", "/proc/sys/kernel/core_pattern", "/proc/kcore", "/proc/kmsg", "/dev/null", "/dev/zero", "/dev/tty"],
)  # fmt: skip
def test_devices_and_files_of_proc_are_neither_read_nor_written(session, path):
    with pytest.raises(PrewarmError):
        session.files.read(path)
    with pytest.raises(PrewarmError):
        session.files.write(path, b"x")
    with pytest.raises(PrewarmError):
        session.files.write(path, b"x", append=True)


@pytest.mark.parametrize("link", ["/proc", "/proc/1", "/proc/sys", "/proc/sys/kernel"])
def test_proc_is_not_packed_whoever_asks_for_what(place, session, link):
    place.run(session, ["ln", "-s", link, "/workspace/out"])
    with pytest.raises(SessionFileError, match="of /proc"):
        b"".join(session.files.get_tree("/workspace/out"))


def test_a_fifo_blocks_nobody(place, session):
    place.run(session, "mkfifo /workspace/fifo; ln -s fifo /workspace/link")
    for path in ("/workspace/fifo", "/workspace/link"):
        for call in (lambda p=path: session.files.read(p), lambda p=path: session.files.write(p, b"x")):
            with pytest.raises(SessionFileError, match="not a file"):
                call()
    assert b"fifo" not in b"".join(session.files.get_tree("/workspace"))[:512]


def test_a_file_larger_than_the_limit_is_not_read(place, session):
    place.run(session, "truncate -s 8E /workspace/huge || truncate -s 1T /workspace/huge")
    with pytest.raises(SessionFileError, match="more than 1000"):
        session.files.read("/workspace/huge", limit=1000)


@pytest.mark.parametrize("target", ["outside", "/proc/1/oom_score_adj", "/dev/null"])
def test_a_link_that_is_swapped_all_the_time_leads_nowhere_else(place, session, secret, target):
    target = str(secret) if target == "outside" else target
    code = f"""
import os
os.chdir('/workspace')
while True:
    for to in ('real', {target!r}, '/proc/1/root{secret}', '../../..{secret}'):
        os.symlink(to, 'new'); os.rename('new', 'link')
    os.mkdir('dir') if not os.path.lexists('dir') else None
    try:
        os.rename('dir', 'was'); os.symlink({str(secret.parent)!r}, 'dir'); os.unlink('dir'); os.rename('was', 'dir')
    except OSError:
        pass
"""
    place.run(session, "echo inside > /workspace/real")
    swapper = place.start(session, ["python3", "-c", code])
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for call in (
            lambda: session.files.read("/workspace/link"),
            lambda: session.files.read("/workspace/dir/secret"),
            lambda: session.files.write("/workspace/link", b"inside\n"),
            lambda: session.files.write("/workspace/dir/secret", b"inside\n"),
            lambda: session.files.put_tree("/workspace/dir", io.BytesIO(tar_of("secret", b"inside\n"))),
            lambda: session.files.remove("/workspace/dir/secret"),
            lambda: b"".join(session.files.get_tree("/workspace/dir")),
            lambda: session.files.remove("/workspace/dir", recursive=True),
        ):
            try:
                got = call()
            except PrewarmError:
                continue
            assert b"of this machine" not in (got or b"")
    swapper.kill()
    swapper.close()


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


DEEP = """
import os
os.chdir('/workspace')
for number in range({levels}):
    os.mkdir('d'); os.chdir('d')
open('end', 'w').close()
"""


def test_a_tree_deeper_than_can_be_walked_is_an_error_and_goes_with_its_session(place, session, workshop):
    assert python(place, session, DEEP.format(levels=3000)).ok
    with pytest.raises(SessionFileError):
        b"".join(session.files.get_tree("/workspace"))
    try:
        session.files.remove("/workspace/d", recursive=True)
    except SessionFileError:  # Python before 3.13 removes trees by recursion.
        assert sys.version_info < (3, 13)
    session.remove()
    assert session.id not in [path.name for path in entries(workshop[0].backend.store.sessions)]


def test_a_path_of_very_many_parts_is_made_or_refused(session):
    session.files.write("/workspace" + "/p" * 1500 + "/file", b"deep")
    assert session.files.read("/workspace" + "/p" * 1500 + "/file") == b"deep"
    with pytest.raises(SessionFileError, match="too long"):
        session.files.write("/workspace" + "/p" * 3000 + "/file", b"deep")


def test_an_archive_over_what_a_session_put_in_its_way_stays_inside(place, session, secret):
    place.run(session, f"ln -s {secret.parent} /workspace/in; ln -s {secret} /workspace/file")
    with pytest.raises(PathEscapesError):
        session.files.put_tree("/workspace", io.BytesIO(tar_of("in/secret", b"changed")))
    session.files.put_tree("/workspace", io.BytesIO(tar_of("file", b"replaced")))
    assert session.files.read("/workspace/file") == b"replaced"


def test_calls_from_many_threads_do_not_leak_descriptors(session):
    before = len(os.listdir("/proc/self/fd"))

    def work():
        for _ in range(50):
            for call in (lambda: session.files.read("/proc/1/environ"), lambda: session.files.write("/dev/null", b"")):
                with pytest.raises(PrewarmError):
                    call()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# The machine's side


def test_what_the_process_list_of_the_machine_shows_tells_nothing(place, session):
    process = place.start(session, "exec sleep 612", env={"TOKEN": "not-for-others"})
    shown = b""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            shown += Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
    process.kill()
    process.close()
    assert b"not-for-others" not in shown


def test_a_state_directory_is_for_its_owner_alone(workshop):
    store = workshop[0].backend.store
    for path in (store.path, store.layers, store.sessions, store.templates, store.stagings, store.bases):
        assert path.stat().st_mode & 0o077 == 0


def test_a_session_can_make_set_id_programs_that_give_nothing(place, session):
    if not identity_of_this_process().many:
        pytest.skip("an ordinary user's sandbox has one user")
    place.run(session, "cp /usr/bin/id /workspace/id; chmod 6755 /workspace/id", user="root")
    assert place.text(session, "/workspace/id -u") == "1000"
