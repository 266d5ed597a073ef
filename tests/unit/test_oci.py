"""Descriptors, indexes and manifests: the image of a platform is found, and nothing hostile believed."""

import hashlib
import json

import pytest

from prewarm.backends import oci
from prewarm.backends.oci import Descriptor
from prewarm.document import Node

KIND = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG, LAYER = (f"{KIND}.{what}" for what in ("index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar"))  # fmt: skip
ZEROS = "sha256:" + "0" * 64
NOWHERE = ("unknown", "unknown")


class Shelf:
    """Blobs in memory."""

    def __init__(self):
        self.blobs = {}

    def read(self, wanted):
        if wanted.digest not in self.blobs:
            raise ValueError(f"it has no {wanted.short}")
        return oci.whole("blob", oci.proven(wanted, [self.blobs[wanted.digest]]))

    read_manifest = read

    def fetch(self, wanted, directory):
        return oci.kept(wanted, [self.blobs[wanted.digest]], directory)

    def put(self, value, kind, platform=None, **more):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        said = dict(zip(("os", "architecture", "variant"), platform, strict=False)) if platform else None
        return {"mediaType": kind, "digest": digest, "size": len(data), **({"platform": said} if said else {}), **more}

    def image(self, *platform, said=True, layers=(b"layer",), contents=None, kind=LAYER, config=None):
        """Put an image there; give its entry of an index."""
        described = {
            **dict(zip(("os", "architecture", "variant"), platform, strict=False)),
            "rootfs": {"diff_ids": [ZEROS] * (len(layers) if contents is None else contents)},
            **(config or {}),
        }
        manifest = {
            "schemaVersion": 2,
            "config": self.put(described, CONFIG),
            "layers": [self.put(layer, kind) for layer in layers],
        }
        return self.put(manifest, MANIFEST, platform if said else None)

    def index(self, *entries):
        return self.put({"schemaVersion": 2, "manifests": list(entries)}, INDEX)


@pytest.fixture
def shelf():
    return Shelf()


def root(entry):
    return Descriptor(digest=entry["digest"])


def found(shelf, platform, entry):
    return oci.image_for(platform, shelf, root(entry))


def said(**more):
    return oci.descriptor(Node({"digest": ZEROS, **more}, "entry"))


def test_the_image_of_a_platform_is_found_below_nested_indexes(shelf):
    arm, amd = shelf.image("linux", "arm64"), shelf.image("linux", "amd64", layers=(b"1", b"2"))
    image = found(shelf, "linux/amd64", shelf.index(shelf.index(arm, amd)))

    assert (image.digest, image.platform) == (amd["digest"], "linux/amd64")
    assert [shelf.blobs[layer.digest] for layer in image.layers] == [b"1", b"2"]
    assert image.contents == (ZEROS, ZEROS)


def test_a_manifest_needs_no_index(shelf):
    assert found(shelf, "linux/amd64", shelf.image("linux", "amd64")).platform == "linux/amd64"


def test_a_manifest_of_another_platform_is_refused(shelf):
    with pytest.raises(ValueError, match="it is for windows/amd64, not for linux/amd64"):
        found(shelf, "linux/amd64", shelf.image("windows", "amd64"))


def test_an_entry_that_lies_about_its_platform_is_refused(shelf):
    lying = {**shelf.image("linux", "arm64"), "platform": {"os": "linux", "architecture": "amd64"}}
    with pytest.raises(ValueError, match="it is for linux/arm64, not for linux/amd64"):
        found(shelf, "linux/amd64", shelf.index(lying))


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/arm/v7", [("linux", "arm", "v6"), ("linux", "arm", "v7")], 1),
        ("linux/arm/v7", [("linux", "arm"), ("linux", "arm", "v7")], 1),
        ("linux/arm/v7", [("linux", "arm", "v6"), ("linux", "arm")], 1),
        ("linux/arm", [("linux", "arm64"), ("linux", "arm", "v6"), ("linux", "arm", "v7")], 1),
        ("linux/arm64", [("linux", "arm64", "v8")], 0),
        ("linux/arm64/v8", [("linux", "arm64")], 0),
        ("linux/amd64", [("linux", "amd64", "v3"), ("linux", "amd64")], 1),
        ("linux/amd64", [("linux", "amd64"), ("linux", "amd64")], 0),
    ],
)
def test_of_several_that_fit_the_exact_one_is_taken_and_else_the_first(shelf, wanted, there, chosen):
    entries = [shelf.image(*platform, layers=(b"%d" % number,)) for number, platform in enumerate(there)]
    assert found(shelf, wanted, shelf.index(*entries)).digest == entries[chosen]["digest"]


