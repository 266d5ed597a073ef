"""This machine as OCI names it. Standard library only; asked by builds, and by the runtime to pick its entry."""

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
