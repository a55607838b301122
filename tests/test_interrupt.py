"""Tests of Ctrl-C, SIGTERM and SIGKILL while a run lasts, on a program of its own."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import numpy as np
import psutil
import pytest

from bigpipe.executors import keeper
from bigpipe.interrupts import Interrupts, Terminated
from bigpipe.records import RunFinished
from bigpipe.run import Run
from bigpipe.staging import STAGING_NAME as STAGING
from bigpipe.staging import remove_dead_staging
from tests.gate import Gate
from tests.mischief import (
    PATIENCE,
    SOON,
    STARTS,
    Each,
    Watched,
    has_gone,
    interrupted_after,
    watching,
)
from tests.pipes import Doubler

pytestmark = pytest.mark.process

DONE = {f"00{i}_bmp.bin" for i in range(4)}  # before the others, which wait at the gate
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
ROOT = Path(__file__).parents[1]
MakeFiles = Callable[..., list[str]]
Numbers = tuple[signal.Signals, ...]


class Program:
    """A running `tests.interrupted`, whose two workers wait at the gate."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.workers: list[Watched] = []

    def interrupt(self, number: int, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.process.pid, number)

    def ends(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self.process.wait(SOON)

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def said(self) -> list[str]:
        """Return what it said, without the lines of code that a traceback shows."""
        return [line for line in self.stderr().splitlines() if not line.startswith(" ")]

    def outputs(self) -> set[str]:
        return {path.name for path in (self.folder / "out").iterdir()}

    def n_exits(self) -> int:
        return len(list((self.folder / "exits").iterdir()))

    def says_how_far_it_got(self) -> bool:
        return re.search(r"interrupted after [0-4] of 6 files", self.said()[0]) is not None

    def has_left_nothing_running(self) -> bool:
        programs = [int(path.read_text()) for path in self.folder.glob("program-*")]
        return all(worker.has_ended() for worker in self.workers) and all(map(has_gone, programs))


@pytest.fixture
def started(tmp_path: Path, make_files: MakeFiles, gate: Gate) -> Iterator[Callable[..., Program]]:
    """Start the program, and wait until so many of its workers are at the gate."""
    with ExitStack() as stack:

        def start(
            how: str = "pipeline", *options: str, n_at_gate: int = 2, ignored: Numbers = ()
        ) -> Program:
            make_files(6)
            (tmp_path / "exits").mkdir()
            process = stack.enter_context(running(how, tmp_path, *options, ignored=ignored))
            program = Program(process, tmp_path)
            pids = {gate.arrived()[0] for _ in range(n_at_gate)} - {process.pid}
            program.workers = stack.enter_context(watching(*pids))
            return program

        yield start


@contextmanager
def inherited(ignored: Numbers) -> Iterator[None]:
    """Let programs that are started meanwhile ignore these signals, and no others.

    Whoever runs the tests may ignore some: shells do so for what they start in the background.
    """
    before = {
        number: signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(
    how: str, folder: Path, *options: str, ignored: Numbers = ()
) -> Iterator[subprocess.Popen[str]]:
    with (folder / "stderr").open("w") as stderr, inherited(ignored):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.interrupted", str(folder), how, *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def check_end(program: Program, returncode: int) -> None:
    """Check all that is promised of a run that was interrupted."""
    assert program.ends() == returncode
    assert program.has_left_nothing_running()
    assert program.outputs() == DONE
    assert program.says_how_far_it_got()
    traceback = ["Traceback (most recent call last):", "KeyboardInterrupt"]
    assert program.said()[1:] in ([], traceback)  # of the parent alone


@pytest.mark.parametrize(
    ("number", "group", "returncode"),
    [
        (signal.SIGINT, True, -signal.SIGINT),
        (signal.SIGTERM, False, 128 + signal.SIGTERM),
        (signal.SIGHUP, True, 128 + signal.SIGHUP),
    ],
    ids=["Ctrl-C", "SIGTERM", "closed terminal"],
)
def test_interrupted_run_ends_with_its_workers_and_leaves_nothing_half_done(
    started: Callable[..., Program],
    start_method: str,
    number: int,
    group: bool,
    returncode: int,
):
    program = started("pipeline", f"start_method={start_method}")
    program.interrupt(number, group=group)
    check_end(program, returncode)
    assert program.n_exits() == 2


@pytest.mark.parametrize("executor", ["threads", "serial"])
@pytest.mark.parametrize(
    ("number", "returncode"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_interrupted_run_without_processes_ends_too(
    started: Callable[..., Program], gate: Gate, executor: str, number: int, returncode: int
):
    n_workers = 2 if executor == "threads" else 1
    program = started("pipeline", f"executor={executor}", n_at_gate=n_workers)
    if executor == "threads":
        gate.open(2)
    program.interrupt(number)
    assert program.ends() == returncode
    assert program.outputs() == DONE
    assert program.says_how_far_it_got()
    assert program.stderr().count("Traceback") <= 1
    assert program.n_exits() == n_workers
    kill_programs(program)


def kill_programs(program: Program) -> None:
    for path in program.folder.glob("program-*"):
        os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGTERM, signal.SIGTERM],
        [signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT],
    ],
    ids=lambda numbers: " ".join(number.name for number in numbers),
)
def test_parent_may_be_interrupted_alone_and_again(
    started: Callable[..., Program], numbers: list[signal.Signals]
):
    program = started()
    for number in numbers:
        program.interrupt(number)
    assert program.ends() != 0
    assert program.has_left_nothing_running()
    assert program.outputs() == DONE
    assert program.says_how_far_it_got()


def test_run_is_interrupted_while_its_workers_begin(started: Callable[..., Program]):
    program = started("worker_init")
    program.interrupt(signal.SIGINT, group=True)
    assert program.ends() == -signal.SIGINT
    assert program.has_left_nothing_running()
    assert program.n_exits() == 0
    assert program.says_how_far_it_got()


@pytest.mark.parametrize(("start_method", "module", "function"), STARTS.values(), ids=STARTS)
def test_worker_that_is_just_being_started_is_ended_too(
    make_files: MakeFiles, tmp_path: Path, start_method: str, module: str, function: str
):
    pipe = Doubler(2, executor="processes", start_method=start_method, outdir=tmp_path)
    names = make_files(2)
    assert len(pipe.pipeline(names)) == 2  # now a fork server runs, which stays
    before = children()
    with interrupted_after(module, function), pytest.raises(KeyboardInterrupt):
        pipe.pipeline(names)
    assert children() <= before


def test_process_that_keeps_keywords_and_is_just_being_started_is_ended_too(
    make_files: MakeFiles, tmp_path: Path
):
    large = np.zeros(2 * keeper.MIN_KEPT, np.uint8)
    pipe = Doubler(2, executor="processes", start_method="fork", outdir=tmp_path, large=large)
    before = children()
    with interrupted_after("launch", "start"), pytest.raises(KeyboardInterrupt):
        pipe.pipeline(make_files(2))
    assert children() <= before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise, though whoever runs the tests may have it ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_descriptors_that_are_only_tried_are_given_back(
    make_files: MakeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As is done before a second worker is started, to see whether there are enough."""
    calls = itertools.count()
    parent, open_file = os.getpid(), os.open

    def interrupted(path: str, *args: int) -> int:
        fd = open_file(path, *args)
        if path == os.devnull and os.getpid() == parent and next(calls) == 0:
            signal.raise_signal(signal.SIGINT)
        return fd

    pipe = Doubler(2, executor="processes", start_method="fork", outdir=tmp_path)
    names = make_files(2)
    pipe.pipeline(names)
    before = os.listdir("/dev/fd")
    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipe.pipeline(names)
    assert os.listdir("/dev/fd") == before


def children() -> set[psutil.Process]:
    """Child processes, those included that have ended and were not waited for."""
    return set(psutil.Process().children())


def test_run_is_interrupted_while_its_workers_end(started: Callable[..., Program]):
    program = started("worker_exit", n_at_gate=1)
    program.interrupt(signal.SIGINT, group=True)
    assert program.ends() == -signal.SIGINT
    assert program.has_left_nothing_running()
    assert program.outputs() == {f"00{i}_bmp.bin" for i in range(6)}
    assert program.stderr().count("Traceback") == 1


def test_worker_that_is_told_to_end_in_its_worker_exit_finishes_that(
    started: Callable[..., Program], gate: Gate, start_method: str
):
    """As when the parent, in the end of a run that is left, sends the last task and SIGTERM."""
    program = started("worker_exit", f"start_method={start_method}")
    for worker in program.workers:
        os.kill(worker.pid, signal.SIGTERM)
    gate.open(2)
    assert program.ends() == 0
    assert program.n_exits() == 2
    assert program.stderr() == ""


def test_terminal_that_is_closed_does_not_end_what_nohup_has_started(
    started: Callable[..., Program], gate: Gate, start_method: str
):
    method = f"start_method={start_method}"
    program = started("pipeline", method, ignored=(signal.SIGHUP,))
    for pid in (program.process.pid, *(worker.pid for worker in program.workers)):
        os.kill(pid, signal.SIGHUP)
    gate.open(2)
    assert program.ends() == 0
    assert len(program.outputs()) == 6
    assert program.has_left_nothing_running()


def test_workers_may_be_sent_the_signal_too(started: Callable[..., Program]):
    """As a batch system does, which ends every process of a job."""
    program = started()
    for worker in program.workers:
        os.kill(worker.pid, signal.SIGTERM)
    program.interrupt(signal.SIGTERM)
    check_end(program, 128 + signal.SIGTERM)


def test_loop_over_results_is_interrupted(started: Callable[..., Program]):
    program = started("loop body", n_at_gate=1)
    program.interrupt(signal.SIGTERM)
    assert program.ends() == 128 + signal.SIGTERM
    assert STAGING not in program.outputs()


@pytest.mark.parametrize(
    ("number", "returncode"),
    [
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
@pytest.mark.parametrize("how", ["stream", "stream body"])
def test_loop_that_is_fed_is_interrupted(
    started: Callable[..., Program], how: str, number: int, returncode: int
):
    """While it waits, and while it is busy. Both workers are there."""
    program = started(how)
    pids = psutil.Process(program.process.pid).children(recursive=True)
    with watching(*(process.pid for process in pids)) as program.workers:
        program.interrupt(number, group=number == signal.SIGINT)
        assert program.ends() == returncode
        assert program.has_left_nothing_running()
    assert program.stderr().count("Traceback") <= 1
    assert program.n_exits() == (0 if number == signal.SIGKILL else 2)
    assert not (program.folder / "out").exists()


def test_program_that_ends_while_a_thread_of_it_runs_a_pipeline_leaves_nothing(
    started: Callable[..., Program],
):
    program = started("thread")
    program.process.stdin.close()
    assert program.ends() == 0
    assert program.has_left_nothing_running()
    assert program.stderr() == ""
    remove_dead_staging(program.folder / "out")


def test_workers_and_their_programs_end_with_a_parent_that_is_killed(
    started: Callable[..., Program], start_method: str
):
    program = started("pipeline", f"start_method={start_method}")
    program.process.kill()
    program.process.wait(PATIENCE)
    assert program.has_left_nothing_running()
    assert program.outputs() == {*DONE, STAGING}
    names = sorted(map(str, (program.folder / "in").iterdir()))
    Doubler(2, outdir=program.folder / "out").pipeline(names)
    assert program.outputs() == {f"00{i}_bmp.bin" for i in range(6)}


def test_handlers_are_as_they_were_after_a_run(make_files: MakeFiles, tmp_path: Path):
    before = [signal.getsignal(number) for number in HANDLED]
    Doubler(1, outdir=tmp_path).pipeline(make_files(2))
    assert [signal.getsignal(number) for number in HANDLED] == before


@pytest.mark.parametrize("ends_all", [True, False])
def test_signal_after_one_that_leads_to_the_end_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, ends_all: bool
):
    monkeypatch.setattr("bigpipe.interrupts.AT_ONCE", 0.0)
    interrupts = Interrupts(lambda: ends_all)
    interrupts.install()
    try:
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        with nullcontext() if ends_all else pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
    finally:
        interrupts.uninstall()


@pytest.mark.timeout(60, method="thread")  # its other method has the alarm that this needs
def test_signals_that_come_at_once_raise_once_so_that_all_is_as_before(
    make_files: MakeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A second one used to interrupt what put the handler of the alarm back."""
    monkeypatch.setattr("bigpipe.interrupts.AT_ONCE", 1000.0)
    before = [signal.getsignal(number) for number in HANDLED]
    trouble = {"file_read": send_several}
    with pytest.raises((Terminated, KeyboardInterrupt)) as raised:
        Doubler(outdir=tmp_path, executor="serial", file_timeout=PATIENCE).pipeline(
            make_files(1), trouble=trouble
        )
    assert raised.value.__context__ is None
    assert [signal.getsignal(number) for number in HANDLED] == before


def send_several(name: str) -> None:
    """Have all of them come while no Python code runs."""
    numbers = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.raise_signal(number)  # in this thread, not in one that does not block it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def interrupt_at_the_end(frame: FrameType, event: str, arg: object) -> None:
    """Interrupt the first call that a run makes after its workers have ended."""
    caller = frame.f_back
    is_of_run = caller is not None and caller.f_code is Run._results.__code__
    if event == "call" and is_of_run and caller.f_locals["graceful"]:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)


def interrupt_when_finished(event: object) -> None:
    if type(event) is RunFinished:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("is_finishing", [False, True], ids=["before it finishes", "meanwhile"])
def test_run_is_finished_before_a_signal_that_comes_at_its_end_raises(
    make_files: MakeFiles, tmp_path: Path, is_finishing: bool
):
    """It used to be lost, or to leave the run unfinished if it came at the wrong instant."""
    before = [signal.getsignal(number) for number in HANDLED]
    events: list[object] = []
    listen = Each((events.append, interrupt_when_finished)) if is_finishing else events.append
    sys.setprofile(None if is_finishing else interrupt_at_the_end)
    try:
        with pytest.raises(KeyboardInterrupt):
            Doubler(1, outdir=tmp_path).pipeline(make_files(1), progress=listen)
    finally:
        sys.setprofile(None)
    assert type(events[-1]) is RunFinished
    assert [signal.getsignal(number) for number in HANDLED] == before


def test_handler_of_the_caller_is_left_alone(make_files: MakeFiles, tmp_path: Path):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        trouble = {"data_process": send_sigterm}
        Doubler(1, outdir=tmp_path).pipeline(make_files(1), trouble=trouble)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def send_sigterm(name: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
