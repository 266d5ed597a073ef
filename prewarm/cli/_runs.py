"""Running and planning builds: the options both take, and showing what came of it."""

from __future__ import annotations

import sys
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Final

from prewarm.backends.buildkit import BuildKitOptions
from prewarm.cli import _lines, _options, _output
from prewarm.cli._options import Invocation
from prewarm.errors import DefinitionError, InterruptedBuildError
from prewarm.failure import Failure
from prewarm.pipeline import RunOptions
from prewarm.plan import Status
from prewarm.report import Report

_INTERRUPTED: Final = InterruptedBuildError(
    "the build was interrupted", hint="run it again; what is finished is reused"
)


def run_options(
    run: Invocation,
    *,
    only: tuple[str, ...] = (),
    force: bool = False,
    jobs: int | None = None,
    fail_fast: bool = False,
    registry: str | None = None,
    buildkit: BuildKitOptions | None = None,
) -> RunOptions:
    """Make the options of a run of what the command line says."""
    return RunOptions(
        only=_options.names(only),
        force=force,
        jobs=jobs,
        platform=run.platform,
        fail_fast=fail_fast,
        backend=run.backend,
        registry=registry,
        buildkit=buildkit or BuildKitOptions(),
    )


def show(report: Report, run: Invocation, *, told: AbstractSet[str] = frozenset()) -> None:
    """Print a report: the object, or lines for people with each failure in full; set the exit code.

    Args:
        report: What came of the run.
        run: This command's.
        told: Templates whose line stands on the screen already.
    """
    if run.as_json:
        _output.json_object(report.to_json())
    else:
        on_same_screen = sys.stdout.isatty() and sys.stderr.isatty()
        untold = [one for one in report.templates if not (on_same_screen and one.name in told)]
        for line in _lines.templates(untold, stream=sys.stdout):
            _output.data(line)
        _output.data(report.last_line())
    if report.interrupted:
        _output.failure(Failure.of(_INTERRUPTED, name="", redact=str))
    for template in report.templates:
        if template.status is Status.FAILED and template.error is not None:
            _output.failure(named(template.error, template.name))
    run.exit_code = report.exit_code


def named(failure: Failure, name: str) -> Failure:
    """Let an error that does not say whose it is say so."""
    if f"'{name}'" in failure.message:
        return failure
    return replace(failure, message=f"sandbox '{name}': {failure.message}")


def add_summary(report: Report, path: Path) -> None:
    """Add a report to a step summary, as GitHub wants it: after what other steps wrote.

    Raises:
        DefinitionError: The file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(report.summary_markdown())
    except OSError as error:
        raise DefinitionError(f"cannot write the summary {path}: {error.strerror}") from error
