"""The scheduler alone: events in, instructions out, in a world made of numbers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.scheduler import (
    MAX_FAILED_STARTS,
    GiveUp,
    Instruction,
    Kill,
    Recall,
    Scheduler,
    Start,
    StartFailed,
    StartRefused,
    Submit,
    TaskEnded,
    TasksRecalled,
    Tick,
    WorkerDied,
    WorkerReady,
)


@dataclass
class SimWorker:
    """A worker as it would be: what lies in its channel, and what it has taken out."""

    is_ready: bool = False
    is_told_to_end: bool = False
    unread: deque[int] = field(default_factory=deque)
    begun: int | None = None

    @property
    def tasks(self) -> list[int]:
        return [*([] if self.begun is None else [self.begun]), *self.unread]


class Sim:
    """Carries out what the scheduler says, in no time, and checks it after each step."""

    def __init__(self, n_workers: int, **options: Any) -> None:
        self.scheduler = Scheduler(n_workers, **options)
        self.workers: dict[int, SimWorker] = {}
        self.now = 0.0
        self.n_added = 0
        self.ended: Counter[int] = Counter()
        self.given_up: dict[int, GiveUp] = {}
        self.deaths: Counter[int] = Counter()
        self.has_failed = False

    # What happens in the world. Each returns the instructions that followed.

    def add(self, n: int) -> list[Instruction]:
        tasks = range(self.n_added, self.n_added + n)
        self.n_added += n
        return self.carry_out(self.scheduler.add(tasks, self.now))

    def ready(self, worker: int) -> list[Instruction]:
        self.workers[worker].is_ready = True
        return self.carry_out(self.scheduler.handle(WorkerReady(worker), self.now))

    def take(self, worker: int) -> None:
        """Let a worker begin what is next for it."""
        at = self.workers[worker]
        assert at.begun is None
        at.begun = at.unread.popleft()

    def end(self, worker: int) -> list[Instruction]:
        task = self.workers[worker].begun
        assert task is not None
        self.workers[worker].begun = None
        self.ended[task] += 1
        return self.carry_out(self.scheduler.handle(TaskEnded(worker, task), self.now))

    def run_one(self, worker: int, seconds: float = 1.0) -> list[Instruction]:
        """Let a worker begin its next task and end it so many seconds later."""
        self.take(worker)
        self.now += seconds
        return self.end(worker)

    def die(self, worker: int) -> list[Instruction]:
        at = self.workers.pop(worker)
        if at.begun is not None and not at.is_told_to_end:
            self.deaths[at.begun] += 1
        event = WorkerDied(worker, tuple(at.unread))
        return self.carry_out(self.scheduler.handle(event, self.now))

    def tick(self, seconds: float) -> list[Instruction]:
        self.now += seconds
        return self.carry_out(self.scheduler.handle(Tick(), self.now))

    def carry_out(self, instructions: list[Instruction]) -> list[Instruction]:
        todo, done = deque(instructions), []
        while todo:
            instruction = todo.popleft()
            done.append(instruction)
            match instruction:
                case Start(worker):
                    assert worker not in self.workers
                    self.workers[worker] = SimWorker()
                case Submit(worker, task):
                    assert self.workers[worker].is_ready
                    assert not self.workers[worker].is_told_to_end
                    self.workers[worker].unread.append(task)
                case Recall(worker):
                    back = tuple(self.workers[worker].unread)
                    self.workers[worker].unread.clear()
                    event = TasksRecalled(worker, back)
                    todo.extend(self.scheduler.handle(event, self.now))
                case Kill(worker, task):
                    assert self.workers[worker].tasks[0] == task
                    self.workers[worker].is_told_to_end = True
                case GiveUp(task):
                    self.ended[task] += 1
                    self.given_up[task] = instruction
                case StartFailed():
                    self.has_failed = True
        self.check()
        return done

    def check(self) -> None:
        """Compare what the scheduler believes with what is."""
        scheduler = self.scheduler
        assert len(self.workers) <= scheduler.n_workers
        assert all(count == 1 for count in self.ended.values())
        where = {task: number for number, at in self.workers.items() for task in at.tasks}
        assert len(where) == sum(len(at.tasks) for at in self.workers.values())
        assert not where.keys() & self.ended.keys()
        for task in set(range(self.n_added)) - self.ended.keys():
            assert scheduler.owner(task) == where.get(task)
        for at in self.workers.values():
            assert len(at.tasks) <= scheduler.max_ahead + 1
        if not self.has_failed:
            assert set(scheduler.unended()) == set(range(self.n_added)) - self.ended.keys()
            assert scheduler.is_done == (len(self.ended) == self.n_added)

    def finish(self) -> None:
        """Let everything go well from here on, until all tasks have ended."""
        while not self.scheduler.is_done:
            assert self.step(), "nothing can happen any more, and not all tasks have ended"

    def step(self) -> bool:
        """Let one thing happen in each worker; return whether anything could."""
        something = False
        for number, at in list(self.workers.items()):
            if number not in self.workers:
                continue
            something = something or bool(not at.is_ready or at.is_told_to_end or at.tasks)
            if not at.is_ready:
                self.ready(number)
            elif at.is_told_to_end:
                self.die(number)
            elif at.tasks:
                if at.begun is None:
                    self.take(number)
                self.now += 0.001
                self.end(number)
        return something


@pytest.fixture
def make_sim() -> Iterator[Any]:
    """Return a function that makes a `Sim`, whose tasks must all come to their end later."""
    sims: list[Sim] = []

    def make(n_workers: int, **options: Any) -> Sim:
        sims.append(Sim(n_workers, **options))
        return sims[-1]

    yield make
    for sim in sims:
        if not sim.has_failed:
            sim.finish()


def test_first_task_starts_one_worker(make_sim):
    assert make_sim(4).add(1) == [Start(0)]


def test_no_more_workers_start_than_are_allowed(make_sim):
    assert make_sim(2).add(5) == [Start(0), Start(1)]


def test_no_more_workers_start_than_there_are_tasks(make_sim):
    assert make_sim(8).add(2) == [Start(0), Start(1)]


def test_worker_gets_a_task_when_it_is_ready_and_one_ahead(make_sim):
    sim = make_sim(1)
    sim.add(5)
    assert sim.ready(0) == [Submit(0, 0), Submit(0, 1)]


def test_nothing_is_sent_ahead_where_nothing_can_be_taken_back(make_sim):
    sim = make_sim(1, max_ahead=0)
    sim.add(5)
    assert sim.ready(0) == [Submit(0, 0)]
    assert sim.run_one(0) == [Submit(0, 1)]


def test_tasks_are_handed_out_in_input_order(make_sim):
    sim = make_sim(1)
    sim.add(4)
    sim.ready(0)
    assert sim.run_one(0) == [Submit(0, 2)]
    assert sim.run_one(0) == [Submit(0, 3)]


def test_idle_worker_comes_before_sending_ahead(make_sim):
    sim = make_sim(2)
    sim.add(2)
    sim.ready(0)
    sim.ready(1)
    sim.run_one(0)
    sim.run_one(1)
    assert sim.add(2) == [Submit(0, 2), Submit(1, 3)]


def test_short_tasks_are_sent_ahead_in_numbers(make_sim):
    sim = make_sim(1, max_ahead=16)
    sim.add(30)
    sim.ready(0)
    sim.run_one(0, seconds=0.0005)
    assert len(sim.workers[0].unread) == 17


def test_long_tasks_are_sent_ahead_one_at_a_time(make_sim):
    sim = make_sim(1, max_ahead=16)
    sim.add(30)
    sim.ready(0)
    sim.run_one(0, seconds=10)
    assert len(sim.workers[0].unread) == 2  # one of them is taken next


def test_idle_worker_gets_what_was_sent_ahead_to_another(make_sim):
    sim = make_sim(2)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    assert sim.ready(1) == [Submit(1, 2)]
    sim.take(1)
    assert sim.end(1) == [Recall(0), Submit(1, 1)]


def test_recalled_tasks_come_back_in_their_order(make_sim):
    sim = make_sim(2, max_ahead=16)
    sim.add(9)
    sim.ready(0)
    while sim.workers[0].unread:
        sim.run_one(0, seconds=0.001)
    sim.add(12)
    sim.take(0)
    assert len(sim.workers[0].unread) == 11
    recalled = list(sim.workers[0].unread)
    submitted = [x.task for x in sim.ready(1) if isinstance(x, Submit)]
    assert submitted == recalled


def test_worker_that_is_being_started_is_not_started_again(make_sim):
    sim = make_sim(4)
    sim.add(1)
    assert sim.tick(1.0) == []
    assert sim.add(1) == [Start(1)]


def test_recall_that_comes_too_late_is_not_repeated_before_something_changes():
    scheduler = Scheduler(2)
    scheduler.add(range(4), 0.0)
    scheduler.handle(WorkerReady(0), 0.0)
    scheduler.handle(WorkerReady(1), 0.0)
    scheduler.handle(TaskEnded(1, 2), 1.0)
    assert scheduler.handle(TaskEnded(1, 3), 2.0) == [Recall(0)]
    assert scheduler.handle(TasksRecalled(0, ()), 2.0) == []
    assert scheduler.handle(Tick(), 3.0) == []


def test_dead_worker_costs_its_task_one_attempt_and_the_others_none(make_sim):
    sim = make_sim(1)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    assert sim.die(0) == [Start(1)]
    assert [sim.scheduler.attempts(task) for task in range(3)] == [2, 1, 1]


def test_task_whose_worker_died_is_tried_again_before_the_others(make_sim):
    sim = make_sim(1)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    sim.die(0)
    assert sim.ready(1) == [Submit(1, 0), Submit(1, 1)]


def test_task_that_kills_its_workers_is_given_up(make_sim):
    sim = make_sim(1, max_worker_deaths=2)
    sim.add(2)
    for worker in (0, 1):
        sim.ready(worker)
        sim.take(worker)
        instructions = sim.die(worker)
    assert instructions == [GiveUp(0, attempts=2, timed_out=False), Start(2)]


@pytest.mark.parametrize("limit", [1, 3])
def test_number_of_workers_that_a_task_may_cost_can_be_chosen(make_sim, limit):
    sim = make_sim(1, max_worker_deaths=limit)
    sim.add(1)
    for worker in range(limit):
        sim.ready(worker)
        sim.take(worker)
        sim.die(worker)
    assert sim.given_up == {0: GiveUp(0, attempts=limit, timed_out=False)}


def test_deaths_on_different_tasks_are_counted_apart(make_sim):
    sim = make_sim(1, max_worker_deaths=2)
    sim.add(2)
    sim.ready(0)
    sim.take(0)
    sim.die(0)
    sim.ready(1)
    sim.run_one(1)
    sim.take(1)
    sim.die(1)
    assert not sim.given_up


def test_times_that_a_task_was_begun_are_counted(make_sim):
    sim = make_sim(1)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    assert [sim.scheduler.n_begun(task) for task in range(3)] == [1, 0, 0]
    sim.die(0)
    assert [sim.scheduler.n_begun(task) for task in range(3)] == [1, 0, 0]
    sim.ready(1)
    assert [sim.scheduler.n_begun(task) for task in range(3)] == [2, 0, 0]


def test_worker_that_dies_with_nothing_begun_charges_nobody(make_sim):
    sim = make_sim(1)
    sim.add(2)
    sim.ready(0)
    assert sim.die(0) == [Start(1)]
    assert [sim.scheduler.attempts(task) for task in range(2)] == [1, 1]


def test_workers_that_never_become_ready_stop_the_run(make_sim):
    sim = make_sim(1)
    sim.add(1)
    for worker in range(MAX_FAILED_STARTS - 1):
        assert sim.die(worker) == [Start(worker + 1)]
    assert sim.die(MAX_FAILED_STARTS - 1)[0] == StartFailed(MAX_FAILED_STARTS - 1)


def test_run_goes_on_with_the_workers_there_are_if_one_more_is_refused():
    scheduler = Scheduler(3)
    assert scheduler.add([0, 1, 2], 0.0) == [Start(0), Start(1), Start(2)]
    scheduler.handle(WorkerReady(0), 0.0)
    assert scheduler.handle(StartRefused(2), 0.0) == []
    assert scheduler.n_workers == 2
    assert scheduler.add([3], 0.0) == []  # and no other start is tried


def test_refused_start_of_the_only_worker_leaves_none():
    scheduler = Scheduler(1)
    scheduler.add([0], 0.0)
    scheduler.handle(StartRefused(0), 0.0)
    assert scheduler.n_workers == 0


def test_failed_starts_are_forgiven_once_a_worker_is_ready(make_sim):
    sim = make_sim(1)
    sim.add(1)
    for worker in range(MAX_FAILED_STARTS - 1):
        sim.die(worker)
    sim.ready(MAX_FAILED_STARTS - 1)
    sim.die(MAX_FAILED_STARTS - 1)
    sim.die(MAX_FAILED_STARTS)
    assert not sim.has_failed


def test_without_timeout_there_is_no_deadline(make_sim):
    sim = make_sim(1)
    sim.add(1)
    sim.ready(0)
    assert sim.scheduler.deadline() is None
    assert sim.tick(1e9) == []


def test_deadline_is_that_of_the_task_longest_at_work(make_sim):
    sim = make_sim(2, file_timeout=10)
    sim.add(3)
    sim.ready(0)
    sim.now += 4
    sim.ready(1)
    assert sim.scheduler.deadline() == 10
    sim.run_one(0)
    assert sim.scheduler.deadline() == 14


def test_task_that_takes_too_long_is_given_up_and_not_tried_again(make_sim):
    sim = make_sim(1, file_timeout=10, max_worker_deaths=5)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    assert sim.tick(9.9) == []
    assert sim.tick(0.2) == [Kill(0, 0)]
    assert sim.die(0) == [GiveUp(0, attempts=1, timed_out=True)]


def test_task_sent_ahead_is_given_its_time_from_when_it_is_at_work(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(2)
    sim.ready(0)
    sim.run_one(0, seconds=9)
    assert sim.tick(9) == []
    assert sim.tick(2) == [Kill(0, 1)]


def test_tasks_sent_ahead_to_a_worker_that_is_ended_go_on_elsewhere(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    sim.tick(11)
    sim.die(0)
    sim.ready(1)
    assert sim.workers[1].tasks == [1, 2]
    assert sim.given_up.keys() == {0}


def test_task_that_ends_just_before_its_worker_is_ended_counts_as_ended(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(2)
    sim.ready(0)
    sim.take(0)
    sim.tick(11)
    sim.end(0)
    sim.take(0)  # before the signal arrives
    sim.die(0)
    assert not sim.given_up
    assert sim.scheduler.attempts(1) == 1


def test_worker_that_is_to_be_ended_gets_nothing_more(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    sim.tick(11)
    assert sim.add(1) == []


def test_tasks_are_wanted_until_every_worker_has_enough(make_sim):
    sim = make_sim(2)
    sim.add(sim.scheduler.n_wanted)
    assert sim.scheduler.n_wanted == 0
    n_submitted = len(sim.ready(0)) + len(sim.ready(1))
    assert sim.n_added - n_submitted == 2
    sim.run_one(0)
    assert sim.scheduler.n_wanted == 1


def test_deaths_are_forgotten_with_the_task(make_sim):
    sim = make_sim(1)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    sim.die(0)
    sim.ready(1)
    sim.run_one(1)
    assert sim.scheduler.attempts(0) == 1


def test_tasks_in_flight_are_counted(make_sim):
    sim = make_sim(3)
    sim.add(2)
    assert sim.scheduler.n_in_flight == 0
    sim.ready(0)
    assert sim.scheduler.n_in_flight == 1


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "ready", "take", "end", "end", "die", "tick"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.0001, 0.003, 1.0, 30.0]),
    ),
    max_size=120,
)


@given(
    n_workers=st.integers(1, 5),
    max_ahead=st.sampled_from([0, 1, 2, 16]),
    file_timeout=st.sampled_from([None, 2.0]),
    max_worker_deaths=st.integers(1, 3),
    actions=ACTIONS,
)
def test_whatever_happens_every_task_ends_once(
    n_workers, max_ahead, file_timeout, max_worker_deaths, actions
):
    sim = Sim(
        n_workers,
        max_ahead=max_ahead,
        file_timeout=file_timeout,
        max_worker_deaths=max_worker_deaths,
    )
    sim.add(3)
    for action, which, seconds in actions:
        sim.now += seconds
        happen(sim, action, which)
        if sim.has_failed:
            return
    sim.finish()
    assert sim.ended == Counter(range(sim.n_added))
    for task, given_up in sim.given_up.items():
        deaths = sim.deaths[task]
        assert given_up.timed_out or given_up.attempts == deaths == max_worker_deaths
    for task in sim.ended.keys() - sim.given_up.keys():
        assert sim.deaths[task] < max_worker_deaths


def happen(sim: Sim, action: str, which: int) -> None:
    """Do something to one of the workers to which that can happen, if there are any."""
    if action == "add":
        sim.add(which)
    elif action == "tick":
        sim.tick(0.0)
    else:
        able = [
            number
            for number, at in sim.workers.items()
            if (action == "ready" and not at.is_ready)
            or (action == "take" and at.begun is None and at.unread)
            or (action == "end" and at.begun is not None)
            or action == "die"
        ]
        if able:
            getattr(sim, action)(able[which % len(able)])


@pytest.mark.parametrize("n_workers", [2, 200])
def test_an_event_costs_the_same_however_many_workers_and_tasks_there_are(n_workers):
    sim = Sim(n_workers, max_ahead=1)
    sim.check = lambda: None  # type: ignore[method-assign]
    sim.add(20 * n_workers)
    for worker in range(n_workers):
        sim.ready(worker)
    n_instructions = [len(sim.run_one(worker)) for worker in range(n_workers) for _ in range(5)]
    assert max(n_instructions) <= 2
