"""Users as ``/etc/passwd`` inside a sandbox knows them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from prewarm.errors import SessionFailedError

_FIRST_UID: Final = 1000
_LAST_UID: Final = 60000
_IDS: Final = 2**32 - 1  # The last one means "as before" to the kernel: nobody has it.
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


class User(NamedTuple):
    """Who somebody is inside."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str | None = None


def find_user(name: str, passwd: bytes, group: bytes) -> User:
    """Find a user by name, ``uid`` or ``uid:gid``; ids that have no entry are fine.

    Raises:
        SessionFailedError: There is no user of that name inside, or none can have that number.
    """
    first, _, second = name.partition(":")
    accounts = list(_fields(passwd, 6))
    if first.isdigit():
        uid = _id(first, name)
        entry = next((fields for fields in accounts if int(fields[2]) == uid), None)
    else:
        entry = next((fields for fields in accounts if fields[0] == first), None)
        if entry is None and first != "root":
            raise SessionFailedError(
                f"there is no user '{name}' in the sandbox",
                hint="name it as 'user' of the definition, which creates it",
            )
        uid = 0 if entry is None else _id(entry[2], name)
    if second and not second.isdigit():
        raise SessionFailedError(f"'{name}' is no user", hint="say NAME, UID or UID:GID")
    gid = _id(second, name) if second.isdigit() else uid if entry is None else _id(entry[3], name)
    groups = tuple(_id(f[2], name) for f in _fields(group, 4) if entry is not None and entry[0] in f[3].split(","))
    return User(uid=uid, gid=gid, groups=groups, home=None if entry is None else entry[5])


def with_user(name: str, passwd: bytes, group: bytes) -> tuple[bytes, bytes, User]:
    """Add a user of this name, with the first free uid from 1000 on and a group of its own; home below ``/home``."""
    taken = {int(f[2]) for f in _fields(passwd, 3)} | {int(f[2]) for f in _fields(group, 3)}
    uid = next((number for number in range(_FIRST_UID, _LAST_UID) if number not in taken), None)
    if uid is None:
        raise SessionFailedError(f"there is no number left for user '{name}' in the sandbox")
    user = User(uid=uid, gid=uid, home=f"/home/{name}")
    account = f"{name}:*:{uid}:{uid}::{user.home}:/bin/sh\n".encode()
    return _ended(passwd) + account, _ended(group) + f"{name}:x:{uid}:\n".encode(), user


def _ended(content: bytes) -> bytes:
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _fields(content: bytes, at_least: int) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":")
        if len(fields) >= at_least and _NUMBER.fullmatch(fields[2]):
            yield fields


def _id(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= _IDS:
        raise SessionFailedError(f"user '{name}' has the number '{text[:20]}' in the sandbox, which nobody can have")
    return int(text)
