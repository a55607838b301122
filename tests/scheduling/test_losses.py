"""What happens to the tasks of a worker that has died."""

from __future__ import annotations

from collections import deque

import pytest

from bigpipe.scheduling.admission import Admission, Need
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


def test_worker_that_was_dismissed_tells_nothing_of_the_tasks_that_it_had_begun():
    losses = Losses(1, None)
    assert note(losses, 1, 2, doomed=True) == [(1, None), (2, None)]
    assert not losses.alone
    assert losses.deaths(1) == losses.deaths(2) == 0


def with_one_task(max_worker_deaths: int) -> tuple[Losses, Admission]:
    """Return the losses of a run of which worker 0 has begun task 7, with 100 bytes."""
    admission = Admission(1000, is_given=True, n_workers=2)
    for worker in range(2):
        admission.charges.join(worker)
        admission.ready(worker, 0)
    admission.add(7, Need(given=100))
    assert admission.take_for_idle(0) == 7
    return Losses(max_worker_deaths, admission), admission


def test_what_was_given_up_is_forgotten():
    losses, admission = with_one_task(1)
    assert note(losses, 7) == [(7, GiveUp(7, attempts=1, cause=Cause.DIED))]
    assert losses.deaths(7) == 0
    assert not admission.is_told(7)


@pytest.mark.parametrize(
    ("out_of_memory", "projected"), [(False, 100), (True, 200)], ids=["died", "ran out of memory"]
)
def test_task_whose_worker_ran_out_of_memory_is_projected_to_need_more(out_of_memory, projected):
    losses, admission = with_one_task(2)
    worker = Worker(assigned=deque([7]), ready=True)
    assert losses.note(WorkerDied(0, (), out_of_memory), worker) == [(7, None)]
    admission.put_back(7)
    assert admission.take_for_idle(1) == 7
    assert admission.projection(7) == projected


def test_memory_that_ran_out_is_a_death_like_others_if_no_account_is_kept():
    worker = Worker(assigned=deque([7]), ready=True)
    assert Losses(2, None).note(WorkerDied(0, (), True), worker) == [(7, None)]


def test_figures_tell_attempts_and_the_bytes_that_a_task_was_started_with():
    losses, _ = with_one_task(2)
    assert losses.figures([7, 8]) == [(1, 100), (1, None)]
    note(losses, 7)
    assert losses.figures([7, 8]) == [(2, 100), (1, None)]


@pytest.mark.parametrize(
    ("began", "figures"),
    [
        ([], [(1, None), (1, None)]),
        ([1], [(2, None), (1, None)]),
        ([1, 2], [(2, None), (2, None)]),
    ],
    ids=["none", "one", "several"],
)
def test_figures_tell_attempts_without_an_account_of_memory(began, figures):
    losses = Losses(2, None)
    if began:
        note(losses, *began)
    assert losses.figures([1, 2]) == figures
