"""Calibration steps, as functions for the lists of a pipeline of CCD images.

Owns the keywords of each step, and the header cards that replace missing keywords. ccdproc and
astroscrappy (extra ``ccd``) do the work; they are imported when a step runs. Each step takes a
`CCDData`, or a list of them, and keywords, and returns the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from bigpipe.fits import headers
from bigpipe.fits.given_masters import master_for, said_of

__all__ = [
    "correct_gain",
    "divide_flat",
    "remove_cosmic_rays",
    "subtract_bias",
    "subtract_dark",
    "subtract_overscan",
    "trim",
]

Step = Callable[..., Any]


def _on_each(step: Step) -> Step:
    """Let a step also take a (nested) list of images, each with its own file name."""

    @functools.wraps(step)
    def on_each(ccd: Any, **kwargs: Any) -> Any:
        if not isinstance(ccd, list):
            return step(ccd, **kwargs)
        names = kwargs.get("in_name")
        if not isinstance(names, list) or len(names) != len(ccd):
            names = [names] * len(ccd)
        pairs = zip(ccd, names, strict=True)
        return [on_each(each, **{**kwargs, "in_name": name}) for each, name in pairs]

    return on_each


def _ccdproc() -> ModuleType:
    try:
        import ccdproc
    except ImportError as error:
        raise ImportError(
            f"this step needs {error.name or 'ccdproc'}: install it with python -m pip install "
            "'bigpipe[ccd]'"
        ) from error
    module: ModuleType = ccdproc
    return module


@_on_each
def subtract_overscan(
    ccd: CCDData,
    overscan_section: str | None = None,
    overscan_median: bool = True,
    overscan_axis: int = 1,
    overscan_model: Any = None,
    **kwargs: Any,
) -> CCDData:
    """Subtract the level of the overscan, separately for each amplifier.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The raw image.
    overscan_section : str, optional
        The overscan, in FITS notation: ``'[2049:2112, 1:350]'``. ``None``: from ``BIASSEC`` or
        ``COVER``, for each amplifier (``AMPSROW``).
    overscan_median : bool, optional
        Use the median along the axis, instead of the mean.
    overscan_axis : int or None, optional
        1: a level for each row; 0: for each column; ``None``: one level for all.
    overscan_model : astropy.modeling.Model, optional
        Model to fit to the levels.
    **kwargs
        Not used.

    Returns
    -------
    CCDData
        The image, not trimmed.

    Raises
    ------
    ValueError
        If neither keyword nor header gives the overscan, or it does not lie along the data.

    Notes
    -----
    Uses `ccdproc.subtract_overscan`.
    """
    options = {"median": overscan_median, "model": overscan_model}
    shape = ccd.data.shape
    parts = headers.readout_of(ccd.header, shape)
    if overscan_section is not None:
        section = headers.section_of(overscan_section, shape)
        if section is None:
            raise ValueError(
                f"{said_of(kwargs)}overscan_section={overscan_section!r} is not a section of "
                f"{shape[0]} x {shape[1]} pixels: give it as '[x1:x2, y1:y2]', counted from 1"
            )
        parts = (headers.Amplifier((slice(0, shape[0]), slice(0, shape[1])), section),)
    if any(part.overscan is None for part in parts):
        raise ValueError(
            f"{said_of(kwargs)}the header does not say where the overscan is (BIASSEC, COVER): "
            "give overscan_section='[x1:x2, y1:y2]', or leave subtract_overscan out"
        )
    result = ccd.copy()
    result.data = result.data.astype(np.result_type(ccd.data.dtype, np.float32), copy=False)
    for part in parts:
        assert part.overscan is not None
        data, overscan = ccd[part.data], ccd[_along(part, overscan_axis, kwargs)]
        if overscan_axis is None:
            level = np.median(overscan.data) if overscan_median else np.mean(overscan.data)
            result.data[part.data] -= result.data.dtype.type(level)
        else:
            done = _ccdproc().subtract_overscan(
                data, overscan=overscan, overscan_axis=overscan_axis, add_keyword=None, **options
            )
            result.data[part.data] = done.data
    return _noted(result, "overscan subtracted")


def _along(part: headers.Amplifier, axis: int | None, kwargs: dict[str, Any]) -> headers.Section:
    """Return the part of the overscan in the data's rows, or in its columns if the axis is 0."""
    assert part.overscan is not None
    if axis is None:
        return part.overscan
    number = 1 - axis  # of the axis that data and overscan share
    own, wanted = part.overscan[number], part.data[number]
    if own.start <= wanted.start and own.stop >= wanted.stop:
        own = wanted
    elif own.stop - own.start != wanted.stop - wanted.start:
        what = ("rows", "columns")[number]
        raise ValueError(
            f"{said_of(kwargs)}the overscan covers {what} {own.start + 1} to {own.stop}, but the "
            f"data covers {wanted.start + 1} to {wanted.stop}: give overscan_axis={number} if the "
            "overscan lies along the other side, or overscan_axis=None for one level for all"
        )
    return (own, part.overscan[1]) if number == 0 else (part.overscan[0], own)


