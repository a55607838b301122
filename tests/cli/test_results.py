"""The table of what became of each file, in each form."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from astropy.time import Time

from bigpipe.cli import run, screen
from bigpipe.cli.results import FORMATS, print_results, results_of
from bigpipe.columns import n_columns
from bigpipe.errors import FileError
from bigpipe.records import FileResult, Outcome

ERROR = FileError("file_read raised ValueError on 'raw/2.fits': no\nimage", hook="file_read")
ERROR.__cause__ = ValueError("no\nimage")
META = {
    "sky": np.float32(7.5),
    "n": np.int64(3),
    "flags": [True, None],
    "fit": {"a": 1, "b": {"c": "x y"}},
    "exposure": 30 * units.s,
    "begun": Time("2026-11-21T00:00:00"),
    "bad": float("nan"),
    "error": "a key of the table's own",
}
RESULTS = [
    FileResult(0, "raw/1.fits", "out/1.fits", META, Outcome.WRITTEN, seconds={"file_read": 0.25}),
    FileResult(1, "raw/2.fits", None, {"bmp_error": ERROR}, Outcome.FAILED, error=ERROR),
    FileResult(2, "raw/,\udcff.fits", None, {}, Outcome.REJECTED),
]


def printed(form, results=RESULTS):
    stream = io.StringIO()
    print_results(results, form, stream)
    return stream.getvalue()


@pytest.fixture
def terminal(monkeypatch):
    """A function that has results shown in a terminal so many columns wide."""

    def show(columns, colour=False):
        monkeypatch.setattr(screen, "width", lambda: columns)
        monkeypatch.setattr(screen, "has_colour", lambda: colour)

    return show


def test_json_is_one_object_to_a_line():
    first, second, third = map(json.loads, printed("json").splitlines())
    assert first == {
        "in_name": "raw/1.fits",
        "outcome": "written",
        "outname": "out/1.fits",
        "seconds": 0.25,
        "error": None,
        "meta": {
            "sky": 7.5,
            "n": 3,
            "flags": [True, None],
            "fit": {"a": 1, "b": {"c": "x y"}},
            "exposure": "30.0 s",
            "begun": "2026-11-21T00:00:00.000",
            "bad": None,
            "error": "a key of the table's own",
        },
    }
    assert (second["error"], second["meta"]) == (str(ERROR), {})
    assert third["in_name"] == "raw/,\udcff.fits"


def test_csv_has_a_column_for_each_key():
    first, second, third = csv.DictReader(io.StringIO(printed("csv")))
    assert (first["fit.a"], first["fit.b.c"], first["flags"]) == ("1", "x y", "[true, null]")
    assert first["meta.error"] == "a key of the table's own"
    assert (second["error"], second["sky"]) == (str(ERROR), "")
    assert third["in_name"] == r"raw/,\udcff.fits"


def test_ecsv_keeps_types_and_what_is_missing():
    table = Table.read(printed("ecsv"), format="ascii.ecsv")
    assert table["sky"].dtype.kind == "f"
    assert table["n"].dtype.kind == "i"
    assert table["exposure"].unit == units.s
    assert list(table["seconds"].mask) == [False, True, True]
    assert list(table["n"].mask) == [False, True, True]
    assert list(table["outname"].mask) == [False, True, True]
    assert table["fit.b.c"][0] == "x y"
    assert table["error"][1] == str(ERROR)
    assert table["meta.error"][0] == META["error"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(np.datetime64("2026-11-21T01:02:03", "s"), "2026-11-21 01:02:03", id="s"),
        pytest.param(np.datetime64("2026-11-21T01:02:03", "ns"), "2026-11-21 01:02:03", id="ns"),
        pytest.param(
            np.datetime64("2026-11-21T01:02:03.000000004", "ns"),
            "2026-11-21T01:02:03.000000004",
            id="some ns",
        ),
        pytest.param(np.datetime64("20000-01-01", "D"), "20000-01-01", id="after the year 9999"),
        pytest.param(np.datetime64("NaT", "ns"), None, id="no time"),
        pytest.param(np.timedelta64(90_000_000_000, "ns"), "0:01:30", id="timedelta"),
        pytest.param(np.timedelta64(3, "M"), "3 months", id="months"),
        pytest.param(
            np.ma.array(["2026-11-21", "NaT", "2026-11-22"], "M8[ns]", mask=[0, 0, 1]),
            ["2026-11-21 00:00:00", None, None],
            id="masked array",
        ),
    ],
)
def test_times_of_numpy_are_no_numbers(value, shown):
    result = FileResult(0, "a.nc", None, {"time": value}, Outcome.METADATA_ONLY)
    assert json.loads(printed("json", [result]))["meta"]["time"] == shown


def test_what_pandas_does_not_know_is_missing():
    pandas = pytest.importorskip("pandas")
    meta = {"begun": pandas.NaT, "n": [1, pandas.NA]}
    result = FileResult(0, "a.csv", None, meta, Outcome.METADATA_ONLY)
    assert json.loads(printed("json", [result]))["meta"] == {"begun": None, "n": [1, None]}
    assert next(csv.DictReader(io.StringIO(printed("csv", [result]))))["begun"] == ""


def test_ecsv_has_times_of_numpy_as_text():
    metas = [{"time": np.datetime64(day, "ns"), "span": np.timedelta64(1, "s")} for day in (1, 2)]
    results = [FileResult(i, "a.nc", None, m, Outcome.METADATA_ONLY) for i, m in enumerate(metas)]
    table = Table.read(printed("ecsv", results), format="ascii.ecsv")
    assert list(table["span"]) == ["0:00:01", "0:00:01"]
    assert table["time"][0] == "1970-01-01T00:00:00.000000001"


def test_table_is_aligned_and_has_one_line_for_each_file():
    lines = printed("table").splitlines()
    assert len(lines) == 1 + len(RESULTS)
    places = {
        line.index(word) for line, word in zip(lines, ["outname", "out/1", "-", "-"], strict=True)
    }
    assert len(places) == 1
    assert "ValueError in file_read" in lines[2]
    assert "7.5" in lines[1]


def test_name_in_a_table_moves_neither_columns_nor_the_cursor():
    names = ["raw/a\tb.fits", "raw/\x1b[31mc.fits", "raw/\rd\u200b.fits", "raw/ \xe9\u65e5.fits"]
    rows = printed("table", [FileResult(0, x, None, {}, Outcome.REJECTED) for x in names])
    assert [line.split("  ")[0] for line in rows.splitlines()[1:]] == [
        r"raw/a\tb.fits",
        r"raw/\x1b[31mc.fits",
        r"raw/ d\u200b.fits",
        "raw/ \xe9\u65e5.fits",
    ]


def test_table_has_no_column_of_errors_if_there_are_none():
    assert "error" not in printed("table", [FileResult(0, "a", "b", {}, Outcome.WRITTEN)])


@pytest.mark.parametrize("columns", [20, 60, 100])
def test_table_fits_the_terminal(columns, terminal):
    terminal(columns)
    assert max(map(len, printed("table").splitlines())) <= columns


def test_shortened_names_keep_both_ends(terminal):
    names = [FileResult(0, f"a{'-' * 90}z", "b", {}, Outcome.WRITTEN)]
    terminal(50)
    assert "…" in printed("table", names)
    assert "--z  b" in printed("table", names)
    terminal(None)
    assert "…" not in printed("table", names)


@pytest.mark.parametrize("columns", [None, 60, 40, 25])
def test_columns_stay_in_line_whatever_the_names_are_written_in(columns, terminal):
    names = ["m13.fits", "星雲" * 8 + ".fits", "e\u0301toile" * 4 + ".fits"]
    terminal(columns)
    results = [FileResult(i, name, "b", {}, Outcome.WRITTEN) for i, name in enumerate(names)]
    lines = printed("table", results).splitlines()
    assert columns is None or max(map(n_columns, lines)) <= columns
    assert ("…" in "".join(lines)) is (columns is not None)
    assert len({n_columns(line[: line.index(" b  ")]) for line in lines[1:]}) == 1


@pytest.mark.parametrize("columns", range(10, 16))
def test_what_is_cut_at_the_edge_of_the_terminal_does_not_stand_over(columns, terminal):
    terminal(columns)
    results = [FileResult(0, "星.fits", "雲" * 20, {}, Outcome.WRITTEN)]
    assert max(map(n_columns, printed("table", results).splitlines())) <= columns


def test_only_failures_are_coloured_and_only_where_colour_is_wanted(terminal):
    terminal(100, colour=True)
    coloured = [line for line in printed("table").splitlines() if "\x1b[31m" in line]
    assert len(coloured) == 1
    assert coloured[0].split()[2] == "failed"
    terminal(100)
    assert "\x1b" not in printed("table")


@pytest.mark.parametrize(
    ("environment", "is_wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
    ids=str,
)
def test_environment_decides_on_colour(environment, is_wanted, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert screen.has_colour() is is_wanted


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_result_of_no_files_can_be_printed(form):
    assert ("in_name" in printed(form, [])) == (form != "json")


def test_plain_list_is_understood():
    results = results_of(
        [("b", {}), (None, {"n": 1}), (None, {}), (None, {"bmp_error": ERROR})], []
    )
    assert [result.outcome for result in results] == [
        *("written", "metadata only", "rejected", "failed"),
    ]
    assert results[3].error is ERROR
    assert [result.in_name for result in results_of([("b", {})], ["a"])] == ["a"]
    assert results_of(None, ["a"]) == []


def test_forms_that_can_be_asked_for_are_those_that_there_are():
    assert tuple(FORMATS) == run._FORMATS


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("meta", [None, 2.5])
def test_metadata_that_is_no_dict_can_be_printed(form, meta):
    result = FileResult(0, "raw/1.fits", "out/1.fits", meta, Outcome.WRITTEN)
    assert ("2.5" in printed(form, [result])) == (meta == 2.5)
