"""A run's result as a table: which column a key of the metadata becomes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.table import QTable
from astropy.time import Time

from bigpipe.errors import FileError
from bigpipe.pout import Pout
from bigpipe.records import FileResult, Outcome

POINTS = [SkyCoord(10.5, -3, unit="deg"), SkyCoord(20, 41, unit="deg")]
TIMES = [Time("2024-01-02T03:04:05"), Time("2024-02-03")]


def pout_of(*metas, **fields):
    """The result of a run whose files have this metadata."""
    results = [
        FileResult(i, f"{i}.fits", f"out/{i}.fits", meta, Outcome.WRITTEN)
        for i, meta in enumerate(metas)
    ]
    for name, values in fields.items():
        for result, value in zip(results, values, strict=True):
            setattr(result, name, value)
    return Pout(results)


def table_of(*metas, **fields):
    return pout_of(*metas, **fields).to_table()


def mask_of(column):
    return list(np.broadcast_to(getattr(column, "mask", False), column.shape))


def test_names_and_outcome_come_first():
    table = table_of({"sky": 7}, {"sky": 8}, outname=["a", None], in_name=[Path("x"), ["y", "z"]])
    assert type(table) is QTable
    assert table.colnames == ["in_name", "outname", "outcome", "sky"]
    assert list(table["in_name"]) == ["x", "['y', 'z']"]
    assert list(table["outcome"]) == ["written", "written"]
    assert mask_of(table["outname"]) == [False, True]


def test_result_without_files_is_a_table_without_rows():
    assert len(Pout().to_table()) == 0
    assert Pout().to_table().colnames == ["in_name", "outname", "outcome"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, np.int16(2)], "int64"),
        ([1, 2.5], "float64"),
        ([True, np.False_], "bool"),
        ([1j, 2j], "complex128"),
        (["a", "long"], "<U4"),
        ([b"a", b"long"], "object"),
        ([np.ones(3, "f4"), np.zeros(3, "f4")], "float32"),
        ([1, "a"], "object"),
        ([[1], [2, 3]], "object"),
        ([np.ones(2), np.ones(3)], "object"),
        ([2**80, 1], "object"),
    ],
    ids=[
        *("ints", "int and float", "bools", "complex", "texts", "bytes", "arrays", "mixed"),
        *("lists", "shapes", "huge"),
    ],
)
def test_column_has_what_its_values_have_in_common(values, dtype):
    first, second = values
    column = table_of({"x": first}, {"x": second})["x"]
    assert column.dtype == dtype
    assert np.array_equal(column[0], first)
    assert np.array_equal(column[1], second)
    column = table_of({}, {"x": second}, {"x": None})["x"]
    assert [bool(np.all(mask)) for mask in np.ma.getmaskarray(column)] == [True, False, True]
    assert np.array_equal(column[1], second)


def test_quantities_become_one_in_the_unit_of_the_first():
    column = table_of({"t": 2 * u.min}, {}, {"t": 30 * u.s})["t"]
    assert column.unit == u.min
    assert mask_of(column) == [False, True, False]
    assert [x.unmasked.value for x in column[[0, 2]]] == [2, 0.5]


def test_angle_stays_an_angle_and_without_gaps_is_not_masked():
    column = table_of({"a": Angle(1, "deg")}, {"a": Angle(60, "arcmin")})["a"]
    assert type(column) is Angle
    assert list(column.deg) == pytest.approx([1, 1])


def test_quantities_that_have_nothing_in_common_are_kept_as_they_are():
    column = table_of({"q": 1 * u.m}, {"q": 2 * u.s})["q"]
    assert list(column) == [1 * u.m, 2 * u.s]


def test_times_and_coordinates_are_columns_of_their_own_kind():
    metas = [{"at": TIMES[0], "where": POINTS[0]}, {}, {"at": TIMES[1], "where": POINTS[1]}]
    table = table_of(*metas)
    assert isinstance(table["at"], Time)
    assert mask_of(table["at"]) == [False, True, False]
    assert table["at"][2].isot == TIMES[1].isot
    assert isinstance(table["where"], SkyCoord)
    assert table["where"][2].separation(POINTS[1]) < 1e-9 * u.deg
    lost = table["where"].ra.deg
    assert np.ma.getmaskarray(np.ma.array(lost, mask=mask_of(table["where"])))[1] or np.isnan(
        np.asarray(lost)[1]
    )


def test_nested_dicts_are_joined_by_dots():
    table = table_of({"a": {"b": 1, "c": {"d": 2}}, "e": {}}, {"a": {"b": 3}})
    assert table.colnames[3:] == ["a.b", "a.c.d"]
    assert mask_of(table["a.c.d"]) == [False, True]


def test_key_with_the_name_of_a_first_column_gets_another():
    table = table_of({"outname": "group.fits"})
    assert (table["outname"][0], table["meta.outname"][0]) == ("out/0.fits", "group.fits")


def test_error_is_a_text():
    table = table_of({"bmp_error": FileError("it is <gone>")}, {"sky": 7})
    assert table["bmp_error"][0] == "it is <gone>"
    assert mask_of(table["bmp_error"]) == [False, True]


def test_table_can_be_written_and_read_again(tmp_path):
    table = table_of({"t": 1 * u.s, "at": TIMES[0], "n": 1}, {"at": TIMES[1], "n": 2})
    table.write(tmp_path / "t.ecsv")
    again = QTable.read(tmp_path / "t.ecsv")
    assert again.colnames == table.colnames
    assert mask_of(again["t"]) == [False, True]
    assert again["at"][1].isot == TIMES[1].isot


def test_html_is_short_and_escaped():
    metas = [{f"key{k}": "<script>" for k in range(20)} for _ in range(1000)]
    page = pout_of(*metas, in_name=["<b>\udcff"] * 1000)._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    page.encode("utf-8")
    assert page.count("<tr>") < 20
    assert "1000 files: 1000 written" in page
    assert ">999<" in page
    assert "key19: see" in page


def test_pandas_has_the_same_columns():
    pandas = pytest.importorskip("pandas")
    metas = [{"t": 1 * u.s, "at": TIMES[0], "where": POINTS[0], "n": 1, "a": np.ones(2)}, {}]
    frame = pout_of(*metas).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns[3:]) == [
        "t (s)",
        "at",
        "where.lon (deg)",
        "where.lat (deg)",
        "n",
        "a",
    ]
    assert frame["at"][0] == pandas.Timestamp(TIMES[0].isot)
    assert frame["where.lat (deg)"][0] == pytest.approx(-3)
    assert frame.iloc[1, 3:].isna().all()


def test_missing_pandas_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas, or use to_table"):
        pout_of({}).to_pandas()


def test_metadata_that_is_no_dict_is_a_column_of_its_own():
    table = table_of({"a": 1}, None, 2.5)
    assert table.colnames[3:] == ["a", "meta"]
    assert mask_of(table["a"]) == [False, True, True]
    assert table["meta"][2] == 2.5
    assert "out/0.fits" in pout_of(None)._repr_html_()
