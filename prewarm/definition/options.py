"""How to open a session, as values: the half of a definition that the lock file keeps and the runtime reads.

Standard library only, and little: every start of an application imports this. Read through ``model``, which shows it beside
what counts for the key and beside how to capture (``build_options``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

DEFAULT_IDLE_TIMEOUT_S = 1800.0
DEFAULT_MAX_LIFETIME_S = 8 * 3600.0


class Network(enum.Enum):
    """What a step or a session may reach."""

    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits of a session; ``None`` means the backend's default.

    Attributes:
        memory: Bytes.
        cpus: Cores, fractions allowed.
        pids: Processes and threads.
        disk: Bytes that a session may write.
    """

    memory: int | None = None
    cpus: float | None = None
    pids: int | None = 256
    disk: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How to open; not in the key; kept in the lock file as the session's defaults.

    Attributes:
        network: ``none`` unless asked for.
        resources: Limits, applied again at every attach.
        idle_timeout_s: Seconds without a client's call after which it ends by itself.
        max_lifetime_s: Seconds after which it ends in any case.
        options: The backends' own options for opening: by backend name in a ``Project``, flat once
            ``Definition.for_backend`` has chosen one, as backends and the lock file see them.
    """

    network: Network = Network.NONE
    resources: Resources = field(default_factory=Resources)
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    max_lifetime_s: float = DEFAULT_MAX_LIFETIME_S
    options: Mapping[str, Json] = field(default_factory=dict)
