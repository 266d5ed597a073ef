"""``prewarm cache``: ``save``, ``restore`` and ``key``."""

from __future__ import annotations

from pathlib import Path

import click

from prewarm import pipeline, transport
from prewarm.cli import _options, _output, _text
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("cache", example="prewarm cache key\nprewarm cache restore .prewarm-cache\nprewarm cache save .prewarm-cache")
@click.argument("action", type=click.Choice(["save", "restore", "key"]))
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@_options.FILE
@_options.HOME
@_options.JSON
def _cache(*, action: str, directory: Path | None) -> None:
    """Keep the templates of prewarm.lock in DIRECTORY, for the cache step of any CI system.

    'save' makes it hold what the lock file needs and nothing else, and writes nothing that is there already; 'restore'
    takes in what is not here; 'key' prints the name to keep it under.
    """
    run = invocation()
    lock = run.lock_path()
    if action == "key":
        key = transport.cache_key(lock)
        if run.as_json:
            _output.json_object({"schema": transport.TRANSPORT_SCHEMA, "key": key})
        else:
            _output.data(key)
        return
    if directory is None:
        raise click.UsageError(f"'cache {action}' needs a directory")
    choose = pipeline.installed(run.home, run.environment)
    if action == "restore":
        moves = transport.cache_restore(lock, directory, choose=choose, home=run.home)
        if run.as_json:
            _output.json_object(moves.to_json())
        else:
            _output.lines(moves.text())
        return
    stored = transport.cache_save(lock, directory, choose=choose)
    if run.as_json:
        _output.json_object(
            {
                "schema": transport.TRANSPORT_SCHEMA,
                "written": stored.written,
                "kept": stored.kept,
                "removed": stored.removed,
            }
        )
    else:
        sizes = [f"{_text.size(size)} {what}" for size, what in _sizes(stored.written, stored.kept, stored.removed)]
        _output.data(", ".join(sizes))


def _sizes(written: int, kept: int, removed: int) -> list[tuple[int, str]]:
    return [(written, "written"), (kept, "kept"), (removed, "removed")]


COMMAND: click.Command = _cache
