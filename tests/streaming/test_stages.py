"""Stages in a row, side by side: what comes out, and what is known of them."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from bigpipe.errors import OptionError, UnsendableError
from bigpipe.streaming import GraphError, StageError, Stages, compose, parallel
from tests.streaming import stage_steps as steps
from tests.streaming.stage_steps import numbers, square

pytestmark = pytest.mark.usefixtures("no_descriptor_left_behind")


def test_elements_pass_all_stages_in_order(place):
    stages = Stages([range(50), square, str], **place)
    assert list(stages) == [str(n * n) for n in range(50)]


@pytest.mark.parametrize(
    "source",
    [[3, 1, 2], numbers, numbers(), np.arange(4.0), "text"],
    ids=["list", "function", "range", "array", "text"],
)
def test_source_is_an_iterable_or_a_function_that_gives_one(source):
    expected = list(source() if callable(source) else source)
    assert list(Stages([source, compose()])) == expected


def test_source_alone_is_enough(place):
    assert list(Stages([numbers], **place)) == list(range(10))


def test_step_gives_nothing_or_several(place):
    stages = Stages([numbers, steps.evens_only, steps.thrice], **place)
    assert list(stages) == [n for n in range(0, 10, 2) for _ in range(3)]


def test_last_chunks_travel_on(place):
    stages = Stages([range(5), steps.pairs(), len, steps.total()], **place)
    assert list(stages) == [5]


def test_state_is_not_shared_between_runs(place):
    stages = Stages([numbers, steps.total()], **place)
    assert list(stages) == [45]
    assert list(stages) == [45]


def test_arrays_pass_whole_and_may_be_written_into(place):
    stages = Stages([steps.arrays, steps.add_one, parallel(steps.its_sum, 2)], **place)
    assert list(stages) == [(n, 30_000 * (n + 1)) for n in range(20)]


def test_arrays_reach_the_caller(place):
    came = list(Stages([steps.arrays, steps.add_one], **place))
    assert all((each["data"] == each["number"] + 1).all() for each in came)
    assert len(came) == 20


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_order_is_kept_behind_parallel_stages(copies, after):
    stages = Stages(
        [range(40), parallel(square, copies), parallel(steps.thrice, after), compose()],
        executor="threads",
    )
    assert list(stages) == [n * n for n in range(40) for _ in range(3)]


def test_order_is_kept_by_processes_too(place):
    stages = [range(30), parallel(steps.evens_only, 2), parallel(steps.thrice, 3), str]
    assert list(Stages(stages, **place)) == [str(n) for n in range(0, 30, 2) for _ in range(3)]


def test_one_copy_that_is_held_up_does_not_mix_up_the_order(place, gate):
    stages = Stages([range(6), parallel(steps.Wait(gate, at=0), 2), str], **place)
    came = iter(stages)
    gate.open()
    assert list(came) == [str(n) for n in range(6)]


def test_each_copy_gives_its_last_chunks_after_all_others(place):
    came = list(Stages([range(9), parallel(steps.total(), 3)], **place))
    assert sum(came) == 36
    came = list(Stages([range(9), parallel(steps.pairs(), 3)], **place))
    assert [len(each) for each in came] == sorted((len(each) for each in came), reverse=True)
    assert sorted(sum(came, ())) == list(range(9))


def test_each_step_lives_in_a_process_of_its_own(tmp_path):
    path = tmp_path / "diary"
    stages = Stages(
        [range(3), steps.Diary(path), parallel(steps.Diary(path), 2)], keywords={"gain": 2}
    )
    assert list(stages) == [0, 1, 2]
    lines = steps.diary_of(path)
    assert sorted(what for _, what in lines) == ["init [('gain', 2)]"] * 3 + ["term"] * 3
    assert len({pid for pid, _ in lines} - {str(os.getpid())}) == 3


def test_step_that_ends_the_stream_ends_the_source(place):
    assert list(Stages([steps.forever, square, steps.Take(3)], **place)) == [0, 1, 4]


def test_sink_gives_nothing_and_run_returns_the_report(place, tmp_path):
    stages = Stages([numbers, square, steps.nothing], **place)
    report = stages.run()
    assert report is stages.report
    assert [each.n_taken for each in report.stages] == [0, 10, 10, 0]
    assert [each.n_given for each in report.stages] == [10, 10, 0, 0]
    assert report.is_over


def test_no_more_elements_are_under_way_than_prefetch_allows(place, gate):
    stages = Stages([steps.forever, square, steps.Wait(gate, at=0)], prefetch=3, **place)
    came = iter(stages)
    gate.open()
    assert next(came) == 0
    while (full := stages.status()["square"]).state != "waits to give":
        pass
    # What the caller has taken; a queue each way of 3; one in the hands of each step.
    assert full.n_given <= 1 + 3 + 1 + 3 + 1
    came.close()


def test_status_tells_what_each_stage_does(place, gate):
    stages = Stages([range(5), steps.Wait(gate, at=2), str], **place)
    assert stages.status() is None
    came = iter(stages)
    assert [next(came), next(came)] == ["0", "1"]
    gate.arrived()
    status = stages.status()
    assert (status["Wait"].state, status["Wait"].n_taken) == ("busy", 3)
    assert not status.is_over
    gate.open()
    assert list(came) == ["2", "3", "4"]
    assert stages.status().is_over
    assert {each.state for each in stages.status().stages} == {"ended"}


def test_report_is_a_table_and_names_the_stage_that_held_up_the_others(gate):
    stages = Stages([range(5), square, steps.Wait(gate, at=16)], executor="threads")
    came = iter(stages)
    assert [next(came) for _ in range(4)] == [0, 1, 4, 9]
    gate.arrived()
    gate.open()
    assert list(came) == [16]
    lines = str(stages.report).splitlines()
    assert lines[0].split()[:4] == ["stage", "copies", "in", "out"]
    assert lines[3].split()[:4] == ["Wait", "1", "5", "5"]


def test_report_names_its_stages_if_it_has_no_such_one():
    report = Stages([range(3), str], executor="threads").run()
    with pytest.raises(KeyError, match=r"no stage 'int': give one of source, str, \(caller\)"):
        report["int"]


def test_names_are_those_of_the_steps_and_told_apart():
    stages = Stages([numbers, square, square, str], executor="threads")
    assert stages.diagram() == "numbers --> square --> square 2 --> str --> (output)"
    assert [each.name for each in stages.run().stages[:-1]] == [
        *("numbers", "square", "square 2", "str")
    ]


@pytest.mark.parametrize("method", ["fork", "forkserver"])
@pytest.mark.process
def test_warnings_of_a_stage_are_the_caller_s(method):
    with pytest.warns(UserWarning, match="7 is odd"):
        list(Stages([[7], steps.warn], start_method=method))


def test_lambdas_and_closures_run_in_any_place(place):
    by = 3
    assert list(Stages([lambda: range(by), lambda n: n * by], **place)) == [0, 3, 6]


@pytest.mark.process
def test_what_cannot_be_sent_says_what_to_do():
    stages = Stages([(n for n in range(3)), square], start_method="forkserver")
    with pytest.raises(UnsendableError, match=r"'source' cannot be sent .* give a function"):
        list(stages)


def test_generator_as_a_source_is_inherited_by_a_forked_stage():
    stages = Stages([(n for n in range(3)), square], start_method="fork")
    assert list(stages) == [0, 1, 4]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "no stages"),
        ([square], None),
        ([steps.total(), square], "the first stage is the source"),
        ([3, square], "give an iterable, or a function"),
        ([numbers, parallel(square, 0)], "0 copies"),
    ],
    ids=["none", "a function", "a step first", "a number first", "no copies"],
)
def test_stages_that_cannot_run_are_refused_before_anything_starts(stages, words):
    if words is None:
        with pytest.raises(StageError, match=r"square.*raised.*missing 1 required"):
            list(Stages(stages, executor="threads"))
    else:
        with pytest.raises(GraphError, match=words):
            iter(Stages(stages, executor="threads")).__next__()


@pytest.mark.parametrize(
    "options", [{"prefetch": 0}, {"executor": "ships"}, {"on_error": "shrug"}], ids=str
)
def test_option_that_cannot_be_is_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        Stages([numbers, square], **options)


def test_stage_error_survives_pickling():
    with pytest.raises(StageError) as caught:
        list(Stages([numbers, steps.fail_at_3], executor="threads"))
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value)
    assert (copied.stage, copied.element) == ("fail_at_3", 3)
    assert isinstance(copied.__cause__, ValueError)
