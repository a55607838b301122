"""The images of a FITS file, found from its header blocks alone, without loading astropy's HDUs.

Owns the few cards that give the size of an image. The parent asks for every file before it hands
the file out, so this must take some 50 us and not milliseconds.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["Layout", "layouts_of"]

BLOCK = 2880  # bytes: every part of a FITS file is a multiple of this
CARD = 80  # bytes
MAX_HEADER_BLOCKS = 2000  # 72,000 cards: a longer header is not FITS
_OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_WANTED = (
    *(b"BITPIX", b"NAXIS", b"PCOUNT", b"GCOUNT", b"XTENSION", b"SIMPLE", b"EXTNAME"),
    *(b"ZIMAGE", b"ZBITPIX", b"ZNAXIS"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """One image of a file, before it is read."""

    hdu: int
    """Number of its HDU, the primary being 0."""
    name: str
    """``EXTNAME``, ``''`` if there is none."""
    shape: tuple[int, ...]
    """Lengths of its axes, in numpy's order."""
    bitpix: int
    """Bits of a value; negative for floating point."""
    is_compressed: bool
    """Whether the image is compressed by tiles, or the whole file is compressed."""

    @property
    def n_pixels(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of its stored values, uncompressed."""
        return self.n_pixels * abs(self.bitpix) // 8


def layouts_of(path: str | os.PathLike[str]) -> Iterator[Layout]:
    """Find the images of a file. Reads only its headers, and only as far as you iterate.

    Parameters
    ----------
    path : str or os.PathLike
        The file. If it is compressed as a whole, everything before a header is decompressed.

    Yields
    ------
    Layout
        One for each image that has pixels. Stops where the file is not FITS.

    Raises
    ------
    OSError
        If the file cannot be opened or decompressed.
    """
    with open(path, "rb") as plain:
        start = plain.read(6)
        plain.seek(0)
        opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
        if opener is None:
            yield from _layouts(plain, is_compressed=False)
        else:
            try:
                with opener(plain) as file:
                    yield from _layouts(file, is_compressed=True)
            except (EOFError, zlib.error, lzma.LZMAError) as error:
                raise OSError(f"{os.fspath(path)}: it cannot be decompressed: {error}") from error


def _layouts(file: IO[bytes], *, is_compressed: bool) -> Iterator[Layout]:
    number = 0
    while (cards := _cards_of(file, is_first=number == 0)) is not None:
        try:
            shape = _shape(cards, "")
            bitpix = int(cards["BITPIX"])
            groups, extra = int(cards.get("GCOUNT", "1")), int(cards.get("PCOUNT", "0"))
            kind = cards.get("XTENSION", "'IMAGE").strip("' ")
            if kind == "IMAGE" and shape and all(shape):
                name = cards.get("EXTNAME", "")
                yield Layout(number, name.strip("' "), shape, bitpix, is_compressed)
            elif cards.get("ZIMAGE") == "T" and all(_shape(cards, "Z") or (0,)):
                name, inner = cards.get("EXTNAME", ""), _shape(cards, "Z")
                yield Layout(number, name.strip("' "), inner, int(cards["ZBITPIX"]), True)
        except (KeyError, ValueError):  # not FITS from here on: reading it will say so
            return
        n_values = groups * (extra + math.prod(shape)) if shape else 0
        n_blocks = -(-n_values * abs(bitpix) // (8 * BLOCK))
        file.seek(n_blocks * BLOCK, os.SEEK_CUR)
        number += 1


def _shape(cards: dict[str, str], prefix: str) -> tuple[int, ...]:
    n_axes = int(cards[f"{prefix}NAXIS"])
    shape = tuple(int(cards[f"{prefix}NAXIS{i}"]) for i in range(n_axes, 0, -1))
    if min(shape, default=0) < 0:
        raise ValueError(f"an axis of {min(shape)} pixels")
    return shape


def _cards_of(file: IO[bytes], *, is_first: bool) -> dict[str, str] | None:
    """Read one header; return its `_WANTED` cards, ``None`` if there is no header."""
    cards: dict[str, str] = {}
    for n_block in range(MAX_HEADER_BLOCKS):
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            return None
        if n_block == 0 and not block.startswith(b"SIMPLE  =" if is_first else b"XTENSION="):
            return None
        for start in range(0, BLOCK, CARD):
            if block.startswith(b"END     ", start):
                return cards
            if block.startswith(_WANTED, start) and block[start + 8 : start + 9] == b"=":
                text = block[start : start + CARD].decode("ascii", "replace")
                cards.setdefault(text[:8].strip(), text[10:].partition("/")[0].strip())
    return None
