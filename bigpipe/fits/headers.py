"""The contents of a CCD frame's header: kind, exposure, gain, overscan and so on.

Owns the keywords and their many spellings. Opens no file: `bigpipe.fits.files` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

__all__ = [
    "Amplifier",
    "Kind",
    "Section",
    "binning_of",
    "exposure_of",
    "filter_of",
    "gain_of",
    "is_arc",
    "is_in_electrons",
    "kind_of",
    "object_of",
    "pedestal_of",
    "read_noise_of",
    "readout_of",
    "saturation_of",
    "section_of",
    "temperature_of",
]

KIND_KEYWORDS = ("IMAGETYP", "OBSTYPE", "ESO DPR TYPE", "FRAME")
EXPOSURE_KEYWORDS = ("EXPTIME", "EXPOSURE", "ITIME")
# EGAIN first: cameras that write both use GAIN for a setting without a unit.
GAIN_KEYWORDS = ("EGAIN", "GAIN")
READ_NOISE_KEYWORDS = ("RDNOISE", "READNOIS", "ENOISE", "RON")
SATURATION_KEYWORDS = ("SATURATE", "SATLEVEL")
FILTER_KEYWORDS = ("FILTER", "FILTER1", "FILTNAM", "FILTERS")
# Measured temperatures before the set point.
TEMPERATURE_KEYWORDS = ("CCD-TEMP", "CCDTEMP", "DETTEMP", "DET-TEMP", "CCDTEM", "SET-TEMP")
MAX_CELSIUS = 100.0  # no detector is hotter; larger values, such as 170, are in kelvin
BINNING_KEYWORDS = (("XBINNING", "YBINNING"), ("CCDXBIN", "CCDYBIN"), ("BINX", "BINY"))
BINNING_TEXTS = ("CCDSUM", "BINNING")
ELECTRON_WORDS = {"e", "e-", "electron", "electrons", "el"}
UNSIGNED_16_BIT = 65535.0  # adu: the largest value of a 16-bit converter

# OBJECT gives the kind if it has no other words: 'Dome Flat' does, 'Dark Nebula' does not.
_KIND_WORDS = {"bias", "zero", "dark", "darks", "flat", "flats", "domeflat", "skyflat"}
_ACCOMPANYING_WORDS = {"dome", "sky", "twilight", "lamp", "field", "frame", "image", "internal"}
_ARC_WORDS = {"arc", "arcs", "comp", "comparison", "arclamp"}
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")

Section = tuple[slice, slice]


class Kind(StrEnum):
    """The purpose of a frame."""

    BIAS = "bias"
    DARK = "dark"
    FLAT = "flat"
    LIGHT = "light"


@dataclass(frozen=True)
class Amplifier:
    """The pixels read by one amplifier."""

    data: Section
    """Rows and columns of the raw image that saw light."""
    overscan: Section | None
    """Rows and columns of its overscan; ``None`` if there is none."""


def kind_of(header: Mapping[str, Any]) -> Kind:
    """Return the kind of a frame.

    Parameters
    ----------
    header : mapping
        The frame's header.

    Returns
    -------
    Kind
        From the first of ``IMAGETYP``, ``OBSTYPE``, ``ESO DPR TYPE`` and ``FRAME`` that
        gives a kind, otherwise from ``OBJECT`` if it consists only of words for a kind;
        ``LIGHT`` if none does. A dark exposed for 0 s is a bias.

    Examples
    --------
    >>> kind_of({"IMAGETYP": "object", "OBJECT": "Dome Flat"}).value
    'flat'
    >>> kind_of({"IMAGETYP": "Light Frame", "OBJECT": "Dark"}).value
    'light'
    """
    kind = None
    for keyword in KIND_KEYWORDS:
        kind = kind or _kind_in(_words(header.get(keyword, "")))
    words = _words(header.get("OBJECT", ""))
    if words <= _KIND_WORDS | _ACCOMPANYING_WORDS:
        kind = kind or _kind_in(words)
    if kind is Kind.DARK and exposure_of(header) == 0:
        return Kind.BIAS
    return kind or Kind.LIGHT


def _words(value: Any) -> set[str]:
    return set(re.findall("[a-z]+", str(value).lower()))


def _kind_in(words: set[str]) -> Kind | None:
    if words & {"bias", "zero"}:
        return Kind.BIAS
    # Dark before flat: a 'flat dark' is a dark, as long as the flats.
    if words & {"dark", "darks"}:
        return Kind.DARK
    if any(word.startswith("flat") or word.endswith(("flat", "flats")) for word in words):
        return Kind.FLAT
    if words & {"light", "science"}:
        return Kind.LIGHT
    return None


def _number(header: Mapping[str, Any], keywords: Iterable[str]) -> float | None:
    """Return the first value that is a finite number, also as text."""
    for keyword in keywords:
        try:
            value = float(header[keyword])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            return value
    return None


def _positive(header: Mapping[str, Any], keywords: Iterable[str]) -> float | None:
    for keyword in keywords:
        value = _number(header, (keyword,))
        if value is not None and value > 0:
            return value
    return None


def exposure_of(header: Mapping[str, Any]) -> float | None:
    """Return the exposure time in seconds; ``None`` if unknown."""
    value = _number(header, EXPOSURE_KEYWORDS)
    return value if value is None or value >= 0 else None


def gain_of(header: Mapping[str, Any]) -> float | None:
    """Return the gain in electrons per adu; ``None`` if unknown."""
    return _positive(header, GAIN_KEYWORDS)


def read_noise_of(header: Mapping[str, Any]) -> float | None:
    """Return the read noise in electrons; ``None`` if unknown."""
    return _positive(header, READ_NOISE_KEYWORDS)


def saturation_of(header: Mapping[str, Any]) -> float | None:
    """Return the lowest value, in adu, of a saturated pixel; ``None`` if unknown."""
    given = _positive(header, SATURATION_KEYWORDS)
    if given is None and header.get("BITPIX") == 16 and header.get("BZERO") == 32768:
        return UNSIGNED_16_BIT
    return given


def pedestal_of(header: Mapping[str, Any]) -> float:
    """Return what must be added to the values, in adu, so that 0 means no signal."""
    return _number(header, ("PEDESTAL",)) or 0.0


def filter_of(header: Mapping[str, Any]) -> str:
    """Return the name of the filter; ``''`` if unknown."""
    values = (str(header.get(keyword, "")).strip() for keyword in FILTER_KEYWORDS)
    return next((value for value in values if value), "")


def temperature_of(header: Mapping[str, Any]) -> float | None:
    """Return the detector's temperature in degrees Celsius; ``None`` if unknown.

    Values above 100 are taken to be in kelvin.

    Examples
    --------
    >>> temperature_of({"CCD-TEMP": -19.8, "SET-TEMP": -20.0}), temperature_of({"CCDTEMP": 253.15})
    (-19.8, -20.0)
    """
    value = _number(header, TEMPERATURE_KEYWORDS)
    if value is not None and value > MAX_CELSIUS:
        return round(value - 273.15, 6)
    return value


def binning_of(header: Mapping[str, Any]) -> tuple[int, int]:
    """Return the binning along columns and rows; 1 if unknown.

    Examples
    --------
    >>> binning_of({"CCDSUM": "2 1"}), binning_of({"XBINNING": 4, "YBINNING": 4}), binning_of({})
    ((2, 1), (4, 4), (1, 1))
    """
    for keyword in BINNING_TEXTS:
        numbers = re.findall(r"\d+", str(header.get(keyword, "")))
        if len(numbers) == 2 and "0" not in numbers:
            return int(numbers[0]), int(numbers[1])
    for x, y in BINNING_KEYWORDS:
        along_x = _positive(header, (x,))
        if along_x is not None:
            return int(along_x), int(_positive(header, (y,)) or along_x)
    return 1, 1


def object_of(header: Mapping[str, Any]) -> str:
    """Return the name of the observed object; ``''`` if unknown."""
    return str(header.get("OBJECT", "")).strip()


def is_arc(header: Mapping[str, Any]) -> bool:
    """Return whether a frame shows an arc lamp, whose lines are as sharp as cosmic rays."""
    words = set().union(
        *(_words(header.get(keyword, "")) for keyword in (*KIND_KEYWORDS, "OBJECT"))
    )
    return bool(words & _ARC_WORDS)


def is_in_electrons(header: Mapping[str, Any]) -> bool:
    """Return whether ``BUNIT`` is electrons; anything else is taken as adu."""
    return str(header.get("BUNIT", "")).strip().lower() in ELECTRON_WORDS


def readout_of(header: Mapping[str, Any], shape: tuple[int, int]) -> tuple[Amplifier, ...]:
    """Return which pixels saw light, which are overscan, and which amplifier read them.

    Parameters
    ----------
    header : mapping
        The frame's header. ``TRIMSEC``, else ``DATASEC``, is the part that saw light; by
        default, the whole image. ``BIASSEC`` is the overscan. Without ``BIASSEC``, the
        overscan is the last ``COVER`` columns for each amplifier. ``AMPSROW``, by default 1,
        is the number of amplifiers side by side. Each has an equal share of the columns of
        data and overscan, in the same order.
    shape : tuple of int
        Rows and columns of the raw image.

    Returns
    -------
    tuple of Amplifier
        At least one. Sections that do not lie in the image are ignored.

    Examples
    --------
    >>> readout_of({"DATASEC": "[1:8,1:5]", "BIASSEC": "[9:10,1:5]"}, (5, 10))
    (Amplifier(data=(slice(0, 5, None), slice(0, 8, None)), \
overscan=(slice(0, 5, None), slice(8, 10, None))),)
    """
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    data = (
        section_of(header.get("TRIMSEC"), shape)
        or section_of(header.get("DATASEC"), shape)
        or whole
    )
    count = int(_positive(header, ("AMPSROW",)) or 1)
    overscan = section_of(header.get("BIASSEC"), shape)
    if overscan is None:
        columns = count * int(_positive(header, ("COVER",)) or 0)
        if 0 < columns <= shape[1] - data[1].stop:
            overscan = (data[0], slice(shape[1] - columns, shape[1]))
    parts = _columns_split(data, count)
    if overscan is None:
        return tuple(Amplifier(part, None) for part in parts)
    return tuple(map(Amplifier, parts, _columns_split(overscan, count)))


def section_of(text: Any, shape: tuple[int, ...]) -> Section | None:
    """Return the rows and columns of a section, which counts from 1.

    Parameters
    ----------
    text : str
        As in FITS headers: ``'[x1:x2, y1:y2]'``, both ends included.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    tuple of slice or None
        ``None`` if it is not a section, or does not lie in the image.

    Examples
    --------
    >>> section_of("[1:8,2:5]", (5, 10))
    (slice(1, 5, None), slice(0, 8, None))
    """
    match = _SECTION.fullmatch(str(text).strip())
    if match is None:
        return None
    x1, x2, y1, y2 = map(int, match.groups())
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    if x1 < 1 or y1 < 1 or x2 > shape[1] or y2 > shape[0]:
        return None
    return (slice(y1 - 1, y2), slice(x1 - 1, x2))


def _columns_split(section: Section, count: int) -> list[Section]:
    rows, columns = section
    n_columns = columns.stop - columns.start
    edges = [columns.start + round(i * n_columns / count) for i in range(count + 1)]
    return [(rows, slice(*pair)) for pair in pairwise(edges)]
