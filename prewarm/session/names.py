"""Names from outside, checked before they become paths or labels."""

from __future__ import annotations

import os
import re
from typing import Final

from prewarm.errors import InvalidNameError

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SESSION_KEY: Final = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_SHOWN: Final = 140


def checked_name(name: str) -> str:
    """Give a sandbox's name back.

    Raises:
        InvalidNameError: It is not one.
    """
    if not _NAME.fullmatch(name):
        raise InvalidNameError(
            f"{name[:_SHOWN]!r} is not the name of a sandbox",
            hint="a name is 1 to 63 of a-z 0-9 . _ -, starting and ending with a letter or digit",
        )
    return name


def checked_key(key: str) -> str:
    """Give a session key back.

    Raises:
        InvalidNameError: It is not one.
    """
    if not _SESSION_KEY.fullmatch(key) or not key.strip("."):
        raise InvalidNameError(
            f"{key[:_SHOWN]!r} is not a session key",
            hint="a session key is 1 to 128 of A-Z a-z 0-9 . _ : @ -; hash what is longer or has other characters",
        )
    return key


def new_key() -> str:
    """Give a session key that nobody else has."""
    return f"anonymous-{os.urandom(12).hex()}"
