"""What a value consists of, so that equal contents have equal digests in every process.

Owns which parts of an object count. Nothing may count that differs between processes: addresses,
hashes, the order of sets, and whether two equal parts are one object.
`bigpipe.fingerprint.graph_digest` combines parts into one digest;
`bigpipe.fingerprint.code_digest` makes digests of code.

An object of a class that is not known here counts by the content it would be pickled with.
"""

from __future__ import annotations

import copyreg
import functools
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, EnumMeta
from hashlib import sha256
from typing import Any

from bigpipe.fingerprint.array_digest import array_digest
from bigpipe.fingerprint.attributes import is_pipe, of_pipe, own_attributes, states_of
from bigpipe.fingerprint.code_digest import atom, code_digest
from bigpipe.fingerprint.code_scope import CLASS_NOISE, belongs_to_code, is_installed, is_standard
from bigpipe.fingerprint.foreign import foreign_parts
from bigpipe.fingerprint.graph_digest import Graph, Order, Token

__all__ = ["Contents", "Digest"]

MAX_PARTS = 2_000_000  # objects in one value; arbitrary: some seconds, and about 1 GB
MAX_INLINE = 4096  # bytes: longer texts are kept as a digest
MAX_REASON = 200  # characters of an object's error message on why it cannot be reduced

_DESCRIPTORS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


@dataclass(frozen=True)
class Digest:
    """The digest of a value."""

    text: str
    """32 hexadecimal digits."""
    unstable: tuple[tuple[str, str], ...] = ()
    """Parts of which only the name of the type counts: path from the value, and reason."""


class Contents:
    """Digests of several values with the same known objects and modules.

    Parameters
    ----------
    known : mapping, optional
        Names, by ``id``, of objects that count by this name only.
    own : iterable of str, optional
        Modules whose code counts although they are installed. Of functions and classes of other
        installed modules, only the names and the functions' own instructions count.
    """

    def __init__(self, known: Mapping[int, str] | None = None, own: Iterable[str] = ()) -> None:
        self.known = dict(known or {})
        self._own = frozenset(own)
        self._arrays: dict[int, tuple[Any, bytes]] = {}

    def digest(self, value: Any) -> Digest:
        """Return the digest of one value.

        Returns
        -------
        Digest
            Equal for equal content, type included, in every process.

        Examples
        --------
        >>> digest = Contents().digest
        >>> digest([1, {"a": 2.0, "b": {3, 4}}]) == digest([1, {"b": {4, 3}, "a": 2.0}])
        True
        >>> digest(1) == digest(True)
        False
        >>> digest({"numbers": (n for n in [])}).unstable[0][0]
        "['numbers']"
        """
        walk = _Walk(self)
        text = walk.digest(value).hex()
        return Digest(text, tuple(walk.unstable))

    def counts_by_code(self, module: Any) -> bool:
        """Return whether functions and classes of a module count by their code."""
        return module in self._own or not is_installed(module)

    def array(self, array: Any) -> bytes:
        """Return the digest of an array's elements, computed only once."""
        found = self._arrays.get(id(array))
        if found is None:
            found = self._arrays[id(array)] = (array, array_digest(array))
        return found[1]


class _Attributes:
    """The attributes of an object, as opposed to a dict in it."""

    def __init__(self, names: Mapping[Any, Any]) -> None:
        self.names = names


class _Empty:
    """An array without elements, which stands for everything else that an array holds."""

    def __init__(self, array: Any) -> None:
        self.array = array


