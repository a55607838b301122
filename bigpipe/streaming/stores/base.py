"""The protocol of an array in a file, and the class for each extension.

Owns the protocol and the registry. `bigpipe.streaming.reader` cuts chunks,
`bigpipe.streaming.writer` joins them.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bigpipe.errors import StoreError
from bigpipe.outname import split_extension

__all__ = ["ArrayStore", "create_store", "native", "open_store", "register_store", "truncated"]

_HERE = "bigpipe.streaming.stores"
_BUILT_IN = {
    ".npy": "npy:NpyStore",
    **dict.fromkeys((".raw", ".bin", ".dat"), "raw:RawStore"),
    **dict.fromkeys((".fits", ".fit", ".fts", ".fz"), "fits_image:FitsStore"),
    **dict.fromkeys((".h5", ".hdf5"), "hdf5:Hdf5Store"),
    ".zarr": "zarr:ZarrStore",
    **dict.fromkeys((".tif", ".tiff"), "tiff:TiffStore"),
}
_REGISTERED: dict[str, Any] = {}


@runtime_checkable
class ArrayStore(Protocol):
    """An array in a file, read and written by region. Implement it for a format of your own.

    Attributes
    ----------
    name : str
        The file.
    shape : tuple of int
        The present shape.
    dtype : numpy.dtype
        The type, in the byte order of this machine.
    chunks : tuple of int or None
        Shape of the storage chunks; ``None`` if the format has none.

    Notes
    -----
    Pass the class to `register_store`. It needs two class methods:

    - ``open(name, mode, **how)`` opens an existing file to read (``"r"``) or also write (``"r+"``).
    - ``create(name, *, shape, dtype, axis, n, **how)`` makes or replaces a file, for chunks of
      about `n` samples. If its length along `axis` is 0, the array grows along that axis; a format
      that cannot do so raises `StoreError`.

    ``how`` holds the further keywords of `read_chunks` or `write_chunks`. A `ChunkedMultiPipe`
    gives ``like``, and ``like_array`` if it was told which of several arrays to read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as a new array, which stays valid when the file is closed.

        Parameters
        ----------
        region : tuple of slice
            One slice for each axis, within the shape, without a step.

        Returns
        -------
        ndarray
            In the byte order of this machine.
        """

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Write a region. Regions are written in their order along the axis.

        Parameters
        ----------
        region : tuple of slice
            One slice for each axis, within the shape, without a step.
        array : ndarray
            Of the region's shape and the store's dtype.
        """

    def resize(self, shape: tuple[int, ...]) -> None:
        """Change the length along the axis along which the array can grow.

        Parameters
        ----------
        shape : tuple of int
            The new shape.
        """

    def sync(self) -> None:
        """Sync everything written to disk, so that the file can be opened in its present state."""

    def close(self) -> None:
        """Write everything into the file, and close it."""


def register_store(store: Any, *extensions: str) -> None:
    """Use a class to read and write files with some extensions.

    Parameters
    ----------
    store : type
        A class with the methods of `ArrayStore`.
    *extensions : str
        Extensions such as ``".xyz"``, with or without the dot. They override those that bigpipe
        knows.
    """
    for extension in extensions:
        _REGISTERED[f".{extension.lower().removeprefix('.')}"] = store


def open_store(name: Any, mode: str = "r", **how: Any) -> ArrayStore:
    """Open an array in a file, to read or write it by region.

    Parameters
    ----------
    name : str or os.PathLike
        The file. Its extension gives the format. A file of an unknown format with a `dtype` is read
        as raw bytes.
    mode : str, optional
        ``"r"`` to read, ``"r+"`` to write as well.
    **how : dict
        Arguments for the format: see `read_chunks`.

    Returns
    -------
    ArrayStore
        The array. Close it with its ``close()``.

    Raises
    ------
    StoreError
        If the format is unknown, the file has no such array, or it is truncated.
    """
    name = os.fspath(name)
    if not os.path.exists(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    kind = _class_for(name, "dtype" in how)
    _check_keywords(name, kind.open, how)
    store: ArrayStore = kind.open(name, mode, **how)
    return store


def create_store(
    name: Any,
    how: Mapping[str, Any],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axis: int,
    n: int,
    may_be_raw: bool,
    unit: Any = None,
) -> ArrayStore:
    """Make a file with an array that can grow along an axis, with the class for its extension."""
    name = os.fspath(name)
    if dtype.hasobject:
        raise StoreError(
            f"{name!r} takes arrays of numbers, but was given {dtype} objects: convert them in a "
            "step"
        )
    kind = _class_for(name, may_be_raw)
    own: dict[str, Any] = {"shape": shape, "dtype": dtype, "axis": axis, "n": n}
    if "unit" in inspect.signature(kind.create).parameters:
        own["unit"] = unit
    _check_keywords(name, kind.create, how, own)
    store: ArrayStore = kind.create(name, **own, **how)
    return store


def _class_for(name: str, may_be_raw: bool) -> Any:
    extension = split_extension(name.rstrip(os.sep))[1].lower()
    for known in (extension, "." + extension.split(".")[1] if extension else ""):
        if known in _REGISTERED:
            return _REGISTERED[known]
        if known in _BUILT_IN:
            module, _, found = _BUILT_IN[known].partition(":")
            return getattr(import_module(f"{_HERE}.{module}"), found)
    if may_be_raw:
        return _class_for("x.raw", may_be_raw)
    known_ones = ", ".join(sorted({*_BUILT_IN, *_REGISTERED}))
    raise StoreError(
        f"the format of {name!r} cannot be read or written in chunks. Known are {known_ones}. Give "
        "dtype= if the file holds the raw bytes of an array, or use register_store(class, "
        f"{extension!r}) for a format of your own."
    )


def _check_keywords(
    name: str, function: Any, how: Mapping[str, Any], own: Collection[str] = ()
) -> None:
    """Raise an error if a caller gave an argument that a function lacks, or one of our own."""
    known = [
        each for each in inspect.signature(function).parameters.values() if each.name not in own
    ]
    names = {each.name for each in known}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in known)
    unknown = [f"{key}=" for key in how if key in own or not (takes_any or key in names)]
    if unknown:
        may_be = [f"{each.name}=" for each in known if each.kind is each.KEYWORD_ONLY]
        raise StoreError(
            f"the format of {name!r} has no argument {', '.join(unknown)}; it takes: "
            f"{', '.join(may_be) or 'nothing'}"
        )


def native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a dtype in the byte order of this machine."""
    return dtype.newbyteorder("=")


def truncated(name: str, found: int, needed: int) -> StoreError:
    """Return the error for a file that is shorter than its array."""
    return StoreError(
        f"{name!r} is truncated: it has {found} bytes, but its array needs {needed}. Copy it again."
    )
