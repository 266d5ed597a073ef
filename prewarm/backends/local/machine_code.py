"""Straight-line programs as ELF images: system calls with constant arguments, a few jumps, data.

The backend needs two programs that run inside a sandbox, where nothing of the host's can be relied on (a rootfs may hold
no libc, no shell) and nothing of the sandbox's may be trusted: the one that is pid 1, and the one that turns an entering
process into a command. Both are a list of system calls, so they are written at run time, a few hundred bytes each, and run
from a sealed memory file. ``programs`` says what they do. x86-64 and AArch64; pure.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

_BASE: Final = 0x400000
_SCRATCH: Final = 0x10000000
_HEADERS: Final = 64 + 3 * 56
_PAGE: Final = 0x1000
_LOAD_READ_EXECUTE: Final = (1, 5)
_LOAD_READ_WRITE: Final = (1, 6)
_STACK_READ_WRITE: Final = (0x6474E551, 6)

_SYSCALLS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "close": 3,
        "rt_sigaction": 13,
        "ioctl": 16,
        "execve": 59,
        "chdir": 80,
        "umask": 95,
        "setsid": 112,
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "prctl": 157,
        "sched_setaffinity": 203,
        "exit_group": 231,
        "openat": 257,
        "ppoll": 271,
        "unshare": 272,
        "dup3": 292,
        "prlimit64": 302,
        "close_range": 436,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "close": 57,
        "rt_sigaction": 134,
        "ioctl": 29,
        "execve": 221,
        "chdir": 49,
        "umask": 166,
        "setsid": 157,
        "setgroups": 159,
        "setresuid": 147,
        "setresgid": 149,
        "prctl": 167,
        "sched_setaffinity": 122,
        "exit_group": 94,
        "openat": 56,
        "ppoll": 73,
        "unshare": 97,
        "dup3": 24,
        "prlimit64": 261,
        "close_range": 436,
    },
}
MACHINES: Final = frozenset(_SYSCALLS)


class _Encoder(Protocol):
    """How one machine says what a program needs. Lengths never depend on values."""

    elf_machine: int

    def system_call(self, number: int, arguments: Sequence[int]) -> bytes: ...
    def jump(self, distance: int) -> bytes: ...
    def jump_unless_zero(self, distance: int) -> bytes: ...
    def jump_if_error(self, number: int, distance: int) -> bytes: ...


class _X86:
    elf_machine = 62
    _ARGUMENTS: Final = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")

    def system_call(self, number: int, arguments: Sequence[int]) -> bytes:
        moves = (
            prefix + struct.pack("<Q", value & (2**64 - 1))
            for prefix, value in zip(self._ARGUMENTS, arguments, strict=False)
        )
        return b"".join(moves) + b"\x48\xb8" + struct.pack("<Q", number) + b"\x0f\x05"

    def jump(self, distance: int) -> bytes:
        return b"\xe9" + struct.pack("<i", distance - 5)

    def jump_unless_zero(self, distance: int) -> bytes:  # test rax, rax; jnz
        return b"\x48\x85\xc0\x0f\x85" + struct.pack("<i", distance - 9)

    def jump_if_error(self, number: int, distance: int) -> bytes:  # cmp rax, -number; je
        return b"\x48\x83\xf8" + struct.pack("<b", -number) + b"\x0f\x84" + struct.pack("<i", distance - 10)


class _Arm:
    elf_machine = 183

    def system_call(self, number: int, arguments: Sequence[int]) -> bytes:
        moves = (_arm_load(register, value) for register, value in enumerate(arguments))
        return b"".join(moves) + _arm_load(8, number) + struct.pack("<I", 0xD4000001)

    def jump(self, distance: int) -> bytes:
        return struct.pack("<I", 0x14000000 | (distance // 4) & 0x3FFFFFF)

    def jump_unless_zero(self, distance: int) -> bytes:  # cbnz x0
        return struct.pack("<I", 0xB5000000 | ((distance // 4) & 0x7FFFF) << 5)

    def jump_if_error(self, number: int, distance: int) -> bytes:  # cmn x0, #number; b.eq
        return struct.pack("<II", 0xB100001F | number << 10, 0x54000000 | ((distance // 4 - 1) & 0x7FFFF) << 5)


def _arm_load(register: int, value: int) -> bytes:
    """Load 64 bits: movz, then movk for the three upper quarters."""
    words = (0xD2800000, 0xF2A00000, 0xF2C00000, 0xF2E00000)
    return b"".join(
        struct.pack("<I", word | ((value >> 16 * quarter) & 0xFFFF) << 5 | register)
        for quarter, word in enumerate(words)
    )


_ENCODERS: Final[dict[str, _Encoder]] = {"x86_64": _X86(), "aarch64": _Arm()}


@functools.lru_cache(maxsize=1024)
def _encoded(machine: str, number: int, arguments: tuple[int, ...]) -> bytes:
    """Encode a system call; most calls of most programs are the same."""
    return _ENCODERS[machine].system_call(number, arguments)


class Address(NamedTuple):
    """Where a piece of a program's data will be."""

    value: int