@pytest.mark.parametrize(
    ("wanted", "there"), [("linux/arm/v7", ("linux", "arm", "v6")), ("linux/arm", ("linux", "arm64"))]
)
def test_another_variant_or_machine_is_another_platform(shelf, wanted, there):
    with pytest.raises(ValueError, match=f"it has no image for {wanted}"):
        found(shelf, wanted, shelf.index(shelf.image(*there)))


def test_attestations_are_no_images(shelf):
    attested = shelf.put({"config": {}, "layers": []}, MANIFEST, NOWHERE)
    image = shelf.image("linux", "amd64")
    assert found(shelf, "linux/amd64", shelf.index(attested, image)).digest == image["digest"]
    with pytest.raises(ValueError, match="no image for linux/arm64"):
        found(shelf, "linux/arm64", shelf.index(attested, image))


def test_one_that_says_nothing_is_taken_where_none_says_that_it_fits(shelf):
    silent, other = shelf.image("linux", "amd64", said=False), shelf.image("linux", "arm64")
    told = shelf.image("linux", "amd64", layers=(b"told",))
    assert found(shelf, "linux/amd64", shelf.index(other, silent)).digest == silent["digest"]
    assert found(shelf, "linux/amd64", shelf.index(silent, told)).digest == told["digest"]


def test_what_is_no_image_in_an_index_is_passed_over(shelf):
    chart, image = shelf.put({}, "application/vnd.cncf.helm.chart.v1"), shelf.image("linux", "amd64")
    assert found(shelf, "linux/amd64", shelf.index(chart, image)).digest == image["digest"]


def test_indexes_may_be_nested_three_deep_and_no_deeper(shelf):
    entry = shelf.image("linux", "amd64")
    for _ in range(3):
        entry = shelf.index(entry)
    assert found(shelf, "linux/amd64", entry).platform == "linux/amd64"
    with pytest.raises(ValueError, match="nested too deeply"):
        found(shelf, "linux/amd64", shelf.index(entry))


def test_what_is_an_index_to_one_reader_and_a_manifest_to_the_next_is_refused(shelf):
    image = shelf.image("linux", "amd64")
    both = {**json.loads(shelf.blobs[image["digest"]]), "manifests": [image]}
    with pytest.raises(ValueError, match="an index and a manifest in one"):
        found(shelf, "linux/amd64", shelf.put(both, INDEX))


@pytest.mark.parametrize(
    "digest", ["sha256:../../../../etc/passwd", "sha256:" + "0" * 63, "sha256:" + "A" * 64, "sha512:" + "0" * 128, "", f"{ZEROS}\n"]
)  # fmt: skip
def test_a_digest_that_is_none_is_no_descriptor(digest):
    with pytest.raises(ValueError, match="is no digest"):
        Descriptor(digest=digest)
    with pytest.raises(ValueError, match="is no digest"):
        said(digest=digest)


@pytest.mark.parametrize("size", [-1, 1.5, "7", True, []])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=r"entry\.size is not a size"):
        said(size=size)


@pytest.mark.parametrize(
    "more",
    [{"mediaType": 1}, {"platform": [1]}, {"platform": {"os": "linux"}}, {"platform": {"os": 1, "architecture": 2}}],
)
def test_a_descriptor_of_other_parts_than_it_should_have_is_refused(more):
    with pytest.raises(ValueError, match=r"entry|which platform"):
        said(**more)


def test_a_descriptor_says_no_more_than_it_was_told():
    assert said() == said(platform=None, size=None, mediaType=None) == Descriptor(digest=ZEROS)
    assert said(platform={"os": "linux", "architecture": "arm", "variant": "v7"}, size=0).platform == "linux/arm/v7"


@pytest.mark.parametrize(
    ("size", "chunks", "why"),
    [
        (3, [b"ab", b"cd"], "more than its 3 bytes"),
        (5, [b"ab", b"cd"], "4 bytes of 5"),
        (0, [b"ab"], "more than its 0 bytes"),
        (None, [b"ab"], "its digest is"),
        (4, [b"ab", b"ce"], "its digest is"),
        (4, [], "0 bytes of 4"),
    ],
)
def test_a_blob_of_another_size_or_content_is_damaged(size, chunks, why):
    wanted = Descriptor(digest=f"sha256:{hashlib.sha256(b'abcd').hexdigest()}", size=size)
    with pytest.raises(ValueError, match=rf"blob sha256:88d4266fd4e6 is damaged: .*{why}"):
        list(oci.proven(wanted, chunks))


