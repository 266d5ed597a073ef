"""``prewarm explain``."""

from __future__ import annotations

import click

from prewarm import pipeline
from prewarm.cli import _names, _options, _output, _runs
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("explain", example="prewarm explain analyst\nprewarm explain analyst --json")
@click.argument("name", shell_complete=_names.complete_sandboxes)
@_options.PROJECT
@_options.JSON
def _explain(*, name: str) -> None:
    """Say why sandbox NAME would be reused or captured now, and which inputs made the difference, old and new."""
    run = invocation()
    answer = pipeline.explain(
        run.project(), name, home=run.home, environment=run.environment, options=_runs.run_options(run)
    )
    if run.as_json:
        _output.json_object(answer.to_json())
    else:
        _output.lines(answer.text())
    if answer.now.error is not None and answer.now.error.hint:
        _output.hint(answer.now.error.hint)
    run.exit_code = answer.exit_code


COMMAND: click.Command = _explain
