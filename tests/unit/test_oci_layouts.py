"""OCI layouts that bases name: read in place, directory or archive, and nothing hostile believed."""

import bz2
import gzip
import json
import os
import tarfile

import pytest
import zstandard
from rootfs import archive, layout, member

from prewarm.backends.oci import Descriptor
from prewarm.backends.oci_layouts import find, opened
from prewarm.errors import UnkeyableInputError

AMD64 = "linux/amd64"
NAME = "org.opencontainers.image.ref.name"
LAYER = archive((member("a"), b"1"))


def image_of(directory, reference="oci:image", platform=AMD64):
    sha256 = lambda path: path.read_bytes().hex()[:64]  # noqa: E731 - as short as what it stands for.
    return find(reference, project=directory, platform=platform, sha256=sha256)[1]


def packed(directory, path, pack=lambda data: data):
    with tarfile.open(path, "w") as tar:
        tar.add(directory, arcname=".")
    path.write_bytes(pack(path.read_bytes()))


def index(directory, *entries):
    (directory / "index.json").write_text(json.dumps({"manifests": entries}))


def entries(directory):
    return json.loads((directory / "index.json").read_text())["manifests"]


def manifest_of(directory):
    """Give the entry of the only image below the only index."""
    (outer,) = entries(directory)
    inner = json.loads((directory / "blobs/sha256" / outer["digest"][7:]).read_text())
    return inner["manifests"][0]


@pytest.fixture
def image(tmp_path):
    return layout(tmp_path / "image", LAYER, archive((member("b"), b"2")))


def test_a_directory_and_an_archive_of_it_are_one_image(image, tmp_path):
    packed(image, tmp_path / "image.tar")
    one = image_of(tmp_path)
    assert one == image_of(tmp_path, "oci-archive:image.tar") == image_of(tmp_path, "oci:image:1")
    assert one.environment == {"PATH": "/bin", "FROM_IMAGE": "yes"}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress], ids=["gzip", "zstd", "bzip2"])
def test_an_archive_may_be_compressed(image, tmp_path, pack):
    packed(image, tmp_path / "image.tar", pack)
    assert image_of(tmp_path, "oci-archive:image.tar") == image_of(tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress], ids=["gzip", "zstd", "bzip2"])
