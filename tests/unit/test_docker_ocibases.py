"""OCI layouts as bases of the docker backend: found by digest and platform, and nothing hostile believed."""

import io
import json
import os
import tarfile

import pytest
from rootfs import archive, layout, member

from prewarm.backends.docker.ocibases import load, resolve
from prewarm.errors import CaptureFailedError, UnkeyableInputError

LAYER = archive((member("a"), b"1"))
AMD64 = "linux/amd64"


def find(directory, reference="oci:image", platform=AMD64):
    return resolve(reference, project=directory, platform=platform, sha256=lambda path: path.read_bytes().hex()[:64])


def packed(directory, path):
    with tarfile.open(path, "w") as tar:
        tar.add(directory, arcname=".")


def index(directory, digest="sha256:" + "0" * 64, **more):
    (directory / "index.json").write_text(json.dumps({"manifests": [{"digest": digest, **more}]}))


@pytest.fixture
def image(tmp_path):
    return layout(tmp_path / "image", LAYER, archive((member("b"), b"2")))


def test_a_directory_and_an_archive_of_it_are_one_image(image, tmp_path):
    packed(image, tmp_path / "image.tar")

    one = find(tmp_path)
    assert one.digest == find(tmp_path, "oci-archive:image.tar").digest == find(tmp_path, "oci:image:1").digest
    assert one.value == {"oci": "image", "manifest": one.digest}


def test_the_image_is_that_of_the_platform_asked_for(image, tmp_path):
    with pytest.raises(UnkeyableInputError, match="it has no image for linux/arm64"):
        find(tmp_path, platform="linux/arm64")


@pytest.mark.parametrize(
    ("reference", "why"),
    [("oci:nothing", "does not exist"), ("oci:image:2", "it has 0 images of tag 2; one is needed")],
)
def test_what_is_not_there_is_named(image, tmp_path, reference, why):
    with pytest.raises(UnkeyableInputError, match=why):
        find(tmp_path, reference)


def test_a_blob_that_is_not_its_digest_is_refused(image, tmp_path):
    for blob in (image / "blobs" / "sha256").iterdir():
        blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(UnkeyableInputError, match="is damaged"):
        find(tmp_path)


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "", "sha256:" + "0" * 63])
def test_a_digest_that_is_none_becomes_no_path(image, tmp_path, digest):
    index(image, digest)
    with pytest.raises(UnkeyableInputError, match="is no digest"):
        find(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"manifests": 1}', '{"manifests": [1]}', "\xff", "[" * 100_000])
def test_an_index_that_is_none_is_refused(image, tmp_path, text):
    (image / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        find(tmp_path)


def test_indexes_in_a_circle_end(image, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "prewarm.backends.docker.ocibases._Directory.read", lambda *_: (image / "index.json").read_bytes()
    )
    with pytest.raises(UnkeyableInputError, match="nested too deeply"):
        find(tmp_path)


def test_neither_a_link_nor_a_fifo_is_read(image, tmp_path):
    (image / "index.json").rename(tmp_path / "outside.json")
    (image / "index.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        find(tmp_path)

    (image / "index.json").unlink()
    os.mkfifo(image / "index.json")
    with pytest.raises(UnkeyableInputError, match="is no file"):
        find(tmp_path)


def test_an_archive_with_links_for_files_is_refused(image, tmp_path):
    (tmp_path / "image.tar").write_bytes(archive((member("index.json", tarfile.SYMTYPE, link="/etc/passwd"), b"")))
    with pytest.raises(UnkeyableInputError, match=r"it has no file index\.json"):
        find(tmp_path, "oci-archive:image.tar")


def test_an_archive_that_would_be_read_for_ever_is_refused(tmp_path):
    header = bytearray(member("index.json").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # A size below zero.
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "image.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        find(tmp_path, "oci-archive:image.tar")


def test_what_describes_an_image_has_a_limit(image, tmp_path):
    with (image / "index.json").open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    with pytest.raises(UnkeyableInputError, match="has more than 16777216 bytes"):
        find(tmp_path)


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
