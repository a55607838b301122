"""The scheduler alone: events in, instructions out, in a world made of numbers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.scheduler import Scheduler
from bigpipe.scheduling.admission import Admission, Need
from bigpipe.scheduling.events import (
    Cause,
    Dismiss,
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
from bigpipe.scheduling.losses import MAX_FAILED_STARTS, MAX_IDLE_DEATHS
from bigpipe.scheduling.roster import InHand


@dataclass
class SimWorker:
    """A worker as it would be: what lies in its channel, and what it has taken out."""

    is_ready: bool = False
    is_told_to_end: bool = False
    is_paused: bool = False
    unread: deque[int] = field(default_factory=deque)
    begun: int | None = None

    @property
    def tasks(self) -> list[int]:
        return [*([] if self.begun is None else [self.begun]), *self.unread]


class Sim:
    """Carries out what the scheduler says, in no time, and checks it after each step."""

    def __init__(self, n_workers: int, **options: Any) -> None:
        self.scheduler = Scheduler(n_workers, **options)
        self.admission: Admission | None = options.get("admission")
        self.workers: dict[int, SimWorker] = {}
        self.now = 0.0
        self.n_added = 0
        self.ended: Counter[int] = Counter()
        self.given_up: dict[int, GiveUp] = {}
        self.deaths: Counter[int] = Counter()
        self.has_failed = False

    # What happens in the world. Each returns the instructions that followed.

    def add(self, n: int, needs: dict[int, Need] | None = None) -> list[Instruction]:
        tasks = range(self.n_added, self.n_added + n)
        self.n_added += n
        return self.carry_out(self.scheduler.add(tasks, self.now, needs))

    def add_given(self, *sizes: int) -> list[Instruction]:
        """Add tasks of which the bytes that they need are given."""
        needs = {task: Need(given=size) for task, size in enumerate(sizes, self.n_added)}
        return self.add(len(sizes), needs)

    def ready(self, worker: int, reserved: int | None = None) -> list[Instruction]:
        self.workers[worker].is_ready = True
        return self.carry_out(self.scheduler.handle(WorkerReady(worker, reserved), self.now))

    def measure(
        self, used: dict[int, int], seconds: float = 0.1, available: int | None = None
    ) -> list[Instruction]:
        self.now += seconds
        return self.carry_out(self.scheduler.handle(Measured(used, available), self.now))

    def take(self, worker: int) -> None:
        """Let a worker begin what is next for it."""
        at = self.workers[worker]
        assert at.begun is None
        assert not at.is_paused
        at.begun = at.unread.popleft()

    def end(self, worker: int) -> list[Instruction]:
        task = self.workers[worker].begun
        assert task is not None
        self.workers[worker].begun = None
        self.ended[task] += 1
        return self.carry_out(self.scheduler.ended(worker, [task], [None], self.now))

    def run_one(self, worker: int, seconds: float = 1.0) -> list[Instruction]:
        """Let a worker begin its next task and end it so many seconds later."""
        self.take(worker)
        self.now += seconds
        return self.end(worker)

    def die(self, worker: int, *, out_of_memory: bool = False) -> list[Instruction]:
        at = self.workers.pop(worker)
        if at.begun is not None and not at.is_told_to_end:
            self.deaths[at.begun] += 1
        event = WorkerDied(worker, tuple(at.unread), out_of_memory)
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
                case Submit(worker, tasks):
                    assert self.workers[worker].is_ready
                    assert not self.workers[worker].is_told_to_end
                    self.workers[worker].unread.extend(tasks)
                case Recall(worker):
                    back = tuple(self.workers[worker].unread)
                    self.workers[worker].unread.clear()
                    event = TasksRecalled(worker, back)
                    todo.extend(self.scheduler.handle(event, self.now))
                case Kill(worker, task):
                    assert self.workers[worker].tasks in ([], [task])  # none ahead any more
                    self.workers[worker].is_told_to_end = True
                case Stop(worker, task):
                    assert self.workers[worker].tasks[0] == task
                    self.workers[worker].is_told_to_end = True
                case Dismiss(worker):
                    assert not self.workers[worker].tasks
                    self.workers[worker].is_told_to_end = True
                case Pause(worker):
                    assert not self.workers[worker].is_paused
                    self.workers[worker].is_paused = True
                case Resume(worker):
                    assert self.workers[worker].is_paused
                    self.workers[worker].is_paused = False
                case GiveUp(task):
                    self.ended[task] += 1
                    self.given_up[task] = instruction
                case StartFailed():
                    self.has_failed = True
                case _:
                    raise AssertionError(instruction)
        self.check()
        return done

    def check(self) -> None:
        """Compare what the scheduler believes with what is."""
        scheduler = self.scheduler
        assert len(self.workers) <= scheduler.n_workers
        paused = [at for at in self.workers.values() if at.is_paused and not at.is_told_to_end]
        assert not paused or any(
            at.tasks and not at.is_paused and not at.is_told_to_end for at in self.workers.values()
        )
        assert all(count == 1 for count in self.ended.values())
        where = {task: number for number, at in self.workers.items() for task in at.tasks}
        assert len(where) == sum(len(at.tasks) for at in self.workers.values())
        assert not where.keys() & self.ended.keys()
        for task in set(range(self.n_added)) - self.ended.keys():
            assert scheduler.owner(task) == where.get(task)
        for at in self.workers.values():
            assert len(at.tasks) <= scheduler.max_ahead + 1
        for each in scheduler.in_flight:
            at = self.workers[each.worker]
            assert at.is_told_to_end or each.is_paused == at.is_paused
        if self.admission is not None:
            charged = self.admission.charges.workers
            assert {number: {*at.tasks} for number, at in charged.items()} == {
                number: {*at.tasks} for number, at in self.workers.items()
            }
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
            if at.is_told_to_end:
                self.die(number)
            elif not at.is_ready:
                self.ready(number)
            elif at.tasks and not at.is_paused:
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
    assert sim.ready(0) == [Submit(0, (0, 1))]


def test_nothing_is_sent_ahead_where_nothing_can_be_taken_back(make_sim):
    sim = make_sim(1, max_ahead=0)
    sim.add(5)
    assert sim.ready(0) == [Submit(0, (0,))]
    assert sim.run_one(0) == [Submit(0, (1,))]


def test_tasks_are_handed_out_in_input_order(make_sim):
    sim = make_sim(1)
    sim.add(4)
    sim.ready(0)
    assert sim.run_one(0) == [Submit(0, (2,))]
    assert sim.run_one(0) == [Submit(0, (3,))]


def test_idle_worker_comes_before_sending_ahead(make_sim):
    sim = make_sim(2)
    sim.add(2)
    sim.ready(0)
    sim.ready(1)
    sim.run_one(0)
    sim.run_one(1)
    assert sim.add(2) == [Submit(0, (2,)), Submit(1, (3,))]


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


def test_many_reports_are_taken_in_before_anything_is_handed_out():
    scheduler = Scheduler(2, max_ahead=1)
    scheduler.add(range(8), 0.0)
    scheduler.handle(WorkerReady(0), 0.0)  # is given 0 and 1
    scheduler.handle(WorkerReady(1), 0.0)  # is given 2 and 3
    ended = [TaskEnded(0, 0), TaskEnded(0, 1), TaskEnded(1, 2)]
    instructions = scheduler.handle_all(ended, 0.01)
    assert instructions == [Submit(0, (4, 6)), Submit(1, (5,))], "the one that is idle comes first"
    assert len(scheduler.in_flight) == 2


def test_idle_worker_gets_what_was_sent_ahead_to_another(make_sim):
    sim = make_sim(2)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    assert sim.ready(1) == [Submit(1, (2,))]
    sim.take(1)
    assert sim.end(1) == [Recall(0), Submit(1, (1,))]


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
    submitted = [x.tasks for x in sim.ready(1) if isinstance(x, Submit)]
    in_turn = [task for turn in zip_longest(*submitted) for task in turn if task is not None]
    assert in_turn == recalled


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


def test_worker_whose_tasks_were_all_recalled_is_not_ended_for_taking_too_long():
    scheduler = Scheduler(2, file_timeout=10.0)
    scheduler.add(range(2), 0.0)
    scheduler.handle(WorkerReady(0), 0.0)
    assert scheduler.handle(WorkerReady(1), 0.0) == [Recall(0)]
    scheduler.handle(TasksRecalled(0, (1,)), 0.0)
    scheduler.handle(TaskEnded(1, 1), 0.5)
    assert scheduler.handle(TasksRecalled(0, (0,)), 1.0) == [Submit(1, (0,))]
    assert scheduler.handle(Tick(), 10.5) == []
    assert scheduler.handle(Tick(), 11.0) == [Kill(1, 0)]


def test_dead_worker_costs_its_task_one_attempt_and_the_others_none(make_sim):
    sim = make_sim(1)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    assert sim.die(0) == [Start(1)]
    assert [sim.scheduler.attempts(task) for task in range(3)] == [2, 1, 1]


@pytest.mark.parametrize("budget", [None, 1000])
def test_dead_worker_is_replaced_for_a_task_sent_ahead_to_another(make_sim, budget):
    admission = budget and Admission(budget, is_given=True, n_workers=2)
    sim = make_sim(2, n_ahead=1, admission=admission)
    sim.add_given(100, 100)
    for worker in (0, 1):
        sim.ready(worker, 50)
        sim.take(worker)
    instructions = sim.die(1)
    assert Submit(0, (1,)) in instructions
    assert Start(2) in instructions


def test_task_whose_worker_died_is_tried_again_before_the_others(make_sim):
    sim = make_sim(1)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    sim.die(0)
    assert sim.ready(1) == [Submit(1, (0, 1))]


def test_task_that_kills_its_workers_is_given_up(make_sim):
    sim = make_sim(1, max_worker_deaths=2)
    sim.add(2)
    for worker in (0, 1):
        sim.ready(worker)
        sim.take(worker)
        instructions = sim.die(worker)
    assert instructions == [GiveUp(0, attempts=2, cause=Cause.DIED), Start(2)]


@pytest.mark.parametrize("limit", [1, 3])
def test_number_of_workers_that_a_task_may_cost_can_be_chosen(make_sim, limit):
    sim = make_sim(1, max_worker_deaths=limit)
    sim.add(1)
    for worker in range(limit):
        sim.ready(worker)
        sim.take(worker)
        sim.die(worker)
    assert sim.given_up == {0: GiveUp(0, attempts=limit, cause=Cause.DIED)}


def test_deaths_on_different_tasks_are_counted_apart(make_sim):
    sim = make_sim(2, max_worker_deaths=2)
    sim.add(2)
    for worker in range(2):
        sim.ready(worker)
        sim.take(worker)
    for worker in range(2):
        sim.die(worker)
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


def test_workers_that_are_ready_and_never_begin_a_task_stop_the_run(make_sim):
    """As none of their tasks is charged with a death, they would be replaced for ever."""
    sim = make_sim(1)
    sim.add(2)
    for worker in range(MAX_IDLE_DEATHS):
        assert not sim.has_failed
        sim.ready(worker)
        instructions = sim.die(worker)
    assert instructions[0] == StartFailed(MAX_IDLE_DEATHS - 1, was_ready=True)


def test_deaths_before_a_task_are_forgiven_once_another_task_has_ended(make_sim):
    sim = make_sim(1)
    sim.add(2)
    for worker in range(2 * MAX_IDLE_DEATHS - 2):
        sim.ready(worker)
        if worker == MAX_IDLE_DEATHS - 1:
            sim.run_one(worker)
        sim.die(worker)
    assert not sim.has_failed


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
    assert sim.die(0) == [GiveUp(0, attempts=1, cause=Cause.TIMED_OUT)]


def test_task_sent_ahead_is_given_its_time_from_when_it_is_at_work(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(2)
    sim.ready(0)
    sim.run_one(0, seconds=9)
    assert sim.tick(9) == []
    assert sim.tick(2) == [Kill(0, 1)]


def test_tasks_sent_ahead_to_a_worker_that_is_ended_go_on_elsewhere_at_once(make_sim):
    sim = make_sim(2, file_timeout=10)
    sim.add(5)
    sim.ready(0)
    sim.take(0)
    sim.ready(1)
    sim.run_one(1, seconds=6)
    assert (sim.workers[0].tasks, sim.workers[1].tasks) == ([0, 1], [3, 4])
    assert sim.tick(6) == [Recall(0), Kill(0, 0)]
    sim.run_one(1)
    assert (sim.workers[0].tasks, sim.workers[1].tasks) == ([0], [4, 1])
    sim.die(0)
    assert sim.given_up.keys() == {0}


def test_tasks_sent_ahead_give_no_more_time_to_the_one_at_work(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    assert sim.tick(6) == []
    assert sim.add(1) == [Submit(0, (1,))]
    assert sim.tick(5) == [Recall(0), Kill(0, 0)]


def test_recall_gives_no_more_time_to_the_task_at_work(make_sim):
    sim = make_sim(2, file_timeout=10)
    sim.add(3)
    sim.ready(0)
    sim.take(0)
    sim.ready(1)
    assert sim.run_one(1) == [Recall(0), Submit(1, (1,))]
    assert sim.tick(9.5) == [Kill(0, 0)]


def test_worker_that_died_is_not_ended_once_its_task_would_be_overdue(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    assert sim.die(0) == [Start(1)]
    assert sim.scheduler.deadline() is None
    assert sim.tick(11) == []


def test_task_that_ends_just_before_its_worker_is_ended_counts_as_ended():
    scheduler = Scheduler(1, file_timeout=10)
    scheduler.add(range(2), 0.0)
    scheduler.handle(WorkerReady(0), 0.0)
    assert scheduler.handle(Tick(), 11.0) == [Recall(0), Kill(0, 0)]
    scheduler.handle(TasksRecalled(0, ()), 11.0)  # it has taken the other one meanwhile
    scheduler.ended(0, [0], [None], 11.0)
    assert scheduler.handle(WorkerDied(0, ()), 11.1) == [Start(1)]
    assert scheduler.attempts(1) == 1


def test_worker_that_is_to_be_ended_gets_nothing_more(make_sim):
    sim = make_sim(1, file_timeout=10)
    sim.add(1)
    sim.ready(0)
    sim.take(0)
    sim.tick(11)
    assert sim.add(1) == []


def test_recall_that_came_too_late_is_repeated_once_a_task_has_ended():
    scheduler = Scheduler(2, max_ahead=8)
    scheduler.add(range(1), 0.0)
    scheduler.handle(WorkerReady(0), 0.0)
    scheduler.ended(0, [0], [None], 1e-4)
    assert scheduler.add(range(1, 7), 1e-4) == [Submit(0, (1, 2, 3, 4, 5, 6)), Start(1)]
    assert scheduler.handle(WorkerReady(1), 1e-4) == [Recall(0)]
    assert scheduler.handle(TasksRecalled(0, ()), 1e-4) == []
    assert scheduler.ended(0, [1], [None], 2e-4) == [Recall(0)]


def test_tasks_are_wanted_until_every_worker_has_enough(make_sim):
    sim = make_sim(2)
    sim.add(sim.scheduler.n_wanted)
    assert sim.scheduler.n_wanted == 0
    submitted = [x.tasks for x in sim.ready(0) + sim.ready(1)]
    assert sim.n_added - sum(map(len, submitted)) == 2
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
    assert sim.scheduler.in_flight == []
    sim.ready(0)
    assert sim.scheduler.in_flight == [InHand(0, 0, 0.0, False)]


@pytest.fixture
def short(make_sim):
    """Return a simulation with three ready workers and 1000 bytes, which are given."""
    admission = Admission(1000, is_given=True, n_workers=3)
    sim = make_sim(3, admission=admission, file_timeout=100, max_ahead=8)
    sim.add_given(1, 1, 1)
    for worker in range(3):
        sim.ready(worker, reserved=0)
    for worker in range(3):
        sim.run_one(worker)
    assert sim.scheduler.is_done
    return sim


def test_task_waits_for_memory_while_another_worker_is_idle(short):
    assert short.add_given(600, 600) == [Submit(0, (3,))]
    assert short.run_one(0) == [Submit(1, (4,))]


def test_task_over_the_budget_is_refused_before_it_is_begun(short):
    assert short.add_given(1001) == [GiveUp(3, 0, Cause.REFUSED, 1001)]
    assert short.scheduler.is_done


def test_youngest_is_paused_and_goes_on_when_the_other_has_ended(short):
    short.add_given(100, 100)
    short.take(0)
    short.now += 1
    short.take(1)
    short.measure({0: 100, 1: 100})
    assert short.measure({0: 400, 1: 400}) == [Pause(1)]
    assert short.end(0) == [Resume(1)]


def test_what_was_sent_ahead_to_a_worker_is_recalled_when_it_is_paused(make_sim):
    sim = make_sim(2, admission=Admission(1000, is_given=True, n_workers=2), max_ahead=1)
    sim.add_given(1, 1)
    for worker in (0, 1):
        sim.ready(worker, reserved=0)
    for worker in (0, 1):
        sim.run_one(worker, seconds=0.02)
    sim.add_given(100, 100, 100, 100)
    sim.take(0)
    sim.take(1)
    assert [sim.scheduler.owner(task) for task in (4, 5)] == [0, 1]
    assert sim.measure({0: 100, 1: 100}) == []
    assert sim.measure({0: 400, 1: 400}) == [Pause(1), Recall(1)]
    assert sim.scheduler.owner(5) is None


def test_time_in_which_a_worker_is_paused_is_not_charged_to_its_task(short):
    short.add_given(100, 100)
    began_at = short.now
    short.take(0)
    short.take(1)
    short.measure({0: 100, 1: 100}, seconds=1)
    assert short.measure({0: 400, 1: 400}, seconds=1) == [Pause(1)]
    short.now += 50
    assert short.end(0) == [Resume(1)]
    assert short.scheduler.deadline() == began_at + 100 + 50
    assert short.tick(97.9) == []
    assert short.tick(0.2) == [Kill(1, 4)]


def test_task_that_is_stopped_is_run_again_and_no_death_is_charged(short):
    short.add_given(100, 100)
    short.take(0)
    short.take(1)
    assert short.measure({0: 500, 1: 600}) == [Stop(1, 4)]
    assert short.scheduler.attempts(4) == 1
    short.die(1)
    assert short.scheduler.attempts(4) == 2
    short.end(0)
    assert short.scheduler.owner(4) is not None
    assert short.scheduler.projection(4) == 900
    assert not short.deaths


def test_task_that_is_too_large_for_a_given_budget_is_given_up(make_sim):
    sim = make_sim(1, admission=Admission(1000, is_given=True, n_workers=1))
    sim.add_given(100)
    sim.ready(0, reserved=0)
    sim.take(0)
    assert sim.measure({0: 1200}) == [Stop(0, 0)]
    assert sim.die(0) == [GiveUp(0, 1, Cause.TOO_LARGE, 1200)]


def test_task_in_a_worker_that_has_had_others_is_run_again_before_it_is_too_large(short):
    short.add_given(100)
    short.take(0)
    assert short.measure({0: 1200}) == [Stop(0, 3)]
    assert short.die(0) == [Submit(1, (3,))]


def test_task_that_ends_just_before_it_is_stopped_counts_as_ended(short):
    short.add_given(100)
    short.take(0)
    assert short.measure({0: 1200}) == [Stop(0, 3)]
    short.end(0)
    short.die(0)
    assert not short.given_up


def test_worker_that_ended_its_task_just_before_it_was_paused_goes_on(short):
    short.add_given(100, 100)
    short.take(0)
    short.take(1)
    short.measure({0: 100, 1: 100})
    assert short.measure({0: 400, 1: 400}) == [Pause(1)]
    assert short.end(1) == [Resume(1)]
    short.end(0)
    assert short.add_given(100, 100) == [Submit(2, (5,)), Submit(1, (6,))]


def test_no_task_starts_while_the_system_is_under_pressure(short):
    short.add_given(100)
    short.take(0)
    short.scheduler.handle(Measured({0: 10}, None, is_tight=True), short.now)
    assert short.add_given(100) == []
    assert short.measure({0: 10}) == [Submit(1, (4,))]


def test_death_is_forgotten_with_a_task_that_ends_within_a_budget(short):
    short.add_given(100)
    short.take(0)
    assert short.die(0) == [Submit(1, (3,))]
    assert short.scheduler.n_begun(3) == 2
    short.run_one(1)
    assert short.scheduler.n_begun(3) == 0


def test_task_sent_ahead_is_not_recalled_for_a_worker_on_which_it_does_not_fit(make_sim):
    sim = make_sim(2, admission=Admission(1000, is_given=True, n_workers=2), max_ahead=1)
    sim.add_given(1, 1)
    for worker in (0, 1):
        sim.ready(worker, reserved=0)
    for worker in (0, 1):
        sim.run_one(worker, seconds=0.02)
    sim.add_given(600, 100, 600)
    assert [sim.scheduler.owner(task) for task in (2, 3, 4)] == [0, 1, 0]
    assert sim.run_one(1) == []


def test_worker_that_the_system_refuses_is_not_charged():
    admission = Admission(2**30, is_given=True, n_workers=2)
    scheduler = Scheduler(2, admission=admission)
    assert scheduler.add(range(2), 0.0) == [Start(0), Start(1)]
    scheduler.handle(WorkerReady(0, 100), 0.0)
    held = admission.charges.total
    scheduler.handle(StartRefused(1), 0.0)
    assert [*admission.charges.workers] == [0]
    assert admission.charges.total == held - 100


def test_worker_that_is_dismissed_before_it_is_ready_is_no_failed_start(make_sim):
    sim = make_sim(2, admission=Admission(1000, is_given=False, n_workers=2))
    sim.add_given(100, 100)
    sim.ready(0, reserved=10)
    sim.take(0)
    for starting in range(1, MAX_FAILED_STARTS + 2):
        assert not sim.workers[starting].is_ready
        assert sim.measure({0: 1200, starting: 10}) == [Dismiss(starting)]
        sim.die(starting)
        assert sim.measure({0: 100}) == [Start(starting + 1)]
    assert not sim.has_failed


def test_task_that_was_out_of_memory_is_projected_higher_the_next_time(short):
    short.add_given(300)
    short.take(0)
    short.die(0, out_of_memory=True)
    assert short.scheduler.projection(3) == 600


def test_long_tasks_are_not_sent_ahead_within_a_budget(short):
    assert short.add_given(1, 1, 1, 1) == [Submit(worker, (worker + 3,)) for worker in range(3)]


def test_what_workers_waited_for_is_counted(short):
    before = dict(short.scheduler.waited_s)
    short.add_given(600, 600)
    short.take(0)
    short.tick(10)
    short.end(0)
    short.run_one(1, seconds=5)
    short.tick(2)
    waited = {kind: short.scheduler.waited_s[kind] - before[kind] for kind in before}
    assert waited == pytest.approx({"memory": 20, "inputs": 2 * 5 + 3 * 2, "paused": 0})


def test_what_paused_workers_waited_for_is_counted_from_the_pause(make_sim):
    sim = make_sim(2, admission=Admission(1000, is_given=True, n_workers=2))
    sim.tick(1000)  # before there is a task, nobody waits
    assert sim.scheduler.waited_s == {"memory": 0, "inputs": 0, "paused": 0}
    sim.add_given(400, 400)
    for worker in range(2):
        sim.ready(worker, reserved=0)
        sim.take(worker)
    sim.measure({0: 300, 1: 300}, seconds=1)
    assert sim.measure({0: 600, 1: 380}, seconds=1) == [Pause(1)]
    before = dict(sim.scheduler.waited_s)
    sim.tick(0.25)
    sim.tick(0.5)
    waited = {kind: sim.scheduler.waited_s[kind] - before[kind] for kind in before}
    assert waited == {"memory": 0, "inputs": 0, "paused": 0.75}


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "ready", "take", "end", "end", "die", "tick", "measure"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.0001, 0.003, 1.0, 30.0]),
    ),
    max_size=120,
)


@given(
    n_workers=st.integers(1, 5),
    budget=st.none() | st.sampled_from([10, 1000, 2**40]),
    max_ahead=st.sampled_from([0, 1, 2, 16]),
    file_timeout=st.sampled_from([None, 2.0]),
    max_worker_deaths=st.integers(1, 3),
    actions=ACTIONS,
)
def test_whatever_happens_every_task_ends_once(
    n_workers, budget, max_ahead, file_timeout, max_worker_deaths, actions
):
    admission = None
    if budget is not None:
        admission = Admission(budget, is_given=n_workers % 2 == 0, n_workers=n_workers)
    sim = Sim(
        n_workers,
        admission=admission,
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
        if given_up.cause is Cause.DIED:
            assert given_up.attempts >= deaths == max_worker_deaths
        elif given_up.cause is Cause.TOO_LARGE:
            assert given_up.n_bytes > budget
    for task in sim.ended.keys() - sim.given_up.keys():
        assert sim.deaths[task] < max_worker_deaths


def happen(sim: Sim, action: str, which: int) -> None:
    """Do something to one of the workers to which that can happen, if there are any."""
    if action == "add":
        sim.add(which)
    elif action == "tick":
        sim.tick(0.0)
    elif action == "measure":
        sim.measure({number: which * (number + 1) * 150 for number in sim.workers})
    else:
        able = [
            number
            for number, at in sim.workers.items()
            if (action == "ready" and not at.is_ready)
            or (action == "take" and at.begun is None and at.unread and not at.is_paused)
            or (action == "end" and at.begun is not None)
            or action == "die"
        ]
        if able:
            getattr(sim, action)(able[which % len(able)])


@pytest.mark.parametrize("timeout", [None, 10.0], ids=["no timeout", "timeout"])
@pytest.mark.parametrize("growth", [0, 200], ids=["light", "account needed"])
def test_tasks_that_end_together_count_as_one_after_another(timeout, growth):
    def begun():
        admission = Admission(1000, is_given=True, n_workers=2, need_of=lambda task: Need(size=1))
        scheduler = Scheduler(2, max_ahead=3, file_timeout=timeout, admission=admission)
        scheduler.add(range(9), 0.0)
        for worker in range(2):
            scheduler.handle(WorkerReady(worker, 1), 0.0)
        for task in range(2):  # they are short, so more are sent ahead
            scheduler.ended(task, [task], [0], 1e-4)
        return scheduler, admission

    (together, admission), (one_by_one, other) = begun(), begun()
    tasks = [task for task in together.unended() if together.owner(task) == 0][:3]
    assert len(tasks) == 3
    growths = [1, None, growth]
    instructions = together.ended(0, tasks, growths, 2e-4)
    events = [TaskEnded(0, task, each) for task, each in zip(tasks, growths, strict=True)]
    assert instructions == one_by_one.handle_all(events, 2e-4)
    assert together.unended() == one_by_one.unended()
    assert together.in_flight == one_by_one.in_flight
    assert together.deadline() == one_by_one.deadline()
    assert admission.is_light is other.is_light is (growth == 0)


@pytest.mark.parametrize("n_workers", [2, 200])
def test_an_event_costs_the_same_however_many_workers_and_tasks_there_are(n_workers):
    sim = Sim(n_workers, max_ahead=1)
    sim.check = lambda: None  # type: ignore[method-assign]
    sim.add(20 * n_workers)
    for worker in range(n_workers):
        sim.ready(worker)
    n_instructions = [len(sim.run_one(worker)) for worker in range(n_workers) for _ in range(5)]
    assert max(n_instructions) <= 2
