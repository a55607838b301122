"""Usual names that cannot collide: nothing is registered before a name is asked for."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.claims import usual_names
from bigpipe.claims.register import Answer, Claims
from bigpipe.claims.usual_names import UsualNames

IN_NAMES = ["a/x", "b/y", "c/z"]
FREE = Answer()


def default_name(in_name):
    return f"out/{os.path.basename(in_name)}"


@pytest.fixture
def claims():
    claims = Claims(default_name, IN_NAMES)
    yield claims
    claims.close()


steps = st.tuples(
    st.sampled_from(["grant", "claim", "finish", "withdraw"]),
    st.integers(0, len(IN_NAMES) - 1),
    st.sampled_from(["out/x", "out/y", "out/z", "out/elsewhere"]),
    st.booleans(),
)


@given(st.lists(steps, max_size=20))
def test_answers_are_those_of_a_register_that_has_every_name_at_once(steps):
    lazy, eager = Claims(default_name, IN_NAMES), Claims(default_name, deque(IN_NAMES))
    at_work, has_ended = set(), set()
    for what, index, outname, flag in steps:
        in_name = IN_NAMES[index]
        if what == "grant" and index not in at_work | has_ended:
            at_work.add(index)
            assert lazy.grant([(index, in_name)]) == eager.grant([(index, in_name)])
        elif what == "claim" and index in at_work:
            question = (index, in_name, outname, flag)
            assert lazy.claim(*question) == eager.claim(*question)
        elif what == "finish" and index in at_work:
            at_work.remove(index)
            has_ended.add(index)
            for register in (lazy, eager):
                register.finish([(index, flag)])
        elif what == "withdraw" and index in at_work:
            at_work.remove(index)
            for register in (lazy, eager):
                register.withdraw(index)
    assert lazy.taken() == eager.taken()
    lazy.close()
    eager.close()


def test_name_that_was_written_before_anybody_asked_is_refused(claims):
    claims.grant([(0, "a/x"), (1, "b/y")])
    claims.finish([(0, True)])
    refusal = claims.claim(1, "b/y", "out/x", exists=True).refusal
    assert "'b/y' and 'a/x' would both be written to 'out/x'" in refusal


def test_file_that_cannot_be_handed_out_frees_nothing(claims):
    claims.grant([(0, "a/x")])
    claims.finish([(1, False), (7, False)])
    assert claims.claim(2, "c/z", "out/y", exists=False) == FREE
    assert claims.claim(1, "b/y", "out/x", exists=False) == Answer(wait_for=0)


def test_names_are_those_of_the_inputs_as_they_were():
    in_names = [*IN_NAMES]
    claims = Claims(default_name, in_names)
    claims.grant([(0, "a/x")])
    in_names[:] = ["d/y", "d/x"]
    files = [(1, in_names[1]), (2, "d/w"), (3, "e/y")]
    assert claims.grant(files) == [None, "out/w", "out/y"]
    assert claims.claim(1, "d/x", "out/x", exists=False) == Answer(wait_for=0)
    claims.close()


def test_folder_is_that_of_the_beginning(claims, tmp_path, monkeypatch):
    before = Path.cwd()
    claims.grant([(0, "a/x")])
    monkeypatch.chdir(tmp_path)
    assert claims.claim(1, "b/y", f"{before}/out/x", exists=False) == Answer(wait_for=0)


@pytest.mark.parametrize(
    "in_names",
    [[], ["a/x", "b/x"], ["a/x", ["b/y"]], iter(["a/x"]), None],
    ids=["none", "one name", "a group", "an iterator", "one by one"],
)
def test_names_are_registered_at_once_if_they_are_not_known_to_differ(in_names):
    assert UsualNames.of(default_name, in_names) is None


def test_names_in_several_folders_may_be_one():
    assert UsualNames.of(lambda in_name: in_name, ["a/x", "b/y"]) is None


def test_only_so_many_names_are_kept(monkeypatch):
    monkeypatch.setattr(usual_names, "MAX_NAMES", 2)
    assert UsualNames.of(default_name, IN_NAMES) is None
    assert UsualNames.of(default_name, IN_NAMES[:2]) is not None
