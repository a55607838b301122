"""FITS files as bytes: an array behind a header, whose numbers are changed in place.

Owns blocks and cards. astropy makes and parses the headers.
"""

from __future__ import annotations

import io
import os
from typing import Any

from bigpipe.streaming.stores.flat import FlatStore

__all__ = ["FlatFits", "compression_of", "data_bytes", "header_bytes", "padding", "with_card"]

BLOCK = 2880  # bytes: the length of headers and data is a multiple
CARD = 80  # bytes


class FlatFits(FlatStore):
    """An image or a table that is contiguous in a FITS file, and can grow at its end."""

    header = b""
    """Everything before the array, if the file is open to be written."""
    length_keyword = ""
    """Keyword of the card with the length of the first axis."""

    def write_header(self) -> None:
        """Write the length of the first axis."""
        self._file.seek(0)
        self._file.write(with_card(self.header, self.length_keyword, self.shape[0]))

    def finish(self) -> None:
        """Fill the last block."""
        end = self._file.seek(0, os.SEEK_END)
        self._file.truncate(end + padding(end))


def compression_of(name: str) -> str:
    """Return how a whole file is compressed, whatever its name; ``""`` if it is not."""
    with open(name, "rb") as file:
        start = file.read(6)
    if start == b"SIMPLE":
        return ""
    return "bz2" if start.startswith(b"BZh") else "gzip"


def data_bytes(hdus: Any) -> memoryview:
    """Return the data of the last HDU of an `HDUList`, as the bytes of a file."""
    whole, start = _written(hdus)
    return whole[start : start + hdus[-1].size]


def header_bytes(hdus: Any) -> bytes:
    """Return an `HDUList` up to the data of its last HDU, as the bytes of a file."""
    whole, start = _written(hdus)
    return bytes(whole[:start])


def with_card(header: bytes, keyword: str, value: int) -> bytes:
    """Return a header with a new number in the last card of a keyword."""
    at = max(at for at in range(0, len(header), CARD) if header[at : at + 10] == _start_of(keyword))
    card = _start_of(keyword) + b"%20d" % value
    return header[:at] + card.ljust(CARD) + header[at + CARD :]


def padding(n_bytes: int) -> int:
    """Return the number of bytes that fill the last block."""
    return -n_bytes % BLOCK


def _written(hdus: Any) -> tuple[memoryview, int]:
    """Return the bytes of an `HDUList`, and where the data of its last HDU begin."""
    buffer = io.BytesIO()
    # An invalid card from the telescope is no reason to lose the image.
    hdus.writeto(buffer, output_verify="silentfix+ignore")
    whole, n_data = buffer.getbuffer(), hdus[-1].size
    return whole, len(whole) - n_data - padding(n_data)


def _start_of(keyword: str) -> bytes:
    return f"{keyword:<8}= ".encode("ascii")
