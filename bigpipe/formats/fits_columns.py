"""Cards of a FITS header that are about the columns of its table.

Owns which keywords these are. `bigpipe.streaming.stores.fits_table` gives them to the columns of
another table.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["parts_of", "without_columns"]

_AXIS = "C(?:TYP?|RPX?|RVL?|DLT|DE|UNI?|ROT|NA|RD|SY)"
# Keywords about one or two columns: unit, null value, display, meaning, range; and world
# coordinates, of numbers or of images in a column, with a letter after them for alternative ones.
# Every second group is the number of a column. Keywords that follow from the data are not here.
_OF_COLUMNS = (
    re.compile(
        rf"(T(?:UNIT|NULL|DISP|UCD|COMM|RPOS|[LD]MIN|[LD]MAX|DBIN|WCS|{_AXIS})"
        rf"|[1-9]{{1,2}}(?:PC|CD|{_AXIS})|WCAX|WCSN|LONP|LATP|RADE|EQUI)(\d+)([A-Z]?)"
    ),
    re.compile(r"((?:T|[1-9])P?[VS])(\d+)(_\d+[A-Z]?)"),  # parameters of a projection
    re.compile(r"(T(?:C|CD|P|PC))(\d+)(_)(\d+)([A-Z]?)"),
)


def parts_of(keyword: str) -> list[str]:
    """Split a keyword into parts, every second one a column's number; empty if it has none.

    Examples
    --------
    >>> parts_of("TUNIT12"), parts_of("TC3_4A"), parts_of("OBJECT")
    (['TUNIT', '12', ''], ['TC', '3', '_', '4', 'A'], [])
    """
    matches = (pattern.fullmatch(keyword) for pattern in _OF_COLUMNS)
    return next(([*found.groups()] for found in matches if found), [])


def without_columns(header: Any) -> Any:
    """Return the cards of a header that are not about a table's columns or the data's structure."""
    others = header.copy(strip=True)
    for keyword in {each for each in others if parts_of(each)}:
        del others[keyword]
    return others
