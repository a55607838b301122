"""Tests of worker processes: their deaths, what they hold up, and what they leave behind."""

from __future__ import annotations

import os
import re
import select
import selectors
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigpipe import FileTimeoutError, Outcome, PipelineError, Pout
from bigpipe.errors import UnsendableError
from bigpipe.executors import base
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.executors.threads import ThreadsExecutor
from bigpipe.executors.wire import ParentEnds
from tests import mischief
from tests.gate import Gate
from tests.pipes import (
    CannotBegin,
    Doubler,
    FirstTimeOnly,
    exit_at_once,
    fail,
    kill_self,
    note_size,
    written,
)
from tests.programs import run_python

pytestmark = pytest.mark.process

Run = Callable[..., Pout]
MakeFiles = Callable[..., list[str]]

DEATHS = {
    "exit with 0": (mischief.exit_with_zero, 0),
    "exit with 3": (exit_at_once, 3),
    "SIGKILL": (kill_self, -signal.SIGKILL),
    "SIGSEGV": (mischief.crash, -signal.SIGSEGV),
}
deaths = pytest.mark.parametrize(("die", "exitcode"), DEATHS.values(), ids=DEATHS)


def outputs(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").iterdir()}


# Workers that die.


@deaths
def test_file_that_kills_its_workers_is_reported_with_the_hook(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, die: Any, exitcode: int
):
    names = make_files(8)
    trouble = {(hook, f"00{i}.bin"): die for i, hook in enumerate(mischief.HOOKS)}
    pout = pipe.pipeline(names, trouble=trouble)
    assert written(pout.results) == {6, 7}
    assert outputs(tmp_path) == {"006_bmp.bin", "007_bmp.bin"}
    for result, hook in zip(pout.results, mischief.HOOKS, strict=False):
        error = result.error
        assert result.outcome is Outcome.KILLED
        assert (error.hook, error.exitcode, error.attempts) == (hook, exitcode, 2)
        assert error.signal == (-exitcode if exitcode < 0 else None)
        assert error.in_name == result.in_name == names[result.index]
        assert names[result.index] in str(error)


@deaths
def test_file_that_kills_one_worker_is_tried_once_more(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, die: Any, exitcode: int
):
    names = make_files(8)
    trouble = {
        (hook, f"00{i}.bin"): FirstTimeOnly(die, tmp_path / hook)
        for i, hook in enumerate(mischief.HOOKS)
    }
    pout = pipe.pipeline(names, trouble=trouble)
    assert written(pout.results) == set(range(8))
    assert [result.attempts for result in pout.results] == [2] * 6 + [1] * 2


def test_workers_of_each_start_method_may_die(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, start_method: str
):
    trouble = {
        ("data_process", "000.bin"): kill_self,
        ("file_write", "001.bin"): FirstTimeOnly(exit_at_once, tmp_path / "flag"),
    }
    pout = pipe.pipeline(make_files(4), trouble=trouble, start_method=start_method)
    assert [(result.outcome, result.attempts) for result in pout.results] == [
        (Outcome.KILLED, 2),
        (Outcome.WRITTEN, 2),
        (Outcome.WRITTEN, 1),
        (Outcome.WRITTEN, 1),
    ]
    assert pout.errors[0].signal == signal.SIGKILL


def test_file_may_cost_as_many_workers_as_is_allowed(pipe: Doubler, make_files: MakeFiles):
    trouble = {("data_process", "000.bin"): exit_at_once}
    for allowed in (1, 3):
        pout = pipe.pipeline(make_files(2), trouble=trouble, max_worker_deaths=allowed)
        assert pout.errors[0].attempts == pout.results[0].attempts == allowed


def test_files_sent_ahead_to_a_worker_that_dies_are_not_charged(
    pipe: Doubler, make_files: MakeFiles
):
    trouble = {("file_read", "000.bin"): kill_self}
    pout = pipe.pipeline(make_files(60), trouble=trouble, num_processes=1)
    assert written(pout.results) == set(range(1, 60))
    assert [result.attempts for result in pout.results] == [2] + [1] * 59


def test_worker_that_dies_while_idle_costs_nothing(
    pipe: Doubler, make_files: MakeFiles, gate: Gate
):
    before = mischief.worker_pids()
    trouble = {("file_read", "001.bin"): gate}
    results = pipe.iter_pipeline(make_files(2), trouble=trouble)
    assert next(results).index == 0
    busy, _ = gate.arrived()
    for pid in mischief.worker_pids() - before - {busy}:
        os.kill(pid, signal.SIGKILL)
    gate.open()
    [last] = results
    assert (last.outcome, last.attempts) == (Outcome.WRITTEN, 1)


def test_run_survives_that_one_file_in_ten_kills_its_worker(pipe: Doubler, make_files: MakeFiles):
    deadly = set(range(0, 300, 10))
    trouble = {("data_process", f"{i:03d}.bin"): kill_self for i in deadly}
    pout = pipe.pipeline(make_files(300), trouble=trouble)
    assert written(pout.results) == set(range(300)) - deadly
    assert {result.index for result in pout.results if result.outcome is Outcome.KILLED} == deadly
    assert all(result.attempts == 1 for result in pout.results if result.index not in deadly)


def test_run_survives_that_every_file_kills_its_worker(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(12), trouble={"file_read": exit_at_once})
    assert [result.outcome for result in pout.results] == [Outcome.KILLED] * 12


def test_worker_that_others_end_is_reported_with_their_signal(
    pipe: Doubler, make_files: MakeFiles, gate: Gate
):
    trouble = {("data_process", "001.bin"): gate}
    results = pipe.iter_pipeline(
        make_files(2), trouble=trouble, num_processes=1, max_worker_deaths=1
    )
    assert next(results).outcome is Outcome.WRITTEN
    os.kill(gate.arrived()[0], signal.SIGTERM)
    assert next(results).error.signal == signal.SIGTERM


def test_other_file_takes_the_output_of_one_that_lost_its_worker_or_is_refused(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    trouble = {("file_write", "000.bin"): FirstTimeOnly(kill_self, tmp_path / "flag")}
    pout = pipe.pipeline(make_files(2), trouble=trouble, outname="same.bin")
    [winner] = written(pout.results)
    assert pout.results[1 - winner].outcome is Outcome.FAILED
    assert "same.bin" in str(pout.errors[0])


def test_staging_folder_of_a_killed_worker_is_removed_at_once(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    trouble = {("file_write", "000.bin"): kill_self}
    results = pipe.iter_pipeline(make_files(1), trouble=trouble, max_worker_deaths=1)
    assert next(results).outcome is Outcome.KILLED
    assert outputs(tmp_path) == set()
    results.close()


def test_earlier_output_outlives_a_worker_killed_while_it_writes_anew(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    names = make_files(1)
    pipe.pipeline(names)
    trouble = {("file_write", "000.bin"): kill_self}
    pout = pipe.pipeline(names, trouble=trouble)
    assert pout.results[0].outcome is Outcome.KILLED
    assert (tmp_path / "out" / "000_bmp.bin").read_bytes() == b"000.bin\n" * 2


def test_program_that_a_hook_started_ends_with_its_killed_worker(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, start_method: str
):
    note = tmp_path / "pid"
    trouble = {"data_process": mischief.LeaveProgram(note, kill_self)}
    pipe.pipeline(make_files(1), trouble=trouble, max_worker_deaths=1, start_method=start_method)
    assert mischief.has_gone(int(note.read_text()))


def test_program_that_a_hook_left_behind_ends_with_the_run(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, start_method: str
):
    note = tmp_path / "pid"
    trouble = {"data_process": mischief.LeaveProgram(note)}
    pout = pipe.pipeline(make_files(1), trouble=trouble, start_method=start_method)
    assert written(pout.results) == {0}
    assert mischief.has_gone(int(note.read_text()))


# Workers that cannot begin.


def test_every_file_fails_if_worker_init_raises(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    names = make_files(20)
    pipe = CannotBegin(outdir=tmp_path, num_processes=2, start_method=start_method, begin=fail)
    with pytest.raises(PipelineError, match="20 of 20") as caught:
        pipe.pipeline(names)
    errors = caught.value.exceptions
    assert [error.in_name for error in errors] == names
    assert {error.hook for error in errors} == {"worker_init"}
    assert {type(error.__cause__) for error in errors} == {ValueError}


@deaths
def test_every_file_fails_if_workers_die_in_worker_init(
    make_files: MakeFiles, tmp_path: Path, die: Any, exitcode: int
):
    pipe = CannotBegin(2, executor="processes", start_method="fork", outdir=tmp_path, begin=die)
    pout = pipe.pipeline(make_files(20), on_error="return")
    assert [result.outcome for result in pout.results] == [Outcome.FAILED] * 20
    assert {(error.hook, error.exitcode) for error in pout.errors} == {("worker_init", exitcode)}


# Files that take too long.


@pytest.mark.parametrize("has_own_session", [False, True])
@pytest.mark.parametrize("hang", [mischief.loop, mischief.ignore_sigterm_and_loop])
def test_file_that_takes_too_long_is_ended_and_the_others_are_not(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, hang: Any, has_own_session: bool
):
    note = tmp_path / "pid"
    trouble = {("file_write", "001.bin"): mischief.LeaveProgram(note, hang, has_own_session)}
    pout = pipe.pipeline(make_files(6), trouble=trouble, file_timeout=0.5)
    assert written(pout.results) == {0, 2, 3, 4, 5}
    [error] = pout.errors
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    assert isinstance(error.__cause__, FileTimeoutError)
    assert (error.hook, error.attempts) == ("file_write", 1)
    assert "file_timeout=0.5" in str(error)
    assert mischief.has_gone(int(note.read_text()))
    assert "001_bmp.bin" not in outputs(tmp_path)


class Pausing(ProcessesExecutor):
    """Pauses its worker for longer than ``file_timeout``, when that is at the gate."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate: Gate | None = gate

    def wait(self, timeout):
        if self.gate is not None and any(worker.sent for worker in self._workers.values()):
            gate, self.gate = self.gate, None
            gate.arrived()
            [number] = self._workers
            self.pause(number)
            select.select([], [], [], 1.5 * PAUSED_TIMEOUT)
            self.resume(number)
            gate.open()
        return super().wait(timeout)


PAUSED_TIMEOUT = 1.0  # seconds; what is done meanwhile takes some milliseconds


class Outer(Doubler):
    """Runs another pipeline over its file."""

    def file_process(self, in_name, inner, **kwargs):
        return inner.pipeline([in_name])[0]


@pytest.mark.parametrize("inner", ["serial", "threads", "processes"])
def test_timeout_of_a_file_in_a_hook_does_not_count_a_pause_of_the_worker(
    make_files: MakeFiles, tmp_path: Path, gate: Gate, inner: str
):
    trouble = {"data_process": gate}
    options = {"outdir": tmp_path / "out", "create_outdir": True, "file_timeout": PAUSED_TIMEOUT}
    pipe = Outer(2, inner=Doubler(2, executor=inner, trouble=trouble, **options))
    pout = pipe.pipeline(make_files(1), executor=Pausing(gate))
    assert os.listdir(tmp_path / "out") == ["000_bmp.bin"]
    assert pout[0][0] == str(tmp_path / "out" / "000_bmp.bin")


def test_file_timeout_works_with_each_start_method(
    pipe: Doubler, make_files: MakeFiles, start_method: str
):
    trouble = {("data_process", "000.bin"): mischief.loop}
    pout = pipe.pipeline(
        make_files(3), trouble=trouble, file_timeout=1.0, start_method=start_method
    )
    assert [result.outcome for result in pout.results] == [
        Outcome.TIMED_OUT,
        Outcome.WRITTEN,
        Outcome.WRITTEN,
    ]


def test_files_that_all_take_too_long_all_time_out(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(4), trouble={"file_read": mischief.loop}, file_timeout=0.2)
    assert [result.outcome for result in pout.results] == [Outcome.TIMED_OUT] * 4


# A caller that is interrupted.


@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupt_while_tasks_are_sent_ends_the_workers_and_nothing_else_is_raised(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, when: str
):
    send = ParentEnds.send_tasks

    def send_and_interrupt(ends: ParentEnds, tasks: Any) -> bool:
        if when == "after":
            send(ends, tasks)
        raise KeyboardInterrupt

    before = mischief.worker_pids()
    monkeypatch.setattr(ParentEnds, "send_tasks", send_and_interrupt)
    trouble = {"file_read": mischief.loop}  # or the tasks might be taken before they are recalled
    with pytest.raises(KeyboardInterrupt):
        pipe.pipeline(make_files(20), trouble=trouble)
    assert mischief.worker_pids() == before


# Keywords and the object on their way to a worker.


def test_keyword_that_cannot_be_pickled_is_named_and_no_worker_is_left(
    pipe: Doubler, make_files: MakeFiles, start_method: str
):
    before = mischief.worker_pids()
    with pytest.raises(TypeError, match=r"'catalogue'.*an open connection"):
        pipe.pipeline(
            make_files(2), start_method=start_method, catalogue=mischief.Unpicklable(), fine=1
        )
    assert mischief.worker_pids() == before


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_attribute_that_cannot_be_pickled_is_named_and_no_worker_is_left(
    pipe: Doubler, make_files: MakeFiles, method: str
):
    pipe.catalogue = mischief.Unpicklable()
    with pytest.raises(TypeError, match=r"'catalogue'.*an open connection"):
        pipe.pipeline(make_files(2), start_method=method)


def test_attribute_that_cannot_be_pickled_is_inherited_by_fork(
    pipe: Doubler, make_files: MakeFiles
):
    pipe.catalogue = mischief.Unpicklable()
    assert written(pipe.pipeline(make_files(2), start_method="fork").results) == {0, 1}


def test_executor_and_listener_of_the_object_need_not_travel(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    lock = threading.Lock()
    heard = []

    def listen(event: Any) -> None:
        with lock:
            heard.append(event)

    executor = ProcessesExecutor()
    pipe = Doubler(
        2, executor=executor, progress=listen, start_method=start_method, outdir=tmp_path
    )
    assert written(pipe.pipeline(make_files(2)).results) == {0, 1}
    assert heard


def test_groups_of_many_names_travel_whole(pipe: Doubler, tmp_path: Path, start_method: str):
    groups = [[f"{g}-{i:04d}-{'x' * 190}" for i in range(5000)] for g in range(3)]
    pout = NameCounter(outdir=tmp_path).pipeline(
        groups, executor="processes", num_processes=2, start_method=start_method
    )
    assert [meta["names"] for _, meta in pout] == [(5000, hash_of(group)) for group in groups]


def hash_of(names: list[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(names).encode()).hexdigest()


class NameCounter(Doubler):
    """Reads nothing, and returns how many names it was given."""

    def file_process(self, in_name, **kwargs):
        return None, {"names": (len(in_name), hash_of(in_name))}


def test_worker_that_dies_on_a_group_of_many_names_is_replaced(tmp_path: Path):
    groups = [[f"{g}-{i:04d}-{'x' * 190}" for i in range(5000)] for g in range(6)]
    pout = DeadlyGroups(outdir=tmp_path, flag=tmp_path / "flag").pipeline(
        groups, executor="processes", num_processes=1
    )
    assert [meta["names"][1] for _, meta in pout] == [hash_of(group) for group in groups]
    assert [result.attempts for result in pout.results] == [1, 1, 2, 1, 1, 1]


class DeadlyGroups(NameCounter):
    def file_process(self, in_name, flag, **kwargs):
        if in_name[0].startswith("2-"):
            FirstTimeOnly(kill_self, flag)("group")
        return super().file_process(in_name, **kwargs)


def test_stage_of_a_death_is_file_process_if_that_is_overridden(
    make_files: MakeFiles, tmp_path: Path
):
    pout = OwnFileProcess(outdir=tmp_path).pipeline(
        make_files(2), executor="processes", num_processes=1, on_error="return"
    )
    assert pout.results[0].outcome is Outcome.WRITTEN
    assert pout.errors[0].hook == "file_process"


class OwnFileProcess(Doubler):
    """Takes the first file through the hooks, and dies on the second before them."""

    def file_process(self, in_name, **kwargs):
        if in_name.endswith("001.bin"):
            kill_self(in_name)
        return super().file_process(in_name, **kwargs)


def test_post_functions_are_named_as_the_stage_of_a_death(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(1), post_process_list=[note_size, die_in_post])
    assert pout.errors[0].hook == "post_process: die_in_post"
    assert "post_process: die_in_post" in str(pout.errors[0])


def die_in_post(data, **kwargs):
    kill_self("post")


def test_executor_may_be_used_again(pipe: Doubler, make_files: MakeFiles):
    names = make_files(3)
    executor = ProcessesExecutor()
    assert [written(pipe.pipeline(names, executor=executor).results) for _ in range(2)] == [
        {0, 1, 2}
    ] * 2


@pytest.mark.parametrize("kind", [ProcessesExecutor, ThreadsExecutor])
def test_worker_that_asks_for_a_name_is_not_kept_waiting(
    pipe: Doubler,
    make_files: MakeFiles,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ProcessesExecutor | ThreadsExecutor],
):
    names = make_files(200)
    executor = kind()
    pipe.pipeline(names)  # the second time, each file asks, as there is an output already
    slept_since_asked: list[bool] = []
    monkeypatch.setattr(base, "HURRY", 1e9)
    monkeypatch.setattr(
        base.time, "sleep", lambda _: slept_since_asked.append(executor.asked_at > 0)
    )
    assert len(pipe.pipeline(names, executor=executor)) == len(names)
    assert not any(slept_since_asked)


def test_names_of_a_class_made_inside_a_function_reach_the_workers(
    pipe: Doubler, make_files: MakeFiles, start_method: str
):
    class Name(os.PathLike):
        def __init__(self, name):
            self.name = name

        def __fspath__(self):
            return self.name

    pout = pipe.pipeline([Name(name) for name in make_files(3)], start_method=start_method)
    assert written(pout.results) == {0, 1, 2}


def test_name_that_cannot_be_sent_is_told_with_the_remedy(pipe: Doubler):
    class Name(os.PathLike):
        def __init__(self):
            self.lock = threading.Lock()

        def __fspath__(self):
            return "a"

    with pytest.raises(UnsendableError, match=r"the input 'a' cannot .* as a str"):
        pipe.pipeline([Name()] * 2)


def test_end_of_a_worker_may_be_seen_before_that_of_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The stream of a worker that dies with a large task on its way is ready to be written."""

    class EndsFirst(selectors.DefaultSelector):
        def select(self, timeout=None):
            ready = super().select(timeout)
            if any(hasattr(key.fileobj, "pid") for key, _ in ready):
                ready = super().select(0)  # its stream has been closed by now
            return sorted(ready, key=lambda item: not hasattr(item[0].fileobj, "pid"))

    monkeypatch.setattr(selectors, "DefaultSelector", EndsFirst)
    groups = [[f"{g}-{i:04d}-{'x' * 190}" for i in range(5000)] for g in range(6)]
    pout = DeadlyGroups(outdir=tmp_path, flag=tmp_path / "flag").pipeline(
        groups, executor="processes", num_processes=1
    )
    assert [result.attempts for result in pout.results] == [1, 1, 2, 1, 1, 1]


def test_what_has_come_while_this_process_was_stopped_is_heard_before_time_is_up(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    class Stopped(selectors.DefaultSelector):
        n_late = 0

        def select(self, timeout=None):
            ready = super().select(timeout)
            if timeout == 0 or not ready:
                return ready
            Stopped.n_late += 1
            assert Stopped.n_late < 1000, "it does not look again"
            return []

    monkeypatch.setattr(selectors, "DefaultSelector", Stopped)
    pout = pipe.pipeline(make_files(3), file_timeout=mischief.PATIENCE)
    assert written(pout.results) == {0, 1, 2}
    assert Stopped.n_late


def test_child_that_the_caller_forks_leaves_the_run_alone(pipe: Doubler, make_files: MakeFiles):
    results = pipe.iter_pipeline(make_files(20))
    first = next(results)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            results.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert {first.index, *(result.index for result in results)} == set(range(20))


FEW_DESCRIPTORS = """
import resource
import warnings

from bigpipe import BigMultiPipe

names = [__file__] * 40
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pout = BigMultiPipe(30, executor="processes").pipeline(
        names, post_process_list=lambda data, **kwargs: None, progress=False
    )
print(len(pout), len(caught), caught[0].message)
"""


def test_workers_leave_descriptors_for_other_files_and_say_once_how_many_there_are(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FEW_DESCRIPTORS)
    done = run_python(script)
    assert done.stderr == ""
    assert re.fullmatch(r"40 1 the run continues with \d+ workers .*ulimit -n.*\n", done.stdout)
