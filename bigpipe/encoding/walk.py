"""The walk over nested values that makes their text, and the way back.

Owns the form of plain values and containers, and the limits. A value that JSON cannot represent
becomes an object of one key, such as ``{"!datetime.date": [2024, 5, 1]}``: the name of its codec
and the parts that the codec takes it apart into. A dict with a key that is not text, or that begins
with ``!``, becomes a list of pairs, ``{"!dict": [[1, "one"]]}``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from bigpipe.encoding.codec import Codec
from bigpipe.encoding.registry import codec_named, codec_of
from bigpipe.errors import EncodingError, UnsafeValueError

__all__ = ["decode", "encode"]

MAX_DEPTH = 100  # levels of nesting; arbitrary, far below Python's recursion limit
MAX_DIGITS = 640  # of an int in decimal: no Python can be set to read fewer
MAX_BITS = 2100  # an int of this many bits has fewer digits than that
MAX_KEY_SHOWN = 60  # characters of a key in a message; arbitrary

_TAG = "!"
_LEAVES = frozenset({type(None), bool, int, float, str})
_STR_ONLY = frozenset({str})

# Two code points that JSON, which writes UTF-16, would read back as one.
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# The lookbehind keeps this linear for a text made of digits.
_LONG_NUMBER = re.compile(f"(?<![0-9])[0-9]{{{MAX_DIGITS + 1}}}")


def encode(value: Any, name: str = "value") -> str:
    """Return a value as JSON text, from which `decode` makes an equal value.

    Parameters
    ----------
    value : object
        A value of the types in the table of `bigpipe.encoding`, nested in any way.
    name : str, optional
        Name of the value in an error message.

    Returns
    -------
    str
        Strict JSON in ASCII, on one line. Values that are equal, with equal types and order, have
        the same text; the order of a set does not matter.

    Raises
    ------
    UnsafeValueError
        If a part of the value has no safe form, contains itself, or is nested more than 100 levels
        deep.

    Examples
    --------
    >>> encode({"seeing": 1.2, "shape": (2, 3)})
    '{"seeing":1.2,"shape":{"!tuple":[2,3]}}'
    """
    if _is_plain(value):
        try:
            text = _dumps(value)
        except ValueError:  # nan, inf, or an int of very many digits
            pass
        else:
            if not _is_ambiguous(text):
                return text
    return _dumps(_Walk(name).tree(value))


def decode(text: str) -> Any:
    """Return the value of a text that `encode` has made.

    Parameters
    ----------
    text : str
        The text. It need not be trusted.

    Returns
    -------
    object
        The value. Its memory is of the order of the text's length.

    Raises
    ------
    EncodingError
        If the text is damaged, or names a type that is not known here.

    Examples
    --------
    >>> decode('{"seeing":1.2,"shape":{"!tuple":[2,3]}}')
    {'seeing': 1.2, 'shape': (2, 3)}
    """
    try:
        return _loads(text)
    except EncodingError:
        raise
    except Exception as error:  # a constructor may raise anything if its arguments are nonsense
        raise EncodingError(f"the text of a value cannot be read: {error}") from error


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether JSON can represent a value and all its parts, judging by types alone."""
    kind = type(value)
    if kind is dict:
        if not _STR_ONLY.issuperset(map(type, value)):
            return False
        members: Iterable[Any] = value.values()
    elif kind is list:
        members = value
    else:
        return kind in _LEAVES
    if depth >= MAX_DEPTH:
        return False
    for member in members:  # a generator expression would take longer than all the rest
        if type(member) not in _LEAVES and not _is_plain(member, depth + 1):
            return False
    return True


def _is_ambiguous(text: str) -> bool:
    """Return whether the text of a plain value might not be read back as that value."""
    return (
        '"!' in text
        or "\\ud" in text
        or (len(text) > MAX_DIGITS and _LONG_NUMBER.search(text) is not None)
    )


