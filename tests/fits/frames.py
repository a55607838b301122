"""Make FITS files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

RAMP = np.arange(12, dtype=np.uint16).reshape(3, 4)


def write(path: Path, data: NDArray[Any] = RAMP, **cards: Any) -> str:
    """Write a file with one image; keywords are its cards."""
    hdu = fits.PrimaryHDU(data)
    for keyword, value in cards.items():
        hdu.header[keyword] = value
    hdu.writeto(path)
    return str(path)


def write_extensions(path: Path, *images: tuple[str, NDArray[Any]], **cards: Any) -> str:
    """Write a file whose primary HDU has cards only, and an extension for each image."""
    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    extensions = [fits.ImageHDU(data, name=name) for name, data in images]
    fits.HDUList([primary, *extensions]).writeto(path)
    return str(path)


def patch(path: Path, old: bytes, new: bytes) -> str:
    """Replace bytes of a file by as many others: what no library would write."""
    assert len(old) == len(new)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return str(path)
