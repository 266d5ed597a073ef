"""Images on their way into the engine: one archive as ``docker load`` reads it, made here, and what the engine says to it.

The archive has ``manifest.json`` alone, which every engine reads, and only the blobs that it names. Called by whoever has
images that the engine lacks, as blobs (``ocibases``, ``parcels``) or as an archive that a builder wrote (``exchange``).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Final

from prewarm.backends import oci
from prewarm.backends.docker.engine import Engine, raw, translated
from prewarm.errors import PrewarmError

MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs/sha256/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An image to send. All digests are without ``sha256:``.

    Attributes:
        tag: The name that it gets.
        config: Digest of its configuration.
        layers: Digests of its layers as they are stored, lowest first.
    """

    tag: str
    config: str
    layers: tuple[str, ...]


def load(engine: Engine, data: IO[bytes] | Iterator[bytes], refusal: Callable[[str], PrewarmError]) -> None:
    """Give the engine an archive of images.

    Args:
        engine: Where to.
        data: The archive: a file, or its chunks.
        refusal: Makes the error of what the engine says where it refuses them.

    Raises:
        PrewarmError: That error.
        BackendUnavailableError: The engine does not answer.
    """
    from docker.errors import APIError

    with translated():
        try:
            for event in raw(engine.api).load_image(data):
                if "error" in event:
                    raise refusal(str(event["error"]))
        except APIError as error:
            raise refusal(str(error.explanation)) from error


def archive(
    images: Sequence[Sent], blob: Callable[[str], AbstractContextManager[tuple[IO[bytes], int]]]
) -> Generator[bytes, None, None]:
    """Give the chunks of an archive of images: ``manifest.json`` last, when all that it names is there.

    Args:
        images: What is in it; blobs that they share are in it once.
        blob: Opens a blob by its digest, and says its size.
    """
    for digest in dict.fromkeys(digest for one in images for digest in (one.config, *one.layers)):
        with blob(digest) as (file, size):
            yield _header(BLOBS + digest, size)
            yield from oci.pieces(file)
            yield _padding(size)
    manifest = [
        {"Config": BLOBS + one.config, "RepoTags": [one.tag], "Layers": [BLOBS + layer for layer in one.layers]}
        for one in images
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
