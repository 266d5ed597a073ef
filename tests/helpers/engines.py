"""Engines of a test's own: started beside the others, on a store in memory, and gone with all that they held."""

import contextlib
import itertools
import json
import os
import subprocess
from pathlib import Path

_number = itertools.count(1)
SERVICES = Path(__file__).parents[2] / "ci" / "services.sh"


@contextlib.contextmanager
def containerd_engine(directory, *, size="160m", has_network=False, flags=""):
    """Lend the settings of an engine with containerd's image store, whose builder writes every cache.

    Args:
        directory: Where its store is mounted.
        size: Of the store.
        has_network: Whether steps can have one.
        flags: Further ones for the engine.
    """
    (directory / "daemon.json").write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    store = directory / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(store)], check=True)
    # Sockets have short names.
    run = Path(f"/run/prewarm-containerd-{os.getpid()}-{next(_number)}")
    environment = {
        **os.environ,
        "PREWARM_TEST_RUN": str(run),
        "PREWARM_TEST_DATA": str(store),
        # No other process has this device or this net.
        "PREWARM_TEST_BRIDGE_NAME": f"pw{os.getpid()}" if has_network else "none",
        "PREWARM_TEST_BRIDGE": f"10.{200 + os.getpid() // 256 % 50}.{os.getpid() % 256}.1/24",
        "PREWARM_TEST_REGISTRY_PORT": "0",
        "PREWARM_TEST_DOCKERD_FLAGS": f"--config-file {directory / 'daemon.json'} --storage-driver overlayfs {flags}",
    }
    try:
        subprocess.run([str(SERVICES), "up"], env=environment, check=True, timeout=120)
        yield {"DOCKER_HOST": f"unix://{run}/docker.sock", "DOCKER_CONFIG": str(run / "config")}
    finally:
        subprocess.run([str(SERVICES), "down"], env=environment, check=False, timeout=120)
        subprocess.run(["umount", "-l", str(store)], check=False)
