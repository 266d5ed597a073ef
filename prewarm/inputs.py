"""Read the disk for keying: seed trees, input files, hook sources, base digests.

Produces what ``key`` turns into a template key and what a backend needs to put the same files into a template.
"""

from __future__ import annotations

import enum
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
        mode: Permission bits. From disk: 0o644 or 0o755 by the owner's executable bit, 0o755 for directories, 0o777
            for links, so that no umask is in a key. Of an inline seed: as its author wrote it.
        size: Bytes of content; 0 unless a file.
        sha256: Of the content as keyed, hex; empty unless a file. A backend that copies checks it again.
        link: Link target as it stands; empty unless a link.
        source: Where the content is: ``str`` is a path on this machine (``os.fsdecode``), ``bytes`` are the content
            itself; ``None`` unless a file.
    """

    target: bytes
    kind: EntryKind
    mode: int
    size: int
    sha256: str
    link: bytes
    source: str | bytes | None
