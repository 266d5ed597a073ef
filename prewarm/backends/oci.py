"""Container images as OCI and Docker describe them: descriptors, indexes, manifests, configurations, and blobs proven by digest.

It knows how to find the image of a platform and what to believe of it, and not where the pieces are: that is a ``Blobs``, an
``oci_layouts.Layout`` or a repository of a registry. Called by backends that take images apart, or hand them to an engine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from prewarm.backends.compression import Readable
from prewarm.document import Node, parse
from prewarm.machine import is_same_platform

CHUNK: Final = 1024 * 1024
LARGEST: Final = 16 * 1024 * 1024  # Of an index, a manifest or a configuration.
MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LAYER: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?)"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM: Final = ("os", "architecture", "variant")
_NESTING: Final = 4
_SHOWN: Final = 19
_LONGEST_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points to a blob.

    Attributes:
        digest: ``sha256:`` and 64 digits, nothing else: it becomes a path.
        size: In bytes, where it is said.
        media_type: Where it is said.
        platform: That it is for, where it is said: ``linux/arm/v7``.

    Raises:
        ValueError: The digest is none.
    """

    digest: str
    size: int | None = None
    media_type: str | None = None
    platform: str | None = None

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"'{self.digest[:_LONGEST_SHOWN]}' is no digest")

    @property
    def sha256(self) -> str:
        """Its digest without the prefix."""
        return self.digest.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """As much of its digest as people are shown."""
        return self.digest[:_SHOWN]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of one platform, as its manifest and configuration have it.

    Attributes:
        digest: Of its manifest.
        platform: By its configuration.
        config: Its configuration.
        layers: As they are stored, lowest first.
        contents: Digests of what is in the layers, by its configuration.
        environment: By its configuration.
    """

    digest: str
    platform: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    contents: tuple[str, ...]
    environment: Mapping[str, str]


class Blobs(Protocol):
    """Where the pieces of an image are. All that is given has been proven by ``proven``."""

    def read_manifest(self, wanted: Descriptor) -> bytes:
        """Give an index or a manifest. A registry keeps them apart from the rest."""

    def read(self, wanted: Descriptor) -> bytes:
        """Give another small one: a configuration."""

    def fetch(self, wanted: Descriptor, directory: Path) -> Path:
        """Give the path of a large one; put into ``directory`` if it has no path yet."""


def descriptor(node: Node) -> Descriptor:
    """Read a descriptor.

    Raises:
        ValueError: It is none.
    """
    digest, said = node.get("digest").text(), node.object()
    size = said.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        node.get("size").complain("a size")
    return Descriptor(
        digest=digest,
        size=size,
        media_type=None if said.get("mediaType") is None else node.get("mediaType").text(),
        platform=_platform(node.get("platform")) if said.get("platform") else None,
    )


def image_for(platform: str, blobs: Blobs, root: Descriptor) -> Image:
    """Give the image of a platform below an index, or the one that a manifest is.

    Raises:
        ValueError: There is none of this platform, or what there is cannot be read.
    """
    for _ in range(_NESTING):
        node = parse(blobs.read_manifest(root))
        if not _is_index(node):
            image = _image(root, node, blobs)
            if not is_same_platform(image.platform, platform):
                raise ValueError(f"it is for {image.platform}, not for {platform}")
            return image
        found = fitting(platform, [descriptor(one) for one in node.get("manifests").items()])
        if not found:
            raise ValueError(f"it has no image for {platform}")
        root = found[0]
    raise ValueError("its indexes are nested too deeply")


def read_image(blobs: Blobs, manifest: Descriptor) -> Image:
    """Read a manifest and its configuration, whatever platform it is for.

    Raises:
        ValueError: They cannot be read.
    """
    return _image(manifest, parse(blobs.read_manifest(manifest)), blobs)


def fitting(platform: str, entries: Sequence[Descriptor]) -> list[Descriptor]:
    """Give those of an index's entries that can be for a platform, the likeliest first.

    That is the one which says so to the letter, then those with another precision, then those that say nothing. What is
    neither a manifest nor an index is none of them, nor is an attestation, which is for ``unknown/unknown``.
    """
    known = [one for one in entries if one.media_type is None or one.media_type in MANIFESTS]
    told = [one for one in known if one.platform is not None and is_same_platform(one.platform, platform)]
    silent = [one for one in known if one.platform is None]
    return sorted(told, key=lambda one: one.platform != platform) + silent


def proven(wanted: Descriptor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass the chunks of a blob on. Whoever has come to the end of them knows that they are the blob.

    Raises:
        ValueError: They are more or fewer bytes than the descriptor says, or others; more are found out at once.
    """
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        if wanted.size is not None and size > wanted.size:
            raise ValueError(f"blob {wanted.short} is damaged: it has more than its {wanted.size} bytes")
        digest.update(chunk)
        yield chunk
    if wanted.size not in {None, size}:
        raise ValueError(f"blob {wanted.short} is damaged: it has {size} bytes of {wanted.size}")
    if digest.hexdigest() != wanted.sha256:
        raise ValueError(f"blob {wanted.short} is damaged: its digest is {digest.hexdigest()[:12]}…")


