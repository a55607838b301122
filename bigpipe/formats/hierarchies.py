"""Arrays by name in HDF5 and Zarr."""

from __future__ import annotations

import functools
import os
import shutil
from typing import Any

from bigpipe.errors import FormatError
from bigpipe.formats.common import arrays_of, chosen, library, one_or_all, part_of
from bigpipe.sharing.snapshot import anonymous_file

__all__ = [
    "HDF5",
    "close_hdf5",
    "hdf5_dataset",
    "read_hdf5",
    "read_zarr",
    "write_hdf5",
    "write_zarr",
    "zarr_arrays",
]

HDF5 = (".h5", ".hdf5")


def read_hdf5(name: str, dataset: str | None, part: slice | None = None) -> Any:
    """Return the array of a file, several by name, or a part of the one asked for."""
    h5py = library(name, ("h5py", "h5py"))
    with h5py.File(name, "r") as file:
        linked = None if dataset is None else hdf5_dataset(file, dataset)
        if linked is not None:
            return part_of(linked, part, name)
        names: list[str] = []
        file.visititems(
            lambda path, item: names.append(path) if isinstance(item, h5py.Dataset) else None
        )
        if dataset is not None:
            chosen(names, dataset.strip("/"), name)
        if len(names) == 1:
            return part_of(file[names[0]], part, name)
        return one_or_all({path: file[path][()] for path in names}, name)


def hdf5_dataset(file: Any, path: str) -> Any:
    """Return the dataset at a path in an HDF5 file, by whatever link; ``None`` if there is none.

    A look at all that the file has would take long in a large one, and finds no links: of a
    dataset that has two names only one, and neither soft links nor those to other files.
    """
    try:
        found = file[path]
    except (KeyError, OSError, ValueError):  # nothing is there, or where the link leads
        return None
    return found if hasattr(found, "dtype") and hasattr(found, "chunks") else None


def write_hdf5(arrays: dict[str, Any], name: str) -> None:
    """Write arrays by name."""
    h5py = library(name, ("h5py", "h5py"))
    file = h5py.File(name, "w")
    try:
        for path, array in arrays.items():
            try:
                h5py.h5t.py_create(array.dtype, logical=True)
            except TypeError:
                raise FormatError(
                    f"HDF5 has no type for {array.dtype}, of {path!r} in {name!r}: convert it in "
                    "process, as by .astype('int64') for times, or 'S16' for text"
                ) from None
            file.create_dataset(path, data=array)
    finally:
        close_hdf5(file)


def close_hdf5(file: Any) -> None:
    """Close an HDF5 file that was written to, even if the disk is full.

    h5py would try again to write the rest whenever an object of the file is released, and would in
    the end abort the process. So the rest goes to a file without a name, and the content of the
    HDF5 file stays as it is.

    Parameters
    ----------
    file : h5py.File
        The open file.

    Raises
    ------
    OSError
        If something could not be written. The file is closed all the same.
    """
    try:
        file.flush()
    except (OSError, RuntimeError) as error:
        name, spare = file.filename, anonymous_file()
        os.dup2(spare, file.id.get_vfd_handle(), inheritable=False)
        os.close(spare)
        file.close()
        raise OSError(f"{name!r} could not be written: {error}") from error
    file.close()


def read_zarr(name: str, dataset: str | None, part: slice | None = None) -> Any:
    """Return the array of a store, several by name, or a part of the one asked for."""
    zarr = library(name, ("zarr", "zarr"))
    root = zarr.open(name, mode="r")
    if hasattr(root, "shape"):
        return part_of(root, part, name)
    arrays = zarr_arrays(root)
    if dataset is not None:
        return part_of(arrays[chosen(arrays, dataset.strip("/"), name)], part, name)
    if len(arrays) == 1:
        return part_of(next(iter(arrays.values())), part, name)
    return one_or_all({path: array[...] for path, array in arrays.items()}, name)


def zarr_arrays(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return the arrays below a group of Zarr, by their paths."""
    found = {prefix + name: array for name, array in group.arrays()}
    for name, below in group.groups():
        found |= zarr_arrays(below, f"{prefix}{name}/")
    return found


def write_zarr(data: Any, name: str) -> None:
    """Write an array, or a dict of them."""
    zarr = library(name, ("zarr", "zarr"))
    arrays = arrays_of(data, name, "")
    if os.path.isdir(name):
        shutil.rmtree(name)
    try:
        if isinstance(data, dict):
            group = zarr.open_group(name, mode="w")
            for path, array in arrays.items():
                make = getattr(group, "create_array", None) or group.create_dataset
                _fill(make, path, array, name)
        else:
            _fill(functools.partial(zarr.open_array, mode="w"), name, arrays[""], name)
    except BaseException:
        shutil.rmtree(name, ignore_errors=True)
        raise


def _fill(make: Any, path: str, array: Any, name: str) -> None:
    """Make an array of Zarr, and write it."""
    try:
        made = make(path, shape=array.shape, dtype=array.dtype)
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"{name!r} cannot be written: Zarr has no type for {array.dtype}. Convert the array in "
            "process."
        ) from error
    made[...] = array
