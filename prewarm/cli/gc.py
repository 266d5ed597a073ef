"""``prewarm gc``."""

from __future__ import annotations

import click

from prewarm import gc
from prewarm.cli import _installed, _output, _text
from prewarm.cli._group import command
from prewarm.cli._options import BACKEND, HOME, JSON, invocation
from prewarm.gc import GcReport

_DAY_S = 86400.0


@command("gc", example="prewarm gc\nprewarm gc --apply\nprewarm gc --apply --older-than 14 --namespace acme-bot")
@click.option("--apply", "apply_it", is_flag=True, help="Remove it. Without this, only say what would go.")
@click.option("--namespace", help="Only of this namespace.  [default: all that were built on this machine]")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Leave templates that were captured since then."
)
@HOME
@BACKEND
@JSON
def _gc(*, apply_it: bool, namespace: str | None, older_than: float | None) -> None:
    """Remove templates that no lock file and no live session needs, and what crashes left behind.

    Removes nothing unless told to with --apply. Nothing goes by its age alone.
    """
    run = invocation()
    scope = gc.Scope(
        home=run.home,
        backends=tuple(_installed.working(run)),
        namespace=namespace,
        older_than_s=None if older_than is None else older_than * _DAY_S,
    )
    report = gc.apply(scope) if apply_it else gc.plan(scope)
    if run.as_json:
        _output.json_object(report.to_json())
    else:
        _print(report)
    run.exit_code = report.exit_code


def _print(report: GcReport) -> None:
    verb = "removed" if report.applied else "would remove"
    for item in report.garbage:
        size = f", {_text.size(item.size)}" if item.size else ""
        _output.lines(f"{verb} {item.kind.value}: {item.description}{size}")
    for item, why in report.failed:
        _output.lines(f"not removed: {item.description}: {why}")
    for note in report.notes:
        _output.talk(f"note: {_text.clean(note)}")
    count, kept = len(report.garbage), len(report.kept)
    _output.data(
        f"{verb} {count} thing{'' if count == 1 else 's'} ({_text.size(report.size)}); "
        f"{kept} template{' stays' if kept == 1 else 's stay'}"
    )
    if report.garbage and not report.applied:
        _output.hint("'prewarm gc --apply' removes it")


COMMAND: click.Command = _gc
