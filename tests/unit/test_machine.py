"""When two platforms are the same."""

import pytest

from prewarm.machine import is_same_platform


@pytest.mark.parametrize(
    ("found", "wanted", "is_same"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_a_variant_that_one_side_leaves_out_does_not_count(found, wanted, is_same):
    assert is_same_platform(found, wanted) is is_same
