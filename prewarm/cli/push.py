"""``prewarm push``."""

from __future__ import annotations

import click

from prewarm import pipeline, transport
from prewarm.cli import _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command(
    "push", example="prewarm push registry.example.org/team\nprewarm push registry.example.org/team --only analyst"
)
@click.argument("registry")
@_options.NAMED
@_options.FILE
@_options.HOME
@_options.JSON
def _push(*, registry: str, only: tuple[str, ...]) -> None:
    """Put the templates of prewarm.lock into REGISTRY (a host, and what stands before the image's name).

    What the registry has already does not move. Credentials are those of 'docker login'.
    """
    run = invocation()
    choose = pipeline.installed(run.home, run.environment)
    moves = transport.push(run.lock_path(), registry, only=_options.names(only), choose=choose, hear=_output.talk)
    if run.as_json:
        _output.json_object(moves.to_json())
    else:
        _output.lines(moves.text())


COMMAND: click.Command = _push
