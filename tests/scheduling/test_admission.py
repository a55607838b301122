"""Which task may start within the budget, and which must make room for others."""

from __future__ import annotations

import pytest

from bigpipe.scheduling.admission import MAX_PASSES, Admission, Need
from bigpipe.scheduling.charges import FLAT, NOISE, PATIENCE, RESERVED_GUESS, STANDSTILL, Charges
from bigpipe.scheduling.events import (
    Dismiss,
    Measured,
    Pause,
    Resume,
    Stop,
    TaskEnded,
    Tick,
    WorkerDied,
    WorkerReady,
)

MiB = 2**20
BUDGET = 1000


def make(
    *sizes: int, n_workers: int = 3, reserved: int = 0, budget: int = BUDGET, **options
) -> Admission:
    """Return an admission with pending tasks of given sizes, and workers that are ready."""
    admission = Admission(budget, is_given=True, n_workers=n_workers, **options)
    for worker in range(n_workers):
        admission.charges.join(worker)
    for worker in range(n_workers):
        admission.ready(worker, reserved)
    for task, size in enumerate(sizes):
        assert admission.add(task, Need(given=size)) is None
    return admission


def sample(admission: Admission, *used: int, available: int | None = None) -> None:
    admission.charges.measure(dict(enumerate(used)), available)


def at_work(*sizes: int, projected: int = 0) -> Charges:
    """Return the charges of workers, oldest first, each at work on the task of its number."""
    charges = Charges(BUDGET, is_given=True)
    for worker in range(len(sizes)):
        charges.join(worker)
    for worker in range(len(sizes)):
        charges.ready(worker, 0)
        charges.assign(worker, worker, projected)
    measure(charges, *sizes)
    return charges


def measure(charges: Charges, *used: int, available: int | None = None) -> None:
    charges.measure(dict(enumerate(used)), available)


def relief(charges: Charges) -> list:
    assert charges.needs_relief
    return charges.relief(sorted(charges.workers))


def test_task_waits_when_projection_exceeds_budget():
    admission = make(600, 600)
    assert admission.take_for_idle(0) == 0
    assert admission.take_for_idle(1) is None


def test_tasks_start_up_to_the_last_byte_of_the_budget():
    admission = make(600, 400)
    assert [admission.take_for_idle(worker) for worker in (0, 1)] == [0, 1]
    assert admission.charges.total == BUDGET


def test_idle_workers_hold_what_is_reserved():
    admission = make(400, 400, 400, reserved=100)
    assert [admission.take_for_idle(worker) for worker in (0, 1, 2)] == [0, 1, None]
    assert admission.charges.total == 400 + 400 + 100


def test_lone_task_may_always_start():
    admission = make(BUDGET, reserved=10)
    assert admission.take_for_idle(1) == 0


def test_given_size_over_the_budget_is_refused():
    admission = make()
    assert admission.add(0, Need(given=BUDGET + 1)) == BUDGET + 1
    assert not admission.pending


def test_guess_over_the_budget_is_not_refused():
    admission = make()
    assert admission.add(0, Need(size=10 * BUDGET)) is None
    assert admission.take_for_idle(0) == 0


def test_small_tasks_go_past_a_large_one_that_does_not_fit():
    admission = make(600, 900, 100)
    assert [admission.take_for_idle(worker) for worker in (0, 1)] == [0, 2]


def test_small_tasks_pass_as_long_as_an_older_one_leaves_the_large_one_no_room():
    n_small = 10 * MAX_PASSES
    admission = make(600, 900, *[100] * n_small)
    admission.take_for_idle(0)
    for task in range(2, 2 + n_small):
        assert admission.take_for_idle(1) == task
        admission.ended(1, task, 100)
    admission.ended(0, 0, 600)
    assert admission.take_for_idle(0) == 1


def test_large_task_is_passed_only_so_often_by_small_ones_that_are_in_its_way():
    admission = make(300, 950, *[100] * 100)
    admission.take_for_idle(0)
    at_work = {1: admission.take_for_idle(1)}
    admission.ended(0, 0, 300)
    n_passed, worker = 0, 0
    while (task := admission.take_for_idle(worker)) is not None:
        at_work[worker] = task
        worker = 1 - worker
        admission.ended(worker, at_work.pop(worker), 100)
        n_passed += 1
    assert n_passed == MAX_PASSES * 3
    admission.ended(1 - worker, at_work.pop(1 - worker), 100)
    assert admission.take_for_idle(0) == 1


