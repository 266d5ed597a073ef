"""Put what a build came to into the lock file: entries of what was built, the rest as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from prewarm import lockfile
from prewarm.definition.model import Definition
from prewarm.home import Home
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.pipeline.preparation import Identified
from prewarm.plan import Status
from prewarm.refs import same_template
from prewarm.report import TemplateReport


def read_or_begin(path: Path, namespace: str) -> LockFile:
    """Read a lock file, or begin one where there is none, or one of another project.

    Raises:
        LockFileError: What is there cannot be read.
    """
    old = lockfile.read(path) if path.exists() else LockFile(namespace=namespace)
    return old if old.namespace == namespace else LockFile(namespace=namespace)


def enter(path: Path, identified: Identified, reports: Iterable[TemplateReport], *, home: Home) -> None:
    """Put the entries of a run in; builds of other sandboxes may have put theirs in meanwhile.

    Raises:
        LockFileError: The lock file cannot be read or written.
    """
    project = identified.project
    definitions = {one.definition.name: one.definition for one in identified.keyed}
    here = (str(project.directory), str(home.path))
    entries = [lock_entry(report, definitions[report.name], machine_paths=here) for report in reports]
    with home.lock(f"lock-file-{project.namespace}"):
        old = read_or_begin(path, project.namespace)
        entries = [_as_written(entry, old) for entry in entries]
        lockfile.write(path, old.merged(entries, defined={one.name for one in project.definitions}))


def _as_written(entry: LockEntry, old: LockFile) -> LockEntry:
    """Keep the words of an entry for the same template: machines that name it differently do not rewrite each other's."""
    place = (entry.name, entry.platform, entry.key)
    ref = next((one.ref for one in old.entries if (one.name, one.platform, one.key) == place), None)
    if ref is None or entry.ref is None or not same_template(ref, entry.ref) or "content" not in ref.value:
        return entry
    return replace(entry, ref=ref)


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
