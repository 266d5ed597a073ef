"""JSON from outside: every complaint names its place."""

from __future__ import annotations

import enum
import re

import pytest

from prewarm.document import Node, parse


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def test_values_are_read_by_place():
    top = parse('{"a": [{"b": "x"}], "n": 1.5, "none": null, "colour": "red"}')
    assert [item.get("b").text() for item in top.get("a").items()] == ["x"]
    assert top.get("n").positive() == 1.5
    assert top.get("none").count_or_none() is None
    assert top.get("none").positive_or_none() is None
    assert top.get("colour").member(Colour) is Colour.RED


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda top: top.get("missing"), "top has no 'missing'"),
        (lambda top: top.get("a").get("b"), "top.a is not an object"),
        (lambda top: top.get("a").items()[1].text(), "top.a[1] is not text"),
        (lambda top: top.get("t").text(re.compile("[0-9]+")), "top.t is not well-formed"),
        (lambda top: top.get("t").items(), "top.t is not a list"),
        (lambda top: top.get("t").object(), "top.t is not an object"),
        (lambda top: top.get("t").member(Colour), "top.t is not one of red, blue"),
        (lambda top: top.get("yes").positive(), "top.yes is not a number"),
        (lambda top: top.get("huge").positive(), "top.huge is not a positive number"),
        (lambda top: top.get("yes").count_or_none(), "top.yes is not a positive whole number or null"),
        (lambda top: top.get("a").items()[0].texts(), "top.a[0] is not an object"),
    ],
)
def test_what_is_not_as_wanted_is_told_with_its_place(read, complaint):
    top = parse('{"a": [1, 2], "t": "text", "yes": true, "huge": 1e999}')
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}$"):
        read(top)


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[Infinity]", '{"a": 1, "a": 2}', "[" * 200_000, b"\xff\xfe\x00"])
def test_what_is_no_strict_json_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


def test_text_with_a_zero_byte_is_refused():
    with pytest.raises(ValueError, match="is not text"):
        Node("a\0b").text()
