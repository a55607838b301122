"""Keywords that are fresh for each file, here and on their way to other processes."""

from __future__ import annotations

import math
import os
import pickle
import threading
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from bigpipe.sharing.buffers import BuffersLost
from bigpipe.sharing.snapshot import (
    MIN_BUFFER,
    MIN_MAPPED,
    LocalSnapshot,
    Snapshot,
    UnsendableError,
    find_unsendable,
    pickled_for_workers,
)

LARGE = 3 * MIN_BUFFER  # bytes: more than is kept in the pickle


def filled(kwargs):
    snapshot = Snapshot(kwargs)
    snapshot.fill()
    return snapshot


@pytest.fixture(params=[filled, LocalSnapshot])
def make_snapshot(request):
    """Return a function that makes a snapshot of each kind."""
    made = []

    def make(**kwargs):
        made.append(request.param(kwargs))
        return made[-1]

    yield make
    for snapshot in made:
        snapshot.close()


@pytest.fixture
def snapshot_of():
    """Return a function that makes a `Snapshot`, for what it alone does."""
    made = []

    def make(**kwargs):
        made.append(filled(kwargs))
        return made[-1]

    yield make
    for snapshot in made:
        snapshot.close()


class Plain:
    """Has no equality of its own and nothing that pickling would mind."""

    def __init__(self):
        self.count = 0


class OnlyCopyable:
    """Refuses to be pickled."""

    def __init__(self, count=0):
        self.count = count

    def __reduce_ex__(self, protocol):
        raise TypeError("not me")

    def __deepcopy__(self, memo):
        return OnlyCopyable(self.count)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, "", "text", b"bytes", 1.5, 2j, (), (1, ("a", None))),
        *([], {}, [1, [2]], {"a": {"b": 1}}, {1, 2}, OrderedDict(a=1), bytearray(b"x"), 1 << 80),
    ],
    ids=repr,
)
def test_keywords_come_back_as_they_were(make_snapshot, value):
    assert make_snapshot(x=value).fresh() == {"x": value}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(10),
        np.arange(LARGE, dtype=np.uint8),
        np.ones((300, 200), dtype=np.float32, order="F"),
        np.arange(2 * LARGE, dtype=np.int64)[::2],
        np.zeros((0, 3)),
        np.array(["a", None], dtype=object),
    ],
    ids=["small", "large", "Fortran order", "strided", "empty", "objects"],
)
def test_arrays_come_back_as_they_were(make_snapshot, array):
    fresh = make_snapshot(x=array).fresh()["x"]
    np.testing.assert_array_equal(fresh, array)
    assert fresh.dtype == array.dtype
    assert fresh is not array


def test_several_large_arrays_are_not_mixed_up(make_snapshot):
    arrays = [np.full(LARGE + i, i, dtype=np.uint8) for i in range(4)]
    fresh = make_snapshot(arrays=arrays, last=arrays[3][::-1]).fresh()
    for before, after in zip(arrays, fresh["arrays"], strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("n_bytes", [100, LARGE], ids=["small", "large"])
def test_array_that_is_written_into_is_fresh_the_next_time(make_snapshot, n_bytes):
    array = np.zeros(n_bytes, dtype=np.uint8)
    snapshot = make_snapshot(x=array)
    snapshot.fresh()["x"][:] = 7
    assert not snapshot.fresh()["x"].any()
    assert not array.any()


def test_what_the_caller_does_to_an_array_later_is_not_seen(make_snapshot):
    array = np.zeros(LARGE, dtype=np.uint8)
    snapshot = make_snapshot(x=array)
    array[:] = 7
    assert not snapshot.fresh()["x"].any()


def test_two_fresh_arrays_may_be_used_at_once(make_snapshot):
    snapshot = make_snapshot(x=np.zeros(LARGE, dtype=np.uint8))
    first, second = snapshot.fresh()["x"], snapshot.fresh()["x"]
    first[:] = 1
    second[:] = 2
    assert (first == 1).all()


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([], lambda x: x.append(1)),
        ({}, lambda x: x.update(a=1)),
        ({"deep": [[]]}, lambda x: x["deep"][0].append(1)),
        (([],), lambda x: x[0].append(1)),
        (set(), lambda x: x.add(1)),
    ],
    ids=["list", "dict", "deep", "in a tuple", "set"],
)
def test_containers_are_fresh_however_deep_they_are_changed(make_snapshot, value, change):
    snapshot = make_snapshot(x=value)
    before = repr(value)
    change(snapshot.fresh()["x"])
    assert repr(snapshot.fresh()["x"]) == before
    assert repr(value) == before


def test_objects_are_fresh(make_snapshot):
    snapshot = make_snapshot(x=Plain())
    snapshot.fresh()["x"].count += 1
    assert snapshot.fresh()["x"].count == 0


def test_one_object_under_two_names_stays_one_object(make_snapshot):
    shared = [1]
    fresh = make_snapshot(a=shared, b=shared).fresh()
    assert fresh["a"] is fresh["b"]


@pytest.mark.parametrize(
    "function", [math.sqrt, lambda x: x + 1, len, OrderedDict], ids=["C", "lambda", "len", "class"]
)
def test_functions_come_back_able_to_be_called(make_snapshot, function):
    assert make_snapshot(f=function, fs=[function]).fresh()["f"] is function


def test_fresh_keywords_are_a_new_dict_each_time(make_snapshot):
    snapshot = make_snapshot(a=1)
    snapshot.fresh()["b"] = 2
    assert snapshot.fresh() == {"a": 1}


# On the way to other processes.


