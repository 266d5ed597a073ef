"""An image of the engine as an OCI layout in a directory, for builders that cannot see the engine's images.

What ``docker save`` gives differs by engine: a layout since Docker 25, directories of layers before, files of layers
from Podman. All of them have ``manifest.json``; a manifest is made from that, the same for the same image every time, so
that a builder knows again what it was given before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from prewarm.backends import compression, oci
from prewarm.backends.docker.engine import Engine, translated
from prewarm.backends.docker.loading import BLOBS, MANIFEST
from prewarm.backends.tree import ChunkReader
from prewarm.errors import CaptureFailedError

_LINKS: Final = 8
_IMAGE: Final = "application/vnd.oci.image."


def write(engine: Engine, image: str, directory: Path, *, platform: str, check: Callable[[], None]) -> str:
    """Write an image of the engine as a layout; give the digest of its manifest.

    Args:
        engine: Where it is.
        image: A name of it.
        directory: To be made.
        platform: Of the image, where the engine keeps it for several.
        check: Called between chunks; raises to stop.

    Raises:
        CaptureFailedError: What the engine gives is no image, or there is no space for it.
        BackendUnavailableError: The engine does not answer.
    """
    try:
        (directory / BLOBS).mkdir(parents=True)
        with translated(), contextlib.closing(engine.api.get_image(image)) as chunks:
            saved = _Saved(directory)
            saved.unpack(_checked(chunks, check))
        return saved.describe(platform)
    except OSError as error:
        raise CaptureFailedError(
            f"image '{image}' cannot be written for the builder: {error.strerror}", hint="free some space"
        ) from error
    except (tarfile.TarError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CaptureFailedError(f"the engine gives image '{image}' in a form that is not known: {error}") from error


class _Saved:
    """What an engine saved, its files under their digests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digests: dict[str, str] = {}  # By name in the archive.
        self._links: dict[str, str] = {}

    def unpack(self, chunks: Iterator[bytes]) -> None:
        """Write every file under its digest; no name of the archive becomes a path."""
        with tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks), oci.CHUNK), mode="r|") as tar:
            for member in tar:
                name = posixpath.normpath(member.name)
                if member.issym() or member.islnk():
                    below = posixpath.dirname(name) if member.issym() else ""
                    self._links[name] = posixpath.normpath(posixpath.join(below, member.linkname))
                elif (content := tar.extractfile(member)) is not None:
                    self._digests[name] = self._blob(content)
                    if name.startswith(BLOBS) and name != BLOBS + self._digests[name]:
                        raise ValueError(f"{name} is not its digest")

    def describe(self, platform: str) -> str:
        """Write manifest and index; give the manifest's digest."""
        wanted, found = platform.split("/")[:2], []
        for image in json.loads(self._text(self._digest(MANIFEST))):
            config = self._digest(image["Config"])
            said = json.loads(self._text(config))
            found.append((config, image, [said.get("os"), said.get("architecture")]))
        fitting = [one for one in found if one[2] == wanted] or found
        config, image, _ = fitting[0]
        descriptor = self._descriptor(_IMAGE + "config.v1+json", config)
        layers = [self._layer(self._digest(layer)) for layer in image["Layers"]]
        manifest = {
            "schemaVersion": 2,
            "mediaType": _IMAGE + "manifest.v1+json",
            "config": descriptor,
            "layers": layers,
        }
        digest = self._blob(io.BytesIO(json.dumps(manifest, sort_keys=True).encode()))
        index = {"schemaVersion": 2, "manifests": [self._descriptor(_IMAGE + "manifest.v1+json", digest)]}
        (self._directory / "index.json").write_text(json.dumps(index), "utf-8")
        (self._directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}), "utf-8")
        return f"sha256:{digest}"

    def _digest(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return self._digests[name]

    def _layer(self, digest: str) -> dict[str, Any]:
        with self._path(digest).open("rb") as file:
            packed = compression.of(file).value
        return self._descriptor(f"{_IMAGE}layer.v1.tar{packed}", digest)

    def _descriptor(self, kind: str, digest: str) -> dict[str, Any]:
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": self._path(digest).stat().st_size}

    def _blob(self, content: IO[bytes]) -> str:
        part, digest = self._directory / "part", hashlib.sha256()
        with part.open("wb") as file:
            for chunk in oci.pieces(content):
                digest.update(chunk)
                file.write(chunk)
        os.replace(part, self._path(digest.hexdigest()))
        return digest.hexdigest()

    def _text(self, digest: str) -> bytes:
        with self._path(digest).open("rb") as file:
            return oci.whole("what describes it", oci.pieces(file))

    def _path(self, digest: str) -> Path:
        return self._directory / BLOBS / digest


def _checked(chunks: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for chunk in chunks:
        check()
        yield chunk
