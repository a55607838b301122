"""Samples of a run in its journal, during the run and afterwards."""

from __future__ import annotations

import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from bigpipe import Journal, Outcome
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.journal_store.reader import opened
from bigpipe.options import Options
from bigpipe.run import Run
from bigpipe.running.memory_watch import MemoryWatch
from bigpipe.running.recorder import Recorder
from bigpipe.running.sampler import Sampler
from bigpipe.scheduling.roster import InHand
from tests.pipes import Doubler, fail, kill_self
from tests.places import not_spawned


class Kept(Recorder):
    """Keeps what it is told."""

    wants_samples = True

    def __init__(self) -> None:
        self.told: list[Any] = []

    def sample(self, sample: Any, live: Any) -> None:
        self.told.append((sample, live))


@pytest.fixture
def pipe(tmp_path):
    (tmp_path / "out").mkdir()
    return Doubler(outdir=tmp_path / "out", journal=tmp_path / "j", on_error="return")


@pytest.fixture
def sampler():
    """One of a run in which worker 4 has file 7, with figures that can be set."""
    scheduler = SimpleNamespace(
        n_workers=2,
        in_flight=[InHand(4, 7, 90.0, False)],
        waited_s={"memory": 1.0, "paused": 2.0, "inputs": 3.0},
    )
    watch = SimpleNamespace(recent=lambda: 10, budget=100, of_worker={4: 6})
    executor = SimpleNamespace(
        wants_all_tasks=False, pids=lambda: {4: 4321}, stages=lambda: {4: "file_read"}
    )
    files = SimpleNamespace(n_finished=5, n_failed=1, in_name=lambda index: f"{index}.fits")
    made = Sampler(lambda: scheduler, watch, executor, files)
    made.journal = Kept()
    return made


def test_samples_are_a_second_apart_and_more_in_a_long_run(sampler):
    taken = []
    for now in [*(tenth / 10 for tenth in range(31)), 40_000.0, 40_001.0, 40_007.9, 40_008.0]:
        before = len(sampler.kept)
        sampler.look(now)
        taken += [now] * (len(sampler.kept) - before)
    assert taken == [0.0, 1.0, 2.0, 3.0, 40_000.0, 40_008.0]


def test_sample_tells_what_each_worker_has_in_hand(sampler):
    sampler.look(100.0)
    ((sample, (live,)),) = sampler.journal.told
    assert sample[1:] == (10, 100, 2, 1, 5, 1, 1.0, 2.0, 3.0)
    assert live.since == pytest.approx(sample.at - 10.0)
    assert live._replace(since=0) == (4, 4321, 7, '"7.fits"', "file_read", 0, 6, 0)


def test_nobody_knows_what_is_in_hand_in_a_pool_of_another_kind(sampler):
    sampler._executor.wants_all_tasks = True
    sampler.look(0.0)
    ((sample, live),) = sampler.journal.told
    assert (sample.n_workers, sample.n_in_flight, live) == (None, None, [])


def test_each_file_tells_when_it_began(make_files, pipe, anywhere, tmp_path):
    before = time.time()
    pout = pipe.pipeline(make_files(4), trouble={("data_process", "001.bin"): fail}, **anywhere)
    after = time.time()
    for result in pout.results:
        assert before <= result.began_at <= result.began_at + sum(result.seconds.values()) <= after
    kept = pipe.pipeline(pout.in_names, retry_failed=False, fingerprint="1", **anywhere)
    with Journal(tmp_path / "j") as journal:
        assert [x.began_at for x in journal.results()] == [x.began_at for x in kept.results]


@pytest.mark.process
def test_file_whose_worker_died_tells_when_it_began(make_files, pipe):
    before = time.time()
    pout = pipe.pipeline(
        make_files(3),
        trouble={("data_process", "001.bin"): kill_self},
        num_processes=2,
        executor="processes",
    )
    assert pout.results[1].outcome is Outcome.KILLED
    assert before <= pout.results[1].began_at <= time.time()


@not_spawned
def test_samples_of_a_run_are_in_its_journal_and_its_result(make_files, pipe, anywhere, tmp_path):
    pout = pipe.pipeline(make_files(4), **anywhere)
    with closing(opened(str(tmp_path / "j"))) as reader:
        samples = reader.samples(1)
        assert reader.now(1) == ([samples[0], samples[-1]], [])
    assert tuple(samples) == pout.memory.samples
    assert len(samples) >= 2
    assert samples[-1].n_finished == 4
    is_measured = anywhere["executor"] == "processes"
    assert (samples[-1].used is not None) == is_measured


@pytest.mark.process
@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_others_see_what_the_workers_have_in_hand(make_files, pipe, gate, tmp_path, executor):
    names = make_files(3)
    trouble = {("data_process", "001.bin"): gate}
    plan = pipe._bmp_plan(names, {"trouble": trouble, "num_processes": 2, "executor": executor})
    with Run(pipe, plan) as run:
        assert {next(run).index, next(run).index} == {0, 2}
        gate.arrived()
        run._sampler.take(run._clock.now())
        run._journal.flush()
        with closing(opened(str(tmp_path / "j"))) as reader:
            samples, (live,) = reader.now(1)
        assert (samples[-1].n_in_flight, live.place, live.hook) == (1, 1, "data_process")
        gate.open()
        assert [result.index for result in run] == [1]


@pytest.mark.process
def test_run_that_was_broken_off_leaves_nothing_in_hand(make_files, pipe, gate, tmp_path):
    trouble = {"file_read": gate}
    plan = pipe._bmp_plan(make_files(2), {"trouble": trouble, "executor": "processes"})
    with Run(pipe, plan) as run:
        gate.open()
        next(run)
        gate.arrived()
    with closing(opened(str(tmp_path / "j"))) as reader:
        samples, live = reader.now(1)
    assert samples[-1].n_finished == 1
    assert live == []


def test_most_that_was_used_between_two_samples_is_told_once():
    class Looks(ProcessesExecutor):
        def pids(self):
            return {0: 1}

    watch = MemoryWatch(Options(), 1, None, Looks())
    told = []
    for now, used in enumerate((5, 9, 3, 4)):
        watch._meter = SimpleNamespace(sample=lambda pids, used=used: {1: used})
        watch.look(float(now))
        if now in (2, 3):
            told.append(watch.recent())
    assert told == [9, 4]
    assert watch.of_worker == {0: 4}
