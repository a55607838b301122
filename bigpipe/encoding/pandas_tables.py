"""The codecs for columns and tables of pandas, and for the arrays that they are made of.

Owns `Series`, `DataFrame`, the kinds of `Index`, and those arrays of pandas's own that consist of
plain values: text, categories, times with a zone, and numbers of which some are missing. Periods,
intervals, sparse arrays and those of Arrow have no form here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from functools import partial
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of, instance_of, items_of

__all__ = ["codecs"]


def codecs() -> Iterable[Codec]:
    """Return the codecs for columns and tables."""
    import pandas as pd

    yield Codec(pd.Series, "Series", _series_parts, _series)
    yield Codec(pd.DataFrame, "DataFrame", _frame_parts, _frame)
    yield Codec(pd.RangeIndex, "RangeIndex", _range_parts, _range)
    yield Codec(pd.MultiIndex, "MultiIndex", _levels_parts, _levels)
    for kind in (pd.Index, pd.CategoricalIndex):
        yield Codec(kind, kind.__name__, _index_parts, partial(_index, kind))
    for kind in (pd.DatetimeIndex, pd.TimedeltaIndex):
        yield Codec(kind, kind.__name__, _times_parts, partial(_times, kind))
    yield Codec(pd.Categorical, "Categorical", _categorical_parts, _categorical)
    yield Codec(pd.arrays.DatetimeArray, "DatetimeArray", _zoned_parts, _zoned)
    for kind in (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray):
        yield Codec(kind, kind.__name__, _masked_parts, partial(_masked, kind))
    for kind in {type(pd.array(["a"], dtype=dtype)) for dtype in _text_dtypes()}:
        yield Codec(kind, "StringArray", _text_parts, _text)


def _text_dtypes() -> list[Any]:
    """Return the types of text that are not Arrow's: what is missing is NA, or also nan."""
    import numpy as np
    import pandas as pd

    dtypes = [pd.StringDtype("python")]
    try:
        dtypes.append(pd.StringDtype("python", na_value=np.nan))
    except TypeError:  # before pandas 2.3
        pass
    return dtypes


def _values(column: Any) -> Any:
    """Return the values of a series or an index, as an array of numpy if that is what they are."""
    import numpy as np

    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _column(values: Any, length: int | None = None) -> Any:
    """Return the array of a column if a text may give it."""
    import numpy as np
    from pandas.api.extensions import ExtensionArray

    if not isinstance(values, np.ndarray | ExtensionArray) or values.ndim != 1:
        raise ValueError("a column must be an array of one dimension")
    if length is not None and len(values) != length:
        raise ValueError(f"a column has {len(values)} rows, and its index {length}")
    return values


def _checked_index(part: Any) -> Any:
    import pandas as pd

    return instance_of(part, pd.Index)


def _check_plain(value: Any) -> None:
    if not value.flags.allows_duplicate_labels:
        raise ValueError("it has flags")


def _series_parts(value: Any) -> dict[str, Any]:
    _check_plain(value)
    return {
        "values": _values(value),
        "index": value.index,
        "name": value.name,
        "attrs": value.attrs,
    }


def _series(parts: Any) -> Any:
    import pandas as pd

    fields = fields_of(parts, {"values", "index", "name", "attrs"})
    index = _checked_index(fields["index"])
    values = _column(fields["values"], len(index))
    series = pd.Series(values, index, dtype=values.dtype, name=fields["name"])
    series.attrs = checked(fields["attrs"], dict)
    return series


def _frame_parts(value: Any) -> dict[str, Any]:
    _check_plain(value)
    return {
        "data": [_values(value.iloc[:, number]) for number in range(value.shape[1])],
        "columns": value.columns,
        "index": value.index,
        "attrs": value.attrs,
    }


