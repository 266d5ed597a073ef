"""Read the disk for keying: seed trees, input files, hook sources, base digests.

Produces what ``key`` turns into a template key and what a backend needs to put the same files into a template.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import NamedTuple


class EntryKind(enum.Enum):
    """What a seed entry is; anything else on disk (socket, fifo, device) is refused."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class SeedEntry(NamedTuple):
    """One file, directory or link to put into a template.

    Attributes:
        target: Absolute, normalised path inside, as bytes (names need not be UTF-8).
        kind: What it is.
        mode: Permission bits; 0o777 for links.
        size: Bytes of content; 0 unless a file.
        sha256: Of the content as keyed, hex; empty unless a file. A backend that copies checks it again.
        link: Link target as it stands; empty unless a link.
        source: Where the content is: a path on this machine, or the bytes themselves; ``None`` unless a file.
    """

    target: bytes
    kind: EntryKind
    mode: int
    size: int
    sha256: str
    link: bytes
    source: Path | bytes | None
