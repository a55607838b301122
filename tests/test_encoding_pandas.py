"""Times of pandas as text and back."""

from __future__ import annotations

import datetime
import zoneinfo

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


def test_tables_are_refused():
    with pytest.raises(UnsafeValueError, match=r"value\['a'\], a pandas\..*DataFrame, cannot be"):
        encode({"a": pd.DataFrame({"x": [1]})})


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
