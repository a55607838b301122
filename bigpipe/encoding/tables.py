"""The codecs for astropy's tables: their columns as they are, and their metadata.

Owns the tables and columns of `astropy.table`. Other codecs take apart columns that are quantities,
times or coordinates.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of, items_of
from bigpipe.encoding.units import checked_unit

__all__ = ["codecs"]

_NOTES = ("name", "unit", "format", "description", "meta")


def codecs() -> Iterable[Codec]:
    """Return the codecs for tables."""
    from astropy.table import Column, MaskedColumn, QTable, Table

    for column in (Column, MaskedColumn):
        yield Codec(column, column.__name__, _column_parts, partial(_column, column))
    for table in (Table, QTable):
        yield Codec(table, table.__name__, _table_parts, partial(_table, table))


def _column_parts(value: Any) -> dict[str, Any]:
    notes = {name: getattr(value, name) for name in _NOTES}
    notes = {name: note for name, note in notes.items() if note is not None and note != {}}
    return {"data": value.data, **notes}


def _column(kind: Any, parts: Any) -> Any:
    import numpy as np
    import numpy.ma as ma
    from astropy.table import Column

    fields = dict(fields_of(parts, {"data"}, set(_NOTES)))
    data: Any = checked(fields.pop("data"), np.ndarray if kind is Column else ma.MaskedArray)
    if "unit" in fields:
        checked_unit(fields["unit"])
    column = kind(data, copy=False, **fields)
    if kind is not Column:
        column.fill_value = data.fill_value
    return column


def _table_parts(value: Any) -> dict[str, Any]:
    columns = [[name, column] for name, column in value.columns.items()]
    return {"columns": columns, "meta": value.meta, "masked": value.masked}


def _table(kind: Any, parts: Any) -> Any:
    fields = fields_of(parts, {"columns", "meta", "masked"})
    pairs = [items_of(pair, 2) for pair in checked(fields["columns"], list)]
    names = [checked(name, str) for name, _ in pairs]
    columns = [column for _, column in pairs]
    if not all(hasattr(column, "info") and column.shape for column in columns):
        raise ValueError("a table must consist of columns")
    if len({len(column) for column in columns}) > 1:
        raise ValueError("the columns of a table have different lengths")
    masked = checked(fields["masked"], bool)
    return kind(columns, names=names, meta=fields["meta"], masked=masked, copy=False)
