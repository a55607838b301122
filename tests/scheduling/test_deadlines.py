"""When the tasks of workers are overdue, also of those that are paused."""

from __future__ import annotations

import pytest

from bigpipe.scheduling.deadlines import Deadlines


@pytest.fixture
def paused() -> Deadlines:
    """Return the deadlines of a worker that is paused 4 s after it began task 7."""
    deadlines = Deadlines(10)
    deadlines.begin(0, task=7, now=100)
    deadlines.pause(0, now=104)
    return deadlines


def test_paused_task_is_not_overdue(paused):
    assert paused.first() is None


def test_resumed_task_has_the_time_that_was_left(paused):
    paused.resume(0, now=200)
    assert paused.first() == (206, 0, 7)


def test_resumed_task_is_overdue_before_one_that_began_later(paused):
    paused.begin(1, task=8, now=199)
    paused.resume(0, now=200)
    assert paused.first() == (206, 0, 7)


def test_task_begun_by_a_paused_worker_has_all_its_time_once_that_is_resumed(paused):
    paused.begin(0, task=9, now=105)  # the worker ended task 7 just before it was paused
    assert paused.first() is None
    paused.resume(0, now=200)
    assert paused.first() == (210, 0, 9)


def test_task_that_ended_while_its_worker_was_paused_is_never_overdue(paused):
    paused.end(0)
    paused.resume(0, now=200)
    assert paused.first() is None
