"""This machine as OCI names it. Standard library only; asked by builds, and by the runtime to pick its entry."""

from __future__ import annotations

import os
from typing import Final

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i686": "386"}


def host_platform() -> str:
    """Give this machine's platform: ``linux/amd64``."""
    system = os.uname()
    return f"{system.sysname.lower()}/{_MACHINES.get(system.machine, system.machine)}"
