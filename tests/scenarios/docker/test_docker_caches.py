"""Caches and attestations of BuildKit: on the engine of the tests, and on one with containerd's image store."""

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[3] / "ci" / "services.sh"
PROJECT = """\
version: 1
namespace: story-docker-caches
sandboxes:
  one:
    base: prewarm-test/busybox:2
    backend: docker
    build: {network: none}
    bootstrap: [{run: 'cat /proc/sys/kernel/random/uuid > /workspace/id'}]
"""


@pytest.fixture
def story(docker_story):
    one = docker_story("node")
    one.write("prewarm.yaml", PROJECT)
    return one


@pytest.fixture(scope="module")
def containerd(tmp_path_factory, absent):
    """The settings of an engine of our own with containerd's image store, whose builder writes every cache."""
    if os.getuid() != 0 or "DOCKER_HOST" not in os.environ:
        absent("docker", "an engine of its own needs root, and ci/services.sh")
    directory = tmp_path_factory.mktemp("containerd")
    (directory / "daemon.json").write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    store = directory / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(store)], check=True)
    run = Path(f"/run/prewarm-caches-{os.getpid()}")  # Sockets have short names.
    environment = {
        **os.environ,
        "PREWARM_TEST_RUN": str(run),
        "PREWARM_TEST_DATA": str(store),
        "PREWARM_TEST_BRIDGE_NAME": "none",
        "PREWARM_TEST_REGISTRY_PORT": "0",
        "PREWARM_TEST_DOCKERD_FLAGS": f"--config-file {directory / 'daemon.json'} --storage-driver overlayfs",
    }
    try:
        subprocess.run([str(SERVICES), "up"], env=environment, check=True, timeout=120)
        yield {"DOCKER_HOST": f"unix://{run}/docker.sock", "DOCKER_CONFIG": str(run / "config")}
    finally:
        subprocess.run([str(SERVICES), "down"], env=environment, check=False, timeout=120)
        subprocess.run(["umount", "-l", str(store)], check=False)


def captured(story, *arguments, **settings):
    """Capture, and give what the step wrote: another text each time that it runs."""
    story.prewarm("build", "--force", *arguments, **settings)
    return story.inside("one", "cat", "/workspace/id", **settings)


def empty(settings):
    """Forget the builder's own cache."""
    subprocess.run(
        ["docker", "builder", "prune", "-af"], env={**os.environ, **settings}, check=True, capture_output=True
    )


def remove(settings):
    """Remove the templates, so that no layer of theirs is at hand."""
    docker = {"env": {**os.environ, **settings}, "capture_output": True, "text": True}
    found = subprocess.run(["docker", "images", "-q", "prewarm/story-docker-caches"], check=True, **docker)
    sessions = subprocess.run(["docker", "ps", "-aq"], check=True, **docker)
    subprocess.run(["docker", "rm", "-f", *sessions.stdout.split()], check=False, **docker)
    subprocess.run(["docker", "rmi", "-f", *found.stdout.split()], check=True, **docker)
    empty(settings)


@pytest.mark.parametrize("kind", ["local", "registry"])
def test_a_step_comes_from_a_cache_that_an_earlier_build_wrote(story, containerd, tmp_path, kind, request):
    if kind == "local":
        to, source = f"type=local,dest={tmp_path}/{{name}}", f"type=local,src={tmp_path}/{{name}}"
    else:
        to = source = f"type=registry,ref={request.getfixturevalue('registry')}/{uuid.uuid4().hex[:8]}:{{name}}"

    written = captured(story, "--cache-to", to, **containerd)
    remove(containerd)
    cached = captured(story, "--cache-from", source, **containerd)
    remove(containerd)
    alone = captured(story, **containerd)

    assert cached == written
    assert alone != written


def test_provenance_is_kept_with_a_template_that_opens(story, containerd):
    assert captured(story, "--provenance", "mode=max", **containerd)
    archive = story.home / "image.tar"
    tag = f"prewarm/story-docker-caches:{story.prewarm('keys', **containerd).stdout.split()[0]}"
    subprocess.run(["docker", "save", "-o", str(archive), tag], env={**os.environ, **containerd}, check=True)
    assert b"https://slsa.dev/provenance" in archive.read_bytes()
    assert story.build(**containerd)["one"]["reason"] == "unchanged"


def test_a_cache_that_dockers_own_builder_cannot_write_is_refused_before_anything_runs(story):
    failed = story.prewarm("build", "--cache-to", "type=local,dest=cache", code=2)

    assert "Docker's own builder cannot write the cache 'type=local,dest=cache'" in failed.stderr
    assert "hint: take the option out" in failed.stderr
    assert not (story.project / "prewarm.lock").exists()


def test_an_inline_cache_is_written_by_any_builder(story):
    assert captured(story, "--cache-to", "type=inline")
