"""Tables in FITS files, as structured arrays.

Owns where the rows are in the file, and what the header says about columns. `fits_rows` converts
the rows.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
from typing import IO, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bigpipe.errors import StoreError
from bigpipe.formats.fits_columns import parts_of, without_columns
from bigpipe.streaming.stores.base import native, truncated
from bigpipe.streaming.stores.fits_cards import FlatFits, compression_of, header_bytes
from bigpipe.streaming.stores.fits_rows import TableRows
from bigpipe.streaming.stores.flat import open_bytes

__all__ = ["FitsTable"]

_OF_ITS_FORM = re.compile("TDISP|TNULL|[1-9]")  # beginning of a card that depends on TFORM


class FitsTable(FlatFits):
    """A table of a FITS file: rows along one axis, with a field for each column.

    Parameters
    ----------
    name : str
        The file.
    file : file object
        The open file, decompressed on reading.
    start : int
        Position of the first row.
    header : bytes
        Everything before the rows, if the file is open to be written; otherwise empty.
    table_header : astropy.io.fits.Header
        Header of the table.
    """

    length_keyword = "NAXIS2"

    def __init__(
        self, name: str, file: IO[bytes], start: int, header: bytes, table_header: fits.Header
    ) -> None:
        self._rows = TableRows(table_header)
        shape = (int(table_header["NAXIS2"]),)
        super().__init__(name, file, shape=shape, stored=self._rows.stored, start=start)
        self.header, self.dtype = header, self._rows.dtype

    @classmethod
    def of(cls, name: str, hdus: Any, hdu: Any) -> FitsTable:
        """Open a table of a file to read it."""
        if not isinstance(hdu, fits.BinTableHDU):
            raise StoreError(
                f"the table in {name!r} is an ASCII table, which cannot be read in chunks: convert "
                "it to a binary table, or give another hdu"
            )
        names = [column.name for column in hdu.columns]
        if None in names or len(set(names)) < len(names):
            raise StoreError(
                f"columns of {name!r} have no name, or the same name: {names}. Give each its own, "
                f"for instance by astropy.io.fits.setval({name!r}, 'TTYPE2', value='flux', ext=1)."
            )
        variable = [column.name for column in hdu.columns if column.format[-1:] == ")"]
        if variable:
            raise StoreError(
                f"columns {', '.join(variable)} of {name!r} hold arrays of different lengths, "
                "which cannot be read in chunks: remove these columns, or read the file as a whole"
            )
        if not hdu.header["NAXIS1"]:
            raise StoreError(
                f"rows of the table in {name!r} are empty, as it has no columns: give another hdu"
            )
        start, header = hdu.fileinfo()["datLoc"], hdu.header
        hdus.close()
        return cls(name, _open_rows(name), start, b"", header)

    @classmethod
    def begin(
        cls, name: str, *, dtype: np.dtype[Any], header: Any, first_header: Any = None
    ) -> FitsTable:
        """Make a file with a table that grows.

        Parameters
        ----------
        name : str
            The file.
        dtype : dtype
            Type of a row.
        header : astropy.io.fits.Header or None
            Header whose cards are copied; cards about a column go to the column of its name.
        first_header : astropy.io.fits.Header, optional
            Cards for the first HDU, which has no data.
        """
        is_of_table = header is not None and "TFIELDS" in header
        others = without_columns(header) if is_of_table else header
        table = fits.BinTableHDU(np.zeros(0, dtype), others)
        if header is not None:
            _describe_columns(table, header)
        first = fits.PrimaryHDU(header=first_header)
        text = header_bytes(fits.HDUList([first, table]))
        file = open_bytes(name, "w+")
        file.write(text)
        start = len(header_bytes(fits.HDUList([first])))
        store = cls(name, file, len(text), text, fits.Header.fromstring(text[start:]))
        if store.dtype != _with_text(native(dtype)):
            file.close()
            raise StoreError(
                f"{name!r} cannot hold {dtype}, as FITS tables would return {store.dtype}: give "
                "dtype= to convert the chunks"
            )
        return store

    @classmethod
    def reopen(cls, name: str) -> FitsTable:
        """Open a file that `begin` has made, complete or not."""
        file = open_bytes(name, "r+")
        fits.Header.fromfile(file)
        header = fits.Header.fromfile(file)
        start = file.tell()
        file.seek(0)
        return cls(name, file, start, file.read(start), header)

    def _read_into(self, array: NDArray[Any], position: int) -> None:
        try:
            super()._read_into(array, position)
        except EOFError:  # a compressed file ends early
            found = os.path.getsize(self.name)
            raise truncated(self.name, found, position + array.nbytes) from None

    def from_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return rows with a field for each column."""
        return self._rows.from_stored(array)

    def to_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return rows as the bytes of the file."""
        return self._rows.to_stored(array)


def _open_rows(name: str) -> IO[bytes]:
    openers: dict[str, Any] = {"": open, "gzip": gzip.open, "bz2": bz2.open}
    file: IO[bytes] = openers[compression_of(name)](name, "rb")
    return file


def _with_text(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which rows are read back: bytes become text."""
    fields = []
    for name in dtype.names or ():
        base, shape = dtype[name].base, dtype[name].shape
        fields.append((name, f"U{base.itemsize}" if base.kind == "S" else base, shape))
    return np.dtype(fields)


def _describe_columns(table: fits.BinTableHDU, header: fits.Header) -> None:
    """Give columns the cards that a header has for columns of the same names."""
    places = {name: i for i, name in _columns_of(table.header)}
    if "TFIELDS" in header:
        moved = {i: places[name] for i, name in _columns_of(header) if name in places}
    else:  # not from a table, but made for this one
        moved = {i: i for i in places.values()}
    for card in header.copy().cards:
        parts = parts_of(card.keyword)
        columns = [int(number) for number in parts[1::2]]
        if not columns or any(i not in moved for i in columns):
            continue
        parts[1::2] = [str(moved[i]) for i in columns]
        is_same = _form(header, columns[0]) in (None, _form(table.header, moved[columns[0]]))
        if is_same or not _OF_ITS_FORM.match(card.keyword):
            card.verify("silentfix+ignore")  # an invalid card has no value yet
            after = f"TFORM{moved[columns[-1]]}"
            table.header.set("".join(parts), card.value, card.comment, after=after)


def _columns_of(header: fits.Header) -> list[tuple[int, str]]:
    """Return the number and name of each column that has a name."""
    numbers = range(1, header.get("TFIELDS", 0) + 1)
    return [(i, header[f"TTYPE{i}"]) for i in numbers if f"TTYPE{i}" in header]


def _form(header: fits.Header, column: int) -> tuple[str, float, float] | None:
    """Return how a column is stored: type and scale; ``None`` if the header does not say."""
    if f"TFORM{column}" not in header:
        return None
    form = str(header[f"TFORM{column}"]).strip()
    form = form if form[:1].isdigit() else f"1{form}"
    return form, header.get(f"TSCAL{column}", 1), header.get(f"TZERO{column}", 0)
