"""Template keys: what makes two captures the same.

Pure: no files, no clock, no environment. ``inputs`` reads the disk and hands over ``KeyInputs``; this package turns it
into canonical bytes and a ``TemplateKey``, and says in sentences how two ``KeyInputs`` differ. The runtime half imports
it for ``TemplateKey`` alone; everything else is loaded when it is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:  # what ``__getattr__`` loads; the runtime half must not pay for it.
    from prewarm.key.canonical import canonical_bytes, template_key
    from prewarm.key.difference import diff
    from prewarm.key.values import EntryKind, FileFact, KeyInputs, StepFact, StepKind

__all__ = [
    "KEY_SCHEMA",
    "SHORT_DIGITS",
    "EntryKind",
    "FileFact",
    "KeyInputs",
    "StepFact",
    "StepKind",
    "TemplateKey",
    "canonical_bytes",
    "diff",
    "template_key",
]

KEY_SCHEMA: Final = "prewarm.key/1"
SHORT_DIGITS: Final = 12
_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_HOMES: Final = {
    "EntryKind": "values",
    "FileFact": "values",
    "KeyInputs": "values",
    "StepFact": "values",
    "StepKind": "values",
    "canonical_bytes": "canonical",
    "template_key": "canonical",
    "diff": "difference",
}


class TemplateKey(str):
    """A template key in full: 64 lower-case hex digits.

    Raises:
        ValueError: The text is anything else.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _HEX64.fullmatch(text):
            raise ValueError(f"not a template key: {text!r}")
        return super().__new__(cls, text)

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self[:SHORT_DIGITS]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
