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
