"""The result of a run as a table of astropy or pandas, and as a short HTML table.

Owns how keys of the metadata become columns. `bigpipe.Pout` calls these functions.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from bigpipe.errors import FileError
from bigpipe.records import FileResult

if TYPE_CHECKING:
    import pandas
    from astropy.table import QTable

__all__ = ["html_of", "metadata_of", "pandas_of", "table_of"]

FIRST = ("in_name", "outname", "outcome")
MAX_ROWS = 10  # of the HTML table: the first and the last rows; arbitrary
MAX_COLUMNS = 8  # of the HTML table; arbitrary
MAX_CELL = 60  # characters in a cell of the HTML table; arbitrary


def table_of(results: Sequence[FileResult]) -> QTable:
    """Return a table with a row for each result: its outcome and metadata."""
    from astropy.table import QTable

    table = QTable()
    for name, cells in _columns(results).items():
        table[name] = _column(cells, len(results))
    return table


def _columns(results: Sequence[FileResult]) -> dict[str, dict[int, Any]]:
    """Return the values of each column, by the number of the row; rows without one are left out."""
    columns: dict[str, dict[int, Any]] = {name: {} for name in FIRST}
    for row, result in enumerate(results):
        columns["in_name"][row] = _text(result.in_name)
        if result.outname is not None:
            columns["outname"][row] = _text(result.outname)
        columns["outcome"][row] = str(result.outcome)
        for name, value in _flat(metadata_of(result)):
            if value is not None:
                # A metadata key may be called outname, to name a group: it is another column.
                columns.setdefault(f"meta.{name}" if name in FIRST else name, {})[row] = value
    return columns


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, (str, os.PathLike)) else str(name)


def metadata_of(result: FileResult) -> Mapping[Any, Any]:
    """Return metadata as a dict, even if a hook returned something else."""
    meta: Any = result.meta
    if isinstance(meta, Mapping):
        return meta
    return {} if meta is None else {"meta": meta}


def _flat(meta: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all entries of nested dicts, with their keys joined by dots."""
    for key, value in meta.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, str(value) if isinstance(value, FileError) else value


def _column(cells: dict[int, Any], n: int) -> Any:
    """Return a column of the type that all values have, or one of objects."""
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from astropy.units import Quantity

    values = list(cells.values())
    makers = ((SkyCoord, _coordinates), (Time, _times), (Quantity, _quantities))
    for kind, make in makers:
        if values and all(isinstance(value, kind) for value in values):
            try:
                return make(cells, n)
            except Exception:  # units, frames or shapes differ: each class raises its own errors
                return _objects(cells, n)
    column = _plain(cells, n)
    return _objects(cells, n) if column is None else column


def _filled(cells: dict[int, Any], n: int) -> tuple[list[Any], Any]:
    """Return a value for each row, arbitrary where missing, and the mask of missing values."""
    import numpy as np

    some = next(iter(cells.values()))
    mask = np.array([row not in cells for row in range(n)])
    return [cells.get(row, some) for row in range(n)], mask


def _quantities(cells: dict[int, Any], n: int) -> Any:
    import numpy as np
    from astropy.utils.masked import Masked

    values, mask = _filled(cells, n)
    unit = values[0].unit
    quantity = type(values[0])(np.array([value.to_value(unit) for value in values]), unit)
    return Masked(quantity, mask=_spread(mask, quantity.shape)) if mask.any() else quantity


def _times(cells: dict[int, Any], n: int) -> Any:
    from astropy.time import Time

    values, mask = _filled(cells, n)
    times = Time(values)
    if mask.any():
        import numpy as np

        times[mask] = np.ma.masked
    return times


def _coordinates(cells: dict[int, Any], n: int) -> Any:
    from astropy.coordinates import SkyCoord

    values, mask = _filled(cells, n)
    coordinates = SkyCoord(values)
    if mask.any():
        try:
            import numpy as np

            coordinates[mask] = np.ma.masked
        except (TypeError, ValueError):  # before astropy 7, coordinates cannot be masked
            coordinates = SkyCoord(
                [_nowhere(v) if m else v for v, m in zip(values, mask, strict=True)]
            )
    return coordinates


def _nowhere(coordinate: Any) -> Any:
    """Return coordinates of the same frame, with NaN for all values."""
    from astropy.coordinates import SkyCoord

    parts = coordinate.data
    values = {name: getattr(parts, name) * float("nan") for name in parts.components}
    return SkyCoord(coordinate.frame.realize_frame(type(parts)(**values)))


def _spread(mask: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - 1)), shape)


