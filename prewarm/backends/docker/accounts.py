"""Users and groups of an image: read from its /etc/passwd, and written anew with one more.

Pure: texts in, texts out. No program of the image runs, so an image without ``useradd``, or a shell, gets its user too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from prewarm.errors import CaptureFailedError

FIRST_UID: Final = 1000
_LAST_UID: Final = 60000
_PASSWD_FIELDS: Final = 7
_GROUP_FIELDS: Final = 4
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_LAST_ID: Final = 2**31 - 1  # Of engines.


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as files are owned by it."""

    name: str
    uid: int
    gid: int
    home: str


ROOT: Final = Account(name="root", uid=0, gid=0, home="/root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The account files of an image; a missing one is empty.

    Attributes:
        passwd: Of ``/etc/passwd``.
        group: Of ``/etc/group``.
        shadow: Of ``/etc/shadow``; ``None`` where the image has none.
    """

    passwd: str = ""
    group: str = ""
    shadow: str | None = None

    def find(self, user: str) -> Account | None:
        """Find a user by name, ``uid`` or ``uid:gid``; a number needs no entry. ``None`` if there is no such name."""
        name, _, group = user.partition(":")
        for fields in _rows(self.passwd, _PASSWD_FIELDS):
            if name in {fields[0], fields[2]} and _is_number(fields[2]) and _is_number(fields[3]):
                gid = self._gid(group) if group else int(fields[3])
                return Account(name=fields[0], uid=int(fields[2]), gid=gid, home=fields[5] or "/")
        if _is_number(name):
            return Account(name=name, uid=int(name), gid=self._gid(group) if group else 0, home="/")
        return ROOT if name == "root" else None

    def with_user(self, name: str) -> tuple[Accounts, Account]:
        """Add a user with a group and a home of its own; uid 1000, or the first free one after it."""
        uids = {int(f[2]) for f in _rows(self.passwd, _PASSWD_FIELDS) if _is_number(f[2])}
        groups = {f[0]: int(f[2]) for f in _rows(self.group, _GROUP_FIELDS) if _is_number(f[2])}
        taken = uids | set(groups.values())
        uid = next((number for number in range(FIRST_UID, _LAST_UID) if number not in taken), None)
        if uid is None:
            raise CaptureFailedError(f"the image has no number left for user '{name}'")
        account = Account(name=name, uid=uid, gid=groups.get(name, uid), home=f"/home/{name}")
        group = self.group if name in groups else _with_line(self.group, f"{name}:x:{account.gid}:")
        passwd = _with_line(self.passwd, f"{name}:x:{account.uid}:{account.gid}::{account.home}:/bin/sh")
        if not self.find("root"):  # An image from scratch: root has a name too.
            passwd = "root:x:0:0:root:/root:/bin/sh\n" + passwd
        shadow = None if self.shadow is None else _with_line(self.shadow, f"{name}:!:19000:0:99999:7:::")
        return Accounts(passwd=passwd, group=group, shadow=shadow), account

    def _gid(self, group: str) -> int:
        if _is_number(group):
            return int(group)
        for fields in _rows(self.group, _GROUP_FIELDS):
            if fields[0] == group and _is_number(fields[2]):
                return int(fields[2])
        raise CaptureFailedError(f"the image has no group '{group}'", hint="name one that exists, or a number")


def _is_number(text: str) -> bool:
    """Say whether it is the number of a user or group; images are written by anybody."""
    return _NUMBER.fullmatch(text) is not None and int(text) <= _LAST_ID


def _rows(text: str, width: int) -> list[list[str]]:
    rows = [line.split(":") for line in text.split("\n") if line and not line.startswith("#")]
    return [row for row in rows if len(row) >= width]


def _with_line(text: str, line: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n"
