"""Builders that are not the engine's own: BuildKit's ``remote`` driver, one that answers and one that does not."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from ports import refusing_port

from prewarm.backends.context import BackendContext
from prewarm.backends.docker import DockerBackend
from prewarm.definition.model import ImageBase
from prewarm.errors import BackendUnavailableError
from prewarm.machine import host_platform
from prewarm.testing.builders import capture_request, shell
from prewarm.testing.fakes import RecordingObserver

BUSYBOX = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")


@pytest.fixture
def config(tmp_path, absent):
    """Docker's configuration with builders of the test's own."""
    if "DOCKER_HOST" not in os.environ:
        absent("docker", "DOCKER_HOST is not set; see ci/services.sh")
    own = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    copy = tmp_path / "config"
    shutil.copytree(own, copy, symlinks=True)
    return copy


@pytest.fixture
def backend_of(tmp_path, config):
    """Give a backend whose builder has a name."""
    made = []

    def make(builder):
        environment = {**os.environ, "DOCKER_CONFIG": str(config), "BUILDX_BUILDER": builder}
        made.append(DockerBackend(BackendContext(home=tmp_path / "home", environment=environment)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def add_builder(config, name, endpoint):
    environment = {**os.environ, "DOCKER_CONFIG": str(config)}
    argv = ["docker", "buildx", "create", "--name", name, "--driver", "remote", endpoint]
    subprocess.run(argv, env=environment, check=True, capture_output=True)


def request_for(backend, *steps):
    base = backend.resolve_base(ImageBase(reference=BUSYBOX), project=Path.cwd(), platform=host_platform(), sha256=str)
    return capture_request(base, *steps, env={}, namespace=f"builders-{uuid.uuid4().hex[:8]}")


def test_a_builder_that_does_not_answer_is_told_with_the_way_out(config, backend_of):
    with refusing_port() as port:
        add_builder(config, "gone", f"tcp://127.0.0.1:{port}")
        backend = backend_of("gone")
        request = request_for(backend, shell("true"))

        with (
            pytest.raises(BackendUnavailableError, match="the builder 'gone' cannot be reached") as caught,
            backend.capture(request, RecordingObserver()),
        ):
            pass

    assert "BUILDX_BUILDER" in caught.value.hint
    assert [one for one in backend.litter(request.namespace) if "unfinished" in one.description] == []


def test_a_builder_elsewhere_that_does_not_answer_is_a_warning_as_what_is_reused_needs_none(config, backend_of):
    with refusing_port() as port:
        add_builder(config, "gone", f"tcp://127.0.0.1:{port}")
        health = backend_of("gone").check()

    (finding,) = [one for one in health.findings if one.subject == "builder 'gone'"]
    assert health.ok
    assert not finding.ok
    assert finding.detail == "remote, does not answer"
    assert "BUILDX_BUILDER" in finding.hint


def test_a_container_in_which_no_buildkit_answers_is_a_warning(config, backend_of):
    name = f"mute-{uuid.uuid4().hex[:8]}"
    argv = ["docker", "buildx", "create", "--name", name, "--driver", "docker-container"]
    subprocess.run(argv, env={**os.environ, "DOCKER_CONFIG": str(config)}, check=True, capture_output=True)
    container = f"buildx_buildkit_{name}0"
    subprocess.run(
        ["docker", "run", "-d", "--name", container, BUSYBOX, "sleep", "600"], check=True, capture_output=True
    )
    try:
        health = backend_of(name).check()
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)

    (finding,) = [one for one in health.findings if one.subject == f"builder '{name}'"]
    assert health.ok
    assert not finding.ok
    assert finding.detail.startswith("docker-container, does not answer: ")


def test_a_builder_that_does_not_exist_is_a_finding(backend_of):
    finding = backend_of("nonesuch").check().findings[-1]

    assert not finding.ok
    assert "nonesuch" in finding.detail
    assert "docker buildx ls" in finding.hint