def test_second_large_task_is_held_back_where_it_would_leave_cores_no_memory():
    admission = make(500, 500, *[20] * 10, n_workers=4)
    assert [admission.take_for_idle(worker) for worker in range(4)] == [0, 2, 3, 4]


def test_large_task_is_not_held_back_where_enough_is_left():
    admission = make(450, 450, *[20] * 10, n_workers=4)
    assert [admission.take_for_idle(worker) for worker in range(4)] == [0, 1, 2, 3]


def test_large_task_is_held_back_for_workers_that_are_idle_only():
    admission = make(500, 400, *[90] * 10)
    assert [admission.take_for_idle(worker) for worker in range(3)] == [0, 1, 2]


def test_task_goes_past_up_to_the_last_byte_of_the_room():
    admission = make(600, 900, 400, 100)
    assert [admission.take_for_idle(worker) for worker in (0, 1)] == [0, 2]


def test_large_task_is_not_held_back_where_others_would_not_fit_either():
    admission = make(450, 450, *[300] * 10, n_workers=4)
    assert [admission.take_for_idle(worker) for worker in range(3)] == [0, 1, None]


def test_large_task_is_not_held_back_where_none_as_large_is_at_work():
    admission = make(20, 970, *[20] * 10, n_workers=4)
    assert [admission.take_for_idle(worker) for worker in range(3)] == [0, 1, None]


def test_task_that_takes_no_more_than_its_part_is_not_held_back():
    admission = make(700, 90, 60, *[120] * 10, n_workers=4)
    assert [admission.take_for_idle(worker) for worker in (0, 1)] == [0, 1]


def test_task_is_held_back_for_no_more_tasks_than_there_are():
    admission = make(500, 465, 15, 15, n_workers=5)
    assert [admission.take_for_idle(worker) for worker in range(3)] == [0, 1, 2]


def test_large_task_is_held_back_only_so_often():
    n_workers = 4
    admission = make(500, 500, *[20] * 100, n_workers=n_workers)
    admission.take_for_idle(0)
    for _ in range(MAX_PASSES * n_workers):
        task = admission.take_for_idle(1)
        assert task > 1
        admission.ended(1, task, 20)
    assert admission.take_for_idle(1) == 1


def test_small_tasks_pass_as_long_as_a_larger_one_that_has_passed_is_at_work():
    admission = make(300, 200, *[150] * 10, *[20] * 100)
    admission.take_for_idle(0)
    admission.add(200, Need(given=990, rank=-1.0))
    assert admission.take_for_idle(1) == 1
    admission.ended(0, 0, 300)
    passed = []
    for _ in range(20):
        passed.append(admission.take_for_idle(0))
        admission.ended(0, passed[-1], 20)
    n_counted = MAX_PASSES * 3
    assert passed == [*range(2, 2 + n_counted), *range(12, 32 - n_counted)]
    last = admission.take_for_idle(0)
    admission.ended(1, 1, 200)
    assert admission.take_for_idle(1) is None
    admission.ended(0, last, 20)
    assert admission.take_for_idle(1) == 200


def test_tasks_are_taken_in_the_order_of_their_ranks():
    admission = make()
    for task, rank in enumerate((3.0, 1.0, 2.0, 1.0)):
        admission.add(task, Need(given=10, rank=rank))
    assert [admission.take_for_idle(0) for _ in range(4)] == [1, 3, 2, 0]


def test_task_that_is_put_back_comes_before_all_others():
    admission = make(100, 100, 100)
    task = admission.take_for_idle(0)
    admission.charges.remove(0, task)
    admission.put_back(task)
    assert [admission.take_for_idle(0), admission.take_for_idle(1)] == [0, 1]


def test_task_that_is_put_back_comes_before_those_of_other_sizes():
    admission = make(100, 101, 300)
    assert admission.take_for_idle(0) == 0
    assert admission.take_for_idle(1) == 1
    admission.add(3, Need(given=101))
    admission.take_off(1, 1)
    admission.put_back(1)
    assert admission.take_for_idle(1) == 1


