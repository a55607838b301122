"""A run is seen from elsewhere, until it has ended."""

from __future__ import annotations

import io
import re
from datetime import datetime

import pytest

from bigpipe import JournalError
from bigpipe.columns import n_columns
from bigpipe.journal_store.rows import LiveRow
from bigpipe.origin import JournalRun
from bigpipe.report.watch import Glance, glance, watch
from bigpipe.run import Run
from tests.pipes import Doubler
from tests.report.runs import BEGAN, GIB, sample


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def pipe(tmp_path):
    (tmp_path / "out").mkdir()
    return Doubler(outdir=tmp_path / "out", journal=tmp_path / "j", num_processes=2)


def live(worker, name="raw/a.fits", **fields):
    given = {"pid": 1, "place": worker, "hook": "data_process", "since": BEGAN + 40.0}
    given |= {"memory": GIB, "is_paused": 0}
    return LiveRow(worker, in_name=f'"{name}"', **(given | fields))


def seen(samples, rows=(), at=60.0, state="running", n_files=100):
    began = datetime.fromtimestamp(BEGAN)
    ended = None if state in ("running", "killed") else datetime.fromtimestamp(BEGAN + at)
    of_no_interest = ("host", 1, "/", "night.Reduce", n_files, "", {}, {}, {})
    run = JournalRun(3, began, ended, state, *of_no_interest)
    return Glance("j", run, samples, list(rows), BEGAN + at)


def test_text_tells_how_far_the_run_is_and_what_is_in_hand():
    samples = [sample(0), sample(30, n_finished=10), sample(60, n_finished=20, n_failed=1)]
    rows = [live(0), live(1, "raw/" + "long" * 30 + ".fits", hook=None, memory=None, is_paused=1)]
    lines = seen(samples, rows).text(width=80).split("\n")
    assert lines[:3] == [
        "night.Reduce, run 3, running",
        "20 of 100 files, 1 failed, 3 s/file, 01:00 so far, 04:00 left",
        "1.0 GiB of 4.0 GiB of memory",
    ]
    assert lines[3].split() == ["raw/a.fits", "data_process", "00:20", "1.0", "GiB"]
    assert lines[4].startswith("  ...")
    assert "g.fits  ? (paused)" in lines[4]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [39, 59, 79, 120])
def test_nothing_is_cut_off_in_a_narrow_terminal(width):
    samples = [sample(0), sample(30, n_finished=10), sample(60, n_finished=20, n_failed=1)]
    rows = [
        live(0, "raw/2026-11-22/b0214.fits"),
        live(1, hook="pre_process: reject_cosmics", memory=500 << 20),
        live(2, since=BEGAN - 4000.0, is_paused=1),
    ]
    lines = seen(samples, rows).text(width).split("\n")
    assert max(map(len, lines)) <= width
    assert [line.split()[-2:] for line in lines[-3:]] == [
        ["1.0", "GiB"],
        ["500.0", "MiB"],
        ["1.0", "GiB"],
    ]
    assert len({line[:-10].rindex(":") for line in lines[-3:]}) == 1  # columns
    assert re.search(r"14.fits +data_p", lines[-3])
    assert ["pre_pr" in lines[-2], "paused" in lines[-1]] == [True, True]
    figures = " ".join(lines[:-3])
    assert figures.endswith("01:00 so far, 04:00 left 1.0 GiB of 4.0 GiB of memory")


@pytest.mark.parametrize("used", [None, 0])  # no worker, or a run that ended before the first look
def test_text_of_a_run_that_has_ended_tells_how_fast_it_was(used):
    samples = [sample(0), sample(10, used, n_finished=100)]
    text = seen(samples, at=10.0, state="finished").text()
    assert text == "night.Reduce, run 3, finished\n100 of 100 files, 10 files/s, in 00:10"


def test_text_of_a_run_that_was_killed_says_that_more_may_have_ended():
    text = seen([sample(0), sample(10, None, n_finished=30)], at=60.0, state="killed").text()
    assert text.splitlines()[1].startswith("at least 30 of 100 files")


def test_silence_of_a_run_is_told():
    assert "last update 00:50 ago" in seen([sample(0), sample(10)]).text()
    assert "last update" not in seen([sample(0), sample(58)]).text()


def test_number_of_inputs_need_not_be_known():
    text = seen([sample(0), sample(60, n_finished=20)], n_files=None).text()
    assert "20 files, 3 s/file, 01:00 so far\n" in text


def test_text_fits_into_a_terminal_however_many_workers_there_are():
    lines = seen([sample(60)], [live(i) for i in range(64)]).text(height=12).split("\n")
    assert len(lines) <= 11
    assert lines[-1] == "  and 58 more"


@pytest.mark.parametrize("width", [7, 20, 40, 70, 90])
def test_columns_stay_in_line_whatever_the_names_are_written_in(width):
    names = ["m13.fits", "星雲" * 14, "e\u0301toile.fits"]
    lines = seen([sample(60)], [live(i, name) for i, name in enumerate(names)]).text(width)
    assert max(map(n_columns, lines.split("\n"))) <= width
    rows = lines.split("\n")[-3:]
    assert width < 40 or len({n_columns(row[: row.index("data")]) for row in rows}) == 1


def test_name_cannot_move_the_cursor():
    rows = [live(0, "raw/\\u001b[2J\\udcff.fits")]
    text = seen([sample(60)], rows).text()
    assert "raw/?[2J?.fits" in text


def test_without_a_terminal_it_is_told_once(make_files, pipe, gate, tmp_path):
    plan = pipe._bmp_plan(make_files(3), {"trouble": {("file_read", "001.bin"): gate}})
    with Run(pipe, plan) as run:
        next(run), next(run)
        gate.arrived()
        run._sampler.take(run._clock.now())
        run._journal.flush()
        stream = io.StringIO()
        last = watch(tmp_path / "j", stream)
        assert not last.has_ended
        assert "2 of 3 files" in stream.getvalue()
        assert "001.bin  file_read" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()
        gate.open()
        list(run)
    assert glance(tmp_path / "j").has_ended
    assert glance(tmp_path / "j").live == []


def test_terminal_is_refreshed_in_place_until_the_run_has_ended(make_files, pipe, gate, tmp_path):
    plan = pipe._bmp_plan(make_files(2), {"trouble": {("file_read", "001.bin"): gate}})
    stream, paused = Terminal(), []
    with Run(pipe, plan) as run:
        next(run)

        def pause(seconds):
            paused.append(seconds)
            gate.open()
            assert len(list(run)) == 1

        last = watch(tmp_path / "j", stream, interval_s=0.5, pause=pause)
    assert paused == [0.5]
    assert last.has_ended
    assert last.samples[-1].n_finished == 2
    before, after = stream.getvalue().split("\x1b[J")
    assert before.endswith(f"\x1b[{before.count(chr(10))}F")
    assert "running" in before
    assert "finished\n2 of 2 files" in after


def test_journal_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(JournalError, match="there is no journal"):
        watch(tmp_path / "none", io.StringIO())
