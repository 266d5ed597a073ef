"""What the index of the sample data says. Imported by the hook, so a change here captures again."""

from __future__ import annotations


def of(listing: str) -> dict[str, object]:
    """Make the index from lines of ``SIZE PATH``."""
    files = sorted((path, int(size)) for size, _, path in (line.partition(" ") for line in listing.splitlines()))
    return {"files": len(files), "bytes": sum(size for _, size in files), "paths": [path for path, _ in files]}