def test_worker_is_charged_with_what_is_left_when_one_of_two_like_tasks_has_ended():
    admission = make(300, 300)
    assert [admission.take_for_idle(0), admission.take_ahead(0)] == [0, 1]
    admission.ended(0, 0, 300)
    assert admission.charges.total == 300


def test_task_that_is_taken_off_its_worker_is_charged_no_more():
    admission = make(300, 500)
    assert [admission.take_for_idle(0), admission.take_ahead(0)] == [0, 1]
    admission.take_off(0, 1)
    assert admission.charges.total == 300
    assert admission.projection(1) is None


def test_task_that_has_ended_has_no_projection():
    admission = make(300)
    admission.take_for_idle(0)
    assert admission.projection(0) == 300
    admission.ended(0, 0, 300)
    assert admission.projection(0) is None


def test_workers_being_started_are_charged_with_what_the_first_one_holds():
    charges = Charges(BUDGET, is_given=True)
    charges.join(0)
    charges.join(1)
    charges.ready(0, 100)
    assert charges.total == 200


def test_worker_is_charged_with_the_largest_of_its_tasks():
    admission = make(300, 200)
    assert [admission.take_for_idle(0), admission.take_ahead(0)] == [0, 1]
    assert admission.charges.total == 300
    admission.ended(0, 0, 300)
    assert admission.charges.total == 200
    assert admission.projection(1) == 200


def test_task_is_not_sent_ahead_where_it_would_take_what_others_could_use():
    admission = make(300, 700)
    admission.take_for_idle(0)
    assert admission.take_ahead(0) is None


@pytest.mark.parametrize(("size", "task"), [(500, 1), (501, None)])
def test_larger_task_is_sent_ahead_if_half_of_the_memory_is_left(size, task):
    admission = make(100, size)
    admission.take_for_idle(0)
    assert admission.take_ahead(0) == task


def test_task_that_is_no_larger_is_always_sent_ahead():
    admission = make(600, 600, 599)
    assert admission.take_for_idle(0) == 0
    assert [admission.take_ahead(0), admission.take_ahead(0)] == [1, 2]


def test_task_sent_ahead_fits_another_worker_if_there_is_room_beside_the_first():
    admission = make(600, 400)
    assert [admission.take_for_idle(0), admission.take_ahead(0)] == [0, 1]
    assert admission.would_fit(1, 1)
    sample(admission, 601, 0, 0)
    assert not admission.would_fit(1, 1)


@pytest.mark.parametrize(("size", "has_much"), [(500, True), (501, False)])
def test_workers_may_keep_memory_as_long_as_half_of_it_is_free(size, has_much):
    admission = make(size)
    admission.take_for_idle(0)
    assert admission.has_much_room == has_much


def test_projection_follows_what_an_idle_worker_is_seen_to_hold():
    admission = make(100, 100, reserved=10)
    assert admission.take_for_idle(0) == 0
    assert admission.join(3)
    admission.ready(3, 50)
    assert admission.take_for_idle(1) == 1
    assert [admission.projection(0), admission.projection(1)] == [90, 50]


def test_worker_is_charged_with_more_when_more_is_measured():
    admission = make(300, 500)
    admission.take_for_idle(0)
    sample(admission, 600, 0, 0)
    assert admission.charges.total > 600
    assert admission.take_for_idle(1) is None


def test_what_other_programs_take_holds_back_tasks():
    admission = Admission(1000 * MiB, is_given=False, n_workers=2)
    for worker in range(2):
        admission.charges.join(worker)
        admission.ready(worker, 0)
    for task in range(2):
        admission.add(task, Need(given=400 * MiB))
    admission.take_for_idle(0)
    admission.charges.measure({0: 100 * MiB, 1: 0}, available=500 * MiB)
    assert admission.take_for_idle(1) is None
    admission.charges.measure({0: 100 * MiB, 1: 0}, available=2000 * MiB)
    assert admission.take_for_idle(1) == 1


