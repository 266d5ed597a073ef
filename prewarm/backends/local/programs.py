"""The two programs that run inside a sandbox, as images to execute: ``hold`` is pid 1, ``enter`` becomes a command.

What a command may not do is taken from it here, after it has entered: its limits and its mark are set, it joins the
session's cgroups through descriptors opened outside, gives up privileges, and only then becomes the command. Its argv and
environment travel inside the program, so that neither the host's process list nor the loader of ``nsenter`` sees them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from prewarm.backends.local import syscall_filter
from prewarm.backends.local.machine_code import Address, Program

EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127
READY: Final = b"+"

_SIGCHLD: Final = 17
_SIG_IGN: Final = 1
_LAST_DESCRIPTOR: Final = 0xFFFFFFFF
_AT_FDCWD: Final = -100 & (2**64 - 1)
_CLONE_NEWUSER: Final = 0x10000000
_TIOCSCTTY: Final = 0x540E
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_INSTRUCTION_BYTES: Final = 8
_CAPABILITIES: Final = 48  # Linux has 41; a number it does not know is no error.
_UMASK: Final = 0o022
# What root inside keeps, as container engines have it: files, users, signals, low ports. Nothing of mounts, devices, tracing.
_KEPT_BY_ROOT: Final = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31))
_JOIN_ERRORS: Final = (errno.EPERM, errno.EBADF, errno.EAGAIN, errno.ENOMEM, errno.EACCES, errno.EBUSY, errno.ENODEV)
_F_ADD_SEALS: Final = 1033
_ALL_SEALS: Final = 0xF
_MFD_EXEC: Final = 0x10


class Credentials(NamedTuple):
    """Who a command is inside.

    Attributes:
        uid: Numeric.
        gid: Numeric.
        groups: Supplementary ones; none can be had where ``nested``.
        nested: Whether one id of the host is all there is: being anybody but root takes a user namespace of its own.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    nested: bool = False


class Entry(NamedTuple):
    """A command as ``enter`` starts it.

    Attributes:
        argv: Of the command; ``argv[0]`` is looked up in ``search``, unless it has a slash.
        env: The whole environment.
        cwd: Inside.
        credentials: Who it is.
        search: Directories, from the PATH of ``env``.
        limits: Resource number to value, set as soft and hard limit.
        cpus: Numbers of the processors it may use; empty: all.
        join: Descriptors of cgroup files (``tasks``, ``cgroup.procs``), inherited from outside.
        terminal: Whether standard input becomes its controlling terminal.
    """

    argv: tuple[bytes, ...]
    env: Mapping[bytes, bytes]
    cwd: bytes
    credentials: Credentials
    search: tuple[bytes, ...]
    limits: Mapping[int, int]
    cpus: tuple[int, ...] = ()
    join: tuple[int, ...] = ()
    terminal: bool = False

    def __repr__(self) -> str:
        return object.__repr__(self)  # Arguments and variables can be secrets.


def hold(machine: str, join: tuple[int, ...] = ()) -> bytes:
    """Give the program that is pid 1: says that all is mounted, asks whether to stay, then waits for ever.

    Orphans are reaped by the kernel. Where standard input ends before a byte came, whoever started it is dead and has
    told nobody of this sandbox: it ends too.

    Args:
        machine: As ``os.uname().machine`` says.
        join: Descriptors of the cgroup files it is to be counted in.
    """
    program = Program(machine)
    _join(program, join)
    ignore = program.data(struct.pack("<QQQQ", _SIG_IGN, 0, 0, 0))
    program.call("rt_sigaction", _SIGCHLD, ignore, 0, 8)
    program.call("close_range", 3, _LAST_DESCRIPTOR, 0)
    program.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)  # Nobody inside attaches to it: no limit or filter is on it.
    program.call("write", 1, program.data(READY), len(READY))
    program.call("read", 0, program.scratch, 1)
    program.jump_unless_zero("stay")
    program.label("failed")
    program.call("exit_group", EXIT_NOT_EXECUTABLE)
    program.label("stay")
    program.call("openat", _AT_FDCWD, program.text(b"/dev/null"), os.O_RDWR)
    for descriptor in (0, 1, 2):
        program.call("dup3", 3, descriptor, 0)
    program.call("close", 3)
    program.label("again")
    program.call("ppoll", 0, 0, 0, 0)
    program.jump("again")
    return program.image()


