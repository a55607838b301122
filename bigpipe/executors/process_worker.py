"""What runs in a worker process, from its first line to its last.

Owns the worker's side of the channels that `bigpipe.executors.processes` draws, the order in which
a worker is prepared, and its end. `bigpipe.executors.worker` runs a task.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigpipe import clock, context
from bigpipe.claims.register import Claimant
from bigpipe.errors import FileError
from bigpipe.executors import wire
from bigpipe.executors._settling import settled
from bigpipe.executors.base import Report
from bigpipe.executors.failures import file_error
from bigpipe.executors.file_run import FileRun
from bigpipe.executors.kept_memory import KeptMemory
from bigpipe.executors.strategies import Inbox
from bigpipe.executors.unsendable import report_of_unpicklable
from bigpipe.executors.worker import TaskRunner
from bigpipe.interrupts import Interrupts, Terminated
from bigpipe.outputs import Stager
from bigpipe.prints import Place
from bigpipe.sharing.buffers import BuffersLost
from bigpipe.sharing.snapshot import Snapshot, unpickled_beside

__all__ = ["KEYWORDS_LOST", "WorkerSetup", "main", "pickled_report"]

KEYWORDS_LOST = 75  # exit code EX_TEMPFAIL of BSD's <sysexits.h>: another attempt may succeed


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker of a run receives."""

    pipe: Any
    """The pipeline object; in a worker, its own copy."""
    snapshot: Snapshot
    """The keywords."""
    threads: int | None
    """Threads of numerical libraries; ``None``: unchanged."""
    cores: float | None
    """Cores that a pipeline started by a hook may use; ``None``: all."""
    strategy: Any = None
    """The `Strategy` of each worker; ``None``: one file after another."""
    place: Place = Place.ELSEWHERE
    """Where this process prints."""


inherited: WorkerSetup | None = None
"""Set in the parent while it forks a worker, which finds it here: nothing is pickled then."""


def main(tickets_fd: int, stream_fd: int, stage_fd: int, data_fd: int, *more: int) -> int:
    """Run tasks until there are no more; return the exit code."""
    interrupts = Interrupts(lambda: True)
    interrupts.install()
    ends = wire.WorkerEnds(tickets_fd, stream_fd, stage_fd)
    clock.set_pauses(ends.paused_s)
    try:
        worker = _prepare(ends, data_fd, more, interrupts)
        if worker is not None:
            worker.work()
    except Terminated:
        interrupts.end_process()
    except BuffersLost:
        return KEYWORDS_LOST
    except (ConnectionError, EOFError):
        pass  # the parent has ended or closed the channels: nobody is left to report to
    return 0


def _prepare(
    ends: wire.WorkerEnds, data_fd: int, more: tuple[int, ...], interrupts: Interrupts
) -> _ProcessWorker | None:
    """Give this process the parent's environment, and return its worker; ``None`` on failure."""

    def tell(payload: Any) -> None:
        with suppress(ConnectionError):  # the next report raises it, outside the hook
            file = context.current()
            number = ends.number_of(None if file is None else file.index)
            ends.send(wire.TOLD, number, pickle.dumps(payload))

    try:
        setup = settled(
            inherited,
            lambda: pickle.loads(ends.receive(wire.SETUP, 0)),
            lambda payload: unpickled_beside(payload, data_fd),
            tell,
        )
        setup.snapshot.fd = data_fd
        if more:
            setup.pipe._bmp_descriptors = more  # whose numbers may differ from the parent's
    except Terminated:
        raise
    except Exception as raised:  # importing the caller's modules may raise anything
        _send_failure(ends, file_error(raised, "start of the worker", None))
        return None
    return _ProcessWorker(ends, setup, interrupts)


def _send_failure(ends: wire.WorkerEnds, error: FileError) -> None:
    ends.send(wire.INIT_FAILED, 0, pickle.dumps(error))


class _AskingClaimant(Claimant):
    """Asks the parent for a name."""

    def __init__(self, granted: str | None, number: int, worker: _ProcessWorker) -> None:
        super().__init__(granted, worker.runner.end_if_over)
        self._number = number
        self._ends = worker.ends

    def _send(self, outname: str, exists: bool) -> None:
        self._ends.send(wire.ASK, self._number, pickle.dumps((outname, exists)))

    def _receive(self) -> str:
        return self._ends.receive(wire.ANSWER, self._number).decode("utf-8", "surrogateescape")


