"""The backend's own options: ``local: {host_paths: […]}`` in the template half. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final

from prewarm.backends.paths import is_below
from prewarm.definition.options import Json

HOST_PATHS: Final = "host_paths"
_TAKEN: Final = ("/proc", "/dev", "/run", "/etc", "/usr", "/sys")


def problems(template: Mapping[str, Json], session: Mapping[str, Json]) -> list[str]:
    """Say what is wrong with them."""
    found = [f"the local backend has no option '{name}'" for name in sorted({*template, *session} - {HOST_PATHS})]
    if HOST_PATHS in session:
        found.append(f"'{HOST_PATHS}' belongs to the template, not to the session")
    value = template.get(HOST_PATHS, ())
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [*found, f"'{HOST_PATHS}' is a list of absolute paths"]
    return found + [problem for path in value if (problem := _path_problem(path))]


def _path_problem(path: Json) -> str:
    if not isinstance(path, str) or not path.startswith("/") or posixpath.normpath(path) != path or path == "/":
        return f"'{HOST_PATHS}': {path!r} is not an absolute path below /"
    if any(is_below(path, taken) for taken in _TAKEN):
        return f"'{HOST_PATHS}': {path} is a place that every sandbox has of its own"
    return ""


def host_paths(template: Mapping[str, Json]) -> tuple[str, ...]:
    """Give the paths asked for."""
    value = template.get(HOST_PATHS, ())
    return tuple(str(path) for path in value) if isinstance(value, Sequence) else ()
