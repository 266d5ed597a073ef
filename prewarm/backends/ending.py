"""The ability to end a session that cannot be opened any more: its template is gone, its machine was restarted, it broke itself.

A protocol of its own, asked for with ``isinstance``: without it a session is found first, which starts one that is stopped.
Called by ``prewarm sessions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from prewarm.definition.options import Json


@runtime_checkable
class EndsSessions(Protocol):
    """Ends sessions as they are, running or not."""

    def end_session(self, state: Mapping[str, Json]) -> None:
        """End a session and take its files away, without starting it; one that has ended is fine.

        Raises:
            SessionStateError: The state is not one of this backend's, or of an unknown version.
        """
