"""Pools of other libraries as an executor (`PoolClass`), and nestable pools to use directly.

Owns what is needed to run tasks in any pool that has ``map``. Such a pool notices no dead workers
and forwards no log records; bigpipe's own workers are in `bigpipe.executors.processes`.
"""

from __future__ import annotations

import inspect
import multiprocessing
import multiprocessing.context
import multiprocessing.pool
import os
import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from multiprocessing import util
from typing import Any

from bigpipe.claims.folder_claims import FolderClaims
from bigpipe.claims.register import DirectClaimant
from bigpipe.environment import folder_kept, limit_threads
from bigpipe.errors import WorkerError
from bigpipe.executors.base import (
    Executor,
    ExecutorEvent,
    Ready,
    Report,
    Reported,
    Setup,
    Task,
)
from bigpipe.executors.process_worker import pickled_report
from bigpipe.executors.unsendable import unpickled_report
from bigpipe.executors.worker import TaskRunner
from bigpipe.outputs import Stager
from bigpipe.sharing.snapshot import LocalSnapshot, pickled_for_workers
from bigpipe.staging import remove_if_unlocked

__all__ = ["NestablePool", "NoDaemonPool", "PoolExecutor", "WorkerWithKwargs"]

STOP_GRACE = 0.6  # seconds for files in flight when a run is stopped, which must end within one


class WorkerWithKwargs:
    """A function with fixed keywords, to be called by a pool's ``map``.

    Parameters
    ----------
    function : callable
        The function.
    **kwargs
        The keywords of each call.

    Examples
    --------
    >>> WorkerWithKwargs(round, ndigits=1).worker(2.345)
    2.3
    """

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        self.function = function
        self.kwargs = kwargs

    def worker(self, *args: Any) -> Any:
        """Call the function with these arguments and the fixed keywords."""
        return self.function(*args, **self.kwargs)


class _NotDaemonic:
    """A process that may have children, even if its pool makes it daemonic."""

    @property
    def daemon(self) -> bool:
        return False

    @daemon.setter
    def daemon(self, value: bool) -> None:
        pass


class _ForkProcess(_NotDaemonic, multiprocessing.context.ForkProcess):
    pass


class _ForkServerProcess(_NotDaemonic, multiprocessing.context.ForkServerProcess):
    pass


class _SpawnProcess(_NotDaemonic, multiprocessing.context.SpawnProcess):
    pass


_PROCESSES: dict[str, Any] = {
    "fork": _ForkProcess,
    "forkserver": _ForkServerProcess,
    "spawn": _SpawnProcess,
}


