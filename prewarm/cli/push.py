"""``prewarm push``."""

from __future__ import annotations

import click

from prewarm import pipeline, transport
from prewarm.cli import _moves, _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command(
    "push", example="prewarm push registry.example.org/team\nprewarm push registry.example.org/team --only analyst"
)
@click.argument("registry")
@_options.NAMED
@_moves.JOBS
@_options.FILE
@_options.HOME
@_options.JSON
def _push(*, registry: str, only: tuple[str, ...], jobs: int) -> None:
    """Put the templates of prewarm.lock into REGISTRY (a host, and what stands before the image's name).

    What the registry has already does not move. One that fails does not stop the others. Credentials are
    those of 'docker login' and its helpers.
    """
    run = invocation()
    choose = pipeline.installed(run.home, run.environment)
    moves = transport.push(
        run.lock_path(), registry, only=_options.names(only), choose=choose, hear=_output.talk, jobs=jobs
    )
    _moves.show(moves, run)


COMMAND: click.Command = _push
