"""Steps of each kind, by hand: what they give, and how they end."""

from __future__ import annotations

import functools
import pickle

import cloudpickle
import numpy as np
import pytest

from bigpipe.streaming import (
    Step,
    StepError,
    StopStream,
    as_step,
    begin,
    can_save,
    compose,
    consumer,
    fresh,
    has_ended,
    outputs_of,
    restore,
    state_of,
    step,
)
from tests.ids import shown
from tests.programs import run_python


@step
def running_sum(start=0, said=None):
    total = start
    try:
        while True:
            total += yield total
    except GeneratorExit:
        return -total
    finally:
        if said is not None:
            said.append("closed")


class Total:
    """A step that derives from nothing; its attributes tell of its life."""

    def __init__(self, start=0):
        self.start = start
        self.life = []

    def local_init(self, start=None, **kwargs):
        self.life.append(("init", start, kwargs))
        self.total = self.start if start is None else start

    def run(self, chunk):
        self.total += chunk
        return self.total

    def local_term(self):
        self.life.append("term")
        return -self.total

    def get_state(self):
        return self.total

    def set_state(self, state):
        self.total = state


class TotalStep(Total, Step):
    """The same, derived from `Step`."""


KINDS = pytest.mark.parametrize(
    "make", [running_sum, Total, TotalStep], ids=["generator", "class", "Step"]
)


@KINDS
def test_a_step_remembers_and_gives_its_last_chunk_when_flushed(make):
    total = as_step(make())
    assert [total(1), total(2), total(3)] == [1, 3, 6]
    assert total.flush() == -6
    assert total.flush() is None


@KINDS
def test_a_step_that_is_over_says_how_to_have_another(make):
    total = as_step(make())
    total.flush()
    with pytest.raises(StepError, match=r"is over: use fresh\(step\)"):
        total(1)


@KINDS
def test_a_fresh_step_has_the_parameters_and_none_of_the_state(make):
    used = as_step(make(5))
    used(1)
    other, third = fresh(used), fresh(fresh(used))
    assert (other(1), third(2), used(1)) == (6, 7, 7)
    used.flush()
    assert fresh(used)(1) == fresh(other)(1) == 6


@KINDS
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_a_used_step_arrives_fresh_when_it_is_pickled(make, pickler):
    used = as_step(make(5))
    used(1)
    arrived = pickle.loads(pickler.dumps(used))
    assert (arrived(1), used(1)) == (6, 7)
    assert pickle.loads(pickler.dumps(compose(used, abs)))(2) == 7


def test_a_step_of_a_script_is_pickled_by_value(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import cloudpickle, pickle\n"
        "from bigpipe.streaming import Step, step\n"
        "@step\n"
        "def double():\n"
        "    out = None\n"
        "    while True:\n"
        "        out = 2 * (yield out)\n"
        "class Triple(Step):\n"
        "    def run(self, chunk):\n"
        "        return 3 * chunk\n"
        "open('pickled', 'wb').write(cloudpickle.dumps([double(), Triple()]))\n"
    )
    load = "import pickle; a, b = pickle.load(open('pickled', 'rb')); print(a(5), b(5))"
    for what in ([script], ["-c", load]):
        ran = run_python(*what, cwd=tmp_path, is_to_succeed=True)
    assert ran.stdout == "10 15\n"


def test_closing_a_generator_runs_its_finally_once():
    said = []
    total = running_sum(said=said)
    total(1)
    total.close()
    total.close()
    assert total.flush() is None
    assert said == ["closed"]


def test_a_block_closes_its_step():
    with TotalStep() as total, pytest.raises(TypeError):
        total("no number")
    assert total.life == [("init", None, {}), "term"]


def test_a_generator_is_primed_when_it_is_made_and_a_fresh_one_when_it_begins():
    began = []

    @step
    def noting():
        began.append(1)
        while True:
            yield

    used = noting()
    assert len(began) == 1
    other = fresh(used)
    assert len(began) == 1
    other(0)
    assert len(began) == 2


def test_consumer_is_another_name_for_step():
    assert consumer is step


def test_a_generator_that_returns_ends_the_stream_with_a_last_chunk():
    @step
    def first_two():
        one = yield
        two = yield
        return one + two

    pair = first_two()
    assert (pair(1), has_ended(pair)) == (None, False)
    assert (pair(2), has_ended(pair)) == (3, True)
    with pytest.raises(StopStream):
        pair(3)
    assert pair.flush() is None


def test_a_generator_that_returns_before_its_first_yield_takes_nothing():
    @step
    def empty():
        if False:
            yield
        return "all"

    assert has_ended(empty())
    with pytest.raises(StopStream):
        empty()(1)
    assert empty().flush() == "all"


def test_a_step_that_stops_ends_a_loop_over_map():
    def until_none_left(chunk):
        if chunk > 2:
            raise StopStream
        return chunk

    class UntilThree(Step):
        def run(self, chunk):
            if chunk == 3:
                raise StopStream("last")
            return chunk

    assert list(map(until_none_left, [1, 2, 3, 4])) == [1, 2]
    assert list(map(UntilThree(), [1, 2, 3, 4])) == [1, 2, "last"]


def test_a_generator_that_yields_when_it_is_closed_is_told_what_to_do():
    @step
    def stubborn():
        while True:
            try:
                yield
            except GeneratorExit:
                yield "last"

    filt = stubborn()
    with pytest.raises(StepError, match="use 'return chunk' for a last chunk"):
        filt.flush()


def test_several_last_chunks_are_an_iterator():
    @step
    def in_the_end():
        try:
            while True:
                yield
        except GeneratorExit:
            return iter([1, 2])

    assert list(outputs_of(in_the_end().flush())) == [1, 2]


