"""Text in terminal columns, of which a character may take two, one or none."""

from __future__ import annotations

import unicodedata
from itertools import accumulate

__all__ = ["end_within", "middle_out", "n_columns", "padded", "start_within"]

_WIDE = ("W", "F")  # classes of Unicode's Standard Annex 11
_NO_COLUMN = ("Mn", "Me", "Cf")  # combining accents, and invisible marks


def n_columns(text: str) -> int:
    """Return the number of columns that a text takes.

    Examples
    --------
    >>> n_columns("m13"), n_columns("星雲")
    (3, 4)
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, room: int) -> str:
    """Return a text padded with spaces to `room` columns."""
    return text + " " * (room - n_columns(text))


def start_within(text: str, room: int) -> str:
    """Return as much of the beginning of a text as fits into `room` columns."""
    if n_columns(text) <= room:
        return text
    return text[: sum(used <= room for used in accumulate(map(_columns, text)))]


def end_within(text: str, room: int) -> str:
    """Return as much of the end of a text as fits into `room` columns."""
    if n_columns(text) <= room:
        return text
    first = len(text) - sum(used <= room for used in accumulate(map(_columns, reversed(text))))
    while first < len(text) and not _columns(text[first]):  # an accent without its character
        first += 1
    return text[first:]


def middle_out(text: str, room: int) -> str:
    """Return a text shortened in the middle to fit, because names differ at their ends.

    Examples
    --------
    >>> middle_out("reduced/kast_blue_0017.fits", 16)
    'reduced/…17.fits'
    """
    if n_columns(text) <= room:
        return text
    end = end_within(text, (room - 1) // 2)
    return f"{start_within(text, room - 1 - n_columns(end))}…{end}"


def _columns(character: str) -> int:
    if unicodedata.category(character) in _NO_COLUMN:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
