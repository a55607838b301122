from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from bigpipe.context import FileContext, enter
from bigpipe.steps import (
    bmp_cleanup,
    for_each_member,
    multi_logging,
    multi_proc,
    no_outfile,
)


def test_marked_keys_are_removed_by_the_call_without_add() -> None:
    meta = {"large": 1, "larger": 2, "largest": 3, "kept": 4}
    assert bmp_cleanup("data", bmp_meta=meta, add="large") == "data"
    bmp_cleanup("data", bmp_meta=meta, add=["larger", "largest"])
    assert {"large", "larger", "largest", "kept"} < set(meta)
    assert bmp_cleanup("data", bmp_meta=meta) == "data"
    assert meta == {"kept": 4}


def test_key_marked_twice_never_set_or_gone_is_no_error() -> None:
    meta = {"twice": 1, "gone": 2}
    bmp_cleanup(None, bmp_meta=meta, add=["twice", "twice", "never"])
    bmp_cleanup(None, bmp_meta=meta, add=["twice", "gone"])
    del meta["gone"]
    bmp_cleanup(None, bmp_meta=meta)
    assert meta == {}
    bmp_cleanup(None, bmp_meta=meta)
    assert meta == {}


def test_metadata_alone_may_be_given_as_the_first_argument() -> None:
    meta = {"large": 1, "kept": 2}
    bmp_cleanup(meta, add="large")
    bmp_cleanup("data", bmp_meta=meta)
    assert meta == {"kept": 2}


def test_data_that_is_a_dict_is_not_taken_for_metadata() -> None:
    data, meta = {"image": 1}, {}
    assert bmp_cleanup(data, bmp_meta=meta, add="image") is data
    bmp_cleanup(data, bmp_meta=meta)
    assert (data, meta) == ({"image": 1}, {})


def test_list_of_keys_of_the_caller_is_not_changed() -> None:
    keys, meta = ["a"], {"a": 1, "b": 2}
    bmp_cleanup(None, bmp_meta=meta, add=keys)
    bmp_cleanup(None, bmp_meta=meta, add="b")
    assert keys == ["a"]


def test_nothing_is_done_without_metadata() -> None:
    assert bmp_cleanup("data", bmp_meta=None, add="key") == "data"
    assert bmp_cleanup(None, add="key") is None


def test_marked_keys_stay_with_no_bmp_cleanup() -> None:
    meta = {"large": 1}
    bmp_cleanup(None, meta, "large")
    bmp_cleanup(None, bmp_meta=meta, no_bmp_cleanup=True, outdir="out")
    assert meta["large"] == 1


def test_messages_of_a_level_are_collected_in_order() -> None:
    meta: dict[str, Any] = {"sky": 1}
    multi_logging("warning", meta, "first")
    multi_logging("info", meta, "other")
    multi_logging("warning", meta, "second")
    assert meta == {"sky": 1, "warning": ["first", "second"], "info": ["other"]}


def test_no_outfile_returns_none_whatever_it_is_given() -> None:
    assert no_outfile([1], bmp_meta={"a": 1}, outdir="out") is None


def scale(x: Any, factor: int = 1, **kwargs: Any) -> Any:
    return x * factor


def test_function_is_applied_to_each_element() -> None:
    assert multi_proc(scale)([1, 2], factor=3) == [3, 6]


def test_keywords_at_the_call_win_over_those_at_creation() -> None:
    scaled = multi_proc(scale, factor=2)
    assert scaled([1]) == [2]
    assert scaled([1], factor=5) == [5]
    assert scaled([1]) == [2]


def test_nested_lists_are_gone_through_with_element_type() -> None:
    scaled = multi_proc(scale, element_type=int, factor=2)
    assert scaled([1, [2, (3, [])], 4]) == [2, [4, [6, []]], 8]


def test_lists_are_elements_without_element_type() -> None:
    assert multi_proc(len)([[1, 2], [3]]) == [2, 1]