class NestablePool(multiprocessing.pool.Pool):
    """A `multiprocessing.pool.Pool` whose workers may have children, such as pools.

    Close it by ``with`` or by hand: the interpreter does not end its workers at exit.
    """

    @staticmethod
    def Process(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Make a worker of the context's start method."""
        return _PROCESSES[ctx.get_start_method()](*args, **kwargs)


class NoDaemonPool(NestablePool):
    """The same as `NestablePool`, under its older name."""


class PoolExecutor(Executor):
    """Processes files in a pool that the caller has chosen.

    Parameters
    ----------
    pool_class : type
        Its instances must be context managers with ``map``; ``imap_unordered`` is used if there
        is one. The number of processes is passed as ``processes``, or else as first argument.
    n_processes : int
        Processes of the pool.
    """

    can_stop = False
    wants_all_tasks = True

    def __init__(self, pool_class: Any, n_processes: int) -> None:
        self.pool_class = pool_class
        self.n_processes = n_processes
        self._events: list[ExecutorEvent] = []
        self._tasks: dict[int, Task] = {}
        self._workers: dict[int, int] = {}
        self._outcomes: Iterator[ExecutorEvent] | None = None

    def start(self, setup: Setup) -> None:
        """Prepare for a run."""
        self._setup = setup
        self._events, self._tasks, self._workers, self._outcomes = [], {}, {}, None
        self._folder = tempfile.mkdtemp(prefix="bigpipe-claims-")
        self._notes = tempfile.mkdtemp(prefix="bigpipe-stagings-")

    def add_worker(self, worker: int) -> None:
        """Add a place for a task; there is nothing to start."""
        self._events.append(Ready(worker))

    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Keep tasks until the pool is given all of them."""
        for task in tasks:
            self._tasks[task.index] = task
            self._workers[task.index] = worker

    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Run the pool; return its next results."""
        if self._events:
            events, self._events = self._events, []
            return events
        if self._outcomes is None:
            self._outcomes = self._run_pool()
        event = next(self._outcomes, None)
        if event is None:
            raise WorkerError(
                f"{self.pool_class.__name__} ended without a result for every file; leave "
                "PoolClass out to use bigpipe's own workers"
            )
        return [event]

    def _run_pool(self) -> Iterator[ExecutorEvent]:
        tasks = list(self._tasks.values())
        inputs, outputs = self._setup.taken()
        FolderClaims(self._folder, [*inputs, *(task.in_name for task in tasks)], outputs)
        call = _PoolCall(self._setup, self._folder, self._notes)
        with _made(self.pool_class, self.n_processes) as pool:
            payloads = iter(getattr(pool, "imap_unordered", pool.map)(call, tasks))
            try:
                for payload in payloads:
                    # Also if worker_init raised there: every file must have a result.
                    report = unpickled_report(None, payload)
                    yield Reported(self._workers[report.index], [report])
            except BaseException:
                # If multiprocessing's pool is stopped while it works, it may wait for itself for
                # ever. So let it run out: without the folder, no more files begin.
                shutil.rmtree(self._folder, ignore_errors=True)
                _run_out(payloads)
                raise
            if hasattr(pool, "close") and hasattr(pool, "join"):
                # Workers that end by themselves run worker_exit.
                pool.close()
                pool.join()

    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """End the pool."""
        if self._outcomes is not None:
            if graceful:
                next(self._outcomes, None)
            self._outcomes.close()  # type: ignore[attr-defined]
        # Such a pool may have worked in this process, for instance in threads.
        for key in [key for key in _runners if key[:2] == (self._folder, os.getpid())]:
            _runners.pop(key).end()
        shutil.rmtree(self._folder, ignore_errors=True)
        _remove_noted(self._notes)
        return []


def _made(pool_class: Any, n_processes: int) -> Any:
    """Return a pool with this number of processes."""
    try:
        parameters = inspect.signature(pool_class).parameters.values()
    except ValueError:  # some classes written in C have no signature
        return pool_class(processes=n_processes)
    if any(x.name == "processes" or x.kind is x.VAR_KEYWORD for x in parameters):
        return pool_class(processes=n_processes)
    return pool_class(n_processes)  # `concurrent.futures` calls it max_workers


def _note(notes: str, staging: str) -> None:
    """Note a staging folder in a folder, as `multiprocessing`'s pools may kill their workers."""
    with suppress(OSError):  # the run is over
        os.symlink(staging, os.path.join(notes, os.path.basename(staging)))


def _remove_noted(notes: str) -> None:
    """Remove the staging folders that killed workers have left, and the folder with the notes."""
    for name in os.listdir(notes):
        staging = os.readlink(os.path.join(notes, name))
        remove_if_unlocked(staging)
        with suppress(OSError):  # in use, or gone
            os.rmdir(os.path.dirname(staging))
    shutil.rmtree(notes, ignore_errors=True)


def _run_out(payloads: Any) -> None:
    """Wait a moment for the files that a pool has begun."""
    until = time.monotonic() + STOP_GRACE
    # Other pools accept no time limit here; and nobody needs what a file raises now.
    with suppress(Exception):
        while True:
            payloads.next(timeout=max(0.0, until - time.monotonic()))


class _PoolCall:
    """What a pool calls for each task, in its worker."""

    def __init__(self, setup: Setup, folder: str, notes: str) -> None:
        content = (setup.pipe, setup.control)
        self._payload = pickled_for_workers(content, setup.pipe, setup.control)
        self._cores = setup.cores_per_worker
        self._threads = setup.threads_per_worker
        self._home = os.getpid()
        self._folder = folder
        self._notes = notes

    def __call__(self, task: Task) -> bytes:
        if not os.path.isdir(self._folder):  # the run is over
            return b""
        key = (self._folder, os.getpid(), threading.get_ident())
        if key not in _runners:
            if os.getpid() != self._home:
                limit_threads(self._threads)
            pipe, control = pickle.loads(self._payload)
            _runners[key] = _PoolRunner(pipe, control, self._cores, self._notes)
        runner, error = _runners[key].runner, _runners[key].error
        if error is not None:
            return pickled_report(Report(task.index, error=error, worker=os.getpid()))
        claims = FolderClaims(self._folder)
        claimant = DirectClaimant(
            None, lambda outname, exists: claims.claim(task.index, task.in_name, outname)
        )
        with _folder_kept(runner):
            return pickled_report(runner.run(task, claimant))


class _PoolRunner:
    """Runs the tasks of one worker of a pool; it ends with its process at the latest."""

    def __init__(self, pipe: Any, control: dict[str, Any], cores: float | None, notes: str) -> None:
        self.runner = TaskRunner(
            pipe,
            LocalSnapshot(control),
            os.getpid(),
            Stager(partial(_note, notes)),
            cores=cores,
            in_thread=threading.current_thread() is not threading.main_thread(),
        )
        with _folder_kept(self.runner):
            self.error = self.runner.init()
        self._ending: Any = None
        if self.error is None:
            self._ending = util.Finalize(None, self.runner.exit, exitpriority=10)

    def end(self) -> None:
        """Run ``worker_exit``, once, if the worker was prepared."""
        if self._ending is not None:
            self._ending()


def _folder_kept(runner: TaskRunner) -> AbstractContextManager[Any]:
    return nullcontext() if runner.in_thread else folder_kept()  # threads share one folder


_runners: dict[tuple[str, int, int], _PoolRunner] = {}
"""In a pool's worker: what runs its tasks, made at its first task."""
