"""``prewarm pull``."""

from __future__ import annotations

import click

from prewarm import pipeline, transport
from prewarm.cli import _moves, _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command(
    "pull", example="prewarm pull registry.example.org/team\nprewarm pull registry.example.org/team -f app/prewarm.lock"
)
@click.argument("registry")
@_options.NAMED
@_moves.JOBS
@_options.FILE
@_options.HOME
@_options.JSON
def _pull(*, registry: str, only: tuple[str, ...], jobs: int) -> None:
    """Get the templates of prewarm.lock from REGISTRY, each checked against its key and its ref.

    What is here already does not move. One that fails does not stop the others. Credentials are
    those of 'docker login' and its helpers.
    """
    run = invocation()
    choose = pipeline.installed(run.home, run.environment)
    moves = transport.pull(
        run.lock_path(),
        registry,
        only=_options.names(only),
        choose=choose,
        home=run.home,
        hear=_output.talk,
        jobs=jobs,
    )
    _moves.show(moves, run)


COMMAND: click.Command = _pull
