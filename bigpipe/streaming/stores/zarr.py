"""Arrays in Zarr stores, by zarr: folders in format 2 or 3.

Owns how a folder is opened and made.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np

from bigpipe.errors import StoreError
from bigpipe.formats import library, zarr_arrays
from bigpipe.streaming.stores.chunked import ChunkedStore, array_of, model_of, take_grid

__all__ = ["ZarrStore"]


class ZarrStore(ChunkedStore):
    """An array of a Zarr store."""

    @classmethod
    def open(cls, name: str, mode: str, *, dataset: str | None = None) -> ZarrStore:
        """Open an array by its path, or the only one."""
        root = _library(name).open(name, mode=mode)
        if hasattr(root, "shape"):
            if dataset is not None:
                raise StoreError(
                    f"{name!r} is a single array, without a dataset {dataset!r}: leave dataset= out"
                )
            return cls(name, root)
        return cls(name, array_of(name, zarr_arrays(root), dataset))

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
        like_array: str | None = None,
        **storage: Any,
    ) -> ZarrStore:
        """Make a folder; further keywords go to zarr's function that creates an array."""
        zarr = _library(name)
        storage["chunks"] = take_grid(storage, shape, dtype.itemsize, axis, n)
        attributes: dict[str, Any] = {}
        if like is not None and os.fspath(like).rstrip(os.sep).lower().endswith(".zarr"):
            attributes = _attributes_of(os.fspath(like), like_array, dataset)
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

    def sync(self) -> None:
        """Do nothing: chunks are files, and complete when they are written."""

    def close(self) -> None:
        """Do nothing: no file is kept open."""


def _attributes_of(like: str, like_array: str | None, dataset: str | None) -> dict[str, Any]:
    root = _library(like).open(like, mode="r")
    if not hasattr(root, "shape"):
        root = model_of(like, zarr_arrays(root), like_array, dataset)
    return dict(root.attrs)


def _library(name: str) -> Any:
    return library(name, ("zarr", "zarr"))
