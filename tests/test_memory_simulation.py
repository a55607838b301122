"""Random workloads, against the real scheduler: the promises about memory hold in all of them."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable
from random import Random

import pytest

from bigpipe.scheduling.admission import Need
from tests.memory_world import STARTING_S, Job, MiB, World

N_WORKLOADS = int(os.environ.get("BIGPIPE_WORKLOADS", "500"))  # of each kind
N_FILES = int(os.environ.get("BIGPIPE_FILES", "100000"))  # on a thousand workers


def heavy_tailed(random: Random, median: float, sigma: float) -> float:
    return median * random.lognormvariate(0.0, sigma)


def random_job(random: Random, budget: int, typical: float, sigma: float) -> Job:
    growth = int(min(heavy_tailed(random, typical, sigma), budget * random.choice([0.8, 0.8, 2])))
    start = random.choice([0.0, 0.0, 0.5, 0.8])
    return Job(
        duration=max(0.02, heavy_tailed(random, random.choice([0.1, 0.5, 1.0]), 0.7)),
        growth=growth,
        start=start,
        full=start + (1.0 - start) * random.choice([0.05, 0.5, 1.0]),
        low=random.choice([0.0, 0.3]),
    )


def wrong_by(random: Random, factor: float) -> float:
    return factor ** random.uniform(-1.0, 1.0)


def given(random: Random, job: Job, reserved: int) -> Need:
    """Give a size that is wrong by up to 10 times, both ways."""
    return Need(given=int(reserved + job.growth * wrong_by(random, 10)), rank=-job.growth)


def by_size(random: Random, job: Job, reserved: int) -> Need:
    """Give a size on disk from which the growth follows, more or less."""
    size = int(job.growth / 4 * wrong_by(random, 1.3))
    return Need(size=size, rank=-size, is_compressed=False)


def by_content(random: Random, job: Job, reserved: int) -> Need:
    """Give a size that tells nothing."""
    size = int(heavy_tailed(random, 10 * MiB, 0.5))
    return Need(size=size, rank=-size, is_compressed=random.random() < 0.5)


def nothing(random: Random, job: Job, reserved: int) -> Need:
    return Need()


def mixture(random: Random, job: Job, reserved: int) -> Need:
    return random.choice([given, by_size, by_content, nothing])(random, job, reserved)


KNOWN = {each.__name__: each for each in (given, by_size, by_content, nothing, mixture)}


def random_world(seed: int, known: Callable[..., Need]) -> World:
    random = Random(seed)
    n_workers = random.choice([1, 2, 2, 4, 8, 16])
    reserved = random.choice([0, 20, 60]) * MiB
    budget = int(heavy_tailed(random, 2000 * MiB, 0.5)) + 2 * n_workers * reserved
    typical = budget / n_workers * random.choice([0.1, 0.5, 1.0, 2.0])
    sigma = random.choice([0.1, 0.5, 1.5])
    jobs = [random_job(random, budget, typical, sigma) for _ in range(random.randint(2, 40))]
    for job in jobs:
        job.need = known(random, job, reserved)
        job.deaths = random.choice([0] * 20 + [1, 2])
    taken = other_programs(random, budget) if random.random() < 0.3 else None
    return World(
        jobs,
        n_workers,
        budget,
        is_given=random.random() < 0.5,
        reserved=reserved,
        max_ahead=random.choice([0, 1, 16]),
        taken=taken,
        tells_growth=random.random() < 0.8,
        seed=seed,
    )


def other_programs(random: Random, budget: int) -> Callable[[float], int]:
    """Return what others take: nothing, then some, then nothing again."""
    begin, length = random.uniform(0, 3), random.uniform(0.5, 5)
    n_bytes = int(budget * random.uniform(0.5, 2.0))
    return lambda now: n_bytes if begin < now < begin + length else 0


@pytest.mark.parametrize("known", KNOWN)
def test_budget_holds_and_every_file_ends_once(known):
    for seed in range(N_WORKLOADS):
        world = random_world(seed, KNOWN[known])
        try:
            world.run()
            world.assert_all_ended_once()
        except AssertionError as error:
            raise AssertionError(f"workload {seed}: {error}") from error


@pytest.mark.parametrize("large", [(0, 1), (10, 30), (40, 41)], ids=str)
@pytest.mark.parametrize("known", ["sizes given", "sizes on disk", "nothing"])
def test_two_large_files_among_forty_small_ones_cost_little(known, large):
    jobs = []
    for task in range(42):
        growth = (2000 if task in large else 100) * MiB
        need = {
            "sizes given": Need(given=20 * MiB + growth, rank=-growth),
            "sizes on disk": Need(size=growth // 4, rank=-growth),
            "nothing": Need(),
        }[known]
        jobs.append(Job(5.0 if task in large else 1.0, growth, need))
    world = World(jobs, 2, 2500 * MiB, reserved=20 * MiB)
    makespan = world.run() - STARTING_S
    world.assert_all_ended_once()
    assert makespan <= (1.2 if known == "sizes given" else 1.5) * world.lower_bound(2)


@pytest.mark.timeout(600)
def test_a_million_files_on_a_thousand_workers_take_less_than_a_minute():
    """This many only on request; otherwise a part of them, in that part of the time."""
    random = Random(1)
    n_workers, budget = 1000, 1000 * 1000 * MiB
    jobs = []
    for _ in range(N_FILES):
        growth = int(min(heavy_tailed(random, 200 * MiB, 1.5), budget / 10))
        need = Need(size=growth // 4, rank=-growth)
        jobs.append(Job(0.5 + growth / (1000 * MiB), growth, need))
    world = World(jobs, n_workers, budget, interval=5.0, reserved=20 * MiB)
    world.check = lambda used: None  # type: ignore[method-assign]  # what is shown is time
    began_at = time.process_time()
    makespan = world.run()
    assert time.process_time() - began_at < 60 * N_FILES / 1e6 + 5
    world.assert_all_ended_once()
    assert makespan < 1.4 * world.lower_bound(n_workers)


def known_world(seed: int) -> tuple[World, int]:
    """Return a run whose sizes and durations are all known, and its number of workers.

    Sizes are heavy-tailed, and there are 20 files for each worker. None takes more than half of
    the budget: of two such files, only one can run, which the lower bound does not consider.
    """
    random = Random(seed)
    n_workers = random.choice([2, 4, 8, 16, 32])
    reserved, budget = random.choice([0, 10]) * MiB, 2000 * MiB
    sigma = random.choice([0.7, 1.0, 1.5])
    mean = budget / n_workers * random.choice([0.3, 1.0, 2.0])
    is_by_size = random.random() < 0.5  # the time that a file takes
    jobs = []
    for _ in range(20 * n_workers):
        growth = heavy_tailed(random, mean / math.exp(sigma**2 / 2), sigma)
        growth = int(min(growth, 0.5 * (budget - n_workers * reserved)))
        relative = growth * n_workers / budget if is_by_size else 1.0
        duration = 0.1 + 0.3 * heavy_tailed(random, relative, 0.5)
        need = Need(given=reserved + growth, rank=-growth)
        jobs.append(Job(duration, growth, need, full=random.uniform(0.05, 0.95)))
    world = World(jobs, n_workers, budget, reserved=reserved, interval=0.5, seed=seed)
    return world, n_workers


def test_no_core_is_idle_for_want_of_daring_where_projections_are_right():
    ratios = []
    for seed in range(N_WORKLOADS // 3):
        world, n_workers = known_world(seed)
        makespan = world.run() - STARTING_S
        world.assert_all_ended_once()
        assert not world.counts["Pause"] + world.counts["Stop"], f"workload {seed}"
        ratios.append(makespan / world.lower_bound(n_workers))
    assert statistics.median(ratios) <= 1.05
    assert max(ratios) <= 1.4, f"workload {ratios.index(max(ratios))}"
