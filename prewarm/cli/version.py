"""``prewarm version``."""

from __future__ import annotations

import platform

import click

from prewarm.cli import _output
from prewarm.cli._group import command
from prewarm.cli._options import JSON, invocation
from prewarm.machine import host_platform


def version() -> str:
    """Give the installed version."""
    from importlib import metadata  # Reads the disk; only those who ask for the version wait for it.

    return metadata.version("prewarm")


@command("version", example="prewarm version --json")
@JSON
def _version() -> None:
    """Print the version of prewarm; with --json also that of Python and the platform."""
    if not invocation().as_json:
        _output.data(f"prewarm {version()}")
        return
    _output.json_object(
        {
            "schema": "prewarm.version/1",
            "version": version(),
            "python": platform.python_version(),
            "platform": host_platform(),
        }
    )


COMMAND: click.Command = _version
