"""Tests of files processed in threads of the caller's process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigpipe import FileError, FileTimeoutError, Outcome, PipelineError
from bigpipe.errors import WorkerError
from bigpipe.executors import threads
from bigpipe.executors.base import Report, Reported, Setup, Task
from bigpipe.interrupts import Heard, Postponed, TimeIsUp, Undisturbed
from tests import mischief
from tests.executors.late import LateRunner
from tests.gate import Gate
from tests.pipes import CannotBegin, Doubler, Shared, Writer, fail, written

MakeFiles = Callable[..., list[str]]


@pytest.fixture
def pipe(tmp_path: Path) -> Doubler:
    return Doubler(
        num_processes=2,
        executor="threads",
        outdir=tmp_path / "out",
        create_outdir=True,
        on_error="return",
    )


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Any:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_files_are_processed_at_the_same_time_in_one_process(
    pipe: Doubler, make_files: MakeFiles, gate: Gate
):
    results = pipe.iter_pipeline(make_files(2), trouble={"data_process": gate})
    runner = threading.Thread(target=list, args=(results,))
    runner.start()
    arrived = {gate.arrived() for _ in range(2)}
    gate.open(2)
    runner.join()
    assert arrived == {(os.getpid(), "000.bin"), (os.getpid(), "001.bin")}


def test_result_names_its_thread(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(20))
    workers = {result.worker for result in pout.results}
    assert written(pout.results) == set(range(20))
    assert threading.get_native_id() not in workers
    assert 1 <= len(workers) <= 2


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (fail, ValueError),
        (mischief.exit_politely, SystemExit),
        (mischief.recurse, RecursionError),
        (mischief.run_out_of_memory, MemoryError),
        # A thread is never sent Ctrl-C: it is the hook's own doing.
        (mischief.interrupt, KeyboardInterrupt),
        (mischief.abort, mischief.Abort),
    ],
)
def test_whatever_a_hook_raises_fails_its_file_alone(
    pipe: Doubler, make_files: MakeFiles, action: Any, cause: type
):
    names = make_files(6)
    pout = pipe.pipeline(names, trouble={("data_process", "001.bin"): action})
    assert written(pout.results) == {0, 2, 3, 4, 5}
    [error] = pout.errors
    assert type(error.__cause__) is cause
    assert (error.hook, error.in_name) == ("data_process", names[1])


def test_file_that_takes_too_long_is_interrupted_and_the_others_are_not(
    pipe: Doubler, make_files: MakeFiles
):
    trouble = {("data_process", "001.bin"): mischief.loop}
    pout = pipe.pipeline(make_files(6), trouble=trouble, file_timeout=0.3)
    assert written(pout.results) == {0, 2, 3, 4, 5}
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    assert isinstance(pout.errors[0].__cause__, FileTimeoutError)
    assert "file_timeout" in str(pout.errors[0])
    assert pout.errors[0].hook == "data_process"


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells who has started a program")
@pytest.mark.parametrize("is_stubborn", [False, True])
def test_program_that_a_hook_waits_for_ends_with_its_file(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, is_stubborn: bool
):
    action = mischief.WaitForProgram(tmp_path / "note", is_stubborn=is_stubborn)
    trouble = {("data_process", "001.bin"): action}
    pout = pipe.pipeline(make_files(4), trouble=trouble, file_timeout=0.3)
    assert written(pout.results) == {0, 2, 3}
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    assert all(map(mischief.has_gone, map(int, (tmp_path / "note").read_text().split())))


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells who has started a program")
@pytest.mark.parametrize("is_stubborn", [False, True])
def test_program_that_a_hook_waits_for_ends_with_the_run(
    pipe: Doubler, make_files: MakeFiles, gate: Gate, tmp_path: Path, is_stubborn: bool
):
    action = mischief.WaitForProgram(tmp_path / "note", gate, is_stubborn)
    results = pipe.iter_pipeline(make_files(2), trouble={("data_process", "001.bin"): action})
    next(results)
    gate.arrived()
    gate.open()
    results.close()
    assert all(map(mischief.has_gone, map(int, (tmp_path / "note").read_text().split())))


def test_thread_whose_file_took_too_long_goes_on_with_the_next(
    pipe: Doubler, make_files: MakeFiles
):
    late = {0, 1, 3, 40}
    trouble = {("data_process", f"{i:03d}.bin"): mischief.loop for i in late}
    pout = pipe.pipeline(make_files(60), trouble=trouble, file_timeout=0.2)
    assert written(pout.results) == {*range(60)} - late
    assert {i for i in range(60) if pout.results[i].outcome is Outcome.TIMED_OUT} == late


def test_file_that_ends_while_it_is_being_interrupted_is_reported_once(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    """The exception may reach the thread when the hooks are done, but not yet its report."""

    monkeypatch.setattr(threads, "TaskRunner", LateRunner)
    pout = pipe.pipeline(make_files(4), file_timeout=0.2)
    assert [result.index for result in pout.results] == [0, 1, 2, 3]
    assert pout.results[0].outcome is Outcome.TIMED_OUT
    assert written(pout.results) == {1, 2, 3}


TRACED = """
import sys, threading
from bigpipe import BigMultiPipe
from bigpipe.executors import threads

