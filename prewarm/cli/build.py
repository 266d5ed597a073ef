"""``prewarm build``."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import click

from prewarm import pipeline
from prewarm.cli import _options, _runs
from prewarm.cli._group import command
from prewarm.cli._options import Invocation, invocation
from prewarm.cli._progress import ProgressKind, following
from prewarm.report import Report

_EXAMPLE = """\
prewarm build
prewarm build --only analyst --set pandas=2.2.3
prewarm build --from registry.example.org/team
prewarm build --cache-from 'type=local,src=cache/{name}' --cache-to 'type=local,dest=cache/{name}'
prewarm build --json --summary "$GITHUB_STEP_SUMMARY" > report.json"""


@command("build", example=_EXAMPLE)
@_options.PROJECT
@_options.ONLY
@_options.FORCE
@_options.FROM
@_options.BUILDKIT
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Captures at a time.  [default: by processors, at most 4]"
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, as 'prewarm plan'.")
@click.option(
    "--keep-going/--fail-fast",
    default=True,
    show_default=True,
    help="Whether a template that fails keeps what has not begun from beginning.",
)
@click.option(
    "--progress",
    type=click.Choice([kind.value for kind in ProgressKind]),
    default=ProgressKind.AUTO.value,
    show_default=True,
    help="How to show what is going on, on stderr.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add a summary in Markdown to this file (GitHub: $GITHUB_STEP_SUMMARY).",
)
@_options.JSON
def _build(
    *,
    only: tuple[str, ...],
    force: bool,
    registry: str | None,
    jobs: int | None,
    dry_run: bool,
    keep_going: bool,
    progress: str,
    summary: Path | None,
) -> None:
    """Capture what is not there yet, prove that the rest is, and write prewarm.lock.

    Every template that fails is reported; the others are captured all the same.
    """
    run = invocation()
    summary = None if summary is None else summary.absolute()  # A hook may go elsewhere.
    options = _runs.run_options(
        run, only=only, force=force, jobs=jobs, fail_fast=not keep_going, registry=registry, buildkit=run.buildkit
    )
    told: AbstractSet[str] = frozenset()
    if dry_run:
        report = pipeline.plan(run.project(), home=run.home, environment=run.environment, options=options)
    else:
        report, told = _run(run, options, ProgressKind(progress))
    _runs.show(report, run, told=told)
    if summary is not None:
        _runs.add_summary(report, summary)


def _run(run: Invocation, options: pipeline.RunOptions, kind: ProgressKind) -> tuple[Report, AbstractSet[str]]:
    project = run.project()
    with following(kind) as listener:
        report = pipeline.build(project, home=run.home, environment=run.environment, options=options, listener=listener)
        return report, listener.told


COMMAND: click.Command = _build