def test_outputs_are_told_apart_by_being_an_iterator():
    array = np.arange(3)
    assert list(outputs_of(None)) == []
    assert list(outputs_of(0)) == [0]
    assert list(outputs_of([1, 2])) == [[1, 2]]
    assert list(outputs_of((1, None))) == [(1, None)]
    assert next(outputs_of(array)) is array
    assert list(outputs_of(iter([1, None, iter([2, iter([3])])]))) == [1, 2, 3]


@pytest.mark.parametrize("make", [Total, TotalStep], ids=["class", "Step"])
def test_local_init_is_called_once_with_the_keywords(make):
    total = as_step(make())
    begin(total, start=10, outdir="out")
    begin(total, start=20)
    assert total(1) == 11
    assert getattr(total, "wrapped", total).life == [("init", 10, {"outdir": "out"})]


def test_local_init_without_room_for_keywords_gets_those_that_it_names():
    class Named(Step):
        def local_init(self, gain=1):
            self.gain = gain

        def run(self, chunk):
            return self.gain * chunk

    named = Named()
    begin(named, gain=3, outdir="out")
    assert named(2) == 6


def test_a_local_init_that_fails_is_not_followed_by_local_term():
    class Broken(TotalStep):
        def local_init(self, **kwargs):
            raise OSError("no such device")

    broken = Broken()
    with pytest.raises(OSError, match="no such device"):
        broken(1)
    broken.close()
    assert broken.life == []


def test_what_a_step_opens_in_local_init_does_not_keep_it_from_being_copied():
    class Reader(Step):
        def local_init(self, **kwargs):
            self.file = open(__file__)  # noqa: SIM115 - closed in local_term

        def run(self, chunk):
            return self.file.readline()

        def local_term(self):
            self.file.close()

    with Reader() as reader:
        first = reader(0)
        with fresh(reader) as other:
            assert other(0) == first != reader(0)


def test_a_step_that_cannot_be_copied_works_by_hand_and_says_why_else():
    class Holding(Step):
        def __init__(self):
            self.file = (n for n in range(3))

        def run(self, chunk):
            return next(self.file)

    holding = Holding()
    assert (holding(0), holding(0)) == (0, 1)
    for what in (holding, Holding()):
        with pytest.raises(StepError, match=r"Holding cannot be copied.*in local_init"):
            fresh(what)


def test_arrays_of_a_fresh_step_are_its_own_unless_they_are_read_only():
    class Holding(TotalStep):
        def __init__(self):
            self.ring, self.taps = np.zeros(3), np.ones(3)
            self.taps.flags.writeable = False

        def local_init(self, **kwargs):
            self.ring += 1

    used, plain = Holding(), as_step(Total())
    plain.wrapped.table = used.taps
    begin(used)
    other = fresh(used)
    begin(other)
    assert list(other.ring) == [1, 1, 1]
    assert not np.shares_memory(other.ring, used.ring)
    assert other.taps is used.taps is fresh(plain).wrapped.table


def test_a_fresh_object_of_any_class_is_of_that_class():
    total = Total(3)
    assert type(fresh(total)) is Total
    assert fresh(total).start == 3


def test_functions_are_as_fresh_as_they_are():
    assert fresh(abs) is abs


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (running_sum, r"call it: running_sum\(\.\.\.\)"),
        (Total, r"call it: Total\(\.\.\.\)"),
        (3, "3 is not a step. A step is a function"),
        (None, "None is not a step"),
    ],
    ids=["maker", "class", "number", "None"],
)
def test_what_is_no_step_is_told_what_is_one(what, said):
    with pytest.raises(StepError, match=said):
        as_step(what)


def test_a_function_without_yield_needs_no_decorator():
    with pytest.raises(StepError, match="double has no 'yield'"):

        @step
        def double(chunk):
            return 2 * chunk


def test_a_step_without_run_is_told_so():
    class Empty(Step):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty has no method run\(self, chunk\)"):
        Empty()(1)


def test_a_step_looks_as_it_is_called():
    assert repr(running_sum()) == "<step running_sum>"
    assert repr(TotalStep()) == "<step TotalStep>"
    assert repr(as_step(Total())) == "<step Total>"
    assert repr(as_step(abs)) == "<step abs>"
    assert running_sum.__doc__ is None
    assert running_sum.__name__ == "running_sum"


def closing_over(number):
    return lambda chunk: chunk + number


class OnlyGets(Step):
    def get_state(self):
        return 1


@pytest.mark.parametrize(
    ("what", "saves"),
    [
        (abs, True),
        (np.sqrt, True),
        (np.median, True),
        (float, True),
        (functools.partial(np.sort, axis=0), True),
        (lambda chunk: chunk, True),
        (Total(), True),
        (TotalStep(), True),
        (closing_over(1), False),
        (functools.partial(closing_over(1)), False),
        ([].append, False),
        (Total().run, False),
        (running_sum(), False),
        (OnlyGets(), False),
        (compose(Total(), abs), True),
        (compose(Total(), running_sum()), False),
    ],
    ids=shown,
)
def test_which_steps_can_be_saved(what, saves):
    assert can_save(what) == saves


def test_a_saved_step_goes_on_where_it_was():
    used = compose(Total(), abs, TotalStep())
    used(1), used(2)
    state = state_of(used)
    other = fresh(used)
    restore(other, state)
    assert other(3) == used(3) == 1 + 3 + 6


def test_a_step_that_cannot_say_its_state_is_told_what_can():
    with pytest.raises(StepError, match="state of the step running_sum cannot be saved"):
        state_of(running_sum())