class Late(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        while in_name == "late":
            pass
        return in_name

    def post_process(self, data, **kwargs):
        return None, {}

if names := sys.argv[1:]:
    timeout = 0.1 if "late" in names else None
    options = {"executor": "threads", "num_processes": 2, "progress": False}
    Late().pipeline(names, file_timeout=timeout, on_error="return", **options)
else:
    thread = threading.Thread(target=threads._take_back)
    thread.start()
    thread.join()
sys.settrace(lambda *event: None)
(lambda: None)()
"""


@pytest.mark.parametrize(
    "names", [["a", "b"], ["a", "late", "b"], []], ids=["in time", "late", "taken back"]
)
def test_program_can_be_traced_after_a_run(names: list[str]):
    """Python 3.11 hangs while anything is still to be raised in another thread."""
    subprocess.run([sys.executable, "-c", TRACED, *names], check=True, timeout=60)


def test_thread_that_dies_of_a_fault_outside_of_the_hooks_does_not_hold_up_the_run(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    report = threads.TaskRunner.report
    shown = []

    def fail_once(self: Any, task: Task, *details: Any) -> Any:
        if task.index == 1:
            raise OSError("a hook has closed what is not its own")
        return report(self, task, *details)

    monkeypatch.setattr(threads.TaskRunner, "report", fail_once)
    monkeypatch.setattr(threading, "excepthook", shown.append)
    pout = pipe.pipeline(make_files(60))
    assert written(pout.results) == {*range(60)} - {1}
    assert pout.results[1].outcome is Outcome.KILLED
    assert pout.errors[0].attempts == 2
    assert [str(args.exc_value) for args in shown] == ["a hook has closed what is not its own"] * 2


def test_every_file_fails_if_worker_init_raises(make_files: MakeFiles, tmp_path: Path):
    pipe = CannotBegin(2, executor="threads", outdir=tmp_path, begin=fail)
    with pytest.raises(PipelineError, match="5 of 5") as caught:
        pipe.pipeline(make_files(5))
    assert {error.hook for error in caught.value.exceptions} == {"worker_init"}


class Counter(Doubler):
    """Counts, on itself, the files of its worker; notes beginning and end of a worker."""

    def worker_init(self, log, **kwargs):
        self.n_files = 0
        log.append(("init", threading.get_ident()))

    def data_process(self, data, **kwargs):
        self.n_files += 1
        return data

    def post_process(self, data, **kwargs):
        return data, {"n_files": self.n_files}

    def worker_exit(self, log, **kwargs):
        log.append(("exit", threading.get_ident()))


# A thread may be broken off between the opening of a file and its ``with``.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("on_error", ["return", "raise"])
def test_each_thread_begins_and_ends_once_with_an_object_of_its_own(
    make_files: MakeFiles, tmp_path: Path, on_error: str
):
    log = Shared()
    pipe = Counter(2, executor="threads", outdir=tmp_path, on_error=on_error, log=log)
    names = make_files(10)
    counted: dict[int, int] = {}
    try:
        for result in pipe.iter_pipeline(names, trouble={("outname_create", "009.bin"): fail}):
            if result.error is None:
                counted[result.worker] = result.meta["n_files"]
    except FileError:
        assert on_error == "raise"
    else:
        assert 9 <= sum(counted.values()) <= 10
    assert not hasattr(pipe, "n_files")
    began = [thread for what, thread in log if what == "init"]
    ended = [thread for what, thread in log if what == "exit"]
    assert sorted(began) == sorted(ended)
    assert len(set(began)) == len(began) >= 1


class Hoarder(Doubler):
    """Writes into what the object was constructed with, and returns what it was before."""

    def __init__(self, seen: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen = seen
        self.image = np.zeros(1_000_000)
        self.pre_process_list = [self.note]

    def note(self, data, **kwargs):
        self.image += 1
        self.seen.append(1)
        return data

    def post_process(self, data, **kwargs):
        return data, {"seen": (len(self.seen), int(self.image[0]))}


@pytest.mark.parametrize("seen", [[], Shared()], ids=["list", "cannot-be-copied"])
def test_each_thread_has_its_own_of_what_an_object_holds(
    make_files: MakeFiles, tmp_path: Path, seen: Any
):
    pipe = Hoarder(seen, executor="threads", num_processes=2, outdir=tmp_path)
    by_worker: dict[int, list[tuple[int, int]]] = {}
    for result in pipe.pipeline(make_files(10), order="given").results:
        by_worker.setdefault(result.worker, []).append(result.meta["seen"])
    for counts in by_worker.values():
        assert sorted(n for _, n in counts) == list(range(1, len(counts) + 1))
        if type(seen) is list:
            assert sorted(n for n, _ in counts) == list(range(1, len(counts) + 1))
    assert pipe.image[0] == 0
    assert len(seen) == (0 if type(seen) is list else 10)


def test_keywords_are_fresh_for_each_file():
    image = np.ones(6_250_000)
    pout = Writer().pipeline(
        [str(i) for i in range(6)], executor="threads", num_processes=2, image=image, notes=[]
    )
    assert [meta["before"] for _, meta in pout] == [(image.size, [])] * 6
    assert image[0] == 1


def test_leaving_the_loop_breaks_the_threads_off(pipe: Doubler, make_files: MakeFiles, gate: Gate):
    trouble = {("data_process", "001.bin"): mischief.Each((gate, mischief.loop))}
    gate.open()
    for result in pipe.iter_pipeline(make_files(2), trouble=trouble):
        assert result.index == 0
        gate.arrived()
        break
    else:
        pytest.fail("nothing came")


def test_lambdas_and_open_files_are_handed_on_as_they_are(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    with (tmp_path / "note").open("w") as note:
        pout = pipe.pipeline(
            make_files(3),
            note=note,
            post_process_list=[lambda data, note, **kwargs: note.write(".") and data],
        )
    assert written(pout.results) == {0, 1, 2}
    assert (tmp_path / "note").read_text() == "..."


def test_executor_may_be_used_again(pipe: Doubler, make_files: MakeFiles):
    names = make_files(3)
    executor = threads.ThreadsExecutor()
    assert [written(pipe.pipeline(names, executor=executor).results) for _ in range(2)] == [
        {0, 1, 2}
    ] * 2


@pytest.fixture
def one_thread() -> Iterator[tuple[threads.ThreadsExecutor, threading.Event]]:
    """A thread with four tasks: the second has begun, that the first has ended is not known."""

    class Waiter(Doubler):
        def file_process(self, in_name, **kwargs):
            if in_name != "a":
                begun.set()
                assert gate.wait(10)
            return None, {}

    begun, gate = threading.Event(), threading.Event()
    executor = threads.ThreadsExecutor()
    executor.start(Setup(Waiter(), {}, 1, None, None, None, lambda *_: ""))
    executor.add_worker(0)
    executor.submit(0, [Task(index, name) for index, name in enumerate("abcd")])
    assert begun.wait(10)
    yield executor, gate
    gate.set()
    executor.close(graceful=True)


def reports_of(executor: threads.ThreadsExecutor, n: int) -> list[Report]:
    reports: list[Report] = []
    while len(reports) < n:
        for event in executor.wait(10):
            reports += event.reports if isinstance(event, Reported) else []
    return reports


def test_tasks_that_a_thread_has_not_taken_can_be_taken_back(one_thread: Any):
    executor, gate = one_thread
    assert executor.recall(0) == (2, 3)
    assert executor.recall(0) == ()
    gate.set()
    assert [report.index for report in reports_of(executor, 2)] == [0, 1]


def test_task_is_spared_if_the_one_before_it_was_to_be_stopped_and_has_ended(one_thread: Any):
    executor, gate = one_thread
    executor.recall(0)
    executor.kill(0)
    executor.submit(0, [Task(4, "e")])  # nobody would
    gate.set()
    reports = reports_of(executor, 2)
    assert [(report.index, report.error) for report in reports] == [(0, None), (1, None)]
    (died,) = executor.wait(10)
    assert (died.exitcode, died.unbegun) == (0, (4,))


@pytest.mark.parametrize("block", [Postponed, Undisturbed])
def test_file_is_not_broken_off_in_what_must_not_be_interrupted(block: Any):
    """A run in a hook that starts or ends a worker would leave a process or descriptors behind."""

    class Starter(Doubler):
        def file_process(self, in_name, **kwargs):
            with block():
                with Postponed():
                    begun.set()
                    assert gate.wait(10)
                done.append("the block")
            done.append("what follows")
            return None, {}

    begun, gate, done = threading.Event(), threading.Event(), []
    executor = threads.ThreadsExecutor()
    executor.start(Setup(Starter(), {}, 1, None, 60, None, lambda *_: ""))
    executor.add_worker(0)
    executor.submit(0, [Task(0, "a")])
    assert begun.wait(10)
    executor.kill(0)
    gate.set()
    (report,) = reports_of(executor, 1)
    executor.close(graceful=True)
    assert done == ["the block"]
    assert report.error is not None
    assert isinstance(report.error.__cause__, FileTimeoutError)


def test_slow_part_of_what_must_not_be_interrupted_is_broken_off():
    done = []

    def work() -> None:
        shield.protect()
        with Postponed():
            shield.order(TimeIsUp, lambda: done.append("raised in the block"))
            try:
                with Heard():
                    done.append("the slow part")
            except TimeIsUp:
                done.append("broken off")

    shield = threads.ThreadShield()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["broken off"]
    shield.order(TimeIsUp, lambda: done.append("raised after the block"))
    assert done == ["broken off", "raised after the block"]


def test_task_that_was_sent_and_not_begun_is_not_begun_after_the_end():
    began = []

    class Noting(Doubler):
        def worker_init(self, **kwargs):
            gate.wait(10)

        def file_process(self, in_name, **kwargs):
            began.append(in_name)
            return None, {}

    gate = threading.Event()
    executor = threads.ThreadsExecutor()
    executor.start(Setup(Noting(), {}, 1, None, None, None, lambda *_: ""))
    executor.add_worker(0)
    executor.submit(0, [Task(0, "a")])
    closing = threading.Thread(target=executor.close, args=(False,))
    closing.start()
    executor.workers[0].answers.get(timeout=10)  # the last that a thread is sent
    gate.set()
    closing.join()
    executor.workers[0].thread.join()
    assert began == []


@pytest.fixture
def refused_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that has the system refuse further threads of bigpipe after so many."""
    start = threading.Thread.start

    def refuse_after(n: int) -> None:
        started = itertools.count()

        def start_some(thread: threading.Thread) -> None:
            if thread.name.startswith("bigpipe-") and next(started) >= n:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_some)

    return refuse_after


def test_run_continues_with_the_threads_that_the_system_allows(
    pipe: Doubler, make_files: MakeFiles, refused_after: Callable[[int], None]
):
    refused_after(1)
    with pytest.warns(UserWarning, match=r"continues with 1 worker .*can't start new thread"):
        pout = pipe.pipeline(make_files(20), num_processes=3)
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN] * 20


def test_error_tells_what_to_change_if_the_system_allows_no_thread(
    pipe: Doubler, make_files: MakeFiles, refused_after: Callable[[int], None]
):
    refused_after(0)
    with pytest.raises(WorkerError, match=r"can't start new thread\. Lower num_processes.*ulimit"):
        pipe.pipeline(make_files(3))