class _Walk:
    """One walk through a value, which turns each part into what JSON can represent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path: list[Any] = []
        self.open: set[int] = set()  # ids of the values that this one is within
        self.containers: dict[type, Callable[[Any], Any]] = {
            dict: self.dict_tree,
            list: self.list_tree,
            tuple: lambda value: {"!tuple": self.list_tree(value)},
            set: lambda value: {"!set": self.set_tree(value)},
            frozenset: lambda value: {"!frozenset": self.set_tree(value)},
        }

    def tree(self, value: Any) -> Any:
        kind = type(value)
        if kind in _LEAVES and _has_a_form(value):
            return value
        if id(value) in self.open:
            raise self.unsafe(value, "it contains itself")
        if len(self.open) >= MAX_DEPTH:
            raise self.unsafe(value, f"it is nested in {MAX_DEPTH} others")
        self.open.add(id(value))
        container = self.containers.get(kind)
        tree = self.object_tree(value) if container is None else container(value)
        self.open.remove(id(value))
        return tree

    def object_tree(self, value: Any) -> dict[str, Any]:
        try:
            found = codec_of(type(value))
            parts = None if found is None else found[1].parts(value)
        except Exception as error:  # a foreign object in an odd state may raise anything
            raise self.unsafe(value, str(error)) from error
        if found is None:
            raise self.unsafe(value, "values of this type have no form that is safe to read back")
        return {_TAG + found[0]: self.tree(parts)}

    def list_tree(self, values: Any) -> list[Any]:
        trees = []
        for index, value in enumerate(values):
            self.path.append(index)
            trees.append(self.tree(value))
            self.path.pop()
        return trees

    def set_tree(self, values: Any) -> list[Any]:
        """Sort by text, because equal sets may have different orders."""
        return sorted((self.tree(value) for value in values), key=_dumps)

    def dict_tree(self, values: dict[Any, Any]) -> dict[str, Any]:
        pairs = []
        for key, value in values.items():
            self.path.append(_step(key))
            pairs.append((self.tree(key), self.tree(value)))
            self.path.pop()
        if all(type(key) is str and not key.startswith(_TAG) for key, _ in pairs):
            return dict(pairs)
        return {"!dict": pairs}

    def unsafe(self, value: Any, reason: str) -> UnsafeValueError:
        kind = type(value)
        type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        where = self.name + "".join(f"[{_shown(step)}]" for step in self.path)
        return UnsafeValueError(
            f"{where}, a {type_name}, cannot be kept as text: {reason}; {_remedy(value)}",
            path=tuple(self.path),
            type_name=type_name,
        )


def _remedy(value: Any) -> str:
    """Return what to keep in place of a value."""
    kind = type(value)
    if isinstance(value, Enum):
        return "keep its .name or .value"
    if is_dataclass(value) and not isinstance(value, type):
        return "keep its fields as a dict, by dataclasses.asdict()"
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return "keep its fields as a dict, by its method ._asdict()"
    return "keep what it is made of, as numbers, text, arrays, lists or dicts"


def _has_a_form(value: Any) -> bool:
    """Return whether JSON can represent a value of a plain type that is not a container."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(value.bit_length() <= MAX_BITS)
    return kind is not str or value.isascii() or _SURROGATE_PAIR.search(value) is None


def _step(key: Any) -> Any:
    """Return a key as a step of a path; it must outlive the value and be picklable."""
    return key if type(key) in _LEAVES else _shown(key)


def _shown(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # a foreign __repr__ fails, or an int has too many digits to be shown
        return f"<{type(key).__name__}>"
    return text if len(text) <= MAX_KEY_SHOWN else text[: MAX_KEY_SHOWN - 3] + "..."


def _assembled(fields: dict[str, Any]) -> Any:
    """Return the value of a JSON object whose members are already decoded."""
    if len(fields) != 1:
        return fields
    ((key, parts),) = fields.items()
    if not key.startswith(_TAG):
        return fields
    codec: Codec | None = codec_named(key[1:])
    if codec is None:
        raise EncodingError(
            f"the text of a value names {key[1:]!r}, which is not known here: it was written by "
            "a later version of bigpipe, or not by bigpipe"
        )
    return codec.assemble(parts)


def _refuse(token: str) -> Any:
    raise EncodingError(f"the text of a value has {token}, which is not JSON")


# A value that contains itself has been refused before.
_dumps = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode
_loads = json.JSONDecoder(object_hook=_assembled, parse_constant=_refuse).decode
