"""Functions that copy cards of an image's header into the metadata of its file."""

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
    """Copy cards of the header into the metadata.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image. If several images differ in a value, its key gets a list.
    bmp_meta : dict
        Receives the values, under the keywords as you spell them.
    header_keys : iterable of str or tuple
        Keywords. For a quantity, a tuple of the keyword and the unit of its value. Keywords
        that the header lacks are skipped.
    **kwargs
        Not used.

    Returns
    -------
    CCDData or list of CCDData
        The image, unchanged.
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
    """Copy cards into the metadata: `header_to_meta` under its name in ccdmultipipe.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image.
    bmp_meta : dict
        Receives the values.
    ccd_meta_to_bmp_meta_keys : iterable of str or tuple
        As ``header_keys``.
    **kwargs
        Not used.

    Returns
    -------
    CCDData or list of CCDData
        The image, unchanged.
    """
    return header_to_meta(ccd, bmp_meta, ccd_meta_to_bmp_meta_keys or ())


def _images(ccd: Any) -> list[CCDData]:
    return [image for each in ccd for image in _images(each)] if isinstance(ccd, list) else [ccd]
