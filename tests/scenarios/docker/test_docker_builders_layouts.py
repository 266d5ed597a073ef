"""OCI layouts as bases: a directory and an archive, with each image store and each builder."""

import tarfile

import pytest
from bridge import Bridge, registered
from rootfs import archive, busybox, busybox_archive, layout, member

PROJECT = """\
version: 1
namespace: OWN
sandboxes:
  one:
    base: 'BASE'
    backend: docker
    bootstrap: [{run: 'cat /upper > /workspace/x; echo $FROM_IMAGE >> /workspace/x'}]
    build: {network: none}
"""


@pytest.fixture
def story(docker_story, absent):
    program = busybox()
    if program is None:
        absent("docker", "busybox cannot be fetched")
    one = docker_story("node")
    layout(one.project / "image", busybox_archive(program), archive((member("upper"), b"upper\n")))
    return one


@pytest.fixture(params=["own store", "containerd's store", "builder elsewhere"])
def settings(request, tmp_path):
    if request.param == "own store":
        yield {}
        return
    containerd = request.getfixturevalue("containerd")
    if request.param == "containerd's store":
        yield containerd
        return
    with Bridge(containerd["DOCKER_HOST"].removeprefix("unix://")) as bridge:
        yield registered(bridge, tmp_path / "docker-config")


def test_a_layout_and_its_archive_are_one_base(story, settings):
    story.write("prewarm.yaml", PROJECT.replace("BASE", "oci:./image"))
    story.build(**settings)
    assert story.inside("one", "cat", "x", **settings) == "upper\nyes\n"

    with tarfile.open(story.project / "image.tar", "w") as tar:
        tar.add(story.project / "image", arcname=".")
    story.write("prewarm.yaml", PROJECT.replace("BASE", "oci-archive:./image.tar:1"))
    assert story.build(**settings)["one"]["reason"] == "unchanged"


def test_a_layer_that_is_not_what_the_image_says_is_refused(story):
    story.write("prewarm.yaml", PROJECT.replace("BASE", "oci:./image"))
    for blob in (story.project / "image" / "blobs" / "sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(blob.read_bytes()[:-9] + b"x" * 9)

    failed = story.prewarm("build", code=5)

    assert "cannot be loaded" in failed.stderr
    assert "is damaged" in failed.stderr
    assert story.held(story.namespace) == []
