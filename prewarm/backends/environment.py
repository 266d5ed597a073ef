"""The variables every command of a sandbox needs; backends lay the definition's own over them."""

from __future__ import annotations

from typing import Final

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def default_environment(user: str, home: str | None = None) -> dict[str, str]:
    """Give PATH, HOME, USER, LOGNAME and LANG for a user.

    Args:
        user: Name, ``uid`` or ``uid:gid``.
        home: Home directory where it is known; otherwise ``/root`` for root, ``/home/NAME`` for a name, ``/`` for a number.
    """
    name = user.partition(":")[0]
    if home is None:
        home = "/root" if name in {"root", "0"} else "/" if name.isdigit() else f"/home/{name}"
    if name == "0":
        name = "root"
    return {"PATH": DEFAULT_PATH, "HOME": home, "USER": name, "LOGNAME": name, "LANG": "C.UTF-8"}
