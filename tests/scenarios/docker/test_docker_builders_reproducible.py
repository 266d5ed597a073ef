"""Two fresh captures of the same steps are one image, where the builder can set back the times in layers."""

import os
import subprocess
import time

import pytest

PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: prewarm-test/busybox:2
    backend: docker
    seed: [{path: /srv/motd.txt, content: "seeded\\n"}]
    bootstrap:
      - run: mkdir -p /opt/a/b && echo one > /opt/a/b/one && ln -s b /opt/a/c
      - run: echo two > /workspace/two; rm /opt/a/b/one; touch /bin
    build: {network: none}
  child:
    extends: one
    bootstrap: [{run: echo child > /workspace/child}]
    build: {network: none}
"""


@pytest.fixture
def story(docker_story):
    one = docker_story("node")
    one.write("prewarm.yaml", PROJECT)
    return one


def images(story, containerd, settings, *options):
    """Capture with nothing at hand; give the images' ids."""
    prune = ["docker", "builder", "prune", "-af"]
    subprocess.run(prune, env={**os.environ, **containerd}, check=True, capture_output=True)
    story.prewarm("build", "--force", *options, **settings)
    return {name: entry["ref"]["value"]["image"] for name, entry in story.lock().items()}


def test_two_fresh_captures_are_one_image(story, containerd, settings):
    first = images(story, containerd, settings, "--reproducible")
    time.sleep(1.1 - time.time() % 1.0)  # Times in layers are whole seconds.
    again = images(story, containerd, settings, "--reproducible")
    plain = images(story, containerd, settings)

    assert first == again
    assert plain["one"] != first["one"]
    assert story.inside("child", "cat", "two", "child", "/srv/motd.txt", **settings) == "two\nchild\nseeded\n"


def test_an_engine_that_cannot_is_asked_before_anything_runs_and_its_examination_says_so(story):
    failed = story.prewarm("build", "--reproducible", code=2)
    also = story.prewarm("build", code=2, PREWARM_DOCKER_REPRODUCIBLE="1")

    for one in (failed, also):
        assert "Docker's own builder cannot rewrite the times in layers, which --reproducible needs" in one.stderr
    assert "reproducible images  ok  not here" in story.prewarm("doctor", "--backend", "docker").stdout


def test_the_examination_says_where_images_are_reproducible(story, settings):
    assert (
        "reproducible images  ok  with --reproducible"
        in story.prewarm("doctor", "--backend", "docker", **settings).stdout
    )