def test_element_of_another_type_is_named() -> None:
    with pytest.raises(TypeError, match=r"multi_proc\(scale\) found an element of type str"):
        multi_proc(scale, int)([1, "ab"])


def test_multi_proc_of_a_picklable_function_can_be_pickled() -> None:
    scaled = pickle.loads(pickle.dumps(multi_proc(scale, int, factor=2)))
    assert scaled([[1], 2]) == [[2], 4]
    assert scaled.__name__ == "multi_proc(scale)"
    assert repr(scaled) == "<multi_proc(scale)>"
    assert copy.deepcopy(scaled)([1]) == [2]


@for_each_member
def named(data: Any, in_name: Any = None, factor: int = 1, **kwargs: Any) -> Any:
    """Say what was given."""
    return None if data is None or data < 0 else (in_name, data * factor)


NAMES = ["a", "b", "c"]


def test_each_member_is_given_with_its_name_and_the_keywords() -> None:
    assert named([1, 2, 3], in_name=NAMES, factor=2) == [("a", 2), ("b", 4), ("c", 6)]


def test_nested_members_are_given_with_their_names() -> None:
    result = named([1, [2, [3]]], in_name=["a", ["b", ["c"]]])
    assert result == [("a", 1), [("b", 2), [("c", 3)]]]


def test_data_that_is_no_list_is_given_as_it_is() -> None:
    assert named(1, in_name="a") == ("a", 1)
    assert named(data=1, in_name="a") == ("a", 1)
    assert named(None) is None


def test_data_given_by_keyword_is_applied_to_each_member_too() -> None:
    assert named(data=[1, 2], in_name=["a", "b"]) == [("a", 1), ("b", 2)]


def test_list_subclass_is_one_data() -> None:
    class Extensions(list[int]):
        pass

    @for_each_member
    def count(data: Any, **kwargs: Any) -> Any:
        return len(data)

    assert count(Extensions([1, 2])) == 2
    assert count([Extensions([1, 2]), Extensions([3])]) == [2, 1]


def test_plain_list_whose_one_name_is_known_is_one_data() -> None:
    @for_each_member
    def count(data: Any, in_name: Any = None, **kwargs: Any) -> Any:
        return (in_name, len(data))

    assert count([[1, 2], [3]], in_name=["a", "b"]) == [("a", 2), ("b", 1)]


def test_data_made_of_a_whole_subgroup_gets_all_its_names() -> None:
    assert named([1, 2], in_name=["a", ["b", "c"]]) == [("a", 1), (["b", "c"], 2)]


@pytest.mark.parametrize("in_name", [None, "a", ["a"], ["a", "b", "c"]], ids=str)
def test_name_is_none_where_names_do_not_fit(in_name: Any) -> None:
    assert named([1, 2], in_name=in_name) == [(None, 1), (None, 2)]


def test_names_of_another_nesting_do_not_fit() -> None:
    assert named([[1, 2], 3], in_name=[["a"], "b"]) == [[(None, 1), (None, 2)], (None, 3)]


def test_none_drops_a_member_and_the_callers_names_stay() -> None:
    names = list(NAMES)
    assert named([1, -1, 3], in_name=names) == [("a", 1), ("c", 3)]
    assert names == NAMES


def test_none_for_all_members_rejects() -> None:
    assert named([-1, -2], in_name=["a", "b"]) is None
    assert named([[-1], [-2, -3]]) is None


def test_subgroup_without_members_left_is_dropped() -> None:
    assert named([[-1], [2]], in_name=[["a"], ["b"]]) == [[("b", 2)]]


def test_empty_group_stays_empty() -> None:
    assert named([]) == []
    assert named([[], [1]]) == [[], [(None, 1)]]


