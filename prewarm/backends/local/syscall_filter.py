"""System calls that no command of a sandbox may make, as a seccomp filter. Pure.

Refused is what needs no privilege and reaches past a sandbox, as container engines refuse it: making a user namespace (whoever
does has all capabilities in it, and the kernel's code for mounts and networks to try them on), keyrings (they are those
of whoever started the command), and the kernel's larger interfaces that sandboxes do not need. What takes a capability
is refused by its absence already.
"""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

_CLONE_NEWUSER: Final = 0x10000000
_X32: Final = 0x40000000
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16  # Where the kernel tells the filter what.
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000


class _Calls(NamedTuple):
    """The calls of one machine; those from ``clone3`` on have one number on all.

    Attributes:
        machine: As the audit of the kernel names it.
        refused: ``add_key``, ``request_key``, ``keyctl``, ``bpf``, ``perf_event_open``, ``userfaultfd``.
        namespaces: ``clone`` and ``unshare``, whose first argument says what of.
    """

    machine: int
    refused: tuple[int, ...]
    namespaces: tuple[int, ...]


_CLONE3: Final = 435  # Its flags are out of a filter's sight: it is as if the kernel had none, and clone is tried.
_IO_URING: Final = (425, 426, 427)
_X86_64: Final = _Calls(machine=0xC000003E, refused=(248, 249, 250, 321, 298, 323), namespaces=(56, 272))
_I386: Final = _Calls(machine=0x40000003, refused=(286, 287, 288, 357, 336, 374), namespaces=(120, 310))
_AARCH64: Final = _Calls(machine=0xC00000B7, refused=(217, 218, 219, 280, 241, 282), namespaces=(220, 97))
_ARM: Final = _Calls(machine=0x40000028, refused=(309, 310, 311, 386, 364, 388), namespaces=(120, 337))
_FAMILIES: Final[Mapping[str, tuple[_Calls, ...]]] = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


@functools.cache
def instructions(machine: str) -> bytes:
    """Give the filter of a machine, for its own programs and its 32-bit ones; other calls do not exist.

    Args:
        machine: As ``os.uname().machine`` says.
    """
    parts = [_instruction(_LOAD, _MACHINE)]
    for calls in _FAMILIES[machine]:
        part = _rules(calls)
        parts += [_instruction(_IF_EQUAL, calls.machine, no=len(part)), *part]
    return b"".join((*parts, _fail(errno.ENOSYS)))


def _rules(calls: _Calls) -> list[bytes]:
    found = [_instruction(_LOAD, _NUMBER)]
    if calls is _X86_64:  # Numbers of a third kind of program, which no distribution has.
        found += [_instruction(_IF_AT_LEAST, _X32, no=1), _fail(errno.ENOSYS)]
    found += [_instruction(_IF_EQUAL, _CLONE3, no=1), _fail(errno.ENOSYS)]
    for number in (*calls.refused, *_IO_URING):
        found += [_instruction(_IF_EQUAL, number, no=1), _fail(errno.EPERM)]
    first, second = calls.namespaces
    return [
        *found,
        _instruction(_IF_EQUAL, first, yes=1),
        _instruction(_IF_EQUAL, second, no=3),
        _instruction(_LOAD, _FIRST_ARGUMENT),
        _instruction(_IF_ANY_BIT, _CLONE_NEWUSER, no=1),
        _fail(errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _fail(number: int) -> bytes:
    return _instruction(_RETURN, _FAIL | number)


def _instruction(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Encode one: where it compares, how many to leave out if it holds and if not."""
    return struct.pack("<HBBI", code, yes, no, value)
