"""Images on their way into the engine: judged by their configuration, sent as one archive made here, judged again.

What came from elsewhere is never handed to the engine as it is: an archive may name one image in ``manifest.json``, which
Docker's own store reads, and another in ``index.json``, which containerd's reads. What is sent has the first alone, and
only the blobs that it names. Called by ``saved`` and ``cache``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import secrets
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Final, Protocol

from prewarm import document
from prewarm.backends.docker import content
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.backends.docker.images import ImageFacts, facts
from prewarm.backends.docker.names import (
    LABEL_KEY,
    LABEL_NAMESPACE,
    LABEL_ROLE,
    ROLE_TEMPLATE,
    published_tag,
    staged_tag,
)
from prewarm.backends.docker.templates import untag
from prewarm.errors import TemplateCorruptError
from prewarm.key import TemplateKey

CHUNK: Final = 1024 * 1024
LARGEST: Final = 16 * 1024 * 1024  # Of what describes an image.
MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs/sha256/"
_UNPACKED: Final = re.compile(r"sha256:[0-9a-f]{64}")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One template as archives and caches hold it.

    Attributes:
        namespace: Whose it is, by its label.
        key: By its label.
        config: Digest of its configuration, without ``sha256:``.
        content: Its content digest, by its configuration.
        layers: Digests of its layers as they are stored, lowest first.
        unpacked: Digests of what is in them, as its configuration has them.
    """

    namespace: str
    key: TemplateKey
    config: str
    content: str
    layers: tuple[str, ...]
    unpacked: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The name that it has where it is published."""
        return published_tag(self.namespace, self.key)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests of all that it is made of."""
        return (self.config, *self.layers)

    def check_layers(self, sums: Mapping[str, str]) -> None:
        """Check that its layers hold what its configuration says.

        An engine that has unpacked such layers before takes the configuration's word for it, and containerd's loads them
        unseen.

        Args:
            sums: Digest of what is in them, by the digest of a layer.

        Raises:
            ValueError: One does not.
        """
        for layer, wanted in zip(self.layers, self.unpacked, strict=True):
            if sums[layer] != wanted:
                raise ValueError(f"layer {layer} is another than the one of {self.tag}")

    def is_image(self, found: ImageFacts) -> bool:
        """Say whether an image of the engine is this one."""
        return found.id == f"sha256:{self.config}" or found.content == self.content


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def sha256(file: _Readable) -> str:
    """Hash a file to its end."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def sums(file: IO[bytes]) -> tuple[str, str]:
    """Hash a blob as it is, and what is in it if it is compressed.

    Raises:
        ValueError: Its compression is damaged.
    """
    begin = file.read(len(_ZSTD))
    file.seek(0)
    hashed = _Hashed(file)
    if begin.startswith(_GZIP):
        unpacked: _Readable = gzip.GzipFile(fileobj=io.BufferedReader(hashed, CHUNK))
    elif begin == _ZSTD:
        import zstandard

        unpacked = zstandard.ZstdDecompressor().stream_reader(io.BufferedReader(hashed, CHUNK), read_across_frames=True)
    else:
        digest = sha256(file)
        return digest, digest
    try:
        inner = sha256(unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"a layer's compression is damaged: {error}") from error
    while hashed.read(CHUNK):
        pass
    return hashed.digest.hexdigest(), inner


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # typeshed: WriteableBuffer.
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        return len(data)


def parcel(data: bytes, *, config: str, layers: Sequence[str], tag: str) -> Parcel:
    """Judge a template by its configuration.

    Args:
        data: The configuration.
        config: Its digest, proven by whoever read it.
        layers: As they are stored.
        tag: The name that it is said to have.

    Raises:
        ValueError, TypeError: It is no configuration of a template, or another one's than the name says.
    """
    top = document.parse(data)
    labels = top.get("config").get("Labels").texts()
    if labels.get(LABEL_ROLE) != ROLE_TEMPLATE or LABEL_NAMESPACE not in labels or LABEL_KEY not in labels:
        raise ValueError(f"image {tag} is no template")
    found = Parcel(
        namespace=labels[LABEL_NAMESPACE],
        key=TemplateKey(labels[LABEL_KEY]),
        config=config,
        content=content.of_config(top.object()),
        layers=tuple(layers),
        unpacked=tuple(one.text(_UNPACKED)[7:] for one in top.get("rootfs").get("diff_ids").items()),
    )
    if found.tag != tag:
        raise ValueError(f"image {tag} does not carry the key and namespace of its name")
    if len(found.unpacked) != len(found.layers):
        raise ValueError(f"image {tag} has other layers than its configuration says")
    return found


def load(
    engine: Engine, parcels: Sequence[Parcel], blob: Callable[[str], AbstractContextManager[tuple[IO[bytes], int]]]
) -> list[TemplateKey]:
    """Send templates to the engine and publish them; nothing is published unless all came out as they are described.

    Args:
        engine: Where to.
        parcels: What to send.
        blob: Opens a blob by its digest, and says its size.

    Raises:
        TemplateCorruptError: The engine refuses them, or they are something else there than here.
        BackendUnavailableError: The engine does not answer.
    """
    from docker.errors import APIError

    identity = secrets.token_hex(8)
    staged = {one.tag: staged_tag(one.namespace, one.key, identity, "load") for one in parcels}
    try:
        with translated():
            try:
                for event in raw(engine.api).load_image(_archive(parcels, staged.values(), blob)):
                    if "error" in event:
                        raise TemplateCorruptError(f"the engine refuses the images: {event['error']}")
            except APIError as error:
                raise TemplateCorruptError(f"the engine refuses the images: {error.explanation}") from error
        arrived = []
        for one in parcels:
            found = facts(engine, staged[one.tag])
            if found is None or not one.is_image(found) or found.labels.get(LABEL_KEY) != one.key:
                raise TemplateCorruptError(f"image {one.tag} is not what its archive says", hint="build it again")
            arrived.append(found.id)
        for one, image in zip(parcels, arrived, strict=True):
            repository, _, label = one.tag.rpartition(":")
            with translated():
                engine.api.tag(image, repository, label)
    finally:
        for tag in staged.values():
            if (found := facts(engine, tag)) is not None:
                untag(engine, tag, found.id)
    return [one.key for one in parcels]


def _archive(
    parcels: Sequence[Parcel],
    tags: Iterable[str],
    blob: Callable[[str], AbstractContextManager[tuple[IO[bytes], int]]],
) -> Generator[bytes, None, None]:
    """Give the archive that the engine gets: ``manifest.json`` last, when all that it names is there."""
    for digest in dict.fromkeys(digest for one in parcels for digest in one.blobs):
        with blob(digest) as (file, size):
            yield _header(BLOBS + digest, size)
            while chunk := file.read(CHUNK):
                yield chunk
            yield _padding(size)
    manifest = [
        {"Config": BLOBS + one.config, "RepoTags": [tag], "Layers": [BLOBS + layer for layer in one.layers]}
        for one, tag in zip(parcels, tags, strict=True)
    ]
    data = json.dumps(manifest).encode()
    yield _header(MANIFEST, len(data)) + data + _padding(len(data))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
