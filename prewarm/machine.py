"""Platforms as OCI names them: this machine's, and which are the same. Standard library only; the runtime asks, too."""

from __future__ import annotations

import os
import re
from typing import Final

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i686": "386"}
PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?")  # os/arch, or os/arch/variant.


def host_platform() -> str:
    """Give this machine's platform: ``linux/amd64``."""
    system = os.uname()
    return f"{system.sysname.lower()}/{_MACHINES.get(system.machine, system.machine)}"


def is_same_platform(found: str, wanted: str) -> bool:
    """Say whether an image's platform is the one wanted; a variant that is said on one side only does not count."""
    return all(one == other for one, other in zip(found.split("/"), wanted.split("/"), strict=False))
