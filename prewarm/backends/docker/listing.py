"""List a directory of a session with what every image has: a shell and ``stat``. Pure: an argv, and what its output means."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import Final

from prewarm.backends.hosting import FileInfo, FileKind

_LIST: Final = r"""
cd -- "$1" || exit 1
shift
for name in * .[!.]* ..?*; do
  if [ -e "$name" ] || [ -L "$name" ]; then set -- "$@" "$name"; fi
done
[ $# -gt 0 ] || exit 0
printf '%s\0' "$@"
printf '\0'
for name; do stat -c '%f %s %Y' -- "$name"; done
"""
_TYPES: Final = {0o100000: FileKind.FILE, 0o040000: FileKind.DIRECTORY, 0o120000: FileKind.SYMLINK}
_TYPE_BITS: Final = 0o170000


def argv(path: str) -> tuple[str, ...]:
    """Give the command that lists a directory."""
    return ("/bin/sh", "-c", _LIST, "list", path)


def entries(path: str, output: bytes) -> Sequence[FileInfo]:
    """Read what it wrote: all names, each ended by a zero byte, one more, then a line of facts for each; by name."""
    if not output:
        return ()
    names, _, facts = output.partition(b"\0\0")
    found = []
    for name, line in zip(names.split(b"\0"), facts.splitlines(), strict=True):
        mode, size, modified = line.split()
        bits = int(mode, 16)
        kind = _TYPES.get(bits & _TYPE_BITS, FileKind.OTHER)
        found.append(
            FileInfo(
                path=posixpath.join(path, os.fsdecode(name)),
                kind=kind,
                size=int(size) if kind is FileKind.FILE else 0,
                mode=bits & 0o7777,
                modified=float(modified),
            )
        )
    return sorted(found, key=lambda entry: os.fsencode(entry.path))
