"""``prewarm plan``."""

from __future__ import annotations

import click

from prewarm import pipeline
from prewarm.cli import _options, _runs
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("plan", example="prewarm plan\nprewarm plan --json | jq -r '.templates[] | .name + \" \" + .reason'")
@_options.PROJECT
@_options.ONLY
@_options.FORCE
@_options.FROM
@_options.JSON
def _plan(*, only: tuple[str, ...], force: bool, registry: str | None) -> None:
    """Say what a build would do for each sandbox, and why. Captures nothing."""
    run = invocation()
    options = _runs.run_options(run, only=only, force=force, registry=registry)
    _runs.show(pipeline.plan(run.project(), home=run.home, environment=run.environment, options=options), run)


COMMAND: click.Command = _plan
