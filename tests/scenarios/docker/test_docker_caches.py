"""Caches and attestations of BuildKit: on the engine of the tests, and on one with containerd's image store."""

import os
import subprocess
import uuid

import pytest

STEP = "cat /proc/sys/kernel/random/uuid > /workspace/id"  # Another text each time that it runs.


@pytest.fixture
def story(docker_story):
    one = docker_story("node")
    one.write_one(STEP)
    return one


def captured(story, *arguments, **settings):
    """Capture, and give what the step wrote: another text each time that it runs."""
    story.prewarm("build", *arguments, **settings)
    return story.inside("one", "cat", "/workspace/id", **settings)


def empty(settings):
    """Forget the builder's own cache."""
    subprocess.run(
        ["docker", "builder", "prune", "-af"], env={**os.environ, **settings}, check=True, capture_output=True
    )


def remove(story, settings):
    """Remove the templates, so that no layer of theirs is at hand."""
    docker = {"env": {**os.environ, **settings}, "capture_output": True, "text": True}
    found = subprocess.run(["docker", "images", "-q", f"prewarm/{story.namespace}"], check=True, **docker)
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
    remove(story, containerd)
    cached = captured(story, "--cache-from", source, **containerd)
    remove(story, containerd)
    alone = captured(story, **containerd)
    remove(story, containerd)

    assert cached == written
    assert alone != written


def test_provenance_is_kept_with_a_template_that_opens(story, containerd):
    assert captured(story, "--provenance", "mode=max", **containerd)
    archive = story.home / "image.tar"
    tag = f"prewarm/{story.namespace}:{story.prewarm('keys', **containerd).stdout.split()[0]}"
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
