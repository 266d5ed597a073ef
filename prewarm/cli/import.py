"""``prewarm import``."""  # noqa: N999 - the module is found by the command's name.

from __future__ import annotations

from pathlib import Path

import click

from prewarm import pipeline, transport
from prewarm.cli import _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation
from prewarm.errors import LockFileError


@command("import", example="prewarm import templates.tar\nprewarm import templates.tar --backend docker")
@click.argument("archive", type=click.Path(path_type=Path, dir_okay=False))
@_options.FILE
@_options.HOME
@_options.BACKEND
@_options.JSON
def _import(*, archive: Path) -> None:
    """Take in the templates of ARCHIVE, each checked against its key, and print their keys.

    A prewarm.lock that is here or above, or named with -f, is remembered: 'prewarm gc' keeps what it names.
    """
    run = invocation()
    backend, _ = pipeline.installed(run.home, run.environment)(run.backend or "docker")
    try:
        lock = run.lock_path()
    except LockFileError:  # There is none, and none is needed: an archive stands for itself.
        lock = None
    keys = transport.take_in(archive, backend=backend, home=run.home, lock=lock)
    if run.as_json:
        _output.json_object({"schema": transport.TRANSPORT_SCHEMA, "keys": [str(key) for key in keys]})
    else:
        _output.lines("\n".join(keys))


COMMAND: click.Command = _import
