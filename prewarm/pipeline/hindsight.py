"""What the catalog knows of a sandbox's past builds: for ``prewarm explain``."""

from __future__ import annotations

from dataclasses import replace

from prewarm.catalog import Catalog
from prewarm.key import diff
from prewarm.pipeline.answers import Explanation
from prewarm.report import TemplateReport


def look_back(catalog: Catalog, now: TemplateReport, *, namespace: str) -> Explanation:
    """Set what a build would do now beside what the last builds came to, and how those two differed.

    Args:
        catalog: Of this machine.
        now: What a build would do.
        namespace: Of the project.
    """
    history = catalog.history(namespace, now.platform, now.name)
    if not history:
        return Explanation(now=now)
    last = history[-1]
    record = catalog.records(namespace, [last.place.key]).get(last.place)
    told = Explanation(
        now=now,
        last_key=last.place.key,
        last_built_at=last.built_at,
        last_seconds=None if record is None else record.total_s,
    )
    if len(history) == 1:
        return told
    before = history[-2]
    old, new = catalog.inputs(namespace, before.place), catalog.inputs(namespace, last.place)
    return replace(told, before_key=before.place.key, last_changes=() if old is None or new is None else diff(old, new))
