"""``prewarm init``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from prewarm.cli import _names, _output, _starters
from prewarm.cli._group import command

_EXAMPLE = """\
prewarm init --list
prewarm init --template data-science analysis"""


@command("init", example=_EXAMPLE)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "-t",
    "--template",
    default="python",
    show_default=True,
    shell_complete=_names.complete_starters,
    help="The ready-made definition to start from.",
)
@click.option("--namespace", help="[default: the directory's name]")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@click.option("--list", "list_them", is_flag=True, help="Only list the ready-made definitions.")
def _init(*, directory: Path, template: str, namespace: str | None, force: bool, list_them: bool) -> None:
    """Start a project in DIRECTORY (here, if none is given) from a ready-made definition.

    Files that are there are never overwritten without --force.
    """
    if list_them:
        for name in _starters.names():
            _output.data(name)
        return
    started = _starters.start(template, directory.absolute(), namespace=namespace, overwrite=force)
    go_there = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    others = len(started.files) - 1
    _output.talk(
        f"wrote {directory / _starters.DEFINITION_NAME} and {others} other file{'s' if others != 1 else ''}; next:"
    )
    _output.talk(f"  {go_there}prewarm build")
    _output.talk(f"  {started.example}")


COMMAND: click.Command = _init
