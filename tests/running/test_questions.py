"""Workers that ask for names, and wait for one another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bigpipe.claims.register import Claims
from bigpipe.executors.base import Asked
from bigpipe.running.questions import Questions


@pytest.fixture
def claims():
    """A register in which file 0 has out/a, and file 1 out/b."""
    claims = Claims(lambda in_name: f"out/{in_name}", ["a", "b"])
    claims.grant([(0, "a"), (1, "b")])
    yield claims
    claims.close()


@pytest.fixture
def answers():
    return []


@pytest.fixture
def questions(claims, answers):
    """Worker 10 has file 0, worker 11 file 1; what is taken back is named in the answers."""
    return Questions(
        claims,
        SimpleNamespace(n_begun=1, answer=lambda *answer: answers.append(answer)),
        ["a", "b"].__getitem__,
        {0: 10, 1: 11}.get,
        lambda worker: answers.append(("recall", worker)) or [],
    )


def test_name_that_a_file_in_flight_may_write_yet_is_not_given_nor_refused(questions, answers):
    questions.ask(Asked(11, 1, "out/a", False))
    assert answers == [("recall", 10)]


@pytest.mark.parametrize(
    ("wrote", "refusal"), [(False, ""), (True, "would both be written")], ids=["free", "taken"]
)
def test_end_of_a_file_decides_for_who_waits_for_it(questions, claims, answers, wrote, refusal):
    questions.ask(Asked(11, 1, "out/a", False))
    claims.finish([(0, wrote)])
    questions.ask_again((0,))
    assert answers[1][:2] == (11, 1)
    assert refusal in answers[1][2]
    assert bool(refusal) == bool(answers[1][2])


def test_file_that_leads_elsewhere_lets_go_who_waits_for_its_name(questions, answers):
    questions.ask(Asked(11, 1, "out/a", False))
    questions.ask(Asked(10, 0, "out/c", False))
    assert answers[1:] == [(10, 0, ""), (11, 1, "")]


def test_worker_that_has_the_file_no_more_is_not_answered(questions, answers):
    questions.ask(Asked(12, 0, "out/c", False))
    assert not answers
