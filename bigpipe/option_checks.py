"""The checks of options, and how each option is given as text.

A check receives an option's name and a value other than ``None``; it returns the normalised value
or raises `OptionError`. `bigpipe.options` says which option has which check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any

from bigpipe.budget import parse_bytes
from bigpipe.errors import OptionError

__all__ = ["Kind", "as_text", "assure_list"]

EXECUTORS = ("processes", "threads", "serial")
ORDERS = ("size", "given")
STRATEGIES = ("interleaved", "batched", "overlapped")

Check = Callable[[str, Any], Any]


class Kind(Enum):
    """How an option is written as text, on a command line or in a file."""

    TEXT = "text"
    """Any text, used as it is."""
    PATH = "a name"
    """The name of a file or folder."""
    NUMBER = "a number"
    """Text that is read as a number."""
    SIZE = "a size"
    """Text that the option's check parses, such as ``2 GiB``."""
    FLAG = "true or false"
    """No text: the flag or its opposite is given."""
    CHOICE = "a word"
    """One of the option's fixed words."""
    OBJECT = "an object"
    """The ``module:name`` of an object, for values that cannot be written as text."""
    OBJECTS = "objects"
    """Several such objects."""


def assure_list(x: Any) -> list[Any]:
    """Return a list: ``None`` becomes an empty list, a list stays, anything else is wrapped.

    Examples
    --------
    >>> assure_list(None), assure_list("a"), assure_list(["a"])
    ([], ['a'], ['a'])
    """
    if x is None:
        return []
    return x if isinstance(x, list) else [x]


def _number(name: str, value: Any, minimum: float, *, is_whole: bool = False) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"{name}={value!r} is not a number")
    if not float(value) >= minimum:  # NaN fails this too
        raise OptionError(f"{name}={value!r} is not a number of at least {minimum:g}")
    if is_whole and float(value) % 1:
        raise OptionError(f"{name}={value!r} is not a whole number")
    return int(float(value)) if is_whole else value


def count(name: str, value: Any) -> Any:
    return _number(name, value, 1, is_whole=True)


def whole(name: str, value: Any) -> Any:
    return _number(name, value, 0, is_whole=True)


def not_negative(name: str, value: Any) -> Any:
    return _number(name, value, 0)


def positive(name: str, value: Any) -> Any:
    if _number(name, value, 0) == 0:
        raise OptionError(f"{name}={value!r} is not above zero")
    return value


def size(name: str, value: Any) -> int:
    try:
        n_bytes = parse_bytes(value)
    except (TypeError, ValueError) as error:
        why = str(error) if str(error).startswith(repr(value)) else f"{value!r}: {error}"
        raise OptionError(f"{name}={why}") from None
    if n_bytes <= 0:
        raise OptionError(f"{name}={value!r} is not a size above zero")
    return n_bytes


def size_or_function(name: str, value: Any) -> Any:
    return value if callable(value) else size(name, value)


def order(name: str, value: Any) -> Any:
    return value if callable(value) else OneOf(*ORDERS)(name, value)


def path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise OptionError(f"{name}={value!r} is not a file name: give a str or a path")
    return value


def text(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise OptionError(f"{name}={value!r} is not text: give a str")
    return value


def flag(name: str, value: Any) -> bool:
    # numpy's own bool is not an integer; before numpy 2 its name was bool_.
    if isinstance(value, Integral) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise OptionError(f"{name}={value!r} is neither True nor False: give one of them")


def functions(name: str, value: Any) -> list[Any]:
    given = assure_list(value)
    for function in given:
        if not callable(function):
            raise OptionError(f"{name} contains {function!r}, which cannot be called")
    return given


def fingerprint(name: str, value: Any) -> Any:
    texts = value.items() if isinstance(value, Mapping) else [(name, value)]
    if not all(isinstance(each, str) for pair in texts for each in pair):
        raise OptionError(
            f"{name}={value!r} is neither text nor a dict from keyword names to texts"
        )
    return dict(value) if isinstance(value, Mapping) else value


def exceptions(name: str, value: Any) -> Any:
    kinds = value if isinstance(value, tuple) else (value,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return kinds
    if isinstance(value, type) or not callable(value):
        raise OptionError(
            f"{name}={value!r} is neither an exception type, nor a tuple of them, nor a function "
            "of the exception"
        )
    return value


class OneOf:
    """The check of an option that is one of several words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, name: str, value: Any) -> Any:
        if value not in self.choices:
            choices = ", ".join(map(repr, self.choices))
            raise OptionError(f"{name}={value!r} is not one of {choices}")
        return value


def executor(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return OneOf(*EXECUTORS)(name, value)
    if isinstance(value, type) or not (hasattr(value, "submit") and hasattr(value, "wait")):
        raise OptionError(
            f"{name}={value!r} is neither one of {', '.join(map(repr, EXECUTORS))} nor an "
            "instance of bigpipe.executors.Executor"
        )
    return value


def pool_class(name: str, value: Any) -> Any:
    if not callable(value):
        raise OptionError(f"{name}={value!r} is not a pool class such as NestablePool")
    return value


def strategy(name: str, value: Any) -> Any:
    if isinstance(value, str) and "." not in value:
        return OneOf(*STRATEGIES)(name, value)
    if isinstance(value, (int, float)):
        raise OptionError(f"{name}={value!r} is neither a name nor a strategy")
    return value


def progress(name: str, value: Any) -> Any:
    if not (isinstance(value, bool) or callable(value)):
        raise OptionError(f"{name}={value!r} is neither True nor False nor a function")
    return value


AsText = tuple[tuple[Kind, ...], tuple[str, ...]]
_AS_TEXT: dict[Any, AsText] = {
    **dict.fromkeys((count, whole, not_negative, positive), ((Kind.NUMBER,), ())),
    size: ((Kind.SIZE,), ()),
    size_or_function: ((Kind.SIZE, Kind.OBJECT), ()),
    flag: ((Kind.FLAG,), ()),
    progress: ((Kind.FLAG, Kind.OBJECT), ()),
    executor: ((Kind.CHOICE, Kind.OBJECT), EXECUTORS),
    order: ((Kind.CHOICE, Kind.OBJECT), ORDERS),
    strategy: ((Kind.CHOICE, Kind.OBJECT), STRATEGIES),
    **dict.fromkeys((functions, exceptions), ((Kind.OBJECTS,), ())),
    path: ((Kind.PATH,), ()),
    **dict.fromkeys((text, fingerprint), ((Kind.TEXT,), ())),
    pool_class: ((Kind.OBJECT,), ()),
}


def as_text(check: Check) -> AsText:
    """Return how an option with this check is written as text, and the words it allows."""
    if isinstance(check, OneOf):
        return (Kind.CHOICE,), check.choices
    return _AS_TEXT[check]