def whole(name: str, chunks: Iterable[bytes]) -> bytes:
    """Put the chunks of what describes an image together.

    Raises:
        ValueError: It is larger than any such is.
    """
    found = bytearray()
    for chunk in chunks:
        found += chunk
        if len(found) > LARGEST:
            raise ValueError(f"{name} has more than {LARGEST} bytes")
    return bytes(found)


def kept(wanted: Descriptor, chunks: Iterable[bytes], directory: Path) -> Path:
    """Write a blob into a directory, under its digest; give its path.

    Raises:
        ValueError: As ``proven``; what was written stays.
    """
    path = directory / wanted.sha256
    with path.open("wb") as file:
        file.writelines(proven(wanted, chunks))
    return path


def pieces(file: Readable) -> Iterator[bytes]:
    """Give what is left of a file in chunks."""
    while chunk := file.read(CHUNK):
        yield chunk


def _is_index(node: Node) -> bool:
    """Say whether this is an index.

    Raises:
        ValueError: One reader would take it for an index, the next for a manifest (CVE-2021-41190).
    """
    names = node.object().keys()
    if "manifests" in names and names & {"layers", "config"}:
        raise ValueError("it is an index and a manifest in one")
    return "manifests" in names


def _image(manifest: Descriptor, node: Node, blobs: Blobs) -> Image:
    described, layers = descriptor(node.get("config")), tuple(map(_layer, node.get("layers").items()))
    config = parse(blobs.read(described))
    contents = tuple(one.text(_DIGEST) for one in config.get("rootfs").get("diff_ids").items())
    if len(contents) != len(layers):
        raise ValueError(f"it has {len(layers)} layers, and its configuration says {len(contents)}")
    return Image(
        digest=manifest.digest,
        platform=_platform(config),
        config=described,
        layers=layers,
        contents=contents,
        environment=_environment(config),
    )


def _layer(node: Node) -> Descriptor:
    found = descriptor(node)
    if not _LAYER.fullmatch(str(found.media_type)):
        kind = str(found.media_type)[:_LONGEST_SHOWN]
        raise ValueError(f"layer {found.short} is of a kind that is not known: {kind}")
    return found


def _platform(node: Node) -> str:
    said = node.object()
    if not (said.get("os") and said.get("architecture")):
        raise ValueError("it does not say which platform it is for")
    return "/".join(node.get(name).text() for name in _PLATFORM if said.get(name))


def _environment(config: Node) -> Mapping[str, str]:
    if config.object().get("config") is None or config.get("config").object().get("Env") is None:
        return {}
    return dict(one.text().partition("=")[::2] for one in config.get("config").get("Env").items())
