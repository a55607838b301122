"""Images in FITS files.

Owns which HDU is meant, and how an image grows. astropy reads parts of compressed or scaled images;
`fits_table` has the tables.
"""

from __future__ import annotations

import os
import warnings
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from bigpipe import formats
from bigpipe.errors import FormatError, StoreError
from bigpipe.streaming.stores.base import ArrayStore, native, truncated
from bigpipe.streaming.stores.fits_cards import FlatFits, compression_of, header_bytes, with_card
from bigpipe.streaming.stores.fits_table import FitsTable
from bigpipe.streaming.stores.flat import needs_first_axis, open_bytes

__all__ = ["FitsImage", "FitsStore", "GrowingFitsImage"]

_COMPRESSED = (".gz", ".fz", ".bz2", ".xz", ".z")


class FitsStore:
    """Opens an image or a table of a FITS file."""

    @classmethod
    def open(cls, name: str, mode: str, *, hdu: int | str | None = None) -> ArrayStore:
        """Open an HDU, by default the first with data; with ``"r+"``, a file that `create` made."""
        if mode != "r":
            is_table = _first_header(name).get("NAXIS") == 0  # a table is in the second HDU
            return FitsTable.reopen(name) if is_table else GrowingFitsImage.reopen(name)
        hdus, found = open_hdu(name, hdu)
        try:
            if not found.is_image:
                return FitsTable.of(name, hdus, found)
            if compression_of(name) or not _is_plain(found):
                return FitsImage(name, hdus, found)
            start, header = found.fileinfo()["datLoc"], found.header
            hdus.close()
            return GrowingFitsImage.of(name, open_bytes(name, "r"), header, start)
        except BaseException:
            hdus.close()
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
        header: Any = None,
        like: Any = None,
        like_array: int | str | None = None,
        hdu: int | str | None = None,
        unit: Any = None,
    ) -> ArrayStore:
        """Make a file with an image or, if the dtype has fields, with a table."""
        if name.lower().endswith(_COMPRESSED):
            raise StoreError(f"{name!r} would be compressed and cannot grow: write a .fits file")
        first_header = None
        if header is not None:
            header = fits.Header(header, copy=True)
            for keyword in ("CHECKSUM", "DATASUM"):  # they belong to the data of the input
                header.remove(keyword, ignore_missing=True)
        elif like is not None:
            which = hdu if like_array is None else like_array
            if dtype.names is not None:
                header, first_header = formats.table_headers_of(like, which)
            if header is None:
                header = formats.header_of(like, which)
        if dtype.names is not None:
            return FitsTable.begin(name, dtype=dtype, header=header, first_header=first_header)
        if unit is not None:
            header = fits.Header() if header is None else header
            header["BUNIT"] = formats.unit_name(unit)
        return GrowingFitsImage.begin(name, shape=shape, dtype=dtype, axis=axis, header=header)


class FitsImage:
    """A compressed or scaled image of a FITS file, which astropy reads.

    Parameters
    ----------
    name : str
        The file.
    hdus : astropy.io.fits.HDUList
        The open file; closed with the image.
    hdu : HDU
        The HDU of the image.
    """

    def __init__(self, name: str, hdus: Any, hdu: Any) -> None:
        self.name, self.shape = name, tuple(hdu.shape)
        self._hdus, self._hdu = hdus, hdu
        if not hasattr(hdu, "section"):
            raise StoreError(
                f"the image of {name!r} is compressed in tiles; to read parts of it, install "
                "astropy 5.3 or later: python -m pip install --upgrade astropy"
            )
        self.chunks: tuple[int, ...] | None = getattr(hdu, "tile_shape", None)  # if compressed
        # The type after scaling is known once a number is read.
        self.dtype = self.read((slice(0, 1),) * len(self.shape)).dtype

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as a new array."""
        try:
            array = np.array(self._hdu.section[region])
        except EOFError as error:  # a compressed file ends early
            raise _unreadable(self.name, error) from error
        return array.astype(native(array.dtype), copy=False)

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Raise an error: it is open to be read."""
        raise StoreError(f"{self.name!r} is open to be read")

    def resize(self, shape: tuple[int, ...]) -> None:
        """Raise an error: it is open to be read."""
        raise StoreError(f"{self.name!r} is open to be read")

    def sync(self) -> None:
        """Do nothing: nothing was written."""

    def close(self) -> None:
        """Close the file."""
        self._hdus.close()


