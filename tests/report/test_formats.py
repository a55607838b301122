"""A run as a trace, as comma-separated values, and as figures."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe import BigMultiPipe
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
        ("1.fits", 0, 5e5, 2),
        ("?,\n1.fits", 1e6, 3e6, 2),
        ("2.fits", 3e6, 1e6, 1),
    ]
    assert files[3]["args"]["error"] == "file_read raised OSError on 2: gone"
    phases = [x for x in blocks(events, "phase") if x["tid"] == 2]
    assert [(x["name"], x["ts"]) for x in phases] == [
        ("read", 0),
        ("read", 1e6),
        ("process", 2e6),
        ("write", 3e6),
    ]
    used = [x["args"]["bytes"] for x in events if x["name"] == "memory in use"]
    assert used == [GIB, 2 * GIB]
    assert {x["args"]["name"] for x in events if x["name"] == "thread_name"} == {
        "worker 100",
        "worker 101",
    }


# What the "Trace Event Format" says of the kinds of events that are written: their fields, all
# of which are needed here though some are optional there, and the types of these.
FIELDS = {
    "X": {"name": str, "cat": str, "ph": str, "ts": float, "dur": float, "pid": int, "tid": int},
    "C": {"name": str, "ph": str, "ts": float, "pid": int, "tid": int, "args": dict},
    "M": {"name": str, "ph": str, "pid": int, "tid": int, "args": dict},
}
OPTIONAL = {"X": {"args": dict}, "C": {}, "M": {}}


def complaints_about(trace):
    """Yield what of a trace is against the format, or would not be shown."""
    if trace.keys() != {"traceEvents", "displayTimeUnit"} or trace["displayTimeUnit"] != "ms":
        yield f"top level: {trace.keys()}"
    for event in trace["traceEvents"]:
        needed = FIELDS.get(event.get("ph"), {})
        known = needed | OPTIONAL.get(event.get("ph"), {})
        if not needed or not needed.keys() <= event.keys() <= known.keys():
            yield f"fields: {event}"
        elif any(type(event[name]) is not known[name] for name in event):
            yield f"types: {event}"
        elif any(not 0 <= event.get(name, 0) < float("inf") for name in ("ts", "dur")):
            yield f"times: {event}"
        elif event["ph"] == "C" and any(
            type(x) not in (int, float) for x in event["args"].values()
        ):
            yield f"a counter counts numbers: {event}"
        elif event["ph"] == "M" and (
            event["name"] not in ("process_name", "thread_name")
            or [*map(type, event["args"].values())] != [str]
            or event["args"].keys() != {"name"}
        ):
            yield f"metadata: {event}"
    yield from overlapping(trace["traceEvents"])
    named = {x["tid"] for x in trace["traceEvents"] if x["name"] == "thread_name"}
    if named != {x["tid"] for x in trace["traceEvents"] if x["ph"] == "X"}:
        yield f"rows without a name, or without blocks: {named}"


def overlapping(events):
    """Yield pairs of complete events of a thread that overlap and are not nested."""
    complete = [event for event in events if event["ph"] == "X"]
    open_ones = []
    for event in sorted(complete, key=lambda x: (x["tid"], x["ts"], -x["dur"])):
        start, end = 10 * event["ts"], 10 * event["ts"] + 10 * event["dur"]
        if open_ones and open_ones[-1][0]["tid"] != event["tid"]:
            open_ones = []
        while open_ones and open_ones[-1][1] <= round(start):
            open_ones.pop()
        if open_ones and open_ones[-1][1] < round(end):
            yield f"overlap: {open_ones[-1][0]}, {event}"
        open_ones.append((event, round(end)))


def trace_of(run, folder):
    write_trace(run, folder / "trace.json")
    return json.loads((folder / "trace.json").read_bytes())


def test_trace_keeps_to_the_format_field_by_field(run, tmp_path):
    assert list(complaints_about(trace_of(run, tmp_path))) == []


@given(
    times=st.lists(
        st.tuples(
            st.floats(0, 1e-4), *(st.floats(0, 1e-3, allow_subnormal=False) for _ in range(3))
        ),
        max_size=20,
    )
)
def test_blocks_are_nested_whatever_clocks_say(times, tmp_path_factory):
    attempts, at = [], -1e-5  # began, by one clock, a moment before the run
    for place, (error, read, process, write) in enumerate(times):
        seconds = {"read_s": read, "process_s": process, "write_s": write}
        attempts.append(attempt(place, at - error, **seconds))
        at += sum(seconds.values())
    trace = trace_of(record(attempts, samples=[sample(-1e-3)]), tmp_path_factory.mktemp("trace"))
    assert list(complaints_about(trace)) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dur": -1.0}, "times"),
        ({"ts": None}, "types"),
        ({"ph": "Z"}, "fields"),
        ({"args": []}, "types"),
        ({"dur": 3.5e6}, "overlap"),
        ({"tid": 9}, "rows"),
    ],
    ids=["lasts less than nothing", "no time", "no kind", "a list", "overlap", "no name"],
)
def test_what_is_against_the_format_is_found(change, complaint, run, tmp_path):
    trace = trace_of(run, tmp_path)
    next(event for event in trace["traceEvents"] if event["ph"] == "X").update(change)
    assert any(text.startswith(complaint) for text in complaints_about(trace))


@pytest.mark.process
def test_trace_of_a_real_run_keeps_to_the_format(make_files, tmp_path):
    outdir = str(tmp_path / "out")
    journal = str(tmp_path / "run.bigpipe")
    pipe = ReadAndWrite(outdir=outdir, create_outdir=True, num_processes=2, executor="processes")
    pout = pipe.pipeline(make_files(50), journal=journal)
    for source in (pout, journal):
        trace = trace_of(source, tmp_path)
        assert list(complaints_about(trace)) == []
        assert len(blocks(trace["traceEvents"], "file")) == 50


class ReadAndWrite(BigMultiPipe):
    def file_write(self, data, outname, **kwargs):
        with open(outname, "wb") as file:
            file.write(data)
        return outname


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


def test_output_that_cannot_be_written_is_named_as_it_was_given(run, tmp_path):
    path = tmp_path / "nowhere" / "files.csv"
    with pytest.raises(FileNotFoundError) as caught:
        write_csv(run, path)
    assert str(caught.value).endswith(f"make it first: {str(path)!r}")


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


@pytest.mark.parametrize(
    ("used", "top", "label"),
    [(GIB, None, "budget"), (GIB // 10, 0.12, "budget: 4 GiB, above")],
    ids=["near", "far"],
)
def test_budget_far_above_what_is_used_does_not_hide_it(used, top, label):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = plot_memory(record([attempt(0)], samples=[sample(0, used), sample(5, used)]))
    try:
        assert top is None or ax.get_ylim() == pytest.approx((0, top))
        assert (ax.get_ylim()[1] > 4) == (top is None)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["in use", label]
    finally:
        pyplot.close(ax.figure)


@pytest.mark.parametrize("plot", [plot_timeline, plot_memory])
def test_figures_of_an_empty_run_are_empty(plot):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax = plot(record([], 0.0))
    try:
        ax.figure.canvas.draw()
        drawn = [path for each in ax.collections for path in each.get_paths()]
        assert not any(len(path.vertices) for path in drawn)
        assert not any(len(line.get_xdata()) for line in ax.lines)
    finally:
        pyplot.close(ax.figure)


def test_missing_matplotlib_is_named_with_what_to_do(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'bigpipe\[plot\]'"):
        plot_timeline(run)
