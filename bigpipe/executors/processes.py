"""The executor of many files at a time in worker processes: a pool that loses nothing.

Owns the parent's side: the workers, the messages to and from each, and how each one ends. The
worker's side is `bigpipe.executors.process_worker`; `bigpipe.executors.launch` starts and ends
processes.

Workers share nothing, so any of them may be stopped or killed at any moment without hurting
another. Each has::

    parent                                  worker
      stream <--- reports, logs, asks --    in the order in which they happened
             ---- tasks, answers ------>
      tickets --- one for each task --->    takes one before it begins a task
         `-- recall: reads them back        (one of the two gets a ticket, never both)
      stage  <--- shared page ----------    name of the hook that runs, for its last words
      child  <--- readable when it ends     lifeline: the kernel ends the worker's group
                                            the moment the parent is gone
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

from bigpipe.environment import thread_libraries
from bigpipe.executors import launch, process_worker, wire
from bigpipe.executors._descriptors import leave_descriptors
from bigpipe.executors._local_classes import note_local_classes
from bigpipe.executors._settling import message
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
    Told,
)
from bigpipe.executors.keeper import Keeper
from bigpipe.executors.unsendable import unpickled_report
from bigpipe.interrupts import Postponed
from bigpipe.scheduling.pace import MAX_AHEAD
from bigpipe.sharing.snapshot import Beside, Snapshot
from bigpipe.staging import remove_staging
from bigpipe.system.fork_safety import fork_is_safe

__all__ = ["ProcessesExecutor"]

SPARE_DESCRIPTORS = 16  # for what the caller's process opens during a run; arbitrary
MAX_STAGINGS = 64  # the last folders that a worker made; it uses far fewer at a time
STOP_GRACE = 0.6  # seconds from SIGTERM to SIGKILL, so that a run stops within one second
EXIT_GRACE = 60.0  # seconds that a worker_exit may take at the end of a run; arbitrary


class _Worker:
    """The parent's end of one worker."""

    def __init__(self, number: int, child: launch.Child, ends: wire.ParentEnds) -> None:
        self.number = number
        self.child = child
        self.ends = ends
        self.sent: dict[int, int] = {}  # number of each task that is out -> index
        self.stagings: deque[str] = deque(maxlen=MAX_STAGINGS)
        self.kill_at: float | None = None
        self.stage_when_killed: str | None = None
        self.keeper: Keeper | None = None  # on which it depends
        self.paused_at: float | None = None
        self.paused_s = 0.0  # before that
        self.is_gone = False
        self.has_ended = False


