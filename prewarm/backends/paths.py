"""Paths inside a session, as callers write them: absolute, without ``..``. Backends resolve links on top of this."""

from __future__ import annotations

import posixpath

from prewarm.errors import PathEscapesError, SessionFileError


def is_below(path: str, root: str) -> bool:
    """Say whether a normalised path is a directory or lies in it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def session_path(path: str) -> str:
    """Give a path normalised.

    Raises:
        SessionFileError: It is not absolute, or holds a zero byte.
        PathEscapesError: It has ``..`` in it.
    """
    if "\0" in path:
        raise SessionFileError(f"a path must not hold a zero byte, found {path!r}")
    if not path.startswith("/"):
        raise SessionFileError(f"'{path!s}' is not an absolute path", hint="paths in a session start with '/'")
    if ".." in path.split("/"):
        raise PathEscapesError(f"path '{path}' has '..' in it", hint="write the path that is meant")
    return "/" + posixpath.normpath(path).lstrip("/")
