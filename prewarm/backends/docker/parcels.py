"""Images on their way into the engine: judged by their configuration, sent as one archive made here, judged again.

What came from elsewhere is never handed to the engine as it is: an archive may name one image in ``manifest.json``, which
Docker's own store reads, and another in ``index.json``, which containerd's reads. What is sent has the first alone, and
only the blobs that it names. Called by ``saved`` and ``cache``.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Final

from prewarm import document
from prewarm.backends import compression, oci
from prewarm.backends.compression import Compression, Readable
from prewarm.backends.docker import content, loading
from prewarm.backends.docker.engine import Engine, translated
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

_UNPACKED: Final = re.compile(r"sha256:[0-9a-f]{64}")


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


def sha256(file: Readable) -> str:
    """Hash a file to its end."""
    digest = hashlib.sha256()
    for chunk in oci.pieces(file):
        digest.update(chunk)
    return digest.hexdigest()


def sums(file: IO[bytes]) -> tuple[str, str]:
    """Hash a blob as it is, and what is in it if it is compressed.

    Raises:
        ValueError: Its compression is damaged.
    """
    packed = compression.of(file)
    if packed is Compression.NONE:
        digest = sha256(file)
        return digest, digest
    hashed = _Hashed(file)
    try:
        with compression.decompressed(io.BufferedReader(hashed, oci.CHUNK), packed) as unpacked:
            inner = sha256(unpacked)
    except ValueError as error:
        raise ValueError(f"a layer is damaged: {error}") from error
    while hashed.read(oci.CHUNK):
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
    identity = secrets.token_hex(8)
    staged = {one.tag: staged_tag(one.namespace, one.key, identity, "load") for one in parcels}
    try:
        loading.load(
            engine,
            loading.archive(
                [loading.Sent(tag=staged[one.tag], config=one.config, layers=one.layers) for one in parcels], blob
            ),
            lambda why: TemplateCorruptError(f"the engine refuses the images: {why}"),
        )
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
