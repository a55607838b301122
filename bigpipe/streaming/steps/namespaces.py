"""Chunks of any array library, handled by that library's functions.

Owns how the library of a chunk is found, and the few functions that libraries spell differently.
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
    "copied",
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
    """Return an array unchanged, and anything else, such as a list, as an array of numpy."""
    return chunk if hasattr(chunk, "shape") and hasattr(chunk, "dtype") else np.asarray(chunk)


def is_numpy(chunk: Any) -> bool:
    """Return whether a chunk is an array of numpy."""
    return isinstance(chunk, np.ndarray)


def namespace_of(chunk: Any) -> Any:
    """Return the module with the functions for a chunk."""
    if is_numpy(chunk) or isinstance(chunk, np.generic):
        return np
    if hasattr(chunk, "__array_namespace__"):
        return chunk.__array_namespace__()
    kind = type(chunk)
    namespace = sys.modules[kind.__module__.partition(".")[0]]
    if not hasattr(namespace, "zeros"):  # such as dask and pandas
        raise StreamError(
            f"a step was given a chunk of {kind.__module__}.{kind.__qualname__}, which does not "
            "follow the array API standard: convert it to numpy in a step before, for instance by "
            "np.asarray(chunk)"
        )
    return namespace


def axis_of(axis: int, chunk: Any, who: str) -> int:
    """Return an axis counted from 0; raise an error that names the step if there is none."""
    n_axes = len(chunk.shape)
    if not -n_axes <= axis < n_axes:
        raise StreamError(
            f"{who} works along axis {axis}, but a chunk has shape {chunk.shape}: give another axis"
        )
    return axis % n_axes


def cut(chunk: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """Return a range of samples along an axis, as a view if the library can."""
    index = list(region(len(chunk.shape), axis, start, stop))
    index[axis] = slice(start, stop, step)
    return chunk[tuple(index)]


def copied(chunk: Any) -> Any:
    """Return a copy to keep: the memory of a chunk may be reused, and a view keeps all of it."""
    if is_numpy(chunk):
        return chunk.copy()
    namespace = namespace_of(chunk)  # raises if there is none
    if hasattr(chunk, "__array_namespace__"):
        return namespace.asarray(chunk, copy=True)
    return chunk + 0


def joined(chunks: Sequence[Any], axis: int) -> Any:
    """Return chunks joined along an axis; a single one unchanged."""
    if len(chunks) == 1:
        return chunks[0]
    namespace = namespace_of(chunks[0])
    if namespace is np:
        # np.concatenate drops masks.
        is_masked = any(isinstance(chunk, np.ma.MaskedArray) for chunk in chunks)
        return (np.ma if is_masked else np).concatenate(chunks, axis)
    return namespace.concat(list(chunks), axis=axis)


def stacked(chunks: Sequence[Any]) -> Any:
    """Return chunks of one shape joined along a new first axis."""
    if any(isinstance(chunk, np.ma.MaskedArray) for chunk in chunks):
        return np.ma.stack(chunks)
    return namespace_of(chunks[0]).stack(chunks)


def unmasked(chunk: Any, who: str) -> Any:
    """Return a chunk without its mask; raise an error if any value is masked."""
    if not isinstance(chunk, np.ma.MaskedArray):
        return chunk
    if np.ma.is_masked(chunk):
        raise StreamError(
            f"{who} cannot leave out the masked values of a chunk: fill them in a step before, for "
            "instance by chunk.filled(nan)"
        )
    return chunk.data


def unit_of(samples: Any) -> Any:
    """Return the unit of a quantity of astropy; ``None`` for anything else."""
    return samples.unit if hasattr(samples, "to_value") else None


def in_unit(samples: Any, unit: Any) -> Any:
    """Return the samples as numbers; a quantity's in this unit."""
    return samples if unit is None else samples.to_value(unit)


def with_unit(numbers: Any, unit: Any) -> Any:
    """Return numbers as a quantity; unchanged if there is no unit."""
    return numbers if unit is None else numbers << unit


def as_numpy(chunk: Any) -> Any:
    """Return a chunk as an array of numpy, sharing its memory if possible."""
    if is_numpy(chunk):
        return chunk
    namespace_of(chunk)  # raises if there is none
    return np.from_dlpack(chunk)


def like(array: Any, chunk: Any) -> Any:
    """Return an array of numpy as an array of the chunk's library."""
    if is_numpy(chunk):
        return array
    namespace = namespace_of(chunk)
    return namespace.asarray(namespace.from_dlpack(array), copy=True)  # not read-only
