"""Plain values as text and back: what is kept, what is refused, and what a bad text cannot do."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import pathlib
import pickle
import sys
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bigpipe.encoding import decode, encode
from bigpipe.encoding.walk import MAX_DEPTH
from bigpipe.errors import BigpipeError, EncodingError, UnsafeValueError
from tests.programs import run_python
from tests.same import same

SURROGATES = st.characters(codec=None, categories=None)

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(SURROGATES),
    st.binary(),
    st.binary().map(bytearray),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.timezones(), allow_imaginary=True),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.builds(slice, st.integers(), st.none() | st.integers()),
    st.sampled_from([range(0), range(10, -3, -2)]),
)
keys = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text().map("!".__add__)),
    *(st.binary(), st.tuples(st.text(), st.integers()), st.frozensets(st.integers())),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.text(), inner),
        st.dictionaries(keys, inner),
        st.dictionaries(st.text(), inner).map(OrderedDict),
        st.sets(keys),
        st.frozensets(keys),
    ),
    max_leaves=20,
)
plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8"), max_size=20).filter(lambda text: "!" not in text),
    ),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text("abc_é☃", max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)

KEPT = {
    "none": None,
    "true": True,
    "zero": 0,
    "minus zero": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "minus inf": -math.inf,
    "smallest float": 5e-324,
    "int of 64 bits": 2**63,
    "int of more digits than python prints": -(10**5000),
    "complex": complex(-0.0, math.nan),
    "text": 'π is "3"\n\\',
    "surrogate of a file name": "x\udce9",
    "two surrogates that are one character in utf-16": "\ud83d\ude00",
    "character beyond 16 bits": "\U0001f600",
    "null character": "\0",
    "text like a tag": "!tuple",
    "key like a tag": {"!tuple": [1]},
    "key like a tag among others": {"a": 1, "!b": 2},
    "key of two surrogates": {"\ud83d\ude00": 1},
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "tuple": (1, (2, [3, ()])),
    "dict of other keys": {1: "a", (1, 2): "b", None: "c", 2.5: "d", b"x": "e", True + 1: "f"},
    "order of keys": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    "set": {1, "a", (2, None), frozenset({3})},
    "empty set": set(),
    "frozenset": frozenset({1.5, b"x"}),
    "range": range(3, -7, -2),
    "slice": slice(None, 5, "step"),
    "OrderedDict": OrderedDict(b=1, a=(2,)),
    "Counter": Counter("abca"),
    "defaultdict": defaultdict(list, {1: [2]}),
    "defaultdict without factory": defaultdict(None, a=1),
    "Path": Path("/data/a b.fits"),
    "PurePosixPath": pathlib.PurePosixPath("//a/../b"),
    "PureWindowsPath": pathlib.PureWindowsPath(r"C:\data"),
    "path with surrogate": Path("x\udce9"),
    "datetime": datetime(2024, 5, 1, 23, 59, 59, 999999),
    "datetime in utc": datetime(2024, 5, 1, tzinfo=UTC),
    "datetime in an offset with name": datetime(
        2024, 5, 1, tzinfo=timezone(timedelta(hours=-7, seconds=3), "PDT-ish")
    ),
    "datetime in a zone, second time": datetime(
        2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1
    ),
    "date": date(1, 1, 1),
    "time": time(1, 2, 3, 4, tzinfo=UTC, fold=1),
    "timedelta": timedelta(days=-3, microseconds=7),
    "timezone": timezone(timedelta(minutes=90)),
    "zone": ZoneInfo("America/Argentina/Buenos_Aires"),
    "Decimal": Decimal("-1.20"),
    "Decimal nan": Decimal("sNaN123"),
    "Decimal of a large exponent": Decimal("1e999999"),
    "Fraction": Fraction(-1, 3),
    "UUID": UUID(int=5),
    "deque": deque([1, (2, "b")]),
    "deque with maxlen": deque([1, 2], maxlen=2),
}


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Mapping(dict):
    pass


class Speechless:
    __module__ = None  # type: ignore[assignment]

    def __repr__(self):
        raise RuntimeError("no text")


Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Fit:
    slope: float = 1.0


class Mode(enum.StrEnum):
    FAST = "fast"


REFUSED = {
    "function": len,
    "class": int,
    "module": sys,
    "object": object(),
    "namespace": SimpleNamespace(a=1),
    "IntEnum": Colour.RED,
    "StrEnum": Mode.FAST,
    "named tuple": Point(1, 2),
    "dataclass": Fit(),
    "subclass of str": Text("a"),
    "subclass of dict": Mapping(a=1),
    "memoryview": memoryview(b"abc"),
    "generator": (each for each in ()),
    "exception": ValueError("no"),
    "defaultdict of a function": defaultdict(lambda: 1),
    "object of an odd class": Speechless(),
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
def test_value_comes_back_the_same(value):
    text = encode(value)
    assert same(decode(text), value)
    assert encode(decode(text)) == text


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
def test_value_comes_back_the_same_from_within_others(value):
    whole = {"first": [value, (value, {"key": value})], "second": value}
    assert same(decode(encode(whole)), whole)


@given(values)
def test_any_nested_value_comes_back_the_same(value):
    assert same(decode(encode(value)), value)


@given(values)
def test_text_is_strict_ascii_json(value):
    text = encode(value)
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)


@given(plain)
def test_plain_value_is_its_own_json(value):
    assert encode(value) == json.dumps(value, separators=(",", ":"))


@given(plain)
def test_plain_values_have_one_text_beside_others_and_alone(value):
    """Beside a tuple, the slower of two ways is taken."""
    beside = encode([value, ()])
    assert beside == f'[{encode(value)},{{"!tuple":[]}}]'


def test_equal_sets_have_one_text():
    first, second = {1, 9}, {9, 1}
    assert list(first) != list(second)
    assert encode(first) == encode(second)


def test_text_stays_as_it_was():
    """A journal of an earlier version must be readable: this text may be added to, not changed."""
    value = {"a": [1, 2.5, None], "t": (1,), 3: b"x", "d": date(2024, 5, 1)}
    assert encode(value) == (
        '{"!dict":[["a",[1,2.5,null]],["t",{"!tuple":[1]}],[3,{"!bytes":"eA=="}],'
        '["d",{"!datetime.date":[2024,5,1]}]]}'
    )


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_value_without_safe_form_is_refused(value):
    with pytest.raises(UnsafeValueError) as caught:
        encode({"fit": [0, {"model": value}]}, name="meta")
    assert caught.value.path == ("fit", 1, "model")
    assert caught.value.type_name.endswith(type(value).__qualname__)
    assert "meta['fit'][1]['model']" in str(caught.value)
    assert isinstance(caught.value, BigpipeError)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (Colour.RED, r"\.name or \.value"),
        (Fit(), r"dataclasses\.asdict"),
        (Point(1, 2), r"\._asdict\(\)"),
        (Fit, "keep what it is made of"),
        (len, "keep what it is made of"),
    ],
    ids=["Enum", "dataclass", "named tuple", "class", "function"],
)
def test_refusal_says_what_to_keep_instead(value, remedy):
    with pytest.raises(UnsafeValueError, match=rf"value\['a'\], a .*{remedy}"):
        encode({"a": value})


@pytest.mark.parametrize(
    ("value", "path", "shown"),
    [
        (len, (), "meta, a builtin_function_or_method"),
        ({"a": (1, len)}, ("a", 1), "meta['a'][1]"),
        ({"a": {len}}, ("a",), "meta['a']"),
        ({(1, 2): len}, ("(1, 2)",), "meta"),
        ({"a": OrderedDict(b=len)}, ("a", "b"), "meta['a']['b']"),
        ({len: 1}, (repr(len),), "meta"),
        ({Speechless(): 1}, ("<Speechless>",), "meta"),
        ({10**5000: len}, (10**5000,), "meta[<int>]"),
    ],
    ids=["itself", "tuple", "set", "key", "ordered", "unsafe key", "speechless key", "long key"],
)
def test_refusal_says_where(value, path, shown):
    with pytest.raises(UnsafeValueError) as caught:
        encode(value, name="meta")
    assert caught.value.path == path
    assert shown in str(caught.value)


def test_refusal_survives_pickling():
    with pytest.raises(UnsafeValueError) as caught:
        encode({"a": [Colour.RED]})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path, again.type_name) == (
        str(caught.value),
        ("a", 0),
        f"{__name__}.Colour",
    )


def make_cycle(kind: str) -> object:
    if kind == "list":
        cycle: list[object] = [1]
        cycle.append(cycle)
        return cycle
    if kind == "dict":
        members: dict[object, object] = {}
        members["a"] = [{1: members}]
        return members
    inside: list[object] = []
    inside.append((inside,))
    return inside


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_cycle_is_refused(kind):
    with pytest.raises(UnsafeValueError, match="contains itself"):
        encode(make_cycle(kind))


def test_what_is_shared_is_no_cycle():
    shared = [1, (2,)]
    assert decode(encode([shared, shared])) == [shared, shared]


def nested(depth: int, value: object) -> object:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [1, 1j], ids=["plain", "other"])
def test_nesting_is_limited(value):
    n_around = MAX_DEPTH - (value == 1j) * 2
    assert decode(encode(nested(n_around, value))) == nested(n_around, value)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(UnsafeValueError, match="nested"):
            encode(nested(depth, value))


HOSTILE = {
    "nothing": "",
    "half": '{"a": [1, 2',
    "more than one": "1 2",
    "no json": "{'a': 1}",
    "NaN": '{"a": NaN}',
    "Infinity": "-Infinity",
    "pickle": "\x80\x04K\x01.",
    "deeply nested": "[" * 200_000,
    "deeply nested tags": '{"!tuple":[' * 20_000,
    "number of many digits": "9" * 100_000,
    "unknown tag": '{"!os.system": "true"}',
    "unknown tag of a known module": '{"!datetime.sys": []}',
    "empty tag": '{"!": 1}',
    "tag of dots": '{"!...": 1}',
    "import": '{"!builtins.__import__": "os"}',
    "module of bigpipe": '{"!bigpipe.encoding.encode": 1}',
    "bytes as a number": '{"!bytes": 9999999999999}',
    "bytes no base64": '{"!bytes": "a\\u00e9="}',
    "bytearray as a number": '{"!bytearray": 9999999999999}',
    "float as a number": '{"!float": 1.5}',
    "int in decimal": '{"!int": 5}',
    "int no number": '{"!int": "0xzz"}',
    "str of no code point": '{"!str": [1114112]}',
    "str as a string": '{"!str": "abc"}',
    "tuple of a number": '{"!tuple": 5}',
    "set of lists": '{"!set": [[1]]}',
    "dict of lists as keys": '{"!dict": [[[1], 2]]}',
    "dict of triples": '{"!dict": [[1, 2, 3]]}',
    "dict of text": '{"!dict": ["ab"]}',
    "range of text": '{"!range": ["a", "b", "c"]}',
    "range of too few": '{"!range": [1]}',
    "range without step": '{"!range": [1, 2, 0]}',
    "complex of text": '{"!complex": ["1", "2"]}',
    "defaultdict of eval": '{"!collections.defaultdict": ["eval", {}]}',
    "Counter of text": '{"!collections.Counter": "abc"}',
    "date of text": '{"!datetime.date": "2024-05-01"}',
    "date out of range": '{"!datetime.date": [2024, 13, 1]}',
    "datetime of pickled bytes": '{"!datetime.datetime": [{"!bytes": "B+gFAQAAAAAAAA=="}]}',
    "datetime of a text as zone": '{"!datetime.datetime": [1, 1, 1, 0, 0, 0, 0, "utc", 0]}',
    "timezone of a number": '{"!datetime.timezone": [5]}',
    "zone outside": '{"!zoneinfo.ZoneInfo": "../../../../etc/passwd"}',
    "zone at the top": '{"!zoneinfo.ZoneInfo": "/etc/localtime"}',
    "zone in a module": '{"!zoneinfo.ZoneInfo": "a.b/c"}',
    "zone that is none": '{"!zoneinfo.ZoneInfo": "Nowhere/City"}',
    "zone that is a folder": '{"!zoneinfo.ZoneInfo": "America"}',
    "Fraction as text": '{"!fractions.Fraction": "1e999999999"}',
    "Fraction by zero": '{"!fractions.Fraction": [1, 0]}',
    "Decimal no number": '{"!decimal.Decimal": "one"}',
    "Decimal of a tuple": '{"!decimal.Decimal": {"!tuple": [0, [1], 5]}}',
    "path of a list": '{"!pathlib.PosixPath": ["a"]}',
    "UUID too short": '{"!uuid.UUID": "12"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_bad_text_is_refused(text):
    tracemalloc.start()
    try:
        with pytest.raises(EncodingError) as caught:
            decode(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, ValueError)
    assert peak < 2**25 + 100 * len(text)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/localtime", "a.b/c", "Europe//Berlin"])
def test_zone_is_not_looked_for_outside_of_its_database(name):
    with pytest.raises(EncodingError, match="is not the name of a time zone"):
        decode(json.dumps({"!zoneinfo.ZoneInfo": name}))


def test_path_of_another_system_is_refused():
    with pytest.raises(EncodingError):
        decode('{"!pathlib.WindowsPath": "C:\\\\a"}')


@given(values, st.data())
def test_damaged_text_gives_a_value_or_is_refused(value, data):
    text = encode(value)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    put = data.draw(st.text('!"[]{}:,01etn.', max_size=3))
    try:
        again = decode(text[:start] + put + text[stop:])
    except EncodingError:
        return
    encode(again)


def test_plain_values_load_no_heavy_module():
    code = (
        "import sys; from bigpipe.encoding import decode, encode; "
        "decode(encode({'a': (1, b'x', {2})})); "
        "print(*sys.modules, sep='\\n')"
    )
    loaded = run_python("-c", code, is_to_succeed=True)
    assert not {"numpy", "astropy", "datetime", "decimal", "uuid"} & set(loaded.stdout.split())


def test_quantity_loads_what_it_needs_alone():
    """A text can name what is not loaded yet."""
    code = (
        "import sys; from bigpipe.encoding import decode; "
        'decode(\'{"!astropy.units.unit": "m"}\'); '
        "print(*sys.modules, sep='\\n')"
    )
    loaded = run_python("-c", code, is_to_succeed=True)
    modules = set(loaded.stdout.split())
    assert "astropy.units" in modules
    assert not {"astropy.table", "astropy.coordinates", "astropy.time"} & modules
