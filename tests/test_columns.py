"""Text that is cut and padded for a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bigpipe.columns import end_within, middle_out, n_columns, padded, start_within

TEXTS = st.text(st.sampled_from("a星\u0301é…0\u200bｱ"), max_size=12)
ROOMS = st.integers(1, 12)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        ("m13_0001.fits", 13),
        ("étoile", 6),
        (unicodedata.normalize("NFD", "étoile"), 6),
        ("星雲.fits", 9),
        ("\uff2d\uff11\uff13", 6),
        ("ｱｲ", 2),
        ("a\u200bb", 2),
        ("1\u20dd", 1),
    ],
)
def test_columns_of_text(text, n):
    assert n_columns(text) == n
    assert padded(text, 20) == text + " " * (20 - n)


@given(TEXTS, ROOMS)
def test_what_is_cut_fits_and_no_more_would(text, room):
    start, end = start_within(text, room), end_within(text, room)
    assert text.startswith(start)
    assert text.endswith(end)
    assert n_columns(start) <= room
    assert n_columns(end) <= room
    if start != text:
        assert n_columns(text[: len(start) + 1]) > room
    if end != text:
        assert n_columns(text) > room
        assert not end or n_columns(end[0])  # no accent without its letter


@given(TEXTS, ROOMS)
@example("星" * 6, 7)  # one more fits before the middle than behind it
def test_middle_is_left_out_where_there_is_no_room(text, room):
    found = middle_out(text, room)
    assert n_columns(found) <= room
    assert found == text or ("…" in found and n_columns(found) >= room - 1)
