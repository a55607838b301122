"""Which file starts, where, and when: events in, instructions out.

Owns the decisions of a run and nothing else. There is no clock, process or file here: time
arrives as a number with each event, and `bigpipe.run` carries the instructions out. So a
million files on a thousand workers can be played through in a test.

A worker holds one task that it has begun and a few that were sent ahead, so that it never
waits for the parent. Those not begun can be called back, when another worker is idle or
their own one dies::

    add(5)                 -> [Start(worker=0)]
    WorkerReady(0)         -> [Submit(0, task=5)]
    TaskEnded(0, 5)        -> [Submit(0, task=7)]
    WorkerDied(0, [7])     -> [Submit(1, task=7), Submit(1, task=5)], 7 uncharged; or GiveUp(5)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "Event",
    "GiveUp",
    "Instruction",
    "Kill",
    "Recall",
    "Scheduler",
    "Start",
    "StartFailed",
    "StartRefused",
    "Submit",
    "TaskEnded",
    "TasksRecalled",
    "Tick",
    "WorkerDied",
    "WorkerReady",
]

AHEAD_SECONDS = 0.02  # work sent ahead to a worker; arbitrary, many times a parent's delay
MAX_AHEAD = 48  # tasks; what tiny files need to hide the parent's delay
MIN_AHEAD_FOR_SLACK = 4  # tasks; with fewer ahead, a parent that tarries leaves workers idle
MAX_FAILED_STARTS = 3  # in a row: then starting another worker will not help
SMOOTHING = 0.2  # weight of the newest duration in their running mean; arbitrary


@dataclass(slots=True)
class WorkerReady:
    """A worker that was started has run its ``worker_init`` and waits for tasks."""

    worker: int


@dataclass(slots=True)
class TaskEnded:
    """A worker has reported on the task that it had begun."""

    worker: int
    task: int


@dataclass(slots=True)
class WorkerDied:
    """A worker is gone. ``unbegun``: tasks sent ahead that it had not taken up."""

    worker: int
    unbegun: tuple[int, ...] = ()


@dataclass(slots=True)
class TasksRecalled:
    """Answer to `Recall`: the tasks that came back, perhaps none."""

    worker: int
    tasks: tuple[int, ...] = ()


@dataclass(slots=True)
class Tick:
    """Time has passed."""


@dataclass(slots=True)
class StartRefused:
    """A worker that was to be started cannot be, for want of something that all need."""

    worker: int


Event = WorkerReady | TaskEnded | WorkerDied | TasksRecalled | StartRefused | Tick


@dataclass(slots=True)
class Start:
    """Start a worker under this number."""

    worker: int


@dataclass(slots=True)
class Submit:
    """Send a task to a worker; it may have others before it."""

    worker: int
    task: int


@dataclass(slots=True)
class Recall:
    """Take back what a worker has not begun, and answer with `TasksRecalled`."""

    worker: int


@dataclass(slots=True)
class Kill:
    """End a worker: its task took too long. `WorkerDied` is expected to follow."""

    worker: int
    task: int


@dataclass(slots=True)
class GiveUp:
    """Record a task as ended without a report."""

    task: int
    attempts: int
    timed_out: bool


@dataclass(slots=True)
class StartFailed:
    """Workers die before they are ready: stop the run."""

    worker: int


Instruction = Start | Submit | Recall | Kill | GiveUp | StartFailed


@dataclass(slots=True)
class _Worker:
    assigned: deque[int] = field(default_factory=deque)
    began_at: float = 0.0
    ready: bool = False
    doomed: bool = False
    overdue_task: int | None = None
    recall_missed: bool = False


class Scheduler:
    """Decide what the workers of one run do.

    Parameters
    ----------
    n_workers : int
        Tasks that may run at once.
    max_ahead : int, optional
        Tasks that may be sent to a busy worker. 0 for executors that cannot take any back.
    file_timeout : float or None, optional
        Seconds that one task may take.
    max_worker_deaths : int, optional
        Workers that may die on one task before it is given up.

    Notes
    -----
    Tasks are numbers; every one that is added ends exactly once, by `TaskEnded` or by
    `GiveUp`. An event costs constant time, whatever the number of tasks and workers.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        max_ahead: int = MAX_AHEAD,
        file_timeout: float | None = None,
        max_worker_deaths: int = 2,
    ) -> None:
        self.n_workers = n_workers
        self.max_ahead = max_ahead
        self.file_timeout = file_timeout
        self.max_worker_deaths = max_worker_deaths
        self._pending: deque[int] = deque()
        self._workers: dict[int, _Worker] = {}
        # Insertion-ordered sets of workers: without a task, and with room for one ahead.
        self._idle: dict[int, None] = {}
        self._roomy: dict[int, None] = {}
        self._deep: dict[int, None] = {}
        self._deaths: dict[int, int] = {}
        # Begun tasks as (time, worker, task), oldest first, for file_timeout alone. Entries
        # of tasks that have ended since are dropped when they reach the front.
        self._begun: deque[tuple[float, int, int]] = deque()
        self._n_unended = 0
        self._n_starting = 0
        self._next_worker = 0
        self._failed_starts = 0
        self._mean_s = 0.0
        self._ahead = min(max_ahead, 1)  # tasks to send ahead now: more of them if they are short

    @property
    def n_in_flight(self) -> int:
        """Tasks that have begun, as far as is known."""
        return sum(1 for worker in self._workers.values() if worker.assigned)

    @property
    def n_wanted(self) -> int:
        """Tasks to be added so that all workers have enough, and one each is in reserve."""
        return max(0, self.n_workers * (self._ahead + 2) - self._n_unended)

    @property
    def is_done(self) -> bool:
        """Every task that was added has ended."""
        return self._n_unended == 0

    @property
    def slack_s(self) -> float:
        """Seconds for which the workers have enough to do if nobody looks after them."""
        if self._ahead < MIN_AHEAD_FOR_SLACK or not self._pending:
            return 0.0
        return self._mean_s * self._ahead / 2

    def attempts(self, task: int) -> int:
        """Return how often a task has been begun, the present time included."""
        return self._deaths.get(task, 0) + 1

    def n_begun(self, task: int) -> int:
        """Return how often a task has been begun so far, as far as is known."""
        is_at_work = any(task in list(w.assigned)[:1] for w in self._workers.values())
        return self._deaths.get(task, 0) + is_at_work

    def unended(self) -> list[int]:
        """Return the tasks that have not ended, for a run that is stopped."""
        assigned = (task for worker in self._workers.values() for task in worker.assigned)
        return sorted([*self._pending, *assigned])

    def owner(self, task: int) -> int | None:
        """Return the worker that a task was submitted to, or ``None``."""
        for number, worker in self._workers.items():
            if task in worker.assigned:
                return number
        return None

    def deadline(self) -> float | None:
        """Return when the first task at work will have taken too long."""
        while self._begun and not self._is_at_work(*self._begun[0]):
            self._begun.popleft()
        if self.file_timeout is None or not self._begun:
            return None
        return self._begun[0][0] + self.file_timeout

    def add(self, tasks: Iterable[int], now: float) -> list[Instruction]:
        """Take in new tasks."""
        before = len(self._pending)
        self._pending.extend(tasks)
        self._n_unended += len(self._pending) - before
        return self._hand_out(now)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in an event; return what is to be done, in this order."""
        match event:
            case TaskEnded():
                self._task_ended(event, now)
                before: list[Instruction] = []
            case WorkerReady():
                self._failed_starts = 0
                self._n_starting -= 1
                self._workers[event.worker].ready = True
                self._file(event.worker)
                before = []
            case TasksRecalled():
                self._workers[event.worker].recall_missed = not event.tasks
                self._take_back(event.worker, event.tasks)
                before = []
            case WorkerDied():
                before = self._worker_died(event)
            case StartRefused():
                del self._workers[event.worker]
                self._n_starting -= 1
                self.n_workers = len(self._workers)
                before = []
            case Tick():
                before = self._overdue(now)
        return before + self._hand_out(now)

    def _task_ended(self, event: TaskEnded, now: float) -> None:
        worker = self._workers[event.worker]
        begun = worker.assigned.popleft()
        assert begun == event.task, "a worker reports in the order in which it was given tasks"
        self._deaths.pop(event.task, None)
        taken = now - worker.began_at
        self._mean_s += SMOOTHING * (taken - self._mean_s) if self._mean_s else taken
        self._ahead = min(self.max_ahead, max(1, int(AHEAD_SECONDS / (self._mean_s or 1e-9))))
        self._n_unended -= 1
        worker.recall_missed = False
        if worker.overdue_task == event.task:  # it made it, just before it was ended
            worker.overdue_task = None
        self._begin(event.worker, now)
        self._file(event.worker)

    def _begin(self, number: int, now: float) -> None:
        """Note that a worker takes up the first of its tasks, if it has any."""
        worker = self._workers[number]
        worker.began_at = now
        if worker.assigned and self.file_timeout is not None:
            self._begun.append((now, number, worker.assigned[0]))

    def _is_at_work(self, began_at: float, number: int, task: int) -> bool:
        worker = self._workers.get(number)
        return (
            worker is not None
            and not worker.doomed
            and worker.began_at == began_at
            and bool(worker.assigned)
            and worker.assigned[0] == task
        )

    def _worker_died(self, event: WorkerDied) -> list[Instruction]:
        self._take_back(event.worker, event.unbegun)
        worker = self._workers.pop(event.worker)
        for group in (self._idle, self._roomy, self._deep):
            group.pop(event.worker, None)
        if not worker.ready:
            self._n_starting -= 1
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                return [StartFailed(event.worker)]
        instructions: list[Instruction] = []
        for task in worker.assigned:
            if worker.doomed and task != worker.overdue_task:  # begun between order and end
                self._pending.appendleft(task)
                continue
            deaths = self._deaths.get(task, 0) + 1
            if worker.doomed or deaths >= self.max_worker_deaths:
                self._deaths.pop(task, None)
                self._n_unended -= 1
                instructions.append(GiveUp(task, deaths, timed_out=worker.doomed))
            else:
                self._deaths[task] = deaths
                self._pending.appendleft(task)
        return instructions

    def _take_back(self, number: int, tasks: tuple[int, ...]) -> None:
        worker = self._workers[number]
        for task in reversed(tasks):
            worker.assigned.remove(task)
            self._pending.appendleft(task)
        self._file(number)

    def _overdue(self, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        while (deadline := self.deadline()) is not None and now >= deadline:
            _, number, task = self._begun.popleft()
            self._workers[number].doomed = True
            self._workers[number].overdue_task = task
            self._file(number)
            instructions.append(Kill(number, task))
        return instructions

    def _file(self, number: int) -> None:
        """Put a worker into the sets that it belongs to now."""
        worker = self._workers[number]
        n_assigned = len(worker.assigned) if worker.ready and not worker.doomed else -1
        if n_assigned == 0:
            self._idle[number] = None
        elif number in self._idle:
            del self._idle[number]
        if 0 < n_assigned <= self._ahead:
            self._roomy[number] = None
        elif number in self._roomy:
            del self._roomy[number]
        if n_assigned > 1 and not worker.recall_missed:
            self._deep[number] = None
        elif number in self._deep:
            del self._deep[number]

    def _hand_out(self, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        while self._pending and (number := self._next_to_fill()) is not None:
            worker = self._workers[number]
            task = self._pending.popleft()
            worker.assigned.append(task)
            if len(worker.assigned) == 1:
                self._begin(number, now)
            self._file(number)
            instructions.append(Submit(number, task))
        room = self.n_workers - len(self._workers)
        for _ in range(min(len(self._pending) - self._n_starting, room)):
            instructions.append(Start(self._next_worker))
            self._workers[self._next_worker] = _Worker()
            self._next_worker += 1
            self._n_starting += 1
        if not self._pending and self._idle and self._deep:
            victim = next(iter(self._deep))
            del self._deep[victim]
            instructions.append(Recall(victim))
        return instructions

    def _next_to_fill(self) -> int | None:
        if self._idle:
            return next(iter(self._idle))
        while self._roomy:
            number = next(iter(self._roomy))
            del self._roomy[number]
            if len(self._workers[number].assigned) <= self._ahead:
                return number
        return None
