"""Images of OCI layouts as bases: a directory or one archive of the project, loaded into the engine.

Everything is found by its digest and compared with it before the engine sees any of it; nothing is unpacked here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from prewarm.backends.docker import platforms
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.tarstreams import CheckedMember
from prewarm.errors import CaptureFailedError, UnkeyableInputError
from prewarm.request import ResolvedBase

PREFIXES: Final = ("oci:", "oci-archive:")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LAYER: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(?:\.gzip)?)"
)
_NAME: Final = "org.opencontainers.image.ref.name"
_CHUNK: Final = 1024 * 1024
_LARGEST: Final = 16 * 1024 * 1024  # Of what describes an image.
_NESTING: Final = 4
_SHOWN: Final = 19
_BROKEN: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, tarfile.TarError)


def resolve(reference: str, *, project: Path, platform: str, sha256: Callable[[Path], str]) -> ResolvedBase:
    """Find the image of a platform in a layout, for the key.

    Raises:
        UnkeyableInputError: There is no such layout, or no such image in it.
    """
    kind, _, rest = reference.partition(":")
    path, tag = _path_and_tag(project, rest)
    if not (project / path).exists():
        raise UnkeyableInputError(f"image '{reference}' does not exist", hint="paths start at the project directory")
    try:
        if kind == "oci-archive":
            sha256(project / path)  # A file that cannot be read is found here.
        with _opened(project / path) as layout:
            digest = _find(layout, _root(layout, tag), platform)
    except _BROKEN as error:
        raise UnkeyableInputError(f"image '{reference}' cannot be read: {error}") from error
    return ResolvedBase(
        digest=digest, description=f"{reference} ({digest[:_SHOWN]}…)", value={"oci": path, "manifest": digest}
    )


def load(engine: Engine, path: Path, digest: str, tag: str) -> tuple[str, ...]:
    """Load the image of a manifest into the engine under a tag; give the digests of its layers' contents.

    Raises:
        CaptureFailedError: It is not there any more, damaged, or the engine refuses it.
        BackendUnavailableError: The engine does not answer.
    """
    from docker.errors import APIError

    try:
        with _opened(path) as layout:
            manifest = json.loads(layout.read(digest))
            config = layout.read(manifest["config"]["digest"])
            layers = [_layer(layout, layer) for layer in manifest["layers"]]
            contents = tuple(str(one) for one in json.loads(config)["rootfs"]["diff_ids"])
            with translated():
                for event in raw(engine.api).load_image(_archive(layout, config, layers, tag)):
                    if "error" in event:
                        raise CaptureFailedError(f"base '{path}' cannot be loaded: {event['error']}")
    except APIError as error:
        raise CaptureFailedError(f"base '{path}' cannot be loaded: {error.explanation}") from error
    except _BROKEN as error:
        raise CaptureFailedError(f"base '{path}' cannot be loaded: {error}") from error
    return contents


class _Layout:
    """Files of a layout by name; subclasses say where they are."""

    def open(self, name: str) -> IO[bytes]:
        raise NotImplementedError

    def text(self, name: str) -> bytes:
        """Give a small file whole."""
        with self.open(name) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"{name} has more than {_LARGEST} bytes")
        return data

    def read(self, digest: str) -> bytes:
        """Give a small blob whole, compared with its digest."""
        data = self.text(blob(digest))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise ValueError(f"blob {digest[:_SHOWN]} is damaged")
        return data


class _Directory(_Layout):
    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        file = open(descriptor, "rb")  # noqa: SIM115 - a descriptor; the caller closes it.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise ValueError(f"{name} is no file")
        return file


class _Archive(_Layout):
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {member.name.removeprefix("./"): member for member in tar if member.isreg()}

    def open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(self._members[name]) if name in self._members else None
        if file is None:
            raise ValueError(f"it has no file {name}")
        return file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Layout]:
    if path.is_dir():
        yield _Directory(path)
        return
    with tarfile.open(path, tarinfo=CheckedMember) as tar:
        yield _Archive(tar)


def blob(digest: str) -> str:
    """Give the name of a blob.

    Raises:
        ValueError: It is no digest: nothing else may become a path.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"'{digest[:80]}' is no digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _path_and_tag(project: Path, rest: str) -> tuple[str, str | None]:
    """Split ``./layout:tag``; a path that exists as it stands has no tag."""
    if not (project / rest).exists() and ":" in rest.rpartition("/")[2]:
        path, _, tag = rest.rpartition(":")
        return path, tag
    return rest, None


def _root(layout: _Layout, tag: str | None) -> str:
    found = {
        str(one["digest"])
        for one in json.loads(layout.text("index.json"))["manifests"]
        if tag is None or (one.get("annotations") or {}).get(_NAME) == tag
    }
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} images{f' of tag {tag}' if tag else ''}; one is needed")
    return found.pop()


def _find(layout: _Layout, digest: str, platform: str) -> str:
    for _ in range(_NESTING):
        node: dict[str, Any] = json.loads(layout.read(digest))
        if "manifests" not in node:
            config: dict[str, Any] = json.loads(layout.read(node["config"]["digest"]))
            if not platforms.same(_platform(config), platform):
                raise ValueError(f"it is for {_platform(config)}, not for {platform}")
            return digest
        fitting = [
            str(one["digest"])
            for one in node["manifests"]
            if not one.get("platform") or platforms.same(_platform(one["platform"]), platform)
        ]
        if not fitting:
            raise ValueError(f"it has no image for {platform}")
        digest = fitting[0]
    raise ValueError("its indexes are nested too deeply")


def _platform(said: dict[str, Any]) -> str:
    return "/".join(str(said[name]) for name in ("os", "architecture", "variant") if said.get(name))


def _layer(layout: _Layout, described: dict[str, Any]) -> str:
    digest, kind = str(described["digest"]), str(described.get("mediaType"))
    if not _LAYER.fullmatch(kind):
        raise ValueError(f"a layer is of a kind that is not known: {kind}")
    with layout.open(blob(digest)) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # typeshed wants readinto.
    if f"sha256:{found}" != digest:
        raise ValueError(f"blob {digest[:_SHOWN]} is damaged")
    return digest


def _archive(layout: _Layout, config: bytes, layers: list[str], tag: str) -> Iterator[bytes]:
    """Give it as the engine loads images, piece by piece."""
    named = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps(
        [{"Config": named, "RepoTags": [tag], "Layers": [blob(digest) for digest in layers]}]
    ).encode()
    for name, data in ((named, config), ("manifest.json", manifest)):
        yield _header(name, len(data)) + data + _padding(len(data))
    for digest in dict.fromkeys(layers):
        with layout.open(blob(digest)) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            yield _header(blob(digest), size)
            while chunk := file.read(_CHUNK):
                yield chunk
            yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
