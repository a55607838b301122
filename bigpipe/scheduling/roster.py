"""Which workers can take a task, and from which of them one could be recalled.

Owns the state of each worker. `bigpipe.scheduler` decides what each gets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

__all__ = ["InHand", "Roster", "Worker"]


@dataclass(slots=True)
class Worker:
    """What one worker is doing."""

    assigned: deque[int] = field(default_factory=deque)
    """Its tasks: the first one has begun, the others were sent ahead."""
    began_at: float = 0.0
    """When it began the first, shifted by the time it was paused."""
    ready: bool = False
    doomed: bool = False
    """Whether it is being ended."""
    doomed_task: int | None = None
    """The task because of which it is being ended, unless that has ended in the meantime."""
    is_overdue: bool = False
    """Whether it is being ended because its task took too long."""
    recall_missed: bool = False
    paused_at: float | None = None

    def begin(self, now: float) -> None:
        """Begin the first of its tasks, if it has any."""
        self.began_at = now
        self.paused_at = None if self.paused_at is None else now

    def resume(self, now: float) -> None:
        """Continue, without counting the time since it was paused."""
        assert self.paused_at is not None
        self.began_at += now - self.paused_at
        self.paused_at = None


class InHand(NamedTuple):
    """A task that a worker is known to have begun."""

    worker: int
    task: int
    began_at: float
    """When the worker began it, shifted by the time it was paused."""
    is_paused: bool


class Roster:
    """Workers by how many tasks they have room for.

    Attributes
    ----------
    workers : dict of int to Worker
        Workers that have been started and are not gone.
    idle : dict of int to None
        Workers without a task, in the order in which they became idle.
    deep : dict of int to None
        Workers that may have tasks that they have not begun.
    """

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.idle: dict[int, None] = {}
        self.deep: dict[int, None] = {}
        self._roomy: dict[int, int] = {}  # tasks of those with room for one ahead

    def assigned(self) -> list[int]:
        """Return the tasks of all workers."""
        return [task for worker in self.workers.values() for task in worker.assigned]

    def owner(self, task: int) -> int | None:
        """Return the worker that has a task, or ``None``."""
        for number, worker in self.workers.items():
            if task in worker.assigned:
                return number
        return None

    def has_begun(self, task: int) -> bool:
        """Return whether a worker is known to have begun a task."""
        return any(w.assigned and w.assigned[0] == task for w in self.workers.values())

    def in_flight(self) -> list[InHand]:
        """Return the tasks that workers have begun."""
        return [
            InHand(number, worker.assigned[0], worker.began_at, worker.paused_at is not None)
            for number, worker in self.workers.items()
            if worker.assigned
        ]

    def at_work(self) -> list[int]:
        """Return the workers that have begun a task and are not being ended, oldest first."""
        begun = [
            (worker.began_at, number)
            for number, worker in self.workers.items()
            if (worker.assigned or worker.paused_at is not None) and not worker.doomed
        ]
        return [number for _, number in sorted(begun)]

    def file(self, number: int, worker: Worker, ahead: int) -> None:
        """Sort a worker into its group, if `ahead` tasks may be sent ahead."""
        can_take = worker.ready and not worker.doomed and worker.paused_at is None
        n_assigned = len(worker.assigned) if can_take else -1
        if n_assigned == 0:
            self.idle[number] = None
        elif number in self.idle:
            del self.idle[number]
        if 0 < n_assigned <= ahead:
            self._roomy[number] = n_assigned
        elif number in self._roomy:
            del self._roomy[number]
        if n_assigned > 1 and not worker.recall_missed:
            self.deep[number] = None
        elif number in self.deep:
            del self.deep[number]

    def last_ahead(self) -> int | None:
        """Return a task that a worker may not have begun, or ``None``."""
        return self.workers[next(iter(self.deep))].assigned[-1] if self.deep else None

    def remove(self, number: int) -> None:
        """Forget a worker that is gone."""
        self.idle.pop(number, None)
        self.deep.pop(number, None)
        self._roomy.pop(number, None)

    def turns(self, n: int, ahead: int, *, idle_only: bool = False) -> list[int]:
        """Return the workers to give `n` tasks to, one for each task; idle workers first.

        Fewer if there is no room for so many. Call `file` for each of them afterwards.
        """
        turns = list(islice(self.idle, n))
        roomy = self._roomy
        for number in turns:
            roomy[number] = 1
        n -= len(turns)
        if roomy and n >= len(roomy) and not idle_only:  # as long as all have room
            rounds = max(0, min(n // len(roomy), ahead + 1 - max(roomy.values())))
            for number in roomy:
                roomy[number] += rounds
            turns += [*roomy] * rounds
            n -= len(roomy) * rounds
        while roomy and n and not idle_only:
            number = next(iter(roomy))
            n_assigned = roomy.pop(number)
            if n_assigned <= ahead:
                roomy[number] = n_assigned + 1
                turns.append(number)
                n -= 1
        return turns

    def next_to_fill(self, ahead: int) -> int | None:
        """Return the worker to give the next task to; idle workers first."""
        if self.idle:
            return next(iter(self.idle))
        while self._roomy:
            number = next(iter(self._roomy))
            if self._roomy.pop(number) <= ahead:
                return number
        return None
