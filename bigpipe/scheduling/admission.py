"""Decides which task may start within the budget.

Owns the pending tasks, their projections, and which is next. `bigpipe.scheduling.charges` charges
the workers and relieves memory when they take too much; `bigpipe.scheduler` decides who does what
when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping

from bigpipe.scheduling.charges import Charges
from bigpipe.scheduling.events import Event, Measured, TaskEnded, WorkerDied, WorkerReady
from bigpipe.scheduling.passes import Passes
from bigpipe.scheduling.pending import Pending
from bigpipe.scheduling.projection import Need, Projector, size_class

__all__ = ["Admission", "Need", "small"]

FAR_FROM_BUDGET = 4  # budget / use of all tasks above which no account is kept; arbitrary
MAX_PASSES = 1  # times n_workers: tasks that may go past the first one; arbitrary
AHEAD_SHARE = 0.5  # of the limit: may be held for tasks that were sent ahead; arbitrary
RAISED_FROM_PROJECTED = 2.0  # times, after a task was stopped; arbitrary
RAISED_FROM_USED = 1.5  # times, after a task was stopped; arbitrary
UNKNOWN = Need()


def small(budget: int, n_workers: int) -> int:
    """Return the bytes per task at which all workers together stay far from the budget."""
    return budget // (FAR_FROM_BUDGET * n_workers)


class Admission:
    """Let tasks start within a budget.

    Parameters
    ----------
    budget : int
        Bytes that all workers together may use.
    is_given : bool
        Whether the caller gave the budget: a task that exceeds it alone is then ended.
    n_workers : int
        Tasks that may run at once.
    can_pause : bool, optional
        Whether workers can be paused and stopped. If not, only starts are held back.
    need_of : callable, optional
        Returns the `Need` of a task. If given, all tasks are assumed small compared with the
        budget, and no account is kept of each, as that would cost more than the tasks do, until
        an event shows otherwise.

    Attributes
    ----------
    n_to_choose_from : int
        Pending tasks to keep, so that some of them may fit; set by the caller if it has all.
    charges : Charges
        The account of memory in use.
    pending : Pending
        The pending tasks.
    light : deque of int or None
        The pending tasks while no account is kept: any of them may start anywhere.

    Notes
    -----
    A task starts when the charges fit, or when no other is running. Small tasks may go past one
    that does not fit yet, or that would leave the other cores no memory, but only a limited
    number of times: see `bigpipe.scheduling.passes`. None starts while a worker is paused. A task
    that was stopped twice runs alone, so that every task ends.
    """

    def __init__(
        self,
        budget: int,
        *,
        is_given: bool,
        n_workers: int,
        can_pause: bool = True,
        need_of: Callable[[int], Need] | None = None,
    ) -> None:
        self._need_of = need_of
        self.light: deque[int] | None = None if need_of is None else deque()
        self.small = small(budget, n_workers)
        self.charges = Charges(budget, is_given=is_given, can_pause=can_pause)
        self._projector = Projector(budget)
        self.pending = Pending(self._project)
        self.n_to_choose_from = 0
        self._passes = Passes(MAX_PASSES * n_workers)
        self._needs: dict[int, Need] = {}
        self._projected: dict[int, int] = {}
        # For tasks that were stopped: projections, how often, and which of them run alone.
        self._raised: dict[int, int] = {}
        self._stops: dict[int, int] = {}
        self._alone: set[int] = set()

    def projection(self, task: int) -> int | None:
        """Return the bytes that a task was started with, if it is running or was given up."""
        return self._projected.get(task)

    def is_told(self, task: int) -> bool:
        """Return whether the size of a task was given, not learned."""
        return self._needs.get(task, UNKNOWN).given is not None

    def stops(self, task: int) -> int:
        """Return how often a task was stopped to free memory."""
        return self._stops.get(task, 0)

    @property
    def is_light(self) -> bool:
        """Whether no account is kept of tasks so far."""
        return self.light is not None

    @property
    def has_much_room(self) -> bool:
        """Whether so little is in use, or held for tasks, that workers may keep freed memory."""
        return self.is_light or self.charges.total <= self.charges.limit // 2

    @property
    def waiting(self) -> Pending | deque[int]:
        """The pending tasks."""
        return self.pending if self.light is None else self.light

    @property
    def n_wanted(self) -> int:
        """Number of tasks to have, including those running."""
        return self.n_to_choose_from if self.light is None else 0

    def is_needed(self, event: Event) -> bool:
        """Return whether an event shows that each task has to be accounted for."""
        if type(event) is TaskEnded:
            return event.growth is not None and event.growth > self.small
        if type(event) is Measured:
            is_low = event.available is not None and event.available < self.charges.budget // 2
            return is_low or event.is_tight or max(event.used.values(), default=0) > self.small
        if type(event) is WorkerReady:
            return event.reserved is not None and event.reserved > self.small
        return type(event) is WorkerDied

    def keep_account(self, assigned: Mapping[int, Iterable[int]]) -> None:
        """Begin to account for each task, both those of workers and those pending."""
        assert self._need_of is not None
        waiting, self.light = self.light or (), None
        for worker, tasks in assigned.items():
            for task in tasks:
                self._needs[task] = self._need_of(task)
                self._charge(worker, task, self._project(task))
        for task in waiting:
            self.add(task, self._need_of(task))

    def add(self, task: int, need: Need | None) -> int | None:
        """Add a task to the account; return its projection if it is refused."""
        if need is None:
            need = UNKNOWN
        if need.given is not None and need.given > self.charges.budget:
            return need.given
        if need is not UNKNOWN:
            self._needs[task] = need
        self.pending.add(task, self._key(task), need.rank)
        return None

    def put_back(self, task: int) -> None:
        """Make an accounted task pending again, before all others."""
        self._passes.left(task)
        self.pending.put_back(task, self._key(task))

    def forget(self, task: int) -> None:
        """Drop what is known of a task that has ended."""
        self._passes.left(task)
        self._needs.pop(task, None)
        if self._raised or self._stops or self._alone:
            self._raised.pop(task, None)
            self._stops.pop(task, None)
            self._alone.discard(task)

    def _key(self, task: int) -> Hashable:
        if task in self._raised or task in self._alone:
            return "raised", size_class(self._raised.get(task, 0)), task in self._alone
        need = self._needs.get(task, UNKNOWN)
        if need.given is not None:
            return "given", size_class(need.given)
        return need.is_compressed, -1 if need.size is None else size_class(need.size)

    def _project(self, task: int) -> int:
        projected = self._projector.project(self._needs.get(task, UNKNOWN))
        if self._raised:
            projected = max(projected, self._raised.get(task, 0))
        return max(projected, self.charges.budget) if task in self._alone else projected

    def join(self, worker: int, ahead: int | None = None) -> bool:
        """Account for one more worker if there is room for it and a task; return whether.

        If no task is pending, it is for `ahead`, which was sent ahead to another worker.
        """
        has_room = not self.charges.workers or self.is_light
        if not has_room and not (self.charges.paused or self.charges.is_tight):
            room = self.charges.limit - self.charges.total - self.charges.reserved
            if self.pending:
                has_room = self._find(room) is not None
            else:
                has_room = ahead is not None and self._projected[ahead] <= room
        if has_room:
            self.charges.join(worker)
        return has_room

    def ready(self, worker: int, reserved: int | None) -> None:
        """Account for a worker that waits for its first task."""
        self.charges.ready(worker, reserved)
        if self._projector.reserved != self.charges.reserved:
            self._projector.reserved = self.charges.reserved
            self._projector.version += 1

    def _find(self, room: int, n_idle: int = 0) -> int | None:
        """Return the position of the first task that may start in so much room, if any.

        The first of all is held back while others use as much as it needs and it would leave idle
        workers too little for tasks of middling size. Otherwise large tasks would fill the memory
        with few cores busy, and small ones the cores afterwards.
        """
        version = self._projector.version
        needed = self.pending.projected(0, version)
        most = self._passes.most(self.pending.head, needed, self.charges)
        if most is not None:
            return 0 if needed <= room else self.pending.first(min(room, most), version)
        n_others = min(n_idle, len(self.pending) - 1)
        if needed * (n_others + 1) <= room:
            return 0
        kept = 0
        if n_others and needed <= self.charges.limit - room:
            kept = n_others * self.pending.middle(version)
        return self.pending.first(room, version, kept)

    def take_for_idle(self, worker: int) -> int | None:
        """Return a task that a worker without one may begin, if any fits."""
        if self.charges.paused:
            return None
        place = 0
        if self.charges.n_at_work:
            n_idle = len(self.charges.workers) - self.charges.n_at_work - 1
            found = self._find(self.charges.room(worker), n_idle)
            if found is None:
                return None
            place = found
        if place:
            needed = self.pending.projected(0, self._projector.version)
            self._passes.note(self.pending.head, needed, self.charges, self._projected)
        return self._assign(worker, place)

    def take_ahead(self, worker: int) -> int | None:
        """Return the first of all tasks if it can be sent ahead to a busy worker."""
        if self.charges.paused:
            return None
        projected = self.pending.projected(0, self._projector.version)
        if projected > self.charges.workers[worker].projected:
            spare = int((1.0 - AHEAD_SHARE) * self.charges.limit)
            if projected > self.charges.room(worker) - spare:
                return None
        return self._assign(worker, 0)

    def would_fit(self, worker: int, task: int) -> bool:
        """Return whether a task sent ahead to another worker could begin on this idle one."""
        if self.light is not None:
            return not self.light
        return not self.charges.paused and self._projected[task] <= self.charges.room(worker)

    def _assign(self, worker: int, place: int) -> int:
        projected = self.pending.projected(place, self._projector.version)
        task = self.pending.take(place)
        self._charge(worker, task, projected)
        return task

    def _charge(self, worker: int, task: int, projected: int) -> None:
        self._projected[task] = projected
        self.charges.assign(worker, task, projected)

    def take_off(self, worker: int, task: int) -> None:
        """Remove a task that was sent ahead from its worker."""
        if not self.is_light:
            self.charges.remove(worker, task)
            del self._projected[task]

    def learn(self, need: Need, growth: int) -> None:
        """Learn from a task of an earlier run."""
        self._projector.learn(need, growth)

    def ended(self, worker: int, task: int, growth: int | None) -> None:
        """Learn from a task that has ended."""
        if self.is_light:
            return
        at = self.charges.workers[worker]
        need = self._needs.get(task, UNKNOWN)
        if growth is not None:
            self._projector.learn(need, growth)
        elif at.highest:
            self._projector.learn(need, max(0, at.highest - at.reserved), at_least=True)
        self.charges.ended(worker, task)
        del self._projected[task]
        self.forget(task)

    def stopped(self, worker: int, task: int) -> int | None:
        """Handle a stopped task; return its bytes if it is too large for the budget."""
        at = self.charges.workers[worker]
        if at.is_too_large and not at.is_used:
            return at.highest
        n_stops = self._stops[task] = self._stops.get(task, 0) + 1
        growth = max(0, at.highest - at.reserved)
        if growth > self._projected[task]:
            self._raise(task, growth)
        if n_stops > 1 or at.is_too_large:
            self._alone.add(task)
        return None

    def ran_out(self, worker: int, task: int) -> None:
        """Handle that the system has killed a worker because memory ran out."""
        at = self.charges.workers[worker]
        growth = max(0, at.highest - at.reserved)
        if task in self._raised or max(growth, self._projected[task]) > self.charges.budget // 2:
            self._alone.add(task)
        self._raise(task, growth)

    def _raise(self, task: int, growth: int) -> None:
        before = self._projected[task]
        self._raised[task] = int(max(RAISED_FROM_PROJECTED * before, RAISED_FROM_USED * growth))
        self._projector.learn(self._needs.get(task, UNKNOWN), growth, at_least=True)
