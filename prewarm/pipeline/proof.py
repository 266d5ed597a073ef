"""Prove on any host that what a lock file names can be opened: every backend is asked, once."""

from __future__ import annotations

from collections.abc import Mapping

from prewarm.backends.base import Presence, Probe
from prewarm.errors import BackendUnavailableError, TemplateCorruptError, TemplateNotFoundError
from prewarm.key import TemplateKey
from prewarm.lockfile import EntryStatus, LockEntry, LockFile
from prewarm.pipeline.answers import Check, CheckedEntry, CheckStatus
from prewarm.pipeline.presence import Choose
from prewarm.request import TemplateRef

_ABSENT = TemplateNotFoundError.exit_code
_STATUSES: Mapping[Presence, tuple[CheckStatus, int]] = {
    Presence.PRESENT: (CheckStatus.PRESENT, 0),
    Presence.MISSING: (CheckStatus.MISSING, _ABSENT),
    Presence.CORRUPT: (CheckStatus.CORRUPT, TemplateCorruptError.exit_code),
    Presence.EXPIRED: (CheckStatus.EXPIRED, _ABSENT),
}


def prove(lock: LockFile, *, platform: str, choose: Choose) -> Check:
    """Ask about every captured entry of one platform; those of others are listed and do not count.

    A sandbox that has entries for other platforms alone counts as missing. A backend that does not work here fails its
    entries and no others.
    """
    here = [entry for entry in lock.entries if entry.platform == platform]
    answers: dict[str, CheckedEntry] = {}
    backends = {entry.backend for entry in here if entry.status is EntryStatus.CAPTURED}
    for backend in sorted(backends):
        of_it = [entry for entry in here if entry.status is EntryStatus.CAPTURED and entry.backend == backend]
        answers |= _ask(backend, of_it, choose)
    known_here = {entry.name for entry in here}
    entries = tuple(
        answers[entry.name]
        if entry.platform == platform and entry.name in answers
        else _unasked(entry, platform=platform, known_here=entry.name in known_here)
        for entry in lock.entries
    )
    return Check(namespace=lock.namespace, platform=platform, entries=entries)


def _ask(backend: str, entries: list[LockEntry], choose: Choose) -> dict[str, CheckedEntry]:
    wanted: list[tuple[TemplateKey, TemplateRef]] = [
        (entry.key, entry.ref) for entry in entries if entry.key is not None and entry.ref is not None
    ]
    try:
        probes = choose(backend)[0].probe(wanted)
    except BackendUnavailableError as error:
        return {
            entry.name: _checked(entry, CheckStatus.UNAVAILABLE, error.message, error.exit_code, hint=error.hint)
            for entry in entries
        }
    return {entry.name: _answered(entry, probe) for entry, probe in zip(entries, probes, strict=True)}


def _answered(entry: LockEntry, probe: Probe) -> CheckedEntry:
    status, exit_code = _STATUSES[probe.presence]
    return _checked(entry, status, probe.detail, exit_code)


def _unasked(entry: LockEntry, *, platform: str, known_here: bool) -> CheckedEntry:
    if entry.platform != platform and known_here:
        return _checked(entry, CheckStatus.OTHER_PLATFORM, "", 0)
    if entry.platform != platform:
        return _checked(entry, CheckStatus.MISSING, f"not captured for {platform}", _ABSENT)
    status = CheckStatus.FAILED if entry.status is EntryStatus.FAILED else CheckStatus.SKIPPED
    return _checked(entry, status, entry.reason, _ABSENT)


def _checked(
    entry: LockEntry, status: CheckStatus, detail: str, exit_code: int, *, hint: str | None = None
) -> CheckedEntry:
    return CheckedEntry(
        name=entry.name,
        platform=entry.platform,
        status=status,
        key=entry.key,
        backend=entry.backend,
        detail=detail,
        exit_code=exit_code,
        hint=hint,
    )
