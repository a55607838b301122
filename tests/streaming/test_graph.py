"""Graphs of stages: what comes out, loops and their ends, and what can never run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigpipe.errors import OptionError
from bigpipe.streaming import Graph, GraphError, StageError, Step
from tests.streaming import stage_steps as steps
from tests.streaming.stage_steps import numbers, square

pytestmark = pytest.mark.usefixtures("no_descriptor_left_behind")

FIBONACCI = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987]


def chain(**options):
    graph = Graph(**options)
    graph.source("numbers", numbers, gives="n")
    return graph


def test_streams_side_by_side_come_and_go_as_tuples(place):
    graph = chain(**place)
    graph.step("halves", steps.both_halves, takes="n", gives=["low", "high"])
    graph.step("squares", square, takes="low", gives="s")
    graph.step("sum", sum, takes=["s", "high"], gives="out")
    graph.output("out")
    assert list(graph) == [(n // 2) ** 2 + n - n // 2 for n in range(10)]


def test_a_stream_goes_to_all_that_take_it(place):
    graph = chain(**place)
    graph.step("squares", square, takes="n", gives="s")
    graph.step("both", list, takes=["n", "s"], gives="out")
    graph.output("out")
    assert list(graph) == [[n, n * n] for n in range(10)]


def test_several_outputs_are_told_apart(place):
    graph = chain(**place)
    graph.switch("parity", is_odd, takes="n", gives={False: "even", True: "odd"})
    graph.output("even", "odd")
    came = list(graph)
    assert [n for stream, n in came if stream == "even"] == [0, 2, 4, 6, 8]
    assert [n for stream, n in came if stream == "odd"] == [1, 3, 5, 7, 9]


def is_odd(n):
    return n % 2 == 1


def test_merge_takes_all_of_each_stream_in_its_order(place):
    graph = chain(**place)
    graph.source("letters", "abcdef", gives="letter")
    graph.merge("all", ["n", "letter"], gives="any")
    graph.output("any")
    came = list(graph)
    assert [each for each in came if isinstance(each, int)] == list(range(10))
    assert [each for each in came if isinstance(each, str)] == list("abcdef")


def test_graph_without_outputs_is_run_for_what_its_stages_do(place, tmp_path):
    graph = chain(**place)
    graph.step("note", steps.Diary(tmp_path / "diary"), takes="n")
    report = graph.run()
    assert report["note"].n_taken == 10
    assert [what for _, what in steps.diary_of(tmp_path / "diary")] == ["init []", "term"]


def test_each_stage_that_takes_a_stream_has_arrays_of_its_own(start_method):
    graph = Graph(start_method=start_method)
    graph.source("arrays", steps.arrays, gives="a")
    graph.step("first", steps.add_one, takes="a", gives="b")
    graph.step("second", steps.add_one, takes="a", gives="c")
    graph.step("same", are_equal, takes=["b", "c"], gives="out")
    graph.output("out")
    assert list(graph) == [True] * 20


def are_equal(pair):
    return all((each["data"] == each["number"] + 1).all() for each in pair)


def test_value_that_no_stream_is_for_is_an_error(place):
    graph = chain(**place)
    graph.switch("parity", is_odd, takes="n", gives={False: "even"})
    graph.output("even")
    with pytest.raises(StageError, match=r"'parity' .* element 1: .* is_odd returned True"):
        list(graph)


def test_none_on_a_branch_is_nothing(place):
    graph = chain(**place)
    graph.step("some", some_on_each, takes="n", gives=["low", "high"])
    graph.output("low", "high")
    came = list(graph)
    assert sorted(came) == [
        *[("high", n) for n in range(5, 10)],
        *[("low", n) for n in range(5)],
    ]


def some_on_each(n):
    return (n, None) if n < 5 else (None, n)


def test_result_that_does_not_fit_the_streams_is_an_error(place):
    graph = chain(**place)
    graph.step("squares", square, takes="n", gives=["a", "b"])
    graph.output("a", "b")
    with pytest.raises(
        StageError, match=r"must return a tuple of 2, .* 'a', 'b', but returned int"
    ):
        list(graph)


def test_streams_of_different_length_are_an_error_unless_allowed(place):
    def joined(**how):
        graph = chain(**place)
        graph.source("few", range(4), gives="f")
        graph.step("sum", sum, takes=["n", "f"], gives="out", **how)
        graph.output("out")
        return list(graph)

    with pytest.raises(StageError, match="'f' ended after 4 elements, but 'n' has more"):
        joined()
    assert joined(strict=False) == [0, 2, 4, 6]


def test_branch_that_holds_back_more_than_prefetch_is_no_deadlock(place):
    graph = Graph(**place)
    graph.source("numbers", range(60), gives="n")
    graph.step("late", steps.held_back(30), takes="n", gives="l")
    graph.step("pair", tuple, takes=["n", "l"], gives="out")
    graph.output("out")
    assert list(graph) == [(n, n) for n in range(60)]


@pytest.mark.process
def test_stage_that_has_ended_with_much_under_way_holds_up_no_other():
    n = 700  # more than a socket takes
    graph = Graph()
    graph.source("numbers", range(n), gives="n")
    graph.step("late", steps.held_back(n), takes="n", gives="l")
    graph.step("later", steps.held_back(n), takes="l", gives="m")
    graph.step("join", list, takes=["n", "l", "m"], gives="out")
    graph.output("out")
    assert list(graph) == [[i, i, i] for i in range(n)]


def test_branches_that_come_apart_for_ever_are_given_up():
    graph = Graph(executor="threads", prefetch=2000)
    graph.source("numbers", steps.forever, gives="n")
    graph.step("nothing", steps.nothing, takes="n", gives="never")
    graph.step("sum", sum, takes=["n", "never"], gives="out")
    graph.output("out")
    with pytest.raises(GraphError, match=r"'n' wait to be taken, .* 'sum' waits for 'never'"):
        list(graph)


def fibonacci(**options):
    graph = Graph(**options)
    graph.begin("before", 0)
    graph.begin("current", 1)
    graph.step("add", sum, takes=["before", "current"], gives="sum")
    graph.step("until 987", steps.until(987), takes="sum", gives="current")
    graph.step("delay", int, takes="current", gives="before")
    graph.output("current")
    return graph


@pytest.mark.parametrize("prefetch", [1, 2])
def test_fibonacci_numbers_end_by_a_step_that_ends_the_stream(place, prefetch):
    assert list(fibonacci(prefetch=prefetch, **place)) == FIBONACCI


def is_large(n):
    return n >= 987


def test_fibonacci_numbers_end_by_a_switch_that_leads_out_of_the_loop(place):
    graph = Graph(**place)
    graph.begin("before", 0)
    graph.begin("current", 1)
    graph.step("add", sum, takes=["before", "current"], gives="sum")
    graph.switch("done", is_large, takes="sum", gives={True: "last", False: "current"})
    graph.step("delay", int, takes="current", gives="before")
    graph.output("current", "last")
    came = list(graph)
    assert [n for stream, n in came if stream == "current"] == FIBONACCI[:-1]
    assert [n for stream, n in came if stream == "last"] == FIBONACCI[-1:]


def halve(x):
    return x / 2


def is_small(x):
    return x < 1


@pytest.mark.parametrize("prefetch", [1, 3])
def test_elements_go_round_a_loop_as_often_as_each_needs(place, prefetch):
    values = [1, 100, 7, 5000, 3, 64]
    graph = Graph(prefetch=prefetch, **place)
    graph.source("values", values, gives="new")
    graph.merge("enter", ["new", "again"], gives="x")
    graph.step("halve", halve, takes="x", gives="half")
    graph.switch("done", is_small, takes="half", gives={True: "out", False: "again"})
    graph.output("out")
    assert sorted(graph) == sorted(x / 2 ** (len(f"{x:b}")) for x in values)


def test_loop_in_a_loop_ends():
    graph = Graph(executor="threads")
    graph.source("values", [40, 41, 42], gives="new")
    graph.merge("outer", ["new", "outer again"], gives="x")
    graph.merge("inner", ["x", "inner again"], gives="y")
    graph.step("less", lambda n: n - 1, takes="y", gives="z")
    graph.switch(
        "way",
        lambda n: "out" if n <= 0 else "outer again" if n % 5 == 0 else "inner again",
        takes="z",
        gives=["out", "outer again", "inner again"],
    )
    graph.output("out")
    assert list(graph) == [0, 0, 0]


def test_last_chunks_of_a_loop_that_has_run_dry_still_arrive(place):
    graph = chain(**place)
    graph.merge("enter", ["n", "again"], gives="x")
    graph.step("pairs", steps.pairs(), takes="x", gives="p")
    graph.switch("done", is_pair, takes="p", gives={True: "out", False: "again"})
    graph.output("out")
    came = list(graph)
    assert sorted(sum(came, ())) == list(range(10))


def is_pair(held):
    return isinstance(held, tuple)


@pytest.mark.parametrize("is_declared_first", [True, False], ids=["before", "after"])
def test_stage_beside_a_loop_takes_its_last_chunks_too(is_declared_first):
    class Down(Step):
        def run(self, n):
            return n - 1

        def local_term(self):
            return 100

    graph = Graph(executor="threads")
    graph.begin("x", 3)
    if is_declared_first:
        graph.step("beside", float, takes="x", gives="seen")
    graph.step("down", Down(), takes="x", gives="less")
    graph.switch("done", is_positive, takes="less", gives={True: "x", False: "out"})
    if not is_declared_first:
        graph.step("beside", float, takes="x", gives="seen")
    graph.step("drop", steps.nothing, takes="out")
    graph.output("seen")
    assert list(graph) == [3, 2, 1, 100]


def is_positive(n):
    return n > 0


def test_loop_that_lacks_an_element_is_an_error_and_no_deadlock(place):
    graph = chain(**place)
    graph.begin("back", 0)
    graph.step("sum", sum, takes=["n", "back"], gives="s")
    graph.step("some", steps.evens_only, takes="s", gives="back")
    graph.output("back")
    with pytest.raises(GraphError, match=r"stands still, .*'sum' waits for 'back'"):
        list(graph)


def test_loop_that_is_left_ends(place):
    graph = Graph(**place)
    graph.begin("n", 0)
    graph.step("next", one_more, takes="n", gives="n")
    graph.output("n")
    for number in graph:
        if number == 5:
            break
    assert graph.report.is_over


def one_more(n):
    return n + 1


@pytest.mark.process
def test_killed_stage_of_a_loop_ends_the_run():
    graph = Graph()
    graph.begin("n", 0)
    graph.step("next", one_more, takes="n", gives="m")
    graph.step("kill", steps.Kill(at=7), takes="m", gives="n")
    graph.output("n")
    with pytest.raises(StageError, match=r"'kill' .* SIGKILL on element 6"):
        list(graph)


def declared(*calls):
    graph = Graph(executor="threads")
    for method, *arguments in calls:
        getattr(graph, method)(*arguments)
    return graph


NUMBERS = ("source", "numbers", numbers, "n")
CANNOT_RUN = {
    "nothing at all": ([], "no stages"),
    "a stream from nowhere": (
        [NUMBERS, ("step", "sum", sum, ["n", "m"], "s"), ("output", "s")],
        "'sum' takes the stream 'm', which no stage gives: use one of 'n', 's'",
    ),
    "a stream taken twice": (
        [NUMBERS, ("step", "sum", sum, ["n", "n"], "s"), ("output", "s")],
        "'sum' takes the stream 'n' twice: take it once",
    ),
    "a stream to nowhere": ([NUMBERS], "no stage takes the stream 'n' of the stage 'numbers'"),
    "a stream given twice": (
        [NUMBERS, ("source", "more", numbers, "n"), ("output", "n")],
        "'n' is given by 'numbers', 'more': .* join them with merge",
    ),
    "an output that is none": (
        [NUMBERS, ("output", "m")],
        "no stage gives the stream 'm'|no stage takes",
    ),
    "a loop without a first element": (
        [
            NUMBERS,
            ("step", "sum", sum, ["n", "back"], "s"),
            ("step", "next", one_more, "s", "back"),
            ("output", "s"),
        ],
        "the loop of 'sum', 'next' can never start: .*Graph.begin",
    ),
    "several streams in parallel": (
        [
            NUMBERS,
            ("source", "more", numbers, "m"),
            ("step", "sum", sum, ["n", "m"], (), 2),
        ],
        "'sum' runs in parallel and takes 2 streams",
    ),
    "a first element in parallel": (
        [("begin", "n", 1), NUMBERS, ("step", "next", one_more, "n", (), 2)],
        "'n' begins with elements, but the stage 'next' that takes it runs in parallel",
    ),
}


@pytest.mark.parametrize(("calls", "words"), CANNOT_RUN.values(), ids=CANNOT_RUN.keys())
def test_graph_that_cannot_run_says_why_before_anything_starts(calls, words):
    def positional(call):
        if call[0] == "step" and len(call) > 5:
            *rest, copies = call
            return rest, copies
        return call, 1

    graph = Graph(executor="threads")
    for call in calls:
        (method, *arguments), copies = positional(call)
        options = {"copies": copies} if copies > 1 else {}
        getattr(graph, method)(*arguments, **options)
    with pytest.raises(GraphError, match=words):
        graph.check()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (("source", "numbers", numbers, "m"), GraphError, "two stages 'numbers'"),
        (("source", "other", 3, "m"), GraphError, "give an iterable, or a function"),
        (("step", "other", 3, "n"), TypeError, "not a step"),
        (("step", "other", square, ()), GraphError, "takes no stream"),
    ],
    ids=["a name twice", "no source", "no step", "no stream"],
)
def test_stage_that_cannot_be_is_refused_at_once(call, error, words):
    graph = declared(NUMBERS)
    method, *arguments = call
    with pytest.raises(error, match=words):
        getattr(graph, method)(*arguments)


def test_option_of_a_diagram_that_cannot_be_is_refused():
    with pytest.raises(OptionError, match="'text' or 'svg'"):
        declared(NUMBERS, ("output", "n")).diagram("png")


# Any graph


@st.composite
def acyclic_graphs(draw):
    """Draw layers of stages; each stream knows what it carries, as a function of the source's."""
    n_elements = draw(st.integers(0, 12))
    graph = Graph(executor="threads", prefetch=draw(st.integers(1, 3)))
    graph.source("source", range(n_elements), gives="s0")
    streams = {"s0": list(range(n_elements))}
    for number in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["map", "parallel", "several", "late", "join", "switch"]))
        name = f"s{number + 1}"
        taken = draw(st.sampled_from(sorted(streams)))
        carried = streams[taken]
        if kind in ("map", "parallel"):
            copies = draw(st.integers(2, 3)) if kind == "parallel" else 1
            graph.step(f"{kind} {number}", repr, takes=taken, gives=name, copies=copies)
            streams[name] = [repr(each) for each in carried]
        elif kind == "several":
            graph.step(f"{kind} {number}", steps.thrice, takes=taken, gives=name)
            streams[name] = [each for each in carried for _ in range(3)]
        elif kind == "late":
            n = draw(st.integers(1, 7))
            graph.step(f"{kind} {number}", steps.held_back(n), takes=taken, gives=name)
            streams[name] = carried[: len(carried) // n * n]
        elif kind == "join":
            other = draw(st.sampled_from(sorted(streams)))
            if other == taken:
                continue
            graph.step(f"{kind} {number}", list, takes=[taken, other], gives=name, strict=False)
            streams[name] = [list(pair) for pair in zip(carried, streams[other], strict=False)]
        else:
            ways = {True: name, False: f"{name} else"}
            graph.switch(f"{kind} {number}", is_of_even_length, takes=taken, gives=ways)
            for key, way in ways.items():
                streams[way] = [each for each in carried if is_of_even_length(each) == key]
    graph.output(*streams)
    return graph, streams


def is_of_even_length(element):
    return len(repr(element)) % 2 == 0


@settings(max_examples=60)
@given(acyclic_graphs())
def test_any_graph_delivers_each_element_once_and_in_order(drawn):
    graph, streams = drawn
    came = {stream: [] for stream in streams}
    has_one = len(streams) == 1
    for each in graph:
        stream, element = ("s0", each) if has_one else each
        came[stream].append(element)
    assert came == streams
