"""Read the disk for keying: seed trees, input files, hook sources, digests of files.

Produces what ``key`` turns into a template key, and what a backend needs to put the same files into a template.

    entries     one file of a seed             closure      what a hook imports
    trees       walk, refuse                   hooks        run it from the bytes that were keyed
    ignoring    patterns and globs             digests      the cache by stat data, over hashing
    resolution  all of it for one definition

``SeedEntry`` is all that backends import; the rest is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prewarm.inputs.entries import EntryKind, SeedEntry

if TYPE_CHECKING:  # what ``__getattr__`` loads; backends must not pay for sqlite3 and ast.
    from prewarm.inputs.digests import FileDigests
    from prewarm.inputs.resolution import ResolvedTemplate, resolve

__all__ = ["EntryKind", "FileDigests", "ResolvedTemplate", "SeedEntry", "resolve"]

_HOMES: Final = {"FileDigests": "digests", "ResolvedTemplate": "resolution", "resolve": "resolution"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
