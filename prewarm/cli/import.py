"""``prewarm import``."""  # noqa: N999 - the module is found by the command's name.

from __future__ import annotations

from pathlib import Path

import click

from prewarm import pipeline, transport
from prewarm.cli import _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("import", example="prewarm import templates.tar\nprewarm import templates.tar --backend docker")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@_options.HOME
@_options.BACKEND
@_options.JSON
def _import(*, archive: Path) -> None:
    """Take in the templates of ARCHIVE, each checked against its key, and print their keys."""
    run = invocation()
    backend, _ = pipeline.installed(run.home, run.environment)(run.backend or "docker")
    keys = transport.take_in(archive, backend=backend)
    if run.as_json:
        _output.json_object({"schema": transport.TRANSPORT_SCHEMA, "keys": [str(key) for key in keys]})
    else:
        _output.lines("\n".join(keys))


COMMAND: click.Command = _import
