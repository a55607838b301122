"""Kinds of arrays: pickled, with their memory as a buffer, and brought back."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Longitude
from astropy.nddata import CCDData, StdDevUncertainty

from bigpipe.sharing.arrays import MIN_ARRAY, pickler_class
from bigpipe.sharing.snapshot import LocalSnapshot, Snapshot

N = MIN_ARRAY // 2  # elements of most arrays here: of 8 bytes, enough by far


class Named(np.ndarray):
    """An array of an unknown class with an attribute of its own."""

    def __array_finalize__(self, obj):
        self.name = getattr(obj, "name", "none")

    def __reduce__(self):
        return make_named, (np.array(self), self.name)


def make_named(array, name):
    named = array.view(Named)
    named.name = name
    return named


def array():
    return np.arange(N, dtype=float)


def named():
    return make_named(array(), "flat")


def of_file(tmp_path, mode):
    path = tmp_path / "array"
    array().tofile(path)
    return np.memmap(path, dtype=float, mode=mode)


def masked(mask, **kwargs):
    return np.ma.MaskedArray(array(), mask=mask, **kwargs)


STRUCTURE = [("x", "f8"), ("n", "i4")]
KINDS = {
    "plain": array,
    "large-endian": lambda: array().astype(">f8"),
    "Fortran order": lambda: array().reshape(4, -1).T,
    "every other": lambda: array()[::2],
    "backwards": lambda: array()[::-1],
    "trimmed": lambda: np.ones((300, 300))[5:-5, 5:-5],
    "one value for all": lambda: np.broadcast_to(1.5, (300, 300)),
    "three dimensions": lambda: np.ones((10, 20, 600)).transpose(1, 2, 0),
    "structured": lambda: np.ones(N, dtype=STRUCTURE),
    "records": lambda: np.rec.array(np.ones(N, dtype=STRUCTURE)),
    "text": lambda: np.full(N, "text"),
    "quantity": lambda: array() * units.adu,
    "trimmed quantity": lambda: (np.ones((300, 300)) * units.adu)[5:-5],
    "longitude": lambda: Longitude(array() / N, unit="deg", wrap_angle=180 * units.deg),
    "nothing masked": lambda: masked(np.ma.nomask),
    "masked": lambda: masked(array() > 5, fill_value=-1.0),
    "hard mask": lambda: masked(array() > 5, hard_mask=True),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.dtype.type is expected.dtype.type
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def taken_apart(obj):
    """Return the bytes of a pickle, what it comes back as, and the buffers."""
    file, buffers = io.BytesIO(), []

    def keep(buffer):
        buffers.append(buffer)

    pickler_class()(file, protocol=5, buffer_callback=keep).dump(obj)
    return file.getvalue(), pickle.loads(file.getvalue(), buffers=buffers), buffers


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_memory_of_an_array_is_a_buffer_and_not_in_the_pickle(make):
    payload, found, buffers = taken_apart(make())
    assert len(payload) < 2000
    assert buffers
    assert_same(found, make())


def filled(kwargs):
    snapshot = Snapshot(kwargs)
    snapshot.fill()
    return snapshot


@pytest.mark.parametrize("snapshot", [filled, LocalSnapshot])
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_arrays_of_each_kind_are_fresh_after_they_were_written_into(make, snapshot):
    snapshot = snapshot({"x": make(), "deep": [{"y": make()}]})
    for _ in range(2):
        fresh = snapshot.fresh()
        for found in (fresh["x"], fresh["deep"][0]["y"]):
            assert_same(found, make())
            if found.flags.writeable:
                found[...] = found.flat[-1]
    snapshot.close()


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_memory_map_comes_back_as_one(tmp_path, mode):
    payload, found, _ = taken_apart(of_file(tmp_path, mode))
    assert len(payload) < 2000
    assert_same(found, np.memmap(tmp_path / "array", dtype=float, mode="c"))


@pytest.mark.parametrize("make", [KINDS["masked"], KINDS["nothing masked"]], ids=["some", "none"])
def test_masked_array_keeps_what_belongs_to_it(make):
    expected = pickle.loads(pickle.dumps(make()))
    _, found, _ = taken_apart(make())
    assert found.fill_value == expected.fill_value
    assert found.sharedmask == expected.sharedmask
    assert found.hardmask == expected.hardmask
    found[0] = np.ma.masked
    assert found.mask[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(found)[1:], np.ma.getmaskarray(make())[1:])


def test_quantity_keeps_unit_and_description():
    quantity = KINDS["quantity"]()
    quantity.info.description = "flat"
    _, found, _ = taken_apart(quantity)
    assert found.unit == units.adu
    assert found.info.description == "flat"
    assert found[1].to_value(units.adu) == 1


def test_longitude_keeps_its_wrap_angle():
    assert taken_apart(KINDS["longitude"]())[1].wrap_angle == 180 * units.deg


@pytest.mark.parametrize(
    "make",
    [
        named,
        lambda: np.array([None] * N),
        lambda: np.arange(N).astype("M8[s]"),
        lambda: np.zeros((0, 3)),
    ],
    ids=["own class", "objects", "dates", "empty"],
)
def test_other_arrays_are_pickled_as_they_do_it(make):
    _, found, _ = taken_apart(make())
    assert_same(found, make())
    assert getattr(found, "name", "flat") == "flat"


def test_ccd_data_comes_back_with_all_that_it_has():
    ccd = CCDData(
        np.ones((300, 300)),
        unit="adu",
        mask=np.zeros((300, 300), bool),
        uncertainty=StdDevUncertainty(np.full((300, 300), 2.0)),
        meta={"EXPTIME": 3},
    )
    payload, found, buffers = taken_apart(ccd)
    assert len(payload) < 5000
    assert len(buffers) == 3
    assert (found.data == 1).all()
    assert (found.uncertainty.array == 2).all()
    assert found.unit == ccd.unit
    assert found.meta["EXPTIME"] == 3