class _Walk:
    """One walk through the parts of a value."""

    def __init__(self, contents: Contents) -> None:
        self.unstable: list[tuple[str, str]] = []
        self._contents = contents
        self._graph = Graph()
        self._places: dict[int, int] = {}
        self._objects: list[Any] = []  # alive as long as their ids are used
        self._origins: list[tuple[int, str, Any]] = []
        self._at = 0  # place of the object whose parts are looked for

    def digest(self, value: Any) -> bytes:
        """Return the digest of the value."""
        self._objects.append([value])
        self._origins.append((0, "", None))
        self._graph.add()
        self._graph.set(0, b"value", [self._token(value)])
        place = 1
        while place < len(self._objects):
            self._at = place
            obj = self._objects[place]
            try:
                self._expand(obj)
            except Exception as error:  # an object's own reduction may raise anything
                self._give_up(obj, error)
            place += 1
            if place > MAX_PARTS:
                return self._too_many(value)
        return self._graph.digest()

    def _token(self, obj: Any, step: str = "", key: Any = None) -> Token:
        """Return the token of a part: its bytes if it is plain, else its place."""
        if type(obj) is bytes and len(obj) > MAX_INLINE:
            return b"bytes#%b;" % sha256(obj).digest()
        raw = atom(obj)
        if raw is not None:
            return raw if len(raw) <= MAX_INLINE else b"text#%b;" % sha256(raw).digest()
        place = self._places.get(id(obj))
        if place is None:
            place = self._places[id(obj)] = len(self._objects)
            self._objects.append(obj)
            self._origins.append((self._at, step, key))
            self._graph.add()
        return place

    def _set(self, label: str, parts: Iterable[Token] = (), order: Order = Order.GIVEN) -> None:
        """Set the label and parts of the current object."""
        raw = label.encode("utf-8", "surrogatepass")
        self._graph.set(self._at, raw, list(parts), order)

    def _give_up(self, obj: Any, error: Exception) -> None:
        name = _global_name(type(obj))
        reason = f"{type(error).__name__}: {error}"[:MAX_REASON]
        self.unstable.append((self._path(self._at), f"a {name} cannot be compared ({reason})"))
        self._set(f"unstable {name}")

    def _too_many(self, value: Any) -> bytes:
        name = _global_name(type(value))
        reason = f"a {name} of more than {MAX_PARTS} objects is not compared"
        self.unstable = [("", reason)]
        return sha256(name.encode()).digest()[:16]

    def _path(self, place: int) -> str:
        steps = []
        while place:
            place, step, key = self._origins[place]
            steps.append(step.format(key))
        return "".join(reversed(steps))

    def _expand(self, obj: Any) -> None:
        """Find the parts of an object."""
        name = self._contents.known.get(id(obj))
        if name is not None:
            self._set(f"known {name}")
            return
        expand = _BY_TYPE.get(type(obj))
        if expand is None:
            expand = next((each for kind, each in _BY_BASE if isinstance(obj, kind)), None)
        if expand is None:
            expand = _numpy_expander(obj) or _Walk._instance
        expand(self, obj)

    def _sequence(self, obj: Any) -> None:
        self._set(
            type(obj).__name__, [self._token(each, "[{!r}]", i) for i, each in enumerate(obj)]
        )

    def _set_of(self, obj: Any) -> None:
        parts = [self._token(each, "{{{!r}}}", each) for each in obj]
        if type(obj) in (set, frozenset):
            self._set(type(obj).__name__, parts, Order.NONE)
            return
        self._set(
            "set", [self._token(type(obj)), self._token(frozenset(obj)), self._attributes_of(obj)]
        )

    def _mapping(self, obj: Any) -> None:
        self._set("dict", self._pairs(obj, "[{!r}]"), Order.PAIRS)

    def _pairs(self, names: Mapping[Any, Any], step: str) -> list[Token]:
        parts: list[Token] = []
        for key, value in names.items():
            parts += (self._token(key, "[{!r}]", key), self._token(value, step, key))
        return parts

    def _attributes(self, obj: _Attributes) -> None:
        self._set("attributes", self._pairs(obj.names, ".{}"), Order.PAIRS)

    def _attributes_of(self, obj: Any) -> Token:
        return self._token(_Attributes(own_attributes(obj, getattr(obj, "__dict__", {}))))

    def _bytearray(self, obj: Any) -> None:
        self._set("bytearray", [b"%b;" % sha256(obj).digest()])

    def _array(self, obj: Any, kind: str = "array") -> None:
        label = f"{kind} {obj.shape!r}"
        if obj.dtype.hasobject or obj.dtype.kind == "T":
            elements = obj.ravel().tolist()
            parts = [self._token(each, "[{!r}]", i) for i, each in enumerate(elements)]
            self._set(label, [self._dtype_token(obj.dtype), *parts])
        else:
            self._set(label, [self._dtype_token(obj.dtype), self._contents.array(obj)])

    def _dtype_token(self, dtype: Any) -> Token:
        if dtype.kind in "biufcSUmM" and dtype.metadata is None and dtype.subdtype is None:
            return b"dtype%b;" % dtype.str.encode()
        return self._token(dtype)

    def _scalar(self, obj: Any) -> None:
        import numpy

        self._array(numpy.asarray(obj), "scalar")

    def _array_of_subclass(self, obj: Any) -> None:
        """Read the elements in place; the rest counts by what an empty slice is pickled as."""
        import numpy

        if type(obj) is numpy.memmap:
            self._array(obj.view(numpy.ndarray))
            return
        if obj.ndim == 0:
            self._instance(obj)
            return
        empty = obj[:0]
        mask = None
        if isinstance(obj, numpy.ma.MaskedArray):
            _ = empty.fill_value  # it is made when it is first asked for
            mask = numpy.ma.getmaskarray(obj) if obj.dtype.names else numpy.ma.getmask(obj)
            mask = mask if obj.dtype.names or mask.any() else None
            obj = obj.data
        elements = obj.view(numpy.ndarray)
        self._set("array", [self._token(each) for each in (elements, mask, _Empty(empty))])

    def _empty(self, obj: _Empty) -> None:
        self._reduced(obj.array)

    def _function(self, obj: Any) -> None:
        home = obj.__globals__.get("__name__")
        counts = self._contents.counts_by_code(home)
        if not counts and is_standard(home) and not obj.__closure__:
            self._set(f"global {_global_name(obj)}")
            return
        registry = obj.__dict__.get("registry")
        if isinstance(registry, types.MappingProxyType) and "dispatch" in obj.__dict__:
            self._set("singledispatch", [self._token(registry)])
            return
        code = code_digest(obj.__code__)
        closure = dict(zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True))
        names = sorted(code.loaded - code.stored) if counts else []
        beside = {name: obj.__globals__[name] for name in names if name in obj.__globals__}
        beside = {name: x for name, x in beside.items() if belongs_to_code(x, home)}
        defaults = (obj.__defaults__ or (), obj.__kwdefaults__ or {})
        parts: tuple[Any, ...] = (defaults, _Attributes(closure), _Attributes(beside))
        self._set("function", [code.digest, *map(self._token, parts)])

    def _code(self, obj: Any) -> None:
        self._set("code", [code_digest(obj).digest])

    def _cell(self, obj: Any) -> None:
        try:
            self._set("cell", [self._token(obj.cell_contents)])
        except ValueError:  # it is empty
            self._set("empty cell")

    def _method(self, obj: Any) -> None:
        self._set("method", [self._token(obj.__func__), self._token(obj.__self__)])

    def _builtin(self, obj: Any) -> None:
        if obj.__self__ is None or isinstance(obj.__self__, types.ModuleType):
            self._set(f"global {_global_name(obj)}")
        else:
            self._set(f"builtin method {obj.__name__}", [self._token(obj.__self__)])

    def _descriptor(self, obj: Any) -> None:
        self._set(f"{type(obj).__name__} {obj.__name__}")

    def _module(self, obj: Any) -> None:
        self._set(f"module {obj.__name__}")

    def _property(self, obj: Any) -> None:
        functions = (obj.fget, obj.fset, obj.fdel)
        self._set(_global_name(type(obj)), [self._token(each) for each in functions])

    def _cached_property(self, obj: Any) -> None:
        self._set("cached_property", [self._token(obj.func)])

    def _lru_cache(self, obj: Any) -> None:
        self._set("lru_cache", [self._token(obj.__wrapped__)])

    def _static_or_class_method(self, obj: Any) -> None:
        self._set(type(obj).__name__, [self._token(obj.__func__)])

    def _class(self, obj: type) -> None:
        if not self._contents.counts_by_code(obj.__module__):
            self._set(f"global {_global_name(obj)}")
            return
        names = {name: x for name, x in vars(obj).items() if name not in CLASS_NOISE}
        if isinstance(obj, EnumMeta):
            methods = {name: x for name, x in names.items() if _is_method(x) and name[0] != "_"}
            members: Mapping[str, Any] = obj.__members__
            names = {**methods, **{name: each._value_ for name, each in members.items()}}
        bases = [self._token(base) for base in obj.__bases__ if base is not object]
        self._set(f"class {obj.__qualname__}", [self._token(_Attributes(names)), *bases])

    def _enum_member(self, obj: Enum) -> None:
        label = f"member {type(obj).__qualname__}.{obj._name_}"
        self._set(label, [self._token(type(obj)), self._token(obj._value_)])

    def _instance(self, obj: Any) -> None:
        if is_pipe(obj):
            parts = (type(obj), _Attributes(of_pipe(obj)))
            self._set("pipeline", [self._token(part) for part in parts])
        elif (foreign := foreign_parts(obj)) is not None:
            label, counted = foreign
            self._set(label, [self._token(part) for part in counted])
        elif isinstance(obj, os.PathLike) and type(obj).__module__.partition(".")[0] == "pathlib":
            # Python 3.13 would pickle it by the pieces that it was made from, one or several.
            self._set(f"{type(obj).__name__} {os.fspath(obj)}")
        else:
            self._reduced(obj)

    def _reduced(self, obj: Any) -> None:
        """Count an object by what it would be pickled as."""
        reduce = copyreg.dispatch_table.get(type(obj))
        reduced = reduce(obj) if reduce is not None else obj.__reduce_ex__(4)
        if isinstance(reduced, str):
            module = getattr(obj, "__module__", None) or type(obj).__module__
            self._set(f"global {module}.{reduced}")
            return
        make, args, state, items, pairs = [*reduced, None, None, None][:5]
        states: list[Any] = [
            _Attributes(own_attributes(obj, each)) if type(each) is dict else each
            for each in states_of(obj, state)
        ]
        contents: list[Any] = [None if items is None else list(items)]
        if pairs is not None:
            contents.append(list(pairs) if isinstance(obj, OrderedDict) else dict(pairs))
        name = _global_name(make) if callable(make) else repr(type(make))
        if isinstance(make, type):
            states.append(make)
        parts = [self._token(each) for each in (args, contents, *states)]
        self._set(f"object by {name}", parts)


