"""Which file starts, where, and when: events in, instructions out.

Owns the decisions of a run and nothing else. There is no clock, process or file here: time
arrives as a number with each event, and `bigpipe.run` carries out the instructions. A test can
therefore simulate a million files on a thousand workers.

A worker holds one task that it has begun and a few that were sent ahead, so it never waits for
the parent. Tasks not yet begun can be recalled when another worker is idle, or when their own
worker has to end::

    add(5)                 -> [Start(worker=0)]
    WorkerReady(0)         -> [Submit(0, tasks=(5,))]
    TaskEnded(0, 5)        -> [Submit(0, tasks=(7,))]
    WorkerDied(0, [7])     -> [Submit(1, tasks=(7, 5))], 7 uncharged; or GiveUp(5)

`bigpipe.scheduling.admission` decides which pending task fits into memory, and which worker to
pause or stop when memory runs out. Without an admission, tasks are submitted in the order in which
they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from bigpipe.scheduling.admission import Admission, Need
from bigpipe.scheduling.charges import Charges
from bigpipe.scheduling.deadlines import Deadlines
from bigpipe.scheduling.events import (
    Cause,
    Dismiss,
    Event,
    GiveUp,
    Instruction,
    Kill,
    Measured,
    Pause,
    Recall,
    Resume,
    Start,
    StartFailed,
    StartRefused,
    Stop,
    Submit,
    TaskEnded,
    TasksRecalled,
    Tick,
    WorkerDied,
    WorkerReady,
)
from bigpipe.scheduling.losses import Losses
from bigpipe.scheduling.pace import MAX_AHEAD, Pace
from bigpipe.scheduling.pending import Pending
from bigpipe.scheduling.roster import InHand, Roster, Worker
from bigpipe.scheduling.waits import Waits

__all__ = ["Scheduler"]


class Scheduler:
    """Decide what the workers of one run do.

    Parameters
    ----------
    n_workers : int
        Tasks that may run at once.
    max_ahead : int, optional
        Tasks that may be sent to a busy worker. 0 for executors that cannot recall tasks.
    file_timeout : float or None, optional
        Seconds that one task may take.
    max_worker_deaths : int, optional
        Workers that may die on one task before it is given up.
    admission : Admission or None, optional
        Keeps the memory of all workers within a budget.
    n_begun, n_ahead : int, optional
        Tasks that a worker has begun at once, and tasks that it should have beyond those.

    Attributes
    ----------
    attempts, figures : callable
        Attempts and figures of tasks: see `bigpipe.scheduling.losses.Losses`.
    alone : dict
        Tasks that have a worker to themselves: see there.
    waited_s : dict of str to float
        What workers waited for, if there is an ``admission``: see `bigpipe.scheduling.waits.Waits`.

    Notes
    -----
    Tasks are numbers. Each added task ends exactly once, by `TaskEnded` or by `GiveUp`. An event
    takes constant time, whatever the number of tasks and workers; only `Measured` visits every
    worker.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        max_ahead: int = MAX_AHEAD,
        file_timeout: float | None = None,
        max_worker_deaths: int = 2,
        admission: Admission | None = None,
        n_begun: int = 1,
        n_ahead: int = 0,
    ) -> None:
        self.n_workers = n_workers
        self.max_ahead = max_ahead
        self._admission = admission
        self._queue: deque[int] = deque()  # pending tasks if there is no admission
        self._roster = Roster()
        self._workers = self._roster.workers
        self._losses = Losses(max_worker_deaths, admission)
        self.attempts, self.alone = self._losses.attempts, self._losses.alone
        self.figures = self._losses.figures
        self._deadlines = None if file_timeout is None else Deadlines(file_timeout * n_begun)
        self._waits = Waits()
        self.waited_s = self._waits.seconds
        self._n_unended = 0
        self._next_worker = 0
        self._pace = Pace(max_ahead, n_begun - 1 + n_ahead)

    @property
    def _pending(self) -> Pending | deque[int]:
        return self._queue if self._admission is None else self._admission.waiting

    @property
    def _free(self) -> deque[int] | None:
        """The pending tasks, if none of them has to be accounted for."""
        return self._queue if self._admission is None else self._admission.light

    @property
    def in_flight(self) -> list[InHand]:
        """Tasks known to have begun, and the workers that have them."""
        return self._roster.in_flight()

    @property
    def n_wanted(self) -> int:
        """Number of tasks to add so that all workers are busy, with one in reserve for each."""
        to_choose = 0 if self._admission is None else self._admission.n_wanted
        return max(0, max(self.n_workers * (self._pace.ahead + 2), to_choose) - self._n_unended)

    @property
    def is_done(self) -> bool:
        """Whether every added task has ended."""
        return self._n_unended == 0

    @property
    def slack_s(self) -> float:
        """Seconds for which the workers have enough to do without new tasks."""
        return self._pace.slack_s if self._pending and not self._roster.idle else 0.0

    def projection(self, task: int) -> int | None:
        """Return the bytes that a task was started with, until it has ended by itself."""
        return None if self._admission is None else self._admission.projection(task)

    def n_begun(self, task: int) -> int:
        """Return how often a task is known to have been begun."""
        return self._losses.deaths(task) + self._roster.has_begun(task)

    def unended(self) -> list[int]:
        """Return the tasks that have not ended, for a run that is stopped."""
        return sorted([*self._pending, *self._roster.assigned()])

    def owner(self, task: int) -> int | None:
        """Return the worker that a task was submitted to, or ``None``."""
        return self._roster.owner(task)

    def deadline(self) -> float | None:
        """Return when the first running task will exceed its time limit."""
        first = self._deadlines and self._deadlines.first()
        return first[0] if first else None

    def add(
        self, tasks: Iterable[int], now: float, needs: Mapping[int, Need] | None = None
    ) -> list[Instruction]:
        """Add tasks, with what is known of the memory that they will need."""
        before = len(self._pending)
        refused: list[Instruction] = []
        if self._admission is not None:
            self._account(self._admission, now)
        if (queue := self._free) is not None:
            queue.extend(tasks)
        elif self._admission is not None:
            for task in tasks:
                projected = self._admission.add(task, needs.get(task) if needs else None)
                if projected is not None:
                    refused.append(GiveUp(task, 0, Cause.REFUSED, projected))
        self._n_unended += len(self._pending) - before
        return refused + self._hand_out(now)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Handle an event; return the instructions, to be carried out in this order."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: float) -> list[Instruction]:
        """Handle events in order; return the instructions that follow from all of them."""
        instructions: list[Instruction] = []
        for event in events:
            instructions += self._take_in(event, now)
        return instructions + self._hand_out(now)

    def ended(
        self, number: int, tasks: Sequence[int], growths: Sequence[int | None], now: float
    ) -> list[Instruction]:
        """Handle the end of several tasks of a worker, like a `TaskEnded` for each in order."""
        admission, worker = self._admission, self._workers[number]
        ran_out = len(worker.assigned) == len(tasks)
        self._pace.note(now - worker.began_at, len(tasks), ran_out=ran_out)
        is_light = admission is None or (
            admission.is_light and max(filter(None, growths), default=0) <= admission.small
        )
        if not is_light or worker.doomed:
            ended = zip(tasks, growths, strict=True)
            return self.handle_all([TaskEnded(number, *each) for each in ended], now)
        begun = [worker.assigned.popleft() for _ in tasks]
        assert begun == list(tasks), "a worker reports in the order in which it was given tasks"
        self._losses.forget(tasks)
        self._n_unended -= len(tasks)
        worker.recall_missed = False
        self._begin(number, worker, now)
        self._file(number)
        return self._hand_out(now)

    def _take_in(self, event: Event, now: float) -> list[Instruction]:
        admission = self._admission
        if admission is not None and not admission.is_light:
            self._account(admission, now)
        elif admission is not None and admission.is_needed(event):
            admission.keep_account({i: w.assigned for i, w in self._workers.items()})
        match event:
            case TaskEnded():
                return self._task_ended(event, now)
            case WorkerReady():
                self._worker_ready(event)
            case TasksRecalled():
                self._workers[event.worker].recall_missed = not event.tasks
                self._take_back(event.worker, event.tasks)
            case WorkerDied():
                return self._worker_died(event, now)
            case Measured():
                return self._measured(event, now)
            case StartRefused():
                del self._workers[event.worker]
                if admission is not None:
                    admission.charges.leave(event.worker)
                self.n_workers = len(self._workers)
            case Tick():
                return self._overdue(now)
        return []

    def _worker_ready(self, event: WorkerReady) -> None:
        self._losses.note_ready()
        self._workers[event.worker].ready = True
        if self._admission is not None:
            self._admission.ready(event.worker, event.reserved)
        self._file(event.worker)

    def _task_ended(self, event: TaskEnded, now: float) -> list[Instruction]:
        worker = self._workers[event.worker]
        begun = worker.assigned.popleft()
        assert begun == event.task, "a worker reports in the order in which it was given tasks"
        self._losses.forget((event.task,))
        self._n_unended -= 1
        worker.recall_missed = False
        if worker.doomed_task == event.task:  # it finished just before its worker was ended
            worker.doomed_task = None
        self._begin(event.worker, worker, now)
        self._roster.file(event.worker, worker, self._pace.ahead)
        if self._admission is None or self._admission.is_light:
            return []
        self._admission.ended(event.worker, event.task, event.growth)
        return self._go_on(now)

    def _begin(self, number: int, worker: Worker, now: float) -> None:
        """Record that a worker begins the first of its tasks, if it has any."""
        worker.begin(now)
        if self._deadlines is not None and worker.assigned:
            self._deadlines.begin(number, worker.assigned[0], now)
        elif self._deadlines is not None:
            self._deadlines.end(number)

    def _worker_died(self, event: WorkerDied, now: float) -> list[Instruction]:
        self._take_back(event.worker, event.unbegun)
        worker = self._workers.pop(event.worker)
        self._roster.remove(event.worker)
        if self._deadlines is not None:
            self._deadlines.end(event.worker)
        instructions: list[Instruction] = []
        if self._losses.is_hopeless(event, worker, self._n_unended):
            instructions.append(StartFailed(event.worker, worker.ready))
        for task, given_up in self._losses.note(event, worker):
            if given_up is None:
                self._put_back(task)
            else:
                self._n_unended -= 1
                instructions.append(given_up)
        if self._admission is not None:
            self._admission.charges.leave(event.worker)
        return instructions + self._go_on(now)

    def _take_back(self, number: int, tasks: tuple[int, ...]) -> None:
        worker = self._workers[number]
        for task in reversed(tasks):
            worker.assigned.remove(task)
            if self._admission is not None:
                self._admission.take_off(number, task)
            self._put_back(task)
        if self._deadlines is not None and not worker.assigned:
            self._deadlines.end(number)
        self._file(number)

    def _put_back(self, task: int) -> None:
        if (queue := self._free) is not None:
            queue.appendleft(task)
        elif self._admission is not None:
            self._admission.put_back(task)

    def _overdue(self, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        while self._deadlines and (first := self._deadlines.first()) and now >= first[0]:
            _, number, task = first
            self._workers[number].is_overdue = True
            ahead = [Recall(number)] if number in self._roster.deep else []  # not to wait for it
            self._doom(number, task)
            instructions += [*ahead, Kill(number, task)]
        return instructions

    def _doom(self, number: int, task: int | None) -> None:
        """Record that a worker is being ended, because of a task if it has one."""
        worker = self._workers[number]
        worker.doomed, worker.doomed_task = True, task
        if self._deadlines is not None:
            self._deadlines.end(number)
        if self._admission is not None:
            self._admission.charges.ending(number)
        self._file(number)

    def _measured(self, event: Measured, now: float) -> list[Instruction]:
        if self._admission is None:
            return []
        charges = self._admission.charges
        charges.measure(event.used, event.available, is_tight=event.is_tight)
        return self._relieve(charges, now) if charges.needs_relief else []

    def _go_on(self, now: float) -> list[Instruction]:
        """Resume workers that were paused for a task that has gone."""
        charges = None if self._admission is None else self._admission.charges
        return self._relieve(charges, now) if charges is not None and charges.paused else []

    def _relieve(self, charges: Charges, now: float) -> list[Instruction]:
        instructions: list[Instruction] = []
        for action in charges.relief(self._roster.at_work()):
            instructions.append(action)
            match action:
                case Pause(number):
                    self._workers[number].paused_at = now
                    if self._deadlines is not None:
                        self._deadlines.pause(number, now)
                    if len(self._workers[number].assigned) > 1:
                        instructions.append(Recall(number))
                case Resume(number):
                    self._workers[number].resume(now)
                    if self._deadlines is not None:
                        self._deadlines.resume(number, now)
                case Stop(number, task):
                    self._doom(number, task)
                case Dismiss(number):
                    self._doom(number, None)
            self._file(number)
        return instructions

    def _account(self, admission: Admission, now: float) -> None:
        """Record what workers have waited for since the last event."""
        n_idle, n_paused = len(self._roster.idle), len(admission.charges.paused)
        if self._pending:
            n_idle += self.n_workers - len(self._workers)
        if n_idle or n_paused:
            self._waits.add(now, bool(self._pending), n_idle, n_paused)
        self._waits.seen_at = now

    def _file(self, number: int) -> None:
        self._roster.file(number, self._workers[number], self._pace.ahead)

    def _hand_out(self, now: float) -> list[Instruction]:
        given: dict[int, list[int]] = {}
        if (queue := self._free) is not None:
            self._deal(queue, now, given)
        elif self._admission is not None:
            self._hand_out_within(self._admission, now, given)
        instructions: list[Instruction] = [Submit(i, tuple(tasks)) for i, tasks in given.items()]
        # For tasks sent ahead, too: without pending ones, a dead worker would not be replaced.
        for _ in range(min(self.n_workers, self._n_unended) - len(self._workers)):
            if self._admission is not None and not self._admission.join(
                self._next_worker, self._roster.last_ahead()
            ):
                break
            instructions.append(Start(self._next_worker))
            self._workers[self._next_worker] = Worker()
            self._next_worker += 1
        if self._roster.idle and self._roster.deep and self._is_worth_recalling():
            victim = next(iter(self._roster.deep))
            del self._roster.deep[victim]
            instructions.append(Recall(victim))
        return instructions

    def _deal(self, queue: deque[int], now: float, given: dict[int, list[int]]) -> None:
        """Submit tasks that may start on any worker."""
        idle_only = self._admission is not None and not self._pace.is_short
        for number in self._roster.turns(len(queue), self._pace.ahead, idle_only=idle_only):
            given.setdefault(number, []).append(queue.popleft())
        idle = [number for number in given if not self._workers[number].assigned]
        for number, tasks in given.items():
            self._workers[number].assigned.extend(tasks)
        for number in idle:
            self._begin(number, self._workers[number], now)
        for number in sorted(given, key=idle.__contains__):
            self._file(number)

    def _hand_out_within(
        self, admission: Admission, now: float, given: dict[int, list[int]]
    ) -> None:
        """Submit the tasks that fit into memory."""
        waiting, ahead, is_short = admission.waiting, self._pace.ahead, self._pace.is_short
        while waiting and (number := self._roster.next_to_fill(ahead)) is not None:
            worker = self._workers[number]
            take = admission.take_ahead if worker.assigned else admission.take_for_idle
            task = take(number) if is_short or not worker.assigned else None
            if task is not None:
                worker.assigned.append(task)
                if len(worker.assigned) == 1:
                    self._begin(number, worker, now)
                given.setdefault(number, []).append(task)
            self._file(number)
            if task is None:
                return

    def _is_worth_recalling(self) -> bool:
        """Whether an idle worker could take tasks that were sent ahead to another worker."""
        if self._admission is None:
            return not self._pending
        task = self._roster.last_ahead()
        return task is not None and self._admission.would_fit(next(iter(self._roster.idle)), task)
