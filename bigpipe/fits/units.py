"""The unit of an image, from what people write into ``BUNIT``.

Owns the spellings that astropy does not know. `bigpipe.fits.reading` handles a missing unit.
"""

from __future__ import annotations

import re

from astropy import units as u

__all__ = ["unit_of"]

_SPELLINGS = {
    "adus": "adu",
    "dn": "DN",
    "dns": "DN",
    "counts": "ct",
    "count": "ct",
    "electrons": "electron",
    "e-": "electron",
    "e": "electron",
    "el": "electron",
    "photons": "photon",
    "pixels": "pix",
    "pixel": "pix",
    "second": "s",
    "seconds": "s",
    "sec": "s",
    "adu": "adu",
    "electron": "electron",
}
_WORD = re.compile(r"[A-Za-z]+-?")


def unit_of(text: str) -> u.UnitBase | None:
    """Return the unit that a text means; ``None`` if it is not a known unit.

    Parameters
    ----------
    text : str
        Value of ``BUNIT``. Parsed by astropy, first as it is, then with telescopes' words replaced
        by astropy's.

    Examples
    --------
    >>> [str(unit_of(text)) for text in ("ADU", "e-/s", "counts / pixel", "Jy/beam", "raw")]
    ['adu', 'electron / s', 'ct / pix', 'Jy / beam', 'None']
    """
    if text and not re.search("[A-Za-z%]", text):
        return None  # a number, which astropy would take as a scale
    for spelling in (text, _WORD.sub(_usual, text)):
        try:
            return u.Unit(spelling)
        except (ValueError, TypeError):  # not one that astropy knows
            continue
    return None


def _usual(match: re.Match[str]) -> str:
    return _SPELLINGS.get(match[0].lower(), match[0])
