"""The programs that run inside sandboxes: written at run time, run for real on this machine's processor."""

import os
import signal
import struct
import subprocess
import sys

import pytest

from prewarm.backends.local.identity import identity_of_this_process
from prewarm.backends.local.machine_code import MACHINES, Program
from prewarm.backends.local.programs import Credentials, Entry, enter, executable, hold

MACHINE = os.uname().machine
pytestmark = pytest.mark.skipif(MACHINE not in MACHINES, reason=f"no programs for {MACHINE}")


def run(*argv, cwd="/", env=None, uid=None, **more):
    identity = identity_of_this_process()
    uid = os.getuid() if uid is None else uid
    entry = Entry(
        argv=tuple(os.fsencode(part) for part in argv),
        env=env or {},
        cwd=os.fsencode(cwd),
        credentials=Credentials(uid=uid, gid=uid, nested=not identity.many),
        search=(b"/usr/bin", b"/bin"),
        limits=more.pop("limits", {}),
        **more,
    )
    with executable(enter(MACHINE, entry)) as program:
        return subprocess.run(
            [f"/proc/self/fd/{program}"], pass_fds=[program], env={}, capture_output=True, check=False
        )


needs_root = pytest.mark.skipif(not identity_of_this_process().many, reason="becomes other users")


def test_it_becomes_the_command_with_exactly_its_environment():
    done = run("env", env={b"A": b"1", b"B": b"x=y \xff\n"})
    assert done.stdout == b"A=1\nB=x=y \xff\n\n"


def test_its_exit_code_is_the_commands():
    assert run("sh", "-c", "exit 7").returncode == 7


def test_an_unknown_command_is_127_and_says_so():
    done = run("no-such-command")
    assert (done.returncode, done.stderr) == (127, b"prewarm: 'no-such-command' is not a command here\n")


def test_what_is_not_executable_is_126():
    assert run("/etc/passwd").returncode == 126
    assert run("/etc").returncode == 126


def test_a_missing_directory_is_126_and_nothing_runs():
    done = run("echo", "ran", cwd="/no/such")
    assert (done.returncode, done.stdout) == (126, b"")
    assert b"/no/such" in done.stderr


def test_it_may_never_gain_privileges():
    assert b"NoNewPrivs:\t1" in run("cat", "/proc/self/status").stdout


@needs_root
def test_an_ordinary_user_has_no_capability_and_root_only_harmless_ones():
    status = run("cat", "/proc/self/status", uid=1234).stdout.decode()
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
    bounding = next(line for line in run("cat", "/proc/self/status").stdout.decode().splitlines() if "CapBnd" in line)
    kept = int(bounding.split()[1], 16)
    assert not kept >> 21 & 1, "CAP_SYS_ADMIN"
    assert not kept >> 19 & 1, "CAP_SYS_PTRACE"
    assert kept & 1, "CAP_CHOWN"


@needs_root
def test_it_becomes_the_user_with_its_groups():
    entry_groups = Credentials(uid=1234, gid=55, groups=(7, 9))
    entry = Entry(argv=(b"id",), env={}, cwd=b"/", credentials=entry_groups, search=(b"/usr/bin",), limits={})
    with executable(enter(MACHINE, entry)) as program:
        said = subprocess.run([f"/proc/self/fd/{program}"], pass_fds=[program], capture_output=True, check=True).stdout
    assert said.startswith(b"uid=1234 gid=55")
    assert b"7(" in said or b",7" in said


def test_limits_and_mark_are_inherited_by_whatever_it_starts():
    said = run(
        "sh", "-c", "exec env -i /bin/sh -c 'cat /proc/self/limits'", limits={5: 12345 << 20, 6: 7777}
    ).stdout.decode()
    rows = {" ".join(line.split()[:3]): line.split() for line in said.splitlines()}
    assert str(12345 << 20) in rows["Max resident set"]
    assert rows["Max processes 7777"][3] == "7777"


def test_processors_are_given():
    one = min(os.sched_getaffinity(0))
    assert run("grep", "Cpus_allowed_list", "/proc/self/status", cpus=(one,)).stdout.split()[1] == str(one).encode()


def test_no_descriptor_of_the_client_reaches_the_command():
    read, write = os.pipe()
    os.set_inheritable(read, True)
    try:
        assert run("ls", "/proc/self/fd").stdout.split() == [b"0", b"1", b"2", b"3"]
    finally:
        os.close(read)
        os.close(write)


def test_the_memory_file_cannot_be_changed():
    with executable(hold(MACHINE)) as program, pytest.raises(OSError, match=r"not permitted|busy|denied"):
        os.open(f"/proc/self/fd/{program}", os.O_WRONLY | os.O_TRUNC)


@pytest.fixture
def holder():
    with executable(hold(MACHINE)) as program:
        child = subprocess.Popen(
            [f"/proc/self/fd/{program}"], pass_fds=[program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    yield child
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_the_holder_says_that_it_is_ready_and_stays_when_told_to(holder):
    assert holder.stdout.read(1) == b"+"
    holder.stdin.write(b"+")
    holder.stdin.flush()
    assert holder.stdout.read() == b""
    descriptors = f"/proc/{holder.pid}/fd"
    if os.getuid() == 0:
        assert {os.readlink(f"{descriptors}/{name}") for name in os.listdir(descriptors)} == {"/dev/null"}
    else:  # Nobody may look into it, nor attach to it.
        with pytest.raises(PermissionError):
            os.listdir(descriptors)
    holder.send_signal(signal.SIGKILL)
    assert holder.wait(60) == -signal.SIGKILL


def test_the_holder_ends_where_whoever_started_it_is_gone(holder):
    assert holder.stdout.read(1) == b"+"
    holder.stdin.close()
    assert holder.wait(60) == 126


def test_both_machines_get_an_image_of_their_own():
    images = {machine: hold(machine) for machine in sorted(MACHINES)}
    numbers = {machine: struct.unpack_from("<H", image, 18)[0] for machine, image in images.items()}
    assert numbers == {"aarch64": 183, "x86_64": 62}


def test_a_jump_to_nowhere_is_an_error():
    program = Program(sys.intern("x86_64"))
    program.jump("nowhere")
    with pytest.raises(KeyError):
        program.image()
