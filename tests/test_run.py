"""Tests of the one loop: lazy inputs, results as they come, runs left early and run at once."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bigpipe import (
    BigMultiPipe,
    FileError,
    FileFinished,
    FileResult,
    FileTimeoutError,
    Outcome,
    PipelineError,
    Pout,
    TooManyErrorsError,
)
from bigpipe.executors import Executor, base
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.run import Run
from bigpipe.scheduling.pace import MAX_AHEAD
from tests import mischief
from tests.gate import Gate
from tests.pipes import Doubler, fail, kill_self, written

MakeFiles = Callable[..., list[str]]

pytestmark = pytest.mark.process


@pytest.fixture(params=["processes", "threads", "serial"])
def executor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pipe(tmp_path: Path) -> Doubler:
    return Doubler(
        num_processes=2,
        executor="processes",
        start_method="fork",
        outdir=tmp_path / "out",
        create_outdir=True,
    )


def broken(names: list[str]) -> Iterator[str]:
    yield from names
    raise LookupError("no more of this catalogue")


class Names(Iterator[str]):
    """Names that count how many have been read."""

    def __init__(self, names: list[str]) -> None:
        self.names = iter(names)
        self.n_read = 0

    def __next__(self) -> str:
        name = next(self.names)
        self.n_read += 1
        return name


# Inputs.


@pytest.mark.parametrize(
    ("executor", "n_ahead"),
    [("processes", MAX_AHEAD + 2), ("threads", MAX_AHEAD + 2), ("serial", 2)],
)
def test_inputs_are_read_only_a_few_ahead_of_their_results(
    pipe: Doubler, make_files: MakeFiles, executor: str, n_ahead: int
):
    names = Names(make_files(1) * 300)
    results = pipe.iter_pipeline(names, executor=executor, post_process_list=stop)
    assert names.n_read == 0
    for n_seen, _ in enumerate(results):
        # With either worker, or ended and not seen yet.
        assert names.n_read <= n_seen + 2 * (2 * n_ahead)
    assert names.n_read == 300


# A thread may be broken off between the opening of a file and its ``with``.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_endless_inputs_are_read_as_long_as_results_are_wanted(
    pipe: Doubler, make_files: MakeFiles, executor: str
):
    def endless() -> Iterator[str]:
        names = make_files(1)
        while True:
            yield names[0]

    results = pipe.iter_pipeline(endless(), executor=executor, post_process_list=stop)
    for n_seen, _ in enumerate(results, 1):
        if n_seen == 200:
            break
    assert n_seen == 200
    results.close()


def stop(data: Any, **kwargs: Any) -> None:
    return None


# A thread may be broken off between the opening of a file and its ``with``.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_error_in_the_inputs_reaches_the_caller_and_ends_the_workers(
    pipe: Doubler, make_files: MakeFiles, executor: str
):
    with pytest.raises(LookupError, match="catalogue"):
        pipe.pipeline(broken(make_files(3)), executor=executor)


# Results.


def test_results_come_in_order_of_completion(pipe: Doubler, make_files: MakeFiles, gate: Gate):
    results = pipe.iter_pipeline(make_files(4), trouble={("file_read", "000.bin"): gate})
    first = [next(results).index for _ in range(3)]
    gate.open()
    assert sorted(first) == [1, 2, 3]
    assert [result.index for result in results] == [0]


def test_results_come_in_input_order_if_that_is_wanted(
    pipe: Doubler, make_files: MakeFiles, gate: Gate, executor: str
):
    results = pipe.iter_pipeline(
        make_files(30), ordered=True, trouble={("file_read", "000.bin"): gate}, executor=executor
    )
    gate.open()
    assert [result.index for result in results] == list(range(30))


def test_every_file_ends_once_whatever_happens_to_it(pipe: Doubler, make_files: MakeFiles):
    trouble = {
        ("data_process", "003.bin"): kill_self,
        ("file_read", "005.bin"): fail,
        ("data_process", "007.bin"): mischief.loop,
    }
    results = list(pipe.iter_pipeline(make_files(12), trouble=trouble, file_timeout=0.5))
    assert sorted(result.index for result in results) == list(range(12))
    outcomes = {result.index: result.outcome for result in results}
    assert outcomes.pop(3) is Outcome.KILLED
    assert outcomes.pop(5) is Outcome.FAILED
    assert outcomes.pop(7) is Outcome.TIMED_OUT
    assert set(outcomes.values()) == {Outcome.WRITTEN}


@pytest.mark.timeout(60, method="thread")  # its other method has the alarm that serial needs
@pytest.mark.parametrize("hook", ["data_process", "file_write"])
@pytest.mark.parametrize("kind", [Exception, BaseException])
def test_file_whose_hook_swallows_the_timeout_has_timed_out_and_is_not_written(
    pipe: Doubler, make_files: MakeFiles, executor: str, kind: type[BaseException], hook: str
):
    trouble = {(hook, "001.bin"): mischief.Swallow(kind, mischief.loop)}
    options = {"executor": executor, "file_timeout": 0.3, "on_error": "return"}
    pout = pipe.pipeline(make_files(3), trouble=trouble, **options)
    assert written(pout.results) == {0, 2}
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    assert isinstance(pout.errors[0].__cause__, FileTimeoutError)
    assert sorted(os.listdir(pipe.outdir)) == ["000_bmp.bin", "002_bmp.bin"]


class Clock:
    """Time that a test can set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bigpipe.clock.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_time_in_the_body_of_the_loop_does_not_count_for_file_timeout(
    pipe: Doubler, make_files: MakeFiles, gate: Gate, clock: Clock
):
    """A worker may be waiting there, for the answer whether it may write."""
    trouble = {("data_process", "001.bin"): gate}
    results = pipe.iter_pipeline(make_files(2), trouble=trouble, file_timeout=100.0)
    assert next(results).index == 0
    gate.arrived()
    clock.ahead_s += 1000.0
    gate.open()
    assert next(results).outcome is Outcome.WRITTEN


