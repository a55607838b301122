"""How an array is cut along one axis: chunk lengths, overlaps, storage grids. Arithmetic only.

Owns which samples are in which chunk. A sample is the part of an array at one index of the axis,
such as a row of a table or an image of a cube. `bigpipe.streaming.stores` reads and writes chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

from bigpipe.errors import StoreError

__all__ = [
    "Tiling",
    "axis_index",
    "chunk_length",
    "region",
    "sample_nbytes",
    "storage_grid",
    "whole_cells",
]

CELL_NBYTES = 1 << 20  # bytes of a storage chunk: HDF5's default cache for a dataset
MIN_CELL_LENGTH = 4096  # samples, so that small chunks do not make small cells; arbitrary


@dataclass(frozen=True)
class Tiling:
    """Chunks along an axis: consecutive ones share `overlap` samples, the last may be short.

    Examples
    --------
    >>> list(Tiling(0, 10, n=4)), list(Tiling(0, 10, n=4, overlap=1))
    ([(0, 4), (4, 8), (8, 10)], [(0, 4), (3, 7), (6, 10)])
    """

    start: int
    """The first sample of the first chunk."""
    stop: int
    """The sample after the last."""
    n: int
    """Samples in a chunk. Positive."""
    overlap: int = 0
    """Samples that a chunk shares with the one before it. Less than `n`."""

    def __post_init__(self) -> None:
        for name, value in (("n", self.n), ("overlap", self.overlap)):
            if not isinstance(value, Integral):
                raise StoreError(f"{name}={value!r} is not a number of samples: give an int")
        if self.n < 1:
            raise StoreError(f"n={self.n} is not a valid chunk length: give 1 or more")
        if not 0 <= self.overlap < self.n:
            raise StoreError(
                f"overlap={self.overlap} must be at least 0 and less than the {self.n} samples of "
                "a chunk: give a larger n or nbytes, or a smaller overlap"
            )

    @property
    def positions(self) -> range:
        """The first sample of each chunk."""
        step = self.n - self.overlap
        # The last chunk is the first that reaches the end.
        count = max(1, math.ceil((self.stop - self.start - self.overlap) / step))
        return range(self.start, self.start + count * step if self.stop > self.start else 0, step)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for first in self.positions:
            yield first, min(first + self.n, self.stop)


def axis_index(axis: int, shape: Sequence[int], name: str) -> int:
    """Return an axis counted from 0, or raise an error that names the file."""
    if not shape:
        raise StoreError(f"the array in {name!r} is a single number and has no axis to cut along")
    if not -len(shape) <= axis < len(shape):
        raise StoreError(f"there is no axis {axis} in {name!r}, whose shape is {tuple(shape)}")
    return axis % len(shape)


def sample_nbytes(shape: Sequence[int], itemsize: int, axis: int) -> int:
    """Return the bytes of one sample along an axis."""
    return itemsize * math.prod((*shape[:axis], *shape[axis + 1 :]))


def chunk_length(nbytes: int, sample: int, overlap: int = 0, cell: int = 1) -> int:
    """Return the number of samples in a chunk of at most `nbytes`.

    Parameters
    ----------
    nbytes : int
        Maximum size of a chunk.
    sample : int
        Bytes of one sample.
    overlap : int, optional
        Samples that consecutive chunks share.
    cell : int, optional
        Length of a storage chunk along the axis.

    Returns
    -------
    int
        At least one more than `overlap`. The new samples of a chunk fill whole storage chunks or,
        if not even one fits, a whole fraction of one.

    Examples
    --------
    >>> chunk_length(1000, sample=8), chunk_length(1000, sample=8, cell=50)
    (125, 100)
    >>> chunk_length(1000, sample=8, overlap=5, cell=50), chunk_length(240, sample=8, cell=50)
    (105, 25)
    """
    new = max(1, nbytes // max(1, sample) - overlap)
    if new >= cell:
        return overlap + new // cell * cell
    return overlap + max(part for part in range(1, new + 1) if cell % part == 0)


def whole_cells(position: int, cell: int) -> int:
    """Return how many of the first `position` samples fill whole storage chunks.

    Examples
    --------
    >>> whole_cells(1000, cell=300)
    900
    """
    return position // cell * cell


def storage_grid(shape: Sequence[int], itemsize: int, axis: int, n: int) -> tuple[int, ...]:
    """Return the shape of storage chunks for an array that grows along `axis` by chunks of `n`.

    Examples
    --------
    >>> storage_grid((0, 256), 2, axis=0, n=100_000), storage_grid((0, 4000, 4000), 8, 0, 1)
    ((2048, 256), (1, 250, 500))
    """
    grid = [max(1, length) for length in shape]
    grid[axis] = 1
    while math.prod(grid) * itemsize > CELL_NBYTES and max(grid) > 1:
        longest = grid.index(max(grid))
        grid[longest] = math.ceil(grid[longest] / 2)
    fits = CELL_NBYTES // (itemsize * math.prod(grid))
    grid[axis] = max(1, min(fits, max(n, MIN_CELL_LENGTH)))
    return tuple(grid)


def region(n_axes: int, axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """Return the slices that select samples `start` to `stop` of an axis.

    Examples
    --------
    >>> region(2, axis=1, start=3, stop=5)
    (slice(None, None, None), slice(3, 5, None))
    """
    return tuple(slice(start, stop) if i == axis else slice(None) for i in range(n_axes))
