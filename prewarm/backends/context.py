"""What a backend may use, and what it can do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendContext:
    """What a backend may use of this machine; passed in, so that nothing is found behind the caller's back.

    Attributes:
        home: The state directory ($PREWARM_HOME); a backend keeps its own things in ``home / <backend name>``.
        environment: The process environment as read once at the edge.
    """

    home: Path
    environment: Mapping[str, str] = field(repr=False)


class Feature(enum.Enum):
    """What a backend can do; what it lacks is refused before anything runs, and skipped by the contract suite."""

    PROCESSES = "processes"  # runs real programs
    ROOTFS = "rootfs"  # bases from archives
    IMAGES = "images"  # bases from container images
    HOST = "host"  # base "host"
    DOCKERFILES = "dockerfiles"  # base {dockerfile: …}
    CROSS_PROCESS = "cross-process"  # sessions and templates survive the process
    NETWORK_POLICY = "network-policy"  # can take the network away
    NETWORK = "network"  # can give a network
    LIMITS = "limits"  # enforces resources (memory, pids)
    SECRETS = "secrets"  # step-scoped secret mounts
    TERMINAL = "terminal"  # interactive shells with a pty
    SELF_EXPIRY = "self-expiry"  # sessions end with every client dead
