"""``prewarm export``."""

from __future__ import annotations

from pathlib import Path

import click

from prewarm import pipeline, transport
from prewarm.cli import _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("export", example="prewarm export templates.tar\nprewarm export templates.tar --only analyst,base")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@_options.NAMED
@_options.FILE
@_options.HOME
@_options.JSON
def _export(*, archive: Path, only: tuple[str, ...]) -> None:
    """Write the templates of prewarm.lock to ARCHIVE; what several share is in it once."""
    run = invocation()
    choose = pipeline.installed(run.home, run.environment)
    moves = transport.export(run.lock_path(), archive, only=_options.names(only), choose=choose)
    if run.as_json:
        _output.json_object(moves.to_json())
    else:
        _output.lines(moves.text())


COMMAND: click.Command = _export