def enter(machine: str, entry: Entry) -> bytes:
    """Give the program that becomes a command. It exits 127 where there is no such command, 126 where it may not be run."""
    program = Program(machine)
    _join(program, entry.join)
    for resource, value in entry.limits.items():
        program.call("prlimit64", 0, resource, program.data(struct.pack("<QQ", value, value)), 0)
    if entry.cpus:
        mask = sum(1 << number for number in entry.cpus)
        size = (mask.bit_length() + 63) // 64 * 8
        program.call("sched_setaffinity", 0, size, program.data(mask.to_bytes(size, "little")))
    program.call("close_range", 3, _LAST_DESCRIPTOR, 0)
    program.call("umask", _UMASK)
    program.call("setsid")
    if entry.terminal:
        program.call("ioctl", 0, _TIOCSCTTY, 0)
    _become(program, entry.credentials)
    _refuse_calls(program, syscall_filter.instructions(machine))
    program.call("chdir", program.text(entry.cwd))
    program.jump_unless_zero("no directory")
    _execute(program, entry)
    _fail(program, "no directory", b"cannot enter directory '" + entry.cwd + b"'", EXIT_NOT_EXECUTABLE)
    _fail(program, "failed", b"cannot become the user of this command", EXIT_NOT_EXECUTABLE)
    return program.image()


def _join(program: Program, descriptors: tuple[int, ...]) -> None:
    """Enter cgroups before anything is started: the files were opened outside, by who may."""
    zero = program.data(b"0")
    for descriptor in descriptors:
        program.call("write", descriptor, zero, 1)
        for error in _JOIN_ERRORS:
            program.jump_if_error(error, "failed")


def _become(program: Program, who: Credentials) -> None:
    if who.nested and who.uid != 0:
        program.call("unshare", _CLONE_NEWUSER)
        program.jump_unless_zero("failed")
        for name, content in (
            ("setgroups", b"deny"),
            ("uid_map", b"%d 0 1" % who.uid),
            ("gid_map", b"%d 0 1" % who.gid),
        ):
            # The lowest free descriptor is 3: all above the standard streams have just been closed.
            program.call("openat", _AT_FDCWD, program.text(b"/proc/self/" + name.encode()), os.O_WRONLY)
            program.call("write", 3, program.data(content), len(content))
            program.call("close", 3)
    kept = _KEPT_BY_ROOT if who.uid == 0 else frozenset[int]()
    for capability in range(_CAPABILITIES):
        if capability not in kept:
            program.call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    program.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if not who.nested:
        groups = program.data(struct.pack(f"<{len(who.groups)}I", *who.groups))
        for call, arguments in (
            ("setgroups", (len(who.groups), groups)),
            ("setresgid", (who.gid,) * 3),
            ("setresuid", (who.uid,) * 3),
        ):
            program.call(call, *arguments)
            program.jump_unless_zero("failed")


def _refuse_calls(program: Program, instructions: bytes) -> None:
    header = struct.pack("<HxxxxxxQ", len(instructions) // _INSTRUCTION_BYTES, program.data(instructions).value)
    program.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program.data(header))
    program.jump_unless_zero("failed")


def _execute(program: Program, entry: Entry) -> None:
    """Try each place the command may be in; then again to tell "not there" from "not allowed"."""
    argv = program.pointers([program.text(part) for part in entry.argv])
    env = program.pointers([program.text(name + b"=" + value) for name, value in entry.env.items()])
    name = entry.argv[0]
    places = (name,) if b"/" in name else tuple(directory + b"/" + name for directory in entry.search)
    paths: list[Address] = [program.text(place) for place in places]
    for path in paths:
        program.call("execve", path, argv, env)
    for number, path in enumerate(paths):
        program.call("execve", path, argv, env)
        program.jump_if_error(errno.ENOENT, f"next {number}")
        program.jump_if_error(errno.ENOTDIR, f"next {number}")
        program.jump("not executable")
        program.label(f"next {number}")
    _fail(program, "not found", b"'" + name + b"' is not a command here", EXIT_NOT_FOUND)
    _fail(program, "not executable", b"'" + name + b"' cannot be executed", EXIT_NOT_EXECUTABLE)


def _fail(program: Program, label: str, message: bytes, exit_code: int) -> None:
    line = b"prewarm: " + message + b"\n"
    program.label(label)
    program.call("write", 2, program.data(line), len(line))
    program.call("exit_group", exit_code)


@contextlib.contextmanager
def executable(image: bytes) -> Iterator[int]:
    """Lend a descriptor of a sealed memory file with this content; ``/proc/self/fd/N`` executes it.

    Raises:
        OSError: The machine forbids memory files that can be executed (``vm.memfd_noexec=2``).
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        writable = os.memfd_create("prewarm", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        writable = os.memfd_create("prewarm", flags)  # Before Linux 6.3 the flag does not exist; all are executable.
    try:
        view = memoryview(image)
        while view:
            view = view[os.write(writable, view) :]
        fcntl.fcntl(writable, _F_ADD_SEALS, _ALL_SEALS)
        descriptor = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)  # What is open for writing cannot be executed.
    try:
        yield descriptor
    finally:
        os.close(descriptor)
