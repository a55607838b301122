"""Whether a network stands still, from what its parts have told, and what helps."""

from __future__ import annotations

import pytest

from bigpipe.streaming import GraphError
from bigpipe.streaming.graph.network import CALLER, Network, Node
from bigpipe.streaming.graph.stillness import MAX_ROOM, Stillness, Waiting

# 0: source -- n: link 0 --> 1: late -- l: link 2 --> 2: join -- out: link 3 --> caller
#          `------------- n: link 1 -----------------> 2
SOURCE, LATE, JOIN = range(3)
TO_LATE, PAST_IT, FROM_LATE, OUT = range(4)


@pytest.fixture
def fork() -> Stillness:
    nodes = [
        Node("source", "source", None, (), ("n",)),
        Node("late", "step", None, ("n",), ("l",)),
        Node("join", "step", None, ("n", "l"), ("out",)),
    ]
    network = Network(nodes, outputs=["out"])
    assert network.links == [
        *[("n", SOURCE, LATE), ("n", SOURCE, JOIN), ("l", LATE, JOIN), ("out", JOIN, CALLER)]
    ]
    return Stillness(network)


def tell_all(stillness: Stillness, sent: int = 2, taken: int = 2, room: int = 2) -> None:
    """Have each part wait for another: the source for room, the others for elements."""
    words = Waiting(
        to_send=(PAST_IT,), sent={TO_LATE: (sent, sent), PAST_IT: (2, 0)}, room={PAST_IT: room}
    )
    stillness.tell(SOURCE, words)
    stillness.tell(LATE, Waiting((TO_LATE,), taken={TO_LATE: taken}, sent={FROM_LATE: (0, 0)}))
    taken_there = {PAST_IT: 0, FROM_LATE: 0}
    stillness.tell(JOIN, Waiting((FROM_LATE,), taken=taken_there, sent={OUT: (0, 0)}))
    stillness.tell(CALLER, Waiting((OUT,), taken={OUT: 0}))


def test_parts_that_wait_for_one_another_stand_still(fork):
    tell_all(fork)
    assert fork.is_still()


def test_nothing_is_concluded_before_all_have_told(fork):
    tell_all(fork)
    fork.forget(LATE)
    assert not fork.is_still()


def test_element_under_way_to_a_part_that_waits_for_it_will_move_it(fork):
    tell_all(fork, sent=3)
    assert not fork.is_still()


def test_word_under_way_that_there_is_room_will_move_who_waits_for_it(fork):
    tell_all(fork)
    words = Waiting((FROM_LATE,), taken={PAST_IT: 1, FROM_LATE: 0}, sent={OUT: (0, 0)})
    fork.tell(JOIN, words)
    assert not fork.is_still()


@pytest.mark.parametrize("ended", [LATE, JOIN], ids=["who gives", "who takes"])
def test_end_of_a_part_will_move_its_neighbours(fork, ended):
    tell_all(fork)
    fork.end(ended)
    assert not fork.is_still()


def test_what_has_ended_altogether_does_not_stand_still(fork):
    for number in (SOURCE, LATE, JOIN):
        fork.end(number)
    fork.tell(CALLER, Waiting())
    assert not fork.is_still()


def test_who_waits_for_room_is_given_more(fork):
    tell_all(fork)
    assert fork.remedy() == ({SOURCE: [PAST_IT]}, [])


def test_room_has_a_limit(fork):
    tell_all(fork, room=MAX_ROOM)
    with pytest.raises(GraphError, match=r"of the stream 'n' .* 'join' waits for 'l'"):
        fork.remedy()


def loop(kind: str) -> Stillness:
    nodes = [
        Node("source", "source", None, (), ("new",)),
        Node("enter", kind, None, ("new", "again"), ("x",)),
        Node("work", "step", None, ("x",), ("again", "out")),
    ]
    first = {} if kind == "merge" else {"again": (0,)}
    network = Network(nodes, first, ["out"])
    new, back, x, out = range(4)
    assert [stream for stream, _, _ in network.links] == ["new", "x", "again", "out"]
    new, x, back, out = range(4)
    stillness = Stillness(network)
    stillness.end(0)
    stillness.tell(1, Waiting((back,), taken={new: 3, back: 5}, sent={x: (8, 8)}))
    stillness.tell(2, Waiting((x,), taken={x: 8}, sent={back: (5, 5), out: (3, 3)}))
    stillness.tell(CALLER, Waiting((out,), taken={out: 3}))
    assert stillness.is_still()
    return stillness


def test_loop_that_has_run_dry_is_told_its_end_where_it_is_entered():
    assert loop("merge").remedy() == ({}, [1])


def test_loop_that_lacks_an_element_is_an_error():
    with pytest.raises(GraphError, match="'enter' waits for 'again'; 'work' waits for 'x'"):
        loop("step").remedy()
