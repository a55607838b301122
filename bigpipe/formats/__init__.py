"""Reads and writes files by their extension, where the user gives no function for it.

Owns which library reads and writes which extension, and which types result. Libraries are imported
where they are used; only numpy and astropy are always installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bigpipe.errors import FormatError
from bigpipe.formats.common import (
    array_of,
    arrays_of,
    damage_told,
    format_of,
    is_masked,
    library,
    nearest,
    part_of,
)
from bigpipe.formats.fits_files import (
    FITS,
    hdu_of,
    header_of,
    read_fits,
    table_headers_of,
    unit_name,
    write_fits,
)
from bigpipe.formats.hierarchies import (
    HDF5,
    close_hdf5,
    hdf5_dataset,
    read_hdf5,
    read_zarr,
    write_hdf5,
    write_zarr,
    zarr_arrays,
)
from bigpipe.formats.images import (
    IMAGES,
    TIFF,
    check_tiff,
    read_image,
    read_tiff,
    write_image,
    write_tiff,
)
from bigpipe.formats.npy import read_npy, read_npy_slice, read_npz, write_npy, write_npz

__all__ = [
    "HDF5",
    "check_tiff",
    "close_hdf5",
    "format_of",
    "hdf5_dataset",
    "hdu_of",
    "header_of",
    "is_masked",
    "library",
    "nearest",
    "read",
    "read_slice",
    "table_headers_of",
    "unit_name",
    "write",
    "zarr_arrays",
]

_TEXT = (".txt", ".csv", ".tsv", ".ecsv", ".json", ".log", ".md", ".xml", ".html")
_COMPRESSED = (".bz2", ".gz", ".lz4", ".xz", ".z", ".zip", ".zst")  # in small letters
# Methods by which objects of other libraries write themselves: HDUs of astropy; its tables and
# CCDData; figures of matplotlib; images of Pillow.
_OWN_WRITERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("writeto", {"overwrite": True}),
    ("write", {"overwrite": True}),
    ("savefig", {}),
    ("save", {}),
)


def read(in_name: Any, *, hdu: Any = None, dataset: str | None = None) -> Any:
    """Return the content of a file.

    Parameters
    ----------
    in_name : str or os.PathLike
        The file. Its extension determines the format.
    hdu : int or str, optional
        HDU of a FITS file; by default, the first that has data.
    dataset : str, optional
        Name of an array in an ``.npz``, HDF5 or Zarr file.

    Returns
    -------
    ndarray
        For FITS, HDF5, Zarr, ``.npy``, ``.npz`` and images. A FITS table is returned as an astropy
        `Table`, and several arrays in one file as a dict by their names.
    str
        For text, such as ``.txt`` and ``.csv``.
    bytes
        For anything else.

    Raises
    ------
    FormatError
        If the library that reads it is not installed, the file has no data, or it is damaged.
    """
    name = os.fspath(in_name)
    with damage_told(name):
        return _read(name, hdu, dataset)


def _read(name: str, hdu: Any, dataset: str | None) -> Any:
    extension = format_of(name)
    if extension in FITS:
        return read_fits(name, hdu)
    if extension == ".npz":
        return read_npz(name, dataset)
    reader = _READERS.get(extension)
    if reader is not None:
        return reader(name)
    if extension in HDF5:
        return read_hdf5(name, dataset)
    if extension == ".zarr":
        return read_zarr(name, dataset)
    if extension in _TEXT:
        # Line ends stay as they are, and so do bytes that are not text.
        with open(name, encoding="utf-8", errors="surrogateescape", newline="") as text:
            return text.read()
    with open(name, "rb") as file:
        return file.read()


def read_slice(
    in_name: Any, start: int | None, end: int | None, *, hdu: Any = None, dataset: str | None = None
) -> Any:
    """Return a part of the content of a file, along the first axis.

    Parameters
    ----------
    in_name : str or os.PathLike
        The file. Its extension determines the format.
    start, end : int or None
        The first element, and one after the last.
    hdu, dataset
        As for `read`.

    Returns
    -------
    ndarray, Table, str or bytes
        The part. Of ``.npy``, images in FITS files, HDF5 and Zarr, only this part is read.

    Raises
    ------
    FormatError
        As for `read`, if the data is a single number, and if the file has several arrays but
        ``dataset`` is not given.
    """
    name = os.fspath(in_name)
    with damage_told(name):
        return _read_slice(name, slice(start, end), hdu, dataset)


def _read_slice(name: str, part: slice, hdu: Any, dataset: str | None) -> Any:
    extension = format_of(name)
    if extension == ".npy":
        return read_npy_slice(name, part)
    if extension in FITS:
        return read_fits(name, hdu, part)
    if extension in HDF5:
        data = read_hdf5(name, dataset, part)
    elif extension == ".zarr":
        data = read_zarr(name, dataset, part)
    else:
        data = _read(name, hdu, dataset)
        data = data if isinstance(data, dict) else part_of(data, part, name)
    if isinstance(data, dict):
        shown, more = nearest(data)
        raise FormatError(
            f"{name!r} has several arrays, {shown}{more}: choose the one to slice with the keyword "
            "dataset, or give a function read that takes start and end"
        )
    return data


def write(
    data: Any, outname: Any, *, in_name: Any = None, hdu: Any = None, dataset: str | None = None
) -> None:
    """Write data to a file, replacing what is there.

    Parameters
    ----------
    data : object
        An array, or a dict of arrays for formats that hold several, is written in the format of
        the extension. Text and bytes are written as they are. Objects that can write themselves
        do so: tables and CCDData of astropy, FITS HDUs, figures, images. FITS images store the unit
        of a quantity as ``BUNIT``; other formats do not store it.
    outname : str or os.PathLike
        The file.
    in_name : object, optional
        The input. If input and output are FITS files, an array is written with the input's header.
    hdu : int or str, optional
        HDU of the input that the header is taken from.
    dataset : str, optional
        Name of the array in an HDF5 file, by default ``'data'``, or in an ``.npz`` file, by default
        ``'arr_0'``.

    Raises
    ------
    FormatError
        If such data cannot be written with this extension, or a library is not installed.
    """
    name = os.fspath(outname)
    if isinstance(data, str):
        if name.lower().endswith(_COMPRESSED):
            raise FormatError(
                f"text cannot be written to {name!r}, which would have to be compressed: give "
                "compressed bytes, such as gzip.compress(text.encode()), or another outname_ext"
            )
        with open(name, "w", encoding="utf-8", errors="surrogateescape", newline="") as text:
            text.write(data)
        return
    if isinstance(data, (bytes, bytearray, memoryview)):
        with open(name, "wb") as file:
            file.write(data)
        return
    for method, keywords in _OWN_WRITERS:
        if callable(getattr(data, method, None)):
            getattr(data, method)(name, **keywords)
            return
    extension = format_of(name)
    if extension in FITS:
        unit = getattr(data, "unit", None) if hasattr(data, "to_value") else None
        write_fits(array_of(data, name), name, in_name, hdu, unit)
    elif extension in HDF5:
        write_hdf5(arrays_of(data, name, dataset or "data"), name)
    elif extension == ".npz":
        write_npz(arrays_of(data, name, dataset or "arr_0"), name)
    elif extension in _WRITERS:
        _WRITERS[extension](data, name)
    else:
        shown = f"the extension {extension!r}" if extension else "no extension"
        raise FormatError(
            f"data of type {type(data).__name__} cannot be written to {name!r}: it has {shown}, "
            "which names no format for such data. Give outname_ext, such as '.npy' or '.fits', or "
            "a function write."
        )


_READERS: dict[str, Callable[[str], Any]] = {
    ".npy": read_npy,
    **dict.fromkeys(TIFF, read_tiff),
    **dict.fromkeys(IMAGES, read_image),
}
_WRITERS: dict[str, Callable[[Any, str], None]] = {
    ".npy": write_npy,
    ".zarr": write_zarr,
    **dict.fromkeys(TIFF, write_tiff),
    **dict.fromkeys(IMAGES, write_image),
}
