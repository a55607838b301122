"""Rows of FITS tables: from the bytes in a file to a structured array, and back.

Owns which columns numpy converts and which astropy does. `fits_table` knows where the rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bigpipe.streaming.stores.base import native
from bigpipe.streaming.stores.fits_cards import data_bytes, padding

__all__ = ["TableRows", "values_of"]

# Keywords that say how a column is stored. The others, of which there may be thousands, are not
# parsed again for each chunk.
_STORAGE = ("TTYPE", "TFORM", "TDIM", "TSCAL", "TZERO", "TNULL")


class TableRows:
    """Converts the rows of one table.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of the table.

    Attributes
    ----------
    stored : numpy.dtype
        Type of a row in the file: so many bytes.
    dtype : numpy.dtype
        Type of a row in memory.

    Notes
    -----
    For each chunk, astropy needs about 1 ms per column. So numpy converts the columns whose numbers
    are stored as they are, and astropy the others: text, truth values, bits, and scaled or unsigned
    integers.
    """

    def __init__(self, header: fits.Header) -> None:
        n_bytes = int(header["NAXIS1"])
        self.stored = np.dtype((np.void, n_bytes))
        every = _header_of(header, range(1, header["TFIELDS"] + 1), n_bytes)
        # Taken from one row: without rows, astropy takes several strings in a column for one. The
        # byte F is valid as text, as false, and in any number.
        table = _table_of(every, b"F" * n_bytes)
        values = values_of(table)
        self.dtype = values.dtype
        stored = table.columns.dtype.newbyteorder(">")
        self._stored = stored if stored.itemsize == n_bytes else None  # unknown to astropy
        numbers = {name: i for i, name in enumerate(table.names, 1)}
        self._plain = [name for name, i in numbers.items() if self._is_plain(header, name, i)]
        self._others = [name for name in numbers if name not in self._plain]
        if self._stored is None:
            self._header = every
        else:
            self._packed = _part_of(self._stored, self._others)
            which = [numbers[name] for name in self._others]
            self._header = _header_of(header, which, self._packed.itemsize)

    def _is_plain(self, header: fits.Header, name: str, number: int) -> bool:
        if self._stored is None or header.get(f"TSCAL{number}", 1) != 1:
            return False
        stored, shown = self._stored[name], self.dtype[name]
        is_same = native(stored.base) == shown.base and stored.shape == shown.shape
        return bool(is_same and header.get(f"TZERO{number}", 0) == 0 and shown.base.kind in "iufc")

    def from_stored(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return rows as a new array with a field for each column."""
        array = np.empty(len(rows), self.dtype)
        if self._stored is None:
            table = _table_of(self._header, rows.tobytes())
            return _filled(array, table, self.dtype.names or ())
        raw = rows.view(self._stored)
        _filled(array, raw, self._plain)
        if self._others and len(array):
            packed = _filled(np.empty(len(raw), self._packed), raw, self._others)
            _filled(array, _table_of(self._header, packed.tobytes()), self._others)
        return array

    def to_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return an array as the bytes of rows."""
        if self._stored is None or not self._plain:
            return np.frombuffer(_bytes_by_astropy(array), self.stored)
        raw = _filled(np.empty(len(array), self._stored), array, self._plain)
        if self._others and len(array):
            others = np.empty(len(array), _part_of(array.dtype, self._others))
            _filled(others, array, self._others)
            _filled(raw, np.frombuffer(_bytes_by_astropy(others), self._packed), self._others)
        return raw.view(self.stored)


def values_of(table: Any) -> NDArray[Any]:
    """Return the rows of a table as an array, in the byte order of this machine."""
    columns = {name: np.asarray(table[name]) for name in table.names}
    dtype = np.dtype(
        [(name, native(values.dtype), values.shape[1:]) for name, values in columns.items()]
    )
    array = np.empty(len(table), dtype)
    for name, values in columns.items():
        array[name] = values
    return array


def _filled(array: NDArray[Any], values: Any, names: Sequence[str]) -> NDArray[Any]:
    """Return an array, with columns copied from a table or another array."""
    for name in names:
        array[name] = np.asarray(values[name])
    return array


def _part_of(dtype: np.dtype[Any], names: Sequence[str]) -> np.dtype[Any]:
    """Return the type of a row with only some columns, without gaps."""
    return np.dtype([(name, dtype[name]) for name in names])


def _header_of(header: fits.Header, columns: Sequence[int], nbytes: int) -> fits.Header:
    """Return a header that says how some of a table's columns are stored."""
    cards: list[Any] = [("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2)]
    cards += [("NAXIS1", nbytes), ("NAXIS2", 0), ("PCOUNT", 0), ("GCOUNT", 1)]
    cards += [("TFIELDS", len(columns))]
    for new, old in enumerate(columns, 1):
        for keyword in _STORAGE:
            if f"{keyword}{old}" in header:
                # Its text is copied: astropy would write fewer digits of some numbers.
                text = header.cards[f"{keyword}{old}"].image[8:]
                cards.append(fits.Card.fromstring(f"{keyword}{new}".ljust(8) + text))
    return fits.Header(cards)


def _table_of(header: fits.Header, rows: bytes) -> Any:
    """Return rows as a table of astropy; changes the number of rows in the header."""
    header["NAXIS2"] = len(rows) // header["NAXIS1"]
    whole = header.tostring().encode("ascii") + rows + bytes(padding(len(rows)))
    return fits.BinTableHDU.fromstring(whole, uint=True).data


def _bytes_by_astropy(array: NDArray[Any]) -> memoryview:
    """Return rows as astropy would write them."""
    return data_bytes(fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(array)]))
