"""Inputs that are a part of a file: ``(name, start, end)``.

Owns the form of such an input, and which functions can read only a part. `bigpipe.fed_pipe` reads
it.
"""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Callable
from typing import Any

__all__ = ["name_of", "parts", "takes_slices"]


def parts(in_name: Any) -> tuple[Any, int | None, int | None] | None:
    """Return name, start and end of an input that is a part of a file, otherwise ``None``.

    Examples
    --------
    >>> parts(("a.npy", 10, 20)), parts(("a.npy", 10, None)), parts("a.npy")
    (('a.npy', 10, 20), ('a.npy', 10, None), None)
    """
    if not isinstance(in_name, tuple) or len(in_name) != 3:
        return None
    name, start, end = in_name
    if not isinstance(name, (str, os.PathLike)):
        return None
    try:
        limits = [None if limit is None else operator.index(limit) for limit in (start, end)]
    except TypeError:
        return None
    return name, limits[0], limits[1]


def name_of(in_name: Any) -> Any:
    """Return the name of the file that an input is a part of; any other input unchanged."""
    found = parts(in_name)
    return in_name if found is None else found[0]


def takes_slices(function: Callable[..., Any]) -> bool:
    """Return whether a function has parameters named ``start`` and ``end``.

    Examples
    --------
    >>> takes_slices(lambda in_name, start=0, end=None, **kwargs: None)
    True
    >>> takes_slices(lambda in_name, **kwargs: None)
    False
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return all(name in parameters and parameters[name].kind in kinds for name in ("start", "end"))
