"""How to capture, as values: the half of a definition that is neither in the template key nor in the lock file.

Standard library only. Read through ``model``, which shows it beside what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from prewarm.definition.options import Network

DEFAULT_STEP_TIMEOUT_S = 600.0
DEFAULT_BUILD_TIMEOUT_S = 1800.0


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
