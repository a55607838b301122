"""What happens to the tasks of a dead worker: run again, run again alone, or given up.

Owns the counts behind that decision, and those that show whether another worker would help.
`bigpipe.scheduler` decides which worker is ended, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bigpipe.scheduling.admission import Admission
from bigpipe.scheduling.events import Cause, GiveUp, WorkerDied
from bigpipe.scheduling.roster import Worker

__all__ = ["MAX_FAILED_STARTS", "MAX_IDLE_DEATHS", "Losses"]

MAX_FAILED_STARTS = 3  # in a row, after which starting another worker will not help
MAX_IDLE_DEATHS = 10  # the same for workers that begin no task; arbitrary: others may kill a few


class Losses:
    """Count the attempts and worker deaths of tasks that have begun and have not ended.

    Parameters
    ----------
    max_worker_deaths : int
        Workers that may die on one task before it is given up.
    admission : Admission or None
        Told of tasks that were stopped because of memory.

    Attributes
    ----------
    alone : dict of int to int
        Tasks that each have a worker to themselves, with the deaths that count for no task.

    Notes
    -----
    If a worker dies that had begun several tasks, the cause is unknown. The death counts for none
    of them; but from then on each has a worker to itself, so that another death shows which.
    """

    def __init__(self, max_worker_deaths: int, admission: Admission | None) -> None:
        self._max_deaths = max_worker_deaths
        self._admission = admission
        self._deaths: dict[int, int] = {}
        self.alone: dict[int, int] = {}
        self._failed_starts = 0
        self._idle_deaths = 0
        self._n_unended = -1  # at the last of those

    def note_ready(self) -> None:
        """Note that a worker is ready."""
        self._failed_starts = 0

    def is_hopeless(self, event: WorkerDied, worker: Worker, n_unended: int) -> bool:
        """Count a worker that dies before it begins a task; return whether others would, too.

        Parameters
        ----------
        event : WorkerDied
            Its death.
        worker : Worker
            What it was doing, without the tasks that it had not begun.
        n_unended : int
            Tasks that have not ended; from that it shows whether any has ended meanwhile.
        """
        if worker.doomed or worker.assigned:
            return False
        if not worker.ready:
            self._failed_starts += 1
            return self._failed_starts >= MAX_FAILED_STARTS
        if not event.unbegun:
            return False
        self._idle_deaths = 1 + (self._idle_deaths if n_unended == self._n_unended else 0)
        self._n_unended = n_unended
        return self._idle_deaths >= MAX_IDLE_DEATHS

    def attempts(self, task: int) -> int:
        """Return how often a task has been begun, including the current attempt."""
        stops = 0 if self._admission is None else self._admission.stops(task)
        return self.deaths(task) + stops + 1

    def figures(self, tasks: Sequence[int]) -> list[tuple[int, int | None]]:
        """Return how often each task has been begun, and the bytes that it was started with."""
        admission = self._admission
        if not (self._deaths or self.alone) and (admission is None or admission.is_light):
            return [(1, None)] * len(tasks)
        return [
            (self.attempts(task), None if admission is None else admission.projection(task))
            for task in tasks
        ]

    def deaths(self, task: int) -> int:
        """Return how many workers have died that had begun a task."""
        return self._deaths.get(task, 0) + self.alone.get(task, 0)

    def forget(self, tasks: Iterable[int]) -> None:
        """Drop what was counted for tasks that have ended."""
        if self._deaths or self.alone:
            for task in tasks:
                self._deaths.pop(task, None)
                self.alone.pop(task, None)

    def note(self, event: WorkerDied, worker: Worker) -> list[tuple[int, GiveUp | None]]:
        """Count a death for the tasks that the worker had begun; return which are given up."""
        tasks = list(worker.assigned)
        is_known = len(tasks) <= 1 or (worker.doomed and not worker.is_overdue)
        if is_known:
            return [(task, self._given_up(event, worker, task)) for task in tasks]
        for task in tasks:
            self.alone[task] = self.alone.get(task, 0) + 1
        return [(task, None) for task in tasks]

    def _given_up(self, event: WorkerDied, worker: Worker, task: int) -> GiveUp | None:
        if worker.doomed and task != worker.doomed_task:  # begun before its worker had ended
            return None
        attempts = self.attempts(task)
        cause, n_bytes = Cause.DIED, None
        if worker.is_overdue:
            cause = Cause.TIMED_OUT
        elif worker.doomed:
            assert self._admission is not None
            n_bytes = self._admission.stopped(event.worker, task)
            if n_bytes is None:
                return None
            cause = Cause.TOO_LARGE
        else:
            deaths = self._deaths[task] = self._deaths.get(task, 0) + 1
            if deaths < self._max_deaths:
                if self._admission is not None and event.out_of_memory:
                    self._admission.ran_out(event.worker, task)
                return None
        self.forget((task,))
        if self._admission is not None:
            self._admission.forget(task)
        return GiveUp(task, attempts, cause, n_bytes)
