"""How many tasks may pass the first one, and which may do so afterwards."""

from __future__ import annotations

import pytest

from bigpipe.scheduling.charges import Charges
from bigpipe.scheduling.passes import SMALL_BESIDE, Passes

BUDGET = 1000
FIRST = 99  # the task that waits


def at_work(*sizes: int, reserved: int = 0) -> Charges:
    """Return the charges of workers, each at work on the task of its number."""
    charges = Charges(BUDGET, is_given=True)
    for worker in range(len(sizes)):
        charges.join(worker)
    for worker, size in enumerate(sizes):
        charges.ready(worker, reserved)
        if size:
            charges.assign(worker, worker, size)
    return charges


def passed(needed: int, charges: Charges, *, times: int = 1, max_passes: int = 1) -> Passes:
    """Return what is known after so many passes, none of the tasks at work having been there."""
    passes = Passes(max_passes)
    passes.note(FIRST, needed, at_work(), {})
    for _ in range(times - 1):
        passes.note(FIRST, needed, charges, {})
    return passes


@pytest.mark.parametrize(("times", "is_open"), [(1, True), (2, True), (3, False)], ids=str)
def test_tasks_of_any_size_pass_until_they_are_enough(times, is_open):
    charges = at_work(600)
    passes = passed(500, charges, times=times, max_passes=3)
    assert (passes.most(FIRST, 500, charges) is None) is is_open


def test_passes_are_not_counted_while_earlier_tasks_leave_no_room():
    passes, charges = Passes(1), at_work(600)
    for passing in range(1, 5):
        passes.note(FIRST, 401, charges, {0: 600})
        passes.left(passing)
    assert passes.most(FIRST, 401, charges) is None
    passes.left(0)
    passes.note(FIRST, 401, charges, {})
    assert passes.most(FIRST, 401, charges) is not None


def test_another_first_task_is_passed_anew():
    charges = at_work(600)
    passes = passed(500, charges)
    assert passes.most(FIRST, 500, charges) is not None
    assert passes.most(FIRST + 1, 500, charges) is None


def test_another_first_task_waits_for_others():
    charges = at_work(400, 300)
    passes = passed(500, charges)
    assert passes.most(FIRST, 500, charges) == 300 // SMALL_BESIDE
    passes.note(FIRST + 1, 700, at_work(), {})
    assert passes.most(FIRST + 1, 700, charges) == 400 // SMALL_BESIDE
    passes.left(1)
    assert passes.most(FIRST + 1, 700, charges) == 400 // SMALL_BESIDE


@pytest.mark.parametrize(
    ("sizes", "needed", "smallest_blocker"),
    [
        ((600, 200, 50), 500, 600),
        ((50, 200, 600), 500, 600),
        ((400, 300, 50), 500, 300),
        ((400, 0, 50), 600, 50),
    ],
    ids=["one", "the largest", "two", "all"],
)
def test_tasks_pass_that_are_small_beside_those_to_wait_for(sizes, needed, smallest_blocker):
    charges = at_work(*sizes)
    most = passed(needed, charges).most(FIRST, needed, charges)
    assert most == smallest_blocker // SMALL_BESIDE


def test_what_workers_hold_without_a_task_is_not_free():
    charges = at_work(400, 100, 0, reserved=0)
    assert passed(500, charges).most(FIRST, 500, charges) == -1
    charges = at_work(400, 100, 0, reserved=10)
    assert passed(500, charges).most(FIRST, 500, charges) == 100 // SMALL_BESIDE


def test_nothing_passes_once_a_task_to_wait_for_has_ended():
    charges = at_work(400, 300, 250)
    passes = passed(500, charges)
    assert passes.most(FIRST, 500, charges) == 300 // SMALL_BESIDE
    passes.left(2)
    assert passes.most(FIRST, 500, charges) == 300 // SMALL_BESIDE
    passes.left(1)
    assert passes.most(FIRST, 500, charges) == -1


def test_tasks_that_begin_afterwards_are_not_waited_for():
    charges = at_work(600, 0)
    passes = passed(500, charges)
    passes.most(FIRST, 500, charges)
    charges.assign(1, 1, 300)
    passes.left(0)
    assert passes.most(FIRST, 500, charges) == -1


def test_nothing_passes_a_task_that_has_room():
    charges = at_work(100)
    assert passed(500, charges).most(FIRST, 500, charges) == -1
