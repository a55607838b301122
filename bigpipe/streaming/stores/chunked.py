"""Arrays that a library keeps in storage chunks. A file may hold several arrays.

Owns what does not depend on the library; `hdf5` and `zarr` open and make files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.chunks import storage_grid
from bigpipe.errors import StoreError
from bigpipe.formats import nearest
from bigpipe.streaming.stores.base import native

__all__ = ["ChunkedStore", "array_of", "model_of", "take_grid"]


class ChunkedStore:
    """An array of a library that reads and writes regions itself.

    Parameters
    ----------
    name : str
        The file or folder.
    array : h5py.Dataset or zarr.Array
        The array.
    """

    def __init__(self, name: str, array: Any) -> None:
        self.name, self._array = name, array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = native(np.dtype(array.dtype))
        # What is written as a whole: a shard of several chunks, if there are shards.
        self.chunks: tuple[int, ...] | None = getattr(array, "shards", None) or array.chunks

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as a new array."""
        return np.asarray(self._array[region]).astype(self.dtype, copy=False)

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Write a region."""
        self._array[region] = array

    def resize(self, shape: tuple[int, ...]) -> None:
        """Change the length along the axis along which it can grow."""
        self._array.resize(shape)
        self.shape = shape


def array_of(name: str, arrays: Mapping[str, Any], dataset: str | None) -> Any:
    """Return the array with a path, or the only array."""
    shown, more = nearest(arrays, dataset)
    known = ", ".join(shown) + more
    if dataset is None and len(arrays) != 1:
        if not arrays:
            raise StoreError(f"{name!r} has no array of numbers: leave it out")
        raise StoreError(f"{name!r} has several arrays: {known}. Give one of them as dataset=.")
    path = next(iter(arrays)) if dataset is None else dataset.strip("/")
    if path not in arrays:
        raise StoreError(
            f"dataset {dataset!r} is not among the arrays of numbers in {name!r}: "
            f"{known or 'there are none'}"
        )
    return arrays[path]


def model_of(
    name: str, arrays: Mapping[str, Any], like_array: str | None, dataset: str | None
) -> Any:
    """Return the array of a file ``like`` that an output is to resemble.

    That is `like_array`, or else the one with the output's name, `dataset`, or else the only one.
    """
    if like_array is None:
        if dataset is not None and dataset.strip("/") in arrays:
            like_array = dataset
        elif len(arrays) != 1:
            shown, more = nearest(sorted(arrays), dataset)
            known = ", ".join(shown) + more or "none"
            raise StoreError(
                f"{name!r} has several arrays that the output could be like. Give one as "
                f"like_array=: {known}."
            )
    return array_of(name, arrays, like_array)


def take_grid(
    storage: dict[str, Any], shape: tuple[int, ...], itemsize: int, axis: int, n: int
) -> tuple[int, ...]:
    """Take the shape of storage chunks from the keywords, or choose one for these samples."""
    grid = storage.pop("chunks", True)
    return tuple(storage_grid(shape, itemsize, axis, n) if grid is True else grid)