def _plain(cells: dict[int, Any], n: int) -> Any:
    """Return a column of numbers, texts or arrays of one shape; ``None`` if that is impossible."""
    import numpy as np
    from astropy.table import Column, MaskedColumn

    values = list(cells.values())
    if not values:
        return MaskedColumn(np.zeros(n, dtype="U1"), mask=True)
    kinds = {_kind(value) for value in values}
    if kinds == {"int", "float"}:
        kinds = {"float"}
    if len(kinds) != 1 or None in kinds or len({np.shape(value) for value in values}) > 1:
        return None
    filled, mask = _filled(cells, n)
    try:
        array = np.array(filled)
    except (ValueError, OverflowError):  # an integer is too large
        return None
    if array.dtype == object or (array.ndim > 1) != (kinds == {"array"} and filled[0].ndim > 0):
        return None
    if not mask.any():
        return Column(array)
    return MaskedColumn(array, mask=_spread(mask, array.shape))


def _kind(value: Any) -> str | None:
    """Return the type of a column of such values; ``None`` for objects."""
    import numpy as np

    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, Integral):
        return "int"
    if isinstance(value, Real):
        return "float"
    if isinstance(value, complex):
        return "complex"
    if isinstance(value, str):  # not bytes: a column would drop zeros at their end
        return "str"
    if type(value) is np.ndarray and value.dtype != object:
        return "array"
    return None


def _objects(cells: dict[int, Any], n: int) -> Any:
    import numpy as np
    from astropy.table import MaskedColumn

    array = np.empty(n, dtype=object)
    for row, value in cells.items():
        array[row] = value
    return MaskedColumn(array, mask=[row not in cells for row in range(n)])


def pandas_of(results: Sequence[FileResult]) -> pandas.DataFrame:
    """Return the same table as a pandas ``DataFrame``.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_pandas() needs pandas: python -m pip install pandas, or use to_table()"
        ) from error
    columns: dict[str, Any] = {}
    for name, column in table_of(results).items():
        columns.update(_for_pandas(name, column))
    return pandas.DataFrame(columns)


def _for_pandas(name: str, column: Any) -> Iterable[tuple[str, Any]]:
    """Yield the pandas columns that replace a column of astropy; a name includes the unit."""
    import numpy as np
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from astropy.units import Quantity

    mask: Any = np.array(getattr(column, "mask", False))
    if isinstance(column, SkyCoord):
        angles = column.spherical
        for part, angle in ((f"{name}.lon", angles.lon), (f"{name}.lat", angles.lat)):
            yield from _for_pandas(part, angle)
        return
    if isinstance(column, Time):
        values = getattr(column, "unmasked", column).to_value("datetime64")
        values = values.astype("datetime64[ns]")
        values[np.broadcast_to(mask, values.shape)] = np.datetime64("NaT", "ns")
    elif isinstance(column, Quantity):
        unit = str(column.unit)
        name = f"{name} ({unit})" if unit else name
        values = np.array(getattr(column, "unmasked", column).value, dtype=float)
        values[np.broadcast_to(mask, values.shape)] = np.nan
    elif mask.any():
        values = np.ma.asarray(column).astype(object)
        rows = mask.reshape(len(mask), -1).all(axis=1)
        yield name, [None if gone else value for gone, value in zip(rows, column, strict=True)]
        return
    else:
        values = np.array(column)
    yield name, list(values) if values.ndim > 1 else values


def html_of(results: Sequence[FileResult], summary: str) -> str:
    """Return a short HTML table: the summary, and the first and last rows."""
    rows = list(range(len(results)))
    if len(rows) > MAX_ROWS:
        rows = rows[: MAX_ROWS // 2] + rows[-MAX_ROWS // 2 :]
    columns = _columns([results[row] for row in rows])
    names = list(columns)[:MAX_COLUMNS]
    lines = [f"<pre>{_escaped(summary)}</pre>", "<table>", _line("th", ["", *names])]
    for place, row in enumerate(rows):
        if place and row != rows[place - 1] + 1:
            lines.append(_line("td", ["..."] * (len(names) + 1)))
        lines.append(_line("td", [str(row), *(_cell(columns[name], place) for name in names)]))
    lines.append("</table>")
    left_out = [name for name in columns if name not in names]
    if left_out:
        lines.append(f"<p>and {_escaped(', '.join(left_out))}: see <code>to_table()</code></p>")
    return "\n".join(lines)


def _cell(cells: dict[int, Any], row: int) -> str:
    if row not in cells:
        return ""
    value = cells[row]
    try:
        text = str(value)
    except Exception:  # a foreign __str__ may raise anything
        text = type(value).__name__
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 3]}..."


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_escaped(cell)}</{tag}>' for cell in cells)}</tr>"


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
