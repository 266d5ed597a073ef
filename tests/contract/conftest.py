"""What the contract tests of Docker share: an engine that answers."""

import os

import pytest

from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend


@pytest.fixture(scope="session")
def works(tmp_path_factory, absent):
    """An engine that answers, found out once: its builder takes a while to ask."""
    asked = DockerBackend(BackendContext(home=tmp_path_factory.mktemp("check"), environment=dict(os.environ)))
    health = asked.check()
    asked.close()
    if not health.ok:
        absent("docker", health.reason)