_BY_TYPE: dict[type, Callable[[_Walk, Any], None]] = {
    list: _Walk._sequence,
    tuple: _Walk._sequence,
    dict: _Walk._mapping,
    types.MappingProxyType: _Walk._mapping,
    bytearray: _Walk._bytearray,
    _Attributes: _Walk._attributes,
    _Empty: _Walk._empty,
    types.FunctionType: _Walk._function,
    types.CodeType: _Walk._code,
    types.CellType: _Walk._cell,
    types.MethodType: _Walk._method,
    types.BuiltinFunctionType: _Walk._builtin,
    types.ModuleType: _Walk._module,
    functools.cached_property: _Walk._cached_property,
    functools._lru_cache_wrapper: _Walk._lru_cache,
    staticmethod: _Walk._static_or_class_method,
    classmethod: _Walk._static_or_class_method,
    **dict.fromkeys(_DESCRIPTORS, _Walk._descriptor),
}
_BY_BASE: tuple[tuple[type, Callable[[_Walk, Any], None]], ...] = (
    (type, _Walk._class),
    (Enum, _Walk._enum_member),
    (set, _Walk._set_of),
    (frozenset, _Walk._set_of),
    (property, _Walk._property),
    (types.ModuleType, _Walk._module),
)


def _numpy_expander(obj: Any) -> Callable[[_Walk, Any], None] | None:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    if type(obj) is numpy.ndarray:
        return _Walk._array
    if isinstance(obj, numpy.ndarray):
        return _Walk._array_of_subclass
    return _Walk._scalar if isinstance(obj, numpy.generic) else None


def _is_method(value: Any) -> bool:
    kinds = (types.FunctionType, property, staticmethod, classmethod, functools.cached_property)
    return isinstance(value, kinds)


def _global_name(obj: Any) -> str:
    module = getattr(obj, "__module__", None) or ""
    name = str(getattr(obj, "__qualname__", None) or getattr(obj, "__name__", type(obj).__name__))
    return name if module in ("builtins", "__main__", "") else f"{module}.{name}"
