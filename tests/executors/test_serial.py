"""Tests of files processed one after another in the caller's own process and thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from bigpipe import FileError, FileTimeoutError, Outcome, PipelineError, context
from bigpipe.executors import serial
from tests import mischief
from tests.executors.late import LateRunner
from tests.pipes import Doubler, Shared, Writer, fail, written

MakeFiles = Callable[..., list[str]]


@pytest.fixture
def pipe(tmp_path: Path) -> Doubler:
    return Doubler(
        executor="serial", outdir=tmp_path / "out", create_outdir=True, on_error="return"
    )


class Whereabouts(Doubler):
    def file_process(self, in_name, notes=None, **kwargs):
        return None, {"where": (os.getpid(), threading.get_ident())}


@pytest.mark.parametrize("options", [{"num_processes": 1}, {"executor": "serial"}], ids=str)
def test_files_run_in_the_thread_of_the_caller(options: dict[str, Any]):
    pout = Whereabouts().pipeline(["a", "b"], **options)
    here = (os.getpid(), threading.get_ident())
    assert [meta["where"] for _, meta in pout] == [here, here]
    assert {result.worker for result in pout.results} == {os.getpid()}


def test_files_run_here_if_only_one_fits_into_memory():
    pout = Whereabouts().pipeline(["a", "b"], num_processes=2, mem_available=10, process_size=6)
    assert {meta["where"] for _, meta in pout} == {(os.getpid(), threading.get_ident())}


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (fail, ValueError),
        (mischief.exit_politely, SystemExit),
        (mischief.recurse, RecursionError),
        (mischief.run_out_of_memory, MemoryError),
    ],
)
def test_whatever_a_hook_raises_fails_its_file_alone(
    pipe: Doubler, make_files: MakeFiles, action: Any, cause: type
):
    names = make_files(4)
    pout = pipe.pipeline(names, trouble={("data_process", "001.bin"): action})
    assert written(pout.results) == {0, 2, 3}
    [error] = pout.errors
    assert type(error.__cause__) is cause
    assert (error.hook, error.in_name) == ("data_process", names[1])
    assert action.__name__ in error.traceback


def test_keyboard_interrupt_stops_the_run(pipe: Doubler, make_files: MakeFiles, tmp_path: Path):
    """Nobody can tell it from Ctrl-C here."""
    with pytest.raises(KeyboardInterrupt):
        pipe.pipeline(make_files(4), trouble={("data_process", "001.bin"): mischief.interrupt})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000_bmp.bin"]


def in_order(frames: TracebackType | None) -> list[str]:
    names = []
    while frames is not None:
        names.append(frames.tb_frame.f_code.co_name)
        frames = frames.tb_next
    return names


def test_debugger_ends_in_the_hook_that_has_raised(pipe: Doubler, make_files: MakeFiles):
    with pytest.raises(FileError) as caught:
        pipe.pipeline(make_files(1), trouble={"data_process": fail}, on_error="raise")
    assert in_order(caught.value.__cause__.__traceback__)[-1] == "fail"
    names = in_order(caught.value.__traceback__)
    assert names[-3:] == ["data_process", "get_into_trouble", "fail"]
    assert "run" not in names  # of bigpipe, around each hook


def test_debugger_ends_in_the_hook_that_a_stream_has_called(pipe: Doubler, make_files: MakeFiles):
    trouble = {"data_process": fail}
    with pytest.raises(FileError) as caught:
        list(pipe.stream(make_files(1), trouble=trouble, on_error="raise"))
    assert in_order(caught.value.__traceback__)[-1] == "fail"


@pytest.mark.timeout(60, method="thread")  # its other method has the alarm that this needs
def test_file_that_takes_too_long_is_interrupted_and_the_others_are_not(
    pipe: Doubler, make_files: MakeFiles
):
    trouble = {("data_process", "001.bin"): mischief.loop}
    pout = pipe.pipeline(make_files(4), trouble=trouble, file_timeout=0.2)
    assert written(pout.results) == {0, 2, 3}
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    assert isinstance(pout.errors[0].__cause__, FileTimeoutError)
    assert "file_timeout" in str(pout.errors[0])
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells who has started a program")
@pytest.mark.timeout(60, method="thread")
def test_program_that_a_hook_waits_for_ends_with_its_file(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    action = mischief.WaitForProgram(tmp_path / "note", is_stubborn=True)
    trouble = {("data_process", "001.bin"): action}
    pout = pipe.pipeline(make_files(4), trouble=trouble, file_timeout=0.3)
    assert written(pout.results) == {0, 2, 3}
    assert pout.results[1].outcome is Outcome.TIMED_OUT
    shell, program = map(int, (tmp_path / "note").read_text().split())
    assert mischief.has_gone(program)
    assert os.waitpid(shell, 0)[1] == signal.SIGKILL


@pytest.mark.timeout(60, method="thread")
def test_alarm_that_rings_when_the_hooks_are_done_does_not_reach_the_caller(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serial, "TaskRunner", LateRunner)
    pout = pipe.pipeline(make_files(3), file_timeout=0.2)
    assert pout.results[0].outcome is Outcome.TIMED_OUT
    assert written(pout.results) == {1, 2}
    assert context.current() is None
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@pytest.mark.timeout(60, method="thread")
def test_timeout_in_a_pipeline_inside_a_hook_is_that_of_the_outer_file(
    make_files: MakeFiles, tmp_path: Path
):
    inner = Doubler(executor="serial", outdir=tmp_path, trouble={"data_process": mischief.loop})

    class Nested(Doubler):
        def file_process(self, in_name, **kwargs):
            inner.pipeline([in_name], on_error="return")
            return None, {"never": "here"}

    pout = Nested(executor="serial").pipeline(make_files(1), file_timeout=0.2, on_error="return")
    assert pout.results[0].outcome is Outcome.TIMED_OUT
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.timeout(60, method="thread")
def test_alarm_that_rings_too_early_as_the_process_was_paused_is_set_again(
    pipe: Doubler, make_files: MakeFiles
):
    """As when the worker continues in whose hook this run takes place."""

    def is_set(name: str) -> None:
        os.kill(os.getpid(), signal.SIGALRM)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60

    pout = pipe.pipeline(make_files(1), trouble={"data_process": is_set}, file_timeout=60)
    assert written(pout.results) == {0}


@pytest.mark.timeout(60, method="thread")
@pytest.mark.parametrize("number", [signal.SIGCONT, signal.SIGUSR1], ids=["was", "was not"])
def test_file_has_its_time_again_if_the_process_was_suspended(
    pipe: Doubler, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, number: int
):
    monkeypatch.setattr(serial, "running_s", lambda: now)
    now = 0.0

    def be_suspended(name: str) -> None:
        """Have the signals come as when a suspension ends: together, the alarm first."""
        nonlocal now
        now = 1000.0
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for each in both:
            signal.raise_signal(each)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        while number != signal.SIGCONT:
            # Until the alarm rings again. If the system gives the signal to another thread, a loop
            # without calls does not notice it in CPython 3.11.
            threading.Event().wait(0.01)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 1

    both = [signal.SIGALRM, number]
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    trouble = {"data_process": be_suspended}
    try:
        pout = pipe.pipeline(make_files(1), trouble=trouble, file_timeout=60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    is_written = number == signal.SIGCONT
    assert pout.results[0].outcome is (Outcome.WRITTEN if is_written else Outcome.TIMED_OUT)
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


@pytest.mark.timeout(60, method="thread")
def test_alarm_of_the_caller_is_left_alone(pipe: Doubler, make_files: MakeFiles):
    heard = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    try:
        pout = pipe.pipeline(make_files(1), trouble={"data_process": ring}, file_timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert written(pout.results) == {0}
    assert heard == [signal.SIGALRM]


def ring(name: str) -> None:
    os.kill(os.getpid(), signal.SIGALRM)


class Life(Doubler):
    def worker_init(self, log, fails=False, **kwargs):
        log.append("init")
        if fails:
            raise ValueError("no catalogue")

    def worker_exit(self, log, **kwargs):
        log.append("exit")


@pytest.mark.parametrize("action", [None, fail, mischief.interrupt])
def test_worker_exit_runs_once_after_the_last_file_whatever_happened(
    make_files: MakeFiles, tmp_path: Path, action: Any
):
    log = Shared()
    pipe = Life(executor="serial", outdir=tmp_path, on_error="raise", log=log)
    trouble = {} if action is None else {("data_process", "001.bin"): action}
    try:
        pipe.pipeline(make_files(3), trouble=trouble)
    except (FileError, KeyboardInterrupt):
        assert action is not None
    assert log == ["init", "exit"]


def test_every_file_fails_if_worker_init_raises(make_files: MakeFiles, tmp_path: Path):
    log = Shared()
    names = make_files(5)
    with pytest.raises(PipelineError, match="5 of 5") as caught:
        Life(executor="serial", outdir=tmp_path, log=log).pipeline(names, fails=True)
    assert [error.in_name for error in caught.value.exceptions] == names
    assert {error.hook for error in caught.value.exceptions} == {"worker_init"}
    assert log == ["init"]


def test_keywords_are_fresh_for_each_file():
    image = np.ones(6_250_000)
    pout = Writer().pipeline(["a", "b", "c"], executor="serial", image=image, notes=[])
    assert [meta["before"] for _, meta in pout] == [(image.size, [])] * 3
    assert image[0] == 1


@pytest.mark.process
def test_process_that_a_hook_forks_can_be_ended_by_sigterm(make_files: MakeFiles, pipe: Doubler):
    """A pool ends its processes so, and waits for them."""
    pout = pipe.pipeline(make_files(1), trouble={"data_process": check_sigterm_in_child})
    assert written(pout.results) == {0}


def check_sigterm_in_child(name: str) -> None:
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "the run handles it here"
    pid = os.fork()
    if not pid:
        os._exit(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}], ids=str)
def test_file_after_one_whose_hook_changed_the_folder_is_found(
    pipe: Doubler,
    make_files: MakeFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    make_files(4)
    trouble = {("file_write", "001.bin"): mischief.ChangeFolder(elsewhere)}
    names = [f"in/00{i}.bin" for i in range(4)]
    pout = pipe.pipeline(names, trouble=trouble, outdir="out", **options)
    assert written(pout.results) == {0, 1, 2, 3}
    assert Path.cwd() == tmp_path


class Threaded(Doubler):
    def file_process(self, in_name, **kwargs):
        return None, {"threads": os.environ.get("OMP_NUM_THREADS")}


def test_numerical_threads_are_limited_for_a_run_if_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    pout = Threaded().pipeline(["a", "b"], executor="serial", threads_per_worker=3)
    assert [meta["threads"] for _, meta in pout] == ["3", "3"]
    assert Threaded().pipeline(["a"])[0] == (None, {"threads": "7"})
