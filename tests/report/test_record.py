"""The record of a run is the same from a journal and from a result."""

from __future__ import annotations

import pytest

from bigpipe import Journal, JournalError
from bigpipe.report import record_of
from bigpipe.report.record import text_of
from bigpipe.run import Run
from tests.pipes import Doubler, FirstTimeOnly, fail
from tests.report.runs import attempt, record


@pytest.fixture
def pipe(tmp_path):
    (tmp_path / "out").mkdir()
    return Doubler(outdir=tmp_path / "out", journal=tmp_path / "j", on_error="return")


def test_journal_and_result_tell_the_same_of_files(make_files, pipe, anywhere, tmp_path):
    trouble = {("data_process", "001.bin"): fail}
    pout = pipe.pipeline(make_files(4), trouble=trouble, **anywhere)
    of_journal, of_pout = record_of(tmp_path / "j"), record_of(pout)
    for one, other in zip(of_journal.files, of_pout.files, strict=True):
        assert one[:5] == other[:5]
        assert one.seconds == pytest.approx(other.seconds, abs=1e-5)
        assert one.ended_at == pytest.approx(other.ended_at, abs=1e-5)
        assert one[10:17] == other[10:17]
        assert (one.error, one.kind, one.traceback) == (other.error, other.kind, other.traceback)
        assert of_journal.began_at <= one.began_at <= one.ended_at <= of_journal.ended_at
    assert of_journal.samples == of_pout.samples
    assert of_journal.files[1].kind == ("data_process", "ValueError")
    assert of_journal.options["on_error"] == "'return'"
    with Journal(tmp_path / "j") as journal:
        assert record_of(journal) == of_journal


def test_attempts_that_were_tried_again_are_told_apart(make_files, pipe, tmp_path):
    again = FirstTimeOnly(fail, tmp_path / "flag")
    pipe.pipeline(
        make_files(3),
        trouble={("file_read", "001.bin"): again},
        max_retries=1,
        retry_on=ValueError,
        retry_pause=0.01,
        executor="serial",
    )
    run = record_of(tmp_path / "j")
    assert [x.outcome for x in run.files] == ["written"] * 3
    assert [(x.name, x.outcome) for x in run.superseded] == [(run.files[1].name, "failed")]


def test_file_that_was_not_run_is_no_part_of_the_timeline(make_files, pipe, tmp_path):
    names = make_files(3)
    pipe.pipeline(names[:2], executor="serial")
    pout = pipe.pipeline(names, executor="serial")
    for run in (record_of(tmp_path / "j"), record_of(pout)):
        assert [x.is_kept for x in run.files] == [True, True, False]
        assert [x.name for x in run.drawn()] == [names[2]]
    assert [x.is_kept for x in record_of(tmp_path / "j", run=1).files] == [False, False]
    with pytest.raises(JournalError, match="has no run 3"):
        record_of(tmp_path / "j", run=3)


def test_what_is_in_hand_is_known_of_a_run_that_has_not_ended(make_files, pipe, gate, tmp_path):
    trouble = {("data_process", "001.bin"): gate}
    plan = pipe._bmp_plan(make_files(2), {"trouble": trouble, "executor": "processes"})
    with Run(pipe, plan) as going_on:
        next(going_on)
        pid, _ = gate.arrived()
        going_on._sampler.take(going_on._clock.now())
        going_on._journal.flush()
        run = record_of(tmp_path / "j")
        gate.open()
        list(going_on)
    (attempt,) = run.in_flight
    assert run.state == "running"
    assert (attempt.place, attempt.worker, attempt.outcome) == (1, pid, "in flight")
    assert attempt.error == "in data_process at the last update"
    assert attempt in list(run.drawn())
    assert record_of(tmp_path / "j").in_flight == []


def test_worker_takes_the_lane_of_one_that_has_left():
    files = [
        attempt(0, 0.0, worker=1),
        attempt(1, 1.0, worker=2),
        attempt(2, 3.0, worker=3),
        attempt(3, 4.5, worker=2),
    ]
    assert record(files).lanes == {1: 0, 2: 1, 3: 0}
    assert record(files).n_workers == 2


def test_files_that_a_worker_had_at_once_are_told_apart():
    files = [
        *(attempt(0, 0.0, worker=1), attempt(1, 0.5, worker=1), attempt(2, 1.0, worker=1)),
        *(attempt(3, 3.0, worker=1), attempt(4, 0.5, worker=2)),
    ]
    run = record(files)
    assert [run.hand(file) for file in files] == [0, 1, 2, 0, 0]
    assert run.n_hands == 3
    assert run.lanes == {1: 0, 2: 1}


def test_group_is_shown_by_its_first_members():
    assert text_of(["a", ["b", "c"], "d"]) == "[a, b, c, ... 4 in all]"
    assert text_of(["a", "b"]) == "[a, b]"
