"""From a report to entries of the lock file. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from prewarm.definition.model import Definition
from prewarm.lockfile import EntryStatus, LockEntry
from prewarm.plan import Status
from prewarm.report import TemplateReport


def lock_entry(report: TemplateReport, definition: Definition, *, machine_paths: Sequence[str] = ()) -> LockEntry:
    """Give the entry of a sandbox: how to open it, or why it cannot be.

    Args:
        report: What became of it.
        definition: As it was built.
        machine_paths: Directories of this machine, which are cut out of reasons.
    """
    if report.ref is None or report.key is None:
        reason = report.sentence
        for path in machine_paths:
            reason = reason.replace(f"{path}/", "").replace(path, ".")
        status = EntryStatus.FAILED if report.status is Status.FAILED else EntryStatus.SKIPPED
        return LockEntry(name=report.name, platform=report.platform, status=status, reason=reason)
    return LockEntry(
        name=report.name,
        platform=report.platform,
        status=EntryStatus.CAPTURED,
        key=report.key,
        backend=report.ref.backend,
        ref=report.ref,
        user=definition.template.user,
        workdir=definition.template.workdir,
        env=definition.template.env,
        session=definition.session,
    )
