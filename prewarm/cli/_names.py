"""Names for shell completion: sandboxes of the project at hand, backends, ready-made definitions.

Completion must be quick and never fail: what cannot be read offers nothing.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from prewarm import process
from prewarm.errors import PrewarmError


def complete_sandboxes(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the sandboxes of the definition file, or of the lock file where that cannot be read."""
    chosen: object = getattr(ctx.find_root().obj, "file", None)
    head, comma, last = incomplete.rpartition(",")
    found = _defined(chosen if isinstance(chosen, Path) else None)
    return [CompletionItem(f"{head}{comma}{name}") for name in found if name.startswith(last)]


def complete_backends(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the installed backends."""
    from prewarm.backends import registry

    return [CompletionItem(name) for name in ("auto", *registry.names()) if name.startswith(incomplete)]


def complete_starters(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ready-made definitions."""
    from prewarm.cli import _starters

    return [CompletionItem(name) for name in _starters.names() if name.startswith(incomplete)]


def complete_sessions(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the keys of sessions that were opened from here."""
    from prewarm.cli._options import Invocation
    from prewarm.session.ledger import Ledger

    run: object = ctx.find_root().obj
    try:
        leases = Ledger(run.home).leases() if isinstance(run, Invocation) else ()
    except PrewarmError:
        return []
    keys = dict.fromkeys(lease.session_key for lease in leases)
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


def _defined(file: Path | None) -> tuple[str, ...]:
    from prewarm.definition import find_definition_file, load_project

    try:
        path = file if file is not None else find_definition_file(Path.cwd())
    except PrewarmError:
        return _locked(Path.cwd())
    try:
        project = load_project(path, environment=process.environment())
    except PrewarmError:
        return _locked(path.parent)
    return tuple(definition.name for definition in project.definitions)


def _locked(directory: Path) -> tuple[str, ...]:
    from prewarm import lockfile

    try:
        lock = lockfile.read(directory / lockfile.LOCK_NAME)
    except PrewarmError:
        return ()
    return tuple(dict.fromkeys(entry.name for entry in lock.entries))
