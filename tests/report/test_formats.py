"""A run as a trace, as comma-separated values, and as figures."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest

from bigpipe.report import plot_memory, plot_timeline, write_csv, write_trace
from tests.report.runs import GIB, attempt, failed, record, sample


@pytest.fixture
def run():
    """Two files side by side, one that failed, one of an earlier run, one never begun."""
    files = [
        attempt(0, 0.0),
        attempt(1, 1.0, worker=101, name="raw/\udcff,\n1.fits"),
        failed(2, 3.0),
        attempt(3, -500.0, is_kept=True),
        attempt(4, None, outcome="killed", outname=None, worker=None),
    ]
    superseded = [failed(1, 0.0, worker=101, read_s=0.5)]
    return record(
        files, superseded=superseded, samples=[sample(0), sample(5, 2 * GIB), sample(10, None)]
    )


def blocks(events, category):
    return [event for event in events if event["ph"] == "X" and event["cat"] == category]


def test_trace_has_each_file_and_its_phases_inside_it(run, tmp_path):
    write_trace(run, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    files = blocks(events, "file")
    assert [(x["name"], x["ts"], x["dur"], x["tid"]) for x in files] == [
        ("0.fits", 0, 3e6, 1),
        ("?,\n1.fits", 1e6, 3e6, 2),
        ("2.fits", 3e6, 1e6, 1),
        ("1.fits", 0, 5e5, 2),
    ]
    assert files[2]["args"]["error"] == "file_read raised OSError on 2: gone"
    phases = [x for x in blocks(events, "phase") if x["tid"] == 2]
    assert [(x["name"], x["ts"]) for x in phases[:-1]] == [
        ("read", 1e6),
        ("process", 2e6),
        ("write", 3e6),
    ]
    used = [x["args"]["used"] for x in events if x["ph"] == "C" and "used" in x["args"]]
    assert used == [GIB, 2 * GIB]
    assert {x["args"]["name"] for x in events if x["name"] == "thread_name"} == {
        "worker 100",
        "worker 101",
    }


def test_csv_has_a_line_for_each_input_and_nothing_where_nothing_is_known(run, tmp_path):
    write_csv(run, tmp_path / "files.csv")
    with open(tmp_path / "files.csv", newline="", errors="surrogateescape") as file:
        lines = list(csv.DictReader(file))
    assert [line["in_name"] for line in lines] == [x.name for x in run.files]
    first, _, bad, kept, unbegun = lines
    assert (first["seconds"], first["read_s"], first["size"]) == ("3.000000", "1.000000", "0")
    assert (first["peak_rss"], first["worker"], first["attempts"]) == (str(300 << 20), "100", "1")
    assert (bad["outcome"], bad["outname"], bad["error"]) == ("failed", "", run.files[2].error)
    assert (first["from_journal"], kept["from_journal"]) == ("no", "yes")
    assert (unbegun["began"], unbegun["worker"]) == ("", "")


def test_output_may_be_a_pipe(run, tmp_path):
    reading, writing = os.pipe()
    with open(reading, errors="surrogateescape") as file:
        write_csv(run, f"/dev/fd/{writing}")
        os.close(writing)
        assert file.readline().startswith("in_name,outcome")


def test_timeline_has_a_bar_for_each_phase_of_each_file(run):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, ax = pyplot.subplots()
    try:
        assert plot_timeline(run, ax) is ax
        bars = {
            x.get_label(): [p.get_extents().bounds for p in x.get_paths()] for x in ax.collections
        }
        assert {name: len(each) for name, each in bars.items()} == {
            "read": 2,
            "process": 2,
            "write": 2,
            "failed": 1,
            "run again": 1,
        }
        left, low, width, _ = bars["process"][1]
        assert (left, low, width) == pytest.approx((2.0, 1.6, 1.0))
        assert bars["failed"][0][::2] == pytest.approx((3.0, 1.0))
        assert ax.get_xlim() == (0, 10)
        figure.canvas.draw()
    finally:
        pyplot.close(figure)


def test_memory_is_drawn_as_far_as_it_was_measured(run):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = plot_memory(run)
    try:
        used, budget = ax.lines
        assert (list(used.get_xdata()), list(used.get_ydata())) == ([0, 5], [1, 2])
        assert list(budget.get_ydata()) == [4, 4]
    finally:
        pyplot.close(ax.figure)


@pytest.mark.parametrize("plot", [plot_timeline, plot_memory])
def test_figures_of_an_empty_run_are_empty(plot):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = plot(record([], 0.0))
    ax.figure.canvas.draw()
    pyplot.close(ax.figure)


def test_missing_matplotlib_is_named_with_what_to_do(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'bigpipe\[plot\]'"):
        plot_timeline(run)
