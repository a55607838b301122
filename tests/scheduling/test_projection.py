"""The memory that a task will need, learned from tasks that have ended."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.scheduling.projection import FLOOR, MiB, Need, Projector, size_class

GiB = 1024 * MiB


def make(budget: int = 16 * GiB) -> Projector:
    return Projector(budget)


def taught(growth_of, sizes, **options) -> Projector:
    projector = make()
    for size in sizes:
        projector.learn(Need(size=size, **options), int(growth_of(size)))
    return projector


def test_given_size_includes_what_an_idle_worker_holds():
    projector = make()
    projector.reserved = 60 * MiB
    assert projector.project(Need(given=100 * MiB)) == 40 * MiB
    assert projector.project(Need(given=50 * MiB)) == 0


def test_given_size_counts_whatever_was_measured_below_it():
    projector = make()
    need = Need(given=GiB, size=MiB)
    for _ in range(50):
        projector.learn(need, 10 * MiB)
    assert projector.project(need) == GiB


def test_given_size_that_was_exceeded_is_corrected_from_then_on():
    projector = make()
    need = Need(given=100 * MiB)
    projector.learn(need, 300 * MiB)
    for _ in range(200):
        projector.learn(need, 50 * MiB)
    assert 300 * MiB < projector.project(need) < 400 * MiB


def test_sizes_given_by_a_function_are_corrected_together():
    projector = make()
    for given_bytes in (10, 20, 40):
        projector.learn(Need(given=given_bytes * MiB), 10 * given_bytes * MiB)
    assert 1000 * MiB <= projector.project(Need(given=100 * MiB)) <= 1200 * MiB


def test_one_exceeded_size_of_many_does_not_hold_back_the_others():
    projector = make()
    projector.learn(Need(given=10 * MiB), 1000 * MiB)
    for given_bytes in range(100, 140):
        projector.learn(Need(given=given_bytes * MiB), 50 * MiB)
    assert projector.project(Need(given=200 * MiB)) == 200 * MiB
    assert projector.project(Need(given=10 * MiB)) > 1000 * MiB


def test_size_seen_before_anything_is_known_gives_a_careful_guess():
    projector = make()
    assert projector.project(Need(size=100 * MiB)) == 1000 * MiB
    assert projector.project(Need(size=1)) == 64 * MiB
    assert projector.project(Need(size=100 * MiB, is_compressed=True)) > 1000 * MiB


@pytest.mark.parametrize("need", [Need(), Need(size=10**15)], ids=["no size", "huge"])
def test_no_guess_takes_more_than_half_of_the_budget(need):
    assert make(8 * GiB).project(need) == 4 * GiB


def test_margin_over_what_was_measured_shrinks_with_the_samples():
    projector, need = make(), Need(size=100 * MiB)
    projections = []
    for _ in range(40):
        projector.learn(need, 500 * MiB)
        projections.append(projector.project(need))
    assert projections[0] == 1000 * MiB
    assert projections == sorted(projections, reverse=True)
    assert 500 * MiB < projections[-1] < 570 * MiB


def test_growth_that_follows_from_size_is_projected_for_other_sizes():
    projector = taught(lambda size: 4 * size, [k * MiB for k in range(50, 90)])
    assert 2000 * MiB <= projector.project(Need(size=500 * MiB)) < 2400 * MiB
    assert 80 * MiB <= projector.project(Need(size=20 * MiB)) < 100 * MiB


def test_growth_that_does_not_depend_on_size_is_projected_for_all():
    projector = taught(lambda size: 700 * MiB, [k * MiB for k in range(1, 40)])
    for size in (MiB, 30 * MiB, 60 * MiB):
        assert 700 * MiB <= projector.project(Need(size=size)) < 850 * MiB


def test_size_far_beyond_all_seen_is_not_thought_to_take_as_little():
    projector = taught(lambda size: 700 * MiB, [k * MiB for k in range(1, 40)])
    assert projector.project(Need(size=4 * GiB)) == 8 * GiB  # half of the budget


def test_size_far_beyond_all_seen_is_projected_as_the_others_if_growth_follows_from_it():
    projector = taught(lambda size: 4 * size, [k * MiB for k in range(50, 90)])
    assert 4000 * MiB <= projector.project(Need(size=1000 * MiB)) < 4600 * MiB


def test_first_file_far_larger_than_the_rest_does_not_hold_them_back():
    projector = taught(lambda size: 3 * size, [2000 * MiB])
    assert projector.project(Need(size=10 * MiB)) <= 60 * MiB


@pytest.mark.parametrize("n_large", [1, 2])
def test_large_files_at_the_beginning_hold_back_the_others_only_for_a_while(n_large):
    projector, need = make(), Need(size=10 * MiB)
    for growth in [2000] * n_large + [100] * 3 * n_large:
        projector.learn(need, growth * MiB)
    assert projector.project(need) < 150 * MiB


def test_growth_that_varies_is_bounded_by_its_upper_end():
    projector, need = make(), Need(size=10 * MiB)
    for growth in range(100, 400, 10):
        projector.learn(need, growth * MiB)
    assert projector.project(need) > 380 * MiB


def test_tiny_files_never_limit():
    random = Random(1)
    sizes = [random.randint(100, 10_000) for _ in range(50)]
    projector = taught(lambda size: random.randint(0, 300_000), sizes)
    assert all(projector.project(Need(size=size)) <= FLOOR for size in (1, 5000, 20_000))


def test_compressed_files_are_learned_apart():
    projector = taught(lambda size: 100 * size, [MiB] * 10, is_compressed=True)
    assert projector.project(Need(size=2 * MiB, is_compressed=True)) >= 200 * MiB
    assert projector.project(Need(size=100 * MiB)) == 1000 * MiB


def test_one_rare_file_does_not_hold_back_the_others():
    projector = taught(lambda size: 100 * MiB, [10 * MiB] * 20)
    before = projector.project(Need(size=10 * MiB))
    projector.learn(Need(size=10 * MiB), 2000 * MiB)
    for _ in range(10):
        projector.learn(Need(size=10 * MiB), 100 * MiB)
    assert projector.project(Need(size=10 * MiB)) <= before


def test_files_that_take_more_than_those_before_are_learned():
    projector, need = make(), Need(size=10 * MiB)
    for _ in range(500):
        projector.learn(need, 100 * MiB)
    for _ in range(10):
        projector.learn(need, 900 * MiB)
    assert projector.project(need) >= 900 * MiB


def test_file_that_was_stopped_tells_only_if_it_exceeded_its_projection():
    projector = taught(lambda size: 100 * MiB, [10 * MiB] * 20)
    before = projector.project(Need(size=10 * MiB))
    for _ in range(40):
        projector.learn(Need(size=10 * MiB), 50 * MiB, at_least=True)
    assert projector.project(Need(size=10 * MiB)) == before
    for _ in range(4):
        projector.learn(Need(size=10 * MiB), 300 * MiB, at_least=True)
    assert projector.project(Need(size=10 * MiB)) > 300 * MiB


def test_version_changes_whenever_a_projection_does():
    projector, need, random = make(), Need(size=10 * MiB), Random(2)
    seen = {}
    for _ in range(300):
        projector.learn(need, int(random.lognormvariate(0, 1) * 100 * MiB))
        assert seen.setdefault(projector.version, projector.project(need)) == projector.project(
            need
        )


@given(
    needs=st.lists(
        st.tuples(
            st.builds(
                Need,
                size=st.none() | st.integers(0, 10**13),
                given=st.none() | st.integers(0, 10**13),
                is_compressed=st.booleans(),
            ),
            st.integers(0, 10**13),
            st.booleans(),
        )
    ),
    budget=st.integers(1, 10**13),
)
def test_projection_of_anything_is_a_number_of_bytes(needs, budget):
    projector = Projector(budget)
    for need, growth, at_least in needs:
        assert isinstance(projector.project(need), int)
        projector.learn(need, growth, at_least=at_least)
        assert projector.project(need) >= 0


@given(st.integers(0, 10**15))
def test_sizes_of_one_class_are_within_a_factor_of_one_and_a_half(size):
    assert size_class(size) <= size_class(size + 1) <= size_class(size) + 2
    if size_class(2 * size) == size_class(size):
        assert size == 0
