"""Objects taken apart and made again: what is laid aside, and what comes back."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest

from bigpipe.errors import UnsendableError
from bigpipe.sharing.parcels import MIN_ASIDE, Parcel, unpacked
from tests.sharing.test_arrays import KINDS, assert_same

N = MIN_ASIDE  # elements: of any type, enough to be laid aside

OTHERS = {
    "dates": lambda: np.arange(N).astype("M8[D]"),
    "spans of time": lambda: np.arange(N).astype("m8[s]")[::-1],
    "structured with dates": lambda: np.zeros(N, [("t", "M8[ns]"), ("x", "f4", (2,))]),
    "trimmed records": lambda: np.ones((99, 99), [("x", "f8"), ("n", "i2")])[3:-3, ::2],
    "truth": lambda: np.arange(N) % 3 == 0,
    "complex": lambda: np.exp(1j * np.arange(N)),
    "half precision": lambda: np.arange(N, dtype="f2"),
    "0-d": lambda: np.array(1.5),
    "0-d and large": lambda: np.array("x" * N),
    "empty": lambda: np.empty((0, 3), "i2"),
    "axes of 1": lambda: np.ones((1, N, 1))[:, ::-1],
    "axes in another order, backwards": lambda: (
        np.arange(4 * N).reshape(4, N // 8, 8).transpose(1, 2, 0)[::-1, ::2]
    ),
    "objects": lambda: np.array([None, "text", 3] * N, object),
}


def sent(obj):
    """Return what another process would have of an object."""
    parcel = Parcel(obj)
    memory = np.zeros(parcel.n_bytes, np.uint8)
    parcel.lay_out(memory)
    whole = memory.data
    return unpacked(parcel.words, whole, are_aside=False)


@pytest.mark.parametrize("make", [*OTHERS.values()], ids=[*OTHERS])
def test_array_comes_back_equal(make):
    assert_same(sent(make()), make())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "named"])
def test_kind_of_array_comes_back_equal(kind):
    assert_same(sent(KINDS[kind]()), KINDS[kind]())


@pytest.mark.parametrize(
    "make",
    [make for name, make in OTHERS.items() if name not in ("0-d", "empty", "objects")],
    ids=[name for name in OTHERS if name not in ("0-d", "empty", "objects")],
)
def test_memory_of_an_array_is_not_in_the_pickle(make):
    array = make()
    parcel = Parcel({"a": [array]})
    assert parcel.n_bytes == array.nbytes
    assert len(parcel.words) < 500


def test_array_that_came_may_be_written_into_whatever_it_was():
    array = np.broadcast_to(1.0, (N,))
    assert not array.flags.writeable
    assert sent(array).flags.writeable


def test_one_array_in_two_places_is_one_array():
    array = np.arange(N)
    first, second = sent((array, array))
    assert first is second


def test_other_large_buffers_are_laid_aside():
    content = bytes(range(256)) * N
    parcel = Parcel(pickle.PickleBuffer(content))
    assert parcel.n_bytes == len(content)
    assert bytes(sent(pickle.PickleBuffer(content))) == content


@pytest.mark.parametrize("by_value", [False, True], ids=["by reference", "by value"])
def test_array_is_free_as_soon_as_nobody_uses_it(by_value):
    class Local:
        pass

    gc.collect()
    gc.disable()
    try:
        array = np.arange(N)
        parcel = Parcel([array, Local() if by_value else None])
        reference = weakref.ref(array)
        del array, parcel
        assert reference() is None
    finally:
        gc.enable()


def test_class_that_cannot_be_imported_travels_along():
    class Local:
        def __init__(self, array):
            self.array = array

    came = sent(Local(np.arange(N)))
    np.testing.assert_array_equal(came.array, np.arange(N))


def test_what_cannot_be_pickled_says_so():
    with pytest.raises(UnsendableError, match="pickle"):
        Parcel({"lock": (i for i in [])})
