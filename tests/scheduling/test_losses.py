"""What happens to the tasks of a worker that has died."""

from __future__ import annotations

from collections import deque

import pytest

from bigpipe.scheduling.events import Cause, GiveUp, WorkerDied
from bigpipe.scheduling.losses import Losses
from bigpipe.scheduling.roster import Worker


def note(losses: Losses, *tasks: int, **state: bool) -> list[tuple[int, GiveUp | None]]:
    """Let a worker die that had begun these tasks."""
    return losses.note(WorkerDied(0), Worker(assigned=deque(tasks), ready=True, **state))


@pytest.mark.parametrize("is_overdue", [False, True], ids=["died", "took too long"])
def test_nobody_is_given_up_for_what_another_may_have_done(is_overdue):
    losses = Losses(1, None)
    state = {"is_overdue": True, "doomed": True} if is_overdue else {}
    assert note(losses, 1, 2, 3, **state) == [(1, None), (2, None), (3, None)]
    assert sorted(losses.alone) == [1, 2, 3]
    assert [losses.attempts(task) for task in (1, 4)] == [2, 1]


def test_death_alone_tells_who_is_to_blame():
    losses = Losses(1, None)
    note(losses, 1, 2)
    assert note(losses, 1) == [(1, GiveUp(1, attempts=2, cause=Cause.DIED))]
    assert 2 in losses.alone


def test_death_among_others_is_not_one_of_those_that_are_allowed():
    losses = Losses(2, None)
    note(losses, 1, 2)
    assert note(losses, 1) == [(1, None)]
    assert note(losses, 1) == [(1, GiveUp(1, attempts=3, cause=Cause.DIED))]


def test_what_has_ended_is_forgotten():
    losses = Losses(2, None)
    note(losses, 1, 2)
    losses.forget([1])
    assert (losses.deaths(1), list(losses.alone)) == (0, [2])


def test_worker_without_a_task_costs_none():
    assert note(Losses(1, None)) == []
