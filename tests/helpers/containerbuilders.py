"""Builders of buildx's ``docker-container`` driver: a real buildkitd in a container of the engine.

Its image is made here of the programs that ``ci/buildkitd.sh`` compiles: ``moby/buildkit`` is in a registry that tests do not reach.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

PROGRAMS = ("buildkitd", "buildctl")


def programs():
    """Give the directory of buildkitd and buildctl; ``None`` where there are none."""
    named = os.environ.get("PREWARM_TEST_BUILDKITD")
    return Path(named) if named and (Path(named) / ".complete").exists() else None


@contextlib.contextmanager
def buildkit_image(directory):
    """Lend the name of an image whose first program is buildkitd, in the engine that the environment names.

    Args:
        directory: For the archive that it is made of.
    """
    files = {f"usr/bin/{name}": programs() / name for name in PROGRAMS}
    runc = Path(shutil.which("runc"))
    files["usr/bin/runc"] = runc
    linked = subprocess.run(["ldd", str(runc)], capture_output=True, text=True, check=True).stdout
    files |= {path.lstrip("/"): Path(path) for path in re.findall(r"/\S+", linked)}
    archive, name = directory / "buildkit.tar", f"prewarm-test/buildkit-{uuid.uuid4().hex[:8]}:1"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for place in ("tmp", "run", "etc", "root"):
            entry = tarfile.TarInfo(place)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for place, source in files.items():
            tar.add(source, place)
    argv = ["docker", "import", "--change", 'ENTRYPOINT ["buildkitd"]', str(archive), name]
    subprocess.run(argv, check=True, capture_output=True)
    archive.unlink()
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "--force", name], check=False, capture_output=True)


class ContainerBuilder:
    """A builder of a test's own, with a configuration of buildx that no other has; a context manager.

    Args:
        image: Of buildkitd.
        config: Directory for buildx to keep its files in.
        options: Further ones of the driver.
    """

    def __init__(self, image, config, *options):
        self.name = f"story-{uuid.uuid4().hex[:8]}"
        self.container = f"buildx_buildkit_{self.name}0"
        self.settings = {"BUILDX_CONFIG": str(config)}
        self._options = (f"image={image}", *options)

    def __enter__(self):
        given = [f"--driver-opt={option}" for option in self._options]
        self.buildx("create", "--name", self.name, "--driver", "docker-container", *given)
        return self

    def __exit__(self, *_):
        self.buildx("rm", "--force", self.name, check=False)
        # Also where a test has removed the builder's record, or the container behind buildx's back.
        subprocess.run(["docker", "rm", "--force", "--volumes", self.container], check=False, capture_output=True)
        volume = f"{self.container}_state"
        subprocess.run(["docker", "volume", "rm", "--force", volume], check=False, capture_output=True)

    def buildx(self, *arguments, check=True):
        """Run ``docker buildx`` with this configuration, and give what it says."""
        argv = ["docker", "buildx", *arguments]
        environment = {**os.environ, **self.settings}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def forget(self):
        """Empty the builder's cache, and wait until that is so."""
        self.buildx("prune", "--builder", self.name, "--all", "--force")
