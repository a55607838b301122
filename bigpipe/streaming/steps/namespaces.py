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

__all__ = ["as_chunk", "as_numpy", "axis_of", "cut", "is_numpy", "joined", "like", "namespace_of"]


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
    return sys.modules[type(chunk).__module__.partition(".")[0]]


def axis_of(axis: int, chunk: Any, who: str) -> int:
    """Return an axis counted from 0, or raise an error that says which step has no such axis."""
    n_axes = len(chunk.shape)
    if not -n_axes <= axis < n_axes:
        raise StreamError(f"{who} works along axis {axis}, and a chunk has shape {chunk.shape}.")
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
        return np.concatenate(chunks, axis)
    return namespace.concat(list(chunks), axis=axis)


def as_numpy(chunk: Any) -> Any:
    """Return a chunk as an array of numpy that shares its memory, if it can."""
    return chunk if is_numpy(chunk) else np.from_dlpack(chunk)


def like(array: Any, chunk: Any) -> Any:
    """Return an array of numpy as one of the library of a chunk."""
    if is_numpy(chunk):
        return array
    namespace = namespace_of(chunk)
    return namespace.asarray(namespace.from_dlpack(array), copy=True)  # not read-only
