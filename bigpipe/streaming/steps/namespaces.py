"""Chunks of any array library, handled by its own functions.

Owns how the library of a chunk is found, and the few things that libraries spell differently.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from bigpipe.chunks import region
from bigpipe.errors import StreamError

__all__ = [
    "as_chunk",
    "as_numpy",
    "axis_of",
    "cut",
    "in_unit",
    "is_numpy",
    "joined",
    "like",
    "namespace_of",
    "stacked",
    "unit_of",
    "unmasked",
    "with_unit",
]


def as_chunk(chunk: Any) -> Any:
    """Return an array as it is, and anything else, such as a list of numbers, as numpy's."""
    return chunk if hasattr(chunk, "shape") and hasattr(chunk, "dtype") else np.asarray(chunk)


def is_numpy(chunk: Any) -> bool:
    """Whether a chunk is of numpy."""
    return isinstance(chunk, np.ndarray)


def namespace_of(chunk: Any) -> Any:
    """Return the module that has the functions for a chunk."""
    if is_numpy(chunk) or isinstance(chunk, np.generic):
        return np
    if hasattr(chunk, "__array_namespace__"):
        return chunk.__array_namespace__()
    kind = type(chunk)
    namespace = sys.modules[kind.__module__.partition(".")[0]]
    if not hasattr(namespace, "zeros"):  # of dask and pandas, say
        raise StreamError(
            f"a step was given a chunk of {kind.__module__}.{kind.__qualname__}, which does not "
            "follow the array API standard: convert it to numpy in a step before, for instance by "
            "np.asarray(chunk)."
        )
    return namespace


def axis_of(axis: int, chunk: Any, who: str) -> int:
    """Return an axis counted from 0, or raise an error that says which step has no such axis."""
    n_axes = len(chunk.shape)
    if not -n_axes <= axis < n_axes:
        raise StreamError(
            f"{who} works along axis {axis}, but a chunk has shape {chunk.shape}: give another "
            "axis."
        )
    return axis % n_axes


def cut(chunk: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """Return samples of an axis, without copying them if the library can."""
    index = list(region(len(chunk.shape), axis, start, stop))
    index[axis] = slice(start, stop, step)
    return chunk[tuple(index)]


def joined(chunks: Sequence[Any], axis: int) -> Any:
    """Return chunks put together along an axis; one alone is returned as it is."""
    if len(chunks) == 1:
        return chunks[0]
    namespace = namespace_of(chunks[0])
    if namespace is np:
        # That of numpy itself forgets what is masked.
        is_masked = any(isinstance(chunk, np.ma.MaskedArray) for chunk in chunks)
        return (np.ma if is_masked else np).concatenate(chunks, axis)
    return namespace.concat(list(chunks), axis=axis)


def stacked(chunks: Sequence[Any]) -> Any:
    """Return chunks of one shape put together along a new first axis."""
    if any(isinstance(chunk, np.ma.MaskedArray) for chunk in chunks):
        return np.ma.stack(chunks)
    return namespace_of(chunks[0]).stack(chunks)


def unmasked(chunk: Any, who: str) -> Any:
    """Return a chunk without its mask, or raise an error if that masks anything."""
    if not isinstance(chunk, np.ma.MaskedArray):
        return chunk
    if np.ma.is_masked(chunk):
        raise StreamError(
            f"{who} cannot leave out the masked values of a chunk: fill them in a step before, for "
            "instance by chunk.filled(nan)."
        )
    return chunk.data


def unit_of(samples: Any) -> Any:
    """Return the unit of a quantity of astropy; ``None`` of anything else."""
    return samples.unit if hasattr(samples, "to_value") else None


def in_unit(samples: Any, unit: Any) -> Any:
    """Return the numbers of samples, of a quantity in this unit."""
    return samples if unit is None else samples.to_value(unit)


def with_unit(numbers: Any, unit: Any) -> Any:
    """Return numbers as a quantity, or as they are if there is no unit."""
    return numbers if unit is None else numbers << unit


def as_numpy(chunk: Any) -> Any:
    """Return a chunk as an array of numpy that shares its memory, if it can."""
    if is_numpy(chunk):
        return chunk
    namespace_of(chunk)  # says so if there is none
    return np.from_dlpack(chunk)


def like(array: Any, chunk: Any) -> Any:
    """Return an array of numpy as one of the library of a chunk."""
    if is_numpy(chunk):
        return array
    namespace = namespace_of(chunk)
    return namespace.asarray(namespace.from_dlpack(array), copy=True)  # not read-only