def test_nothing_starts_while_a_worker_is_paused():
    admission = make(500, 400, 10)
    admission.take_for_idle(0)
    admission.take_for_idle(1)
    sample(admission, 500, 200, 0)
    sample(admission, 500, 450, 0)
    assert relief(admission.charges) == [Pause(1)]
    assert admission.take_ahead(1) is None
    sample(admission, 100, 100, 0)
    assert admission.charges.total + 10 <= BUDGET
    assert admission.take_for_idle(2) is None
    assert not admission.would_fit(2, 1)
    assert not admission.join(3)


def test_number_of_workers_is_limited_before_one_was_seen():
    admission = Admission(2 * RESERVED_GUESS + MiB, is_given=True, n_workers=5)
    for task in range(5):
        admission.add(task, Need(given=1))
    n_workers = 0
    while admission.join(n_workers):
        n_workers += 1
    assert n_workers == 2


def test_workers_are_added_as_long_as_they_and_a_task_fit():
    admission = Admission(BUDGET, is_given=True, n_workers=20)
    for task in range(20):
        admission.add(task, Need(given=250))
    admission.charges.join(0)
    admission.ready(0, 100)
    admission.take_for_idle(0)
    n_workers = 1
    while admission.join(n_workers):
        n_workers += 1
    assert 250 + (n_workers - 1) * 100 + 150 <= BUDGET < 250 + n_workers * 100 + 150


def test_task_that_was_stopped_is_projected_higher():
    admission = make(100)
    admission.take_for_idle(0)
    sample(admission, 400, 0, 0)
    assert admission.stopped(0, 0) is None
    admission.charges.leave(0)
    admission.put_back(0)
    admission.take_for_idle(1)
    assert admission.projection(0) == 600
    assert admission.stops(0) == 1


def test_task_that_was_stopped_is_not_projected_higher_for_what_its_worker_held_before():
    admission = make(100, reserved=50)
    admission.take_for_idle(0)
    sample(admission, 400, 50, 50)
    admission.stopped(0, 0)
    admission.charges.leave(0)
    admission.put_back(0)
    admission.take_for_idle(1)
    assert admission.projection(0) == 525


def stop(admission: Admission) -> None:
    admission.stopped(0, 0)


def run_out(admission: Admission) -> None:
    admission.ran_out(0, 0)


@pytest.mark.parametrize("size", [100, 600])
@pytest.mark.parametrize("interrupt", [stop, run_out])
def test_nothing_remains_of_a_stopped_task_that_was_given_up(interrupt, size):
    admission = make(size, 10)
    admission.take_for_idle(0)
    interrupt(admission)
    admission.charges.leave(0)
    admission.forget(0)
    assert admission.stops(0) == 0
    assert not admission.is_told(0)
    admission.add(0, Need(given=size, rank=-1.0))
    assert [admission.take_for_idle(worker) for worker in (1, 2)] == [0, 1]
    assert admission.projection(0) == size


def unsized(n_tasks: int, used: int) -> Admission:
    """Return an admission that guesses the memory of its tasks; the first uses so much."""
    admission = make(reserved=100 * MiB, budget=1000 * MiB)
    for task in range(n_tasks):
        admission.add(task, Need(size=1))
    assert admission.take_for_idle(0) == 0
    sample(admission, used, 100 * MiB, 100 * MiB)
    return admission


def end(admission: Admission) -> None:
    admission.ended(0, 0, None)


@pytest.mark.parametrize("interrupt", [end, stop, run_out])
@pytest.mark.parametrize(
    ("growth", "learned"), [(30, 64), (100, 200)], ids=["below its projection", "above it"]
)
def test_task_of_unknown_need_teaches_only_that_more_is_needed(interrupt, growth, learned):
    """A thread's memory cannot be told from that of others, and a stopped task has not ended."""
    admission = unsized(2, used=(100 + growth) * MiB)
    assert admission.projection(0) == 64 * MiB
    interrupt(admission)
    assert admission.take_for_idle(1) == 1
    assert admission.projection(1) == learned * MiB


def test_task_that_has_ended_teaches_what_the_next_one_needs():
    admission = unsized(3, used=100 * MiB)
    admission.ended(0, 0, 10 * MiB)
    assert admission.take_for_idle(1) == 1
    assert admission.projection(1) == 20 * MiB
    admission = unsized(2, used=100 * MiB)
    admission.learn(Need(size=1), 10 * MiB)
    assert admission.take_for_idle(1) == 1
    assert admission.projection(1) == 20 * MiB


