"""OCI layouts as bases of the docker backend: found for the key, and loaded as what they were then."""

import io
import json
import tarfile

import pytest
from rootfs import archive, layout, member

from prewarm.backends.docker.ocibases import load, resolve
from prewarm.errors import CaptureFailedError, UnkeyableInputError

LAYER = archive((member("a"), b"1"))
AMD64 = "linux/amd64"


def find(directory, reference="oci:image", platform=AMD64):
    return resolve(reference, project=directory, platform=platform, sha256=lambda path: path.read_bytes().hex()[:64])


@pytest.fixture
def image(tmp_path):
    return layout(tmp_path / "image", LAYER, archive((member("b"), b"2")))


def test_the_layout_and_the_manifest_in_it_are_remembered(image, tmp_path):
    one = find(tmp_path, "oci:image:1")
    assert one.value == {"oci": "image", "manifest": one.digest}
    assert one.description == f"oci:image:1 ({one.digest[:19]}…)"


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UnkeyableInputError, match="image 'oci:nothing' does not exist"):
        find(tmp_path, "oci:nothing")


class Nobody:
    """An engine that must not be asked."""


def test_layers_are_compared_before_the_engine_sees_any_of_it(image, tmp_path):
    found = find(tmp_path)
    manifest = json.loads((image / "blobs" / "sha256" / found.digest.removeprefix("sha256:")).read_bytes())
    last = image / "blobs" / "sha256" / manifest["layers"][-1]["digest"].removeprefix("sha256:")
    last.write_bytes(last.read_bytes() + b"more")

    with pytest.raises(CaptureFailedError, match="is damaged"):
        load(Nobody(), image, found.digest, "x:1")


def test_what_is_sent_is_an_archive_of_the_engines_own_kind(image, tmp_path, monkeypatch):
    sent = io.BytesIO()

    class Engine:
        def load_image(self, chunks):
            sent.write(b"".join(chunks))
            return iter([])

        @property
        def api(self):
            return self

    found = find(tmp_path)
    contents = load(Engine(), image, found.digest, "x:1")

    sent.seek(0)
    with tarfile.open(fileobj=sent) as tar:
        (one,) = json.load(tar.extractfile("manifest.json"))
        assert one["RepoTags"] == ["x:1"]
        config = json.load(tar.extractfile(one["Config"]))
        assert len(one["Layers"]) == len(contents) == 2
        assert tar.extractfile(one["Layers"][0]).read() == LAYER
    assert tuple(config["rootfs"]["diff_ids"]) == contents
