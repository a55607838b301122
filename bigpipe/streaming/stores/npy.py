"""Arrays in ``.npy`` files.

Owns the header: a text with dtype, order and shape, and room for a longer shape. `flat` handles the
array.
"""

from __future__ import annotations

import ast
import struct
from typing import Any

import numpy as np

from bigpipe.errors import StoreError
from bigpipe.streaming.stores.flat import FlatStore, open_bytes

__all__ = ["NpyStore"]

MAGIC = b"\x93NUMPY"
ROOM = 32  # bytes of the header kept free for a longer shape; a length has up to 20 digits
ALIGNMENT = 64  # bytes: the length of the header is a multiple


class NpyStore(FlatStore):
    """An array in an ``.npy`` file."""

    has_fortran_order = True

    @classmethod
    def open(cls, name: str, mode: str) -> NpyStore:
        """Open a file that `numpy.save` or `create` has written."""
        start, header = _read_header(name)
        stored = np.lib.format.descr_to_dtype(header["descr"])
        if stored.hasobject:
            raise StoreError(
                f"{name!r} holds objects, which cannot be read in chunks: save it as an array of "
                "numbers"
            )
        shape, is_fortran = header["shape"], header["fortran_order"]
        return cls.of_whole(
            name, mode, shape=shape, stored=stored, start=start, is_fortran=is_fortran
        )

    @classmethod
    def header_of(cls, dtype: np.dtype[Any], shape: tuple[int, ...], is_fortran: bool) -> bytes:
        """Return the header, with room for a longer shape."""
        return _header(dtype, shape, is_fortran)

    def write_header(self) -> None:
        """Write the present shape into a header of the same length."""
        self._file.seek(0)
        self._file.write(_header(self.stored, self.shape, self._is_fortran, self._start))


def _header(
    dtype: np.dtype[Any], shape: tuple[int, ...], is_fortran: bool, length: int | None = None
) -> bytes:
    known = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": is_fortran,
        "shape": shape,
    }
    text = repr(known).encode("latin1")
    if length is None:
        length = -(-(len(MAGIC) + 6 + len(text) + ROOM) // ALIGNMENT) * ALIGNMENT
    # Version 1.0 has two bytes for the length; 2.0 has four.
    is_short = length < 1 << 16
    prefix = MAGIC + (b"\x01\x00" if is_short else b"\x02\x00")
    n_text = length - len(prefix) - (2 if is_short else 4)
    return prefix + struct.pack("<H" if is_short else "<I", n_text) + text.ljust(n_text - 1) + b"\n"


def _read_header(name: str) -> tuple[int, dict[str, Any]]:
    """Return where the array begins, and its header."""
    with open_bytes(name, "r") as file:
        start = file.read(len(MAGIC) + 2)
        if start[:-2] != MAGIC:
            raise StoreError(
                f"{name!r} is not an .npy file, or is truncated: its first bytes are {start!r}. "
                "Copy it again."
            )
        size = "<H" if start[-2] == 1 else "<I"
        (n_text,) = struct.unpack(size, file.read(struct.calcsize(size)))
        text = file.read(n_text)
        header = ast.literal_eval(text.decode("utf-8" if start[-2] == 3 else "latin1").strip())
        return file.tell(), header
