"""Whether an engine runs what is of a platform."""

from prewarm.backends.docker.platforms import runs
from prewarm.machine import host_platform


def test_no_engine_is_asked_about_this_machines_own_platform():
    assert runs(None, "container", host_platform())
