"""Advice is given where figures support it, and nowhere else."""

from __future__ import annotations

import re

import pytest

from bigpipe.report.advice import advise
from tests.report.runs import GIB, attempt, failed, record, sample


def even(n=10, each_s=3.0, **fields):
    """Files that keep two workers busy all the time."""
    return [attempt(i, each_s * (i // 2), worker=100 + i % 2, **fields) for i in range(n)]


def test_nothing_is_said_of_a_run_that_went_well():
    waited = {f"waited_{what}": 2.0 for what in ("for_memory", "for_inputs", "paused")}
    samples = [sample(0), sample(15, **waited)]
    again = [failed(0, 0.0, read_s=2.0)]
    run = record(even(), 15.0, samples=samples, superseded=again, n_files=None)
    assert advise(run) == []
    assert advise(record([], 0.0)) == []


@pytest.mark.parametrize(
    ("files", "fields", "said"),
    [
        (
            [*even(), attempt(10, None, outcome="killed"), attempt(11, None, outcome="killed")],
            {},
            "2 files lost the worker",
        ),
        (
            [*even(), failed(10, 0.0, read_s=9.0), attempt(11, None, outcome="timed out")],
            {},
            "1 file took longer than file_timeout; the slowest of the others took 3 s",
        ),
        (
            [*even(), *(failed(i, i - 10.0) for i in range(10, 20))],
            {},
            "50% of the files failed with OSError in file_read",
        ),
        (
            [*even(8), attempt(8, 0.0, projected=3 * GIB), attempt(9, 3.0, projected=3 * GIB)],
            {"samples": [sample(15, waited_for_memory=18.0)]},
            "waited for memory 60% of the time: 2 files above 2.0 GiB ran almost alone.",
        ),
        (
            even(projected=GIB),
            {
                "samples": [sample(15, waited_for_memory=15.0)],
                "options": {"process_size": "'1 GiB'"},
            },
            "process_size is 1.0 GiB, but no file needed more than 200.0 MiB",
        ),
        (
            even(),
            {"samples": [sample(15, waited_for_memory=15.0)]},
            "Half of the files needed more than 200.0 MiB: use fewer workers",
        ),
        (
            even(),
            {"samples": [sample(15, waited_paused=6.0)]},
            "were paused 20% of the time",
        ),
        (
            even(),
            {"samples": [sample(15)], "superseded": [failed(0, 0.0, read_s=6.0)]},
            "20% of the workers' time was lost to attempts that failed or were stopped, and were "
            "repeated (1 in all)",
        ),
        (
            even(),
            {
                "samples": [sample(0), sample(15, waited_for_inputs=15.0, n_finished=10)],
                "n_files": None,
            },
            "waited for the next input 50% of the time",
        ),
        (
            [*even(), attempt(10, 12.0, process_s=8.0)],
            {"elapsed_s": 22.0},
            "For the last 7 s, 32% of the run, only one worker was busy, with 'raw/10.fits'. Start",
        ),
        (
            [*even(), attempt(10, 12.0, process_s=8.0)],
            {"elapsed_s": 22.0, "options": {"order": "'given'"}},
            "was busy, with 'raw/10.fits'. Leave out order='given'",
        ),
        (
            even(10, 12.0, read_s=10.0),
            {"elapsed_s": 60.0},
            "83% of the workers' time went into reading",
        ),
        (
            even(10, 12.0, write_s=10.0),
            {"elapsed_s": 60.0},
            "83% of the workers' time went into writing",
        ),
        (
            [attempt(i, 0.0, read_s=0, write_s=0, process_s=0.001) for i in range(2000)],
            {},
            "1 ms on average",
        ),
    ],
    ids=[
        *("killed", "late", "one kind", "large", "size", "memory", "paused", "again", "inputs"),
        *("tail", "given", "reading", "writing", "tiny"),
    ],
)
def test_advice_follows_from_figures(files, fields, said):
    told = advise(record(files, **({"elapsed_s": 15.0} | fields)))
    assert [text for text in told if re.search(re.escape(said), text)], told
    assert all(text.endswith(".") for text in told)


def test_more_memory_is_no_help_against_files_that_fill_it():
    files = [*even(8), attempt(8, 0.0, projected=3 * GIB)]
    [told] = advise(record(files, 15.0, samples=[sample(15, waited_for_memory=18.0)]))
    assert told.endswith("ran almost alone.")


def test_reading_meanwhile_is_no_time_lost():
    assert advise(record(even(read_s=10.0), 60.0)) == []


@pytest.mark.parametrize(
    ("files", "elapsed_s", "fields"),
    [
        ([*even(), *(failed(i, i - 10.0) for i in range(10, 19))], 15.0, {}),
        (
            [*even(), attempt(10, 12.0, process_s=8.0)],
            22.0,
            {"in_flight": [attempt(11, 15.0, worker=101, ended_at=None, outcome=None)]},
        ),
        ([attempt(i, 3.0 * i, process_s=1.0 + 7 * (i == 3)) for i in range(4)], 19.0, {}),
        (
            [attempt(i, 0.0, process_s=1.0 + (i == 3), worker=100 + i % 2) for i in range(4)],
            4.0,
            {},
        ),
        ([attempt(i, 0.0, read_s=0, write_s=0, process_s=0.001) for i in range(999)], 15.0, {}),
    ],
    ids=["few alike", "running", "one worker", "short", "few tiny"],
)
def test_nothing_is_said_below_a_threshold(files, elapsed_s, fields):
    assert advise(record(files, elapsed_s, **fields)) == []


def test_who_gives_a_list_is_not_told_to_give_one():
    samples = [sample(0), sample(15, waited_for_inputs=15.0, n_finished=10)]
    assert advise(record(even(), 15.0, samples=samples)) == []