class PlainlyNamed(Doubler):
    """Leaves names to bigpipe, so that no worker has to ask for one."""

    outname_create = BigMultiPipe.outname_create


def test_time_in_the_inputs_does_not_count_for_file_timeout(
    tmp_path: Path, make_files: MakeFiles, gate: Gate, clock: Clock
):
    def slow() -> Iterator[str]:
        names = make_files(9)
        yield from names[:8]
        gate.arrived()
        clock.ahead_s += 1000.0
        yield names[8]
        gate.open()  # after a look at the clock

    trouble = {("data_process", "001.bin"): gate}
    pipe = PlainlyNamed(2, executor="processes", start_method="fork", outdir=tmp_path)
    pout = pipe.pipeline(slow(), trouble=trouble, file_timeout=100.0)
    assert written(pout.results) == set(range(9))


class Suspended(ProcessesExecutor):
    """Is suspended for longer than ``file_timeout`` while a file is at the gate."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        super().__init__()
        self._gate = gate
        self._clock = clock
        self._looks = 0

    def wait(self, timeout: float | None) -> list[base.ExecutorEvent]:
        events = super().wait(timeout)
        if self._looks == 0 and any(isinstance(event, base.Ready) for event in events):
            self._looks = 1
        elif self._looks == 1:
            self._gate.arrived()
            self._clock.ahead_s += 1000.0
            self._looks = 2
        elif self._looks == 2:
            self._gate.open()
            self._looks = 3
        return events


def test_time_for_which_the_run_was_suspended_does_not_count_for_file_timeout(
    tmp_path: Path, make_files: MakeFiles, gate: Gate, clock: Clock
):
    pipe = PlainlyNamed(1, executor=Suspended(gate, clock), outdir=tmp_path)
    trouble = {("data_process", "000.bin"): gate}
    pout = pipe.pipeline(make_files(1), trouble=trouble, file_timeout=100.0)
    assert written(pout.results) == {0}


class Asking(Executor):
    """Has one worker, which asks for a name for each file, and ends the file when answered."""

    max_ahead = 10

    def start(self, setup: base.Setup) -> None:
        self.tasks: deque[int] = deque()
        self.events: list[base.ExecutorEvent] = []
        self.n_answered = 0

    def add_worker(self, worker: int) -> None:
        self.events.append(base.Ready(worker))

    def submit(self, worker: int, tasks: Sequence[base.Task]) -> None:
        self.tasks += [task.index for task in tasks]
        if len(self.tasks) == 1:
            self.ask(worker)

    def ask(self, worker: int) -> None:
        index = self.tasks[0]
        self.events.append(base.Asked(worker, index, f"/nowhere/{index}", False))

    def answer(self, worker: int, index: int, refusal: str) -> None:
        assert index == self.tasks.popleft()
        self.n_answered += 1
        self.events.append(base.Reported(worker, [base.Report(index, f"/nowhere/{index}")]))
        if self.tasks:
            self.ask(worker)

    def wait(self, timeout: float | None) -> list[base.ExecutorEvent]:
        events, self.events = self.events, []
        return events

    def close(self, graceful: bool) -> list[base.ExecutorEvent]:
        return []


def test_workers_are_answered_between_inputs_that_come_slowly(pipe: Doubler, clock: Clock):
    executor = Asking()
    n_answered = []

    def slow() -> Iterator[str]:
        for i in range(10):
            clock.ahead_s += 1.0
            n_answered.append(executor.n_answered)
            yield str(i)

    pipe.pipeline(slow(), executor=executor, num_processes=1)
    assert n_answered[4:] == list(range(n_answered[4], n_answered[4] + 6))


# Runs that are left.


def test_leaving_the_loop_ends_the_workers(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, start_method: str
):
    before = mischief.worker_pids()
    trouble = {("file_write", "003.bin"): mischief.loop}
    results = pipe.iter_pipeline(make_files(6), trouble=trouble, start_method=start_method)
    for _ in results:
        break
    results.close()
    assert not {pid for pid in mischief.worker_pids() - before if is_worker(pid)}
    assert "003_bmp.bin" not in os.listdir(tmp_path / "out")


def test_run_cannot_be_taken_on_in_a_fork_of_this_process(pipe: Doubler, make_files: MakeFiles):
    results = pipe.iter_pipeline(iter(make_files(8)))
    first = next(results)
    told = mischief.in_a_fork(lambda: next(results))
    assert told.startswith("RuntimeError: this process was forked during the run")
    assert written([first, *results]) == set(range(8))


def test_run_may_begin_in_a_fork_of_the_process_that_it_was_made_in(
    pipe: Doubler, make_files: MakeFiles, executor: str, tmp_path: Path
):
    results = pipe.iter_pipeline(make_files(3), executor=executor)
    assert mischief.in_a_fork(lambda: list(results)) == ""
    assert len(os.listdir(tmp_path / "out")) == 3


def is_worker(pid: int) -> bool:
    """Whether it is a process other than the fork server, which stays."""
    from bigpipe.executors import launch

    return pid != launch.forkserver_pid()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_error_in_the_body_of_the_loop_ends_the_workers(
    pipe: Doubler, make_files: MakeFiles, executor: str
):
    def fail_in_body() -> None:
        for _ in pipe.iter_pipeline(make_files(6), executor=executor):
            raise LookupError

    with pytest.raises(LookupError):
        fail_in_body()
    gc.collect()  # the traceback has held the loop


def test_iterator_that_is_dropped_unused_starts_nothing(pipe: Doubler, make_files: MakeFiles):
    names = Names(make_files(3))
    pipe.iter_pipeline(names)
    gc.collect()
    assert names.n_read == 0


def test_error_that_is_kept_does_not_keep_the_run(
    pipe: Doubler, make_files: MakeFiles, executor: str
):
    trouble = {("data_process", "000.bin"): fail}
    with pytest.raises(PipelineError) as raised:
        pipe.pipeline(make_files(2), trouble=trouble, on_error="finish", executor=executor)
    gc.collect()
    assert not [x for x in gc.get_objects() if type(x) is Run and x._pipe is pipe]
    assert len(raised.value.pout) == 2


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_first_error_can_end_the_run(
    pipe: Doubler, make_files: MakeFiles, executor: str, on_error: str
):
    trouble = {("file_read", "000.bin"): fail}
    options = {"trouble": trouble, "executor": executor, "on_error": on_error}
    if on_error == "raise":
        with pytest.raises(FileError, match="no good"):
            pipe.pipeline(make_files(30), **options)
    else:
        assert written(pipe.pipeline(make_files(30), **options).results) == set(range(1, 30))


STOPS = {"raise": (FileError, 1), "max_errors": (TooManyErrorsError, 2)}


def until_error(results: Iterator[FileResult], kind: type[Exception]) -> list[FileResult]:
    """Take the results that come before an error, which must come."""
    seen: list[FileResult] = []
    with pytest.raises(kind):
        seen.extend(results)
    return seen


@pytest.mark.parametrize("stop", STOPS)
def test_results_held_back_for_their_order_are_given_before_the_error_that_ends_the_run(
    pipe: Doubler, make_files: MakeFiles, gate: Gate, stop: str
):
    kind, n_failed = STOPS[stop]
    ended: list[int] = []

    def listen(event: Any) -> None:
        if isinstance(event, FileFinished):
            ended.append(event.result.index)

    trouble = {("data_process", "000.bin"): gate, **failures("005.bin", "007.bin")}
    options = {"on_error": "raise"} if stop == "raise" else {"max_errors": 2}
    results = pipe.iter_pipeline(
        make_files(30), ordered=True, trouble=trouble, progress=listen, **options
    )
    seen = until_error(results, kind)
    assert [result.index for result in seen] == sorted(ended)
    assert 0 not in ended
    assert sum(result.error is not None for result in seen) >= n_failed


@pytest.mark.parametrize("ordered", [False, True])
def test_results_that_are_there_are_given_before_an_error_in_the_inputs(
    pipe: Doubler, make_files: MakeFiles, ordered: bool
):
    results = pipe.iter_pipeline(broken(make_files(3)), ordered=ordered, executor="serial")
    seen = until_error(results, LookupError)
    assert seen
    assert [os.path.basename(r.outname) for r in seen] == sorted(os.listdir(pipe.outdir))


def failures(*names: str) -> dict[Any, Any]:
    return {("file_read", name): fail for name in names}


class Life(Doubler):
    """Leaves a file in a folder when a worker begins, and one when it ends: not two."""

    def worker_init(self, notes, **kwargs):
        (notes / f"init-{threading.get_native_id()}").touch(exist_ok=False)

    def worker_exit(self, notes, **kwargs):
        (notes / f"exit-{threading.get_native_id()}").touch(exist_ok=False)


# A thread may be broken off between the opening of a file and its ``with``.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("way", ["to the end", "error", "left"])
def test_worker_exit_runs_in_each_worker_however_the_run_ends(
    make_files: MakeFiles, tmp_path: Path, executor: str, way: str
):
    notes = tmp_path / "notes"
    notes.mkdir()
    pipe = Life(2, executor=executor, outdir=tmp_path, notes=notes, on_error="raise")
    trouble = {("file_read", "004.bin"): fail} if way == "error" else {}
    results = pipe.iter_pipeline(make_files(8), trouble=trouble)
    worked = set()
    try:
        for result in results:
            worked.add(str(result.worker))
            if way == "left":
                break
    except FileError:
        assert way == "error"
    results.close()
    began = {path.name.split("-")[1] for path in notes.glob("init-*")}
    ended = {path.name.split("-")[1] for path in notes.glob("exit-*")}
    assert worked <= ended <= began  # one may be ended before its worker_init has returned
    assert worked


class PreparedOnce(Doubler):
    """Has one worker that can be prepared. The other cannot, as soon as the gate is open."""

    def worker_init(self, flag, gate, **kwargs):
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            gate("worker_init")
            raise ConnectionError("no catalogue") from None


@dataclass(frozen=True)
class OpenAndStay:
    gate: Path

    def __call__(self, name: str) -> None:
        with open(self.gate / "opening", "wb") as opening:
            opening.write(b".")
        mischief.loop(name)


def test_file_at_work_when_another_worker_cannot_be_prepared_was_broken_off(
    make_files: MakeFiles, tmp_path: Path, gate: Gate
):
    trouble = {("file_read", "000.bin"): OpenAndStay(gate.folder)}
    options = {"executor": "processes", "flag": tmp_path / "flag", "gate": gate}
    pipe = PreparedOnce(2, outdir=tmp_path, on_error="return", **options)
    errors = pipe.pipeline(make_files(4), trouble=trouble).errors
    assert [error.attempts for error in errors] == [1, 0, 0, 0]
    assert ["broken off" in str(error) for error in errors] == [True, False, False, False]


# Several runs at once.


def test_two_runs_may_be_interleaved(pipe: Doubler, make_files: MakeFiles, executor: str):
    names = make_files(10)
    runs = [
        pipe.iter_pipeline(names, executor=executor, outname_append=append, ordered=True)
        for append in ("_a", "_b")
    ]
    pairs = list(zip(*runs, strict=True))
    assert len(pairs) == 10
    assert [run[0].outname.endswith("_a.bin") for run in pairs] == [True] * 10
    assert written([result for pair in pairs for result in pair]) == set(range(10))


def test_runs_in_two_threads_at_once_do_not_mix(
    pipe: Doubler, make_files: MakeFiles, start_method: str
):
    names = make_files(8)
    pouts: dict[str, Pout] = {}

    def run(append: str) -> None:
        for _ in range(2):
            pouts[append] = pipe.pipeline(names, outname_append=append, start_method=start_method)

    threads = [threading.Thread(target=run, args=(append,)) for append in ("_a", "_b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for append, pout in pouts.items():
        assert written(pout.results) == set(range(8))
        assert all(outname.endswith(f"{append}.bin") for outname, _ in pout)
    assert len(pouts) == 2


def test_workers_forked_by_two_threads_get_their_own_run(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    """A thread is held up just before its fork, until the other has prepared one too."""
    from bigpipe.executors import launch

    names = make_files(2)
    both = threading.Barrier(2)
    start = launch.start

    def start_late(*args: Any) -> Any:
        try:
            both.wait(0.5)
        except threading.BrokenBarrierError:
            pass  # so it is if only one can be here at a time
        return start(*args)

    monkeypatch.setattr(launch, "start", start_late)
    pouts: dict[str, Pout] = {}

    def run(append: str) -> None:
        pouts[append] = pipe.pipeline(names, outname_append=append)

    threads = [threading.Thread(target=run, args=(append,)) for append in ("_a", "_b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for append, pout in pouts.items():
        assert all(outname.endswith(f"{append}.bin") for outname, _ in pout)
    assert len(pouts) == 2


def test_run_from_a_thread_works(pipe: Doubler, make_files: MakeFiles, executor: str):
    names = make_files(4)
    pouts: list[Pout] = []
    thread = threading.Thread(
        target=lambda: pouts.append(pipe.pipeline(names, executor=executor, start_method=None))
    )
    thread.start()
    thread.join()
    assert written(pouts[0].results) == {0, 1, 2, 3}
