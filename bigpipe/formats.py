"""Files read and written by their extension, for whoever gives no function of their own.

Owns which library reads and writes which extension, and what comes of it. Libraries are
imported where they are used; only numpy and astropy are sure to be there.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from typing import Any

from bigpipe.errors import FormatError
from bigpipe.outname import split_extension

__all__ = ["read", "write"]

_FITS = (".fits", ".fit", ".fts", ".fz")
_TIFF = (".tif", ".tiff")
_EIGHT_BITS = (".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_IMAGES = (".png", *_EIGHT_BITS)
_TEXT = (".txt", ".csv", ".tsv", ".ecsv", ".json", ".log", ".md", ".xml", ".html")
_STALE = ("BLANK", "CHECKSUM", "DATASUM", "ZBLANK")  # cards that told of the data as it was
# How objects of other libraries write themselves: astropy's HDUs; its tables and CCDData;
# figures of matplotlib; images of Pillow.
_OWN_WRITERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("writeto", {"overwrite": True}),
    ("write", {"overwrite": True}),
    ("savefig", {}),
    ("save", {}),
)


def read(in_name: Any, *, hdu: Any = None, dataset: str | None = None) -> Any:
    """Return what is in a file.

    Parameters
    ----------
    in_name : str or os.PathLike
        The file. Its extension decides.
    hdu : int or str, optional
        HDU of a FITS file; if not given, the first that has data.
    dataset : str, optional
        Array of an HDF5 or Zarr file.

    Returns
    -------
    ndarray
        Of FITS, HDF5, Zarr, ``.npy``, ``.npz`` and images. A FITS table is an astropy `Table`.
        Several arrays in one file are a dict by their names.
    str
        Of text, such as ``.txt`` and ``.csv``.
    bytes
        Of anything else.

    Raises
    ------
    FormatError
        If the library that reads it is not installed, or nothing in it can be read.
    """
    name = os.fspath(in_name)
    extension = _format_of(name)
    if extension in _FITS:
        return _read_fits(name, hdu)
    reader = _READERS.get(extension)
    if reader is not None:
        return reader(name)
    if extension in (".h5", ".hdf5"):
        return _read_hdf5(name, dataset)
    if extension == ".zarr":
        return _read_zarr(name, dataset)
    if extension in _TEXT:
        # Lines end as they did, and bytes that are no text come out as they went in.
        with open(name, encoding="utf-8", errors="surrogateescape", newline="") as text:
            return text.read()
    with open(name, "rb") as file:
        return file.read()


def write(
    data: Any, outname: Any, *, in_name: Any = None, hdu: Any = None, dataset: str | None = None
) -> None:
    """Write data to a file, over what is there.

    Parameters
    ----------
    data : object
        An array, or a dict of arrays for formats that hold several, is written as the
        extension says. Text and bytes are written as they are, and what can write itself
        does so: tables and CCDData of astropy, FITS HDUs, figures, images.
    outname : str or os.PathLike
        The file.
    in_name : object, optional
        The input. If that and the output are FITS files, an array gets its header.
    hdu : int or str, optional
        HDU of the input whose header it gets.
    dataset : str, optional
        Name of the array in an HDF5 file. Default ``'data'``.

    Raises
    ------
    FormatError
        If that cannot be written with this extension, or a library is not installed.
    """
    name = os.fspath(outname)
    if isinstance(data, str):
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
    extension = _format_of(name)
    if extension in _FITS:
        _write_fits(_array(data, name), name, in_name, hdu)
    elif extension in (".h5", ".hdf5"):
        _write_hdf5(_arrays(data, name, dataset or "data"), name)
    elif extension in _WRITERS:
        _WRITERS[extension](data, name)
    else:
        shown = repr(extension) if extension else "no extension"
        raise FormatError(
            f"data of type {type(data).__name__} cannot be written to {name!r}: {shown} tells no "
            "format for it. Give outname_ext, such as '.npy' or '.fits', or a function write."
        )


def _format_of(name: str) -> str:
    """Return the extension that tells the format: before that of a compression."""
    extension = split_extension(name.rstrip(os.sep))[1].lower()
    return "." + extension.split(".")[1] if extension else ""


def _library(name: str, *modules: tuple[str, str]) -> Any:
    """Import the first of some modules that is there; each with the package that has it."""
    for module, _ in modules:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    packages = " or ".join(package for _, package in modules)
    raise FormatError(
        f"{name!r} needs {packages}, which is not installed: python -m pip install "
        f"{modules[0][1]}; or give functions of your own as read and write."
    )


def _array(data: Any, name: str) -> Any:
    import numpy as np

    array = np.asarray(data)
    if array.dtype.hasobject:
        raise FormatError(
            f"data of type {type(data).__name__} is no array of numbers and cannot be written to "
            f"{name!r}: give a function write, or another outname_ext."
        )
    return array


def _arrays(data: Any, name: str, alone: str) -> dict[str, Any]:
    """Return arrays by name; one that has none is called as said."""
    if isinstance(data, dict):
        return {str(key): _array(value, name) for key, value in data.items()}
    return {alone: _array(data, name)}


def _one_or_all(arrays: dict[str, Any], name: str) -> Any:
    if not arrays:
        raise FormatError(f"there is no array in {name!r}: give a function read.")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _chosen(names: Any, dataset: str, name: str) -> str:
    if dataset not in names:
        raise FormatError(f"there is no dataset {dataset!r} in {name!r}, which has {list(names)}.")
    return dataset


# ---- numpy ------------------------------------------------------------------------------


def _read_npy(name: str) -> Any:
    import numpy as np

    return np.load(name)


def _read_npz(name: str) -> Any:
    import numpy as np

    with np.load(name) as file:
        return _one_or_all(dict(file), name)


def _write_npy(data: Any, name: str) -> None:
    import numpy as np

    array = _array(data, name)
    with open(name, "wb") as file:  # to a name, numpy might append another extension
        np.save(file, array)


def _write_npz(data: Any, name: str) -> None:
    import numpy as np

    arrays = _arrays(data, name, "arr_0")
    with open(name, "wb") as file:
        np.savez(file, **arrays)


# ---- FITS -------------------------------------------------------------------------------


def _read_fits(name: str, hdu: Any) -> Any:
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(name, memmap=False) as hdus:
        found = _hdu_of(hdus, hdu, name)
        return found.data if found.is_image else Table.read(found)


def _hdu_of(hdus: Any, hdu: Any, name: str) -> Any:
    """Return the HDU that was asked for, or the first that has data."""
    if hdu is not None:
        try:
            return hdus[hdu]
        except (KeyError, IndexError):
            raise FormatError(f"there is no HDU {hdu!r} in {name!r}.") from None
    for each in hdus:
        if each.header.get("NAXIS", 0) and each.size:
            return each
    raise FormatError(f"no HDU of {name!r} has data.")


def _write_fits(array: Any, name: str, in_name: Any, hdu: Any) -> None:
    import numpy as np
    from astropy.io import fits

    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise FormatError(f"FITS has no type {array.dtype}, for {name!r}: convert it in process.")
    header = _header_of(in_name, hdu)
    if name.lower().endswith(".fz"):
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(array, header)])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(array, header)])
    # A card that the telescope wrote badly is no reason to lose the image.
    hdus.writeto(name, overwrite=True, output_verify="silentfix+ignore")


def _header_of(in_name: Any, hdu: Any) -> Any:
    """Return the header for an array that was made of a FITS file, ``None`` if it was not."""
    from astropy.io import fits

    if not isinstance(in_name, (str, os.PathLike)) or _format_of(os.fspath(in_name)) not in _FITS:
        return None
    with fits.open(in_name, memmap=False) as hdus:
        found = _hdu_of(hdus, hdu, os.fspath(in_name))
        if not found.is_image:
            return None
        header = found.header.copy(strip=True)
        if found is not hdus[0]:
            header.extend(hdus[0].header.copy(strip=True), unique=True)
    for keyword in _STALE:
        header.remove(keyword, ignore_missing=True)
    return header


# ---- HDF5, Zarr -------------------------------------------------------------------------


def _read_hdf5(name: str, dataset: str | None) -> Any:
    h5py = _library(name, ("h5py", "h5py"))
    with h5py.File(name, "r") as file:
        names: list[str] = []
        file.visititems(
            lambda path, item: names.append(path) if isinstance(item, h5py.Dataset) else None
        )
        if dataset is not None:
            return file[_chosen(names, dataset.strip("/"), name)][()]
        return _one_or_all({path: file[path][()] for path in names}, name)


def _write_hdf5(arrays: dict[str, Any], name: str) -> None:
    h5py = _library(name, ("h5py", "h5py"))
    with h5py.File(name, "w") as file:
        for path, array in arrays.items():
            file.create_dataset(path, data=array)


def _read_zarr(name: str, dataset: str | None) -> Any:
    zarr = _library(name, ("zarr", "zarr"))
    root = zarr.open(name, mode="r")
    if hasattr(root, "shape"):
        return root[...]
    arrays = _zarr_arrays(root)
    if dataset is not None:
        return arrays[_chosen(arrays, dataset.strip("/"), name)][...]
    return _one_or_all({path: array[...] for path, array in arrays.items()}, name)


def _zarr_arrays(group: Any, prefix: str = "") -> dict[str, Any]:
    found = {prefix + name: array for name, array in group.arrays()}
    for name, below in group.groups():
        found |= _zarr_arrays(below, f"{prefix}{name}/")
    return found


def _write_zarr(data: Any, name: str) -> None:
    zarr = _library(name, ("zarr", "zarr"))
    arrays = _arrays(data, name, "")
    if os.path.isdir(name):
        shutil.rmtree(name)
    if isinstance(data, dict):
        zarr.save_group(name, **arrays)
    else:
        zarr.save_array(name, arrays[""])


# ---- images -----------------------------------------------------------------------------


def _read_image(name: str) -> Any:
    import numpy as np

    with _library(name, ("PIL.Image", "Pillow")).open(name) as image:
        if image.mode in ("P", "PA"):  # numbers of colours
            with image.convert("RGBA" if "transparency" in image.info else "RGB") as coloured:
                return np.asarray(coloured)
        return np.asarray(image)


def _write_image(data: Any, name: str) -> None:
    library = _library(name, ("PIL.Image", "Pillow"))
    extension = _format_of(name)
    kinds = ("uint8",) if extension in _EIGHT_BITS else ("uint8", "uint16")
    array = _array(data, name)
    if array.dtype.name not in (*kinds, "bool") or array.ndim not in (2, 3):
        raise FormatError(
            f"an array of {array.dtype.name} and shape {array.shape} cannot be written as "
            f"{extension}, which takes images of {' or '.join(kinds)}: scale it in process, or "
            "give outname_ext, such as '.npy' or '.fits'."
        )
    library.fromarray(array).save(name)


def _read_tiff(name: str) -> Any:
    library = _tiff_library(name)
    return library.imread(name) if hasattr(library, "imread") else _read_image(name)


def _write_tiff(data: Any, name: str) -> None:
    library = _tiff_library(name)
    if hasattr(library, "imwrite"):
        library.imwrite(name, _array(data, name))
    else:
        _write_image(data, name)


def _tiff_library(name: str) -> Any:
    """Return what knows all that TIFF files may be, or what knows those that are pictures."""
    return _library(name, ("tifffile", "tifffile"), ("PIL.Image", "Pillow"))


_READERS: dict[str, Callable[[str], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    **dict.fromkeys(_TIFF, _read_tiff),
    **dict.fromkeys(_IMAGES, _read_image),
}
_WRITERS: dict[str, Callable[[Any, str], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".zarr": _write_zarr,
    **dict.fromkeys(_TIFF, _write_tiff),
    **dict.fromkeys(_IMAGES, _write_image),
}
