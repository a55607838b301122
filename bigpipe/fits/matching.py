"""Which calibration frames fit a frame: what must be equal, and what should be near.

Owns the comparison of frames. `bigpipe.fits.headers` reads the headers, `bigpipe.fits.sorting`
sorts the frames of a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigpipe.fits import headers
from bigpipe.fits.headers import Kind

__all__ = ["TEMPERATURE_TOLERANCE", "FrameKeys", "best_match", "keys_of", "name_of_master"]

TEMPERATURE_TOLERANCE = 2.0  # degrees: dark current doubles every 6 or so; arbitrary


@dataclass(frozen=True)
class FrameKeys:
    """The properties of a frame that decide which other frames fit it."""

    kind: Kind
    """The purpose of the frame."""
    shape: tuple[int, ...]
    """Rows and columns."""
    binning: tuple[int, int] = (1, 1)
    """Pixels read as one, along columns and rows."""
    filter: str = ""
    """Name of the filter; ``''`` if unknown."""
    exposure: float | None = None
    """Exposure time in seconds; ``None`` if unknown."""
    temperature: float | None = None
    """Temperature of the detector in degrees Celsius; ``None`` if unknown."""


def keys_of(header: Mapping[str, Any], shape: tuple[int, ...]) -> FrameKeys:
    """Return the properties of a frame from its header.

    Parameters
    ----------
    header : mapping
        The header.
    shape : tuple of int
        Rows and columns of the image, which may have been trimmed.

    Returns
    -------
    FrameKeys
        Its properties.
    """
    return FrameKeys(
        headers.kind_of(header),
        tuple(shape),
        headers.binning_of(header),
        headers.filter_of(header),
        headers.exposure_of(header),
        headers.temperature_of(header),
    )


def best_match(
    kind: str,
    frame: FrameKeys,
    candidates: Sequence[FrameKeys],
    *,
    temperature_tolerance: float = TEMPERATURE_TOLERANCE,
    scales: bool = True,
) -> int | None:
    """Choose the calibration frame for a frame.

    Parameters
    ----------
    kind : str
        The kind of calibration frame: ``'bias'``, ``'dark'`` or ``'flat'``.
    frame : FrameKeys
        The frame to be calibrated.
    candidates : sequence of FrameKeys
        Calibration frames of that kind.
    temperature_tolerance : float, optional
        The largest difference, in degrees, between the temperatures of a frame and its bias or
        dark, if both are known.
    scales : bool, optional
        Whether a dark may be scaled to another exposure.

    Returns
    -------
    int or None
        Index of the candidate; ``None`` if none fits. Shape and binning must be equal, and
        for a flat the filter. A dark of the same exposure is preferred, then the longest one;
        among equals the nearest temperature, then the first.
    """
    ranked = []
    for number, candidate in enumerate(candidates):
        if (candidate.shape, candidate.binning) != (frame.shape, frame.binning):
            continue
        if kind == Kind.FLAT and candidate.filter != frame.filter:
            continue
        apart = _apart(frame.temperature, candidate.temperature)
        if kind != Kind.FLAT and apart > temperature_tolerance:
            continue
        order = 0.0
        if kind == Kind.DARK and candidate.exposure != frame.exposure:
            if not scales or not candidate.exposure or frame.exposure is None:
                continue
            order = 1 / candidate.exposure
        ranked.append((order, apart, number))
    return min(ranked)[-1] if ranked else None


def name_of_master(keys: FrameKeys) -> str:
    """Name a combined frame after its properties.

    Parameters
    ----------
    keys : FrameKeys
        Its properties.

    Returns
    -------
    str
        Kind, exposure of a dark, filter of a flat or light, size, binning, and temperature of
        the detector (not of a flat), as far as they are known.

    Examples
    --------
    >>> name_of_master(FrameKeys(Kind.DARK, (512, 1024), (2, 2), "V", 60.0, -20.1))
    'dark-60s-512x1024-bin2x2--20.1C.fits'
    """
    words = [keys.kind.value]
    if keys.kind is Kind.DARK and keys.exposure is not None:
        words.append(f"{keys.exposure:g}s")
    if keys.kind in (Kind.FLAT, Kind.LIGHT):
        words.append(keys.filter)
    words.append("x".join(map(str, keys.shape)))
    if keys.binning != (1, 1):
        words.append(f"bin{keys.binning[0]}x{keys.binning[1]}")
    if keys.temperature is not None and keys.kind is not Kind.FLAT:
        words.append(f"{keys.temperature:.1f}C")
    text = "-".join(word for word in words if word)
    safe = "".join(letter if letter.isalnum() or letter in "-._+" else "_" for letter in text)
    return f"{safe}.fits"


def _apart(first: float | None, second: float | None) -> float:
    return 0.0 if first is None or second is None else abs(first - second)
