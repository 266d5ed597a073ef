"""What is printed of hostile text, and times and sizes in words."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prewarm.cli import _text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x9b31mc1", "c1"),
        ("\x90device control\x9cafter", "after"),
        ("\x1b[6nasks where the cursor is", "asks where the cursor is"),
        ("\x1bcreset", "reset"),
        ("10%\r50%\r100%", "100%"),
        ("line\r\n", "line"),
        ("two\nlines", "two lines"),
        ("a\tb", "a    b"),
        ("bell\x07 backspace\x08 nul\x00", "bell backspace nul"),
        ("right\u202eto left", "rightto left"),
        ("zero\u200bwidth", "zerowidth"),
        ("lone \udcff byte", "lone \ufffd byte"),
        ("e\u0301", "\u00e9"),
        ("z" + "\u0335" * 50, "z\u0335\u0335"),
        ("ends in escape \x1b", "ends in escape"),
        ("grüße 日本", "grüße 日本"),
    ],
)
def test_nothing_that_a_terminal_acts_upon_is_left(written, shown):
    assert _text.clean(written) == shown


@given(st.text(max_size=200))
@example("\x1b[" + ";" * 100)
@example("\x1b]52;c;ZXZpbA==\x07")
def test_cleaned_text_has_no_control_characters_and_is_stable(text):
    cleaned = _text.clean(text)
    assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert _text.clean(cleaned) == cleaned


def test_a_line_of_a_gigabyte_is_cut_before_it_is_looked_at():
    assert len(_text.clean("\x1b[31m" + "x" * 100_000_000)) <= 4096


def test_a_step_of_several_lines_says_that_there_is_more():
    assert _text.first_line("\n  set -e\napt-get update\n") == "set -e …"
    assert _text.first_line("one") == "one"
    assert _text.first_line("") == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0s"),
        (0.42, "0.4s"),
        (41.24, "41.2s"),
        (59.97, "1m 00s"),
        (60, "1m 00s"),
        (372, "6m 12s"),
        (3720, "1h 02m"),
    ],
)
def test_durations_in_words(seconds, words):
    assert _text.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (812, "812 B"), (1536, "1.5 KiB"), (1468006, "1.4 MiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes_in_words(count, words):
    assert _text.size(count) == words


def test_what_is_too_long_ends_in_an_ellipsis():
    assert _text.shorten("abcdef", 4) == "abc…"
    assert _text.shorten("abcd", 4) == "abcd"
    assert _text.shorten("abcd", 0) == "…"


@pytest.mark.parametrize(
    ("widths", "room", "fits"),
    [
        ([10, 20, 7], 80, [10, 20, 7]),
        ([10, 60, 7], 60, [10, 39, 7]),
        ([40, 60, 7], 60, [24, 25, 7]),
        ([40, 60, 7], 10, [8, 8, 7]),
    ],
)
def test_the_widest_columns_give_way_where_a_table_does_not_fit(widths, room, fits):
    assert _text.fitted(widths, room=room, cut=(0, 1)) == fits
