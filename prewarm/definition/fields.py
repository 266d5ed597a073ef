"""The text forms of a definition's fields: names, durations, sizes, modes, paths.

Each function takes what an author wrote and gives the value, or raises ``ValueError`` with a sentence that says what is
expected. Pure, standard library only; ``schema`` hangs them on its fields, ``link`` uses some for what comes later.
"""

from __future__ import annotations

import base64
import binascii
import math
import posixpath
import re
from typing import Final

NAME: Final = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
DURATION: Final = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
SIZE: Final = r"[0-9]+(?:\.[0-9]+)?\s*(?:[bB]|[kKmMgGtT](?:i?[bB])?)?"
MODE: Final = r"0?[0-7]{3,4}"
VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*"
HOOK: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
USER: Final = r"[a-z_][a-z0-9_-]{0,31}"
STEP_USER: Final = rf"(?:{USER}|[0-9]{{1,10}}(?::[0-9]{{1,10}})?)"
SECRET_ID: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"  # noqa: S105 - the shape of an id.
SHA256: Final = r"[0-9a-f]{64}"
IMAGE: Final = (
    r"(?:oci(?:-archive)?:\S+|(?:docker://)?(?:[A-Za-z0-9.\-\[\]:]+/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?)"
)

_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_PARTS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([bBkKmMgGtT]?)(?:i?[bB])?")
_BYTES: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SMALLEST_MEMORY: Final = 2**20
_LARGEST: Final = 2**53  # Beyond, numbers of most programs are no longer exact.
_LONGEST_S: Final = 1e9


def match(pattern: str, text: str, expected: str) -> str:
    """Give the text if all of it matches.

    Raises:
        ValueError: It does not; says what is expected.
    """
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError(f"expected {expected}")
    return text


def name(text: str) -> str:
    """Check a sandbox's name or a namespace."""
    return match(NAME, text, "1 to 63 of a-z 0-9 . _ -, with a letter or digit at both ends")


def duration(value: object) -> float:
    """Give seconds for ``30s``, ``10m``, ``1h30m``, ``500ms``; a bare number is seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected a duration such as 30s, 10m or 1h30m")  # noqa: TRY004 - a finding, not a bug.
    if isinstance(value, str):
        match(DURATION, value.strip(), "a duration such as 30s, 10m or 1h30m")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    else:
        seconds = _number(value, "a duration such as 30s, 10m or 1h30m")
    if not 0 < seconds <= _LONGEST_S:
        raise ValueError("expected a duration above zero, and below 30 years")
    return seconds


def size(value: object) -> int:
    """Give bytes for ``512m``, ``1g``, ``1.5GiB`` (powers of 1024, as Docker reads them); a bare number is bytes."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("expected a size such as 512m or 1g")  # noqa: TRY004 - a finding, not a bug.
    if isinstance(value, int):
        amount = value
    else:
        match(SIZE, value.strip(), "a size such as 512m or 1g")
        parts = _SIZE_PARTS.fullmatch(value.strip())
        amount = int(min(float(parts[1]) * _BYTES[parts[2].lower()], _LARGEST + 1)) if parts else 0
    if amount > _LARGEST:
        raise ValueError("expected a size of at most 8192t")
    if amount < _SMALLEST_MEMORY:
        raise ValueError("expected a size of at least 1m, such as 512m or 1g")
    return amount


def cores(value: object) -> float:
    """Give a number of processor cores; text that is a number will do, because rendered strings are text."""
    number = _number(value, "a number of cores such as 1 or 0.5")
    if not (math.isfinite(number) and number > 0):
        raise ValueError("expected a number of cores above zero")
    return number


def count(value: object) -> int:
    """Give a whole number above zero; text that is one will do."""
    number = _number(value, "a whole number above zero")
    if number < 1 or number != int(number):
        raise ValueError("expected a whole number above zero")
    return int(number)


def _number(value: object, expected: str) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value.strip(), re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        raise ValueError(f"expected {expected}")
    return float(value)


def mode(text: str) -> int:
    """Give permission bits for ``0644``."""
    return int(match(MODE, text, 'permission bits in quotes, such as "0644"'), 8)


def project_path(text: str) -> str:
    """Normalise a path relative to the project directory; it must stay in it."""
    if not text or "\0" in text:
        raise ValueError("expected a path relative to the project directory")
    if text.startswith(("/", "~")):
        raise ValueError("expected a path relative to the project directory, so that it is the same on every machine")
    normal = posixpath.normpath(text)
    if normal == ".." or normal.startswith("../"):
        raise ValueError("this path leaves the project directory")
    return f"{normal}/" if text.endswith("/") and normal != "." else normal


def inside_path(text: str) -> str:
    """Normalise an absolute path inside the template; a final ``/`` is kept, for it says that it is a directory."""
    if not text.startswith("/"):
        raise ValueError("expected an absolute path inside the template, such as /workspace")
    if "\0" in text or ".." in text.split("/"):
        raise ValueError("expected a path without '..'")
    normal = posixpath.normpath(text).replace("//", "/")
    return f"{normal}/" if text.endswith("/") and normal != "/" else normal


def file_inside(text: str) -> str:
    """Normalise the absolute path of a file inside the template."""
    normal = inside_path(text)
    if normal.endswith("/"):
        raise ValueError("expected the path of a file, without a final '/'")
    return normal


def image(text: str) -> str:
    """Check an image's name; the path of the ``oci:`` forms must stay in the project."""
    match(IMAGE, text, "an image such as debian:bookworm, oci:./layout or oci-archive:./image.tar")
    for prefix in ("oci-archive:", "oci:"):
        if text.startswith(prefix):
            return prefix + project_path(text.removeprefix(prefix))
    return text


def base64_text(text: str) -> str:
    """Check content in base64; line breaks and blanks are fine."""
    try:
        from_base64(text)
    except binascii.Error as error:
        raise ValueError(f"expected base64 ({str(error).lower()})") from None
    return text


def from_base64(text: str) -> bytes:
    """Decode what ``base64_text`` let through."""
    return base64.b64decode("".join(text.split()), validate=True)
