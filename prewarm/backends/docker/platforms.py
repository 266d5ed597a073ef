"""Whether an engine can run what it holds for another platform than this machine's."""

from __future__ import annotations

from typing import Final

from prewarm.backends.docker.engine import Engine, translated
from prewarm.machine import host_platform, is_same_platform

EMULATE: Final = "register an emulator for it there (Debian: qemu-user-static), or use an engine of that platform"


def runs(engine: Engine, container: str, platform: str) -> bool:
    """Find out whether the programs of a container that was just started run here.

    Nothing is asked where they are of this machine's own platform.

    Raises:
        BackendUnavailableError: The engine does not answer.
    """
    from docker.errors import APIError

    if is_same_platform(platform, host_platform()):
        return True
    with translated():
        api = engine.api
        try:
            asked = api.exec_create(container, ["/bin/sh", "-c", ":"], user="0:0")
            api.exec_start(asked["Id"])
            return bool(api.exec_inspect(asked["Id"])["ExitCode"] == 0)
        except APIError:  # It has ended already: its first program could not be run either.
            return False
