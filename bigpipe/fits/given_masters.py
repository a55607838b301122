"""The master frames given to steps: one, or several to choose from.

Owns the errors about masters that cannot be used. `bigpipe.fits.matching` decides which of several
fits.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from astropy.nddata import CCDData

from bigpipe.fits.matching import best_match, keys_of

__all__ = ["master_for", "said_of"]


_MUST_MATCH = {
    "bias": "shape, binning and temperature (within temperature_tolerance)",
    "dark": "shape, binning, temperature (within temperature_tolerance) and, unless it can be "
    "scaled, exposure",
    "flat": "shape, binning and filter",
}


def master_for(ccd: CCDData, given: Any, kind: str, kwargs: dict[str, Any]) -> CCDData:
    """Return the master to use: the given one, or the one of several that fits.

    Parameters
    ----------
    ccd : CCDData
        The frame to be calibrated.
    given : CCDData or iterable of CCDData
        What the step was given.
    kind : str
        What the master is used as, and the name of the keyword: ``'bias'``, ``'dark'`` or
        ``'flat'``.
    kwargs : dict
        Keywords of the step.

    Returns
    -------
    CCDData
        One master.

    Raises
    ------
    ValueError
        If no master is given, or none fits.
    TypeError
        If `given` is not a frame or a list of frames.
    """
    where = said_of(kwargs)
    if given is None:
        step = "divide_flat" if kind == "flat" else f"subtract_{kind}"
        raise ValueError(f"{where}{step} was given no {kind}=: give a master frame")
    masters = _frames(given, kind, where)
    if isinstance(given, CCDData):
        if not _covers(given.shape, ccd.shape):
            raise ValueError(
                f"{where}the {kind} has {_pixels(given)} pixels, the frame {_pixels(ccd)}: trim "
                "both in the same way, or give a master of this camera and binning"
            )
        return given
    tolerance = kwargs.get("temperature_tolerance")
    options = {} if tolerance is None else {"temperature_tolerance": tolerance}
    index = best_match(
        kind,
        keys_of(ccd.header, ccd.data.shape),
        [keys_of(master.header, master.data.shape) for master in masters],
        scales=kwargs.get("dark_scale", True),
        **options,
    )
    if index is None:
        raise ValueError(
            f"{where}none of the {len(masters)} masters fits as {kind}: give one that matches in "
            f"{_MUST_MATCH[kind]}"
        )
    return masters[index]


def said_of(kwargs: dict[str, Any]) -> str:
    """Return the beginning of a step's error message: the file, if it is known."""
    name = kwargs.get("in_name")
    return f"{name}: " if name is not None else ""


def _frames(given: Any, kind: str, where: str) -> list[CCDData]:
    is_one = isinstance(given, (CCDData, str, os.PathLike, np.ndarray))
    masters = [given] if is_one else list(given)
    for each in masters:
        if isinstance(each, (str, os.PathLike)):
            name = os.fspath(each)
            raise TypeError(
                f"{where}{kind}= is the file name {name!r}: give the frame, "
                f"{kind}=read_ccd({name!r})"
            )
        if not isinstance(each, CCDData):
            raise TypeError(
                f"{where}{kind}= is of type {type(each).__name__}: give a CCDData, as returned by "
                "read_ccd"
            )
    return masters


def _covers(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def _pixels(ccd: CCDData) -> str:
    return " x ".join(map(str, ccd.shape))
