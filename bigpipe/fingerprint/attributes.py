"""Which attributes of an object count as its content."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["is_pipe", "of_pipe", "own_attributes", "states_of"]

# A model's array of parameters is uninitialised memory until it is first read: the parameters
# themselves have the values.
_DERIVED = {("astropy.modeling.core", "Model"): frozenset(("_parameters",))}

# Attributes that an object has only once it was asked something, by the package of its class; and
# how xarray closes a file, to which arrays that are not loaded refer themselves.
_KEPT = {"pandas": frozenset(("_cache",)), "xarray": frozenset(("_cache", "_close"))}
_MADE_EMPTY = {"xarray": frozenset(("_attrs", "_encoding"))}  # None before that, then {}

# Options that decide where and how fast a pipeline runs, not what it does. Its lists have private
# names.
_RUN_OPTIONS = frozenset(
    (
        *("num_processes", "mem_available", "mem_frac", "process_size", "create_outdir"),
        "PoolClass",
    )
)


def is_pipe(value: Any) -> bool:
    """Return whether a value is a pipeline of bigpipe."""
    return any(
        cls.__module__ == "bigpipe.pipeline" and cls.__name__ == "BigMultiPipe"
        for cls in type(value).__mro__
    )


def of_pipe(pipe: Any) -> dict[str, Any]:
    """Return the attributes of a pipeline that affect its outputs."""
    return {
        name: x
        for name, x in own_attributes(pipe, _held_by(pipe)).items()
        if name not in _RUN_OPTIONS and not name.startswith("_bmp")
    }


def own_attributes(obj: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes without cached values."""
    computed = (functools.cached_property, property)
    derived = _kept_by(obj).union(
        *(_DERIVED.get((cls.__module__, cls.__name__), ()) for cls in type(obj).__mro__)
    )
    made = _of_packages(obj, _MADE_EMPTY)
    return {
        name: None if name in made and isinstance(x, dict) and not x else x
        for name, x in names.items()
        if name not in derived and not isinstance(_declared(obj, name), computed)
    }


def states_of(obj: Any, state: Any) -> tuple[Any, ...]:
    """Return the parts of the state that an object would be pickled with.

    Arrays of pandas that are made of one of numpy put their attributes last in a tuple, and only
    if there are any: it goes without those that were only kept.
    """
    if isinstance(state, tuple) and len(state) > 2 and type(state[-1]) is dict:
        lasting = {name: x for name, x in state[-1].items() if name not in _kept_by(obj)}
        state = (*state[:-1], lasting) if lasting or not state[-1] else state[:-1]
    return state if isinstance(state, tuple) and len(state) == 2 else (state,)


def _kept_by(obj: Any) -> frozenset[str]:
    return _of_packages(obj, _KEPT)


def _of_packages(obj: Any, table: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return what a table has for the packages of an object's classes."""
    packages = {cls.__module__.partition(".")[0] for cls in type(obj).__mro__}
    return frozenset[str]().union(*(table.get(package, ()) for package in packages))


def _held_by(pipe: Any) -> dict[str, Any]:
    """Return all attributes of an object, from its ``__dict__`` and its ``__slots__``."""
    held = dict(getattr(pipe, "__dict__", {}))
    for cls in type(pipe).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType):
                with suppress(AttributeError):  # the slot is empty
                    held.setdefault(name, slot.__get__(pipe))
    return held


def _declared(obj: Any, name: str) -> Any:
    """Return what the class of an object defines under a name, or ``None``."""
    return next((vars(cls)[name] for cls in type(obj).__mro__ if name in vars(cls)), None)
