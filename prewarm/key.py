"""Template keys: what makes two captures the same.

Pure: no files, no clock, no environment. ``inputs`` reads the disk and hands over ``KeyInputs``; this module turns it
into canonical bytes and a ``TemplateKey``, and says in sentences how two ``KeyInputs`` differ.
"""

from __future__ import annotations

import re
from typing import Final

KEY_SCHEMA: Final = "prewarm.key/1"
SHORT_DIGITS: Final = 12
_HEX64: Final = re.compile(r"[0-9a-f]{64}")


class TemplateKey(str):
    """A template key in full: 64 lower-case hex digits.

    Raises:
        ValueError: The text is anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> TemplateKey:
        if not _HEX64.fullmatch(text):
            raise ValueError(f"not a template key: {text!r}")
        return super().__new__(cls, text)

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self[:SHORT_DIGITS]
