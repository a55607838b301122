"""A model of workers and their memory, driven by the real scheduler, in a world made of numbers."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

from bigpipe.scheduler import Scheduler
from bigpipe.scheduling.admission import Admission, Need
from bigpipe.scheduling.events import (
    Cause,
    Dismiss,
    GiveUp,
    Instruction,
    Measured,
    Pause,
    Recall,
    Resume,
    Start,
    Stop,
    Submit,
    TasksRecalled,
    WorkerDied,
    WorkerReady,
)

MiB = 2**20
INTERVAL = 0.1  # seconds between samples
DYING_S = 0.03  # seconds until the memory of a worker that is ended is free
STARTING_S = 0.2  # seconds until a worker is ready


@dataclass(slots=True)
class Job:
    """The true behaviour of a task."""

    duration: float
    growth: int
    """At its peak, above what the worker holds without it."""
    need: Need = field(default_factory=Need)
    start: float = 0.0
    """Part of its duration in which nothing is held yet."""
    full: float = 0.5
    """Part of its duration after which all is held."""
    low: float = 0.0
    """Part of the growth that is held from the beginning."""
    deaths: int = 0
    """Number of workers that will die on it."""

    def held(self, progress: float) -> int:
        if progress >= self.full:
            return self.growth
        part = (progress - self.start) / (self.full - self.start)
        return int(self.growth * max(self.low, part))


@dataclass(slots=True)
class At:
    """A worker as it would be."""

    is_ready: bool = False
    is_paused: bool = False
    is_ending: bool = False
    unread: deque[int] = field(default_factory=deque)
    begun: int | None = None
    since: float = 0.0
    left: float = 0.0
    epoch: int = 0


class World:
    """Play a run through: `run` returns its makespan.

    After each sample `check` compares what is used with the budget.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        n_workers: int,
        budget: int,
        *,
        is_given: bool = True,
        reserved: int = 0,
        max_ahead: int = 1,
        taken: Callable[[float], int] | None = None,
        tells_growth: bool = True,
        interval: float = INTERVAL,
        seed: int = 0,
    ) -> None:
        self.jobs = jobs
        self.budget = budget
        self.is_given = is_given
        self.reserved = reserved
        self.taken = taken
        self.tells_growth = tells_growth
        self.interval = interval
        self.random = Random(seed)
        self.admission = Admission(budget, is_given=is_given, n_workers=n_workers)
        self.scheduler = Scheduler(
            n_workers, max_ahead=max_ahead, max_worker_deaths=2, admission=self.admission
        )
        self.workers: dict[int, At] = {}
        self.now = 0.0
        self.events: list[tuple[float, int, str, int, int]] = []
        self.ended: Counter[int] = Counter()
        self.given_up: dict[int, GiveUp] = {}
        self.counts: Counter[str] = Counter()
        self.deaths = [job.deaths for job in jobs]
        self.before: dict[int, tuple[int | None, int]] = {}  # task and use, at the last sample
        self.excess = 0  # at the last sample

    def run(self) -> float:
        needs = {i: job.need for i, job in enumerate(self.jobs)}
        self.carry_out(self.scheduler.add(range(len(self.jobs)), self.now, needs))
        self.at(self.interval, "sample", -1, 0)
        while not self.scheduler.is_done:
            time, _, kind, worker, epoch = heappop(self.events)
            self.now = time
            if kind == "sample":
                self.sample()
            elif worker in self.workers and self.workers[worker].epoch == epoch:
                getattr(self, kind)(worker)
            assert self.counts["Submit"] < 50 * len(self.jobs) + 100, "it goes round in circles"
        return self.now

    def at(self, seconds: float, kind: str, worker: int, epoch: int) -> None:
        self.counts["events"] += 1
        heappush(self.events, (self.now + seconds, self.counts["events"], kind, worker, epoch))

    # What happens in the world.

    def ready(self, worker: int) -> None:
        self.workers[worker].is_ready = True
        self.tell(WorkerReady(worker, self.reserved))

    def end(self, worker: int) -> None:
        at = self.workers[worker]
        task = at.begun
        assert task is not None
        at.begun = None
        if self.deaths[task]:
            self.deaths[task] -= 1
            at.begun = task
            self.gone(worker)
            return
        self.ended[task] += 1
        growth = self.jobs[task].growth if self.tells_growth else None
        self.take(worker)  # before the parent knows
        self.carry_out(self.scheduler.ended(worker, [task], [growth], self.now))

    def gone(self, worker: int) -> None:
        at = self.workers.pop(worker)
        out_of_memory = not at.is_ending and self.random.random() < 0.5
        self.tell(WorkerDied(worker, tuple(at.unread), out_of_memory))

    def take(self, worker: int) -> None:
        """Let a worker begin what is next for it, if it can."""
        at = self.workers[worker]
        if at.begun is None and at.unread and not at.is_paused and not at.is_ending:
            at.begun = at.unread.popleft()
            at.left = self.jobs[at.begun].duration
            self.go_on(worker)

    def go_on(self, worker: int) -> None:
        at = self.workers[worker]
        at.since = self.now
        at.epoch += 1
        self.at(at.left, "end", worker, at.epoch)

    def stand_still(self, worker: int) -> None:
        at = self.workers[worker]
        at.epoch += 1
        if at.begun is not None and not at.is_paused:
            at.left -= self.now - at.since

    def used(self, at: At) -> int:
        if at.begun is None:
            return self.reserved
        job = self.jobs[at.begun]
        stands = at.is_paused or at.is_ending
        left = at.left if stands else at.left - (self.now - at.since)
        return self.reserved + job.held(1.0 - left / job.duration)

    def sample(self) -> None:
        used = {worker: self.used(at) for worker, at in self.workers.items()}
        self.check(used)
        available = None
        if self.taken is not None:
            available = max(0, self.budget * 2 - self.taken(self.now) - sum(used.values()))
        self.before = {worker: (self.workers[worker].begun, used[worker]) for worker in used}
        self.at(self.interval, "sample", -1, 0)
        self.tell(Measured(used, available))

    def check(self, used: dict[int, int]) -> None:
        """Compare with the budget: beyond it by one interval's growth, and no more from then on."""
        excess = max(0, sum(used.values()) - self.budget)
        at_most, self.excess = self.excess, excess
        at_work = [worker for worker, at in self.workers.items() if at.begun is not None]
        if len(at_work) == 1 and not self.is_given:
            return
        grown = sum(max(0, used[worker] - self.used_before(worker)) for worker in used)
        assert excess <= max(grown, at_most), (
            f"{excess / MiB} MiB over, {grown / MiB} MiB grown at {self.now}"
        )

    def used_before(self, worker: int) -> int:
        task, used = self.before.get(worker, (None, self.reserved))
        return used if task == self.workers[worker].begun else self.reserved

    # What the scheduler says.

    def tell(self, event: Any) -> None:
        self.carry_out(self.scheduler.handle(event, self.now))

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            self.counts[type(instruction).__name__] += 1
            match instruction:
                case Start(worker):
                    self.workers[worker] = At()
                    self.at(STARTING_S, "ready", worker, 0)
                case Submit(worker, tasks):
                    self.workers[worker].unread.extend(tasks)
                    self.take(worker)
                case Recall(worker):
                    back = tuple(self.workers[worker].unread)
                    self.workers[worker].unread.clear()
                    self.tell(TasksRecalled(worker, back))
                case Pause(worker):
                    at = self.workers[worker]
                    assert not at.is_paused
                    self.stand_still(worker)
                    at.is_paused = True
                case Resume(worker):
                    at = self.workers[worker]
                    assert at.is_paused
                    at.is_paused = False
                    if at.begun is not None:
                        self.go_on(worker)
                    self.take(worker)
                case Stop(worker, task):
                    assert self.workers[worker].begun == task
                    self.end_worker(worker)
                case Dismiss(worker):
                    assert self.workers[worker].begun is None
                    self.end_worker(worker)
                case GiveUp(task):
                    self.ended[task] += 1
                    self.given_up[task] = instruction
                case _:
                    raise AssertionError(instruction)

    def end_worker(self, worker: int) -> None:
        self.stand_still(worker)
        at = self.workers[worker]
        at.is_ending = True
        self.at(DYING_S, "gone", worker, at.epoch)

    # What is to hold.

    def assert_all_ended_once(self) -> None:
        assert self.ended == Counter(range(len(self.jobs)))
        for task, given_up in self.given_up.items():
            job = self.jobs[task]
            match given_up.cause:
                case Cause.DIED:
                    assert job.deaths > 1
                case Cause.REFUSED:
                    assert job.need.given > self.budget
                case Cause.TOO_LARGE:
                    assert self.is_given
                    assert self.reserved + job.growth > self.budget
                case _:
                    raise AssertionError(given_up)

    def lower_bound(self, n_workers: int) -> float:
        """Return the least makespan that anything could have, workers ready from the start."""
        work = sum(job.duration for job in self.jobs)
        area = sum(job.duration * job.growth for job in self.jobs)
        longest = max(job.duration for job in self.jobs)
        room = self.budget - n_workers * self.reserved
        return max(work / n_workers, area / room if room > 0 else math.inf, longest)
