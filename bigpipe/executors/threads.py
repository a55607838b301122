"""The executor of many files at a time in threads: for hooks that release the GIL.

Owns the threads. They share the caller's memory and modules; each has its own copy of the
pipeline object and fresh keywords for each file, as a worker process would.
"""

from __future__ import annotations

import ctypes
import math
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from bigpipe.claims.register import Claimant
from bigpipe.environment import limit_threads, threads_limited
from bigpipe.errors import WorkerError
from bigpipe.executors import _programs
from bigpipe.executors._strays import Stray
from bigpipe.executors.base import (
    Asked,
    Died,
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
from bigpipe.interrupts import Terminated, ThreadShield, TimeIsUp
from bigpipe.outputs import Stager
from bigpipe.scheduling.pace import MAX_AHEAD
from bigpipe.sharing.snapshot import LocalCopies, LocalSnapshot

__all__ = ["ThreadsExecutor"]

STOP_GRACE = 0.8  # seconds for threads to be interrupted; one in C code cannot be
PROGRAM_GRACE = 0.5  # seconds from SIGTERM to SIGKILL for programs that their hooks have started


@dataclass(eq=False)
class _Thread:
    """One worker thread, and what it shares with the executor."""

    events: queue.SimpleQueue[ExecutorEvent]
    thread: threading.Thread | None = None
    runner: TaskRunner | None = None
    tasks: queue.SimpleQueue[Task | None] = field(default_factory=queue.SimpleQueue)
    answers: queue.SimpleQueue[tuple[int | None, str]] = field(default_factory=queue.SimpleQueue)
    lock: threading.Lock = field(default_factory=threading.Lock)
    shield: ThreadShield = field(default_factory=ThreadShield)
    is_at_work: bool = False
    is_interrupted: bool = False
    is_stopped: bool = False
    index: int | None = None  # of its task, as long as it is at work
    sent: deque[int] = field(default_factory=deque)  # indices of tasks not known to have ended
    hook: str | None = None
    began_at: int = 0  # its file, by `_programs.now`

    def note_hook(self, hook: str) -> None:
        self.hook = hook

    def take_back(self) -> list[int]:
        """Take back the tasks that it has not taken; return their indices."""
        back = []
        with suppress(queue.Empty):
            while True:
                task = self.tasks.get_nowait()
                if task is not None:
                    back.append(task.index)
                    self.sent.pop()
        return back


class _QueueClaimant(Claimant):
    def __init__(self, task: Task, number: int, me: _Thread, runner: TaskRunner) -> None:
        super().__init__(task.granted, runner.end_if_over)
        self._task = task
        self._number = number
        self._me = me

    def _send(self, outname: str, exists: bool) -> None:
        self._me.events.put(Asked(self._number, self._task.index, outname, exists))

    def _receive(self) -> str:
        while True:
            index, refusal = self._me.answers.get()
            if index in (self._task.index, None):  # not a late answer for another task
                return refusal


class _Inbox(Inbox):
    """Gives a strategy the tasks of a thread."""

    def __init__(self, me: _Thread, number: int, runner: TaskRunner) -> None:
        self.pipe = runner.pipe
        self._me = me
        self._number = number
        self._runner = runner
        self._has_ended = False

    def take(self, wait: bool = True) -> FileRun | None:
        """Begin the next file."""
        task = None
        if not self._has_ended and (wait or not self._me.tasks.empty()):
            task = self._me.tasks.get()
            self._has_ended = task is None
        if task is None or self._me.is_stopped:
            return None
        self._me.began_at = _programs.now()
        claimant = _QueueClaimant(task, self._number, self._me, self._runner)
        return FileRun(self._runner, task, claimant)

    def hand_in(self, files: Sequence[FileRun]) -> None:
        """Report files that have ended."""
        measured = self._runner.measure()
        self._me.events.put(Reported(self._number, [file.report(*measured) for file in files]))


class ThreadsExecutor(Executor):
    """Processes files in threads of this process.

    Notes
    -----
    A thread cannot be ended from outside. A file that takes too long is interrupted as soon as its
    Python code runs, but not while it is inside a library's C code. On Linux, programs that its
    hooks have started in the thread are ended.
    """

    max_ahead = MAX_AHEAD
    has_strategies = True

    def __init__(self) -> None:
        self.workers: dict[int, _Thread] = {}
        self.events: queue.SimpleQueue[ExecutorEvent] = queue.SimpleQueue()
        self._around = ExitStack()
        self._to_kill: list[tuple[float, set[Stray]]] = []
        self._dead: deque[Died] = deque()

    def start(self, setup: Setup) -> None:
        """Prepare for a run."""
        # New ones: a thread of the last run that could not be interrupted still has the old ones.
        self.workers, self.events, self._dead = {}, queue.SimpleQueue(), deque()
        self._setup = setup
        self._snapshot = LocalSnapshot(setup.control)
        self._pipes = LocalCopies(setup.pipe)
        self._around.callback(self._give_up_keywords)
        self._around.enter_context(threads_limited(setup.threads_per_worker))

    def add_worker(self, worker: int) -> None:
        """Start a thread."""
        thread = threading.Thread(
            target=self._work, args=(worker,), name=f"bigpipe-{worker}", daemon=True
        )
        self.workers[worker] = _Thread(self.events, thread)
        try:
            thread.start()
        except RuntimeError as error:
            del self.workers[worker]
            raise WorkerError(
                f"a thread could not be started: {error}. Lower num_processes, or raise the limits "
                "on processes or memory (ulimit -u, ulimit -v)."
            ) from error

    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Send tasks to a thread."""
        to = self.workers[worker]
        to.sent.extend(task.index for task in tasks)
        for task in tasks:
            to.tasks.put(task)

    def recall(self, worker: int) -> tuple[int, ...]:
        """Take back the tasks that a thread has not taken."""
        return tuple(self.workers[worker].take_back())

    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Wait until something has happened."""
        self._kill_programs(until=time.monotonic())
        events = self._collected(0.0 if self._dead else timeout)
        if events or not self._dead:
            return events
        # Report one death at a time, and after all else: the caller may still have sent a task
        # to that worker, which then comes back among the unbegun.
        died = self._dead.popleft()
        died.unbegun = tuple(self.workers[died.worker].take_back())
        return [died]

    def _collected(self, timeout: float | None) -> list[ExecutorEvent]:
        """Wait once; return what threads have told, but for deaths, which are kept."""
        if not (self._dead or self._to_kill):
            self.let_pile_up()
        found: list[ExecutorEvent] = []
        with suppress(queue.Empty):
            found.append(self.events.get(timeout=timeout))
            while True:
                found.append(self.events.get_nowait())
        events: list[ExecutorEvent] = []
        for event in found:
            if isinstance(event, Died):
                self._dead.append(event)
                continue
            events.append(event)
            if isinstance(event, Reported):
                for report in event.reports:
                    self.workers[event.worker].sent.remove(report.index)
            elif isinstance(event, Asked):
                self.asked_at = time.monotonic()
        return events

    def answer(self, worker: int, index: int, refusal: str) -> None:
        """Answer a thread that asked for a name."""
        self.workers[worker].answers.put((index, refusal))

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """Raise `TimeIsUp` in what a thread does, and have it end after that."""
        late = self.workers[worker]
        self._interrupt(late, TimeIsUp, late.sent[0] if late.sent else None)
        late.tasks.put(None)

    def stages(self) -> dict[int, str | None]:
        """Return the hook that each thread is in."""
        return {number: thread.hook for number, thread in self.workers.items()}

    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """End all threads."""
        for worker in self.workers.values():
            with worker.lock:
                worker.is_stopped = True  # whatever it has been sent and not begun
            worker.tasks.put(None)
            worker.answers.put((None, "the run was stopped"))
            if not graceful:
                self._interrupt(worker, Terminated)
        began = time.monotonic()
        if not graceful:
            self._join(until=began + PROGRAM_GRACE)
        self._kill_programs(until=math.inf)
        self._join(until=None if graceful else began + STOP_GRACE)
        self._around.close()
        return []

    def _join(self, until: float | None) -> None:
        for worker in self.workers.values():
            if worker.thread is not None and worker.thread.ident is not None:  # it was started
                worker.thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _kill_programs(self, until: float) -> None:
        """End by force what was asked to end, and had time for it until then."""
        due = [programs for at, programs in self._to_kill if at <= until]
        self._to_kill = [(at, programs) for at, programs in self._to_kill if at > until]
        for programs in due:
            _programs.signal_all(programs, signal.SIGKILL)

    def _give_up_keywords(self) -> None:
        threads = [worker.thread for worker in self.workers.values()]
        if not any(thread is not None and thread.is_alive() for thread in threads):
            self._pipes.close()
            self._snapshot.close()  # else one that cannot be broken off has them still

    def _work(self, number: int) -> None:
        """Run in the thread: take tasks until there are no more, and tell of the end."""
        me = self.workers[number]
        me.shield.protect()
        pid = threading.get_native_id()
        died = Died(number, pid, 1, None)
        try:
            self._take_tasks(me, number, pid)
            died.exitcode = 0
        except Terminated:
            died.exitcode = 0  # the run was stopped: nobody waits for this file
        finally:
            if died.exitcode:  # a fault outside of the hooks, which Python shows
                died.hook = me.hook
            me.events.put(died)

    def _take_tasks(self, me: _Thread, number: int, pid: int) -> None:
        limit_threads(self._setup.threads_per_worker)  # OpenMP counts for each thread
        runner = me.runner = TaskRunner(
            self._pipes.make(),
            self._snapshot,
            pid,
            Stager(),
            on_hook=me.note_hook,
            file_timeout=self._setup.file_timeout,
            cores=self._setup.cores_per_worker,
            in_thread=True,
            catch=(BaseException,),  # a thread is not sent Ctrl-C: it is the hook's own doing
        )
        error = runner.init()
        if error is not None:
            me.events.put(InitFailed(number, error))
            return
        try:
            me.events.put(Ready(number))
            if self.strategy is not None:
                self._run_strategy(me, number, runner)
                return
            while (task := me.tasks.get()) is not None:
                self._run(me, number, runner, task)
        finally:
            runner.exit()

    def _run_strategy(self, me: _Thread, number: int, runner: TaskRunner) -> None:
        with me.lock:
            if me.is_stopped:
                return
            me.is_at_work = True
        try:
            self.strategy.work(_Inbox(me, number, runner))
        finally:
            self._rest(me)

    def _run(self, me: _Thread, number: int, runner: TaskRunner, task: Task) -> None:
        report = None
        with me.lock:
            if me.is_stopped:
                return
            me.is_at_work, me.index = True, task.index
            me.began_at = _programs.now()
        try:
            report = runner.run(task, _QueueClaimant(task, number, me, runner))
            self._rest(me)
        except TimeIsUp as late:  # it came between the last hook and here
            self._rest(me)
            report = report or Report(task.index, error=runner.failure(late, "file_write", None))
        me.events.put(Reported(number, [report]))

    def _rest(self, me: _Thread) -> None:
        """Let nothing be interrupted that comes after a task."""
        with me.lock:
            me.is_at_work = False
            if me.is_interrupted:
                me.is_interrupted = False
                _take_back()

    def _interrupt(
        self, worker: _Thread, exception: type[BaseException], index: int | None = None
    ) -> None:
        """Raise an exception in what a thread does, if that is still the task meant."""
        with worker.lock:
            if index not in (None, worker.index):  # which has ended since
                return
            if worker.is_at_work and worker.thread is not None and worker.runner is not None:
                worker.runner.is_late |= exception is TimeIsUp
                worker.is_interrupted = True
                worker.shield.order(exception, partial(_raise_in, worker.thread.ident, exception))
                # For which its hook may wait, where no exception is raised.
                programs = _programs.programs_of(worker.thread.native_id or 0, worker.began_at)
                _programs.signal_all(programs, signal.SIGTERM)
                self._to_kill.append((time.monotonic() + PROGRAM_GRACE, programs))


class _TakenBack(BaseException):
    """Takes the place of what may still be raised."""


def _raise_in(thread: int | None, exception: type[BaseException]) -> None:
    """Have the interpreter raise an exception in a thread, in place of one not yet raised."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread or 0), ctypes.py_object(exception)
    )


def _take_back() -> None:
    """Have nothing more raised in this thread.

    An order can be cancelled, but the interpreter would then keep looking for it in every thread.
    Under a debugger, Python 3.11 would do nothing else. So another order is obeyed instead.
    """
    with suppress(_TakenBack):
        _raise_in(threading.get_ident(), _TakenBack)
        while True:
            pass
