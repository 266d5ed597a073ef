"""Archives and caches of templates that somebody hostile wrote: refused before the engine sees them."""

import hashlib
import io
import json
import os
import tarfile

import pytest

from prewarm.backends.docker import cache, content, saved
from prewarm.backends.docker.names import LABEL_KEY, LABEL_NAMESPACE, LABEL_ROLE, ROLE_TEMPLATE, published_tag
from prewarm.backends.travel import Traveller
from prewarm.errors import TemplateCorruptError, TemplateNotFoundError, UnsupportedOptionError
from prewarm.key import TemplateKey
from prewarm.values import TemplateRef

KEY, OTHER = TemplateKey("ab" * 32), TemplateKey("cd" * 32)
TAG = published_tag("x", KEY)
LAYER = b"the only layer"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def config(*, key=KEY, namespace="x", role=ROLE_TEMPLATE, layers=1):
    labels = {LABEL_KEY: str(key), LABEL_NAMESPACE: namespace, LABEL_ROLE: role}
    return json.dumps(
        {"config": {"Labels": labels}, "rootfs": {"diff_ids": [f"sha256:{digest(LAYER)}"] * layers}}
    ).encode()


CONFIG = config()
BLOB, LAYER_BLOB = f"blobs/sha256/{digest(CONFIG)}", f"blobs/sha256/{digest(LAYER)}"


class NoEngine:
    """An engine that must not be asked."""

    def __getattr__(self, name):
        raise AssertionError(f"the engine was asked for {name}")


