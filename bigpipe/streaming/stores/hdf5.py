"""Datasets in HDF5 files, by h5py.

Owns which datasets are arrays, and how a file is flushed so that a killed run can resume it.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np

from bigpipe.errors import StoreError
from bigpipe.formats import close_hdf5, hdf5_dataset, library
from bigpipe.streaming.stores.chunked import ChunkedStore, array_of, model_of, take_grid

__all__ = ["Hdf5Store"]

_OF_THE_FILE = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid")
_STORAGE = ("compression", "compression_opts", "shuffle", "fletcher32", "scaleoffset")


class Hdf5Store(ChunkedStore):
    """A dataset of an HDF5 file.

    Parameters
    ----------
    name : str
        The file.
    file : h5py.File
        The open file; closed with the store.
    dataset : h5py.Dataset
        One of its datasets.

    Notes
    -----
    HDF5's metadata of a file is written only when the file is flushed. So after a kill, the file is
    as it was at the last `sync`. A kill during the flush may damage it.
    """

    def __init__(self, name: str, file: Any, dataset: Any) -> None:
        super().__init__(name, dataset)
        self._file = file

    @classmethod
    def open(cls, name: str, mode: str, *, dataset: str | None = None) -> Hdf5Store:
        """Open a dataset by its path, or the only one."""
        file = _open_file(name, mode)
        try:
            return cls(name, file, array_of(name, _arrays_of(file, dataset), dataset))
        except BaseException:
            file.close()
            raise

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
    ) -> Hdf5Store:
        """Make a file; further keywords go to ``h5py.Group.create_dataset``."""
        longest = tuple(None if i == axis else length for i, length in enumerate(shape))
        grid = take_grid(storage, shape, dtype.itemsize, axis, n)
        attributes: dict[str, Any] = {}
        if like is not None and os.fspath(like).lower().endswith((".h5", ".hdf5")):
            attributes, settings = _settings_of(like, like_array, dataset, dtype)
            storage = {**settings, **storage}
        file = _open_file(name, "w")
        try:
            _check_type(name, dtype)
            made = file.create_dataset(
                dataset or "data", shape, dtype, maxshape=longest, chunks=grid, **storage
            )
            made.attrs.update(attributes)
        except BaseException:
            with contextlib.suppress(OSError):
                close_hdf5(file)
            raise
        return cls(name, file, made)

    def sync(self) -> None:
        """Sync what was written to disk."""
        self._file.flush()
        with open(self.name, "rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file."""
        close_hdf5(self._file)


def _open_file(name: str, mode: str) -> Any:
    h5py = library(name, ("h5py", "h5py"))
    try:
        file = h5py.File(name, mode)
    except OSError as error:
        if not os.path.isfile(name) and mode != "w":
            raise
        raise StoreError(
            f"{name!r} cannot be opened as HDF5: {error}. If it is truncated, copy it again."
        ) from error
    if mode != "r":
        _hold_back(file)
    return file


def _check_type(name: str, dtype: np.dtype[Any]) -> None:
    import h5py

    try:
        h5py.h5t.py_create(dtype, logical=True)
    except TypeError:
        raise StoreError(
            f"{name!r} cannot hold {dtype}, as HDF5 has no such type: convert chunks in a step, "
            "for instance by chunk.astype('int64') for times, or 'S16' for text"
        ) from None


def _hold_back(file: Any) -> None:
    """Write the file's metadata only when it is flushed."""
    config = file.id.get_mdc_config()
    config.evictions_enabled = False
    # HDF5 requires that the cache is not resized either: 0 is H5C_incr__off, and so on.
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
    file.id.set_mdc_config(config)


def _arrays_of(file: Any, wanted: str | None) -> dict[str, Any]:
    """Return the arrays of numbers in a file, by their paths; that which is wanted alone."""
    import h5py

    found: dict[str, Any] = {}

    def note(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and not item.dtype.hasobject:
            found[path] = item

    if wanted is not None:
        note(wanted.strip("/"), hdf5_dataset(file, wanted))
    if not found:
        file.visititems(note)
    return found


def _settings_of(
    like: Any, like_array: str | None, dataset: str | None, dtype: np.dtype[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of a dataset, and how it is stored."""
    name = os.fspath(like)
    with _open_file(name, "r") as file:
        found = model_of(name, _arrays_of(file, like_array), like_array, dataset)
        attributes = {key: value for key, value in found.attrs.items() if key not in _OF_THE_FILE}
        settings = {key: getattr(found, key) for key in _STORAGE}
        if found.dtype != dtype:  # its meaning depends on the type: bits or decimal digits
            del settings["scaleoffset"]
        return attributes, {key: value for key, value in settings.items() if value is not None}