def _frame(parts: Any) -> Any:
    import pandas as pd

    fields = fields_of(parts, {"data", "columns", "index", "attrs"})
    index = _checked_index(fields["index"])
    columns = _checked_index(fields["columns"])
    data = [_column(each, len(index)) for each in items_of(fields["data"], len(columns))]
    # By number, as two columns may have the same name.
    series = {i: pd.Series(each, index, dtype=each.dtype) for i, each in enumerate(data)}
    frame = pd.DataFrame(series, index=index)
    frame.columns = columns
    frame.attrs = checked(fields["attrs"], dict)
    return frame


def _range_parts(value: Any) -> list[Any]:
    return [value.start, value.stop, value.step, value.name]


def _range(parts: Any) -> Any:
    import pandas as pd

    *bounds, name = items_of(parts, 4)
    return pd.RangeIndex(*(checked(each, int) for each in bounds), name=name)


def _levels_parts(value: Any) -> dict[str, Any]:
    return {"levels": list(value.levels), "codes": list(map(_codes, value.codes))} | {
        "names": list(value.names)
    }


def _codes(codes: Any) -> Any:
    import numpy as np

    return np.asarray(codes)


def _levels(parts: Any) -> Any:
    import pandas as pd

    fields = fields_of(parts, {"levels", "codes", "names"})
    levels = [_checked_index(each) for each in checked(fields["levels"], list)]
    codes = [_column(each) for each in items_of(fields["codes"], len(levels))]
    names = items_of(fields["names"], len(levels))
    return pd.MultiIndex(levels, codes, names=names, verify_integrity=True)


def _index_parts(value: Any) -> list[Any]:
    return [_values(value), value.name]


def _index(kind: Any, parts: Any) -> Any:
    values, name = items_of(parts, 2)
    return kind(_column(values), dtype=values.dtype, name=name)


def _times_parts(value: Any) -> list[Any]:
    return [_values(value), value.name, value.freqstr]


def _times(kind: Any, parts: Any) -> Any:
    values, name, freq = items_of(parts, 3)
    return kind(_column(values), name=name, freq=freq and checked(freq, str))


def _categorical_parts(value: Any) -> dict[str, Any]:
    return {
        "codes": _codes(value.codes),
        "categories": value.categories,
        "ordered": bool(value.ordered),
    }


def _categorical(parts: Any) -> Any:
    import pandas as pd

    fields = fields_of(parts, {"codes", "categories", "ordered"})
    categories = _checked_index(fields["categories"])
    ordered = checked(fields["ordered"], bool)
    return pd.Categorical.from_codes(_column(fields["codes"]), categories, ordered=ordered)


def _zoned_parts(value: Any) -> list[Any]:
    if value.tz is None:
        raise ValueError("its times have no zone")
    return [value.tz_convert("UTC").tz_localize(None).to_numpy(), value.tz]


def _zoned(parts: Any) -> Any:
    import pandas as pd

    instants, zone = items_of(parts, 2)
    times = pd.DatetimeIndex(_column(instants)).tz_localize("UTC")
    return times.tz_convert(instance_of(zone, tzinfo)).array


def _masked_parts(value: Any) -> list[Any]:
    kind = value.dtype.numpy_dtype
    return [value.to_numpy(kind, na_value=kind.type(0)), value.isna()]


def _masked(kind: Any, parts: Any) -> Any:
    values, mask = items_of(parts, 2)
    return kind(_column(values), _column(mask, len(values)))


def _text_parts(value: Any) -> list[Any]:
    import pandas as pd

    is_na = value.dtype.na_value is pd.NA
    return [is_na, [None if pd.isna(each) else each for each in value]]


def _text(parts: Any) -> Any:
    import numpy as np
    import pandas as pd

    is_na, texts = items_of(parts, 2)
    options = {} if checked(is_na, bool) else {"na_value": np.nan}
    if not all(each is None or type(each) is str for each in checked(texts, list)):
        raise ValueError("text is needed")
    return pd.array(texts, dtype=pd.StringDtype("python", **options))
