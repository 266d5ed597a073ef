"""Builders that are not the engine's own: they see none of its images, and build for it all the same."""

import hashlib
import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from bridge import Bridge, registered

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
ONE = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: prewarm-test/busybox:2
    backend: docker
    bootstrap: [{run: 'STEP'}]
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


def steps_running(mark):
    """Give the commands on this machine, in whichever container, that carry a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:  # It has ended.
            continue
    return found


def unfinished(story):
    """Give what captures of this story left behind that were not ended."""
    garbage = json.loads(story.prewarm("gc", "--json", "--namespace", story.namespace).stdout)["garbage"]
    return [one for one in garbage if one["kind"] == "litter" and "unfinished" in one["description"]]


def until(seen, seconds=120.0):
    """Wait for something to be so."""
    ends = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < ends, "it does not come to be"
        time.sleep(0.05)


def under_way(story, settings):
    """Start a build whose step takes long, and wait for the step; give the process and the step's mark."""
    mark = f"elsewhere-{uuid.uuid4().hex}"
    story.write("prewarm.yaml", ONE.replace("STEP", f": {mark}; sleep 600"))
    process = story.start("build", **settings)
    # buildx and prewarm do not carry the step in their arguments: it is in a file.
    until(lambda: steps_running(mark) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process, mark


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
    assert unfinished(story) == []


def test_a_change_runs_what_follows_it_and_no_more(story, elsewhere):
    steps = "cat /proc/sys/kernel/random/uuid > /workspace/id'}, {run: 'echo one > /workspace/last"
    story.write("prewarm.yaml", ONE.replace("STEP", steps))
    story.build(**elsewhere)
    before = story.inside("one", "cat", "id", **elsewhere)

    story.edit("prewarm.yaml", "echo one", "echo two")
    story.build(**elsewhere)

    assert story.inside("one", "cat", "last", "id", **elsewhere) == f"two\n{before}"


def test_a_builder_chosen_with_buildx_use_is_found(story, elsewhere):
    subprocess.run(["docker", "buildx", "use", "elsewhere"], env={**os.environ, **elsewhere}, check=True)
    story.write("prewarm.yaml", ONE.replace("STEP", "echo chosen > /workspace/x"))

    story.build(DOCKER_CONFIG=elsewhere["DOCKER_CONFIG"])

    assert story.inside("one", "cat", "x") == "chosen\n"


def test_a_builder_that_goes_away_half_way_is_told_with_the_way_out(story, elsewhere, bridge):
    process, mark = under_way(story, elsewhere)

    bridge.go_away()
    _, said = process.communicate(timeout=120)

    assert process.returncode == 4, said
    assert "the builder 'elsewhere' went away during the build" in said
    assert "BUILDX_BUILDER" in said
    assert unfinished(story) == []
    assert story.held(story.namespace) == []
    until(lambda: not steps_running(mark))


def test_an_interrupted_build_ends_its_step_elsewhere(story, elsewhere):
    process, mark = under_way(story, elsewhere)

    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 130, said
    until(lambda: not steps_running(mark))
    assert unfinished(story) == []
    assert story.held(story.namespace) == []
