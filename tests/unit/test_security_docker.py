"""Archives and caches of templates that somebody hostile wrote: refused before the engine sees them."""

import hashlib
import io
import json
import tarfile

import pytest

from prewarm.backends.docker import saved
from prewarm.backends.docker.names import LABEL_KEY, published_tag
from prewarm.backends.travel import Traveller
from prewarm.errors import TemplateCorruptError
from prewarm.key import TemplateKey
from prewarm.values import TemplateRef

KEY = TemplateKey("ab" * 32)
TAG = published_tag("x", KEY)
CONFIG = json.dumps({"config": {"Labels": {LABEL_KEY: str(KEY)}}}).encode()
DIGEST = hashlib.sha256(CONFIG).hexdigest()
BLOB = f"blobs/sha256/{DIGEST}"


class NoEngine:
    """An engine that must not be asked."""

    def __getattr__(self, name):
        raise AssertionError(f"the engine was asked for {name}")


def archive(path, manifest, *more):
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), (BLOB, CONFIG), *more):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def image(**changes):
    return {"Config": BLOB, "RepoTags": [TAG], "Layers": []} | changes


@pytest.mark.parametrize(
    "manifest",
    [
        [image(RepoTags=["debian:latest"])],
        [image(RepoTags=[])],
        [image(RepoTags=None)],
        [image(RepoTags=[7])],
        [image(RepoTags=TAG)],
        [image(RepoTags=[f"{TAG[:-64]}{'cd' * 32}"])],
        [image(Config="../../etc/passwd")],
        [image(Config=None)],
        [{}],
        [[]],
        ["x"],
        {"x": 1},
        7,
    ],
)
def test_an_archive_with_another_image_is_refused(tmp_path, manifest):
    with pytest.raises(TemplateCorruptError):
        saved.take_in(NoEngine(), archive(tmp_path / "a.tar", manifest))


def test_a_blob_that_is_not_its_digest_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar", [image()], (f"blobs/sha256/{'0' * 64}", b"x"))
    with pytest.raises(TemplateCorruptError, match="is not its digest"):
        saved.take_in(NoEngine(), path)


@pytest.mark.parametrize("config", [b"[]", b"7", b"{", b"[" * 100_000, b'{"config": {"Labels": []}}', b'{"config": 1}'])
def test_a_configuration_that_is_none_is_refused(tmp_path, config):
    path = archive(tmp_path / "a.tar", [image(Config="c.json")], ("c.json", config))
    with pytest.raises(TemplateCorruptError):
        saved.take_in(NoEngine(), path)


def test_an_archive_that_would_be_read_for_ever_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar", [image()])
    data = bytearray(path.read_bytes())
    data[124:136] = b"\xff" * 11 + b"\x00"
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    with pytest.raises(TemplateCorruptError):
        saved.take_in(NoEngine(), path)


def test_a_description_larger_than_any_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar", [image(Config="c.json")], ("c.json", b" " * (17 * 1024 * 1024)))
    with pytest.raises(TemplateCorruptError, match="more than"):
        saved.take_in(NoEngine(), path)


@pytest.fixture
def traveller():
    value = {"image": f"sha256:{DIGEST}", "tag": TAG}
    return Traveller(namespace="x", key=KEY, ref=TemplateRef(backend="docker", format="docker/1", value=value))


def cached(directory, entry):
    (directory / "prewarm-cache.json").write_text(
        json.dumps({"schema": "prewarm.docker-cache/1", "images": {f"sha256:{DIGEST}": entry}})
    )
    return directory


@pytest.mark.parametrize(
    "entry", [{"Config": "0" * 64, "Layers": [], "Tag": TAG}, {"Config": DIGEST, "Layers": [], "Tag": "x:1"}]
)
def test_a_cache_that_gives_another_image_is_refused(tmp_path, monkeypatch, traveller, entry):
    monkeypatch.setattr(saved, "facts", lambda engine, name: None)
    with pytest.raises(TemplateCorruptError, match="another image"):
        saved.cache_restore(NoEngine(), [traveller], cached(tmp_path, entry))


@pytest.mark.parametrize(
    "entry",
    [
        {"Config": "../../etc/passwd", "Layers": [], "Tag": TAG},
        {"Config": DIGEST, "Layers": ["../../../etc/passwd"], "Tag": TAG},
        {"Config": DIGEST, "Layers": 7, "Tag": TAG},
        {"Config": DIGEST, "Layers": [], "Tag": 7},
        {},
        [],
        7,
    ],
)
def test_a_cache_whose_index_is_none_is_empty(tmp_path, monkeypatch, traveller, entry):
    monkeypatch.setattr(saved, "facts", lambda engine, name: None)
    assert saved.cache_restore(NoEngine(), [traveller], cached(tmp_path, entry)) == []