class ProcessesExecutor(Executor):
    """Processes files in processes of its own."""

    max_ahead = MAX_AHEAD
    can_pause = True
    has_strategies = True

    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}
        self._events: list[ExecutorEvent] = []
        self._dead: deque[_Worker] = deque()
        self._payload: Beside | None = None
        self._keeper: Keeper | None = None
        self._last = ExitStack()
        self._kept_bytes = 0

    def start(self, setup: Setup) -> None:
        """Pickle the keywords, once for all workers."""
        self._keeper = None
        self._setup = setup
        self._payload = None
        self._selector = selectors.DefaultSelector()
        self._last.callback(self._selector.close)
        with Postponed():
            self._snapshot = Snapshot(setup.control)
            self._last.callback(self._snapshot.close)
        method = self._method()
        if method == "fork":
            note_local_classes(setup.pipe, setup.control)
        with Postponed():  # or an interrupt might leave the process behind
            if method == "fork":
                self._keeper = Keeper.start(self._snapshot)
            if self._keeper is not None:
                self._last.callback(self._keeper.close)
        if self._keeper is None:
            self._snapshot.fill()

    def add_worker(self, worker: int) -> None:
        """Start a process."""
        if self._workers:
            with Postponed():  # or one of them might stay open
                leave_descriptors(SPARE_DESCRIPTORS)
        method = self._method()
        self._see_to_keywords(method)
        with Postponed():  # until the process is noted, to be ended with the run
            started = self._started(worker, method)
        if method != "fork":
            self._send(started, wire.SETUP, 0, self._portable())

    def _started(self, worker: int, method: str) -> _Worker:
        ends = wire.ParentEnds()
        try:
            fds = [*ends.worker_fds, self._snapshot.fd, *self._setup.descriptors]
            child = self._begin(method, fds)
        except BaseException:
            ends.close()
            raise
        ends.close_worker_fds()
        ends.note_kept(self._kept_bytes)
        started = self._workers[worker] = _Worker(worker, child, ends)
        started.keeper = self._keeper if method == "fork" else None
        self._selector.register(ends.stream, selectors.EVENT_READ, started)
        self._selector.register(child, selectors.EVENT_READ, started)
        return started

    def _method(self) -> str:
        return self._setup.start_method or ("fork" if fork_is_safe() else "forkserver")

    def _see_to_keywords(self, method: str) -> None:
        """Fill the file of large keywords if the next worker cannot inherit them."""
        if self._keeper is None or (method == "fork" and self._keeper.is_alive):
            return
        if self._keeper.is_alive:
            self._keeper.fetch([(i, 0, size) for i, (_, size) in enumerate(self._snapshot.spans)])
            self._snapshot.use_file()
        else:
            self._snapshot.fill()
        self._keeper.close()
        self._keeper = None

    def _begin(self, method: str, fds: list[int]) -> launch.Child:
        target = "bigpipe.executors.process_worker:main"
        if method != "fork":
            return launch.start(method, target, fds)
        if self._setup.threads_per_worker is not None:
            thread_libraries()  # so that the child need not look for them
        with launch.no_fork():  # a thread of another run would fork with the setup of this one
            process_worker.inherited = self._worker_setup()
            try:
                return launch.start(method, target, fds)
            finally:
                process_worker.inherited = None

    def _worker_setup(self) -> process_worker.WorkerSetup:
        return process_worker.WorkerSetup(
            self._setup.pipe,
            self._snapshot,
            self._setup.threads_per_worker,
            self._setup.cores_per_worker,
            self.strategy,
            self._setup.place,
        )

    def _portable(self) -> bytes:
        """Return all that a worker needs if it has inherited nothing."""
        if self._payload is None:
            self._payload = self._snapshot.pickled_beside(
                self._worker_setup(), self._setup.pipe, self._setup.control
            )
        return pickle.dumps(message(self._setup.threads_per_worker, self._payload))

    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Send tasks to a process."""
        to = self._workers[worker]
        # Noted before they go: Ctrl-C may come right after, and `close` takes them back.
        numbers = to.ends.next_numbers(len(tasks))
        to.sent.update(zip(numbers, [task.index for task in tasks], strict=True))
        if not to.ends.send_tasks(tasks):
            self._send_later(to)

    def recall(self, worker: int) -> tuple[int, ...]:
        """Take back the tasks that a process has not begun."""
        return self._take_back(self._workers[worker])

    def _take_back(self, worker: _Worker) -> tuple[int, ...]:
        return tuple(worker.sent.pop(number) for number in worker.ends.take_tickets_back())

    def answer(self, worker: int, index: int, refusal: str) -> None:
        """Answer a process that asked for a name."""
        to = self._workers[worker]
        for number, sent in to.sent.items():
            if sent == index:  # otherwise its report has come since, and it does not wait
                self._send(to, wire.ANSWER, number, refusal.encode("utf-8", "surrogateescape"))
                return

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """End a process: by SIGTERM and soon after SIGKILL, or by SIGKILL at once."""
        to = self._workers[worker]
        to.stage_when_killed = to.ends.stage()
        if at_once:
            to.child.kill_group()
            return
        to.child.terminate()
        self.resume(worker)
        to.kill_at = time.monotonic() + STOP_GRACE

    def let_keep(self, n_bytes: int) -> None:
        """Note for all processes how much freed memory they may keep."""
        if n_bytes != self._kept_bytes:
            self._kept_bytes = n_bytes
            for worker in self._workers.values():
                worker.ends.note_kept(n_bytes)

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker."""
        return {number: worker.child.pid for number, worker in self._workers.items()}

    def stages(self) -> dict[int, str | None]:
        """Return the hook that each worker is in."""
        return {number: worker.ends.stage() for number, worker in self._workers.items()}

    def pause(self, worker: int) -> None:
        """Stop a process and its group by SIGSTOP, which they cannot notice or prevent."""
        to = self._workers[worker]
        to.paused_at = time.monotonic()
        to.child.signal_group(signal.SIGSTOP)

    def resume(self, worker: int) -> None:
        """Let a process and its group continue."""
        to = self._workers[worker]
        if to.paused_at is not None:
            to.paused_s += time.monotonic() - to.paused_at
            to.paused_at = None
            to.ends.note_paused(to.paused_s)
            to.child.signal_group(signal.SIGCONT)

    def _send(self, worker: _Worker, kind: int, number: int, payload: bytes) -> None:
        if not worker.ends.send(kind, number, payload):
            self._send_later(worker)

    def _send_later(self, worker: _Worker) -> None:
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.modify(worker.ends.stream, both, worker)

    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Wait until something has happened."""
        if not self._events and not self._dead:
            self._collect(timeout)
        if not self._events and self._dead:
            # Report one death at a time, and after all else: the caller may still have sent a
            # task to that worker, which then comes back among the unbegun.
            return [self._bury(self._dead.popleft())]
        events, self._events = self._events, []
        return events

    def _collect(self, timeout: float | None) -> None:
        """Wait once; keep what the workers have sent."""
        now = time.monotonic()
        kills = [w.kill_at for w in self._workers.values() if w.kill_at is not None]
        if not kills:
            self.let_pile_up()
        else:
            until_kill = max(0.0, min(kills) - now)
            timeout = until_kill if timeout is None else min(timeout, until_kill)
        # If this process was stopped for a while (Ctrl-Z and fg), the first select may return a
        # timeout although something has come meanwhile.
        for key, ready in self._selector.select(timeout) or self._selector.select(0):
            worker: _Worker = key.data
            if worker.has_ended:  # noticed, and read to its end, just before
                continue
            if key.fileobj is worker.child:
                self._note_end(worker)
                continue
            if ready & selectors.EVENT_WRITE and worker.ends.flush():
                self._selector.modify(worker.ends.stream, selectors.EVENT_READ, worker)
            if ready & selectors.EVENT_READ:
                self._receive(worker)
        if kills:
            now = time.monotonic()
            for worker in self._workers.values():
                if worker.kill_at is not None and now >= worker.kill_at:
                    worker.kill_at = None
                    worker.child.kill_group()

    def _receive(self, worker: _Worker) -> None:
        open_still, frames = worker.ends.receive()
        reports: list[Report] = []
        for kind, number, payload in frames:
            if kind == wire.REPORT:
                if not reports:
                    self._events.append(Reported(worker.number, reports))
                reports.append(unpickled_report(worker.sent.pop(number), payload))
            else:
                reports = []  # those that follow come after it
                self._understand(worker, kind, number, payload)
        if not open_still and not worker.is_gone:
            # The process is ending, or a hook has closed bigpipe's descriptor.
            self._selector.unregister(worker.ends.stream)
            worker.is_gone = True
            worker.kill_at = worker.kill_at or time.monotonic() + STOP_GRACE

    def _understand(self, worker: _Worker, kind: int, number: int, payload: bytes) -> None:
        event: ExecutorEvent
        if kind == wire.TOLD:
            event = Told(worker.child.pid, worker.sent.get(number), pickle.loads(payload))
        elif kind == wire.ASK:
            self.asked_at = time.monotonic()
            outname, exists = pickle.loads(payload)
            event = Asked(worker.number, worker.sent[number], outname, exists)
        elif kind == wire.STAGING:
            worker.stagings.append(os.fsdecode(payload))
            return
        elif kind == wire.READY:
            event = Ready(worker.number, pickle.loads(payload))
        else:
            event = InitFailed(worker.number, pickle.loads(payload))
        self._events.append(event)

    def _note_end(self, worker: _Worker) -> None:
        """Read what a process sent before it ended; nothing more can come."""
        if not worker.is_gone:
            self._receive(worker)
            if not worker.is_gone:
                self._selector.unregister(worker.ends.stream)
        self._selector.unregister(worker.child)
        worker.has_ended = True
        worker.kill_at = None
        self._dead.append(worker)

    def _bury(self, worker: _Worker) -> Died:
        """Clean up after a process and the processes that its hooks have started."""
        worker.child.kill_group()
        exitcode = worker.child.wait(None) or 0
        unbegun = self._take_back(worker)
        if exitcode == process_worker.KEYWORDS_LOST and worker.keeper and worker.keeper.has_ended():
            unbegun = (*worker.sent.values(), *unbegun)  # the task it had begun is not to blame
        hook = worker.stage_when_killed or worker.ends.stage()
        died = Died(worker.number, worker.child.pid, exitcode, hook, unbegun)
        with Postponed():  # or an interrupt might leave descriptors open
            del self._workers[worker.number]
            worker.child.close()
            worker.ends.close()
        for folder in worker.stagings:
            remove_staging(folder)
        return died

    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """End all processes."""
        until = time.monotonic() + (EXIT_GRACE if graceful else STOP_GRACE)
        for worker in self._workers.values():
            self._take_back(worker)
            worker.kill_at = until
            worker.ends.send_end()
        if not graceful:
            launch.terminate_all([worker.child for worker in self._workers.values()])
        for worker in self._workers.values():
            self.resume(worker.number)
        while self._workers:
            self._collect(None)
            while self._dead:
                self._bury(self._dead.popleft())
        self._last.close()
        events, self._events = self._events, []
        return [event for event in events if isinstance(event, Told)]
