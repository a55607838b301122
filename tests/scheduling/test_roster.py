"""Which worker gets the next task."""

from __future__ import annotations

from collections import deque

import pytest

from bigpipe.scheduling.roster import Roster, Worker


@pytest.mark.parametrize(
    ("n_assigned", "n", "turns"),
    [
        ([1, 1], 7, [0, 1, 0, 1, 0, 1, 0]),
        ([0, 2], 5, [0, 1, 0, 1, 0]),
        ([1, 4], 9, [0, 1, 0, 0, 0]),
        ([5, 1, 2], 2, [1, 2]),
        ([0, 0, 0], 2, [0, 1]),
        ([5, 9], 3, []),
    ],
    ids=["alike", "an idle one", "one nearly full", "one full", "more than tasks", "all full"],
)
def test_tasks_go_round_among_those_with_room_and_idle_workers_come_first(n_assigned, n, turns):
    roster = Roster()
    for number, n_tasks in enumerate(n_assigned):
        roster.workers[number] = Worker(deque(range(n_tasks)), ready=True)
        roster.file(number, roster.workers[number], ahead=4)
    assert roster.turns(n, ahead=4) == turns


def test_who_has_been_given_as_many_as_there_is_room_for_has_no_further_turn():
    roster = Roster()
    for number in range(2):
        roster.file(number, Worker(deque([1]), ready=True), ahead=4)
    assert len(roster.turns(100, ahead=4)) == 8
    assert roster.turns(100, ahead=4) == []


def make(*assigned: tuple[int, ...]) -> Roster:
    """Return workers that are ready, with these tasks."""
    roster = Roster()
    for number, tasks in enumerate(assigned):
        worker = roster.workers[number] = Worker(deque(tasks), ready=True)
        roster.file(number, worker, ahead=4)
    return roster


def test_task_is_begun_if_it_is_the_first_of_a_worker():
    roster = make((1,), (2, 3), ())
    assert [roster.has_begun(task) for task in range(5)] == [False, True, True, False, False]


def test_last_task_sent_ahead_is_the_first_to_be_recalled():
    assert make((1,), (2, 3, 4)).last_ahead() == 4
    assert make((1,), ()).last_ahead() is None


def test_pause_does_not_count_as_time_of_the_task():
    worker = Worker(began_at=10.0, paused_at=14.0)
    worker.resume(24.0)
    assert (worker.began_at, worker.paused_at) == (20.0, None)


def test_task_begun_by_a_paused_worker_counts_from_when_that_is_resumed():
    worker = Worker(began_at=10.0, paused_at=14.0)
    worker.begin(15.0)
    worker.resume(24.0)
    assert worker.began_at == 24.0


@pytest.mark.parametrize("n_assigned", [0, 1])
@pytest.mark.parametrize(
    "state",
    [{"ready": False}, {"doomed": True}, {"paused_at": 5.0}],
    ids=["starting", "being ended", "paused"],
)
def test_worker_that_cannot_begin_a_task_is_given_none(n_assigned, state):
    roster = make(tuple(range(n_assigned)))
    worker = roster.workers[0] = Worker(deque(range(n_assigned)), **({"ready": True} | state))
    roster.file(0, worker, ahead=4)
    assert roster.turns(3, ahead=4) == []
    assert roster.next_to_fill(ahead=4) is None


def test_nothing_is_recalled_from_a_worker_that_is_gone():
    roster = make((1, 2), (3,))
    roster.remove(0)
    assert roster.last_ahead() is None
    assert roster.turns(2, ahead=4) == [1, 1]


def test_workers_have_no_room_if_tasks_became_longer_since_they_were_given_theirs():
    roster = make((1,), (2, 3, 4, 5))
    assert roster.turns(9, ahead=1) == [0]


def test_workers_at_work_are_told_oldest_first_without_those_that_are_ended():
    roster = make((1,), (2,), (3,), (), ())
    for number, began_at in enumerate((30.0, 10.0, 20.0, 5.0, 6.0)):
        roster.workers[number].began_at = began_at
    roster.workers[2].doomed = True
    roster.workers[4].paused_at = 7.0  # its task ended just before it was paused
    assert roster.at_work() == [4, 1, 0]