def file(name, data, **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    return member, data


def written(path, *members):
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return path


def archive(path, manifest, *more):
    return written(
        path, file("manifest.json", json.dumps(manifest).encode()), file(BLOB, CONFIG), file(LAYER_BLOB, LAYER), *more
    )


def image(**changes):
    return {"Config": BLOB, "RepoTags": [TAG], "Layers": [LAYER_BLOB]} | changes


@pytest.fixture
def sent(monkeypatch):
    """What would have been sent to the engine."""
    parcels = []

    def load(engine, found, blob):
        parcels.extend(found)
        return [one.key for one in found]

    monkeypatch.setattr(saved, "load", load)
    monkeypatch.setattr(cache, "load", load)
    return parcels


def test_the_archive_that_these_tests_spoil_is_taken_in(tmp_path, sent):
    assert saved.take_in(NoEngine(), archive(tmp_path / "a.tar", [image()])) == [KEY]
    assert [one.blobs for one in sent] == [(digest(CONFIG), digest(LAYER))]


@pytest.mark.parametrize(
    "manifest",
    [
        [image(RepoTags=["debian:latest"])],
        [image(RepoTags=[])],
        [image(RepoTags=None)],
        [image(RepoTags=[7])],
        [image(RepoTags=TAG)],
        [image(RepoTags=[TAG, "debian:latest"])],
        [image(RepoTags=[published_tag("x", OTHER)])],
        [image(RepoTags=[published_tag("y", KEY)])],
        [image(), image()],
        [image(), image(RepoTags=["debian:latest"])],
        [image(Config="../../etc/passwd")],
        [image(Config=None)],
        [image(Config=LAYER_BLOB)],
        [image(Layers=[])],
        [image(Layers=[LAYER_BLOB, LAYER_BLOB])],
        [image(Layers=["blobs/sha256/../../etc/passwd"])],
        [image(Layers=LAYER_BLOB)],
        [image(Layers=None)],
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


@pytest.mark.parametrize("changes", [{"key": OTHER}, {"namespace": "y"}, {"role": "session"}, {"layers": 2}])
def test_a_configuration_of_another_template_is_refused(tmp_path, changes):
    other = config(**changes)
    with pytest.raises(TemplateCorruptError):
        saved.take_in(NoEngine(), archive(tmp_path / "a.tar", [image(Config="c.json")], file("c.json", other)))


def test_a_blob_that_is_not_its_digest_is_refused(tmp_path):
    name = f"blobs/sha256/{'0' * 64}"
    path = archive(tmp_path / "a.tar", [image(Layers=[name])], file(name, b"x"))
    with pytest.raises(TemplateCorruptError, match="is not its digest"):
        saved.take_in(NoEngine(), path)


def test_a_configuration_that_is_not_its_digest_is_refused(tmp_path):
    name = f"blobs/sha256/{'0' * 64}"
    path = archive(tmp_path / "a.tar", [image(Config=name)], file(name, CONFIG))
    with pytest.raises(TemplateCorruptError, match="is not its digest"):
        saved.take_in(NoEngine(), path)


def test_a_member_that_nothing_names_is_not_sent(tmp_path, sent):
    index = file("index.json", b'{"manifests": []}')
    path = archive(tmp_path / "a.tar", [image()], index, file("blobs/sha256/x", b"x"), file("/etc/passwd", b"x"))
    assert saved.take_in(NoEngine(), path) == [KEY]
    assert [one.blobs for one in sent] == [(digest(CONFIG), digest(LAYER))]


def test_the_last_of_two_members_with_one_name_counts_and_is_hashed(tmp_path):
    path = archive(tmp_path / "a.tar", [image()], file(LAYER_BLOB, b"another layer"))
    with pytest.raises(TemplateCorruptError, match="is not its digest"):
        saved.take_in(NoEngine(), path)


def test_links_between_layers_are_followed_within_the_archive(tmp_path, sent):
    link = file("two/layer.tar", b"", type=tarfile.SYMTYPE, linkname="../one/layer.tar")
    path = archive(tmp_path / "a.tar", [image(Layers=["two/layer.tar"])], file("one/layer.tar", LAYER), link)
    assert saved.take_in(NoEngine(), path) == [KEY]
    assert [one.layers for one in sent] == [(digest(LAYER),)]


@pytest.mark.parametrize("to", ["/etc/passwd", "../../../../../../etc/passwd", "layer", "nowhere", ""])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_layer_that_is_a_link_out_of_the_archive_is_refused(tmp_path, kind, to):
    path = archive(tmp_path / "a.tar", [image(Layers=["layer"])], file("layer", b"", type=kind, linkname=to))
    with pytest.raises(TemplateCorruptError):
        saved.take_in(NoEngine(), path)


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_layer_that_is_no_file_is_refused(tmp_path, kind):
    path = archive(tmp_path / "a.tar", [image(Layers=["layer"])], file("layer", b"", type=kind))
    with pytest.raises(TemplateCorruptError, match="is no file"):
        saved.take_in(NoEngine(), path)


def test_a_sparse_layer_of_no_end_is_refused(tmp_path):
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**60)}
    member = file("layer", b"0\n".ljust(512, b"\0"), pax_headers={**sparse, "GNU.sparse.name": "layer"})
    path = archive(tmp_path / "a.tar", [image(Layers=["layer"])], member)
    with pytest.raises(TemplateCorruptError, match="is no file"):
        saved.take_in(NoEngine(), path)


def test_a_long_name_of_no_end_is_refused(tmp_path):
    path = written(tmp_path / "a.tar", file("x", b"n" * (2 * 1024 * 1024), type=tarfile.GNUTYPE_LONGNAME))
    with pytest.raises(TemplateCorruptError, match="description is too long"):
        saved.take_in(NoEngine(), path)


@pytest.mark.parametrize("data", [b"[]", b"7", b"{", b"[" * 100_000, b'{"config": {"Labels": []}}', b'{"config": 1}'])
def test_a_configuration_that_is_none_is_refused(tmp_path, data):
    path = archive(tmp_path / "a.tar", [image(Config="c.json")], file("c.json", data))
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
    path = archive(tmp_path / "a.tar", [image(Config="c.json")], file("c.json", b" " * (17 * 1024 * 1024)))
    with pytest.raises(TemplateCorruptError, match="more than"):
        saved.take_in(NoEngine(), path)


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b\x08\x00"])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(TemplateCorruptError, match="is no archive of templates"):
        saved.take_in(NoEngine(), tmp_path / "a.tar")


def test_an_archive_that_is_not_there_is_said_to_be_so(tmp_path):
    with pytest.raises(TemplateNotFoundError, match="No such file"):
        saved.take_in(NoEngine(), tmp_path / "a.tar")


@pytest.fixture
def traveller():
    value = {"image": f"sha256:{digest(CONFIG)}", "tag": TAG}
    return Traveller(namespace="x", key=KEY, ref=TemplateRef(backend="docker", format="docker/1", value=value))


@pytest.fixture
def absent(monkeypatch):
    """An engine that holds none of the templates."""
    monkeypatch.setattr(cache, "facts", lambda engine, name: None)


def cached(directory, entry, *blobs):
    (directory / "blobs" / "sha256").mkdir(parents=True)
    for data in (CONFIG, LAYER, *blobs):
        (directory / "blobs" / "sha256" / digest(data)).write_bytes(data)
    (directory / "prewarm-cache.json").write_text(
        json.dumps({"schema": "prewarm.docker-cache/1", "images": {f"sha256:{digest(CONFIG)}": entry}})
    )
    return directory


def entry(**changes):
    return {"Config": digest(CONFIG), "Layers": [digest(LAYER)], "Tag": TAG} | changes


@pytest.mark.usefixtures("absent")
def test_the_cache_that_these_tests_spoil_is_restored(tmp_path, traveller, sent):
    assert cache.restore(NoEngine(), [traveller], cached(tmp_path, entry())) == [KEY]
    assert [one.blobs for one in sent] == [(digest(CONFIG), digest(LAYER))]


@pytest.mark.usefixtures("absent")
def test_a_template_that_another_store_names_is_restored_by_its_content(tmp_path, traveller, sent):
    value = {"image": f"sha256:{'0' * 64}", "tag": TAG, "content": content.of_config(json.loads(CONFIG))}
    elsewhere = Traveller(namespace="x", key=KEY, ref=TemplateRef(backend="docker", format="docker/1", value=value))
    assert cache.restore(NoEngine(), [elsewhere], cached(tmp_path, entry())) == [KEY]


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("other", [config(key=OTHER), config(namespace="y"), config(layers=0), CONFIG + b" ", b"7"])
def test_a_cache_that_gives_another_image_is_refused(tmp_path, traveller, other):
    directory = cached(tmp_path, entry(Config=digest(other)), other)
    with pytest.raises(TemplateCorruptError, match="another image"):
        cache.restore(NoEngine(), [traveller], directory)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize(
    "wrong",
    [
        entry(Config="../../etc/passwd"),
        entry(Layers=["../../../etc/passwd"]),
        entry(Layers=7),
        entry(Tag=7),
        {},
        [],
        7,
    ],
)
def test_a_cache_whose_index_is_none_is_empty(tmp_path, traveller, wrong):
    assert cache.restore(NoEngine(), [traveller], cached(tmp_path, wrong)) == []


@pytest.mark.usefixtures("absent")
def test_a_damaged_blob_is_refused_and_goes_so_that_it_is_written_again(tmp_path, traveller):
    directory = cached(tmp_path, entry())
    blob = directory / LAYER_BLOB
    blob.write_bytes(b"something else")
    with pytest.raises(TemplateCorruptError, match="is damaged"):
        cache.restore(NoEngine(), [traveller], directory)
    assert not blob.exists()


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("what", ["link", "pipe", "directory", "nothing"])
def test_a_blob_that_is_no_file_is_refused(tmp_path, traveller, what):
    directory = cached(tmp_path / "cache", entry())
    blob, elsewhere = directory / LAYER_BLOB, tmp_path / "elsewhere"
    elsewhere.write_bytes(LAYER)
    blob.unlink()
    match what:
        case "link":
            blob.symlink_to(elsewhere)
        case "pipe":
            os.mkfifo(blob)
        case "directory":
            blob.mkdir()
        case _:
            pass
    with pytest.raises(TemplateCorruptError, match="cannot be read"):
        cache.restore(NoEngine(), [traveller], directory)
    assert elsewhere.read_bytes() == LAYER


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("part", ["blobs", "blobs/sha256"])
def test_a_cache_that_lies_behind_a_link_is_refused(tmp_path, traveller, part):
    directory = cached(tmp_path / "cache", entry())
    (directory / part).rename(tmp_path / "elsewhere")
    (directory / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TemplateCorruptError, match="cannot read"):
        cache.restore(NoEngine(), [traveller], directory)


def test_blobs_of_somebody_else_are_not_deleted(tmp_path, traveller):
    directory = cached(tmp_path / "layout", entry())
    (directory / "prewarm-cache.json").rename(directory / "index.json")
    with pytest.raises(UnsupportedOptionError, match="somebody else's"):
        cache.save(NoEngine(), [traveller], directory)
    assert (directory / BLOB).exists()
