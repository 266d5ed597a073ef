"""Container images as bases: from an OCI layout (a directory or an archive of one), or from a registry.

Each layer of an image becomes a layer of this backend, deletions included; an image of more layers than the kernel's mount
option holds is laid together by the capture. Every blob is checked against its digest. From a registry, the name is
resolved to a digest for the key, and the blobs are fetched when the base is first needed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from prewarm.backends.local import rootfs
from prewarm.backends.local.openat2 import openat2
from prewarm.document import Node, parse
from prewarm.errors import CaptureFailedError, UnkeyableInputError
from prewarm.request import ResolvedBase

KIND: Final = "image"
LAYOUT: Final = "oci:"
ARCHIVE: Final = "oci-archive:"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES: Final = frozenset(
    ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
)
LARGEST: Final = 16 * 1024 * 1024  # Of an index, a manifest or a configuration.
_NESTING: Final = 4


class Blobs(Protocol):
    """Where the pieces of an image are."""

    def read_manifest(self, digest: str) -> bytes:
        """Give an index or a manifest, checked. A registry keeps them apart from the rest."""

    def read(self, digest: str) -> bytes:
        """Give another small one (a configuration), checked."""

    def fetch(self, digest: str, directory: Path) -> Path:
        """Give the path of a large one, checked; put into ``directory`` if it has no path yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image of one platform.

    Attributes:
        digest: Of its manifest.
        layers: Digests of its blobs, lowest first.
        environment: Of its configuration.
    """

    digest: str
    layers: tuple[str, ...]
    environment: Mapping[str, str]


def resolve(
    reference: str,
    *,
    project: Path,
    platform: str,
    sha256: Callable[[Path], str],
    environment: Mapping[str, str],
) -> ResolvedBase:
    """Answer ``resolve_base`` for an image; ``environment`` says where Docker's credentials for registries are.

    Raises:
        UnkeyableInputError: There is no such image, or none of this platform.
        BackendUnavailableError: The registry cannot be asked.
    """
    if reference.startswith((LAYOUT, ARCHIVE)):
        kind, _, rest = reference.partition(":")
        path, tag = _path_and_tag(project, rest)
        if not path.exists():
            raise UnkeyableInputError(
                f"image '{reference}' does not exist", hint="paths start at the project directory"
            )
        if kind == "oci-archive":
            sha256(path)  # Read in full anyway when it is unpacked; a file that cannot be read is found here.
        try:
            with opened(path) as layout:
                image = find(layout, layout.root(tag), platform)
        except (OSError, ValueError, tarfile.TarError) as error:
            raise UnkeyableInputError(f"image '{reference}' cannot be read: {error}") from error
        value = {"kind": KIND, "path": str(path), "manifest": image.digest}
        return ResolvedBase(digest=image.digest, description=f"{reference} ({image.digest[:19]})", value=value)
    from prewarm.backends.local import registry_images

    name, digest = registry_images.resolve(reference, platform, environment)
    return ResolvedBase(
        digest=digest,
        description=f"{reference} ({digest[:19]})",
        value={"kind": KIND, "registry": name, "manifest": digest},
    )


def _unpack_layer(path: Path, digest: str, target: Path) -> None:
    rootfs.unpack(path, target, whiteouts=True, sha256=digest.removeprefix("sha256:"))


def _path_and_tag(project: Path, rest: str) -> tuple[Path, str | None]:
    """Split ``./layout:tag``; a path that exists as it stands has no tag."""
    if not (project / rest).exists() and ":" in rest.rpartition("/")[2]:
        path, _, tag = rest.rpartition(":")
        return project / path, tag
    return project / rest, None


def unpack(
    base: ResolvedBase,
    scratch: Path,
    seal: Callable[[Callable[[Path], None]], str],
    environment: Mapping[str, str],
) -> tuple[list[str], Mapping[str, str]]:
    """Turn an image into layers; give them, lowest first, and its variables.

    Args:
        base: As ``resolve`` gave it.
        scratch: Where blobs may be put meanwhile.
        seal: Makes a layer of what it is told to fill a directory with.
        environment: Says where Docker's credentials for registries are.

    Raises:
        CaptureFailedError: A blob is missing, damaged, or no archive.
    """
    node = Node(base.value, "base")
    digest = node.get("manifest").text(_DIGEST)
    try:
        with _source(node, environment) as blobs:
            image = manifest(blobs, digest)
            layers = []
            for blob in image.layers:
                path = blobs.fetch(blob, scratch)
                layers.append(seal(functools.partial(_unpack_layer, path, blob)))
                if path.is_relative_to(scratch):
                    path.unlink()
    except (OSError, ValueError, tarfile.TarError) as error:
        raise CaptureFailedError(f"image {base.description} could not be unpacked: {error}") from error
    return layers, image.environment


@contextlib.contextmanager
def _source(node: Node, environment: Mapping[str, str]) -> Iterator[Blobs]:
    if "registry" in node.object():
        from prewarm.backends.local import registry_images

        with registry_images.opened(node.get("registry").text(), environment) as repository:
            yield repository
        return
    with opened(Path(node.get("path").text())) as layout:
        yield layout


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Layout]:
    """Lend an OCI layout: a directory as it is, an archive unpacked for the time being."""
    if path.is_dir():
        yield Layout(path)
        return
    with tempfile.TemporaryDirectory(prefix="prewarm-image-") as scratch:
        rootfs.unpack(path, Path(scratch))
        yield Layout(Path(scratch))


class Layout:
    """An OCI image layout in a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def root(self, tag: str | None) -> str:
        """Give the digest of the image of this tag, or of the only one.

        Raises:
            ValueError: There is none, or there are several.
        """
        found = []
        for item in parse(self._content("index.json")).get("manifests").items():
            names = item.object().get("annotations")
            name = names.get("org.opencontainers.image.ref.name") if isinstance(names, Mapping) else None
            if tag is None or name == tag:
                found.append(item.get("digest").text(_DIGEST))
        if len(set(found)) != 1:
            raise ValueError(f"it has {len(set(found))} images{f' of tag {tag}' if tag else ''}; one is needed")
        return found[0]

    def read_manifest(self, digest: str) -> bytes:
        return self.read(digest)

    def read(self, digest: str) -> bytes:
        content = self._content(_blob(digest))
        check(digest, hashlib.sha256(content).hexdigest())
        return content

    def fetch(self, digest: str, directory: Path) -> Path:
        del directory
        with self._opened(_blob(digest)) as file:
            check(digest, hashlib.file_digest(file, "sha256").hexdigest())
        return self._path / _blob(digest)

    def _content(self, name: str) -> bytes:
        with self._opened(name) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"{name} has more than {LARGEST} bytes")
        return content

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[io.BufferedReader]:
        """Lend a file of the layout; neither a link that leaves it nor a fifo is one."""
        root = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = openat2(root, name.encode(), os.O_RDONLY | os.O_NONBLOCK, beneath=True)
        finally:
            os.close(root)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{name} is no file")
            yield file


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def check(digest: str, found: str) -> None:
    """Compare a blob's digest with what was found.

    Raises:
        ValueError: It is another.
    """
    if digest != f"sha256:{found}":
        raise ValueError(f"blob {digest[:19]} is damaged: its digest is {found[:12]}…")