@_on_each
def trim(ccd: CCDData, trim_section: str | None = None, **kwargs: Any) -> CCDData:
    """Cut off pixels that saw no light.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image.
    trim_section : str, optional
        The section to keep, in FITS notation. ``None``: from ``TRIMSEC`` or ``DATASEC``; if both
        are missing, the whole image.
    **kwargs
        Not used.

    Returns
    -------
    CCDData
        The trimmed image, without the cards that describe the raw one.

    Notes
    -----
    Uses `ccdproc.trim_image`.
    """
    section = trim_section
    if section is None:
        parts = headers.readout_of(ccd.header, ccd.data.shape)
        rows, first = parts[0].data
        columns = slice(first.start, parts[-1].data[1].stop)
        if (rows.stop - rows.start, columns.stop - columns.start) == ccd.data.shape:
            return ccd
        section = f"[{columns.start + 1}:{columns.stop}, {rows.start + 1}:{rows.stop}]"
    trimmed = _ccdproc().trim_image(ccd, fits_section=section, add_keyword=None)
    for keyword in ("TRIMSEC", "DATASEC", "BIASSEC", "COVER", "AMPSROW"):
        trimmed.header.pop(keyword, None)
    return _noted(trimmed, f"trimmed to {section}")


@_on_each
def subtract_bias(ccd: CCDData, bias: Any = None, **kwargs: Any) -> CCDData:
    """Subtract the bias.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image.
    bias : CCDData or list of CCDData
        A master; or several, to use the one that fits by shape, binning and nearest temperature.
    **kwargs
        ``temperature_tolerance`` is used: see `best_match`.

    Returns
    -------
    CCDData
        The image without the bias.

    Raises
    ------
    ValueError
        If none fits.

    Notes
    -----
    Uses `ccdproc.subtract_bias`.
    """
    master = master_for(ccd, bias, "bias", kwargs)
    done = _ccdproc().subtract_bias(ccd, master, add_keyword=None)
    return _noted(done, "bias subtracted", master)


@_on_each
def subtract_dark(
    ccd: CCDData, dark: Any = None, dark_scale: bool = True, **kwargs: Any
) -> CCDData:
    """Subtract the dark, scaled to the exposure.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image. If the dark is to be scaled, without the bias.
    dark : CCDData or list of CCDData
        A master; if it is to be scaled, without the bias. Or several, to use the one that fits by
        shape, binning, nearest temperature, and the same exposure or else the longest.
    dark_scale : bool, optional
        Multiply the dark by the ratio of the exposures.
    **kwargs
        ``temperature_tolerance`` is used: see `best_match`.

    Returns
    -------
    CCDData
        The image without the dark.

    Raises
    ------
    ValueError
        If none fits, or an exposure is unknown.

    Notes
    -----
    Uses `ccdproc.subtract_dark`.
    """
    master = master_for(ccd, dark, "dark", {**kwargs, "dark_scale": dark_scale})
    exposures = [headers.exposure_of(each.header) for each in (ccd, master)]
    if dark_scale and (exposures[0] is None or not exposures[1]):
        raise ValueError(
            f"{said_of(kwargs)}the dark cannot be scaled, as an exposure is not known (frame: "
            f"{exposures[0]} s, dark: {exposures[1]} s): give dark_scale=False"
        )
    light, own = ((1.0 if exposure is None else exposure) * u.s for exposure in exposures)
    done = _ccdproc().subtract_dark(
        ccd,
        master,
        dark_exposure=own,
        data_exposure=light,
        exposure_unit=u.s,
        scale=dark_scale,
        add_keyword=None,
    )
    return _noted(done, "dark subtracted", master)


@_on_each
def divide_flat(
    ccd: CCDData,
    flat: Any = None,
    flat_min_value: float | None = None,
    flat_norm_value: float | None = None,
    **kwargs: Any,
) -> CCDData:
    """Divide by the flat.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image.
    flat : CCDData or list of CCDData
        A master; or several, to use the one that fits by shape, binning and filter.
    flat_min_value : float, optional
        Values of the flat below this are raised to it.
    flat_norm_value : float, optional
        Divide the flat by this first. ``None``: its mean, without masked pixels and NaN.
    **kwargs
        Not used.

    Returns
    -------
    CCDData
        The quotient, in the unit of the image.

    Raises
    ------
    ValueError
        If none fits.

    Notes
    -----
    Uses `ccdproc.flat_correct`.
    """
    master = master_for(ccd, flat, "flat", kwargs)
    if flat_norm_value is None:
        flat_norm_value = _mean_of_good(master, flat_min_value)
    done = _ccdproc().flat_correct(
        ccd, master, min_value=flat_min_value, norm_value=flat_norm_value, add_keyword=None
    )
    return _noted(done, "flat divided", master)


