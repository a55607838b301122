"""What becomes of the tasks of a worker that is gone: again, again alone, or given up.

Owns what is counted for that. Which worker is ended, and when, is decided in
`bigpipe.scheduler`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bigpipe.admission import Admission
from bigpipe.events import Cause, GiveUp, WorkerDied
from bigpipe.roster import Worker

__all__ = ["Losses"]


class Losses:
    """Count what has befallen tasks that have begun and not ended.

    Parameters
    ----------
    max_worker_deaths : int
        Workers that may die on one task before it is given up.
    admission : Admission or None
        Is told of those that were stopped for their memory.

    Attributes
    ----------
    alone : dict of int to int
        Tasks that have each worker for themselves, with the deaths that count for none.

    Notes
    -----
    Of several tasks that one worker had begun, nobody can tell which is to blame. Such a death
    counts for none of them; but from then on each has its worker for itself, so that the next
    one tells.
    """

    def __init__(self, max_worker_deaths: int, admission: Admission | None) -> None:
        self._max_deaths = max_worker_deaths
        self._admission = admission
        self._deaths: dict[int, int] = {}
        self.alone: dict[int, int] = {}

    def attempts(self, task: int) -> int:
        """Return how often a task has been begun, the present time included."""
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
        if worker.doomed and task != worker.doomed_task:  # begun between order and end
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