def find(blobs: Blobs, digest: str, platform: str) -> Image:
    """Give the image of a platform below an index, or the one that a manifest is.

    Raises:
        ValueError: There is none of this platform.
    """
    system, _, machine = platform.partition("/")
    for _ in range(_NESTING):
        node = parse(blobs.read_manifest(digest))
        if "manifests" not in node.object():
            image = manifest(blobs, digest)
            _check_platform(blobs, digest, system, machine)
            return image
        fitting = [item for item in node.get("manifests").items() if _is_for(item, system, machine)]
        if not fitting:
            raise ValueError(f"it has no image for {platform}")
        digest = fitting[0].get("digest").text(_DIGEST)
    raise ValueError("its indexes are nested too deeply")


def _is_for(item: Node, system: str, machine: str) -> bool:
    said = item.object().get("platform")
    if not isinstance(said, Mapping):
        return True
    variant = f"/{said['variant']}" if said.get("variant") else ""
    architecture = str(said.get("architecture"))
    return said.get("os") == system and machine in {architecture, architecture + variant}


def _check_platform(blobs: Blobs, digest: str, system: str, machine: str) -> None:
    config = parse(blobs.read(parse(blobs.read_manifest(digest)).get("config").get("digest").text(_DIGEST))).object()
    said = (config.get("os", system), config.get("architecture", machine.partition("/")[0]))
    if said != (system, machine.partition("/")[0]):
        raise ValueError(f"it is for {said[0]}/{said[1]}, not for {system}/{machine}")


def manifest(blobs: Blobs, digest: str) -> Image:
    """Read a manifest and its configuration.

    Raises:
        ValueError: They cannot be read.
    """
    node = parse(blobs.read_manifest(digest))
    config = json.loads(blobs.read(node.get("config").get("digest").text(_DIGEST)))
    pairs = ((config.get("config") or {}).get("Env") or []) if isinstance(config, dict) else []
    environment = dict(str(pair).partition("=")[::2] for pair in pairs)
    layers = tuple(item.get("digest").text(_DIGEST) for item in node.get("layers").items())
    return Image(digest=digest, layers=layers, environment=environment)
