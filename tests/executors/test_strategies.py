"""Tests of the order in which a worker does the parts of its files."""

from __future__ import annotations

import logging
import os
import queue
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bigpipe import BigMultiPipe, CollisionError, FileTimeoutError, OptionError, Outcome
from bigpipe.executors import strategies
from bigpipe.executors.strategies import Inbox, Overlapped, Strategy
from bigpipe.options import Options
from tests import mischief
from tests.ids import shown
from tests.mischief import loop
from tests.pipes import Doubler, FirstTimeOnly, exit_at_once, fail, kill_self, note_size, written

TIMEOUT = 60.0  # seconds; only a test that fails ever waits so long

OVERLAP = {"overlap": True}
BATCHES = {"batch_size": 3}
BOTH = {"overlap": True, "batch_size": 2}
ways = pytest.mark.parametrize("way", [OVERLAP, BATCHES, BOTH], ids=["overlap", "batches", "both"])


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    outdir = tmp_path / "out"
    return {"num_processes": 2, "outdir": outdir, "create_outdir": True, "on_error": "return"}


@pytest.fixture
def pipe(options: dict[str, Any]) -> Doubler:
    return Doubler(post_process_list=note_size, **options)


# The same results.


@ways
def test_results_are_those_of_one_file_after_another(pipe, make_files, way, start_method):
    names = make_files(11)
    expected = pipe.pipeline(names, executor="serial")
    assert pipe.pipeline(names, start_method=start_method, overwrite=True, **way) == expected
    assert len(written(expected.results)) == 11


@ways
@pytest.mark.parametrize("hook", mischief.HOOKS)
@pytest.mark.parametrize("action", [mischief.fork_and_return, mischief.fork_and_raise])
def test_child_that_leaves_a_hook_does_nothing_more(pipe, make_files, way, hook, action):
    trouble = dict.fromkeys([(hook, f"00{i}.bin") for i in range(4)], action)
    pout = pipe.pipeline(make_files(4), trouble=trouble, start_method="fork", **way)
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN] * 4
    assert [result.attempts for result in pout.results] == [1] * 4


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_batches_are_the_same_elsewhere(pipe, make_files, executor):
    pout = pipe.pipeline(make_files(7), executor=executor, **BATCHES)
    assert written(pout.results) == set(range(7))


class ThreadsNoted(BigMultiPipe):
    """Puts into the metadata in which threads a file was read, processed and written."""

    def file_read(self, in_name, **kwargs):
        return {threading.get_ident()}

    def data_process(self, data, **kwargs):
        return data | {threading.get_ident()}

    def file_write(self, data, outname, meta, **kwargs):
        Path(outname).touch()
        meta["threads"] = data | {threading.get_ident()}
        return outname


def test_serial_run_does_one_thing_at_a_time_for_a_debugger(options, make_files):
    pout = ThreadsNoted(**options).pipeline(make_files(4), executor="serial", **OVERLAP)
    assert [meta["threads"] for _, meta in pout] == [{threading.get_ident()}] * 4


def test_single_worker_overlaps_too(options, make_files, tmp_path):
    pout = Meeting(**options | {"num_processes": 1}).pipeline(make_files(5), n_files=5, **OVERLAP)
    assert not pout.errors
    assert {result.worker for result in pout.results} != {os.getpid()}


@ways
def test_journal_keeps_what_was_done(pipe, make_files, tmp_path, way):
    names = make_files(7)
    journal = tmp_path / "j.bigpipe"
    first = pipe.pipeline(names, journal=journal, **way)
    trouble = {"file_read": fail}
    assert pipe.pipeline(names, journal=journal, **way) == first
    pout = pipe.pipeline(names, journal=journal, trouble=trouble, **way)
    assert len(pout.errors) == 7  # another keyword: run again


# What happens at once.


