"""Builders that are not the engine's own: they see none of its images, and build for it all the same."""

import hashlib
import os
import signal
import subprocess

import pytest
from bridge import Bridge, registered
from stories import steps_running

TOKEN = "hunter2-elsewhere-5d20"
PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  image:
    base: prewarm-test/busybox:2
    backend: docker
    env: {GREETING: hello}
    seed: [{path: /workspace/motd.txt, content: "seeded\\n"}]
    bootstrap:
      - run: cat /proc/sys/kernel/random/uuid > /workspace/id
      - run: sha256sum < /run/secrets/token | cut -c1-12 > /workspace/proof; cat /run/secrets/token
        secrets: [token]
      - python: hooks.setup:warm
      - run: echo "$GREETING" > /workspace/last; cat /workspace/warmed >> /workspace/last
    verify: [{run: test -s /workspace/last}]
    build: {network: none, secrets: [{id: token, env: STORY_TOKEN}]}
  child:
    extends: image
    bootstrap: [{run: cat /workspace/last > /workspace/child}]
    build: {network: none}
  archive:
    base: {rootfs: root.tar}
    backend: docker
    bootstrap: [{run: echo archive > /workspace/kind}]
    build: {network: none}
  dockerfile:
    base: {dockerfile: Dockerfile}
    backend: docker
    bootstrap: [{run: cat /kind > /workspace/kind}]
    build: {network: none}
"""


@pytest.fixture
def bridge(containerd):
    """A BuildKit that buildx reaches over the network: another engine's."""
    with Bridge(containerd["DOCKER_HOST"].removeprefix("unix://")) as one:
        yield one


@pytest.fixture
def elsewhere(bridge, tmp_path):
    """The settings for the engine of the tests with a builder that is not its own."""
    return registered(bridge, tmp_path / "docker-config")


@pytest.fixture
def story(docker_story):
    return docker_story("node")


def test_a_builder_elsewhere_builds_on_what_only_the_engine_holds(story, elsewhere, tmp_path):
    story.write("prewarm.yaml", PROJECT)
    story.write("hooks/setup.py", "def warm(sandbox):\n    sandbox.run('echo warm > /workspace/warmed')\n")
    story.write("Dockerfile", "FROM prewarm-test/busybox:2\nRUN --network=none echo dockerfile > /kind\n")
    container = story.docker("create", "prewarm-test/busybox:2", "none")
    story.docker("export", "-o", str(story.project / "root.tar"), container)
    story.docker("rm", container)
    settings = {**elsewhere, "STORY_TOKEN": TOKEN}

    built = story.prewarm("build", **settings)

    assert story.inside("child", "cat", "motd.txt", "proof", "last", "child", **settings).split() == [
        "seeded",
        hashlib.sha256(TOKEN.encode()).hexdigest()[:12],
        "hello",
        "warm",
        "hello",
        "warm",
    ]
    assert story.inside("archive", "cat", "kind", **settings) == "archive\n"
    assert story.inside("dockerfile", "cat", "kind", **settings) == "dockerfile\n"
    assert TOKEN not in built.stdout + built.stderr
    assert [p for p in story.home.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()] == []
    assert {one["reason"] for one in story.build(**settings).values()} == {"unchanged"}
    assert story.unfinished() == []


def test_a_change_runs_what_follows_it_and_no_more(story, elsewhere):
    story.write_one("cat /proc/sys/kernel/random/uuid > /workspace/id", "echo one > /workspace/last")
    story.build(**elsewhere)
    before = story.inside("one", "cat", "id", **elsewhere)

    story.edit("prewarm.yaml", "echo one", "echo two")
    story.build(**elsewhere)

    assert story.inside("one", "cat", "last", "id", **elsewhere) == f"two\n{before}"


def test_a_builder_chosen_with_buildx_use_is_found(story, elsewhere):
    subprocess.run(["docker", "buildx", "use", "elsewhere"], env={**os.environ, **elsewhere}, check=True)
    story.write_one("echo chosen > /workspace/x")

    story.build(DOCKER_CONFIG=elsewhere["DOCKER_CONFIG"])

    assert story.inside("one", "cat", "x") == "chosen\n"


def test_a_builder_that_goes_away_half_way_is_told_with_the_way_out(story, elsewhere, bridge):
    process, mark = story.start_long(**elsewhere)

    bridge.go_away()
    _, said = process.communicate(timeout=120)

    assert process.returncode == 4, said
    assert "the builder 'elsewhere' went away during the build" in said
    assert "BUILDX_BUILDER" in said
    assert story.unfinished() == []
    assert story.held(story.namespace) == []
    story.await_long(lambda: not steps_running(mark))


def test_an_interrupted_build_ends_its_step_elsewhere(story, elsewhere):
    process, mark = story.start_long(**elsewhere)

    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 130, said
    story.await_long(lambda: not steps_running(mark))
    assert story.unfinished() == []
    assert story.held(story.namespace) == []
