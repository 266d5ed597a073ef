"""What a file is compressed with, and what is in it."""

import gzip
import io

import pytest
import zstandard

from prewarm.backends.compression import Compression, decompressed, of

TEXT = b"what is in it\n" * 10_000
PACKED = {Compression.NONE: TEXT, Compression.GZIP: gzip.compress(TEXT), Compression.ZSTD: zstandard.compress(TEXT)}


@pytest.mark.parametrize("compression", Compression)
def test_a_file_is_told_by_its_beginning_and_read_from_there(compression):
    file = io.BytesIO(PACKED[compression])
    file.seek(7)
    assert of(file) is compression
    with decompressed(file, compression) as content:
        assert content.read(len(TEXT)) == TEXT
    assert not file.closed


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_parts_that_were_packed_apart_are_one(compression):
    with decompressed(io.BytesIO(PACKED[compression] * 2), compression) as content:
        found = b""
        while chunk := content.read(1000):
            found += chunk
    assert found == TEXT * 2


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\x28\xb5\x2f"])
def test_what_ends_too_early_to_be_compressed_is_not(data):
    assert of(io.BytesIO(data)) is Compression.NONE


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_damage_is_one_error_whatever_the_compression(compression):
    data = bytearray(PACKED[compression])
    for place in range(len(data) // 4, len(data) // 2):
        data[place] ^= 0xFF
    with (
        pytest.raises(ValueError, match="its compression is damaged"),
        decompressed(io.BytesIO(data), compression) as content,
    ):
        list(iter(lambda: content.read(1000), b""))


def test_gzip_that_ends_early_is_damaged():
    with pytest.raises(ValueError, match="its compression is damaged"), decompressed(io.BytesIO(PACKED[Compression.GZIP][:-9]), Compression.GZIP) as content:  # fmt: skip
        content.read(len(TEXT) + 1)
