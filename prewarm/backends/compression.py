"""What a file is compressed with, told by how it begins, and what is in it: gzip, zstd, or nothing of the kind."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import IO, Final, Protocol


class Compression(enum.Enum):
    """A way to compress; the value is how OCI's media types end."""

    NONE = ""
    GZIP = "+gzip"
    ZSTD = "+zstd"


_BEGINNINGS: Final = {Compression.GZIP: b"\x1f\x8b", Compression.ZSTD: b"\x28\xb5\x2f\xfd"}


class Readable(Protocol):
    """What can be read."""

    def read(self, size: int = ..., /) -> bytes:
        """Give at most so many bytes; none at the end."""


def of(file: IO[bytes]) -> Compression:
    """Tell a file's compression from its beginning; it stands there again afterwards."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return next((one for one, begin in _BEGINNINGS.items() if start.startswith(begin)), Compression.NONE)


@contextlib.contextmanager
def decompressed(stream: Readable, compression: Compression) -> Iterator[Readable]:
    """Lend a stream of what is in another one, which is not closed.

    Raises:
        ValueError: What is compressed is damaged; when it is read.
    """
    match compression:
        case Compression.NONE:
            yield stream
        case Compression.GZIP:
            import gzip
            import zlib

            try:
                with gzip.GzipFile(fileobj=stream, mode="rb") as plain:  # type: ignore[call-overload] # It only reads.
                    yield plain
            except (zlib.error, gzip.BadGzipFile, EOFError) as error:
                raise ValueError(f"its compression is damaged: {error}") from error
        case Compression.ZSTD:
            import zstandard

            try:
                yield zstandard.ZstdDecompressor().stream_reader(
                    stream,  # type: ignore[arg-type] # It only reads.
                    closefd=False,
                    read_across_frames=True,
                )
            except zstandard.ZstdError as error:
                raise ValueError(f"its compression is damaged: {error}") from error
