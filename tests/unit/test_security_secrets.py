"""Secrets in what a build says: hidden however they are written, and wherever a line is cut."""

import json
from urllib.parse import quote

import pytest

from prewarm.backends.commands import LineSplitter
from prewarm.process import Redactor

AWKWARD = "p\"a's/s wörd\\&%"


@pytest.mark.parametrize(
    "write", [str, json.dumps, lambda x: json.dumps(x, ensure_ascii=False), lambda x: quote(x, safe=""), repr]
)
def test_a_secret_is_hidden_as_programs_write_it(write):
    assert Redactor([AWKWARD])(f"<{write(AWKWARD)}>") in {"<***>", '<"***">', "<'***'>"}


def said(data, secret, size):
    lines = []
    splitter = LineSplitter(Redactor([secret]), lines.append)
    for start in range(0, len(data), size):
        splitter(data[start : start + size])
    splitter.flush()
    return "\n".join(lines)


@pytest.mark.parametrize("size", [1, 3, 4096])
def test_a_secret_that_comes_in_pieces_is_hidden(size):
    assert said(b"before s3cret-value after\ns3cret-value", "s3cret-value", size) == "before *** after\n***"


@pytest.mark.parametrize("length", [20, 150, 3000, 9000, 70_000])
def test_no_part_of_a_secret_is_shown_where_a_long_line_is_cut(length):
    secret = "".join(chr(ord("a") + number % 26) for number in range(length))
    for ahead in (0, 7, 8190, 12_280):
        shown = said(b"." * ahead + secret.encode() * (300_000 // length), secret, 65_536)
        assert set(shown) <= {".", "*"}


def test_a_long_line_without_secrets_is_shown_as_far_as_lines_go():
    assert said(b"x" * 1_000_000, "s3cret-value", 65_536) == "x" * 8192
