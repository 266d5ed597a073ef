"""What is handed on to BuildKit, for real: GitHub's cache, attestations, each with the builder in the engine and elsewhere."""

import json
import os
import subprocess
import uuid

import pytest
from actionscache import ActionsCache
from actionscache import token as made_token
from engines import containerd_engine

FOUND = "package-of-the-scanner"
STEP = "cat /proc/sys/kernel/random/uuid > /workspace/id"  # Another text each time that it runs.


@pytest.fixture
def story(docker_story):
    one = docker_story("node")
    one.write_one(STEP)
    return one


@pytest.fixture(scope="module")
def containerd(tmp_path_factory, absent):
    """An engine with containerd's image store and with a network, which what scans for an SBOM is given."""
    if os.getuid() != 0 or "DOCKER_HOST" not in os.environ:
        absent("docker", "an engine of its own needs root, and ci/services.sh")
    directory = tmp_path_factory.mktemp("containerd")
    with containerd_engine(directory, size="700m", has_network=True, flags="--iptables=false") as settings:
        yield settings


@pytest.fixture
def cache():
    with ActionsCache() as one:
        yield one


def captured(story, containerd, *options, **settings):
    """Capture with no step at hand; give what was said, and what the step wrote: another text each time that it runs."""
    docker = {"env": {**os.environ, **settings}, "capture_output": True, "text": True}
    listed = ["docker", "images", "-q", "--no-trunc", "--filter", f"label=dev.prewarm.namespace={story.namespace}"]
    if left := subprocess.run(listed, check=True, **docker).stdout.split():
        subprocess.run(["docker", "rmi", "--force", *set(left)], check=True, **docker)
    prune = ["docker", "builder", "prune", "-af"]
    subprocess.run(prune, env={**os.environ, **containerd}, check=True, capture_output=True)
    done = story.prewarm("build", "--json", *options, **settings)
    return done.stdout + done.stderr, story.inside("one", "cat", "id", **settings)


def test_a_step_comes_from_the_cache_of_github_and_its_token_goes_nowhere(story, containerd, settings, cache):
    settings = settings | {"ACTIONS_CACHE_URL": cache.url, "ACTIONS_RUNTIME_TOKEN": cache.token}

    first, written = captured(story, containerd, "--cache-to", "type=gha,scope={name},mode=max", **settings)
    again, cached = captured(story, containerd, "--cache-from", "type=gha,scope={name}", **settings)
    _, alone = captured(story, containerd, **settings)

    assert cached == written
    assert alone != written
    assert any("index-one" in key for key in cache.stored)
    assert cache.token not in first + again
    assert cache.token not in (story.project / "prewarm.lock").read_text()
    assert [p for p in story.home.rglob("*") if p.is_file() and cache.token.encode() in p.read_bytes()] == []


def test_a_token_that_github_refuses_is_in_no_error(story, containerd, settings, cache):
    wrong = made_token()
    told = f"type=gha,scope={{name}},url={cache.url},token={wrong}"

    failed = story.prewarm("build", "--force", "--cache-to", told, code=5, **settings)

    assert cache.refused > 0
    assert wrong not in failed.stdout + failed.stderr


@pytest.fixture
def attesting(settings, containerd):
    """The engine with containerd's image store, which keeps attestations, under either builder."""
    return settings | {"DOCKER_HOST": containerd["DOCKER_HOST"]}


@pytest.fixture
def scanner(story, registry, tmp_path):
    """An image that finds one package in whatever it scans, in a registry."""
    packages = {"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "name": FOUND, "packages": [{"name": FOUND}]}
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://spdx.dev/Document",
        "predicate": packages,
    }
    (tmp_path / "found.json").write_text(json.dumps(statement))
    scan = ["/bin/sh", "-c", "cp /found.json $BUILDKIT_SCAN_DESTINATION/found.spdx.json"]
    (tmp_path / "Dockerfile").write_text(
        f"FROM prewarm-test/busybox:2\nCOPY found.json /\nENTRYPOINT {json.dumps(scan)}\n"
    )
    name = f"{registry}/{uuid.uuid4().hex[:8]}:scanner"
    story.docker("build", "-q", "-t", name, str(tmp_path))
    story.docker("push", name)
    story.docker("rmi", name)
    return name


def saved(story, settings, path):
    """Give a template's image as the engine saves it, with all that is kept beside it."""
    tag = f"prewarm/{story.namespace}:{story.prewarm('keys', **settings).stdout.split()[0]}"
    subprocess.run(["docker", "save", "-o", str(path), tag], env={**os.environ, **settings}, check=True)
    return path.read_bytes()


def test_attestations_are_kept_with_a_template_that_opens(story, containerd, attesting, scanner, tmp_path):
    options = ("--provenance", "mode=max", "--sbom", f"generator={scanner}")

    _, first = captured(story, containerd, *options, **attesting)

    content = saved(story, attesting, tmp_path / "image.tar")
    assert b"https://slsa.dev/provenance" in content
    assert b"https://spdx.dev/Document" in content
    assert FOUND.encode() in content
    assert story.build(**attesting)["one"]["reason"] == "unchanged"
    assert story.inside("one", "cat", "id", **attesting) == first


def test_attestations_and_reproducible_layers_go_together(story, containerd, attesting, tmp_path):
    captured(story, containerd, "--provenance", "mode=max", "--reproducible", **attesting)

    assert b"https://slsa.dev/provenance" in saved(story, attesting, tmp_path / "image.tar")
