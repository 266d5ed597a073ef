"""What engines save, as a layout: whichever of their forms it has, and nothing outside of the directory."""

import hashlib
import json
import tarfile

import pytest
from rootfs import archive, member

from prewarm.backends.docker.layout import write
from prewarm.errors import CaptureFailedError, InterruptedBuildError

LAYERS = [archive((member("a"), b"1")), archive((member("b"), b"2"))]
CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers"}}).encode()


class Engine:
    """An engine that saves one archive."""

    def __init__(self, content):
        self.content = content

    @property
    def api(self):
        return self

    def get_image(self, _):
        for start in range(0, len(self.content), 4096):
            yield self.content[start : start + 4096]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def saved(files, *links):
    """Give an archive of files by name, and of links."""
    entries = [(member(name), data) for name, data in files.items()]
    return archive(*entries, *((member(name, tarfile.SYMTYPE, link=link), b"") for name, link in links))


def described(config, layers):
    return {"manifest.json": json.dumps([{"Config": config, "RepoTags": ["x:1"], "Layers": layers}]).encode()}


def current():
    """As Docker writes it since 25."""
    files = {f"blobs/sha256/{sha256(data)}": data for data in (CONFIG, *LAYERS)}
    names = [f"blobs/sha256/{sha256(data)}" for data in LAYERS]
    return saved(files | described(f"blobs/sha256/{sha256(CONFIG)}", names))


def older():
    """As Docker wrote it before, a layer that is there twice as a link."""
    files = {"one/layer.tar": LAYERS[0], f"{sha256(CONFIG)}.json": CONFIG}
    layers = ["one/layer.tar", "two/layer.tar"]
    return saved(files | described(f"{sha256(CONFIG)}.json", layers), ("two/layer.tar", "../one/layer.tar"))


def written(tmp_path, content, **more):
    return write(Engine(content), "x:1", tmp_path / "layout", platform="linux/amd64", **{"check": lambda: None, **more})


def blob(tmp_path, digest):
    data = (tmp_path / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert f"sha256:{sha256(data)}" == digest
    return data


def test_the_form_of_today_becomes_a_layout(tmp_path):
    manifest = json.loads(blob(tmp_path, written(tmp_path, current())))

    assert blob(tmp_path, manifest["config"]["digest"]) == CONFIG
    assert [blob(tmp_path, layer["digest"]) for layer in manifest["layers"]] == LAYERS
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar"}
    (indexed,) = json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"]
    assert indexed["size"] == len(blob(tmp_path, indexed["digest"]))


def test_the_form_of_older_engines_becomes_a_layout(tmp_path):
    manifest = json.loads(blob(tmp_path, written(tmp_path, older())))

    assert [blob(tmp_path, layer["digest"]) for layer in manifest["layers"]] == [LAYERS[0], LAYERS[0]]


def test_the_same_image_has_the_same_digest_every_time(tmp_path):
    (tmp_path / "again").mkdir()
    assert written(tmp_path, current()) == written(tmp_path / "again", current())


def test_of_several_platforms_it_is_the_one_asked_for(tmp_path):
    other = json.dumps({"os": "linux", "architecture": "arm64"}).encode()
    images = [{"Config": name, "RepoTags": [], "Layers": ["l"]} for name in ("other", "ours")]
    content = saved({"other": other, "ours": CONFIG, "l": LAYERS[0], "manifest.json": json.dumps(images).encode()})

    manifest = json.loads(blob(tmp_path, written(tmp_path, content)))

    assert blob(tmp_path, manifest["config"]["digest"]) == CONFIG


@pytest.mark.parametrize(
    "content",
    [
        b"nothing that is known",
        saved({"a": b"1"}),
        saved({"manifest.json": b"[]"}),
        saved(described("../../etc/passwd", [])),
        saved({"manifest.json": b"{}"}, ("l", "l")),
        saved({f"blobs/sha256/{'0' * 64}": b"another"} | described("c", [])),
    ],
)
def test_what_is_no_image_is_an_error(tmp_path, content):
    with pytest.raises(CaptureFailedError, match="gives image 'x:1' in a form that is not known"):
        written(tmp_path, content)


def test_no_name_of_the_archive_becomes_a_path(tmp_path):
    content = saved(
        {"../../out": b"1", "/abs": b"2", "c": CONFIG} | described("c", ["../../out"]), ("d", "/etc/passwd")
    )

    written(tmp_path, content)

    inside = {path.name for path in (tmp_path / "layout").rglob("*") if path.is_file()}
    assert inside - {"index.json", "oci-layout"} <= {
        sha256(path.read_bytes()) for path in (tmp_path / "layout").rglob("*") if path.is_file()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


def test_it_can_be_stopped(tmp_path):
    def check():
        raise InterruptedBuildError("interrupted")

    with pytest.raises(InterruptedBuildError):
        written(tmp_path, current(), check=check)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "layout").write_text("in the way")
    with pytest.raises(CaptureFailedError, match="image 'x:1' cannot be written for the builder") as caught:
        written(tmp_path, current())
    assert caught.value.hint == "free some space"
