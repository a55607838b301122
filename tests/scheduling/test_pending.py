"""Tasks that wait: the first that fits, and what those of middling size take."""

from __future__ import annotations

import pytest

from bigpipe.scheduling.pending import MIDDLE_HOLDS, Pending


def make(*sizes: int) -> Pending:
    """Return tasks of given sizes, each size a class of its own."""
    pending = Pending(sizes.__getitem__)
    for task, size in enumerate(sizes):
        pending.add(task, size)
    return pending


def take(pending: Pending, room: int, kept: int = 0) -> int | None:
    place = pending.first(room, 0, kept)
    return None if place is None else pending.take(place)


def test_first_that_fits_is_found_in_the_order_in_which_tasks_came():
    pending = make(50, 90, 20, 10)
    assert [take(pending, 40) for _ in range(3)] == [2, 3, None]


def test_tasks_that_are_put_back_come_before_all_others_the_last_one_first():
    sizes = (50, 50, 20, 50)
    pending = make(*sizes)
    assert [take(pending, 50) for _ in range(3)] == [0, 1, 2]
    for task in (2, 1, 0):
        pending.put_back(task, sizes[task])
    assert (len(pending), pending.head) == (4, 0)
    assert [take(pending, 50) for _ in range(4)] == [0, 1, 2, 3]
    assert (len(pending), pending.head) == (0, None)


@pytest.mark.parametrize(("kept", "task"), [(0, 0), (30, 1), (75, 2), (90, 0), (200, 0)], ids=str)
def test_task_that_leaves_what_is_kept_is_preferred_to_one_that_only_fits(kept, task):
    assert take(make(90, 60, 20), 100, kept) == task


@pytest.mark.parametrize(
    ("sizes", "middle"),
    [((7,), 7), ((1, 9), 9), ((30, 20, 10), 20), ((100, 100, 1, 1, 1), 1), ((9, 9, 9, 1), 9)],
    ids=str,
)
def test_middle_is_the_size_that_half_of_the_tasks_do_not_exceed(sizes, middle):
    assert make(*sizes).middle(0) == middle


def test_middle_follows_the_tasks_that_are_left():
    pending = make(*[1] * MIDDLE_HOLDS, *[5] * MIDDLE_HOLDS)
    pending.add(0, 1)
    assert pending.middle(0) == 1
    for _ in range(MIDDLE_HOLDS):
        take(pending, 1)
    assert pending.middle(0) == 5


def test_middle_follows_the_projections():
    sizes = [1, 2, 3]
    pending = make(*sizes)
    grown = Pending(lambda task: 10 * sizes[task])
    for task in range(3):
        grown.add(task, task)
    assert (pending.middle(0), grown.middle(0)) == (2, 20)
    sizes[:] = [4, 5, 6]
    assert (grown.middle(0), grown.middle(1)) == (20, 50)