def test_stopped_task_of_which_nothing_is_known_is_learned_from():
    admission = make(budget=1000 * MiB)
    for task in (0, 1):
        admission.add(task, None)
    assert admission.take_for_idle(0) == 0
    assert admission.projection(0) == 500 * MiB
    sample(admission, 600 * MiB, 0, 0)
    assert admission.stopped(0, 0) is None
    admission.charges.leave(0)
    assert admission.take_for_idle(1) == 1
    assert admission.projection(1) > 600 * MiB


def test_task_stopped_for_the_sake_of_another_keeps_its_projection():
    admission = make(300, 100)
    admission.take_for_idle(0)
    sample(admission, 200, 0, 0)
    admission.stopped(0, 0)
    admission.charges.leave(0)
    admission.put_back(0)
    admission.take_for_idle(1)
    assert admission.projection(0) == 300


def test_task_that_was_stopped_twice_runs_alone():
    admission = make(100, 100)
    for worker in (0, 1):
        assert admission.take_for_idle(worker) == 0
        admission.stopped(worker, 0)
        admission.charges.leave(worker)
        admission.put_back(0)
    admission.charges.join(3)
    admission.ready(3, 0)
    assert admission.take_for_idle(2) == 0
    assert admission.take_for_idle(3) is None
    admission.ended(2, 0, 100)
    assert admission.take_for_idle(3) == 1


@pytest.mark.parametrize(("size", "is_alone"), [(100, False), (600, True)])
def test_task_that_ran_out_of_memory_runs_alone_if_it_was_large(size, is_alone):
    admission = make(size, 10)
    admission.take_for_idle(0)
    admission.ran_out(0, 0)
    admission.charges.leave(0)
    admission.put_back(0)
    assert admission.take_for_idle(1) == 0
    assert admission.projection(0) >= 2 * size
    assert (admission.take_for_idle(2) is None) == is_alone


@pytest.mark.parametrize(("used", "is_alone"), [(450, False), (501, True)])
def test_task_that_ran_out_of_memory_runs_alone_if_it_had_taken_much(used, is_alone):
    admission = make(100, 10)
    admission.take_for_idle(0)
    sample(admission, used, 0, 0)
    admission.ran_out(0, 0)
    admission.charges.leave(0)
    admission.put_back(0)
    assert admission.take_for_idle(1) == 0
    assert (admission.take_for_idle(2) is None) == is_alone


def test_task_that_ran_out_of_memory_twice_runs_alone():
    admission = make(100, 10)
    for worker in (0, 1):
        assert admission.take_for_idle(worker) == 0
        admission.ran_out(worker, 0)
        admission.charges.leave(worker)
        admission.put_back(0)
    admission.charges.join(3)
    admission.ready(3, 0)
    assert [admission.take_for_idle(2), admission.take_for_idle(3)] == [0, None]


def test_task_too_large_with_what_earlier_ones_left_behind_runs_alone_in_a_new_worker():
    admission = Admission(BUDGET, is_given=True, n_workers=3)
    for worker in range(3):
        admission.charges.join(worker)
    for worker, reserved in enumerate((900, 0, 0)):
        admission.ready(worker, reserved)
    for task in range(3):
        admission.add(task, Need(given=910))
    assert admission.take_for_idle(0) == 0
    admission.ended(0, 0, 5)
    assert admission.take_for_idle(0) == 1
    sample(admission, BUDGET + 1)
    assert admission.charges.relief([0]) == [Stop(0, 1)]
    assert admission.stopped(0, 1) is None
    admission.charges.leave(0)
    admission.put_back(1)
    assert [admission.take_for_idle(1), admission.take_for_idle(2)] == [1, None]


def test_stopped_tasks_of_different_sizes_do_not_wait_for_each_other():
    admission = make(400, 50, 300)
    for worker in range(3):
        assert admission.take_for_idle(worker) == worker
    for worker in (1, 0):
        admission.ran_out(worker, worker)
        admission.charges.leave(worker)
        admission.put_back(worker)
    admission.charges.join(3)
    admission.ready(3, 0)
    assert admission.take_for_idle(3) == 1