def test_dropped_names_leave_the_file_being_processed() -> None:
    in_name = ["a", ["b", "c"], ["d"], "e"]
    with enter(FileContext(in_name)) as file:
        members = file.members
        assert named([1, [2, -1], [-1], 5]) == [("a", 1), [("b", 2)], ("e", 5)]
        assert file.members is members
        assert file.members == ["a", ["b"], "e"]
        assert named([1, [2], 3], in_name=in_name) == [("a", 1), [("b", 2)], ("e", 3)]
        assert named([-1, [-1], -1]) is None
        assert file.members == []
    assert in_name == ["a", ["b", "c"], ["d"], "e"]


def test_names_given_are_used_where_those_of_the_file_do_not_fit() -> None:
    with enter(FileContext(["x", "y"])) as file:
        assert named([1, 2, -1], in_name=NAMES) == [("a", 1), ("b", 2)]
        assert file.members == ["x", "y"]
    with enter(FileContext("x")):
        assert named([1, 2, 3], in_name=NAMES) == [("a", 1), ("b", 2), ("c", 3)]


def test_names_stay_if_the_function_raises_for_a_later_member() -> None:
    with enter(FileContext(["a", "b"])) as file:
        with pytest.raises(TypeError):
            named([-1, "text"])
        assert file.members == ["a", "b"]


@for_each_member
def with_keywords(data: Any, in_name: Any = None, **kwargs: Any) -> Any:
    if data == 0:
        return {"bmp_data": None, "bmp_kwargs": {"dropped": True}}
    if data == 9:
        return {"other": "dict"}
    if data == 8:
        return {"bmp_data": data}
    return {"bmp_data": data, "bmp_kwargs": {f"of_{in_name}": data, "last": data}}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            [1, 0, 3],
            {"bmp_data": [1, 3], "bmp_kwargs": {"of_a": 1, "of_c": 3, "last": 3}},
            id="merged",
        ),
        pytest.param([9, 9, 0], [{"other": "dict"}, {"other": "dict"}], id="other-dicts-are-data"),
        pytest.param(
            [8, 9, 9],
            {"bmp_data": [8, {"other": "dict"}, {"other": "dict"}], "bmp_kwargs": {}},
            id="none-given",
        ),
        pytest.param([0, 0, 0], None, id="all-dropped"),
    ],
)
def test_keywords_of_members_are_returned_in_one_dict(data: list[int], expected: Any) -> None:
    assert with_keywords(data, in_name=NAMES) == expected


def test_keywords_of_nested_members_are_returned_in_one_dict() -> None:
    result = with_keywords([[1], 2], in_name=[["a"], "b"])
    assert result == {"bmp_data": [[1], 2], "bmp_kwargs": {"of_a": 1, "last": 2, "of_b": 2}}


class Pipe:
    factor = 10

    @for_each_member
    def data_process(self, image: Any, in_name: Any = None, **kwargs: Any) -> Any:
        return (in_name, image * self.factor)

    @classmethod
    @for_each_member
    def of_class(cls, data: Any, **kwargs: Any) -> Any:
        return data * cls.factor

    @staticmethod
    @for_each_member
    def of_none(data: Any, **kwargs: Any) -> Any:
        return data + 1


def test_methods_are_applied_to_each_member() -> None:
    pipe = Pipe()
    assert pipe.data_process([1, 2], in_name=["a", "b"]) == [("a", 10), ("b", 20)]
    assert pipe.data_process(image=[1]) == [(None, 10)]
    assert pipe.data_process(3) == (None, 30)
    assert pipe.of_class([1, 2]) == [10, 20]
    assert pipe.of_none([1, 2]) == [2, 3]


def test_decorated_function_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(named)) is named
    assert named.__name__ == "named"
    assert named.__doc__ == "Say what was given."


def add_one(x: int) -> int:
    return x + 1


@pytest.mark.parametrize("function", [add_one, (1).__add__, int], ids=["def", "C", "type"])
def test_function_that_takes_no_in_name_is_given_none(function: Callable[..., Any]) -> None:
    expected = [function(1), function(2)]
    assert for_each_member(function)([1, 2]) == expected
