"""System calls that Python lacks: ``openat2``, which keeps paths inside a root whatever links it finds, and ``fstatfs``."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_NUMBER: Final = 437  # On every architecture.
_NO_MAGIC_LINKS: Final = 0x02
_BENEATH: Final = 0x08
_IN_ROOT: Final = 0x10
_STATFS_BYTES: Final = 256  # More than any machine needs.
_CREATING: Final = os.O_CREAT | getattr(os, "O_TMPFILE", 0) & ~os.O_DIRECTORY


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(root: int, path: bytes, flags: int, mode: int = 0, *, beneath: bool = False) -> int:
    """Open a path with ``root`` as its root directory: ``..`` stops there, absolute links start there.

    Args:
        root: Descriptor of a directory.
        path: Relative or absolute.
        flags: As for ``open``; close-on-exec is added.
        mode: Of a file that is created.
        beneath: Whether leading out of ``root`` is an error (``EXDEV``) instead.

    Raises:
        OSError: As ``open`` does.
    """
    relative = path.lstrip(b"/") or b"."
    resolve = _NO_MAGIC_LINKS | (_BENEATH if beneath else _IN_ROOT)
    how = _How(flags | os.O_CLOEXEC, mode if flags & _CREATING else 0, resolve)
    while True:
        result = _LIBC.syscall(
            ctypes.c_long(_NUMBER),
            ctypes.c_int(root),
            ctypes.c_char_p(relative),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if result >= 0:
            return int(result)
        number = ctypes.get_errno()
        if number not in {4, 11}:  # EINTR, and EAGAIN where a rename raced with the walk: both ask to try again.
            raise OSError(number, os.strerror(number), os.fsdecode(path))


def filesystem(place: int) -> int:
    """Say what kind of filesystem an open file is on: the number that ``statfs`` gives.

    Raises:
        OSError: It cannot be asked.
    """
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _LIBC.fstatfs(ctypes.c_int(place), found) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(found).value


def is_available() -> bool:
    """Say whether this kernel has it (Linux 5.6)."""
    try:
        descriptor = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            os.close(openat2(descriptor, b".", os.O_PATH))
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


_LIBC: Final = ctypes.CDLL(None, use_errno=True)
