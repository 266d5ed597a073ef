"""Pushing and pulling: the option both take, and showing what came of it."""

from __future__ import annotations

import click

from prewarm.cli import _output
from prewarm.cli._options import Invocation
from prewarm.errors import InterruptedBuildError
from prewarm.failure import Failure
from prewarm.moves import Moves

JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=4, show_default=True, help="Templates at a time."
)


def show(moves: Moves, run: Invocation) -> None:
    """Print what became of the templates, and each failure in full; set the exit code."""
    if run.as_json:
        _output.json_object(moves.to_json())
    else:
        _output.lines(moves.text())
    if moves.interrupted:
        stopped = InterruptedBuildError("interrupted", hint="run it again; what has moved does not move twice")
        _output.failure(Failure.of(stopped, name="", redact=str))
    for failure in moves.failures:
        _output.failure(failure)
    run.exit_code = moves.exit_code
