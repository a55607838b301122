"""Arrays in Zarr stores, by zarr: folders of format 2 or 3.

Owns which array is meant, and how one grows.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.chunks import storage_grid
from bigpipe.errors import StoreError
from bigpipe.formats import library, zarr_arrays
from bigpipe.streaming.stores.base import native

__all__ = ["ZarrStore"]


class ZarrStore:
    """An array of a Zarr store.

    Parameters
    ----------
    name : str
        The folder.
    array : zarr.Array
        The array.
    """

    def __init__(self, name: str, array: Any) -> None:
        self.name, self._array = name, array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = native(np.dtype(array.dtype))
        # What is written as a whole: several chunks, where these are in shards.
        self.chunks: tuple[int, ...] | None = getattr(array, "shards", None) or array.chunks

    @classmethod
    def open(cls, name: str, mode: str, *, dataset: str | None = None) -> ZarrStore:
        """Open an array by its path, or the only one there is."""
        root = _library(name).open(name, mode=mode)
        if hasattr(root, "shape"):
            if dataset is not None:
                raise StoreError(f"{name!r} is one array, and has no dataset {dataset!r}.")
            return cls(name, root)
        arrays = zarr_arrays(root)
        if dataset is None and len(arrays) == 1:
            return cls(name, next(iter(arrays.values())))
        if dataset is None:
            says = "has several arrays" if arrays else "has no array"
            raise StoreError(f"{name!r} {says}: {', '.join(arrays)}. Give one of them as dataset=.")
        if dataset.strip("/") not in arrays:
            raise StoreError(
                f"dataset {dataset!r} is not in {name!r}, which has {', '.join(arrays)}."
            )
        return cls(name, arrays[dataset.strip("/")])

    @classmethod
    def create(
        cls,
        name: str,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        axis: int,
        n: int,
        dataset: str | None = None,
        like: Any = None,
        **storage: Any,
    ) -> ZarrStore:
        """Make a folder; keywords that zarr takes to create an array are handed on."""
        zarr = _library(name)
        grid = storage.pop("chunks", True)
        if grid is True:
            grid = storage_grid(shape, dtype.itemsize, axis, n)
        storage["chunks"] = tuple(grid)
        attributes: dict[str, Any] = {}
        if like is not None and os.fspath(like).rstrip(os.sep).lower().endswith(".zarr"):
            attributes = dict(cls.open(os.fspath(like), "r", dataset=dataset)._array.attrs)
        if os.path.isdir(name):
            shutil.rmtree(name)
        if dataset is None:
            array = zarr.open_array(name, mode="w", shape=shape, dtype=dtype, **storage)
        else:
            version = storage.pop("zarr_format", None)
            group = zarr.open_group(name, mode="w", **({"zarr_format": version} if version else {}))
            make = getattr(group, "create_array", None) or group.create_dataset
            array = make(dataset, shape=shape, dtype=dtype, **storage)
        array.attrs.update(attributes)
        return cls(name, array)

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as an array of its own."""
        return np.asarray(self._array[region]).astype(self.dtype, copy=False)

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Write a region."""
        self._array[region] = array

    def resize(self, shape: tuple[int, ...]) -> None:
        """Change the length along the axis along which it can grow."""
        self._array.resize(shape)
        self.shape = shape

    def sync(self) -> None:
        """Do nothing: chunks are files, and are there when they were written."""

    def close(self) -> None:
        """Do nothing: no file is kept open."""


def _library(name: str) -> Any:
    return library(name, ("zarr", "zarr"))