def test_an_archive_whose_compression_is_damaged_is_refused(image, tmp_path, pack):
    packed(image, tmp_path / "image.tar", pack)
    whole = bytearray((tmp_path / "image.tar").read_bytes())
    for place in range(len(whole) // 3, len(whole) // 2):
        whole[place] ^= 0xFF
    (tmp_path / "image.tar").write_bytes(whole)
    with pytest.raises(UnkeyableInputError, match=r"image 'oci-archive:image\.tar' cannot be read"):
        image_of(tmp_path, "oci-archive:image.tar")


def test_the_path_that_is_given_is_of_the_project(image, tmp_path):
    found = find("oci:image:1", project=tmp_path, platform=AMD64, sha256=lambda _: "")
    assert found[0] == "image"


def test_the_image_is_that_of_the_platform_asked_for(image, tmp_path):
    with pytest.raises(UnkeyableInputError, match="it has no image for linux/arm64"):
        image_of(tmp_path, platform="linux/arm64")


def test_what_does_not_exist_is_named_with_a_hint(tmp_path):
    with pytest.raises(UnkeyableInputError, match="image 'oci:nothing' does not exist") as caught:
        image_of(tmp_path, "oci:nothing")
    assert "project directory" in caught.value.hint


def test_a_tag_that_is_not_there_is_told_with_those_that_are(image, tmp_path):
    with pytest.raises(UnkeyableInputError, match=r"it has 0 images of tag 2; one is needed; its tags are '1'$"):
        image_of(tmp_path, "oci:image:2")


def test_one_of_several_has_to_be_named(image, tmp_path):
    layout(image, archive((member("c"), b"3")), tag="2")
    other = entries(image)
    layout(image, LAYER)
    index(image, *entries(image), *other)

    with pytest.raises(UnkeyableInputError, match=r"it has 2 images; one is needed; its tags are '1', '2'$"):
        image_of(tmp_path)
    assert image_of(tmp_path, "oci:image:1").digest != image_of(tmp_path, "oci:image:2").digest


def test_few_of_many_tags_are_shown(image, tmp_path):
    (one,) = entries(image)
    index(image, *({**one, "annotations": {NAME: f"t{number}"}} for number in range(9)))
    with pytest.raises(UnkeyableInputError, match=r"tags are 't0', 't1', 't2', 't3', 't4' and 4 more$"):
        image_of(tmp_path, "oci:image:none")


def test_a_name_without_a_tag_stands_for_one_image_of_several_names(image, tmp_path):
    (one,) = entries(image)
    index(image, one, {**one, "annotations": {NAME: "latest"}})
    assert image_of(tmp_path).digest == image_of(tmp_path, "oci:image:latest").digest


def test_platforms_of_one_tag_may_stand_in_the_layouts_own_index(image, tmp_path):
    amd = manifest_of(image)
    layout(image, LAYER, platform=("linux", "arm64"))
    arm = manifest_of(image)
    attested = {**arm, "digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "unknown"}}
    index(image, *({**one, "annotations": {NAME: "1"}} for one in (attested, arm, amd)))

    assert image_of(tmp_path, "oci:image:1").digest == amd["digest"]
    assert image_of(tmp_path, platform="linux/arm64").digest == arm["digest"]
    with pytest.raises(UnkeyableInputError, match="it has 3 images; one is needed"):
        image_of(tmp_path, platform="linux/s390x")


def test_a_blob_that_is_not_its_digest_is_refused(image, tmp_path):
    for blob in (image / "blobs" / "sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    with pytest.raises(UnkeyableInputError, match="is damaged: its digest is"):
        image_of(tmp_path)


def test_a_blob_that_is_not_there_is_told(image, tmp_path):
    digest = manifest_of(image)["digest"][7:]
    (image / "blobs/sha256" / digest).unlink()
    packed(image, tmp_path / "image.tar")
    for reference in ("oci:image", "oci-archive:image.tar"):
        with pytest.raises(UnkeyableInputError, match=f"it has no file blobs/sha256/{digest}"):
            image_of(tmp_path, reference)


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "", "sha256:" + "0" * 63])
def test_a_digest_that_is_none_becomes_no_path(image, tmp_path, digest):
    index(image, {"digest": digest})
    with pytest.raises(UnkeyableInputError, match="is no digest"):
        image_of(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"manifests": 1}', '{"manifests": [1]}', "\xff", "[" * 100_000])
def test_an_index_that_is_none_is_refused(image, tmp_path, text):
    (image / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        image_of(tmp_path)


@pytest.mark.parametrize("annotations", [{}, {NAME: 1}, None])
def test_an_entry_without_a_tag_has_none(image, tmp_path, annotations):
    (one,) = entries(image)
    index(image, {**one, "annotations": annotations})
    assert image_of(tmp_path).platform == AMD64
    with pytest.raises(UnkeyableInputError, match=r"it has 0 images of tag 1; one is needed$"):
        image_of(tmp_path, "oci:image:1")


def test_a_link_that_stays_in_the_layout_is_followed(image, tmp_path):
    (image / "blobs").rename(image / "elsewhere")
    (image / "blobs").symlink_to("elsewhere")
    assert image_of(tmp_path).platform == AMD64


@pytest.mark.parametrize("name", ["index.json", "blobs"])
def test_a_link_that_leads_out_of_the_layout_is_refused(image, tmp_path, name):
    (image / name).rename(tmp_path / "outside")
    (image / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UnkeyableInputError, match="is a link that leads out of it"):
        image_of(tmp_path)


def test_what_becomes_a_link_while_it_is_read_is_not_followed(image, tmp_path, monkeypatch):
    (tmp_path / "outside.json").write_text('{"manifests": []}')

    def checked_before(path):
        (image / "index.json").unlink(missing_ok=True)
        (image / "index.json").symlink_to(tmp_path / "outside.json")
        return os.path.abspath(path)

    monkeypatch.setattr(os.path, "realpath", checked_before)
    with pytest.raises(UnkeyableInputError, match="symbolic links"):
        image_of(tmp_path)


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink(".", path)], ids=["fifo", "directory", "itself"]
)
def test_what_is_no_file_is_refused_without_waiting(image, tmp_path, make):
    (image / "index.json").unlink()
    make(image / "index.json")
    with pytest.raises(UnkeyableInputError, match=r"index\.json is no file"):
        image_of(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_something_else_for_files_is_refused(tmp_path, kind):
    (tmp_path / "image.tar").write_bytes(archive((member("index.json", kind, link="/etc/passwd"), b"")))
    with pytest.raises(UnkeyableInputError, match=r"it has no file index\.json"):
        image_of(tmp_path, "oci-archive:image.tar")


def test_an_archive_that_would_be_read_for_ever_is_refused(tmp_path):
    header = bytearray(member("index.json").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # A size below zero.
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "image.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        image_of(tmp_path, "oci-archive:image.tar")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "image.tar").write_bytes(b"nothing of the kind" * 1000)
    with pytest.raises(UnkeyableInputError, match="cannot be read"):
        image_of(tmp_path, "oci-archive:image.tar")


def test_what_describes_an_image_has_a_limit(image, tmp_path):
    with (image / "index.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnkeyableInputError, match=r"index\.json has more than 16777216 bytes"):
        image_of(tmp_path)


def test_a_manifest_larger_than_any_is_refused(image, tmp_path):
    with (image / "blobs/sha256" / ("0" * 64)).open("wb") as file:
        file.truncate(1 << 40)
    index(image, {"digest": "sha256:" + "0" * 64})
    with pytest.raises(UnkeyableInputError, match=r"blob sha256:0{12} has more than 16777216 bytes"):
        image_of(tmp_path)


def test_a_layer_is_lent_where_it_lies_or_put_beside(image, tmp_path):
    packed(image, tmp_path / "image.tar")
    (tmp_path / "scratch").mkdir()
    (layer, _) = image_of(tmp_path).layers
    with opened(image) as directory, opened(tmp_path / "image.tar") as packed_up:
        assert directory.fetch(layer, tmp_path / "scratch") == image / "blobs/sha256" / layer.sha256
        assert not list((tmp_path / "scratch").iterdir())
        assert packed_up.fetch(layer, tmp_path / "scratch").read_bytes() == LAYER
        for one in (directory, packed_up):
            with one.blob(layer) as (file, size):
                assert (file.read(), size) == (LAYER, len(LAYER))


def test_a_layer_of_another_size_is_not_lent(image, tmp_path):
    (layer, _) = image_of(tmp_path).layers
    with opened(image) as found, pytest.raises(ValueError, match=f"is damaged: it has {len(LAYER)} bytes of 99999"):
        found.fetch(Descriptor(digest=layer.digest, size=99999), tmp_path)
