"""Images from a registry: a small one that answers on loopback, asked through the real library."""

import hashlib
import http.server
import json
import threading

import pytest
from local import backend_at, sha256
from rootfs import busybox, busybox_archive, layout

from prewarm.backends.local.registry_images import split
from prewarm.definition.model import ImageBase
from prewarm.errors import BackendUnavailableError, CaptureFailedError, UnkeyableInputError
from prewarm.machine import host_platform
from prewarm.testing.builders import shell
from prewarm.testing.workplace import Workplace

pytest.importorskip("oras")


class Registry(http.server.BaseHTTPRequestHandler):
    """Serves an OCI layout as ``/v2/some/image``."""

    def do_GET(self):
        kind, _, name = self.path.removeprefix("/v2/some/image/").partition("/")
        self.server.asked.append(self.path)
        blobs = self.server.layout / "blobs/sha256"
        if kind == "manifests" and not name.startswith("sha256:"):
            name = json.loads((self.server.layout / "index.json").read_text())["manifests"][0]["digest"]
        path = blobs / name.removeprefix("sha256:")
        is_known = self.path.startswith("/v2/some/image/") and path.is_file()
        is_manifest = is_known and b"schemaVersion" in path.read_bytes()[:4000]
        body = path.read_bytes() if is_known else b"{}"
        # What is asked for in the wrong place is a fault of the server, in the registry of the distribution project.
        self.send_response(404 if not is_known else 200 if is_manifest == (kind == "manifests") else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def registry(tmp_path, absent):
    program = busybox()
    if program is None:
        absent("busybox", "neither installed nor to be fetched")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    server.layout, server.asked = layout(tmp_path / "image", busybox_archive(program)), []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def backend(tmp_path, absent):
    made = backend_at(tmp_path / "home")
    health = made.check()
    if not health.ok:
        absent("local", health.reason)
    return made


def resolve(backend, server, tmp_path, name="some/image", tag=":1"):
    reference = f"127.0.0.1:{server.server_port}/{name}{tag}"
    return backend.resolve_base(
        ImageBase(reference=reference), project=tmp_path, platform=host_platform(), sha256=sha256
    )


def test_a_name_is_resolved_to_the_manifest_of_this_platform(backend, registry, tmp_path):
    base = resolve(backend, registry, tmp_path)
    manifests = {
        f"sha256:{path.name}"
        for path in (registry.layout / "blobs/sha256").iterdir()
        if b'"layers"' in path.read_bytes()[:2000]
    }
    assert base.digest in manifests
    assert resolve(backend, registry, tmp_path, tag=f"@{base.digest}").digest == base.digest


def test_an_image_of_a_registry_is_fetched_once_and_opened(backend, registry, tmp_path):
    base = resolve(backend, registry, tmp_path)
    place = Workplace(backend, base, "unit")
    try:
        session = place.open(place.capture(shell("echo $FROM_IMAGE > /workspace/env")))
        assert session.files.read("/workspace/env") == b"yes\n"
        registry.asked.clear()
        place.capture(shell("echo again"))
        assert not registry.asked
    finally:
        place.close()


def test_an_image_that_is_not_there_is_told(backend, registry, tmp_path):
    with pytest.raises(UnkeyableInputError, match="has no") as caught:
        resolve(backend, registry, tmp_path, name="other/image")
    assert caught.value.hint


def test_a_registry_that_does_not_answer_is_told(backend, registry, tmp_path):
    base = ImageBase(reference="127.0.0.1:9/some/image:1")
    with pytest.raises(BackendUnavailableError, match="does not answer"):
        backend.resolve_base(base, project=tmp_path, platform=host_platform(), sha256=sha256)


def test_a_blob_that_comes_damaged_fails_the_capture(backend, registry, tmp_path):
    base = resolve(backend, registry, tmp_path)
    largest = max((registry.layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    assert hashlib.sha256(largest.read_bytes()).hexdigest() != largest.name
    with pytest.raises(CaptureFailedError, match="damaged"):
        Workplace(backend, base, "unit").capture(shell("true"))


@pytest.mark.parametrize(
    ("reference", "name", "asked"),
    [
        ("debian", "docker.io/library/debian", "latest"),
        ("debian:bookworm", "docker.io/library/debian", "bookworm"),
        ("python/tools:3", "docker.io/python/tools", "3"),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest"),
        ("ghcr.io/a/b:1@sha256:00", "ghcr.io/a/b", "sha256:00"),
    ],
)
def test_names_are_completed_as_everywhere(reference, name, asked):
    assert split(reference) == (name, asked)
