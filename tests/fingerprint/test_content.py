"""Equal contents have equal digests, others have others."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import math
import re
import socket
import sqlite3
import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling import models
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import QTable, Table
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.fingerprint import content
from bigpipe.fingerprint.content import Contents
from tests.programs import run_python


def digest(value):
    """Return a value's digest, made beside no other value."""
    return Contents().digest(value)


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Scaler:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, data, **kwargs):
        return data * self.factor

    def method(self):
        return self.factor

    @functools.cached_property
    def squared(self):
        return self.factor**2


class Names(set):
    pass


def scaled(factor):
    return lambda data: data * factor


def ccd(value=1.0):
    data = np.full((3, 4), value)
    uncertainty = StdDevUncertainty(np.ones((3, 4)))
    return CCDData(data, unit="adu", uncertainty=uncertainty, meta={"exptime": 3})


# Each makes a value, anew at each call, of a number that is to make a difference.
VALUES = {
    "bool": lambda n: n == 1,
    "int": lambda n: 10**5000 + n,
    "float": lambda n: n + 0.5,
    "complex": lambda n: complex(0, n),
    "str": lambda n: "\ud800é" + str(n) * 9000,
    "bytes": lambda n: bytes([n]) * 9000,
    "bytearray": lambda n: bytearray([n]),
    "list": lambda n: [1, [n]],
    "tuple": lambda n: (1, (n,)),
    "dict": lambda n: {"a": {"b": n}},
    "key": lambda n: {n: 0},
    "set": lambda n: {1.5, f"text {n}"},
    "frozenset": lambda n: frozenset((frozenset((n,)),)),
    "set of a class": lambda n: Names((f"{n}", "a", "b")),
    "array": lambda n: np.array([[1, 2], [3, n]], dtype="f4"),
    "object array": lambda n: np.array(["a", [n], None], dtype=object),
    "text array": lambda n: np.array(["a", str(n)]),
    "time array": lambda n: np.array([n], dtype="M8[s]"),
    "masked array": lambda n: np.ma.array([1, 2, 3], mask=[n == 1, 0, 0]),
    "masked array data": lambda n: np.ma.array([[1, n]], mask=[[True, False]]),
    "record array": lambda n: np.rec.array([(1, n / 2)], dtype=[("a", "i4"), ("b", ">f8")]),
    "empty array": lambda n: np.empty((0, n)),
    "array of no dimension": np.array,
    "numpy scalar": np.float32,
    "dtype": lambda n: np.dtype([("a", f"f{4 * n}")]),
    "random generator": np.random.default_rng,
    "path": lambda n: Path("a", str(n)),
    "datetime": lambda n: datetime.datetime(2020, 1, n, tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta,
    "enum": Color,
    "dataclass": lambda n: Point(1, n),
    "slots": lambda n: Slotted([n], 2),
    "partial": lambda n: functools.partial(scaled, factor=n),
    "bound method": lambda n: Scaler(n).method,
    "bound builtin method": lambda n: [n].append,
    "callable object": Scaler,
    "lambda": scaled,
    "range": range,
    "slice": slice,
    "deque": lambda n: collections.deque([n]),
    "ordered dict": lambda n: collections.OrderedDict(a=n),
    "default dict": lambda n: collections.defaultdict(list, a=[n]),
    "counter": lambda n: collections.Counter("a" * n),
    "fraction": lambda n: Fraction(n, 7),
    "pattern": lambda n: re.compile(f"a{n}"),
    "exception": ValueError,
    "builtin": lambda n: (len, max)[n - 1],
    "ufunc": lambda n: (np.add, np.subtract)[n - 1],
    "numpy function": lambda n: (np.mean, np.median)[n - 1],
    "class": lambda n: (Point, Slotted)[n - 1],
    "builtin class": lambda n: (int, float)[n - 1],
    "module": lambda n: (math, re)[n - 1],
    "generic alias": lambda n: (list[int], list[str])[n - 1],
    "quantity": lambda n: n * u.m,
    "quantity array": lambda n: np.arange(3) * (u.m, u.s)[n - 1],
    "time": lambda n: Time(["2020-01-01", f"2020-01-0{n}"]),
    "coordinates": lambda n: SkyCoord([1, 2] * u.deg, [3, n] * u.deg),
    "table": lambda n: Table({"a": [1, n]}, meta={"b": 1}),
    "table's name": lambda n: Table({f"a{n}": [1]}),
    "masked table": lambda n: Table({"a": np.ma.array([1, 2], mask=[n == 1, True])}),
    "table of quantities": lambda n: QTable({"a": [1, n] * u.m}),
    "model": lambda n: models.Gaussian1D(mean=n) + models.Const1D(3),
    "ccd": ccd,
    "header": lambda n: fits.Header([("A", n, "comment")]),
}
each_value = pytest.mark.parametrize("make", VALUES.values(), ids=VALUES.keys())


@each_value
def test_content_is_the_same_for_equal_values_and_another_for_others(make):
    assert digest(make(1)) == digest(make(1))
    assert digest(make(1)).text != digest(make(2)).text
    assert digest(make(2)).unstable == ()


def test_all_values_differ():
    assert len({digest(make(1)).text for make in VALUES.values()}) == len(VALUES)


SCRIPT = """
import os, sys
from tests.fingerprint.test_content import VALUES, digest
if len(sys.argv) > 1:
    junk = [object() for _ in range(1000)]
print({name: digest(make(1)).text for name, make in VALUES.items()})
"""


def test_path_is_the_same_whatever_it_was_made_of():
    assert len({digest(path) for path in (Path("a/b"), Path("a", "b"), Path("a") / "./b")}) == 1
    assert digest(Path("a/b")) != digest(Path("a", "c"))


def test_digests_are_the_same_in_processes_with_other_hashes():
    found = [
        run_python("-c", SCRIPT, *extra, env={"PYTHONHASHSEED": seed}, is_to_succeed=True).stdout
        for seed, extra in (("1", []), ("2", ["x"]))
    ]
    assert found[0] == found[1]
    assert "'int': " in found[0]


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


def rebuilt(value, change=None):
    """Return the value made anew, its dicts in reverse, its leaves through ``change``."""
    if type(value) in (list, tuple):
        return type(value)([rebuilt(each, change) for each in value])
    if type(value) is dict:
        return {key: rebuilt(each, change) for key, each in reversed(value.items())}
    return value if change is None else change(value)


@given(nested)
def test_nested_values_made_anew_have_equal_digests(value):
    assert digest(value) == digest(rebuilt(value))


@given(nested, st.integers(0, 20), plain)
def test_one_leaf_that_changes_changes_the_digest(value, which, new):
    leaves = []
    rebuilt(value, leaves.append)
    which = which % len(leaves) if leaves else 0
    count = iter(range(len(leaves)))
    old = leaves[which] if leaves else None
    changed = rebuilt(value, lambda leaf: new if next(count) == which else leaf)
    is_same = not leaves or (type(old) is type(new) and repr(old) == repr(new))
    assert (digest(value) == digest(changed)) == is_same


def test_numbers_of_other_types_are_other_numbers():
    values = (1, 1.0, True, "1", b"1", 1 + 0j, np.int64(1), np.int32(1), np.array(1), [1], (1,))
    assert len({digest(value).text for value in values}) == len(values)
    assert digest(float("nan")) == digest(-float("nan"))
    assert digest(0.0) != digest(-0.0)


def test_what_is_one_object_and_what_is_two_makes_no_difference():
    once = [1, 2]
    assert digest([once, once]) == digest([[1, 2], [1, 2]])
    assert digest((once, [once])) == digest(([1, 2], [[1, 2]]))
    assert digest(["a" * 10] * 2) == digest(["".join(["a"] * 10) for _ in range(2)])


def ring(values):
    """Return dicts that each contain the next; the last contains the first."""
    dicts = [{"value": value} for value in values]
    for here, there in zip(dicts, [*dicts[1:], dicts[0]], strict=True):
        here["next"] = there
    return dicts[0]


def test_cycles_count_by_content():
    assert digest(ring([1, 2, 3])) == digest(ring([1, 2, 3]))
    assert digest(ring([1, 2, 3])) != digest(ring([1, 3, 2]))
    assert digest(ring([1, 2])) == digest(ring([1, 2, 1, 2]))
    assert digest(ring([0] * 500 + [1] + [0] * 500)) != digest(ring([0] * 500 + [2] + [0] * 500))


def test_depth_is_no_trouble():
    def deep(leaf):
        value = [leaf]
        for _ in range(20_000):
            value = [value]
        return value

    first, second, third = deep(1), deep(1), deep(2)
    assert digest(first) == digest(second)
    assert digest(first) != digest(third)


def test_graph_in_which_all_know_all_is_no_trouble():
    def friends(n):
        people = [{"name": i, "friends": []} for i in range(n)]
        for each in people:
            each["friends"] += people
        return people

    assert digest(friends(60)) == digest(friends(60))


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "reversed": lambda array: array[::-1].copy()[::-1],
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "read only": lambda array: np.frombuffer(array.tobytes()).reshape(array.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("kind", [np.asarray, np.ma.array, lambda array: array * u.m])
def test_layout_of_an_array_does_not_count(layout, kind, monkeypatch):
    monkeypatch.setattr("bigpipe.fingerprint.array_digest.MAX_COPIED", 100)
    array = np.arange(105.0).reshape(7, 3, 5)
    other = layout(array)
    assert digest(kind(array)) == digest(kind(other))
    changed = array.copy()
    changed[6, 2, 4] += 1
    assert digest(kind(layout(changed))) != digest(kind(array))


def test_dtype_and_shape_of_an_array_count():
    array = np.arange(6, dtype="i4")
    others = [array.astype(">i4"), array.view("u4"), array.reshape(2, 3), array.view(np.recarray)]
    assert len({digest(each).text for each in (array, *others)}) == 5


def test_memory_between_the_fields_of_an_array_does_not_count():
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    arrays = [np.frombuffer(bytes([fill]) * 32, "u1").copy().view(dtype) for fill in (0, 255)]
    for array in arrays:
        array["a"], array["b"] = 1, 2
    assert digest(arrays[0]) == digest(arrays[1])


def test_mask_that_masks_nothing_is_no_mask():
    assert digest(np.ma.array([1, 2])) == digest(np.ma.array([1, 2], mask=[False, False]))
    assert digest(np.ma.array([1, 2])) != digest(np.ma.array([1, 2], fill_value=3))


KINDS = {
    "contiguous": np.zeros,
    "strided": lambda n: np.zeros(2 * n)[::2],
    "transposed": lambda n: np.zeros((n // 1024, 1024)).T,
    "masked": lambda n: np.ma.array(np.zeros(n), mask=np.ones(n, bool)),
    "quantity": lambda n: np.zeros(n) * u.m,
    "column": lambda n: Table({"a": np.zeros(n)}),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_large_arrays_are_not_copied(make):
    array = make(1 << 22)  # 32 MB
    tracemalloc.start()
    try:
        digest(array)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_memory_map_is_the_array_that_it_holds(tmp_path):
    array = np.arange(10.0)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert digest(mapped) == digest(array)
    mapped._mmap.close()


def test_what_was_only_looked_at_is_unchanged():
    scaler, header, sky = Scaler(2), fits.Header([("A", 1)]), SkyCoord(1 * u.deg, 2 * u.deg)
    masked = np.ma.array([1, 2])
    values = [scaler, header, sky, models.Gaussian1D(), masked]
    before = [digest(value).text for value in values]
    _ = (
        scaler.squared,
        str(header),
        sky.galactic,
        values[3](1),
        values[3].parameters,
        masked.fill_value,
    )
    assert [digest(value).text for value in values] == before


def days_of(pandas):
    return pandas.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])


@pytest.mark.parametrize(
    ("library", "make", "look"),
    [
        pytest.param("pandas", days_of, lambda days: days.get_loc("2020-01-02"), id="index"),
        pytest.param(
            "pandas",
            lambda pandas: pandas.DataFrame({"a": [1, 2, 3]}, index=days_of(pandas)),
            lambda frame: frame.loc["2020-01-02"],
            id="frame",
        ),
        pytest.param(
            "pandas",
            lambda pandas: pandas.array([1, None], dtype="Int64"),
            lambda array: array.dtype,
            id="extension array",
        ),
        pytest.param(
            "xarray",
            lambda xarray: xarray.Dataset({"a": ("x", np.arange(3.0))}),
            lambda dataset: (dataset.attrs, dataset.a.encoding),
            id="dataset",
        ),
    ],
)
def test_what_was_only_looked_at_is_unchanged_in(library, make, look):
    value = make(pytest.importorskip(library))
    before = digest(value).text
    look(value)
    assert digest(value).text == before


def test_attributes_of_a_dataset_count():
    xarray = pytest.importorskip("xarray")
    plain = xarray.Dataset({"a": ("x", np.arange(3.0))})
    assert digest(plain) != digest(plain.assign_attrs(unit="K"))


class Refuses:
    def __reduce_ex__(self, protocol):
        raise KeyError("no")


def test_what_has_no_content_is_named_with_its_path():
    with sqlite3.connect(":memory:") as db, socket.socket() as sock, open(__file__) as file:
        box = Scaler(threading.Lock())
        value = {"db": db, "list": [1, sock, file], "box": box, "own": Refuses()}
        found = dict(digest(value).unstable)
    db.close()
    assert sorted(found) == ["['box'].factor", "['db']", "['list'][1]", "['list'][2]", "['own']"]
    assert "sqlite3.Connection" in found["['db']"]
    assert "KeyError: 'no'" in found["['own']"]


def test_what_has_no_content_counts_by_its_type():
    first, second = digest([threading.Lock()]), digest([threading.Lock()])
    assert first == second
    assert first.text != digest([(n for n in [])]).text


def test_value_of_too_many_parts_is_named_and_not_walked_through(monkeypatch):
    monkeypatch.setattr(content, "MAX_PARTS", 100)
    [(path, reason)] = digest([[] for _ in range(101)]).unstable
    assert (path, "more than 100 objects" in reason) == ("", True)


def test_objects_that_are_known_count_by_their_names():
    one, two = Scaler(1), Scaler(2)
    digests = [Contents({id(each): "it"}).digest([each]) for each in (one, two)]
    assert digests[0] == digests[1]
    assert digests[0] != digest([one])


def module_of(source, name="a_script"):
    namespace = {"__name__": name}
    exec(compile(source, "<script>", "exec", dont_inherit=True), namespace)
    return namespace


WRAPPERS = {
    "function": "{}",
    "static": "staticmethod({})",
    "class method": "classmethod({})",
    "property": "property({})",
    "cached property": "functools.cached_property({})",
    "partial": "functools.partial({}, 1)",
    "partial method": "functools.partialmethod({}, 1)",
    "lru_cache": "functools.lru_cache({})",
    "wraps": "functools.wraps({0})(lambda *args: {0}(*args))",
    "context manager": "contextlib.contextmanager({})",
    "singledispatch": "functools.singledispatch({})",
    "singledispatchmethod": "functools.singledispatchmethod({})",
    "in a class": "type('A', (), dict(f={}))",
    "instance": "type('A', (), dict(__call__={}))()",
    "in a dict": "dict(f={})",
    "argument's default": "lambda x, g={}: g(x)",
    "keyword's default": "lambda x, *, g={}: g(x)",
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_code_counts_however_it_is_wrapped(wrapper):
    def make(constant, comment=""):
        source = f"import contextlib, functools\n{comment}\ndef f(x): return x + {constant}\n"
        return module_of(source + "value = " + wrapper.format("f"))["value"]

    assert digest(make(1)) == digest(make(1, "# a comment\n\n"))
    assert digest(make(1)).text != digest(make(2)).text
    assert digest(make(1)).unstable == ()


def test_use_of_a_cache_does_not_count():
    cached = functools.lru_cache(scaled)
    dispatched = functools.singledispatch(scaled)
    before = digest([cached, dispatched])
    cached(2), dispatched(2)
    assert digest([cached, dispatched]) == before


BESIDE = {
    "number": ("N = 2", "N = 3"),
    "text in a dict": ("N = {'a': [2]}", "N = {'a': [3]}"),
    "array": ("import numpy; N = numpy.arange(3)", "import numpy; N = numpy.arange(4)"),
    "large array": (
        "import numpy; N = numpy.zeros(300_000)",
        "import numpy; N = numpy.ones(300_000)",
    ),
    "quantity in a dict": (
        "import astropy.units as u; N = {'a': [1, 2] * u.m}",
        "import astropy.units as u; N = {'a': [1, 3] * u.m}",
    ),
    "image": (
        "from astropy.nddata import CCDData; N = CCDData([[1, 2]], unit='adu')",
        "from astropy.nddata import CCDData; N = CCDData([[1, 3]], unit='adu')",
    ),
    "table": (
        "from astropy.table import Table; N = Table({'a': [1, 2]})",
        "from astropy.table import Table; N = Table({'a': [1, 3]})",
    ),
    "path": ("import pathlib; N = pathlib.Path('a')", "import pathlib; N = pathlib.Path('b')"),
    "function": ("def N(): return 1", "def N(): return 2"),
    "function's function": (
        "def N(): return M()\ndef M(): return f, 1",
        "def N(): return M()\ndef M(): return f, 2",
    ),
    "class": ("class N:\n x = 1", "class N:\n x = 2"),
    "base": (
        "class M:\n def x(self): return 1\nclass N(M): pass",
        "class M:\n def x(self): return 2\nclass N(M): pass",
    ),
    "partial": (
        "import functools; N = functools.partial(max, 1)",
        "import functools; N = functools.partial(max, 2)",
    ),
}


@pytest.mark.parametrize(("old", "new"), BESIDE.values(), ids=BESIDE.keys())
def test_what_a_function_uses_of_its_module_counts(old, new):
    function = "\ndef f(x): return [N for _ in x]\n"
    first, again, second = (module_of(each + function)["f"] for each in (old, old, new))
    assert digest(first) == digest(again)
    assert digest(first).text != digest(second).text


def test_data_frame_that_a_function_uses_counts():
    pandas = pytest.importorskip("pandas")
    function = module_of("def f(x): return N")["f"]
    digests = []
    for name in ("M31", "M31", "M33"):
        function.__globals__["N"] = pandas.DataFrame({"name": [name], "z": [0.1]})
        digests.append(digest(function))
    assert digests[0] == digests[1] != digests[2]
    assert digests[0].unstable == ()


@pytest.mark.parametrize(
    "value", [object(), [object()], np.array([object()])], ids=["object", "list", "array"]
)
def test_object_beside_a_function_that_is_no_data_does_not_count(value):
    function = module_of("def f(x): return N")["f"]
    before = digest(function)
    function.__globals__["N"] = value
    assert digest(function).unstable == ()
    assert digest(function).text == before.text


def test_what_a_function_does_not_use_does_not_count():
    function = "def f(x): return x\n"
    assert digest(module_of(function)["f"]) == digest(module_of(function + "y = f(2)")["f"])


def test_name_that_the_code_sets_is_state():
    source = "N = {}\ndef f():\n  global N\n  N += 1\n  return N"
    functions = [module_of(source.format(n))["f"] for n in (1, 2)]
    assert digest(functions[0]) == digest(functions[1])


def test_function_of_another_module_does_not_count():
    def with_other(constant):
        other = module_of(f"def N(): return {constant}", "other")["N"]
        namespace = module_of("def f(): return N()")
        namespace["N"] = other
        return namespace["f"]

    assert digest(with_other(1)) == digest(with_other(2))


@pytest.mark.parametrize("value", [1, [2], Point(1)], ids=repr)
def test_closure_counts(value):
    assert digest(scaled(value)) == digest(scaled(value))
    assert digest(scaled(value)) != digest(scaled([value]))


def test_functions_that_call_one_another_are_no_trouble():
    source = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != {} and even(n - 1)"
    first, again, other = (module_of(source.format(n))["even"] for n in (0, 0, 1))
    assert digest(first) == digest(again)
    assert digest(first) != digest(other)


def test_installed_class_counts_by_its_name_unless_it_is_said_to_be_own():
    assert digest(Table).text == digest(Table).text
    assert Contents(own=["astropy.table.table"]).digest(Table).text != digest(Table).text


def test_class_of_python_itself_counts_by_its_name(monkeypatch):
    before = digest(collections.UserDict(a=1))
    monkeypatch.setattr(collections.UserDict, "more", 1, raising=False)
    assert digest(collections.UserDict(a=1)) == before
