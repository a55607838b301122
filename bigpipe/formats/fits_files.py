"""Images and tables in FITS files."""

from __future__ import annotations

import os
from typing import Any

from bigpipe.errors import FormatError
from bigpipe.formats.common import format_of
from bigpipe.formats.fits_columns import without_columns

__all__ = [
    "FITS",
    "hdu_of",
    "header_of",
    "read_fits",
    "table_headers_of",
    "unit_name",
    "write_fits",
]

FITS = (".fits", ".fit", ".fts", ".fz")
LOSSLESS = {"compression_type": "GZIP_2", "quantize_level": 0.0}  # by tiles; astropy rounds if not
_STALE = ("BLANK", "CHECKSUM", "DATASUM", "ZBLANK")  # cards that described the input's data
_OF_TABLE = ("EXTNAME", "EXTVER", "EXTLEVEL", "HDUCLAS", "HDUVERS")  # cards that say what it is


def read_fits(name: str, hdu: Any, part: slice | None = None) -> Any:
    """Return the image or table of an HDU, or a part of it along the first axis."""
    from astropy.io import fits
    from astropy.table import Table

    with fits.open(name, memmap=False) as hdus:
        found = hdu_of(hdus, hdu, name)
        if part is not None:
            return found.section[part] if found.is_image else Table.read(found)[part]
        return found.data if found.is_image else Table.read(found)


def hdu_of(hdus: Any, hdu: Any, name: str) -> Any:
    """Return the HDU that was asked for, or the first that has data, or a table without rows."""
    if hdu is not None:
        try:
            return hdus[hdu]
        except (KeyError, IndexError):
            raise FormatError(f"there is no HDU {hdu!r} in {name!r}") from None
    for each in hdus:
        if each.header.get("NAXIS", 0) and each.size:
            return each
    for each in hdus:
        if not each.is_image and each.header.get("TFIELDS", 0):
            return each
    raise FormatError(f"no HDU of {name!r} has data: leave this file out")


def unit_name(unit: Any) -> str:
    """Return a unit of astropy as text for ``BUNIT``."""
    try:
        return str(unit.to_string("fits"))
    except ValueError:  # not a unit of the FITS standard
        return str(unit)


def write_fits(array: Any, name: str, in_name: Any, hdu: Any, unit: Any = None) -> None:
    """Write an image, with the header of the input if that is a FITS file; fields as a table."""
    import numpy as np
    from astropy.io import fits
    from astropy.table import Table

    if array.dtype.names is not None:
        Table(array).write(name, format="fits", overwrite=True)
        return
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if not array.shape:
        raise FormatError(
            f"{name!r} cannot be written: the data is a single number, and a FITS image has at "
            "least one axis. Return np.atleast_1d(...) from process."
        )
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise FormatError(
            f"{name!r} cannot be written: FITS has no type {array.dtype}. Convert the array in "
            "process."
        )
    header = header_of(in_name, hdu)
    if unit is not None:
        header = fits.Header() if header is None else header
        header["BUNIT"] = unit_name(unit)
    if name.lower().endswith(".fz"):
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(array, header, **LOSSLESS)])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(array, header)])
    # An invalid card that a telescope wrote is no reason to lose the image.
    hdus.writeto(name, overwrite=True, output_verify="silentfix+ignore")


def header_of(in_name: Any, hdu: Any) -> Any:
    """Return the header for an array made from a FITS file; ``None`` if it was not.

    That of a table is left without the cards about its columns.
    """
    is_image, header, first = _headers_of(in_name, hdu)
    if header is None:
        return None
    if is_image:
        header.strip()
    else:
        header = without_columns(header)
        for keyword in {each for each in header if each.startswith(_OF_TABLE)}:
            header.remove(keyword, remove_all=True)
    if first is not header:
        first.strip()
        header.extend(first, unique=True)
    return header


def table_headers_of(in_name: Any, hdu: Any) -> tuple[Any, Any]:
    """Return the headers of a FITS table and of its file; ``None`` twice if it is not a table."""
    is_image, header, first = _headers_of(in_name, hdu)
    if header is None or is_image:
        return None, None
    first.strip()
    return header, first


def _headers_of(in_name: Any, hdu: Any) -> tuple[bool, Any, Any]:
    """Return whether an HDU is an image, its header, and that of the first HDU."""
    from astropy.io import fits

    if not isinstance(in_name, (str, os.PathLike)) or format_of(os.fspath(in_name)) not in FITS:
        return False, None, None
    with fits.open(in_name, memmap=False) as hdus:
        found = hdu_of(hdus, hdu, os.fspath(in_name))
        header = found.header.copy()
        first = header if found is hdus[0] else hdus[0].header.copy()
        for keyword in _STALE:
            header.remove(keyword, ignore_missing=True)
            first.remove(keyword, ignore_missing=True)
        return found.is_image, header, first
