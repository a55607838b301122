"""A stream through steps: its beginning and its end, whatever happens; streams side by side."""

from __future__ import annotations

import pytest

from bigpipe.streaming import Step, StopStream, StreamError, run_steps, step, zip_streams

LIFE = []  # of steps, which are copied, so that they cannot keep it themselves


@pytest.fixture(autouse=True)
def _new_life():
    LIFE.clear()


class Counted(Step):
    """Notes its life, and gives the number of its chunks in the end."""

    def local_init(self, **kwargs):
        LIFE.append(("init", kwargs))
        self.count = 0

    def run(self, chunk):
        self.count += 1
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def local_term(self):
        LIFE.append("term")
        return f"{self.count} chunks"


@step
def pairs():
    kept, out = [], None
    try:
        while True:
            kept.append((yield out))
            out = None
            if len(kept) == 2:
                out, kept = tuple(kept), []
    except GeneratorExit:
        return tuple(kept) or None


def test_what_comes_out_is_flat_and_ends_with_the_last_chunks():
    assert list(run_steps("abc", pairs(), Counted())) == [("a", "b"), ("c",), "2 chunks"]


class FailsTwice(Step):
    """Fails, and then fails again when it is closed."""

    def run(self, chunk):
        raise ValueError("why")

    def local_term(self):
        raise AttributeError("its consequence")


THEN = "Then, while closing: AttributeError: its consequence"


@pytest.mark.parametrize("steps", [[FailsTwice(), abs], [abs, FailsTwice()]], ids=["first", "last"])
def test_error_of_a_step_is_raised_and_notes_that_of_its_end(steps):
    with pytest.raises(ValueError, match="why") as caught:
        list(run_steps([1], *steps))
    assert caught.value.__notes__[1:] == [THEN]


def test_error_of_a_step_is_raised_though_that_of_its_end_has_no_text():
    class Mute(Exception):
        def __str__(self):
            raise TypeError("no text")

    class FailsMutely(FailsTwice):
        def local_term(self):
            raise Mute

    with pytest.raises(ValueError, match="why") as caught:
        list(run_steps([1], FailsMutely()))
    assert "Mute: <no text: its __str__ raised TypeError>" in caught.value.__notes__[-1]


def test_error_in_a_block_notes_that_of_the_end_of_its_step():
    with pytest.raises(ValueError, match="why") as caught, FailsTwice() as failing:
        failing(1)
    assert caught.value.__notes__ == [THEN]


def test_error_of_an_end_is_raised_when_the_stream_is_closed():
    class FailsInTheEnd(FailsTwice):
        def run(self, chunk):
            return chunk

    stream = run_steps([1, 2], FailsInTheEnd())
    next(stream)
    with pytest.raises(AttributeError, match="its consequence"):
        stream.close()


def test_the_same_steps_serve_for_many_streams():
    steps = [pairs(), Counted()]
    assert list(run_steps("ab", *steps)) == [("a", "b"), "1 chunks"]
    one, two = run_steps("ab", *steps), run_steps("cd", *steps)
    assert [next(one), next(two), *one, *two] == [
        *(("a", "b"), ("c", "d")),
        *("1 chunks", "1 chunks"),
    ]


def test_keywords_reach_local_init_once_and_no_earlier_than_the_first_chunk_is_wanted():
    stream = run_steps([1, 2], Counted(), chunks=3)
    assert LIFE == []
    assert list(stream) == [1, 2, "2 chunks"]
    assert LIFE == [("init", {"chunks": 3}), "term"]


def test_an_empty_stream_begins_and_ends_its_steps():
    assert list(run_steps([], Counted())) == ["0 chunks"]
    assert LIFE == [("init", {}), "term"]


def test_none_in_a_stream_is_skipped_and_an_iterator_stands_for_its_chunks():
    assert list(run_steps([1, None, iter([2, None, 3])], Counted())) == [1, 2, 3, "3 chunks"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_a_step_ends_all_steps_and_no_last_chunk_comes(error):
    got = []
    with pytest.raises(error):
        got.extend(run_steps([1, error("stop")], Counted(), Counted()))
    assert got == [1]
    assert LIFE.count("term") == 2


def test_an_error_in_the_source_ends_all_steps():
    def source():
        yield 1
        raise OSError("torn tape")

    stream = run_steps(source(), Counted())
    assert next(stream) == 1
    with pytest.raises(OSError, match="torn tape") as caught:
        next(stream)
    assert LIFE[-1] == "term"
    assert not hasattr(caught.value, "__notes__")


def test_a_loop_that_ends_early_ends_all_steps():
    for _ in run_steps([1, 2, 3], Counted()):
        break
    assert LIFE[-1] == "term"


def test_a_source_that_is_no_iterator_is_closed_when_the_loop_ends_early():
    closed = []

    class Source:
        def __iter__(self):
            try:
                yield from range(10)
            finally:
                closed.append(1)

    stream = run_steps(Source(), abs)
    next(stream)
    stream.close()
    assert closed == [1]


def test_a_source_that_is_an_iterator_can_be_gone_on_with():
    source = (n for n in range(3))
    stream = run_steps(source, abs)
    next(stream)
    stream.close()
    assert list(source) == [1, 2]


def test_no_more_is_taken_from_the_source_when_a_step_has_ended():
    def until_2(chunk):
        if chunk == 2:
            raise StopStream
        return chunk

    source = iter(range(10))
    assert list(run_steps(source, pairs(), lambda pair: pair[0], until_2, Counted())) == [
        *(0, "1 chunks")
    ]
    assert list(source) == [4, 5, 6, 7, 8, 9]


def test_an_error_names_the_step_and_the_chunk():
    with pytest.raises(ZeroDivisionError) as caught:
        list(run_steps([1, 0], lambda chunk: 1 // chunk))
    assert caught.value.__notes__ == ["In step 1 of 1, <lambda>, chunk 1, counted from 0."]


def test_streams_side_by_side_must_be_equally_long():
    stream = zip_streams("abc", [1, 2], "def")
    assert [next(stream), next(stream)] == [("a", 1, "d"), ("b", 2, "e")]
    with pytest.raises(
        StreamError, match="stream 1 of 3 ended after 2 chunks, but stream 0 has more"
    ):
        next(stream)


def test_a_filling_stands_for_what_is_missing():
    assert list(zip_streams("ab", "c", fill=None)) == [("a", "c"), ("b", None)]
    assert list(zip_streams()) == list(zip_streams([], [])) == []
