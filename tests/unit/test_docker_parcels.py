"""Layers of what arrives: hashed as they are stored, and as what is in them."""

import gzip
import hashlib
import io

import pytest
import zstandard

from prewarm.backends.docker.parcels import sums

LAYER = b"a layer" * 100_000


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_layer_is_hashed_as_it_is_stored_and_as_what_is_in_it(pack):
    assert sums(io.BytesIO(pack(LAYER))) == (digest(pack(LAYER)), digest(LAYER))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_layer_whose_compression_is_damaged_is_an_error_like_any_other_damage(pack):
    data = bytearray(pack(LAYER))
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    with pytest.raises(ValueError, match="a layer is damaged: its compression is damaged"):
        sums(io.BytesIO(data))
