"""``prewarm schema``."""

from __future__ import annotations

import click

from prewarm.cli import _output
from prewarm.cli._group import command
from prewarm.definition import json_schema

_EXAMPLE = """\
prewarm schema > prewarm.schema.json
# then, as the first line of prewarm.yaml:
# yaml-language-server: $schema=prewarm.schema.json"""


@command("schema", example=_EXAMPLE)
def _schema() -> None:
    """Print the JSON Schema of prewarm.yaml, for editors that complete and check."""
    _output.json_object(json_schema())


COMMAND: click.Command = _schema