def _mean_of_good(flat: CCDData, least: float | None) -> float | None:
    """Return the mean of good pixels; ``None`` if all are good, as ccdproc then computes it."""
    data = np.asarray(flat.data)
    good = np.isfinite(data)
    if flat.mask is not None:
        good &= ~flat.mask
    if good.all() or not good.any():
        return None
    values = data[good].astype(np.float64)
    return float((values if least is None else np.maximum(values, least)).mean())


@_on_each
def correct_gain(ccd: CCDData, gain: float | None = None, **kwargs: Any) -> CCDData:
    """Convert adu to electrons.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image in adu. An image in electrons is returned unchanged.
    gain : float, optional
        Electrons per adu. ``None``: from ``EGAIN`` or ``GAIN``.
    **kwargs
        Not used.

    Returns
    -------
    CCDData
        The image in electrons.

    Raises
    ------
    ValueError
        If the gain is unknown.

    Notes
    -----
    Uses `ccdproc.gain_correct`.
    """
    if ccd.unit == u.electron:
        return ccd
    gain = headers.gain_of(ccd.header) if gain is None else gain
    if gain is None:
        raise ValueError(f"{said_of(kwargs)}the header has no GAIN or EGAIN: give gain=")
    done = _ccdproc().gain_correct(ccd, gain * u.electron / u.adu, add_keyword=None)
    return _noted(done, f"multiplied by the gain {gain:g}")


@_on_each
def remove_cosmic_rays(
    ccd: CCDData,
    bmp_meta: dict[str, Any] | None = None,
    cosmics_sigclip: float = 4.5,
    cosmics_objlim: float = 5.0,
    cosmics_options: dict[str, Any] | None = None,
    read_noise: float | None = None,
    gain: float | None = None,
    **kwargs: Any,
) -> CCDData:
    """Replace the pixels that cosmic rays hit, and mask them.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image. Arcs are returned unchanged, as their lines are as sharp as cosmic rays.
    bmp_meta : dict, optional
        Receives ``'n_cosmics'``, the number of such pixels.
    cosmics_sigclip : float, optional
        Detection threshold, in sigma.
    cosmics_objlim : float, optional
        How much sharper than stars cosmic rays must be.
    cosmics_options : dict, optional
        Further options of `ccdproc.cosmicray_lacosmic`.
    read_noise : float, optional
        In electrons. ``None``: from ``RDNOISE``.
    gain : float, optional
        Electrons per adu, for an image in adu. ``None``: from the header, or else 1.
    **kwargs
        Not used.

    Returns
    -------
    CCDData
        The image, in its unit.

    Raises
    ------
    ValueError
        If the read noise is unknown.

    Notes
    -----
    Uses `ccdproc.cosmicray_lacosmic`, which runs L.A.Cosmic [1]_ by astroscrappy.

    References
    ----------
    .. [1] P. G. van Dokkum 2001, PASP 113, 1420.
    """
    if headers.is_arc(ccd.header):
        return ccd
    noise = headers.read_noise_of(ccd.header) if read_noise is None else read_noise
    if noise is None:
        raise ValueError(f"{said_of(kwargs)}the header has no RDNOISE: give read_noise=")
    if ccd.unit == u.electron:
        gain = 1.0
    elif gain is None:
        gain = headers.gain_of(ccd.header) or 1.0
    options = {"sigclip": cosmics_sigclip, "objlim": cosmics_objlim, **(cosmics_options or {})}
    data, hit = _ccdproc().cosmicray_lacosmic(
        np.asarray(ccd.data), gain=gain, readnoise=noise, gain_apply=False, **options
    )
    result = ccd.copy()
    result.data = np.asarray(getattr(data, "value", data))
    result.mask = hit if ccd.mask is None else ccd.mask | hit
    n_hit = int(np.count_nonzero(hit))
    if bmp_meta is not None:
        bmp_meta["n_cosmics"] = bmp_meta.get("n_cosmics", 0) + n_hit
    return _noted(result, f"{n_hit} pixels cleaned of cosmic rays")


def _noted(ccd: CCDData, text: str, master: CCDData | None = None) -> CCDData:
    """Add a line of history, with the first frame of the master."""
    origin = "" if master is None else master.header.get("IMCMB001", "")
    if isinstance(ccd.header, fits.Header):
        ccd.header.add_history(text + (f": combined of {origin} and others" if origin else ""))
    return ccd