def test_steady_growth_is_foreseen_and_the_youngest_paused():
    charges = at_work(300, 300)
    measure(charges, 400, 400)
    assert relief(charges) == [Pause(1)]


def test_worker_within_its_projection_is_not_paused():
    charges = at_work(100, 100, projected=500)
    measure(charges, 450, 450)
    assert not charges.needs_relief


def test_youngest_is_stopped_when_the_budget_is_exceeded():
    charges = at_work(300, 300, 300)
    measure(charges, 300, 300, 500)
    assert relief(charges)[0] == Stop(2, 2)


def test_those_paused_are_stopped_before_those_that_run():
    charges = at_work(300, 300, 100)
    measure(charges, 390, 390, 100)
    assert relief(charges) == [Pause(1)]
    measure(charges, 650, 390, 100)
    assert relief(charges) == [Stop(1, 1)]


def test_workers_without_a_task_are_dismissed_before_a_task_is_stopped():
    charges = at_work(300, 300, 300)
    charges.remove(0, 0)
    measure(charges, 300, 300, 500)
    assert relief(charges)[0] == Dismiss(0)


def test_oldest_goes_on_when_there_is_room_again():
    charges = at_work(300, 300)
    measure(charges, 400, 400)
    assert relief(charges) == [Pause(1)]
    measure(charges, 100, 400)
    assert relief(charges) == [Resume(1)]


def test_paused_worker_stands_still_as_long_as_it_would_grow_beyond_the_budget():
    charges = at_work(300, 300)
    measure(charges, 400, 400)
    assert relief(charges) == [Pause(1)]
    measure(charges, 400, 400)
    assert relief(charges) == []


@pytest.mark.parametrize("grows", [False, True], ids=["still", "growing"])
def test_paused_worker_goes_on_after_a_while_if_the_others_may_be_waiting_for_it(grows):
    budget = 1000 * MiB
    charges = Charges(budget, is_given=True)
    for worker in range(2):
        charges.join(worker)
        charges.ready(worker, 0)
        charges.assign(worker, worker, 100 * MiB)
    actions = []
    for i in range(STANDSTILL + 2):
        charges.measure({0: 400 * MiB + grows * i * 2 * NOISE, 1: 400 * MiB}, None)
        actions += charges.relief([0, 1])
    assert actions == [Pause(1)] + [Resume(1)] * (not grows)


def test_last_that_runs_is_never_paused():
    charges = at_work(900)
    measure(charges, 990)
    assert relief(charges) == []


def test_paused_worker_goes_on_when_no_other_runs():
    charges = at_work(300, 300)
    measure(charges, 400, 400)
    relief(charges)
    charges.leave(0)
    assert charges.relief([1]) == [Resume(1)]


@pytest.mark.parametrize("is_given", [True, False])
def test_lone_task_over_the_budget_is_stopped_only_if_that_was_given(is_given):
    charges = at_work(900)
    charges.is_given = is_given
    measure(charges, 1100)
    assert relief(charges) == ([Stop(0, 0)] if is_given else [])
    assert charges.workers[0].is_too_large == is_given


def test_task_over_the_budget_is_stopped_rather_than_one_that_fits():
    charges = at_work(900, 50)
    measure(charges, 1100, 50)
    assert relief(charges) == [Stop(0, 0)]


def test_task_is_stopped_for_other_programs_only_if_they_stay():
    budget = 1000 * MiB
    charges = Charges(budget, is_given=True)
    for worker in range(2):
        charges.join(worker)
        charges.ready(worker, 0)
        charges.assign(worker, worker, 400 * MiB)
    actions = []
    for _ in range(PATIENCE + 1):
        charges.measure({0: 300 * MiB, 1: 300 * MiB}, available=0)
        actions += charges.relief([0, 1])
    assert actions == [Pause(1), Stop(1, 1)]


def test_executor_that_cannot_pause_only_holds_back_starts():
    admission = make(500, 500, can_pause=False)
    admission.take_for_idle(0)
    admission.take_for_idle(1)
    sample(admission, 900, 900, 0)
    assert not admission.charges.needs_relief


