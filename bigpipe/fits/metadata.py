"""From the header of an image into the metadata that its pipeline returns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from astropy import units as u
from astropy.nddata import CCDData

__all__ = ["ccd_meta_to_bmp_meta", "header_to_meta"]


def header_to_meta(
    ccd: Any,
    bmp_meta: dict[str, Any] | None = None,
    header_keys: Iterable[Any] = (),
    **kwargs: Any,
) -> Any:
    """Put cards of the header into the metadata.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image. Of several, a key has a list if their values differ.
    bmp_meta : dict
        Gets the values, under the keys in the letters in which they are given.
    header_keys : iterable of str or tuple
        Keywords; or a keyword and the unit of its value, which makes it a quantity. Those that
        the header has not got are left out.
    **kwargs
        Not used.

    Returns
    -------
    CCDData or list of CCDData
        The same.
    """
    if bmp_meta is None:
        return ccd
    for key in header_keys:
        keyword, unit = (key, None) if isinstance(key, str) else key
        each = [x.header[keyword] for x in _images(ccd) if keyword in x.header]
        values = [value if unit is None else value * u.Unit(unit) for value in each]
        if values:
            same = all(value == values[0] for value in values)
            bmp_meta[keyword] = values[0] if same else values
    return ccd


def ccd_meta_to_bmp_meta(
    ccd: Any,
    bmp_meta: dict[str, Any] | None = None,
    ccd_meta_to_bmp_meta_keys: Iterable[Any] = (),
    **kwargs: Any,
) -> Any:
    """Put cards into the metadata: `header_to_meta`, under the name that ccdmultipipe gave it.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image.
    bmp_meta : dict
        Gets the values.
    ccd_meta_to_bmp_meta_keys : iterable of str or tuple
        As ``header_keys``.
    **kwargs
        Not used.

    Returns
    -------
    CCDData or list of CCDData
        The same.
    """
    return header_to_meta(ccd, bmp_meta, ccd_meta_to_bmp_meta_keys or ())


def _images(ccd: Any) -> list[CCDData]:
    return [image for each in ccd for image in _images(each)] if isinstance(ccd, list) else [ccd]