class _ProcessWorker:
    def __init__(self, ends: wire.WorkerEnds, setup: WorkerSetup, interrupts: Interrupts) -> None:
        self.ends = ends
        self._interrupts = interrupts
        self._strategy = setup.strategy
        self._pid = os.getpid()
        self._home = _open_current_folder()
        os.register_at_fork(after_in_child=ends.note_fork)
        stager = Stager(announce=self._announce)
        self.runner = TaskRunner(
            setup.pipe,
            setup.snapshot,
            self._pid,
            stager,
            on_hook=ends.note_stage,
            catch=(BaseException,),
            cores=setup.cores,
            end_worker=self.end_if_over,
            is_alone=True,
            kept_memory=KeptMemory(ends.kept_bytes) if setup.strategy is None else None,
        )

    def _announce(self, folder: str) -> None:
        self.ends.send(wire.STAGING, 0, os.fsencode(folder))

    def end_if_over(self) -> None:
        """End if this is a child that a hook has forked and that has returned from the hook.

        End also if this process was told to end but a bare ``except:`` of a hook prevented it.
        """
        if self.ends.is_forked:
            os._exit(0)
        if self._interrupts.terminated_by is not None:
            raise Terminated

    def work(self) -> None:
        """Run tasks until there are no more, or this process is told to end."""
        self.ends.note_stage("worker_init")
        error = self.runner.init()
        if error is not None:
            _send_failure(self.ends, error)
            return
        stage: str | None = "worker_exit"
        try:
            self._run_tasks()
        except BaseException:  # SIGTERM, or a hook has closed bigpipe's descriptor
            stage = None  # its hook stays the last one noted: the file is charged with this death
            raise
        finally:
            if not self.ends.is_forked:
                self.ends.at_work.clear()
                if stage is not None:
                    self.ends.note_stage(stage)
                self.runner.exit()

    def go_home(self) -> None:
        """Return to the first current folder: a hook may have left it, and names are relative."""
        if self._home is not None:
            os.fchdir(self._home)

    def hand_in(self, number: int, report: Report) -> None:
        """Send the report of a task."""
        self.ends.end_task(number)
        self.ends.send(wire.REPORT, number, pickled_report(report))

    def _run_tasks(self) -> None:
        try:
            self.ends.send(wire.READY, 0, pickle.dumps(self.runner.reserved))
            if self._strategy is not None:
                self._strategy.work(_Inbox(self))
                return
            while (taken := self.ends.next_task()) is not None:
                number, task = taken
                self.go_home()
                claimant = _AskingClaimant(task.granted, number, self)
                self.hand_in(number, self.runner.run(task, claimant))
        finally:
            # SIGTERM may follow the last task at once and must not interrupt worker_exit.
            self._interrupts.is_deaf = True


class _Inbox(Inbox):
    """Gives a strategy the tasks of this process."""

    def __init__(self, worker: _ProcessWorker) -> None:
        self.pipe = worker.runner.pipe
        self._worker = worker
        self._numbers: dict[FileRun, int] = {}

    def take(self, wait: bool = True) -> FileRun | None:
        """Begin the next file."""
        worker = self._worker
        taken = worker.ends.next_task(wait)
        if taken is None:
            return None
        number, task = taken
        worker.go_home()
        worker.runner.share(task.memory)
        claimant = _AskingClaimant(task.granted, number, worker)
        file = FileRun(worker.runner, task, claimant)
        self._numbers[file] = number
        return file

    def hand_in(self, files: Sequence[FileRun]) -> None:
        """Send the reports of files that have ended."""
        measured = self._worker.runner.measure()
        for file in files:
            self._worker.hand_in(self._numbers.pop(file), file.report(*measured))


def _open_current_folder() -> int | None:
    try:
        return os.open(os.curdir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # it may have been removed, or be unreadable
        return None


def pickled_report(report: Report) -> bytes:
    """Pickle a report; if its metadata cannot be pickled, that of a failure that names the key."""
    try:
        return pickle.dumps(report.as_tuple(), protocol=5)
    except Exception:  # any object's own pickling may raise anything
        return _pickled_by_value(report)


def _pickled_by_value(report: Report) -> bytes:
    """Pickle a report with objects of classes that cannot be found by name."""
    import cloudpickle

    try:
        payload: bytes = cloudpickle.dumps(report.as_tuple())
    except Exception as error:  # any object's own pickling may raise anything
        return pickle.dumps(report_of_unpicklable(report, error).as_tuple(), protocol=5)
    return payload