def test_nothing_starts_beside_others_while_the_system_has_trouble_to_find_memory():
    admission = make(100, 100)
    assert admission.take_for_idle(0) == 0
    admission.charges.measure({0: 100}, None, is_tight=True)
    assert admission.take_for_idle(1) is None
    assert not admission.join(3)
    assert not admission.charges.needs_relief
    admission.charges.measure({0: 100}, None)
    assert admission.take_for_idle(1) == 1


def test_task_over_its_projection_is_expected_to_grow_only_as_long_as_it_does():
    admission = make(100 * MiB, 400 * MiB, budget=1000 * MiB)
    admission.take_for_idle(0)
    sample(admission, 400 * MiB)
    assert admission.take_for_idle(1) is None
    for _ in range(FLAT):
        sample(admission, 400 * MiB)
    assert admission.take_for_idle(1) == 1


# Files that are small beside the budget.


def light(n_workers: int = 2, needs=lambda task: Need(size=task)) -> Admission:
    admission = Admission(BUDGET, is_given=True, n_workers=n_workers, need_of=needs)
    for worker in range(n_workers):
        admission.join(worker)
        admission.ready(worker, 10)
    assert admission.light is not None
    admission.light.extend(range(6))
    return admission


def test_no_account_is_kept_of_small_tasks():
    admission = light()
    assert admission.is_light
    assert admission.light.popleft() == 0
    assert list(admission.waiting) == [1, 2, 3, 4, 5]
    assert admission.charges.n_at_work == 0


@pytest.mark.parametrize(
    "event",
    [
        TaskEnded(0, 0, growth=BUDGET // 4),
        Measured({0: BUDGET // 4, 1: 10}),
        Measured({0: 10}, available=BUDGET // 3),
        Measured({0: 10}, is_tight=True),
        WorkerReady(0, reserved=BUDGET // 4),
        WorkerDied(0, (), out_of_memory=True),
    ],
    ids=["growth", "use", "little is left", "pressure", "a large worker", "a death"],
)
def test_account_is_needed_once_something_is_not_small(event):
    assert light().is_needed(event)


@pytest.mark.parametrize(
    "event",
    [TaskEnded(0, 0, growth=10), TaskEnded(0, 0), Measured({0: 10}, available=BUDGET // 2), Tick()],
    ids=["growth", "growth unknown", "use", "time"],
)
def test_account_is_not_needed_for_what_is_small(event):
    assert not light().is_needed(event)


def test_pending_tasks_are_kept_to_choose_from_only_if_account_is_kept():
    for admission, n_wanted in ((make(), 7), (light(), 0)):
        assert admission.n_wanted == 0
        admission.n_to_choose_from = 7
        assert admission.n_wanted == n_wanted


def test_workers_may_keep_memory_as_long_as_no_account_is_kept():
    admission = light()
    admission.charges.measure({0: BUDGET, 1: BUDGET}, None)
    assert admission.has_much_room


def test_account_takes_in_the_needs_that_were_given():
    admission = light(needs=lambda task: Need(given=30))
    assert admission.light is not None
    admission.keep_account({0: [admission.light.popleft()]})
    assert admission.is_told(0)
    assert admission.projection(0) == 20


def test_account_takes_in_what_workers_have_and_what_waits():
    admission = light()
    for _ in range(2):
        admission.light.popleft()
    admission.keep_account({0: [0], 1: [1]})
    assert not admission.is_light
    assert admission.charges.n_at_work == 2
    assert admission.projection(0) is not None
    assert sorted(admission.waiting) == [2, 3, 4, 5]
    admission.ended(0, 0, 20)
    admission.ended(1, 1, 20)
    assert admission.take_for_idle(0) == 2


@pytest.mark.parametrize(("used", "joins"), [(500, True), (501, False)])
def test_worker_joins_for_a_task_sent_ahead_if_there_is_room_for_it(used: int, joins: bool):
    admission = make(500, 500, n_workers=1)
    assert (admission.take_for_idle(0), admission.take_ahead(0)) == (0, 1)
    sample(admission, used)
    assert not admission.join(1)
    assert admission.join(1, ahead=1) == joins