def sent(snapshot: Snapshot) -> Snapshot:
    """Return what another process would have of it."""
    there = pickle.loads(pickle.dumps(snapshot))
    there.fd = os.dup(snapshot.fd)
    return there


def test_snapshot_can_be_sent_with_its_descriptor_beside_it(snapshot_of):
    snapshot = snapshot_of(x=np.arange(LARGE), y=[1])
    there = sent(snapshot)
    snapshot.close()
    np.testing.assert_array_equal(there.fresh()["x"], np.arange(LARGE))
    there.close()


def test_large_arrays_are_not_in_the_pickle(snapshot_of):
    snapshot = snapshot_of(x=np.zeros(10 * LARGE, dtype=np.uint8))
    assert len(pickle.dumps(snapshot)) < 2000


def test_large_arrays_are_aligned_as_libraries_expect(snapshot_of):
    fresh = snapshot_of(x=[np.zeros(LARGE + i, dtype=np.uint8) for i in range(3)]).fresh()
    assert all(array.ctypes.data % 64 == 0 for array in fresh["x"])


def test_what_one_process_writes_the_other_does_not_see(snapshot_of):
    snapshot = snapshot_of(x=np.zeros(LARGE, dtype=np.uint8))
    there = sent(snapshot)
    there.fresh()["x"][:] = 7
    assert not snapshot.fresh()["x"].any()
    there.close()


def test_function_made_inside_a_function_can_be_sent(snapshot_of):
    offset = 5
    snapshot = snapshot_of(fs=[lambda x: x + offset])
    [function] = snapshot.fresh()["fs"]
    assert function(1) == 6


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), [threading.Lock()], OnlyCopyable(), (x for x in ())],
    ids=["lock", "deep", "refuses", "generator"],
)
def test_keyword_that_cannot_be_sent_is_named_with_the_remedy(value):
    with pytest.raises(UnsendableError, match=r"'bad'.*threads") as raised:
        Snapshot({"good": [1], "bad": value, "fine": {}})
    assert raised.value.__cause__ is not None


def test_keyword_that_cannot_be_sent_leaves_no_descriptor_open():
    before = psutil.Process().num_fds()
    with pytest.raises(UnsendableError):
        Snapshot({"x": np.zeros(LARGE), "bad": threading.Lock()})
    assert psutil.Process().num_fds() == before


def test_closing_twice_is_harmless(snapshot_of):
    snapshot = snapshot_of(x=1)
    snapshot.close()
    snapshot.close()


@pytest.mark.parametrize("name", ["attribute", "keyword"])
def test_what_of_a_pipeline_cannot_be_sent_is_named(name):
    lock = threading.Lock()
    pipe = SimpleNamespace(fine=1, attribute=lock if name == "attribute" else 2)
    control = {"also_fine": [1], "keyword": (lambda x: lock) if name == "keyword" else 2}
    with pytest.raises(UnsendableError, match=f"'{name}'.*worker_init"):
        pickled_for_workers([pipe, control], pipe, control)


def test_first_object_that_cannot_be_sent_is_found():
    name, reason = find_unsendable({"a": 1, "b": threading.Lock(), "c": threading.Lock()})
    assert name == "b"
    assert "lock" in reason


# Here.


@pytest.mark.parametrize("value", [os, Plain, len], ids=["module", "class", "builtin"])
def test_here_modules_classes_and_functions_are_handed_on_themselves(value):
    assert LocalSnapshot({"x": [value]}).fresh()["x"][0] is value


def test_here_what_is_beside_a_module_is_fresh():
    snapshot = LocalSnapshot({"x": [os, []]})
    snapshot.fresh()["x"][1].append(1)
    assert snapshot.fresh()["x"] == [os, []]


def test_here_what_can_only_be_copied_is_copied():
    snapshot = LocalSnapshot({"x": OnlyCopyable(), "y": [1]})
    snapshot.fresh()["x"].count += 1
    snapshot.fresh()["y"].append(2)
    assert snapshot.fresh()["x"].count == 0
    assert snapshot.fresh()["y"] == [1]


def test_here_what_can_be_neither_pickled_nor_copied_is_shared():
    lock = threading.Lock()
    snapshot = LocalSnapshot({"lock": lock, "y": [1]})
    assert snapshot.fresh()["lock"] is lock
    snapshot.fresh()["y"].append(2)
    assert snapshot.fresh()["y"] == [1]


def test_here_objects_of_a_class_inside_a_function_are_fresh():
    class Local(SimpleNamespace):
        pass

    snapshot = LocalSnapshot({"x": Local(items=[])})
    fresh = snapshot.fresh()["x"]
    fresh.items.append(1)
    assert type(fresh) is Local
    assert snapshot.fresh()["x"].items == []


def test_here_closing_gives_up_the_descriptor_and_what_nobody_holds():
    before = psutil.Process().num_fds()
    snapshot = LocalSnapshot({"x": np.zeros(2 * MIN_MAPPED, dtype=np.uint8)})
    held = snapshot.fresh()["x"]
    snapshot.close()
    snapshot.close()
    assert not held.any()
    del held  # which has kept its mapping, and that a descriptor
    assert psutil.Process().num_fds() == before
    with pytest.raises(BuffersLost):
        snapshot.fresh()


def test_here_memory_goes_with_a_snapshot_that_is_not_closed():
    before = psutil.Process().num_fds()
    snapshot = LocalSnapshot({"x": np.zeros(2 * MIN_MAPPED, dtype=np.uint8)})
    snapshot.fresh()
    del snapshot
    assert psutil.Process().num_fds() == before
