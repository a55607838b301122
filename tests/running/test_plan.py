"""The inputs of a run, checked and numbered before it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bigpipe.errors import BigpipeWarning, InNamesError
from bigpipe.options import Options
from bigpipe.running.plan import Plan, checked_in_names, plain


@pytest.mark.parametrize("in_names", [[], ["a"], ("a",), iter("ab")])
def test_inputs_that_are_many_are_taken_as_they_are(in_names):
    assert checked_in_names(in_names) is in_names


@pytest.mark.parametrize("in_names", [{"a"}, {"a": 1}.keys(), np.array(["a"])], ids=repr)
def test_collections_of_any_kind_are_taken_as_lists(in_names):
    assert checked_in_names(in_names) == ["a"]


def test_dict_of_groups_is_doubted(tmp_path):
    with pytest.warns(BigpipeWarning, match=r"give list\(groups\.values\(\)\)"):
        assert checked_in_names({"V": ["a", "b"], "R": ("c",)}) == ["V", "R"]
    (tmp_path / "a").touch()
    for in_names in ({}, {"a": 1}, {"V": ["a"], "R": None}, {tmp_path / "a": ["its", "tags"]}):
        assert checked_in_names(in_names) == list(in_names)


@pytest.mark.parametrize("in_names", ["a", b"a", Path("a"), np.str_("a")], ids=repr)
def test_one_name_is_refused_and_shown_in_a_list(in_names):
    with pytest.raises(InNamesError) as raised:
        checked_in_names(in_names)
    assert f"[{in_names!r}]" in str(raised.value)


@pytest.mark.parametrize("in_names", [None, 3, np.array("a"), len])
def test_what_is_not_many_is_refused_by_its_type(in_names):
    with pytest.raises(InNamesError, match=type(in_names).__name__):
        checked_in_names(in_names)


@pytest.mark.parametrize(
    ("in_name", "expected"),
    [
        ("a", "a"),
        (np.str_("a"), "a"),
        (Path("a"), Path("a")),
        (np.array(["a", "b"]), ["a", "b"]),
        ([np.str_("a"), [np.str_("b")]], ["a", ["b"]]),
        (7, 7),
        (np.int64(7), 7),
    ],
    ids=repr,
)
def test_names_of_numpy_become_pythons_own(in_name, expected):
    made = plain(in_name)
    assert made == expected
    assert type(made) is type(expected)


def test_group_is_a_list_of_the_runs_own():
    group = ["a", ["b"]]
    made = plain(group)
    made[1].append("c")
    assert group == ["a", ["b"]]


@pytest.mark.parametrize(
    ("in_names", "n_files"), [(["a", "b"], 2), (np.array(["a"]), 1), (iter("ab"), None)]
)
def test_number_of_inputs_is_known_where_that_needs_no_reading(in_names, n_files):
    assert Plan(in_names, Options(), {}, None).n_files == n_files
