"""Lines of a report, for people: one for each template, aligned and coloured where there is colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from prewarm.cli import _output, _text
from prewarm.report import TemplateReport

_WIDEST_STATUS: Final = 7


def template(report: TemplateReport, *, stream: TextIO, width: int = 0) -> str:
    """Say what became of a template: ``fresh    analyst  3f2a9c1b7d04  12.3s  first capture``.

    Args:
        report: Of the template.
        stream: Where the line will stand.
        width: Of the column of names.
    """
    word = _output.status(report.status.value, width=_WIDEST_STATUS, stream=stream)
    took = f"{_text.duration(report.total_s):>6}  " if report.seconds else ""
    return f"{word}  {report.name:<{width}}  {report.short_key:<12}  {took}{_text.clean(report.sentence)}"


def templates(reports: Sequence[TemplateReport], *, stream: TextIO) -> list[str]:
    """Say it of several, in columns."""
    width = max((len(report.name) for report in reports), default=0)
    return [template(report, stream=stream, width=width) for report in reports]