def test_a_blob_that_is_too_long_is_not_read_to_its_end(tmp_path):
    def endless():
        for _ in range(10):
            yield b"x" * 100
        pytest.fail("it was read on")

    with pytest.raises(ValueError, match="more than its 150 bytes"):
        oci.kept(Descriptor(digest=ZEROS, size=150), endless(), tmp_path)


def test_a_blob_that_is_what_it_should_be_is_passed_on_and_kept(tmp_path):
    wanted = Descriptor(digest=f"sha256:{hashlib.sha256(b'abcd').hexdigest()}", size=4)
    assert list(oci.proven(wanted, [b"ab", b"cd"])) == [b"ab", b"cd"]
    assert oci.kept(wanted, [b"ab", b"cd"], tmp_path).read_bytes() == b"abcd"


def test_what_describes_an_image_has_a_limit():
    assert oci.whole("it", [b"x" * oci.LARGEST]) == b"x" * oci.LARGEST
    with pytest.raises(ValueError, match="it has more than 16777216 bytes"):
        oci.whole("it", [b"x" * oci.LARGEST, b"x"])


def test_a_blob_that_is_missing_is_told(shelf):
    entry = shelf.image("linux", "amd64")
    config = json.loads(shelf.blobs[entry["digest"]])["config"]["digest"]
    del shelf.blobs[config]
    with pytest.raises(ValueError, match=f"it has no {config[:19]}"):
        found(shelf, "linux/amd64", entry)


def test_a_size_that_is_said_wrong_is_damage(shelf):
    entry = shelf.image("linux", "amd64")
    with pytest.raises(ValueError, match=r"is damaged: it has .* bytes of"):
        found(shelf, "linux/amd64", shelf.index({**entry, "size": entry["size"] + 1}))


def test_layers_of_an_unknown_kind_are_refused(shelf):
    with pytest.raises(
        ValueError, match=r"layer sha256:[0-9a-f]{12} is of a kind that is not known: application/vnd.cncf.helm"
    ):
        found(
            shelf,
            "linux/amd64",
            shelf.image("linux", "amd64", kind="application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
        )


@pytest.mark.parametrize(
    "kind",
    [
        f"{LAYER}+zstd",
        f"{KIND}.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_layers_of_every_kind_that_is_known_are_taken(shelf, kind):
    assert found(shelf, "linux/amd64", shelf.image("linux", "amd64", kind=kind)).layers[0].media_type == kind


def test_as_many_layers_as_the_configuration_says_are_wanted(shelf):
    with pytest.raises(ValueError, match="it has 1 layers, and its configuration says 2"):
        found(shelf, "linux/amd64", shelf.image("linux", "amd64", contents=2))


def test_a_configuration_that_names_no_platform_is_refused(shelf):
    with pytest.raises(ValueError, match="does not say which platform it is for"):
        found(shelf, "linux/amd64", shelf.image("linux"))


@pytest.mark.parametrize(
    "config", [{}, {"config": None}, {"config": {}}, {"config": {"Env": None}}, {"config": {"Env": []}}]
)
def test_an_image_without_variables_has_none(shelf, config):
    assert found(shelf, "linux/amd64", shelf.image("linux", "amd64", config=config)).environment == {}


def test_variables_are_read_of_the_configuration(shelf):
    entry = shelf.image("linux", "amd64", config={"config": {"Env": ["A=1", "B=x=y", "C"]}})
    assert oci.read_image(shelf, root(entry)).environment == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    "text",
    [b"[]", b"{}", b"1", b'{"manifests": 1}', b'{"manifests": [1]}', b"\xff", b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"config": {}, "config": {}}'],
    ids=["list", "empty", "number", "no list", "no object", "no text", "deep list", "deep object", "twice"],
)  # fmt: skip
def test_what_is_neither_index_nor_manifest_is_refused(shelf, text):
    with pytest.raises(ValueError, match=r"."):
        found(shelf, "linux/amd64", shelf.put(text, INDEX))