class GrowingFitsImage(FlatFits):
    """A plain image of a FITS file, which can grow along its first axis."""

    @classmethod
    def begin(
        cls, name: str, *, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int, header: Any
    ) -> GrowingFitsImage:
        """Make a file; the first axis of the array is the last of the FITS file."""
        if axis != 0 and shape[axis] == 0:
            raise needs_first_axis(name, axis, shape)
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
            raise StoreError(
                f"{name!r} cannot hold {dtype}, as FITS images have no such type: give dtype=, "
                "such as 'float32' or 'uint8'"
            )
        # A header with the right number of axes; their lengths are set below.
        small = fits.PrimaryHDU(np.zeros((1,) * len(shape), dtype), header)
        text = header_bytes(fits.HDUList([small]))
        for i, length in enumerate(reversed(shape)):
            text = with_card(text, f"NAXIS{i + 1}", length)
        file = open_bytes(name, "w+")
        file.write(text)
        return cls.of(name, file, fits.Header.fromstring(text), len(text), text)

    @classmethod
    def reopen(cls, name: str) -> GrowingFitsImage:
        """Open a file that `begin` has made, complete or not."""
        file = open_bytes(name, "r+")
        fits.Header.fromfile(file, padding=True)
        n_header = file.tell()
        file.seek(0)
        text = file.read(n_header)
        return cls.of(name, file, fits.Header.fromstring(text), n_header, text)

    @classmethod
    def of(
        cls, name: str, file: IO[bytes], header: fits.Header, start: int, text: bytes = b""
    ) -> GrowingFitsImage:
        """Return the image in an open file; to write it, give the text of its header."""
        stored = np.dtype(fits.BITPIX2DTYPE[header["BITPIX"]]).newbyteorder(">")
        shape = tuple(header[f"NAXIS{i}"] for i in range(header["NAXIS"], 0, -1))
        store = cls(name, file, shape=shape, stored=stored, start=start)
        store.header, store.length_keyword = text, f"NAXIS{len(shape)}"
        if header.get("BZERO", 0):  # signs are swapped: i1 for u1, u2 for i2, and so on
            kind = "i" if stored.kind == "u" else "u"
            store.dtype = np.dtype(f"{kind}{stored.itemsize}")
        return store

    def to_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return numbers with the sign of the stored type."""
        if self.dtype.kind != self.stored.kind:
            array = _with_other_sign(array)
        return array.astype(self.stored)

    def from_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return stored numbers with the sign of the image's type."""
        array = array.astype(native(array.dtype))
        return array if array.dtype == self.dtype else _with_other_sign(array)


def _is_plain(hdu: Any) -> bool:
    """Return whether an image has the stored numbers, except for their sign."""
    header = hdu.header
    if isinstance(hdu, fits.CompImageHDU) or "BLANK" in header or header.get("BSCALE", 1) != 1:
        return False
    zero, bits = header.get("BZERO", 0), header["BITPIX"]
    return bool(zero == 0 or (bits == 8 and zero == -128) or zero == 2 ** (bits - 1) >= 2**15)


def open_hdu(name: str, hdu: int | str | None) -> tuple[Any, Any]:
    """Open a file; return its HDUs, and the requested one or the first with data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "File may have been truncated", AstropyUserWarning)
        try:
            hdus = fits.open(name, memmap=False)
        except OSError as error:
            raise _unreadable(name, error) from error
        try:
            found = formats.hdu_of(hdus, hdu, name)
            _check_length(name, found)
        except (EOFError, OSError, FormatError) as error:
            hdus.close()
            raise _unreadable(name, error) from error
        except BaseException:
            hdus.close()
            raise
    return hdus, found


def _check_length(name: str, hdu: Any) -> None:
    if not compression_of(name):
        needed = hdu.fileinfo()["datLoc"] + _size_in_file(name, hdu)
        if os.path.getsize(name) < needed:
            raise truncated(name, os.path.getsize(name), needed)


def _size_in_file(name: str, hdu: Any) -> int:
    """Return the size of an HDU's data in the file, where tiles may be compressed."""
    if not isinstance(hdu, fits.CompImageHDU):
        return int(hdu.size)
    with open(name, "rb") as file:
        file.seek(hdu.fileinfo()["hdrLoc"])
        table = fits.Header.fromfile(file)
    return int(table["NAXIS1"] * table["NAXIS2"] + table.get("PCOUNT", 0))


def _first_header(name: str) -> fits.Header:
    with open(name, "rb") as file:
        return fits.Header.fromfile(file)


def _unreadable(name: str, error: Exception) -> StoreError:
    if isinstance(error, FormatError):
        return StoreError(str(error))
    return StoreError(
        f"{name!r} cannot be read as FITS: {error}. If it is truncated, copy it again."
    )


def _with_other_sign(array: NDArray[Any]) -> NDArray[Any]:
    bits = 8 * array.dtype.itemsize
    unsigned = array.view(f"u{array.dtype.itemsize}")
    flipped: NDArray[Any] = unsigned ^ unsigned.dtype.type(1 << (bits - 1))
    return flipped.view(f"{'u' if array.dtype.kind == 'i' else 'i'}{array.dtype.itemsize}")
