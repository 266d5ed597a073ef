"""buildx's ``docker-container`` driver, which docker/setup-buildx-action sets up in CI: a real buildkitd in a container."""

import hashlib
import os
import re
import signal
import subprocess
import time
import uuid

import pytest
from containerbuilders import ContainerBuilder, buildkit_image, programs
from stories import steps_running

TOKEN = "hunter2-container-77af"
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
      - run: cat /proc/sys/kernel/random/uuid > /workspace/id; ls /sys/class/net | tr '\\n' ' ' > /workspace/nets
        network: none
      - run: sha256sum < /run/secrets/token | cut -c1-12 > /workspace/proof; cat /run/secrets/token
        secrets: [token]
      - run: echo x >> "$PIP_CACHE_DIR/seen"; wc -l < "$PIP_CACHE_DIR/seen" > /workspace/seen; cat /proc/sys/kernel/random/uuid > /workspace/second
      - python: hooks.setup:warm
      - run: echo "$GREETING" > /workspace/last; cat /workspace/warmed >> /workspace/last
    verify: [{run: test -s /workspace/last}]
    build: {secrets: [{id: token, env: STORY_TOKEN}]}
  child:
    extends: image
    bootstrap: [{run: cat /workspace/last > /workspace/child}]
"""
EACH_TIME = "cat /proc/sys/kernel/random/uuid > /workspace/id"


@pytest.fixture(scope="module")
def image(tmp_path_factory, absent):
    if "DOCKER_HOST" not in os.environ:
        absent("docker", "DOCKER_HOST is not set; see ci/services.sh")
    if programs() is None:
        absent("buildkitd", "PREWARM_TEST_BUILDKITD names none; see ci/buildkitd.sh")
    with buildkit_image(tmp_path_factory.mktemp("buildkit")) as name:
        yield name


@pytest.fixture(scope="module")
def shared(image, tmp_path_factory):
    """A builder for the tests that leave it as it is."""
    with ContainerBuilder(image, tmp_path_factory.mktemp("buildx"), "network=host") as one:
        yield one


@pytest.fixture
def own(image, tmp_path):
    """A builder for a test that ends it."""
    with ContainerBuilder(image, tmp_path / "buildx") as one:
        yield one


@pytest.fixture
def story(docker_story):
    one = docker_story("node")
    yield one
    one.forget_all()


def captured(story, builder, *options):
    """Capture with neither a template nor a step at hand; give what the step wrote: another text each time that it runs."""
    story.forget_all()
    builder.forget()
    story.prewarm("build", "--builder", builder.name, *options, **builder.settings)
    return story.inside("one", "cat", "id")


def left_by(story):
    """Give what captures of this story left behind: templates, and what was not ended."""
    return story.unfinished() + story.held(story.namespace)


def named_by_option(builder):
    return ["--builder", builder.name], {}


def named_by_environment(builder):
    return [], {"BUILDX_BUILDER": builder.name}


def chosen_with_use(builder):
    builder.buildx("use", builder.name)
    return [], {}


@pytest.mark.parametrize("way", [named_by_option, named_by_environment, chosen_with_use])
def test_a_builder_in_a_container_captures_into_the_engine(story, own, way):
    story.write("prewarm.yaml", PROJECT)
    story.write("hooks/setup.py", "def warm(sandbox):\n    sandbox.run('echo warm > /workspace/warmed')\n")
    options, settings = way(own)
    settings |= {**own.settings, "STORY_TOKEN": TOKEN}

    built = story.prewarm("build", *options, **settings)
    again = story.build(*options, **settings)

    # Without any builder: it is all in the engine.
    found = story.inside("child", "cat", "motd.txt", "proof", "seen", "nets", "last", "child")
    proof = hashlib.sha256(TOKEN.encode()).hexdigest()[:12]
    assert found.split() == ["seeded", proof, "1", "lo", "hello", "warm", "hello", "warm"]
    assert TOKEN not in built.stdout + built.stderr
    assert {one["reason"] for one in again.values()} == {"unchanged"}
    assert story.docker("inspect", "--format", "{{.State.Running}}", own.container) == "true"
    examined = story.prewarm("doctor", "--backend", "docker", *options, **settings).stdout
    assert re.search(rf"builder '{own.name}' +ok +docker-container, running", examined)


def test_a_change_runs_what_follows_it_and_keeps_the_cache_mounts(story, shared):
    settings = {**shared.settings, "BUILDX_BUILDER": shared.name, "STORY_TOKEN": TOKEN}
    story.write("prewarm.yaml", PROJECT)
    story.write("hooks/setup.py", "def warm(sandbox):\n    sandbox.run('echo warm > /workspace/warmed')\n")
    story.build("--only", "image", **settings)
    first, second = story.inside("image", "cat", "id", "second").split()

    story.edit("prewarm.yaml", "wc -l <", "cat | wc -l <")
    story.build("--only", "image", **settings)

    found = story.inside("image", "cat", "id", "second", "seen").split()
    assert found[0] == first
    assert found[1] != second
    assert found[2] == "2"


def test_a_builder_that_is_not_running_yet_is_found_and_started(story, own):
    settings = {**own.settings, "BUILDX_BUILDER": own.name}
    story.write_one(EACH_TIME)
    doctor = ("doctor", "--backend", "docker")

    new = story.prewarm(*doctor, **settings).stdout
    story.build(**settings)
    own.buildx("stop", own.name)
    stopped = story.prewarm(*doctor, **settings).stdout
    story.build("--force", **settings)

    assert "docker-container, not running yet: the first build starts it" in new
    assert "docker-container, stopped: a build starts it" in stopped
    assert "docker-container, running" in story.prewarm(*doctor, **settings).stdout


@pytest.mark.parametrize("how", ["stop", "kill", "rm"])
@pytest.mark.parametrize("way", [named_by_environment, chosen_with_use])
def test_a_builder_that_ends_half_way_is_told_with_the_way_out(story, own, how, way):
    _, settings = way(own)
    process, mark = story.start_long(**own.settings, **settings)

    if how == "kill":
        story.docker("kill", own.container)
    else:
        own.buildx(how, own.name)  # It gives up its builds in good order, and says that their steps failed.
    _, said = process.communicate(timeout=120)

    assert process.returncode == 4, said
    assert "went away during the build of 'one'" in said
    assert f"the builder '{own.name}'" in said
    assert "docker buildx ls" in said
    assert "bootstrap step" not in said
    story.await_long(lambda: not steps_running(mark))
    assert left_by(story) == []


def test_a_builder_that_was_removed_is_told_with_the_way_out(story, own):
    story.write_one(EACH_TIME)
    own.buildx("rm", own.name)

    failed = story.prewarm("build", "--builder", own.name, code=4, **own.settings)

    assert f'no builder "{own.name}" found' in failed.stderr
    assert "docker buildx ls" in failed.stderr


def test_a_builder_whose_image_cannot_be_had_is_told_with_the_way_out(story, tmp_path):
    story.write_one(EACH_TIME)
    with ContainerBuilder("127.0.0.1:9/nowhere/buildkit:1", tmp_path / "buildx") as builder:
        failed = story.prewarm("build", "--builder", builder.name, code=4, **builder.settings)

    assert f"the builder '{builder.name}' cannot be reached" in failed.stderr
    assert "127.0.0.1:9" in failed.stderr
    assert "docker buildx inspect --bootstrap" in failed.stderr


def test_an_interrupted_build_ends_its_step_in_the_container(story, shared):
    process, mark = story.start_long(**shared.settings, BUILDX_BUILDER=shared.name)

    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 130, said
    story.await_long(lambda: not steps_running(mark))
    assert left_by(story) == []


def test_a_step_that_takes_too_long_is_ended_in_the_container(story, shared):
    mark = f"container-{uuid.uuid4().hex}"
    story.write_one(f": {mark}; sleep 300", timeout="3s")

    failed = story.prewarm("build", "--builder", shared.name, code=5, **shared.settings)

    assert "bootstrap step 1 of 1" in failed.stderr
    assert "timed out after 3s" in failed.stderr
    story.await_long(lambda: not steps_running(mark))


def test_two_captures_of_the_same_steps_are_one_image(story, shared):
    story.write_one("date > /dev/null; echo same > /workspace/x")

    def image_id():
        story.forget_all()
        shared.forget()
        story.prewarm("build", "--reproducible", "--builder", shared.name, **shared.settings)
        return story.lock()["one"]["ref"]

    first = image_id()
    time.sleep(1.1)  # A file's time in a layer has whole seconds.
    assert image_id() == first


@pytest.mark.parametrize("kind", ["local", "registry"])
def test_a_step_comes_from_a_cache_that_an_earlier_build_wrote(story, shared, tmp_path, kind, request):
    story.write_one(EACH_TIME)
    if kind == "local":
        to, source = f"type=local,dest={tmp_path}/{{name}}", f"type=local,src={tmp_path}/{{name}}"
    else:
        to = source = f"type=registry,ref={request.getfixturevalue('registry')}/{uuid.uuid4().hex[:8]}:{{name}}"

    written = captured(story, shared, "--cache-to", to)
    cached = captured(story, shared, "--cache-from", source)
    alone = captured(story, shared)

    assert cached == written
    assert alone != written


def test_a_step_comes_from_the_cache_inside_an_image_that_was_pushed(story, shared, registry):
    story.write_one(EACH_TIME)
    written = captured(story, shared, "--cache-to", "type=inline")
    where = f"{registry}/{uuid.uuid4().hex[:8]}"
    story.prewarm("push", where)
    key = story.prewarm("keys").stdout.split()[0]

    assert captured(story, shared, "--cache-from", f"type=registry,ref={where}/{story.namespace}:{key}") == written


def test_the_builder_may_be_in_another_engine_than_the_images_which_keeps_attestations(story, shared, containerd):
    story.write_one(EACH_TIME)
    settings = {**containerd, **shared.settings, "BUILDX_BUILDER": shared.name}

    story.prewarm("build", "--provenance", "mode=max", **settings)

    tag = f"prewarm/{story.namespace}:{story.prewarm('keys', **settings).stdout.split()[0]}"
    archive = story.home / "image.tar"
    subprocess.run(["docker", "save", "-o", str(archive), tag], env={**os.environ, **containerd}, check=True)
    assert b"https://slsa.dev/provenance" in archive.read_bytes()
    assert len(story.inside("one", "cat", "id", **containerd)) == 37
