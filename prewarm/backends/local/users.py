"""Users as ``/etc/passwd`` inside a sandbox knows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prewarm.errors import SessionFailedError

_FIRST_UID: Final = 1000
_LAST_UID: Final = 60000


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who somebody is inside."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str | None = None


def find_user(name: str, passwd: bytes, group: bytes) -> User:
    """Find a user by name, ``uid`` or ``uid:gid``; ids that have no entry are fine.

    Raises:
        SessionFailedError: There is no user of that name inside.
    """
    first, _, second = name.partition(":")
    accounts = list(_fields(passwd, 6))
    if first.isdigit():
        uid = int(first)
        entry = next((fields for fields in accounts if _number(fields[2]) == uid), None)
    else:
        entry = next((fields for fields in accounts if fields[0] == first), None)
        if entry is None and first != "root":
            raise SessionFailedError(
                f"there is no user '{name}' in the sandbox",
                hint="name it as 'user' of the definition, which creates it",
            )
        uid = 0 if entry is None else _number(entry[2])
    gid = int(second) if second.isdigit() else uid if entry is None else _number(entry[3])
    groups = tuple(_number(f[2]) for f in _fields(group, 4) if entry is not None and entry[0] in f[3].split(","))
    return User(uid=uid, gid=gid, groups=groups, home=None if entry is None else entry[5])


def with_user(name: str, passwd: bytes, group: bytes) -> tuple[bytes, bytes, User]:
    """Add a user of this name, with the first free uid from 1000 on and a group of its own; home below ``/home``."""
    taken = {_number(f[2]) for f in _fields(passwd, 3)} | {_number(f[2]) for f in _fields(group, 3)}
    uid = next(number for number in range(_FIRST_UID, _LAST_UID) if number not in taken)
    user = User(uid=uid, gid=uid, home=f"/home/{name}")
    account = f"{name}:*:{uid}:{uid}::{user.home}:/bin/sh\n".encode()
    return _ended(passwd) + account, _ended(group) + f"{name}:x:{uid}:\n".encode(), user


def _ended(content: bytes) -> bytes:
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _fields(content: bytes, at_least: int) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) >= at_least and fields[2].isdigit():
            yield fields


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
