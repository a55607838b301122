"""Memory in real runs: which files start, which workers are paused or ended, and the messages."""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigpipe import (
    BigMultiPipe,
    BigpipeWarning,
    FileError,
    Journal,
    MemoryBudgetError,
    MemoryUse,
    NestablePool,
    OptionError,
    Outcome,
    Pout,
    num_can_process,
)
from bigpipe.measure import Share, current_share
from bigpipe.options import Options
from bigpipe.running import memory_watch
from bigpipe.scheduling.admission import Need
from tests.mischief import PATIENCE
from tests.pipes import kill_self

MB = 10**6
PROCESSES = {"executor": "processes", "num_processes": 2, "start_method": "fork"}
WATCHED = {**PROCESSES, "start_method": "forkserver"}  # a process with threads is not to fork

process = pytest.mark.process


class Filling(BigMultiPipe):
    """Take as many MB as the file says, then do what ``then`` does with its base name."""

    def file_read(self, in_name, **kwargs):
        return np.ones(int(Path(in_name).read_text().split()[0]) * MB // 8)

    def data_process(self, data, then=None, in_name=None, **kwargs):
        if then is not None:
            then(os.path.basename(in_name))
        return data

    def post_process(self, data, **kwargs):
        return None, {"mb": data.nbytes // MB}


class Sized(Filling):
    def projected_size(self, in_name, **kwargs):
        return int(Path(in_name).read_text().split()[0]) * MB


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Make files that say how many MB to take."""

    def make(*megabytes: int) -> list[str]:
        names = []
        for i, each in enumerate(megabytes):
            path = tmp_path / f"{i:03d}.txt"
            path.write_text(f"{each} {'x' * each}")
            names.append(str(path))
        return names

    return make


class Run(threading.Thread):
    """A run in a thread, so that the test can watch it."""

    def __init__(self, pipe: BigMultiPipe, names: list[str], **options: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: pipe.pipeline(names, **options)
        self.pout = Pout()
        self.start()

    def run(self) -> None:
        self.pout = self._call()

    def result(self) -> Pout:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.pout


# Before a file starts.


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_file_that_is_known_to_be_too_large_is_refused_and_the_others_are_processed(make, executor):
    names = make(1, 900, 2)
    pout = Sized().pipeline(
        names, mem_available="500 MB", on_error="return", executor=executor, num_processes=2
    )
    assert [result.outcome for result in pout.results] == [
        Outcome.METADATA_ONLY,
        Outcome.FAILED,
        Outcome.METADATA_ONLY,
    ]
    error = pout.results[1].error
    assert isinstance(error.__cause__, MemoryBudgetError)
    assert isinstance(error.__cause__, EnvironmentError)
    assert "858.3 MiB" in str(error)
    assert "476.8 MiB" in str(error)
    assert (error.in_name, error.attempts) == (names[1], 0)


def test_size_that_is_the_same_for_all_and_too_large_stops_the_run_before_it_begins(make):
    with pytest.raises(MemoryBudgetError):
        Filling().pipeline(make(1), process_size="2 GB", mem_available="1 GB")


def test_size_may_be_a_function_of_the_name(make):
    names = make(1, 1)
    pout = Filling().pipeline(
        names,
        process_size=lambda name: "2 GB" if name == names[0] else None,
        mem_available="1 GB",
        on_error="return",
    )
    assert [result.error is not None for result in pout.results] == [True, False]


def test_function_of_the_caller_goes_before_that_of_the_class(make):
    pout = Sized().pipeline(make(900), process_size=lambda name: MB, mem_available="2 GB")
    assert pout == [(None, {"mb": 900})]


class Unsure(Filling):
    def projected_size(self, in_name, **kwargs):
        raise LookupError("no such header")


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_error_in_projected_size_is_that_of_the_file(make, executor):
    names = make(1)
    pout = Unsure().pipeline(names, on_error="return", executor=executor)
    [error] = pout.errors
    assert (error.hook, error.in_name) == ("projected_size", names[0])
    assert "no such header" in str(error)


def test_what_is_no_size_is_that_files_error(make):
    pout = Filling().pipeline(make(1), process_size=lambda name: "much", on_error="return")
    assert isinstance(pout.errors[0].__cause__, OptionError)


@process
@pytest.mark.parametrize("pool", [NestablePool, ThreadPool])
def test_pool_that_is_given_all_files_at_once_is_not_held_back(make, pool):
    """Its processes are as many as fit; it would begin before those that do not were there."""
    options = {"PoolClass": pool, "num_processes": 3, "mem_available": "250 MB"}
    names = make(*[1] * 6)
    pout = Filling().pipeline(names, process_size="100 MB", **options)
    assert len(pout) == 6
    size = {names[2]: "1 GB"}.get
    pout = Filling().pipeline(names, process_size=size, on_error="return", **options)
    assert [result.error is not None for result in pout.results] == [i == 2 for i in range(6)]


# The order.


def begun(pipe: BigMultiPipe, names: list[str], **options: Any) -> list[str]:
    order: list[str] = []
    pipe.pipeline(names, then=order.append, executor="serial", **options)
    return order


def test_largest_come_first_if_asked_for(make):
    assert begun(Filling(), make(1, 3, 2), order="size") == ["001.txt", "002.txt", "000.txt"]


def test_one_worker_keeps_to_the_order_that_is_given(make):
    assert begun(Filling(), make(1, 3, 2)) == ["000.txt", "001.txt", "002.txt"]


def test_order_may_be_a_function_of_the_name(make):
    names = make(1, 1, 1)
    order = {names[0]: 2, names[1]: 0, names[2]: 1}.__getitem__
    assert begun(Filling(), names, order=order) == ["001.txt", "002.txt", "000.txt"]


@process
def test_several_workers_begin_with_the_largest_and_results_are_in_the_order_of_the_inputs(
    make, gate
):
    names = make(1, 1, 20, 1)
    run = Run(Filling(), names, then=gate, **WATCHED)
    first = {gate.arrived()[1], gate.arrived()[1]}
    gate.open(len(names))
    pout = run.result()
    assert "002.txt" in first
    assert [meta["mb"] for _, meta in pout] == [1, 1, 20, 1]


def raise_for_one(name: str) -> int:
    if name.endswith("001.txt"):
        raise LookupError("no such night")
    return 0


def return_other_types(name: str) -> Any:
    return None if name.endswith("001.txt") else 5


def return_arrays(name: str) -> Any:
    return np.zeros(2)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (raise_for_one, "order=raise_for_one raised LookupError: no such night for '.*001.txt'"),
        (return_other_types, "compared: NoneType for '.*001.txt', int for '.*000.txt' .TypeError"),
        (return_arrays, "order=return_arrays .* compared: ndarray for '.*000.txt' .ValueError"),
    ],
    ids=["raises", "returns other types", "returns arrays"],
)
def test_order_that_cannot_be_made_is_told_before_any_file_is_begun(make, order, words):
    pipe, names, begun = Filling(), make(1, 1, 1), []
    with pytest.raises(OptionError, match=words) as caught:
        pipe.pipeline(names, then=begun.append, executor="serial", order=order)
    assert caught.value.__cause__ is not None
    assert not begun


def test_order_of_inputs_that_come_one_by_one_cannot_be_asked_for(make):
    with pytest.raises(OptionError, match="list of names"):
        Filling().pipeline(iter(make(1)), order="size")


# What is done when memory runs short.


@process
def test_file_that_takes_more_than_was_allowed_ends_with_both_figures(make):
    options = {**PROCESSES, "on_error": "return", "then": wait_if_large}
    pout = Filling().pipeline(make(5, 400, 5), mem_available="200 MB", **options)
    assert [result.error is not None for result in pout.results] == [False, True, False]
    error = pout.results[1].error
    assert isinstance(error.__cause__, MemoryBudgetError)
    assert "190.7 MiB" in str(error)
    assert "mem_available" in str(error)


def wait_if_large(name: str) -> None:
    if name == "001.txt":
        threading.Event().wait(PATIENCE)


class Hoarding(Filling):
    """Keep the data of every file, and stay with the second one until the worker is ended."""

    def worker_init(self, **kwargs):
        self.hoard = []

    def data_process(self, data, **kwargs):
        self.hoard.append(data)
        if len(self.hoard) > 1:
            threading.Event().wait(PATIENCE)
        return data


@process
def test_file_is_not_blamed_for_what_others_have_left_in_its_worker(make, tmp_path):
    journal = tmp_path / "night1.bigpipe"
    options = {**PROCESSES, "num_processes": 1, "mem_available": "200 MB", "journal": journal}
    pout = Hoarding().pipeline(make(120, 120), **options)
    assert [meta["mb"] for _, meta in pout] == [120, 120]
    assert [result.attempts for result in pout.results] == [1, 2]
    with Journal(journal) as journal:
        (error,) = (each.error for each in journal.attempts() if each.error is not None)
    assert "was stopped" in str(error)


@process
def test_one_of_two_files_that_do_not_fit_together_is_run_again_later(make, gate):
    options = {**WATCHED, "mem_available": "240 MB", "process_size": lambda name: 30 * MB}
    run = Run(WaitingTwice(), make(150, 150), then=gate, **options)
    pids = [gate.arrived()[0], gate.arrived()[0]]
    gate.open(2)
    first_gone(pids)
    gate.open(3)
    pout = run.result()
    assert [result.outcome for result in pout.results] == [Outcome.METADATA_ONLY] * 2
    assert sorted(result.attempts for result in pout.results) == [1, 2]


class WaitingTwice(Filling):
    """Wait at the gate before any memory is taken, and again with all of it."""

    def file_read(self, in_name, then=None, **kwargs):
        then(os.path.basename(in_name))
        return super().file_read(in_name, **kwargs)


def first_gone(pids: Iterable[int]) -> int:
    """Wait until one of some processes has ended; return its id."""
    with ExitStack() as stack:
        descriptors = {}
        for pid in pids:
            descriptor = os.pidfd_open(pid)
            stack.callback(os.close, descriptor)
            descriptors[descriptor] = pid
        ready, _, _ = select.select(list(descriptors), [], [], PATIENCE)
        assert ready, "both live still"
        return descriptors[ready[0]]


@process
def test_program_that_a_hook_has_started_counts(make):
    pout = Filling().pipeline(
        make(1, 1),
        mem_available="300 MB",
        on_error="return",
        then=start_a_large_program,
        **PROCESSES,
    )
    assert [type(error.__cause__) for error in pout.errors] == [MemoryBudgetError] * 2


def start_a_large_program(name: str) -> None:
    code = f"import signal; x = bytearray(b'1') * {600 * MB}; signal.pause()"
    subprocess.run([sys.executable, "-c", code], check=True)


@process
def test_sizes_ten_times_too_small_are_corrected_in_the_same_run(make):
    names = make(*[80] * 8)
    pout = Filling().pipeline(
        names, mem_available="300 MB", process_size=lambda name: 8 * MB, **PROCESSES
    )
    assert [meta["mb"] for _, meta in pout] == [80] * 8
    assert pout.results[-1].projected > 60 * MB


@process
def test_first_file_that_is_large_may_be_known_by_nothing_but_its_report(make, monkeypatch):
    """Files that look small have no account: it is opened when one of them has ended."""
    monkeypatch.setattr(memory_watch, "MIN_SAMPLE_S", 1000.0)
    monkeypatch.setattr(memory_watch, "MAX_SAMPLE_S", 1000.0)
    pout = Filling().pipeline(make(1, 60, 1, 1, 1), mem_available="400 MB", **PROCESSES)
    assert [meta["mb"] for _, meta in pout] == [1, 60, 1, 1, 1]


@process
@pytest.mark.parametrize("end", [wait_if_large, kill_self], ids=["too large", "killed"])
def test_file_that_is_given_up_has_the_projection_that_it_was_begun_with(make, end):
    options = {**PROCESSES, "on_error": "return", "max_worker_deaths": 1, "then": end}
    pout = Filling().pipeline(
        make(1, 400), mem_available="200 MB", process_size=lambda name: 150 * MB, **options
    )
    assert pout.results[1].error is not None
    assert 50 * MB < pout.results[1].projected <= 150 * MB


@process
def test_file_that_was_too_large_has_the_peak_that_was_seen(make):
    options = {**PROCESSES, "on_error": "return", "mem_available": "200 MB"}
    pout = Filling().pipeline(make(1, 400), then=wait_if_large, **options)
    assert pout.results[1].error is not None
    assert pout.results[1].peak_rss > 200 * MB


class Looks:
    """Stands for the executor and the meter: figures that a test gives."""

    can_pause = True
    n_begun = 1
    wants_all_tasks = False

    def __init__(self) -> None:
        self.used: dict[int, int] = {}
        self.kept: list[int] = []

    def let_keep(self, n_bytes: int) -> None:
        self.kept.append(n_bytes)

    def pids(self) -> dict[int, int]:
        return {worker: 1000 + worker for worker in self.used}

    def sample(self, pids: Iterable[int]) -> dict[int, int]:
        return {pid: self.used[pid - 1000] for pid in pids}


def test_first_look_is_at_the_system_alone(monkeypatch):
    """It takes place before any file begins, and one at the workers would hold that up."""
    looks = Looks()
    looks.used = {0: 900}
    monkeypatch.setattr(memory_watch, "TreeMeter", lambda: looks)
    monkeypatch.setattr(memory_watch, "mem_available_bytes", lambda: 5)
    watch = memory_watch.MemoryWatch(Options(), 2, None, looks)
    first, second = watch.look(0.0), watch.look(1.0)
    assert (first.used, first.available) == ({}, 5)
    assert (second.used, second.available) == ({0: 900}, 5)


@pytest.mark.parametrize(
    ("used", "available", "pressure", "expected"),
    [
        (0, 80, 0.0, 0.5),
        (0, 10, 0.0, 0.25),
        (0, 2, 0.0, 0.1),
        (74, 80, 0.0, 0.15),
        (90, 80, 0.0, 0.1),
        (0, 80, 50.0, 0.1),
    ],
    ids=["much room", "less", "little", "budget", "above it", "pressure"],
)
def test_workers_are_looked_at_before_the_cores_can_fill_half_of_the_room(
    monkeypatch, used, available, pressure, expected
):
    """Two cores, 20 GB/s; sizes are in GB."""
    looks = Looks()
    looks.used = {0: used * 1000 * MB}
    monkeypatch.setattr(memory_watch, "TreeMeter", lambda: looks)
    monkeypatch.setattr(memory_watch.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(memory_watch, "mem_available_bytes", lambda: available * 1000 * MB)
    monkeypatch.setattr(memory_watch, "memory_pressure", lambda: pressure)
    watch = memory_watch.MemoryWatch(Options(mem_available=80_000 * MB), 2, None, looks)
    watch.look(0.0)
    assert watch.look(1000.0) is not None
    assert watch.until_look(1000.0) == pytest.approx(expected)


def test_peak_of_a_worker_that_died_is_the_highest_since_its_file_before_has_ended(monkeypatch):
    looks = Looks()
    monkeypatch.setattr(memory_watch, "TreeMeter", lambda: looks)
    watch = memory_watch.MemoryWatch(Options(), 2, None, looks)
    for now, used in enumerate([{0: 900, 1: 5}, {0: 300, 1: 6}, {0: 700, 1: 7}, {0: 200, 1: 8}]):
        if now == 1:
            watch.note(0, ["000.txt"], [None])
        looks.used = used
        assert watch.look(float(now)) is not None
    assert watch.died(0) == 700
    assert watch.died(0) is None
    assert watch.died(1) == 8


def test_workers_may_keep_freed_memory_while_there_is_much_room(monkeypatch):
    looks = Looks()
    monkeypatch.setattr(memory_watch, "TreeMeter", lambda: looks)
    monkeypatch.setattr(memory_watch, "mem_available_bytes", lambda: 1 << 40)
    watch = memory_watch.MemoryWatch(
        Options(mem_available=32 << 30), 16, lambda name: 1 << 30, looks
    )
    watch.open_account(lambda index: Need(), is_list=True)
    charges = watch.admission.charges
    for worker, used in [(0, 1 << 30), (1, 14 << 30), (2, 3 << 30)]:
        charges.join(worker)
        charges.ready(worker, 0)
        looks.used[worker] = used
        charges.measure(watch.look(float(worker)).used, None)
    assert watch.look(3.0) is not None
    assert looks.kept == [128 << 20, 128 << 20, 128 << 20, 128 << 20, 0]


# Pipelines inside pipelines.


class Outer(BigMultiPipe):
    def file_process(self, in_name, **kwargs):
        n_fit = num_can_process(process_size=10 * MB, num_processes=999)
        inner = Filling().pipeline([in_name], executor="serial")
        return None, {"n_fit": n_fit, "cores": num_can_process(), "budget": inner.memory.budget}


@process
def test_pipeline_in_a_hook_has_what_its_file_was_given(make):
    pout = Outer().pipeline(make(1, 1), process_size="1 GB", mem_available="4 GB", **PROCESSES)
    for result in pout.results:
        assert result.projected <= 1000 * MB
        assert result.meta["budget"] == result.projected
        assert result.meta["n_fit"] == result.projected // (10 * MB)
    assert {meta["cores"] for _, meta in pout} == {max(1, num_can_process() // 2)}


ANY_POOL = [
    {"executor": "threads"},
    pytest.param(PROCESSES, marks=process),
    pytest.param({"PoolClass": NestablePool}, marks=process),
    {"PoolClass": ThreadPool},
]
any_pool = pytest.mark.parametrize("where", ANY_POOL, ids=["threads", "own", "Pool", "ThreadPool"])


@any_pool
@pytest.mark.parametrize("size", [None, lambda name: None], ids=["nothing", "None"])
def test_pipeline_in_a_hook_of_which_nothing_is_known_has_an_equal_part(make, where, size):
    options = {**where, "num_processes": 2, "mem_available": "1 GB", "process_size": size}
    pout = Outer().pipeline(make(1, 1, 1, 1), **options)
    assert {meta["budget"] for _, meta in pout} == {500 * MB}
    assert {meta["cores"] for _, meta in pout} == {max(1, num_can_process() // 2)}


class Elsewhere(BigMultiPipe):
    """Tell what may be used in a thread that has nothing to do with the file."""

    def file_process(self, in_name, **kwargs):
        shares = []
        thread = threading.Thread(target=lambda: shares.append(current_share()))
        thread.start()
        thread.join()
        return None, {"share": shares[0]}


@pytest.mark.parametrize("where", [{"executor": "threads"}, {"PoolClass": ThreadPool}], ids=str)
def test_share_of_a_file_that_a_thread_processes_is_that_threads_alone(make, where):
    pout = Elsewhere().pipeline(make(1, 1), num_processes=2, process_size="100 MB", **where)
    assert {meta["share"] for _, meta in pout} == {Share(None, None)}


# What is told.


@process
def test_run_tells_its_budget_and_its_peak(make):
    pout = Filling().pipeline(make(60), mem_available="1 GB", **PROCESSES)
    assert pout.memory.budget == 10**9
    assert "memory: " in pout.summary()
    assert "budget 953.7 MiB" in pout.summary()


def test_summary_tells_what_workers_have_waited_for():
    memory = MemoryUse(2 * 2**30, 2**30, {"memory": 3.14, "paused": 0.2, "inputs": 12.0})
    text = Pout([], 1.0, memory).summary()
    assert "memory: peak 1.0 GiB in all workers, budget 2.0 GiB" in text
    assert text.endswith("workers waited: memory 3.14 s, inputs 12 s")


@process
def test_size_that_was_exceeded_is_told_once_with_the_figure_to_give(make):
    with pytest.warns(BigpipeWarning) as caught:
        Filling().pipeline(make(90, 120), process_size="30 MB", mem_available="1 GB", **PROCESSES)
    [warning] = [w for w in caught if "process_size" in str(w.message)]
    assert "2 files" in str(warning.message)
    assert "001.txt" in str(warning.message)


def test_size_is_not_called_exceeded_for_what_python_itself_takes(make):
    Filling().pipeline(make(20, 20), process_size="1 MB", mem_available="1 GB", **PROCESSES)


def test_failure_for_want_of_memory_survives_pickling(make):
    pout = Sized().pipeline(make(900), mem_available="500 MB", on_error="return")
    error = pickle.loads(pickle.dumps(pout.errors[0]))
    assert isinstance(error, FileError)
    assert "858.3 MiB" in str(error)


@process
def test_next_run_with_a_journal_knows_what_files_take(tmp_path):
    """The first run must guess its first files; the second has them in its journal."""
    names = [str(tmp_path / str(i)) for i in range(8)]
    for name in names:
        Path(name).write_text("60")  # beyond what malloc takes from memory that it has already
    options = {"mem_available": "300 MB", "journal": tmp_path / "j", **WATCHED}
    first = Filling().pipeline(names[:4], **options)
    second = Filling().pipeline(names[4:], **options)
    guessed, learned = (pout.results[0].projected for pout in (first, second))
    assert guessed != learned
    assert 60 * MB <= learned <= 150 * MB