class Meeting(BigMultiPipe):
    """Lets the reading of a file meet the processing of the one before and the writing of
    the one before that; fails if one of them does not come."""

    barrier = threading.Barrier(3, timeout=TIMEOUT)

    def file_read(self, in_name, n_files=0, **kwargs):
        self._meet(int(Path(in_name).stem), range(2, n_files))
        return super().file_read(in_name)

    def data_process(self, data, in_name=None, n_files=0, **kwargs):
        self._meet(int(Path(in_name).stem), range(1, n_files - 1))
        return data

    def file_write(self, data, outname, in_name=None, n_files=0, **kwargs):
        self._meet(int(Path(in_name).stem), range(n_files - 2))
        Path(outname).write_bytes(data)
        return outname

    def _meet(self, number: int, numbers: range) -> None:
        if number in numbers:
            self.barrier.wait()


def test_next_file_is_read_and_last_one_written_while_one_is_processed(options, make_files):
    options["num_processes"] = 1
    pout = Meeting(**options).pipeline(make_files(8), n_files=8, **OVERLAP)
    assert not pout.errors
    assert all(Path(outname).exists() for outname, _ in pout)


class ReadQueue(queue.SimpleQueue):
    """Lets the reading thread continue only when the data that it read has been written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Semaphore(0)

    def put(self, batch: Any) -> None:
        is_last = not batch
        super().put(batch)
        assert is_last or self.written.acquire(timeout=TIMEOUT)


class WrittenQueue(queue.SimpleQueue):
    def __init__(self, read: ReadQueue) -> None:
        super().__init__()
        self._read = read

    def put(self, item: Any) -> None:
        super().put(item)
        self._read.written.release()


class InstantFile:
    """Stands for a file whose hooks take no time."""

    is_alone = False

    def _nothing(self) -> None:
        pass

    read = prepare = process = write = _nothing


class ListInbox(Inbox):
    """Has its files from a list."""

    pipe = None

    def __init__(self, files: list[Any]) -> None:
        self._files = iter(files)
        self.n_handed_in = 0

    def take(self, wait: bool = True) -> Any:
        return next(self._files, None)

    def hand_in(self, files: Any) -> None:
        self.n_handed_in += len(files)


@pytest.mark.timeout(20)
def test_reading_goes_on_when_a_file_is_written_before_its_reader_looks_again(monkeypatch):
    read = ReadQueue()
    line = partial(strategies._Line, _read=read, _written=WrittenQueue(read))
    monkeypatch.setattr(strategies, "_Line", line)
    inbox = ListInbox([InstantFile() for _ in range(5)])
    Overlapped(Options()).work(inbox)
    assert inbox.n_handed_in == 5


class Counting(BigMultiPipe):
    """Puts into the metadata how many files a worker has in hand at most."""

    lock = threading.Lock()
    in_hand = most = 0

    def file_read(self, in_name, **kwargs):
        with self.lock:
            type(self).in_hand += 1
            type(self).most = max(self.most, self.in_hand)
        return super().file_read(in_name)

    def file_write(self, data, outname, meta=None, **kwargs):
        Path(outname).write_bytes(data)
        with self.lock:
            type(self).in_hand -= 1
        meta["most"] = self.most
        return outname


@pytest.mark.parametrize(("way", "most"), [(OVERLAP, 3), (BATCHES, 3), (BOTH, 6), ({}, 1)], ids=str)
def test_worker_has_no_more_files_in_hand_than_is_said(options, make_files, way, most):
    pout = Counting(**options, executor="processes").pipeline(make_files(30), **way)
    assert max(meta["most"] for _, meta in pout) <= most


def test_files_of_which_three_do_not_fit_are_not_overlapped(options, make_files):
    memory = {"process_size": "100 MiB", "mem_available": "250 MiB"}
    pout = Counting(**options).pipeline(make_files(9), **memory, **OVERLAP)
    assert not pout.errors
    assert max(meta["most"] for _, meta in pout) == 1


def test_projection_is_that_of_three_files(options, make_files):
    memory = {"process_size": "100 MiB", "mem_available": "2 GiB"}
    pout = Counting(**options).pipeline(make_files(4), **memory, **OVERLAP)
    for result in pout.results:  # less what a worker holds without a file
        assert 200 << 20 < result.projected < 300 << 20


# Batches.


class Together(Doubler):
    """Tells each file at the end of its output how many it was processed with."""

    def data_process(self, data, **kwargs):
        return super().data_process(data, **kwargs)

    def data_process_batch(self, data_list, *, in_name, kwargs_list, **kwargs):
        for name in in_name:
            self._trouble("data_process_batch", os.path.basename(name), **kwargs)
        assert [own["in_name"] for own in kwargs_list] == in_name
        return [
            self._alone(data, len(data_list), **own)
            for data, own in zip(data_list, kwargs_list, strict=True)
        ]

    def _alone(self, data, n, in_name, odd=None, **kwargs):
        special = (odd or {}).get(os.path.basename(in_name), 0)
        return data + data + bytes([n]) if special == 0 else special

    def _trouble(self, hook, name, trouble=None, **kwargs):
        action = (trouble or {}).get((hook, name))
        if action is not None:
            action(name)


def sizes(pout: Any) -> list[int]:
    """Return with how many each file was processed; 0 for those that came alone."""
    ends = [
        Path(outname).read_bytes()[2 * os.path.getsize(result.in_name) :]
        for (outname, _), result in zip(pout, pout.results, strict=True)
        if outname is not None
    ]
    return [end[0] if end else 0 for end in ends]


def test_step_for_a_batch_gets_as_many_files_as_was_said(options, make_files):
    options["num_processes"] = 1
    pout = Together(**options, executor="processes").pipeline(make_files(8), **BATCHES)
    assert sizes(pout) == [3, 3, 3, 3, 3, 3, 2, 2]


def test_without_a_batch_size_the_step_for_one_file_is_used(options, make_files):
    assert sizes(Together(**options).pipeline(make_files(3), executor="serial")) == [0, 0, 0]


class TogetherAtLast(Together):
    def data_process_batch(self, data_list, **kwargs):
        return super().data_process_batch(data_list, **kwargs)


def test_of_two_steps_the_one_that_was_defined_last_is_used(options, make_files):
    pipe = TogetherAtLast(**options)
    assert sizes(pipe.pipeline(make_files(3), executor="serial")) == [1, 1, 1]


def test_file_left_over_is_a_batch_too(options, make_files):
    pout = Together(**options).pipeline(make_files(4), executor="serial", **BATCHES)
    assert sizes(pout) == [3, 3, 3, 1]


class Counted(Together):
    """Changes keywords that it is given for the run, and writes down what each file has of them."""

    def data_process_batch(self, data_list, seen, **kwargs):
        seen.append("batch")
        assert "added" not in kwargs
        return super().data_process_batch(data_list, seen=seen, **kwargs)


def add(data, **kwargs):
    return {"bmp_data": data, "bmp_kwargs": {"added": True}}


def note(data, bmp_meta, seen, added, **kwargs):
    bmp_meta["seen"] = seen
    return data


def test_keywords_of_a_batch_are_no_file_s_own(options, make_files):
    pipe = Counted(**options, pre_process_list=add, post_process_list=note)
    pout = pipe.pipeline(make_files(3), executor="serial", seen=[], **BATCHES)
    assert [meta for _, meta in pout] == [{"seen": []}] * 3


class OnlyTogether(BigMultiPipe):
    def data_process_batch(self, data_list, **kwargs):
        return (data.upper() for data in data_list)

    def file_write(self, data, outname, **kwargs):
        Path(outname).write_bytes(data)
        return outname


@pytest.mark.parametrize("way", [{}, BATCHES], ids=["one by one", "batches"])
def test_step_for_a_batch_is_enough(options, make_files, way):
    pout = OnlyTogether(**options).pipeline(make_files(5, b"quiet"), executor="serial", **way)
    assert [Path(outname).read_bytes() for outname, _ in pout] == [b"QUIET"] * 5


@pytest.mark.parametrize("way", [BATCHES, BOTH], ids=["batches", "both"])
def test_of_a_batch_only_the_file_fails_that_has_to(options, make_files, way):
    trouble = {("data_process_batch", "003.bin"): fail, ("data_process", "003.bin"): fail}
    pout = Together(**options).pipeline(make_files(8), trouble=trouble, **way)
    assert [error.in_name.rpartition("/")[2] for error in pout.errors] == ["003.bin"]
    assert pout.errors[0].hook == "data_process_batch"
    assert len(sizes(pout)) == 7
    assert set(sizes(pout)) <= {1, 2, 3}


def test_step_for_a_batch_may_say_what_becomes_of_each_file(options, make_files):
    options["num_processes"] = 1
    odd = {"001.bin": None, "002.bin": ValueError("no good")}
    pipe = Together(**options, executor="processes")
    pout = pipe.pipeline(make_files(6), odd=odd, **BATCHES)
    outcomes = [result.outcome for result in pout.results]
    assert outcomes[:3] == [Outcome.WRITTEN, Outcome.REJECTED, Outcome.FAILED]
    assert "no good" in str(pout.errors[0])


class Forgetful(BigMultiPipe):
    def data_process_batch(self, data_list, **kwargs):
        return data_list[1:]


def test_step_for_a_batch_must_return_as_many_as_it_was_given(options, make_files):
    pout = Forgetful(**options).pipeline(make_files(2), executor="serial", **BATCHES)
    assert "0 results for 1 file;" in str(pout.errors[0])


class Misled(BigMultiPipe):
    def data_process_batch(self, data_list, wrong, **kwargs):
        return wrong


@pytest.mark.parametrize("wrong", [{"000.bin": 1}, "a", b"a", 1.5], ids=str)
def test_step_for_a_batch_must_return_a_list(options, make_files, wrong):
    pipe = Misled(**options, wrong=wrong)
    pout = pipe.pipeline(make_files(1), executor="serial", **BATCHES)
    kind = type(wrong).__name__
    assert f"data_process_batch returned {kind}, not a list" in str(pout.errors[0])


# Deaths.


@ways
def test_file_that_kills_its_workers_costs_no_other(pipe, make_files, way):
    trouble = {("data_process", "004.bin"): kill_self}
    pout = pipe.pipeline(make_files(12), trouble=trouble, **way)
    assert written(pout.results) == set(range(12)) - {4}
    assert (pout.results[4].outcome, pout.errors[0].hook) == (Outcome.KILLED, "data_process")


@pytest.mark.parametrize("hook", ["file_read", "file_write"])
def test_deaths_while_reading_or_writing_cost_no_other(pipe, make_files, hook):
    trouble = {(hook, "004.bin"): kill_self}
    pout = pipe.pipeline(make_files(12), trouble=trouble, max_worker_deaths=1, **OVERLAP)
    assert written(pout.results) == set(range(12)) - {4}
    assert pout.errors[0].hook == hook


@ways
def test_file_that_kills_one_worker_is_tried_again(pipe, make_files, tmp_path, way):
    trouble = {("data_process", "002.bin"): FirstTimeOnly(exit_at_once, tmp_path / "flag")}
    pout = pipe.pipeline(make_files(8), trouble=trouble, **way)
    assert written(pout.results) == set(range(8))
    assert pout.results[2].attempts == 2


@ways
def test_file_that_hangs_costs_no_other(pipe, make_files, way):
    trouble = {("data_process", "001.bin"): loop}
    pout = pipe.pipeline(make_files(6), trouble=trouble, file_timeout=0.5, **way)
    assert written(pout.results) == set(range(6)) - {1}
    assert isinstance(pout.errors[0].__cause__, FileTimeoutError)


@ways
@pytest.mark.parametrize("hook", ["file_read", "pre_process", "data_process", "file_write"])
def test_file_that_fails_costs_no_other(pipe, make_files, way, hook):
    pout = pipe.pipeline(make_files(7), trouble={(hook, "003.bin"): fail}, **way)
    assert written(pout.results) == set(range(7)) - {3}
    assert pout.errors[0].hook == hook


# What else workers tell, and ask.


class Telling(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        logging.getLogger("telling").warning("reading")
        return super().file_read(in_name)


def test_log_of_the_reading_ahead_names_its_own_file(options, make_files, caplog):
    names = make_files(6)
    Telling(**options).pipeline(names, **OVERLAP)
    told = [record.in_name for record in caplog.records if record.name == "telling"]
    assert sorted(told) == sorted(names)


class SameName(BigMultiPipe):
    def outname_create(self, in_name, **kwargs):
        return os.path.join(kwargs["outdir"], "same.bin")

    def file_write(self, data, outname, **kwargs):
        Path(outname).write_bytes(data)
        return outname


@ways
def test_two_files_with_one_name_do_not_wait_for_each_other(options, make_files, way):
    pout = SameName(**options).pipeline(make_files(6), **way)
    assert [type(error.__cause__) for error in pout.errors] == [CollisionError] * 5


# Which strategy.


class Backwards(Strategy):
    """Does files one after another, and says so in their metadata."""

    n_begun = 2

    def __init__(self, options: Options) -> None:
        pass

    def work(self, inbox: Any) -> None:
        """Take files until there are none."""
        while (file := inbox.take()) is not None:
            inbox.pipe.by = "Backwards"
            file.run()
            inbox.hand_in([file])


class ToldBy(Doubler):
    by = None

    def file_write(self, data, outname, meta=None, **kwargs):
        meta["by"] = self.by
        return super().file_write(data, outname, meta=meta, **kwargs)


@pytest.mark.parametrize(
    "strategy", [f"{__name__}.Backwards", Backwards, Backwards(Options())], ids=shown
)
@pytest.mark.parametrize("executor", ["processes", "serial", "threads"])
def test_strategy_may_be_the_caller_s_own(options, make_files, strategy, executor):
    pipe = ToldBy(**options, strategy=strategy, executor=executor)
    assert {meta["by"] for _, meta in pipe.pipeline(make_files(3))} == {"Backwards"}


class Broken(Backwards):
    def work(self, inbox: Any) -> None:
        """End the worker before it has begun a file."""
        os._exit(3)


def test_strategy_that_begins_no_file_ends_the_run(options, make_files):
    """Its workers were replaced for ever, as no file was charged with their deaths."""
    pipe = Doubler(**options, strategy=Broken, executor="processes")
    pout = pipe.pipeline(make_files(3))
    assert [result.outcome for result in pout.results] == [Outcome.FAILED] * 3
    assert "died before they had begun a file; the last one ended with exit code 3" in str(
        pout.errors[0]
    )


def test_strategy_has_names(options, make_files):
    pipe = Together(**options | {"num_processes": 1}, executor="processes", batch_size=2)
    names = make_files(4)
    assert sizes(pipe.pipeline(names, strategy="interleaved")) == [0] * 4
    assert sizes(pipe.pipeline(names, strategy="batched")) == [2] * 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": "sideways"}, "'interleaved', 'batched', 'overlapped'"),
        ({"strategy": "no.such.Class"}, "cannot be imported"),
        ({"strategy": "os.path.join"}, "not a bigpipe.executors.strategies.Strategy"),
        ({"overlap": True, "executor": "threads"}, "use more threads"),
        ({"overlap": "yes"}, "neither True nor False"),
        ({"batch_size": 0}, "at least 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_runs(pipe, make_files, given, words):
    with pytest.raises(OptionError, match=words):
        pipe.pipeline(make_files(1), **given)


def test_other_pools_have_no_strategies(pipe, make_files):
    from bigpipe import NoDaemonPool

    with pytest.raises(OptionError, match="PoolClass"):
        pipe.pipeline(make_files(2), PoolClass=NoDaemonPool, **BATCHES)


def test_batches_in_threads_do_not_keep_the_timeout_and_say_so(pipe, make_files):
    with pytest.warns(match="file_timeout has no effect"):
        pipe.pipeline(make_files(2), executor="threads", file_timeout=60, **BATCHES)
