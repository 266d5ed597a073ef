"""An image that an engine pushed to a registry, as a base of the local backend, which needs no engine."""

import base64
import os
import shutil
import uuid
from pathlib import Path

import pytest
from locked import ANSWERS, ENCODED, PASSWORD, configure, write_helper

BUSYBOX = os.environ.get("PREWARM_TEST_BUSYBOX", "busybox:latest")
PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: {image}
    backend: local
    build: {{network: none}}
    bootstrap: [{{run: 'cat /from > /workspace/from; rm /etc/left-out'}}]
"""


@pytest.fixture
def image(docker_story, registry):
    """An image's name in the registry, and a way to push another under it."""
    story = docker_story("node")
    name = f"{registry}/base-{uuid.uuid4().hex[:8]}:1"

    def push(content):
        made = story.docker(
            "create", BUSYBOX, "sh", "-c", f"echo {content} > /from; rm -f /bin/vi; touch /etc/left-out"
        )
        story.docker("start", "--attach", made)
        story.docker("commit", "--change", "ENV FROM_IMAGE=yes", made, name)
        story.docker("rm", made)
        story.docker("push", "--quiet", name)
        story.docker("rmi", name)

    push("first")
    story.write("prewarm.yaml", PROJECT.format(image=name))
    return story, name, push


def test_a_local_template_starts_from_an_image_that_an_engine_pushed(image):
    story, _, push = image
    without = {"DOCKER_HOST": "unix:///nowhere"}

    first = story.build(**without)["one"]
    assert (first["status"], first["backend"]) == ("fresh", "local")
    script = "cat from; echo $FROM_IMAGE; ls /bin/vi /etc/left-out 2>/dev/null; true"
    assert story.inside("one", "sh", "-c", script, **without) == "first\nyes\n"
    assert story.statuses(**without) == {"one": "reused"}

    push("second")
    moved = story.build(**without)["one"]
    assert moved["status"] == "fresh"
    assert any("base" in change for change in moved["changes"])
    assert story.inside("one", "cat", "from", **without) == "second\n"


@pytest.mark.parametrize("known", ["config", "helper"])
def test_an_image_behind_a_login_is_a_base_too(docker_story, locked, tmp_path, known):
    story = docker_story("node")
    config = tmp_path / "docker-config"
    shutil.copytree(story.environment.get("DOCKER_CONFIG") or Path.home() / ".docker", config)
    story.environment["DOCKER_CONFIG"] = str(config)
    name = f"{locked}/base-{uuid.uuid4().hex[:8]}:1"
    asked = write_helper(story, tmp_path, ANSWERS)
    configure(story, auths={locked: {"auth": ENCODED}})
    story.docker("tag", BUSYBOX, name)
    story.docker("push", "--quiet", name)
    story.docker("rmi", name)
    story.write(
        "prewarm.yaml", PROJECT.format(image=name).replace("cat /from", "echo").replace("rm /etc/left-out", "true")
    )

    for wrong in ({}, {"auths": {locked: {"auth": base64.b64encode(b"warden:wrong").decode()}}}):
        configure(story, **wrong)
        refused = story.prewarm("build", code=4)
        assert "wants a login" in refused.stderr
        assert "docker login" in refused.stderr

    configure(story, **({"auths": {locked: {"auth": ENCODED}}} if known == "config" else {"credsStore": "vault"}))
    built = story.prewarm("build", "--json")
    assert '"fresh"' in built.stdout
    assert asked.exists() == (known == "helper")
    assert PASSWORD not in built.stdout + built.stderr
