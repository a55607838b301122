"""A simulated night: which frames it has, and the pipeline that makes them.

Owns the plan of the night, the headers, and what is written as the truth. The physics is in
`bigpipe.demo.detector` and `bigpipe.demo.sky`. One seed and the frame's place in the plan determine
every number, whichever worker makes the frame.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from bigpipe.demo import detector as ccd
from bigpipe.demo.detector import Detector, Exposure, make_detector
from bigpipe.demo.sky import FILTERS, Stars, make_stars, scene
from bigpipe.fits.headers import Kind
from bigpipe.pipeline import BigMultiPipe

__all__ = ["FramePlan", "SimulationPipe", "detector_of", "plan_night", "write_truth"]

N_BIASES = 7
N_DARKS = 5
N_FLATS = 5  # for each filter
DARK_EXPOSURE = 300.0  # seconds
FLAT_EXPOSURE = 5.0
FLAT_LEVEL = 30_000.0  # electrons
LIGHT_EXPOSURE = 120.0
READOUT_TIME = 20.0
N_FIELDS = 3
DITHER = 12.0  # pixels: largest offset of a frame from its field
SEEING = (2.8, 3.8)  # pixels: full width at half maximum of a star
NIGHT = datetime(2026, 1, 15, 17, 30)  # arbitrary

# First numbers of the keys of random streams, so that no two uses share a stream.
_DETECTOR, _FIELD, _FRAME = range(3)


@dataclass(frozen=True)
class FramePlan:
    """One frame of the night."""

    number: int
    """Place in the night, from 0."""
    name: str
    """Name of its file."""
    kind: Kind
    """What it is for."""
    exposure: float
    """Seconds."""
    begin: datetime
    """When the shutter opens."""
    filter: str = ""
    """Name of the filter, a key of ``FILTERS``; ``''`` if the shutter stays closed."""
    field: int | None = None
    """Number of the field, for a light."""


def plan_night(n_lights: int) -> list[FramePlan]:
    """Plan biases, darks and flats, and lights that cycle through filters and fields.

    Parameters
    ----------
    n_lights : int
        Number of light frames.

    Returns
    -------
    list of FramePlan
        In the order they are taken. Flats are planned only for filters that lights use.
    """
    filters = list(FILTERS)[: max(n_lights, 1)]
    lights = [(filters[i % len(filters)], i // len(filters) % N_FIELDS) for i in range(n_lights)]
    wanted: list[tuple[Kind, float, str, int | None]] = []
    wanted += [(Kind.BIAS, 0.0, "", None)] * N_BIASES
    wanted += [(Kind.DARK, DARK_EXPOSURE, "", None)] * N_DARKS
    wanted += [(Kind.FLAT, FLAT_EXPOSURE, name, None) for name in filters for _ in range(N_FLATS)]
    wanted += [(Kind.LIGHT, LIGHT_EXPOSURE, name, field) for name, field in lights]
    plans: list[FramePlan] = []
    counts = dict.fromkeys(Kind, 0)
    begin = NIGHT
    for number, (kind, exposure, filter_name, field) in enumerate(wanted):
        counts[kind] += 1
        name = f"{kind}-{counts[kind]:03d}.fits"
        plans.append(FramePlan(number, name, kind, exposure, begin, filter_name, field))
        begin += timedelta(seconds=exposure + READOUT_TIME)
    return plans


def _rng(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def detector_of(shape: tuple[int, int], seed: int) -> Detector:
    """Return the detector that belongs to a seed."""
    return make_detector(shape, _rng(seed, _DETECTOR))


def write_truth(detector: Detector, folder: Path) -> None:
    """Write the truth that the master frames should reproduce."""
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(detector.bias, name="BIAS"),
            fits.ImageHDU(detector.dark_rate, name="DARK"),
            fits.ImageHDU(detector.flat, name="FLAT"),
        ]
    )
    hdus["BIAS"].header["BUNIT"] = "adu"
    hdus["DARK"].header["BUNIT"] = "electron/s"
    hdus.writeto(folder / "detector.fits", overwrite=True)


class SimulationPipe(BigMultiPipe):
    """Make the raw frames of a plan, and beside each light the truth about it.

    Notes
    -----
    Keywords of the run: ``plans`` (dict of `FramePlan` by name), ``detector``
    (`Detector`), ``seed`` (int) and ``truth_dir`` (where the truth is written).
    """

    def file_read(self, in_name: Any, plans: Any = None, **kwargs: Any) -> Any:
        """Look the frame up in the plan: there is no file to read yet."""
        return plans[in_name]

    def data_process(self, data: Any, detector: Any = None, seed: int = 0, **kwargs: Any) -> Any:
        """Take the frame."""
        return take(data, detector, seed)

    def outname_create(self, in_name: Any, outdir: Any = None, **kwargs: Any) -> Any:
        """Name the file as planned."""
        return os.path.join(outdir or "", in_name)

    def file_write(self, data: Any, outname: Any, truth_dir: Any = None, **kwargs: Any) -> Any:
        """Write the raw frame and, in another folder, the truth."""
        super().file_write(data, outname, **kwargs)
        raw, truth = data
        raw.writeto(outname, overwrite=True)
        if truth is not None:
            # Not beside the output, so bigpipe does not stage it: do that here.
            name = os.path.join(truth_dir, os.path.basename(outname))
            truth.writeto(f"{name}.new", overwrite=True)
            os.replace(f"{name}.new", name)
        return outname


def take(plan: FramePlan, detector: Detector, seed: int) -> tuple[Any, Any]:
    """Take one frame; return its HDU and, for a light, the HDUs of the truth (else ``None``)."""
    rng = _rng(seed, _FRAME, plan.number)
    if plan.kind is Kind.FLAT:
        light: Any = FLAT_LEVEL / plan.exposure * rng.uniform(0.9, 1.1)
    elif plan.field is not None:
        stars = make_stars(detector.shape, _rng(seed, _FIELD, plan.field))
        offset = rng.uniform(-DITHER, DITHER, 2)
        stars = replace(stars, row=stars.row + offset[0], column=stars.column + offset[1])
        light = scene(detector.shape, stars, FILTERS[plan.filter], rng.uniform(*SEEING))
    else:
        light = 0.0
    exposed = detector.expose(light, plan.exposure, rng)
    raw = fits.PrimaryHDU(exposed.raw, _raw_header(plan, detector.shape))
    if plan.field is None:
        return raw, None
    return raw, _truth(plan, light, stars, exposed)


def _raw_header(plan: FramePlan, shape: tuple[int, int]) -> fits.Header:
    ny, nx = shape
    last = nx + ccd.N_AMPLIFIERS * ccd.OVERSCAN_COLUMNS
    names = {Kind.BIAS: "Bias Frame", Kind.DARK: "Dark Frame", Kind.FLAT: "Flat Field"}
    header = fits.Header()
    header["OBJECT"] = plan.kind.value if plan.field is None else f"Field {plan.field + 1}"
    header["IMAGETYP"] = names.get(plan.kind, "Light Frame")
    header["EXPTIME"] = (plan.exposure, "s, shutter open or dark current collected")
    header["DATE-OBS"] = (plan.begin.isoformat(), "UT, begin of exposure")
    if plan.filter:
        header["FILTER"] = plan.filter
    header["BUNIT"] = "adu"
    header["GAIN"] = (ccd.GAIN, "electron/adu")
    header["RDNOISE"] = (ccd.READ_NOISE, "electron")
    header["SATURATE"] = (_saturation(), "adu")
    header["AMPSROW"] = (ccd.N_AMPLIFIERS, "amplifiers side by side")
    header["DATASEC"] = (f"[1:{nx},1:{ny}]", "pixels that see light")
    header["TRIMSEC"] = f"[1:{nx},1:{ny}]"
    header["BIASSEC"] = (f"[{nx + 1}:{last},1:{ny}]", "overscan of all amplifiers")
    header["INSTRUME"] = "simulated CCD"
    return header


def _saturation() -> float:
    """Return the lowest adu at which a pixel may have reached the full well or the maximum."""
    lowest_level = min(ccd.BIAS_LEVELS) - 5 * ccd.BIAS_DRIFT
    noise = 5 * ccd.READ_NOISE / ccd.GAIN
    return float(np.floor(min(ccd.ADU_MAX, lowest_level + ccd.FULL_WELL / ccd.GAIN - noise)))


def _truth(plan: FramePlan, light: Any, stars: Stars, exposed: Exposure) -> fits.HDUList:
    flux = stars.flux * FILTERS[plan.filter].transmission
    star_list = Table({"row": stars.row, "column": stars.column, "flux": flux})
    hits = Table(
        {
            "row": exposed.cosmic_rows,
            "column": exposed.cosmic_columns,
            "electrons": exposed.cosmic_electrons,
        }
    )
    image = fits.PrimaryHDU(light)
    image.header["BUNIT"] = "electron/s"
    image.header["EXPTIME"] = plan.exposure
    image.header["COMMENT"] = "STARS: pixels from 0, flux in electron/s, of the whole profile."
    image.header["COMMENT"] = "COSMIC: pixels from 0, charge in electrons, before noise."
    return fits.HDUList(
        [
            image,
            fits.BinTableHDU(star_list, name="STARS"),
            fits.BinTableHDU(hits, name="COSMIC"),
        ]
    )
