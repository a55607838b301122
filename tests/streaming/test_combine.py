"""Steps in a row and side by side: order, several chunks, the end, errors."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.streaming import (
    Step,
    StopStream,
    StreamError,
    begin,
    compose,
    fresh,
    has_ended,
    outputs_of,
    restore,
    side_by_side,
    state_of,
    step,
    tee,
)


class Noting(Step):
    """Passes chunks on, and notes in a list that is shared what happens to it."""

    def __init__(self, name, notes, last=None, ends_at=None):
        self.name, self.notes, self.last, self.ends_at = name, notes, last, ends_at

    def local_init(self, **kwargs):
        self.notes.append(f"{self.name} begins")

    def run(self, chunk):
        self.notes.append(f"{self.name} {chunk}")
        if chunk == self.ends_at:
            raise StopStream(chunk)
        return chunk

    def local_term(self):
        self.notes.append(f"{self.name} ends")
        return self.last


@step
def totals():
    """Give nothing for 0, and as many totals as a number says for others."""
    total, out = 0, None
    while True:
        number = yield out
        total += number
        out = iter([total] * number) if number > 1 else total if number else None


def each_twice(chunk):
    return iter([chunk, chunk])


def taken(outputs):
    return [each for out in outputs for each in outputs_of(out)]


def test_each_part_receives_what_the_one_before_it_gives():
    assert compose(abs, float, str)(-3) == "3.0"


def test_composing_nothing_gives_each_chunk_as_it_is():
    nothing = compose()
    assert (nothing(3), nothing.flush()) == (3, None)
    assert compose(compose(), abs, compose())(-1) == 1


def test_parts_behind_one_that_gives_nothing_are_not_called():
    notes = []
    chain = compose(lambda chunk: None, Noting("b", notes))
    assert chain(1) is None
    assert notes == ["b begins"]


def test_the_result_is_an_iterator_only_if_a_part_gave_one():
    chain = compose(totals(), float)
    assert chain(0) is None
    assert chain(1) == 1.0
    assert list(chain(2)) == [3.0, 3.0]


def test_chunks_of_an_iterator_go_through_the_rest_when_they_are_asked_for():
    notes = []
    out = compose(each_twice, Noting("b", notes))(1)
    assert notes == ["b begins"]
    next(out)
    assert notes == ["b begins", "b 1"]


@given(
    numbers=st.lists(st.integers(0, 3), max_size=6),
    takes=st.lists(st.integers(0, 3), min_size=1),
)
def test_when_chunks_are_taken_does_not_change_them(numbers, takes):
    expected = taken(map(compose(totals(), totals()), numbers))
    chain = compose(totals(), totals())
    out, got = [], []
    for i, number in enumerate(numbers):
        out.append(outputs_of(chain(number)))
        for _ in range(takes[i % len(takes)]):
            while out and (one := next(out[0], None)) is None:
                out.pop(0)
            got += [one] if out else []
    assert got + taken(out) == expected


@given(st.lists(st.integers(0, 3), max_size=6))
def test_how_parts_are_grouped_does_not_matter(numbers):
    a, b, c = totals(), totals(), totals()
    grouped = [compose(a, compose(b, c)), compose(compose(a, b), c), compose(compose(a, b, c))]
    flat = taken(map(compose(fresh(a), fresh(b), fresh(c)), numbers))
    assert all(taken(map(fresh(chain), numbers)) == flat for chain in grouped)


def test_parts_are_flushed_from_front_to_back():
    notes = []
    parts = [Noting(name, notes, last=name.upper()) for name in "abc"]
    chain = compose(*parts)
    begin(chain)
    notes.clear()
    assert list(outputs_of(chain.flush())) == ["A", "B", "C"]
    assert notes == ["a ends", "b A", "c A", "b ends", "c B", "c ends"]


@pytest.mark.parametrize(
    ("lasts", "result"),
    [([None, None], None), ([1, None], 1), ([None, 2], 2)],
    ids=["none", "first", "second"],
)
def test_a_single_last_chunk_is_no_iterator(lasts, result):
    assert compose(*(Noting("a", [], last) for last in lasts)).flush() == result


def test_a_part_that_ends_the_stream_closes_those_before_it_and_flushes_the_others():
    notes = []
    chain = compose(
        lambda chunk: chunk,
        Noting("a", notes),
        Noting("b", notes, "B", ends_at=2),
        Noting("c", notes, "C"),
    )
    chain.parts[1].last = (notes.append("a gives") for _ in range(3))  # for nobody
    assert [chain(1), chain(2)] == [1, 2]
    assert has_ended(chain)
    with pytest.raises(StopStream):
        chain(3)
    notes.clear()
    assert list(chain.flush()) == ["B", "C"]
    assert notes == ["a ends", "b ends", "c B", "c ends"]


def test_no_more_chunks_are_taken_from_an_iterator_when_a_part_has_ended():
    asked = []

    def many(chunk):
        for number in range(10):
            asked.append(number)
            yield number

    chain = compose(many, Noting("b", [], ends_at=1), each_twice)
    assert list(chain(0)) == [0, 0, 1, 1]
    assert has_ended(chain)
    assert asked == [0, 1, 2]


def test_closing_goes_on_when_a_part_cannot_be_closed():
    class Broken(Step):
        def local_term(self):
            raise OSError("cannot close")

    notes = []
    chain = compose(Noting("a", notes), Broken(), Noting("c", notes))
    begin(chain)
    with pytest.raises(OSError, match="cannot close"):
        chain.close()
    assert notes[-2:] == ["a ends", "c ends"]


class Broken(Step):
    """Cannot begin, or not end."""

    def __init__(self, name, *, begins=True):
        self.name, self.begins = name, begins

    def local_init(self, **kwargs):
        if not self.begins:
            raise OSError(f"{self.name} cannot begin")

    def local_term(self):
        raise OSError(f"{self.name} cannot end")


def test_first_of_several_parts_that_cannot_be_closed_is_told_and_notes_the_others():
    chain = compose(*map(Broken, "abc"))
    begin(chain)
    with pytest.raises(OSError, match="a cannot end") as caught:
        chain.close()
    then = "Then, while closing: OSError: "
    assert caught.value.__notes__ == [f"{then}b cannot end", f"{then}c cannot end"]


def test_part_that_cannot_begin_is_told_before_one_that_then_cannot_end():
    with pytest.raises(OSError, match="b cannot begin"):
        begin(compose(Broken("a"), Broken("b", begins=False)))


def test_parts_that_had_begun_are_closed_when_a_later_one_cannot_begin():
    class Broken(Step):
        def local_init(self, **kwargs):
            raise OSError("cannot begin")

    notes = []
    with pytest.raises(OSError, match="cannot begin"):
        begin(compose(Noting("a", notes), Broken(), Noting("c", notes)))
    assert notes == ["a begins", "a ends"]


def broken_at_2(chunk):
    if chunk == 2:
        raise KeyError(chunk)
    return chunk


def broken_later(chunk):
    yield chunk
    broken_at_2(chunk)


@pytest.mark.parametrize("broken", [broken_at_2, broken_later], ids=["at once", "later"])
def test_an_error_names_the_step_and_the_chunk(broken):
    chain = compose(abs, broken, float)
    taken(map(chain, [0, 1]))
    with pytest.raises(KeyError) as caught:
        taken([chain(2)])
    name = broken.__name__
    assert caught.value.__notes__ == [f"In step 2 of 3, {name}, chunk 2, counted from 0."]


def test_an_error_in_the_end_names_the_step():
    class Broken(Step):
        def run(self, chunk):
            return chunk

        def local_term(self):
            raise OSError("disk full")

    chain = compose(abs, Broken())
    chain(1)
    with pytest.raises(OSError, match="disk full") as caught:
        chain.flush()
    assert caught.value.__notes__ == ["At the end of step 2 of 2, Broken, after 1 chunks."]


def test_a_tee_gives_a_tuple_with_none_where_a_branch_gave_nothing():
    both = tee(abs, lambda chunk: None, float)
    assert both(-2) == (2, None, -2.0)
    assert tee(lambda chunk: None, lambda chunk: None)(1) is None


def test_several_chunks_of_a_branch_stay_beside_those_of_the_same_chunk():
    both = tee(totals(), abs)
    assert list(outputs_of(both(3))) == [(3, 3), (3, None), (3, None)]
    assert list(outputs_of(both(1))) == [(4, 1)]


def test_last_chunks_of_branches_are_side_by_side():
    last = tee(Noting("a", [], last=iter([1, 2])), Noting("b", [], last=3), abs).flush()
    assert list(outputs_of(last)) == [(1, 3, None), (2, None, None)]


def test_a_tee_has_ended_when_all_branches_have():
    both = tee(Noting("a", [], ends_at=1), Noting("b", [], ends_at=2))
    assert (both(1), has_ended(both)) == ((1, 1), False)
    assert (both(2), has_ended(both)) == ((None, 2), True)


def test_each_entry_of_a_tuple_goes_into_its_own_step():
    both = side_by_side(totals(), abs)
    assert both((1, -5)) == (1, 5)
    assert both((None, -6)) == (None, 6)
    assert both((1, None)) == (2, None)


@pytest.mark.parametrize(
    ("chunk", "given_as"), [((1, 2, 3), "a tuple of 3"), ([1, 2], "list")], ids=["3", "list"]
)
def test_what_is_no_tuple_of_that_many_is_refused(chunk, given_as):
    said = rf"side_by_side\(abs, totals\) takes tuples of 2.* was given {given_as}"
    with pytest.raises(StreamError, match=said):
        side_by_side(abs, totals())(chunk)


def make_nested():
    return compose(tee(totals(), compose(totals(), abs)), side_by_side(abs, abs))


def test_a_fresh_combination_shares_no_state():
    used = make_nested()
    used(1)
    for other in (fresh(used), pickle.loads(pickle.dumps(used))):
        assert other(1) == (1, 1)
    assert used(1) == (2, 2)


class Adding(Step):
    total = 0

    def run(self, chunk):
        self.total += chunk
        return self.total

    def get_state(self):
        return self.total

    def set_state(self, state):
        self.total = state


def test_a_saved_combination_goes_on_where_it_was():
    used = compose(tee(Adding(), abs), side_by_side(Adding(), abs))
    used(1), used(2)
    other = fresh(used)
    restore(other, state_of(used))
    assert other(3) == used(3) == (10, 3)


def test_what_has_ended_has_ended_when_it_is_restored():
    class Ending(Adding):
        def run(self, chunk):
            if chunk == 2:
                raise StopStream(chunk)
            return super().run(chunk)

    used = compose(Adding(), tee(Ending(), Ending()))
    used(1), used(1)
    assert has_ended(used)
    other = fresh(used)
    restore(other, state_of(used))
    assert has_ended(other)


def test_the_state_is_not_told_while_chunks_are_on_their_way():
    chain = compose(each_twice, Adding())
    out = chain(1)
    next(out)
    with pytest.raises(StreamError, match="not yet taken"):
        state_of(chain)
    assert list(out) == [2]
    assert state_of(chain)["parts"] == [None, 2]


def test_combinations_look_as_they_are_called():
    assert repr(make_nested()) == (
        "<step compose(tee(totals, compose(totals, abs)), side_by_side(abs, abs))>"
    )
