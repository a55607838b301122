"""Stages that end before the stream does: errors, deaths, a loop that is left, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from random import Random

import numpy as np
import psutil
import pytest

from bigpipe.errors import UnsendableError
from bigpipe.interrupts import Postponed, Terminated
from bigpipe.streaming import Graph, StageError, Stages, compose, parallel
from bigpipe.streaming.graph.step_guard import as_failure
from tests.mischief import SOON, STARTS, interrupted_after, watching
from tests.streaming import stage_steps as steps
from tests.streaming.stage_steps import numbers, square

pytestmark = pytest.mark.usefixtures("no_descriptor_left_behind")

ROOT = Path(__file__).parents[2]


def test_error_names_the_stage_and_the_element_and_stops_all(place):
    stages = Stages([steps.forever, steps.fail_at_3, str], **place)
    with pytest.raises(StageError, match="'fail_at_3' raised on element 3: ValueError: three"):
        list(stages)


def test_error_has_its_cause_and_traceback(place):
    with pytest.raises(StageError) as caught:
        list(Stages([numbers, steps.fail_at_3], **place))
    error = caught.value
    assert (error.stage, error.element, error.exitcode) == ("fail_at_3", 3, None)
    assert isinstance(error.__cause__, ValueError)
    assert 'raise ValueError("three is too much")' in error.traceback


def test_error_of_a_parallel_stage_names_the_element_of_the_stream(place):
    with pytest.raises(StageError) as caught:
        list(Stages([numbers, parallel(steps.fail_at_3, 3)], **place))
    assert caught.value.element == 3


def test_error_in_the_source_ends_all(place):
    for on_error in ("raise", "skip"):
        stages = Stages([steps.fail_in_source, square], on_error=on_error, **place)
        with pytest.raises(StageError, match="'fail_in_source' raised on element 1: OSError"):
            list(stages)


def test_error_is_skipped_if_asked(place):
    stages = Stages([numbers, steps.fail_at_3, square], on_error="skip", **place)
    assert list(stages) == [n * n for n in range(10) if n != 3]
    (skipped,) = stages.report.skipped
    assert (skipped.stage, skipped.element) == ("fail_at_3", 3)
    assert stages.report["fail_at_3"].n_skipped == 1


def test_order_is_kept_where_an_element_is_skipped_in_parallel(place):
    stages = Stages([numbers, parallel(steps.fail_at_3, 3), square], on_error="skip", **place)
    assert list(stages) == [n * n for n in range(10) if n != 3]


@pytest.mark.parametrize("wrapped", [lambda step: step, compose], ids=["alone", "composed"])
def test_generator_that_raised_begins_anew_if_that_is_skipped(wrapped):
    work = wrapped(steps.running_total_that_fails_at_3())
    assert list(Stages([range(6), work], executor="threads", on_error="skip")) == [0, 1, 3, 4, 9]


def test_step_that_can_go_on_keeps_what_it_has_if_an_error_behind_it_is_skipped():
    work = compose(steps.running_total(), steps.fail_at_3)
    stages = Stages([range(6), work], executor="threads", on_error="skip")
    assert list(stages) == [0, 1, 6, 10, 15]


def test_order_to_end_is_no_failure_of_a_step():
    with pytest.raises(Terminated), as_failure():
        raise Terminated


def test_error_with_full_queues_everywhere_is_no_deadlock(place):
    stages = [steps.forever, parallel(abs, 2), steps.evens_only, parallel(fail_at_1000, 2), str]
    with pytest.raises(StageError, match="1000"):
        list(Stages(stages, prefetch=1, **place))


def fail_at_1000(n):
    if n == 1000:
        raise ValueError(f"{n} is too much")
    return n


def test_steps_are_ended_after_an_error(place, tmp_path):
    path = tmp_path / "diary"
    stages = Stages([steps.forever, steps.Diary(path), steps.Diary(path, steps.fail_at_3)], **place)
    with pytest.raises(StageError):
        list(stages)
    assert sorted(what for _, what in steps.diary_of(path)) == ["init []"] * 2 + ["term"] * 2


@pytest.mark.process
def test_cleaning_up_is_not_broken_off_by_a_signal(tmp_path):
    path = tmp_path / "diary"
    with pytest.raises(StageError):
        list(Stages([steps.forever, steps.TerminatedInTheEnd(path), steps.fail_at_3]))
    assert [what for _, what in steps.diary_of(path)] == ["init []", "term"]


@pytest.mark.process
def test_signal_just_before_cleaning_up_does_not_prevent_it(tmp_path, monkeypatch):
    class PostponedTooLate(Postponed):
        def __enter__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            super().__enter__()

    path = tmp_path / "diary"
    monkeypatch.setattr("bigpipe.streaming.graph.part.Postponed", PostponedTooLate)
    stages = Stages([numbers, steps.Diary(path)], start_method="fork")
    with pytest.raises(StageError, match="SIGTERM"):
        list(stages)
    assert [what for _, what in steps.diary_of(path)] == ["init []", "term"]


def test_steps_are_ended_when_the_loop_is_left(place, tmp_path):
    path = tmp_path / "diary"
    for number in Stages([steps.forever, steps.Diary(path), parallel(abs, 2)], **place):
        if number == 5:
            break
    assert [what for _, what in steps.diary_of(path)] == ["init []", "term"]


def test_loop_may_be_left_at_once(place):
    for _ in Stages([steps.forever, parallel(square, 2), steps.thrice], **place):
        break
    else:
        pytest.fail("nothing came")


def test_run_that_was_never_begun_costs_nothing(place):
    iter(Stages([steps.forever, square], **place))


def test_with_block_ends_the_run(place):
    with Stages([steps.forever, square], **place) as stages:
        came = iter(stages)
        assert next(came) == 0
    assert stages.status().is_over
    assert list(came) == []


def test_arrays_that_came_stay_after_the_run(place):
    came = []
    for chunk in Stages([steps.arrays], **place):
        came.append(chunk["data"])
        if len(came) == 15:
            break
    assert all((data == number).all() for number, data in enumerate(came))


@pytest.mark.process
@pytest.mark.parametrize("make", [steps.unpicklable, steps.unloadable], ids=["sent", "received"])
def test_what_cannot_be_sent_on_is_an_error_that_says_so(make):
    with pytest.raises(StageError, match="executor='threads'") as caught:
        list(Stages([numbers, make, square]))
    assert isinstance(caught.value.__cause__, UnsendableError)


@pytest.mark.process
def test_what_cannot_be_sent_to_the_caller_is_an_error_that_says_so():
    with pytest.raises(UnsendableError, match="cannot be unpickled"):
        list(Stages([numbers, steps.unloadable]))


def test_error_of_local_term_is_told(place):
    stages = Stages([numbers, steps.FailsInTheEnd()], **place)
    with pytest.raises(StageError, match="'FailsInTheEnd' raised: RuntimeError: never done"):
        list(stages)


def test_error_of_a_step_is_told_and_notes_that_of_local_term(place):
    stages = Stages([numbers, steps.FailsTwice()], **place)
    with pytest.raises(StageError, match="element 0: ValueError: why") as caught:
        list(stages)
    then = "Then, while closing: RuntimeError: never done"
    assert caught.value.__cause__.__notes__ == [then]


def test_error_of_local_init_is_told(place):
    stages = Stages([numbers, steps.FailsInTheBeginning()], **place)
    with pytest.raises(StageError, match="'FailsInTheBeginning' raised: RuntimeError: not yet"):
        list(stages)


@pytest.mark.process
def test_killed_stage_ends_the_run_with_an_error(start_method):
    stages = Stages([numbers, steps.Kill(at=3), square], start_method=start_method)
    with pytest.raises(StageError, match=r"SIGKILL on element 3. Memory may") as caught:
        list(stages)
    assert (caught.value.stage, caught.value.exitcode) == ("Kill", -signal.SIGKILL)


@pytest.mark.process
@pytest.mark.parametrize("victim", ["forever", "square", "abs", "str"])
def test_stage_killed_from_outside_ends_the_run_with_an_error(victim):
    stages = Stages([steps.forever, square, parallel(abs, 2), str])
    came = iter(stages)
    next(came)
    crew = stages._crew
    pids = [each.pid for each in crew.members if each.part.node.name == victim]
    os.kill(pids[-1], signal.SIGKILL)
    with pytest.raises(StageError, match=f"'{victim}' .* killed by SIGKILL"):
        list(came)


def sum_of_both(pair):
    return float(pair[0].sum() + pair[1].sum())


@pytest.mark.process
@pytest.mark.parametrize("seed", range(8))
def test_any_stage_killed_at_any_time_ends_the_run_with_an_error_that_names_it(seed):
    random = Random(seed)
    graph = Graph(prefetch=random.choice([1, 2]))
    graph.source("arrays", steps.many_arrays, gives="a")
    graph.step("copied", np.copy, takes="a", gives="b", copies=2)
    graph.step("late", steps.held_back(5), takes="a", gives="c")
    graph.step("join", sum_of_both, takes=["b", "c"], gives="sum")
    graph.output("sum")
    came = iter(graph)
    for _ in range(random.randrange(1, 60)):
        next(came)
    victim = random.choice(graph._crew.members)
    number = random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
    os.kill(victim.pid, number)
    with pytest.raises(StageError, match=f"{victim.part.node.name!r} .* {number.name}"):
        list(came)


@pytest.mark.process
def test_stage_that_exits_ends_the_run_with_an_error():
    with pytest.raises(StageError, match="SystemExit"):
        list(Stages([numbers, sys.exit]))


@pytest.mark.process
def test_stages_end_with_a_caller_that_is_killed(tmp_path):
    with program(tmp_path, "kill") as (process, pids), watching(*pids) as stages:
        process.kill()
        assert all(stage.has_ended() for stage in stages)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("where", ["wait", "body"])
@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_interrupted_stages_end_and_are_cleaned_up(tmp_path, number, where, executor):
    with (
        program(tmp_path, where, executor) as (process, pids),
        watching(*(pids - {process.pid})) as stages,
    ):
        os.kill(process.pid, number)
        assert process.wait(SOON) == (-number if number == signal.SIGINT else 128 + number)
        assert all(stage.has_ended() for stage in stages)
    assert [what for _, what in steps.diary_of(tmp_path / "diary")] == ["init []", "term"]
    assert (tmp_path / "stderr").read_text().count("Traceback") <= 1


class program:
    """Run `tests.streaming.interrupted_stages`; give it, and its stages' ids, when all wait."""

    def __init__(self, folder, *how):
        self.folder = folder
        self.how = how

    def __enter__(self):
        self.stack = ExitStack()
        stderr = self.stack.enter_context((self.folder / "stderr").open("w"))
        command = [sys.executable, "-m", "tests.streaming.interrupted_stages", str(self.folder)]
        process = subprocess.Popen(
            [*command, *self.how], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        self.stack.callback(process.communicate)
        self.stack.callback(process.kill)
        pids = {int(pid) for pid in process.stdout.readline().split()}
        assert pids
        return process, pids

    def __exit__(self, *details):
        self.stack.close()


@pytest.mark.process
@pytest.mark.parametrize(("start_method", "module", "function"), STARTS.values(), ids=STARTS)
def test_stage_that_is_just_being_started_is_ended_by_an_interrupt(start_method, module, function):
    before = set(psutil.Process().children())
    with interrupted_after(module, function), pytest.raises(KeyboardInterrupt):
        list(Stages([steps.forever, square], start_method=start_method))
    assert set(psutil.Process().children()) <= before
