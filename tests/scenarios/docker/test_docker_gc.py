"""What ``prewarm gc`` takes from an engine that several projects and machines share, and what it leaves."""

import json
import uuid

import pytest

BASE = "base that no template stands on: "
PROJECT = """\
version: 1
namespace: %s
sandboxes:
  one:
    base: {dockerfile: Dockerfile, context: image}
    backend: docker
    build: {network: none}
    bootstrap: [{run: 'cat /mark > /workspace/mark'}]
"""


@pytest.fixture
def story(docker_story):
    """A project whose namespace and base nobody else has."""
    story = docker_story("node")
    story.namespace = f"story-docker-gc-{uuid.uuid4().hex[:8]}"
    story.write("prewarm.yaml", PROJECT % story.namespace)
    story.write("image/Dockerfile", f"FROM prewarm-test/busybox:2\nLABEL story={story.namespace}\nCOPY mark /mark\n")
    story.write("image/mark", uuid.uuid4().hex)
    yield story
    story.forget()
    if left := bases(story):
        story.docker("rmi", *left)


def garbage(story, *arguments):
    """Collect garbage of the story's namespace; give what went of it, and which bases."""
    done = story.prewarm("gc", "--namespace", story.namespace, *arguments, "--json")
    report = json.loads(done.stdout)
    assert not report["failed"]
    return [
        item["description"] for item in report["garbage"] if item["kind"] == "template" or BASE in item["description"]
    ]


def bases(story):
    """Give the names of the story's own bases in the engine."""
    mine = f"label=story={story.namespace}"
    listed = story.docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", mine, "prewarm-base/image")
    return set(listed.split())


@pytest.fixture(params=["pull", "import", "restore", "check"])
def arrive(request, story, registry, tmp_path):
    """Take the templates away from where they were built; give what brings them to another machine, or finds them there."""
    where = f"{registry}/{uuid.uuid4().hex[:8]}"
    archive, cache = str(tmp_path / "all.tar"), str(tmp_path / "cache")
    story.build()
    story.prewarm("push", where)
    story.prewarm("export", archive)
    story.prewarm("cache", "save", cache)
    if request.param != "check":
        story.forget()
    return {
        "pull": ("pull", where),
        "import": ("import", archive),
        "restore": ("cache", "restore", cache),
        "check": ("check",),
    }[request.param]


def test_what_a_lock_file_from_elsewhere_names_stays_until_that_is_gone(story, arrive, tmp_path):
    other = story.elsewhere(tmp_path / "another-home")
    other.namespace = story.namespace
    other.prewarm(*arrive)
    assert not [one for one in garbage(other, "--apply") if BASE not in one]
    assert other.inside("one", "cat", "mark") == (story.project / "image/mark").read_text()
    other.prewarm("sessions", "--remove-all", "--namespace", story.namespace)

    (other.project / "prewarm.lock").unlink()
    assert [one for one in garbage(other, "--apply") if BASE not in one]
    assert other.images() == []
    assert bases(other) == set()


def test_a_base_that_changed_goes_with_the_last_template_on_it(story):
    story.build()
    (first,) = bases(story)
    story.write("image/mark", "another")
    story.build()
    (second,) = bases(story) - {first}

    assert f"{BASE}{first} (docker)" not in garbage(story)  # The template on it is still there.
    assert f"{BASE}{first} (docker)" in garbage(story, "--apply")
    assert bases(story) == {second}
    assert story.statuses() == {"one": "reused"}


def test_a_base_is_told_once_however_many_projects_there_are(story):
    story.build()
    story.edit("prewarm.yaml", story.namespace, f"{story.namespace}-b")
    story.build()
    (base,) = bases(story)
    story.forget()

    found = json.loads(story.prewarm("gc", "--json").stdout)["garbage"]
    assert [one["namespace"] for one in found if base in one["description"]] == [""]
    garbage(story, "--apply")
    assert bases(story) == set()
