"""The executor of one file at a time in the caller's own process, where a debugger works."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType

from bigpipe import context
from bigpipe.claims.register import DirectClaimant
from bigpipe.clock import running_s
from bigpipe.environment import current_folder, folder_kept, return_to, threads_limited
from bigpipe.executors import _programs
from bigpipe.executors._strays import Stray
from bigpipe.executors.base import (
    Executor,
    ExecutorEvent,
    InitFailed,
    Ready,
    Report,
    Reported,
    Setup,
    Task,
)
from bigpipe.executors.file_run import FileRun
from bigpipe.executors.strategies import Inbox
from bigpipe.executors.worker import TaskRunner
from bigpipe.interrupts import TimeIsUp
from bigpipe.outputs import Stager
from bigpipe.sharing.snapshot import LocalSnapshot

__all__ = ["SerialExecutor"]

MIN_LEFT = 0.001  # seconds: an alarm may be off by less; arbitrary
CONTINUED_WITHIN = 0.05  # seconds from an alarm that was held up to the SIGCONT; arbitrary


class SerialExecutor(Executor):
    """Processes files in this process, one after another.

    Parameters
    ----------
    keep_frames : bool, optional
        Keep an exception's frames, for a debugger.

    Notes
    -----
    A timeout works by an alarm signal: only in the main thread, if no other handler of alarms is
    set, and only once Python code runs. A process is not told for how long it was suspended (by
    Ctrl-Z or a batch system). So a file that is in work then has its full time again, unless
    another handler of SIGCONT is set.
    """

    max_workers = 1
    works_in_turn = True
    has_strategies = True

    def __init__(self, keep_frames: bool = False) -> None:
        self.keep_frames = keep_frames
        self._events: list[ExecutorEvent] = []
        self._worker = 0
        self._tasks: deque[Task] = deque()
        self._is_ready = False
        self._began_at: int | None = None
        self._timed_in: int | None = None  # process id, while the alarm is set
        self._started: set[Stray] = set()
        self._last = ExitStack()

    def start(self, setup: Setup) -> None:
        """Prepare for a run."""
        self._setup = setup
        self._events, self._tasks = [], deque()
        snapshot = LocalSnapshot(setup.control)
        self._last.callback(snapshot.close)
        self._last.enter_context(threads_limited(setup.threads_per_worker))
        self._runner = TaskRunner(
            setup.pipe,
            snapshot,
            os.getpid(),
            Stager(),
            keep_frames=self.keep_frames,
            cores=setup.cores_per_worker,
            in_thread=True,
            file_timeout=setup.file_timeout,
        )

    def add_worker(self, worker: int) -> None:
        """Run ``worker_init``."""
        with folder_kept():
            error = self._runner.init()
        self._is_ready = error is None
        self._events.append(Ready(worker) if error is None else InitFailed(worker, error))

    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Keep tasks until `wait`."""
        self._worker = worker
        self._tasks.extend(tasks)

    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Run the tasks that were submitted."""
        if not self._events and not self._tasks:
            time.sleep(timeout or 0)  # a file waits to be tried again
        elif not self._events:
            with folder_kept() as home:
                self._work(home)
        events, self._events = self._events, []
        return events

    def _work(self, home: str | None) -> None:
        if self.strategy is None:
            self._hand_in([self._run(self._tasks.popleft())])
            return
        inbox = _Inbox(self._runner, self._setup, self._tasks, self._hand_in, home)
        self.strategy.work(inbox)

    def _hand_in(self, reports: list[Report]) -> None:
        self._events.append(Reported(self._worker, reports))

    def _run(self, task: Task) -> Report:
        """Run a task; its alarm raises nowhere but in here."""
        around = context.current()
        report = None
        self._runner.is_late = False
        self._began_at = _programs.now()
        has_alarm = self._can_have_alarm()
        try:
            try:
                if has_alarm:
                    signal.signal(signal.SIGALRM, self._ring)
                    if signal.getsignal(signal.SIGCONT) is signal.SIG_DFL:
                        signal.signal(signal.SIGCONT, self._continue)
                    self._timed_in = os.getpid()
                    self._set_alarm()
                report = self._runner.run(task, _Claimant(task, self._setup, self._runner))
            finally:
                self._timed_in = None
                if has_alarm:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        except TimeIsUp as late:  # it came before the first hook, or after the last
            if not self._runner.is_late:
                raise
            context.set_current(around)
            if report is None:
                error = self._runner.failure(late, "file_process", task.in_name)
                report = Report(task.index, error=error, worker=os.getpid())
        finally:
            if has_alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)  # Ctrl-C may have come before the first
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                if signal.getsignal(signal.SIGCONT) == self._continue:
                    signal.signal(signal.SIGCONT, signal.SIG_DFL)
        if self._runner.is_late:
            _programs.signal_all(self._started, signal.SIGKILL)
        self._began_at = None
        return report

    def _at_work(self) -> set[Stray]:
        """Return the programs that hooks of the current file have started."""
        if self._began_at is None:
            return set()
        return _programs.programs_of(threading.get_native_id(), self._began_at)

    def _can_have_alarm(self) -> bool:
        return (
            self._setup.file_timeout is not None
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        )

    def _set_alarm(self) -> None:
        self._has_rung = False
        self._due = running_s() + (self._setup.file_timeout or 0)
        signal.setitimer(signal.ITIMER_REAL, self._setup.file_timeout or 0)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        if self._timed_in == os.getpid():  # which a process that the hook has forked is not
            self._set_alarm()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        left_s = self._due - running_s()
        if left_s > MIN_LEFT:  # this process was paused
            signal.setitimer(signal.ITIMER_REAL, left_s)
            return
        if not self._has_rung:
            # If this process was suspended, SIGCONT has come with the alarm and is handled next.
            self._has_rung = True
            signal.setitimer(signal.ITIMER_REAL, CONTINUED_WITHIN)
            return
        self._runner.is_late = True
        self._started = self._at_work()  # now: once a program ends, its children are not found
        raise TimeIsUp

    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """Run ``worker_exit``."""
        with self._last:
            if not graceful:
                _programs.signal_all(self._at_work(), signal.SIGKILL)
            if self._is_ready:
                self._is_ready = False
                with folder_kept():
                    self._runner.exit()
        return []


class _Inbox(Inbox):
    """Gives a strategy the submitted tasks."""

    def __init__(
        self,
        runner: TaskRunner,
        setup: Setup,
        tasks: deque[Task],
        hand_in: Callable[[list[Report]], None],
        home: str | None,
    ) -> None:
        self.pipe = runner.pipe
        self._runner = runner
        self._setup = setup
        self._tasks = tasks
        self._hand_in = hand_in
        self._home = home

    def take(self, wait: bool = True) -> FileRun | None:
        """Begin the next file, if there is one."""
        if not self._tasks:
            return None
        return_to(self._home)
        task = self._tasks.popleft()
        return FileRun(self._runner, task, _Claimant(task, self._setup, self._runner))

    def hand_in(self, files: Sequence[FileRun]) -> None:
        """Keep the reports of files that have ended."""
        measured = self._runner.measure()
        self._hand_in([file.report(*measured) for file in files])


class _Claimant(DirectClaimant):
    """Asks by a call, from the folder to which all names are relative."""

    def __init__(self, task: Task, setup: Setup, runner: TaskRunner) -> None:
        super().__init__(task.granted, self._answer, runner.end_if_over)
        self._task = task
        self._setup = setup
        self._home = runner.stager.home

    def _answer(self, outname: str, exists: bool) -> str:
        here = current_folder()
        return_to(self._home)
        try:
            return self._setup.claim(self._task.index, self._task.in_name, outname, exists)
        finally:
            return_to(here)
