"""How many tasks are sent ahead, and for how long the parent may leave workers alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bigpipe.executors.base import MAX_SLACK
from bigpipe.scheduler import Scheduler
from bigpipe.scheduling.events import Instruction, Recall, Start, Submit, WorkerReady
from bigpipe.scheduling.pace import MAX_AHEAD, Pace


def play(n: int, duration: Callable[[int], float], **options: Any) -> tuple[float, int]:
    """Play a run with two workers in a world without any other delay.

    Parameters
    ----------
    n : int
        Tasks.
    duration : callable
        Seconds that the k-th task of a worker takes.
    **options
        Of the scheduler.

    Returns
    -------
    tuple
        Part of the time in which workers wait; how often the parent looks after them.
    """
    scheduler, n_looks = Scheduler(2, **options), 0
    queues: dict[int, deque[tuple[int, float]]] = {0: deque(), 1: deque()}
    last, n_given, idle, now = {0: 0.0, 1: 0.0}, {0: 0, 1: 0}, 0.0, 0.0

    def carry_out(instructions: Iterable[Instruction]) -> None:
        nonlocal idle
        for instruction in instructions:
            match instruction:
                case Start(worker):
                    carry_out(scheduler.handle(WorkerReady(worker, None), now))
                case Submit(worker, tasks):
                    idle += max(0.0, now - last[worker])
                    for task in tasks:
                        last[worker] = max(last[worker], now) + duration(n_given[worker])
                        n_given[worker] += 1
                        queues[worker].append((task, last[worker]))
                case Recall():
                    return  # in the end there is nothing that the other could take

    carry_out(scheduler.add(range(n), now))
    while not scheduler.is_done:
        n_looks += 1
        now += min(scheduler.slack_s, MAX_SLACK)
        now = max(now, min(queue[0][1] for queue in queues.values() if queue))
        for worker, queue in queues.items():
            ended = [task for task, at in queue if at <= now]
            if ended:
                del_first(queue, len(ended))
                carry_out(scheduler.ended(worker, ended, [None] * len(ended), now))
    return idle / (2 * now), n_looks


def del_first(queue: deque[tuple[int, float]], n: int) -> None:
    for _ in range(n):
        queue.popleft()


@pytest.mark.parametrize("usual_s", [80e-6, 1e-3, 0.02, 0.5])
@pytest.mark.parametrize("first_s", [0.0, 2e-3, 0.1])
def test_workers_do_not_wait_though_their_first_task_is_slow(usual_s, first_s):
    assert play(5000, lambda k: usual_s + first_s * (k == 0))[0] < 0.01


def test_workers_hardly_wait_when_tasks_become_much_shorter():
    assert play(5000, lambda k: 0.005 if k < 500 else 80e-6)[0] < 0.03


def test_parent_looks_after_many_short_tasks_at_a_time_though_each_has_a_deadline():
    looks = [play(5000, lambda k: 80e-6, **how)[1] for how in ({}, {"file_timeout": 60})]
    assert looks[0] == looks[1] < 300


def test_parent_looks_away_for_longer_and_longer_until_a_worker_has_run_out():
    pace = Pace(MAX_AHEAD)
    slacks = []
    for _ in range(20):
        pace.note(1e-3)
        slacks.append(pace.slack_s)
    assert slacks == sorted(slacks)
    assert slacks[0] < 0.002
    assert slacks[-1] == pytest.approx(0.025)  # half of what is sent ahead
    pace.note(1e-3, ran_out=True)
    assert pace.slack_s == slacks[0]


@pytest.mark.parametrize("options", [{}, {"file_timeout": 60}], ids=str)
def test_scheduler_tells_when_a_worker_has_run_out(options, monkeypatch):
    told = []

    class Listening(Pace):
        def note(self, seconds, n=1, *, ran_out=False):
            told.append(ran_out)
            super().note(seconds, n, ran_out=ran_out)

    monkeypatch.setattr("bigpipe.scheduler.Pace", Listening)
    scheduler = Scheduler(1, **options)
    scheduler.add(range(100), 0.0)
    assigned = deque(scheduler.handle(WorkerReady(0, None), 0.0)[0].tasks)
    for n_left, now in ((0, 0.001), (1, 0.002), (0, 0.003)):
        tasks = [assigned.popleft() for _ in range(len(assigned) - n_left)]
        instructions = scheduler.ended(0, tasks, [None] * len(tasks), now)
        assigned.extend(task for submit in instructions for task in submit.tasks)
        assert told == [n_left == 0]
        told.clear()


def test_parent_does_not_look_away_when_few_tasks_are_ahead():
    pace = Pace(MAX_AHEAD)
    pace.note(0.02)
    assert (pace.ahead, pace.slack_s) == (2, 0.0)


def test_pace_follows_a_change_of_duration_by_and_by():
    paces = []
    pace = Pace(1000)
    for seconds in (0.001, *[0.002] * 20):
        pace.note(seconds)
        paces.append(pace.ahead)
    assert paces == sorted(paces, reverse=True)
    assert (paces[0], paces[-1]) == (50, 25)
    assert 35 < paces[1] < 50


def test_tasks_noted_together_count_as_if_one_after_another():
    together, singly = Pace(1000), Pace(1000)
    for pace in (together, singly):
        pace.note(0.001)
    together.note(0.006, 3)
    for _ in range(3):
        singly.note(0.002)
    assert together.ahead == singly.ahead


def test_worker_that_begins_several_at_once_is_given_so_many_however_long_they_take():
    pace = Pace(96, min_ahead=3)
    pace.note(60)
    assert (pace.ahead, pace.is_short) == (3, True)


def test_parent_does_not_look_away_when_no_task_is_pending():
    scheduler = Scheduler(1)
    scheduler.add(range(40), 0.0)
    (submit,) = scheduler.handle(WorkerReady(0, None), 0.0)
    scheduler.ended(0, submit.tasks, [None] * len(submit.tasks), 0.002)
    assert scheduler.slack_s == 0.0
    scheduler.add(range(40, 1000), 0.002)
    assert scheduler.slack_s > 0.0
