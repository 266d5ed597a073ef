"""``prewarm check``."""

from __future__ import annotations

import click

from prewarm import pipeline
from prewarm.cli import _options, _output
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("check", example="prewarm check\nprewarm check -f /srv/app/prewarm.lock --json")
@_options.FILE
@_options.HOME
@_options.PLATFORM
@_options.JSON
def _check() -> None:
    """Prove, on the host where it is run, that every template of prewarm.lock can be opened.

    Needs the lock file alone, not the definition: -f may name either. Asks every backend in this run.
    """
    run = invocation()
    answer = pipeline.check(run.lock_path(), home=run.home, environment=run.environment, platform=run.platform)
    if run.as_json:
        _output.json_object(answer.to_json())
    else:
        _output.lines(answer.text())
    if answer.hint:
        _output.hint(answer.hint)
    run.exit_code = answer.exit_code


COMMAND: click.Command = _check