class Program:
    """A program being written; ``image`` is the finished ELF file.

    Args:
        machine: As ``os.uname().machine`` says; one of ``MACHINES``.
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._numbers = _SYSCALLS[machine]
        self._encoder = _ENCODERS[machine]
        self._data = bytearray()
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._jumps: list[
            tuple[int, str, int]
        ] = []  # Where, to which label, for which error (0: unless zero, -1: always).

    def data(self, content: bytes) -> Address:
        """Put bytes into the program."""
        self._data += bytes(-len(self._data) % 8)
        address = Address(_BASE + _HEADERS + len(self._data))
        self._data += content
        return address

    def text(self, content: bytes) -> Address:
        """Put a zero-terminated string into the program."""
        return self.data(content + b"\0")

    def pointers(self, addresses: Sequence[Address]) -> Address:
        """Put a zero-terminated array of addresses into the program, as ``execve`` takes them."""
        return self.data(struct.pack(f"<{len(addresses) + 1}Q", *(address.value for address in addresses), 0))

    @property
    def scratch(self) -> Address:
        """A page that a system call may write to."""
        return Address(_SCRATCH)

    def call(self, name: str, *arguments: int | Address) -> None:
        """Add a system call; its result is forgotten unless a jump follows."""
        values = tuple(argument.value if isinstance(argument, Address) else argument for argument in arguments)
        self._code += _encoded(self._machine, self._numbers[name], values)

    def label(self, name: str) -> None:
        """Name this place, for jumps from before and after."""
        self._labels[name] = len(self._code)

    def jump(self, label: str) -> None:
        """Go on at a label."""
        self._add_jump(label, -1)

    def jump_unless_zero(self, label: str) -> None:
        """Go on at a label where the last call gave anything but 0."""
        self._add_jump(label, 0)

    def jump_if_error(self, number: int, label: str) -> None:
        """Go on at a label where the last call failed with this error (1 to 127)."""
        self._add_jump(label, number)

    def _add_jump(self, label: str, error: int) -> None:
        self._jumps.append((len(self._code), label, error))
        self._code += self._encode_jump(error, 0)

    def _encode_jump(self, error: int, distance: int) -> bytes:
        if error < 0:
            return self._encoder.jump(distance)
        return self._encoder.jump_if_error(error, distance) if error else self._encoder.jump_unless_zero(distance)

    def image(self) -> bytes:
        """Give the ELF file. Jumps to labels that were never set are a ``KeyError``."""
        code = bytearray(self._code)
        for place, label, error in self._jumps:
            encoded = self._encode_jump(error, self._labels[label] - place)
            code[place : place + len(encoded)] = encoded
        body = bytes(self._data) + bytes(-len(self._data) % 16)
        entry = _BASE + _HEADERS + len(body)
        size = _HEADERS + len(body) + len(code)
        machine = self._encoder.elf_machine
        header = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)
        header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 3, 0, 0, 0)
        load = struct.pack("<IIQQQQQQ", *_LOAD_READ_EXECUTE, 0, _BASE, _BASE, size, size, _PAGE)
        stack = struct.pack("<IIQQQQQQ", *_STACK_READ_WRITE, 0, 0, 0, 0, 0, 16)
        scratch = struct.pack("<IIQQQQQQ", *_LOAD_READ_WRITE, 0, _SCRATCH, _SCRATCH, 0, _PAGE, _PAGE)
        return header + load + scratch + stack + body + bytes(code)
