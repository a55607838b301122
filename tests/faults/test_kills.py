"""Workers, their parent or both killed, at each point and at random instants."""

from __future__ import annotations

import random

import pytest

from bigpipe.staging import STAGING_NAME
from tests.faults.deeds import KillWithinDatabase, StopWithinCommit, kill
from tests.faults.night import IN_PARENT, POINTS, Fault
from tests.faults.sizes import SIZES
from tests.faults.trial import N_FILES, Trial

pytestmark = pytest.mark.process

NAME = "005.bin"
JOURNAL_INSTRUCTIONS = 800  # of the thousand that a journal of a dozen files takes
WHOM = {"worker": "a worker", "parent": "the parent", "both": "parent and worker"}


@pytest.mark.parametrize("point", POINTS)
def test_killed_worker_costs_no_file(trial: Trial, point: str):
    fault = Fault(kill(trial.night, "worker"), point, NAME, mark="once")
    ended = trial.run_here(fault)
    trial.observe_run(f"SIGKILL to {WHOM['worker']} {point}", ended, NAME)
    trial.check_complete(ended)
    assert {account.attempts for account in ended.accounts} <= {1, 2}
    if point not in IN_PARENT:
        assert ended.of(NAME).attempts == 2
        assert trial.night.passed("before read").count(NAME) == 2
    trial.resume()


@pytest.mark.parametrize("victims", ["parent", "both"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_run_is_resumed(trial: Trial, point: str, victims: str):
    fault = Fault(kill(trial.night, victims, then_wait=True), point, NAME, mark="once")
    ended = trial.run(fault)
    trial.observe_run(f"SIGKILL to {WHOM[victims]} {point}", ended)
    assert ended.returncode == -9
    assert NAME in trial.night.passed(point)
    trial.check_what_is_there()
    trial.resume()


@pytest.mark.parametrize("victims", WHOM)
def test_output_is_whole_if_its_side_file_was_in_place_already(trial: Trial, victims: str):
    stop = StopWithinCommit(trial.night)
    fault = Fault(kill(trial.night, victims, then_wait=True), stop.point, NAME, mark="once")
    ended = trial.run(fault, before=(stop,), start_method="fork")
    trial.observe_run(f"SIGKILL to {WHOM[victims]} {stop.point}", ended)
    if victims == "worker":
        trial.check_complete(ended)
        assert ended.of(NAME).attempts == 2
    else:
        assert ended.returncode == -9
        trial.check_what_is_there()
        assert (trial.night.out / "005_bmp.txt").exists()
        assert not (trial.night.out / "005_bmp.bin").exists()
    trial.resume()


def test_run_that_is_killed_when_all_is_done_is_tidied_up_by_the_next(trial: Trial):
    """The next run has no worker, as nothing is left to do."""
    fault = Fault(kill(trial.night, "parent"), "after journal", "000.bin", mark="once")
    ended = trial.run(fault, num_processes=1, order="given", names=trial.night.names()[::-1])
    trial.observe_run("SIGKILL to the parent when all is done", ended)
    assert ended.returncode == -9
    assert len(trial.night.passed("after journal")) == N_FILES
    assert (trial.night.out / STAGING_NAME).exists()
    trial.resume()


@pytest.mark.parametrize("number", range(SIZES.instants))
def test_run_that_is_killed_at_a_random_instant_is_resumed(trial: Trial, number: int):
    rng = random.Random(f"{SIZES.seed} {number}")
    victims = rng.choice(["worker", "parent", "both"])
    nth = rng.randrange(1, len(POINTS) * N_FILES)
    options = {"start_method": rng.choice(["fork", "fork", "fork", "forkserver", "spawn"])}
    if victims == "parent":
        options = rng.choice([options, options, {"executor": "threads"}, {"executor": "serial"}])
    print(f"seed {SIZES.seed}, number {number}: {victims} after {nth} points, {options}")
    ended = trial.run(Fault(kill(trial.night, victims), nth=nth), **options)
    trial.observe_run(f"SIGKILL to {WHOM[victims]} at a random instant", ended)
    if victims == "worker":
        trial.check_complete(ended)
    else:
        assert ended.returncode == -9
        trial.check_what_is_there()
    trial.resume()


@pytest.mark.parametrize("number", range(SIZES.journal_instants))
def test_run_that_is_killed_while_it_writes_its_journal_is_resumed(trial: Trial, number: int):
    nth = random.Random(f"{SIZES.seed} {number}").randrange(1, JOURNAL_INSTRUCTIONS)
    print(f"seed {SIZES.seed}, number {number}: after {nth} instructions of SQLite's")
    ended = trial.run(before=(KillWithinDatabase(nth),))
    trial.observe_run("SIGKILL to the parent while it writes the journal", ended)
    assert ended.returncode == -9
    trial.check_what_is_there()
    trial.resume()
