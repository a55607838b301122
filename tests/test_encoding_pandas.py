"""Times of pandas as text and back."""

from __future__ import annotations

import datetime
import zoneinfo

import astropy.units as u
import numpy as np
import pytest

from bigpipe.encoding import decode, encode
from bigpipe.errors import EncodingError, UnsafeValueError
from tests.programs import run_python

pd = pytest.importorskip("pandas")

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
TIMES = {
    "s": pd.Timestamp("2024-05-01").as_unit("s"),
    "ns": pd.Timestamp("2024-05-01T12:00:00.123456789"),
    "zone": pd.Timestamp("2024-05-01T12:00:00", tz=BERLIN),
    "first of the hours that come twice": pd.Timestamp(
        datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
    ),
    "second of them": pd.Timestamp(datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1)),
    "offset": pd.Timestamp("2024-05-01T12:00:00+05:30"),
    "timedelta": pd.Timedelta("-1 days 3 ns"),
    "timedelta in s": pd.Timedelta("90 s").as_unit("s"),
}


@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
def test_time_comes_back_the_same(time):
    (back,) = decode(encode([time]))
    assert (type(back), back, back.unit) == (type(time), time, time.unit)
    assert getattr(back, "tzinfo", None) == getattr(time, "tzinfo", None)
    assert str(back) == str(time)


@pytest.mark.parametrize("value", [pd.NaT, pd.NA], ids=str)
def test_what_is_missing_comes_back_the_same(value):
    assert decode(encode({"a": value}))["a"] is value


NUMBERS = pd.DataFrame({"x": [1, 2], "y": [0.5, np.nan], "ok": [True, False]})
DAYS = pd.date_range("2024-05-01", periods=3, freq="D")
COLUMNS = {
    "numbers": pd.Series([1.5, np.nan, 3], name="flux"),
    "named by a tuple": pd.Series([1, 2], name=("a", 1)),
    "float32": pd.Series(np.arange(3, dtype=np.float32)),
    "text": pd.Series(["a", "", "\u03b2"]),
    "text and nothing": pd.Series(["a", None]),
    "string": pd.Series(["a", None], dtype="string"),
    "objects": pd.Series(["a", 1, None, (1, 2)], dtype=object),
    "objects that are text": pd.Series(["a", "b"], dtype=object),
    "Int64": pd.Series([1, None, 3], dtype="Int64"),
    "UInt8": pd.Series([1, None, 3], dtype="UInt8"),
    "Float32": pd.Series([1.5, None], dtype="Float32"),
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    "category": pd.Series(["a", "b", None, "a"], dtype="category"),
    "ordered category": pd.Series(pd.Categorical([3, 1], [3, 2, 1], ordered=True)),
    "times": pd.Series(DAYS),
    "times in s": pd.Series(DAYS).dt.as_unit("s"),
    "times with a zone": pd.Series(DAYS.tz_localize(BERLIN)),
    "times with an offset": pd.Series(pd.to_datetime(["2024-05-01T00:00+05:30", None])),
    "timedeltas": pd.Series(pd.to_timedelta([1, None], "s")),
    "complex": pd.Series([1j, 2]),
    "empty": pd.Series([], dtype=float),
    "index of text": pd.Series([1, 2], index=pd.Index(["a", "b"], name="key")),
    "index of times": pd.Series([1, 2, 3], index=DAYS),
    "index of times with a zone": pd.Series([1, 2, 3], index=DAYS.tz_localize(BERLIN)),
    "index of timedeltas": pd.Series([1, 2], index=pd.timedelta_range("1s", periods=2, name="t")),
    "index of categories": pd.Series([1, 2], index=pd.CategoricalIndex(["a", "b"], name="c")),
    "index with a step": pd.Series([1, 2], index=pd.RangeIndex(4, 8, 2, name="i")),
}
TABLES = {
    "numbers": NUMBERS,
    "all kinds": pd.DataFrame(
        {name: each.reset_index(drop=True) for name, each in COLUMNS.items()}
    ),
    "two columns of one name": pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"]),
    "columns by number": pd.DataFrame(np.eye(2)),
    "levels": NUMBERS.set_index(["x", "ok"]),
    "levels of columns": pd.concat({"a": NUMBERS, "b": NUMBERS}, axis=1, names=["part", None]),
    "without columns": pd.DataFrame(index=[3, 4]),
    "without rows": NUMBERS[:0],
    "empty": pd.DataFrame(),
    "grouped": NUMBERS.groupby("ok").agg(["mean", "max"]),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_column_comes_back_the_same(column):
    back = decode(encode({"a": [column]}))["a"][0]
    pd.testing.assert_series_equal(back, column, check_exact=True, check_index_type="exact")
    assert type(back.index) is type(column.index)
    assert encode(back) == encode(column)
    pd.testing.assert_index_equal(decode(encode(column.index)), column.index, exact=True)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_table_comes_back_the_same(table):
    back = decode(encode(table))
    pd.testing.assert_frame_equal(back, table, check_exact=True)
    assert encode(back) == encode(table)


def test_notes_on_a_table_come_back():
    table, column = NUMBERS.copy(), NUMBERS.x.copy()
    table.attrs, column.attrs = {"unit": u.m}, {"seen": (1, 2)}
    assert decode(encode(table)).attrs == table.attrs
    assert decode(encode(column)).attrs == column.attrs


class Catalogue(pd.DataFrame):
    pass


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"x": pd.period_range("2024-05", periods=2, freq="M")}),
        pd.Series(pd.IntervalIndex.from_breaks([0, 1, 2])),
        pd.Series([0, 0, 1], dtype="Sparse[int]"),
        pd.Series([1, 2]).set_flags(allows_duplicate_labels=False),
        pd.Series([len], dtype=object),
        Catalogue({"x": [1]}),
    ],
    ids=["periods", "intervals", "sparse", "flags", "functions", "subclass"],
)
def test_table_without_a_safe_form_is_refused(value):
    with pytest.raises(UnsafeValueError, match=r"value\['a'\].* cannot be kept as text"):
        encode({"a": value})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"columns":', '"rows":'),
        ('"!pandas.RangeIndex":[0,2,1,null]', '"!pandas.RangeIndex":[0,3,1,null]'),
        ('{"!pandas.RangeIndex":[0,2,1,null]}', "[0,1]"),
        ('"attrs":{}', '"attrs":[]'),
        ('"data":[', '"data":[1,'),
    ],
    ids=["field", "length", "index", "attrs", "a column too many"],
)
def test_bad_text_of_a_table_is_refused(old, new):
    text = encode(pd.DataFrame({"x": [1, 2]}))
    assert old in text
    with pytest.raises(EncodingError):
        decode(text.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        '{"!pandas.Timestamp":["2024-05-01",null]}',
        '{"!pandas.Timedelta":3}',
        encode(pd.Timestamp("2024-05-01")).replace("null", '"UTC"'),
    ],
)
def test_bad_text_is_refused(text):
    with pytest.raises(EncodingError):
        decode(text)


def test_text_is_refused_where_pandas_is_missing():
    text = encode(pd.Timestamp("2024-05-01"))
    code = f"""
import sys
from bigpipe.encoding import decode
from bigpipe.errors import EncodingError
sys.modules["pandas"] = None
try:
    decode({text!r})
except EncodingError as error:
    print(error)
"""
    assert "pandas" in run_python("-c", code, is_to_succeed=True).stdout
