"""Arrays that are contiguous in a file, with or without a header before them.

Owns where a region's bytes are, and how they are read and written. `npy`, `raw` and `fits_image`
handle the header.
"""

from __future__ import annotations

import math
import os
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from bigpipe.errors import StoreError
from bigpipe.streaming.stores.base import native, truncated

__all__ = ["FlatStore", "needs_first_axis", "open_bytes"]

# Along axes other than the first, a region is in pieces. Reading the gaps too is cheaper than many
# calls, unless the gaps are long. Nothing is mapped, as pages of a map count as memory in use.
MAX_ROW = 1 << 18  # bytes: the longest row that is read as a whole for a part of it
SCRATCH = 1 << 22  # bytes read at a time

_Bounds = tuple[int, int]


class FlatStore:
    """An array that is contiguous in a file, in C order or, reversed, in Fortran order.

    Parameters
    ----------
    name : str
        The file.
    file : file object
        The file, open without a buffer.
    shape : tuple of int
        Shape of the array.
    stored : dtype
        Type in the file.
    start : int
        Bytes before the array.
    is_fortran : bool, optional
        Whether the first axis changes fastest.
    """

    chunks: tuple[int, ...] | None = None
    has_fortran_order = False
    """Whether the format allows Fortran order."""

    def __init__(
        self,
        name: str,
        file: IO[bytes],
        *,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        start: int,
        is_fortran: bool = False,
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, native(stored)
        self._file, self._start, self.stored = file, start, stored
        self._is_fortran = is_fortran

    @classmethod
    def of_whole(
        cls,
        name: str,
        mode: str,
        *,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        start: int,
        is_fortran: bool = False,
    ) -> Self:
        """Open a file; raise an error if it is shorter than the array."""
        needed = start + stored.itemsize * math.prod(shape)
        found = os.path.getsize(name)
        if found < needed:
            raise truncated(name, found, needed)
        file = open_bytes(name, mode)
        return cls(name, file, shape=shape, stored=stored, start=start, is_fortran=is_fortran)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        axis: int,
        n: int,
        like: Any = None,
        like_array: Any = None,
    ) -> Self:
        """Make a file whose array can grow along its first axis or, in Fortran order, its last."""
        is_fortran = cls.has_fortran_order and axis == len(shape) - 1 > 0 and shape[axis] == 0
        if axis != 0 and not is_fortran and shape[axis] == 0:
            raise needs_first_axis(name, axis, shape)
        header = cls.header_of(dtype, shape, is_fortran)
        file = open_bytes(name, "w+")
        file.write(header)
        return cls(name, file, shape=shape, stored=dtype, start=len(header), is_fortran=is_fortran)

    @classmethod
    def header_of(cls, dtype: np.dtype[Any], shape: tuple[int, ...], is_fortran: bool) -> bytes:
        """Return the bytes before the array of a new file; here, none."""
        return b""

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as a new array."""
        if self._is_fortran:
            return self._read(region[::-1], self.shape[::-1]).T
        return self._read(region, self.shape)

    def _read(self, region: tuple[slice, ...], shape: tuple[int, ...]) -> NDArray[Any]:
        bounds = [_bounds(each, length) for each, length in zip(region, shape, strict=True)]
        array = np.empty([max(0, last - first) for first, last in bounds], self.stored)
        if array.size:
            self._fill(array, bounds, shape, self._start)
        return self.from_stored(array)

    def _fill(
        self, array: NDArray[Any], bounds: list[_Bounds], shape: tuple[int, ...], start: int
    ) -> None:
        """Read the part within `bounds` of an array of `shape` that begins at byte `start`."""
        first, last = bounds[0]
        row = self.stored.itemsize * math.prod(shape[1:])
        if _is_whole(bounds[1:], shape[1:]):
            self._read_into(array, start + first * row)
        elif row > MAX_ROW:
            for i in range(first, last):
                self._fill(array[i - first], bounds[1:], shape[1:], start + i * row)
        else:
            part = tuple(slice(*each) for each in bounds[1:])
            n_rows = SCRATCH // row
            scratch = np.empty((min(n_rows, last - first), *shape[1:]), self.stored)
            for i in range(first, last, n_rows):
                rows = scratch[: last - i]
                self._read_into(rows, start + i * row)
                array[i - first : i - first + len(rows)] = rows[(slice(None), *part)]

    def _read_into(self, array: NDArray[Any], position: int) -> None:
        self._file.seek(position)
        buffer = _bytes_of(array)
        while buffer:
            n_read = self._file.readinto(buffer)  # type: ignore[attr-defined]
            if not n_read:
                found = os.fstat(self._file.fileno()).st_size
                raise truncated(self.name, found, position + array.nbytes)
            buffer = buffer[n_read:]

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Write a region."""
        shape = self.shape
        if self._is_fortran:
            region, array, shape = region[::-1], array.T, shape[::-1]
        bounds = [_bounds(each, length) for each, length in zip(region, shape, strict=True)]
        stored = self.to_stored(array)
        if stored.size:
            self._put(stored, bounds, shape, self._start)

    def _put(
        self, array: NDArray[Any], bounds: list[_Bounds], shape: tuple[int, ...], start: int
    ) -> None:
        """Write the part within `bounds` of an array of `shape` that begins at byte `start`."""
        first, last = bounds[0]
        row = self.stored.itemsize * math.prod(shape[1:])
        if not _is_whole(bounds[1:], shape[1:]):
            for i in range(first, last):
                self._put(array[i - first], bounds[1:], shape[1:], start + i * row)
            return
        self._file.seek(start + first * row)
        buffer = _bytes_of(np.ascontiguousarray(array))
        while buffer:
            buffer = buffer[self._file.write(buffer) :]

    def from_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the values of the numbers in the file."""
        return array.astype(self.dtype, copy=False)

    def to_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers that the file stores for these values."""
        return array.astype(self.stored, copy=False)

    def resize(self, shape: tuple[int, ...]) -> None:
        """Change the shape; everything after a shorter array is cut off."""
        self.shape = shape
        end = self._start + self.stored.itemsize * math.prod(shape)
        if os.fstat(self._file.fileno()).st_size > end:
            self._file.truncate(end)

    def write_header(self) -> None:
        """Write the header with the present shape; here, nothing."""

    def finish(self) -> None:
        """Write what follows the array; here, nothing."""

    def sync(self) -> None:
        """Sync what was written to disk."""
        self.write_header()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file.closed:
            return
        with self._file:
            if self._file.writable():
                self._allocate()  # parts that were not written are zeros
                self.write_header()
                self.finish()

    def _allocate(self) -> None:
        """Extend the file to the length of its array, with a hole."""
        end = self._start + self.stored.itemsize * math.prod(self.shape)
        if os.fstat(self._file.fileno()).st_size < end:
            self._file.truncate(end)


def open_bytes(name: str, mode: str) -> IO[bytes]:
    """Open a file without a buffer: data is in the file when a write returns."""
    return open(name, f"{mode}b", buffering=0)


def needs_first_axis(name: str, axis: int, shape: tuple[int, ...]) -> StoreError:
    """Return the error for an array that cannot grow along an axis."""
    return StoreError(
        f"the array of shape {shape} in {name!r} cannot grow along axis {axis}, as its samples are "
        f"not contiguous there. Give length=, its final length along axis {axis}, or write .h5 or "
        ".zarr."
    )


def _bytes_of(array: NDArray[Any]) -> memoryview:
    numbers: Any = array.reshape(-1).view(np.uint8)  # a memoryview knows few dtypes
    return memoryview(numbers)


def _is_whole(bounds: list[_Bounds], shape: tuple[int, ...]) -> bool:
    return all(each == (0, length) for each, length in zip(bounds, shape, strict=True))


def _bounds(each: slice, length: int) -> _Bounds:
    start, stop, _ = each.indices(length)
    return start, stop
