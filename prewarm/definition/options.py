"""How to capture and how to open, as values: the halves of a definition that are not in the template key.

Standard library only. Read through ``model``, which shows them beside what counts.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

DEFAULT_STEP_TIMEOUT_S = 600.0
DEFAULT_BUILD_TIMEOUT_S = 1800.0
DEFAULT_IDLE_TIMEOUT_S = 1800.0
DEFAULT_MAX_LIFETIME_S = 8 * 3600.0


class Network(enum.Enum):
    """What a step or a session may reach."""

    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """How a step runs; never in the key (but the names of its secrets are, through ``Step``).

    Attributes:
        timeout_s: Seconds after which the step is killed and the capture fails.
        network: What this step may reach; ``None`` means what the build may.
    """

    timeout_s: float = DEFAULT_STEP_TIMEOUT_S
    network: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A value a build may use and nothing may keep.

    Attributes:
        id: Its name: the file below ``/run/secrets`` and what steps list. In the key.
        env: Environment variable to take it from.
        file: File to take it from, relative to the project directory. Exactly one of the two is set.
    """

    id: str
    env: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to capture; not in the key.

    Attributes:
        network: What steps may reach unless they say otherwise.
        pass_env: Names of environment variables handed to steps and kept out of the template.
        secrets: Available to the steps that name them.
        timeout_s: Seconds for the whole capture.
    """

    network: Network = Network.ALL
    pass_env: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    timeout_s: float = DEFAULT_BUILD_TIMEOUT_S


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
