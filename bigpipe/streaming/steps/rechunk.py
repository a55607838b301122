"""Ready-made steps that cut a stream differently: the same samples in chunks of other lengths.

Their names are in lower case, like those of `itertools`.
"""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np

from bigpipe.errors import StreamError
from bigpipe.streaming.steps.base import StatelessStep, Step
from bigpipe.streaming.steps.namespaces import (
    as_chunk,
    axis_of,
    copied,
    cut,
    is_numpy,
    joined,
    stacked,
)

__all__ = ["pack", "repack", "unpack", "windows"]


class pack(Step):
    """Make one chunk of every `n` chunks.

    Parameters
    ----------
    n : int
        Number of chunks. The last result may have fewer.

    Notes
    -----
    Numbers, and arrays of the same shape, become an array with a new first axis. Anything else
    becomes a list.

    Examples
    --------
    >>> from bigpipe.streaming import run_steps
    >>> [chunk.tolist() for chunk in run_steps(range(5), pack(2))]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, n: int) -> None:
        self.n = _at_least_one(n, "pack")
        self._held: list[Any] = []

    def run(self, chunk: Any) -> Any:
        """Keep a chunk until there are enough."""
        self._held.append(chunk.copy() if is_numpy(chunk) else chunk)
        return self.local_term() if len(self._held) == self.n else None

    def local_term(self) -> Any:
        """Give the remaining chunks."""
        held, self._held = self._held, []
        return _packed(held) if held else None

    def get_state(self) -> Any:
        """Return the chunks that are kept."""
        return list(self._held)

    def set_state(self, state: Any) -> None:
        """Restore the chunks that were kept."""
        self._held = list(state)


class unpack(StatelessStep):
    """Give the elements of each chunk one by one: the reverse of `pack`.

    Examples
    --------
    >>> from bigpipe.streaming import run_steps
    >>> list(run_steps([[1, 2], [3]], unpack()))
    [1, 2, 3]
    """

    def run(self, chunk: Any) -> Iterator[Any]:
        """Give the elements of a list, or of an array along its first axis."""
        if hasattr(chunk, "shape"):
            return (chunk[(i, ...)] for i in range(chunk.shape[0]))
        return iter(chunk)


class windows(Step):
    """Cut a stream into overlapping chunks of `n` samples.

    Parameters
    ----------
    n : int
        Number of samples in a chunk. The last may have fewer, but always has a new one.
    overlap : int, optional
        Number of samples that a chunk shares with the one before it; less than `n`.
    axis : int, optional
        Axis of the samples.

    Notes
    -----
    The results are the chunks that `read_chunks` gives for the same `n` and `overlap`, however long
    the incoming chunks are.

    Examples
    --------
    >>> from bigpipe.streaming import run_steps
    >>> [chunk.tolist() for chunk in run_steps([[0, 1], [2, 3, 4]], windows(3, overlap=1))]
    [[0, 1, 2], [2, 3, 4]]
    """

    def __init__(self, n: int, overlap: int = 0, axis: int = 0) -> None:
        self.n, self.overlap, self.axis = _at_least_one(n, type(self).__name__), overlap, axis
        if not 0 <= overlap < n:
            raise StreamError(f"overlap={overlap} must be at least 0 and less than n={n}")
        self._held: list[Any] = []
        self._n_held = 0
        self._n_old = 0  # number of kept samples that the last chunk had too

    def run(self, chunk: Any) -> Any:
        """Give all chunks that are full."""
        chunk = as_chunk(chunk)
        axis = axis_of(self.axis, chunk, type(self).__name__)
        self._n_held += chunk.shape[axis]
        self._held.append(chunk)
        if self._n_held < self.n:
            if len(self._held) > 1 and not chunk.shape[axis]:
                self._held.pop()
            else:
                self._held[-1] = copied(chunk)
            return None
        samples = joined(self._held, axis)
        step = self.n - self.overlap
        starts = range(0, self._n_held - self.n + 1, step)
        full = [cut(samples, axis, start, start + self.n) for start in starts]
        rest = starts[-1] + step
        self._held = [copied(cut(samples, axis, rest, self._n_held))]
        self._n_held -= rest
        self._n_old = self.overlap
        return iter(full) if len(full) > 1 else full[0]

    def local_term(self) -> Any:
        """Give the remaining samples."""
        if self._n_held == self._n_old:
            return None
        return joined(self._held, axis_of(self.axis, self._held[0], type(self).__name__))

    def get_state(self) -> Any:
        """Return the samples that are kept."""
        if not self._held:
            return None
        axis = axis_of(self.axis, self._held[0], type(self).__name__)
        return {"held": joined(self._held, axis), "n_old": self._n_old}

    def set_state(self, state: Any) -> None:
        """Restore the samples that were kept."""
        self._held = [] if state is None else [state["held"]]
        self._n_held = self._held[0].shape[self.axis] if state else 0
        self._n_old = state["n_old"] if state else 0


class repack(windows):
    """Cut a stream into chunks of exactly `n` samples; the last may have fewer.

    Parameters
    ----------
    n : int
        Number of samples in a chunk.
    axis : int, optional
        Axis of the samples.

    Examples
    --------
    >>> from bigpipe.streaming import run_steps
    >>> [chunk.tolist() for chunk in run_steps([[0, 1, 2, 3], [4]], repack(2))]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, n: int, axis: int = 0) -> None:
        super().__init__(n, axis=axis)


def _at_least_one(n: int, who: str) -> int:
    if not isinstance(n, Integral) or n < 1:
        raise StreamError(f"{who}({n}) would never be full: give an int, 1 or more")
    return n


def _packed(chunks: list[Any]) -> Any:
    if all(isinstance(chunk, (int, float, complex, np.generic)) for chunk in chunks):
        return np.asarray(chunks)
    are_arrays = all(hasattr(chunk, "shape") and hasattr(chunk, "dtype") for chunk in chunks)
    if are_arrays and len({chunk.shape for chunk in chunks}) == 1:
        return stacked(chunks)
    return chunks
