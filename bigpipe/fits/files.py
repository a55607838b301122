"""FITS files: their names, opening them, and which of their HDUs hold images.

Owns the errors of files that cannot be opened or have no image. `bigpipe.fits.reading` reads the
images.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

from astropy.io import fits

__all__ = [
    "MASK_NAME",
    "UNCERTAINTY_NAME",
    "first_plane",
    "header_of",
    "image_hdus",
    "is_fits_name",
    "members_of",
    "opened",
    "read_header",
    "stem_of",
]

MASK_NAME = "MASK"
UNCERTAINTY_NAME = "UNCERT"

_FITS_NAME = re.compile(r"\.(fits?|fts)(\.(gz|fz|bz2|xz))?$|\.fz$", re.IGNORECASE)
# Of the primary HDU's cards, those that describe its own data and no other's.
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK"
    r"|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL|INHERIT|)"
)
_COMMENTARY = ("COMMENT", "HISTORY")


def is_fits_name(name: str | os.PathLike[str]) -> bool:
    """Return whether a name ends like that of a FITS file, compressed or not."""
    return _FITS_NAME.search(os.fspath(name)) is not None


def members_of(in_name: Any) -> list[Any]:
    """Return the names of an input: the input itself, or the members of a (nested) group."""
    if isinstance(in_name, (str, os.PathLike)):
        return [in_name]
    return [name for each in in_name or () for name in members_of(each)]


def stem_of(name: str | os.PathLike[str]) -> str:
    """Return the base name of a FITS file without its endings.

    Examples
    --------
    >>> stem_of("night/b27.fits.gz")
    'b27'
    """
    return _FITS_NAME.sub("", os.path.basename(os.fspath(name)))


def opened(path: str | os.PathLike[str], **options: Any) -> fits.HDUList:
    """Open a file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    **options
        Keywords of `astropy.io.fits.open`.

    Raises
    ------
    ValueError
        If it is not a FITS file.
    OSError
        If it cannot be opened.
    """
    try:
        return fits.open(path, **options)
    except OSError as error:
        if error.filename is not None:  # from the system, such as 'no such file': it says enough
            raise
        raise ValueError(
            f"{os.fspath(path)}: this is not a FITS file: copy it again, or leave it out ({error})"
        ) from error


def image_hdus(hdus: fits.HDUList) -> Iterator[tuple[int, Any]]:
    """Find the HDUs that hold an image, however it is compressed.

    Yields
    ------
    tuple
        The number of the HDU and the HDU itself.
    """
    for number, hdu in enumerate(hdus):
        n_axes = hdu.header.get("NAXIS", 0)
        if hdu.is_image and n_axes and all(hdu.header[f"NAXIS{i + 1}"] for i in range(n_axes)):
            yield number, hdu


def header_of(hdus: fits.HDUList, hdu: Any) -> fits.Header:
    """Return an image's cards, then those of the primary HDU that it lacks."""
    header: fits.Header = hdu.header.copy()
    if hdu is hdus[0]:
        return header
    own = set(header)
    for card in hdus[0].header.cards:
        keyword = card.keyword
        if keyword in _COMMENTARY or not (keyword in own or _STRUCTURE.fullmatch(keyword)):
            header.append(card, end=True)
    return header


def read_header(path: str | os.PathLike[str]) -> fits.Header:
    """Read the header of the first two-dimensional image of a file, without the image.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    astropy.io.fits.Header
        The image's cards. If the image is in an extension, the primary HDU's cards follow.

    Raises
    ------
    ValueError
        If it is not a FITS file, or has no such image.
    """
    with warnings.catch_warnings():
        # The same warnings come, with the file's name, when the image is read.
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        with opened(path) as hdus:
            return header_of(hdus, first_plane(hdus, path))


def first_plane(hdus: fits.HDUList, path: str | os.PathLike[str]) -> Any:
    """Return the first HDU whose image has two axes of more than one pixel.

    Raises
    ------
    ValueError
        If there is none.
    """
    for _, hdu in image_hdus(hdus):
        lengths = [hdu.header[f"NAXIS{i + 1}"] for i in range(hdu.header["NAXIS"])]
        if sum(length > 1 for length in lengths) == 2:
            return hdu
    raise ValueError(
        f"{os.fspath(path)}: there is no two-dimensional image in this file: leave it out"
    )
