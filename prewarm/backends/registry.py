"""Find installed backends: entry points of the group ``prewarm.backends``, the built-in ones like anybody's.

Not here: what a backend does. Called by whoever builds (``choose``) and whoever opens (``load``).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, cast

from prewarm.backends.context import BackendContext
from prewarm.errors import BackendUnavailableError, UnknownBackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prewarm.backends.base import Backend

GROUP: Final = "prewarm.backends"
AUTO: Final = "auto"
AUTO_ORDER: Final = ("docker", "local")
_OURS: Final = "prewarm.backends."


def names() -> tuple[str, ...]:
    """Give the names of all installed backends, sorted."""
    return tuple(sorted(_targets()))


def load(name: str, context: BackendContext) -> Backend:
    """Make the backend of a name; it does no work yet and may turn out unable to work here (``check``).

    Raises:
        UnknownBackendError: No installed package offers it.
        BackendUnavailableError: It is there and cannot be imported, is no backend, or two packages claim the name.
    """
    targets = _light_targets().get(name) or _targets().get(name)
    if not targets:
        import difflib  # Only a mistake needs it.

        known = names()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"installed backends: {', '.join(known) or 'none'}"
        raise UnknownBackendError(f"no installed package offers a backend named '{name}'", hint=hint)
    if len(targets) > 1:
        raise BackendUnavailableError(
            f"backend '{name}' is offered more than once: {', '.join(sorted(targets))}", hint="uninstall all but one"
        )
    (target,) = targets
    backend = _import(name, target)(context)
    if not target.startswith(_OURS) and not _is_backend(backend):
        raise BackendUnavailableError(
            f"backend '{name}' ({target}) does not implement prewarm.backends.base.Backend",
            hint="upgrade the package that offers it",
        )
    return cast("Backend", backend)


def choose(name: str, context: BackendContext) -> tuple[Backend, str]:
    """Give a backend that works here, and why it is this one.

    Args:
        name: ``auto`` for the first of docker, local that passes its own check; otherwise exactly this one.
        context: What it may use of this machine.

    Raises:
        UnknownBackendError: No installed package offers it.
        BackendUnavailableError: It does not work here; for ``auto``: none does, with each one's reason.
    """
    if name != AUTO:
        backend = load(name, context)
        health = backend.check()
        if not health.ok:
            hints = [f.hint for f in health.findings if f.required and not f.ok and f.hint]
            raise BackendUnavailableError(
                f"backend '{name}' does not work here: {health.reason}", hint="; ".join(hints) or None
            )
        return backend, "asked for"
    refusals: list[str] = []
    hints = []
    for candidate in AUTO_ORDER:
        try:
            backend, _ = choose(candidate, context)
        except BackendUnavailableError as error:
            refusals.append(error.message)
            if error.hint:
                hints.append(f"{candidate}: {error.hint}")
        else:
            why = "it works here" if not refusals else f"it works here and {'; '.join(refusals)}"
            return backend, why
    raise BackendUnavailableError(f"no backend works here: {'; '.join(refusals)}", hint="; ".join(hints) or None)


def _is_backend(value: object) -> bool:
    from prewarm.backends.base import Backend  # Both halves, of which opening one of our own needs only one.

    return isinstance(value, Backend)


def _import(name: str, target: str) -> Callable[[BackendContext], object]:
    module_name, _, attribute = target.partition(":")
    try:
        module = __import__(module_name, fromlist=[attribute])
        return cast("Callable[[BackendContext], object]", getattr(module, attribute))
    except (ImportError, AttributeError) as error:
        raise BackendUnavailableError(
            f"backend '{name}' cannot be imported from {target}: {error}",
            hint="install what it needs, or choose another backend",
        ) from error


def _targets() -> dict[str, set[str]]:
    from importlib.metadata import entry_points  # 25 ms, which opening a session does not have.

    found: dict[str, set[str]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, set()).add(entry.value)
    return found


def _light_targets() -> dict[str, set[str]]:
    """Read the same from unpacked distributions on the path; ``_targets`` also knows the rare kinds."""
    found: dict[str, set[str]] = {}
    for directory in dict.fromkeys(sys.path):
        try:
            with os.scandir(directory or ".") as entries:
                folders = [entry.path for entry in entries if entry.name.endswith(".dist-info")]
        except OSError:  # A path entry may be a zip file or missing; ``_targets`` reads those.
            continue
        for folder in folders:
            try:
                with open(f"{folder}/entry_points.txt", encoding="utf-8") as file:
                    text = file.read()
            except OSError:  # Most distributions have none.
                continue
            if GROUP in text:
                for key, value in _section(text):
                    found.setdefault(key, set()).add(value)
    return found


def _section(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            inside = line == f"[{GROUP}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            pairs.append((key.strip(), value.split("[")[0].strip()))
    return pairs
