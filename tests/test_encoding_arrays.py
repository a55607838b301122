"""Arrays, scalars and dtypes of numpy as text and back, and texts that claim too much."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from bigpipe.encoding import decode, encode
from bigpipe.errors import EncodingError, UnsafeValueError
from tests.same import same

RECORD = np.dtype([("n", "<i4"), ("x", ">f8", (2,)), ("inner", [("s", "U3"), ("t", "M8[s]")])])
PADDED = np.dtype(
    {"names": ["b", "a"], "formats": ["u1", "f4"], "offsets": [7, 0], "titles": ["B!", None]}
)
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)

SCALARS = {
    **{np.dtype(code).type.__name__ + code: np.ones(1, code)[0] for code in "?bBhHiIlLqQefdgFDG"},
    "float64 nan": np.float64("nan"),
    "float32 minus zero": np.float32("-0.0"),
    "longdouble of all digits": np.longdouble(1) / 3,
    "complex64": np.complex64(1 - 2j),
    "largest uint64": np.uint64(2**64 - 1),
    "datetime64": np.datetime64("2024-05-01T12:00:00.123", "ns"),
    "datetime64 not a time": np.datetime64("NaT", "s"),
    "datetime64 in steps of 25 s": np.datetime64(5, (np.str_("s"), 25)),
    "timedelta64": np.timedelta64(-3, "W"),
    "str_": np.str_("é\0\0"),
    "empty str_": np.str_(""),
    "bytes_": np.bytes_(b"a\0\0"),
    "void": np.void(b"\x00\x01"),
    "structured": np.zeros(1, RECORD)[0],
    "record": np.rec.array([(1, 2.5)], names="a,b")[0],
}

DTYPES = {
    "float": np.dtype("f8"),
    "swapped": np.dtype(">i2"),
    "object": np.dtype(object),
    "text": np.dtype("U7"),
    "time": np.dtype("M8[25us]"),
    "time without unit": np.dtype("m8"),
    "raw": np.dtype("V9"),
    "long double": np.dtype("g"),
    "swapped complex long double": np.dtype("G").newbyteorder(),
    "long long": np.dtype("q"),
    "subarray": np.dtype(("f4", (2, 3))),
    "structured": RECORD,
    "padded, with titles": PADDED,
    "aligned": ALIGNED,
    "record": np.dtype((np.record, RECORD)),
    "no fields": np.dtype([]),
}


def recarray():
    return np.rec.array([(1, 2.5, "a"), (3, 4.5, "b")], names="n,x,s")


def objects():
    array = np.empty((2, 2), object)
    array[:] = [[1, "a"], [None, (1, {"b": np.arange(3)})]]
    return array


ARRAYS = {
    "of floats": np.array([[1.5, np.nan, -0.0], [np.inf, 5e-324, 2.0]]),
    "of no dimension": np.array(3),
    "of an object, without dimension": np.array(None),
    "in Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "of objects in Fortran order": np.asfortranarray(objects()),
    "strided": np.arange(20).reshape(4, 5)[::2, ::-2],
    "broadcast": np.broadcast_to(np.arange(3), (2, 3)),
    "without elements": np.zeros((0, 3), "f4"),
    "without elements, large otherwise": np.zeros((5, 0, 10**6)),
    "swapped": np.arange(3, dtype=">f4"),
    "of bools": np.array([True, False]),
    "of text": np.array(["", "é", "abc"]),
    "of bytes": np.array([b"", b"abc"]),
    "of text without width": np.empty(3, "S0"),
    "of times": np.array(["2024-05-01", "NaT"], "M8[D]"),
    "of raw bytes": np.array([b"ab", b"cd"], "V2"),
    "of long doubles": np.ones(2, "g") / 3,
    "of long longs": np.ones(2, "q"),
    "of objects": objects(),
    "structured": np.zeros(3, RECORD),
    "padded": np.zeros(2, PADDED)[::-1],
    "of records": recarray().view(np.ndarray),
    "record array": recarray(),
    "masked": np.ma.MaskedArray([1.0, 2.0], [False, True], fill_value=-1),
    "masked, nothing hidden": np.ma.MaskedArray([1, 2]),
    "masked, without dimension": np.ma.MaskedArray(1, True),
    "masked, hard": np.ma.MaskedArray([1, 2], [True, False], hard_mask=True),
    "masked, of text": np.ma.MaskedArray(["a", "b"], [True, False]),
    "masked, of objects": np.ma.MaskedArray(np.array(["a", None]), [True, False]),
    "masked, structured": np.ma.MaskedArray(
        np.array([(1, 2.0), (3, 4.0)], "i4,f8"), [(True, False), (False, True)]
    ),
    "the masked constant": np.ma.masked,
}


class Wrapped(np.ndarray):
    pass


def memory_map(tmp_path):
    return np.memmap(tmp_path / "a", "u1", "w+", shape=(3,))


@pytest.mark.parametrize("value", SCALARS.values(), ids=SCALARS)
def test_scalar_comes_back_the_same(value):
    again = decode(encode(value))
    assert same(again, value)
    assert same(again.dtype, value.dtype)


@pytest.mark.parametrize("value", DTYPES.values(), ids=DTYPES)
def test_dtype_comes_back_the_same(value):
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("value", ARRAYS.values(), ids=ARRAYS)
def test_array_comes_back_the_same(value):
    text = encode({"a": [value]})
    again = decode(text)
    assert same(again, {"a": [value]})
    assert encode(again) == text


@given(npst.arrays(npst.array_dtypes() | npst.scalar_dtypes(), npst.array_shapes(min_side=0)))
def test_any_array_comes_back_the_same(value):
    assert same(decode(encode(value)), value)


@given(npst.arrays(npst.scalar_dtypes(), npst.array_shapes()))
@example(np.array([complex(0, np.nan)], np.complex64))
def test_any_scalar_comes_back_the_same(value):
    scalar = value.flat[0]
    assert same(decode(encode(scalar)), scalar)


def test_array_that_comes_back_can_be_written_to():
    value = np.arange(3)
    value.flags.writeable = False
    again = decode(encode(value))
    again[0] = 5
    assert again.flags.owndata


def test_what_is_between_fields_is_no_part_of_the_text():
    used, unused = (np.full(16, each, "u1").view(PADDED) for each in (7, 0))
    unused["a"], unused["b"] = used["a"], used["b"]
    assert used.tobytes() != unused.tobytes()
    assert encode(used) == encode(unused)
    assert encode(used[0]) == encode(unused[0])


def test_encoding_leaves_an_array_as_it_is():
    value = np.ma.MaskedArray([1.0, 2.0], [False, True])
    value.mask.flags.writeable = False
    encode(value)
    assert value.tolist() == [1.0, None]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2).view(Wrapped),
        np.zeros(2, [("a", object)]),
        np.ma.MaskedArray(np.zeros(2).view(Wrapped)),
        np.empty(2**20 + 1, "V0"),
        np.empty((0,), f"S{2**21}"),
        np.dtype([("a", object)]),
    ],
    ids=["subclass", "field of objects", "masked subclass", "empty", "wide", "dtype of objects"],
)
def test_array_without_safe_form_is_refused(value):
    with pytest.raises(UnsafeValueError) as caught:
        encode({"a": value})
    assert caught.value.path == ("a",)


def test_memory_map_comes_back_as_an_array(tmp_path):
    value = memory_map(tmp_path)
    value[:] = 3, 4, 5
    for part in (value, value[1:], value.reshape(3, 1)[::2]):
        assert same(decode(encode({"row": part}))["row"], np.array(part))


def test_object_in_an_array_is_named():
    with pytest.raises(UnsafeValueError) as caught:
        encode({"a": np.array([1, len])})
    assert caught.value.path[0] == "a"
    assert caught.value.path[-1] == 1
    assert caught.value.type_name == "builtin_function_or_method"


@pytest.mark.skipif(
    not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="numpy 2 has it"
)
def test_array_of_strings_of_any_length_is_refused():
    with pytest.raises(UnsafeValueError):
        encode(np.array(["a", "bc"], np.dtypes.StringDType()))


def array_text(dtype: object, shape: object, data: object, order: object = "C") -> str:
    return json.dumps({"!numpy.array": [dtype, shape, order, data]})


def structured(**fields: object) -> dict[str, object]:
    whole = {
        "names": ["a"],
        "formats": ["<i4"],
        "offsets": [0],
        "titles": [None],
        "itemsize": 4,
        "aligned": False,
        "record": False,
    }
    return {**whole, **fields}


FOUR = "AAAAAA=="  # four bytes, all zero
HOSTILE = {
    "of 8 TB": array_text("<f8", [10**12], FOUR),
    "of 8 EB": array_text("<f8", [10**6, 10**12], FOUR),
    "of a shape beyond numpy": array_text("<f8", [10**30], FOUR),
    "of a negative shape": array_text("<i4", [-1], FOUR),
    "of two negative shapes": array_text("<i4", [-1, -1], FOUR),
    "of a shape of text": array_text("<i4", ["1"], FOUR),
    "of a shape of bools": array_text("<i4", [True], FOUR),
    "of a shape that is a number": array_text("<i4", 1, FOUR),
    "of many dimensions": array_text("<i4", [1] * 100, FOUR),
    "of wide elements": array_text("|V2000000000", [1], FOUR),
    "of no wide elements": array_text("|V2000000000", [0], ""),
    "of very wide elements": array_text("|V99999999999999", [1], FOUR),
    "of elements without bytes": array_text("|V0", [10**12], ""),
    "of no bytes in a subarray": array_text([[["<i4"], [0]], [10**9]], [10**9], ""),
    "of too few bytes": array_text("<i4", [2], FOUR),
    "of too many bytes": array_text("<i2", [1], FOUR),
    "of objects as bytes": array_text("|O", [1], "AAAAAAAAAAA="),
    "of many objects": array_text("|O", [10**12], []),
    "of objects in a structure": array_text(structured(formats=["|O"], itemsize=8), [1], FOUR * 2),
    "of a name of a type": array_text("float64", [1], FOUR),
    "of many fields": array_text("i4,(1000000000)f8", [1], FOUR),
    "of no type": array_text("<z9", [1], FOUR),
    "of a type of a machine": array_text("<f16:g7", [1], FOUR * 4),
    "of a type with a wrong name": array_text("<i8:d", [1], FOUR * 2),
    "of an order": array_text("<i4", [1], FOUR, "K"),
    "of a list": array_text("<i4", [1], [1]),
    "of data outside ascii": array_text("<i4", [1], "ÄÄÄÄ"),
    "of subarrays": array_text(["<i2", [2]], [1], FOUR),
    "of fields beyond an element": array_text(structured(offsets=[2]), [1], FOUR),
    "of fields before an element": array_text(structured(offsets=[-4]), [1], FOUR),
    "of fields of one name": array_text(
        structured(names=["a", "a"], formats=["<i2"] * 2, offsets=[0, 2], titles=[None] * 2),
        [1],
        FOUR,
    ),
    "of a structure without names": array_text({"formats": ["<i4"]}, [1], FOUR),
    "of a title that is a list": array_text(structured(titles=[[1]]), [1], FOUR),
    "of a deep dtype": array_text(json.loads("[" * 400 + '"<i4"' + ",[1]]" * 400), [1], FOUR),
    "parts that are text": '{"!numpy.array": "abcd"}',
    "scalar of many bytes": '{"!numpy.scalar": ["|V2000000000", ""]}',
    "scalar of objects": '{"!numpy.scalar": ["|O", "AAAAAAAAAAA="]}',
    "float of text": '{"!numpy.float64": "1"}',
    "int too large": '{"!numpy.int8": 300}',
    "int of a bool": '{"!numpy.int8": true}',
    "str of a number": '{"!numpy.str": 1000000000}',
    "bytes of a number": '{"!numpy.bytes": 1000000000}',
    "dtype of a dict": '{"!numpy.dtype": {"a": 1}}',
    "record array of a list": '{"!numpy.recarray": [1]}',
    "masked array of lists": (
        '{"!numpy.MaskedArray": {"data": [1], "mask": null, "fill_value": 1, "hard": false}}'
    ),
    "mask of another shape": (
        '{"!numpy.MaskedArray": {"data": {"!numpy.array": ["<i4", [1], "C", "AAAAAA=="]}, '
        '"mask": {"!numpy.array": ["|b1", [2], "C", "AAA="]}, "fill_value": 1, "hard": false}}'
    ),
    "another name of numpy": '{"!numpy.loadtxt": "/etc/passwd"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_bad_array_is_refused_without_taking_memory(text):
    tracemalloc.start()
    try:
        with pytest.raises(EncodingError):
            decode(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24


@given(st.sampled_from(list(ARRAYS.values())), st.data())
def test_damaged_array_gives_an_array_or_is_refused(value, data):
    text = encode(value)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 4)))
    put = data.draw(st.text('"[],<>|019fOSUV', max_size=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            again = decode(text[:start] + put + text[stop:])
        except EncodingError:
            return
        assert getattr(again, "nbytes", 0) <= 2 * len(text) + 100
