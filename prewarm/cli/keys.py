"""``prewarm keys``."""

from __future__ import annotations

import click

from prewarm import pipeline
from prewarm.cli import _options, _output, _runs
from prewarm.cli._group import command
from prewarm.cli._options import invocation


@command("keys", example="prewarm keys\nprewarm keys --only analyst --json | jq -r '.templates[0].key'")
@_options.PROJECT
@_options.ONLY
@_options.JSON
def _keys(*, only: tuple[str, ...]) -> None:
    """Print the template key of every sandbox, in full. Captures nothing and asks no backend for templates.

    Good as the key of a CI cache: the same inputs give the same keys on every machine.
    """
    run = invocation()
    options = _runs.run_options(run, only=only)
    answer = pipeline.keys(run.project(), home=run.home, environment=run.environment, options=options)
    if run.as_json:
        _output.json_object(answer.to_json())
    else:
        for one in answer.templates:
            if one.key is not None:
                _output.data(f"{one.key}  {one.name}")
    for one in answer.templates:
        if one.error is not None:
            _output.failure(_runs.named(one.error, one.name))
    run.exit_code = answer.exit_code


COMMAND: click.Command = _keys
