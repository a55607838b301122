"""A simulated CCD: from photons that arrive to the numbers in a raw frame.

Owns the physics of the detector. What falls on it is `bigpipe.demo.sky`; which frames a night
has, `bigpipe.demo.simulate`. For a pixel that ``light`` electrons per second would be made in
if it were the average pixel::

    electrons = Poisson((light * flat + dark_rate) * exposure) + cosmic rays, up to the full well
    adu = round(bias level of its amplifier + bias structure
                + (electrons + Normal(0, read_noise)) / gain), from 0 to 65535
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.demo.statistics import Image

__all__ = [
    "ADU_MAX",
    "BIAS_DRIFT",
    "BIAS_LEVELS",
    "FULL_WELL",
    "GAIN",
    "N_AMPLIFIERS",
    "OVERSCAN_COLUMNS",
    "READ_NOISE",
    "Detector",
    "Exposure",
    "make_detector",
]

GAIN = 1.6  # electrons per adu
READ_NOISE = 6.0  # electrons
BIAS_LEVELS = (1010.0, 985.0)  # adu, one for each amplifier
N_AMPLIFIERS = len(BIAS_LEVELS)
BIAS_DRIFT = 2.0  # adu: standard deviation of a level from frame to frame
OVERSCAN_COLUMNS = 32  # for each amplifier
FULL_WELL = 110_000.0  # electrons
ADU_MAX = 65535  # of a 16-bit converter

DARK_RATE = 0.02  # electrons per second and pixel, cooled
HOT_FRACTION = 0.002  # of the pixels
HOT_RATES = (0.5, 50.0)  # electrons per second, equally many in each factor

PIXEL_SIZE = 24.0  # micrometres
THICKNESS = 40.0  # micrometres of silicon in which charge is collected
# Muons: about one a minute and cm^2 at sea level; twice that on a mountain with the
# electrons and what the surroundings add.
COSMIC_RATE = 2.5 / 60.0  # per second and cm^2
ELECTRONS_PER_MICROMETRE = 80.0  # most probable charge of a fast muon in silicon
LANDAU_WIDTH = 0.15  # of that charge; sets the tail of large charges
DIFFUSION = 0.25  # pixels: standard deviation of where the charge is collected
TRACK_STEP = 0.1  # pixels between the points of a track
STEEPEST = 0.12  # cosine of the flattest track, 7 degrees: longer ones are rare


@dataclass(frozen=True)
class Detector:
    """What is fixed of a detector: the truth that calibration frames are to find."""

    bias: Image
    """(ny, nx), in adu: structure on top of the amplifiers' levels, of median 0."""
    dark_rate: Image
    """(ny, nx), in electrons per second: dark current, with hot pixels."""
    flat: Image
    """(ny, nx): response of each pixel, vignetting included, of median 1."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that see light."""
        return self.bias.shape[0], self.bias.shape[1]

    def expose(self, light: Any, exposure: float, rng: np.random.Generator) -> Exposure:
        """Take one frame.

        Parameters
        ----------
        light : float or (ny, nx) ndarray, in electrons per second
            What the average pixel would make of the photons that arrive; 0 for a closed
            shutter.
        exposure : float
            Seconds.
        rng : numpy.random.Generator
            Source of all that is random in the frame.

        Returns
        -------
        Exposure
            The raw frame and where cosmic rays hit.
        """
        expected = (light * self.flat + self.dark_rate) * exposure
        electrons = rng.poisson(expected).astype(np.float32)
        cosmic = cosmic_rays(self.shape, exposure, rng)
        hit_rows, hit_columns = np.nonzero(cosmic)
        electrons += cosmic
        np.minimum(electrons, FULL_WELL, out=electrons)
        return Exposure(
            self._read_out(electrons, rng),
            hit_rows.astype(np.int32),
            hit_columns.astype(np.int32),
            cosmic[hit_rows, hit_columns],
        )

    def _read_out(self, electrons: Image, rng: np.random.Generator) -> NDArray[np.uint16]:
        ny, nx = self.shape
        raw = np.zeros((ny, nx + N_AMPLIFIERS * OVERSCAN_COLUMNS), dtype=np.float32)
        raw[:, :nx] = electrons
        raw += rng.standard_normal(raw.shape, dtype=np.float32) * np.float32(READ_NOISE)
        raw /= np.float32(GAIN)
        raw[:, :nx] += self.bias
        edges = np.linspace(0, nx, N_AMPLIFIERS + 1).round().astype(int)
        for i, level in enumerate(BIAS_LEVELS):
            drifted = np.float32(level + rng.normal(0, BIAS_DRIFT))
            raw[:, edges[i] : edges[i + 1]] += drifted
            start = nx + i * OVERSCAN_COLUMNS
            raw[:, start : start + OVERSCAN_COLUMNS] += drifted
        return np.clip(np.rint(raw), 0, ADU_MAX).astype(np.uint16)


@dataclass(frozen=True)
class Exposure:
    """One raw frame, and the truth about its cosmic rays."""

    raw: NDArray[np.uint16]
    """(ny, nx + overscan), in adu; the overscan of both amplifiers on the right."""
    cosmic_rows: NDArray[np.int32]
    """Row of each pixel that a cosmic ray left charge in."""
    cosmic_columns: NDArray[np.int32]
    """Column of each."""
    cosmic_electrons: NDArray[np.float32]
    """Charge of each, in electrons."""


def make_detector(shape: tuple[int, int], rng: np.random.Generator) -> Detector:
    """Make a detector with faults of its own."""
    ny, nx = shape
    y, x = np.mgrid[0:ny, 0:nx].astype(np.float32)
    y, x = y / ny - 0.5, x / nx - 0.5

    columns = rng.normal(0, 1.0, nx)  # adu: each column has an offset
    glow = 6.0 * np.exp(-20.0 * (y + 0.5)) * np.exp(-20.0 * (0.5 - x))  # adu: corner of the output
    bias = columns + glow + 3.0 * y

    dark = np.full(shape, DARK_RATE)
    hot = rng.random(shape) < HOT_FRACTION
    low, high = np.log(HOT_RATES)
    dark[hot] += np.exp(rng.uniform(low, high, int(hot.sum())))

    flat = rng.normal(1.0, 0.01, shape) * (1.0 - 0.3 * (x**2 + y**2))
    for _ in range(6):  # rings: dust out of focus on the window
        radius, depth = rng.uniform(0.02, 0.05), rng.uniform(0.02, 0.06)
        distance = np.hypot(y - rng.uniform(-0.45, 0.45), x - rng.uniform(-0.45, 0.45))
        flat *= 1.0 - depth * ((distance < radius) & (distance > 0.4 * radius))
    return Detector(
        bias=(bias - np.median(bias)).astype(np.float32),
        dark_rate=dark.astype(np.float32),
        flat=(flat / np.median(flat)).astype(np.float32),
    )


def cosmic_rays(shape: tuple[int, int], exposure: float, rng: np.random.Generator) -> Image:
    """Let cosmic rays pass through the detector.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    exposure : float
        Seconds.
    rng : numpy.random.Generator
        Source of numbers, directions and charges.

    Returns
    -------
    (ny, nx) float32 ndarray, in electrons
        Charge in each pixel, whole electrons.

    Notes
    -----
    Straight tracks from all sides alike, so that their number goes as the cosine of the
    angle to the normal. The charge is proportional to the way through the silicon and
    has the long tail of Landau's distribution, in Moyal's form [1]_. It is spread a
    little by diffusion.

    References
    ----------
    .. [1] J. E. Moyal, "Theory of ionization fluctuations", Philosophical Magazine 46,
       263 (1955).
    """
    area = shape[0] * shape[1] * (PIXEL_SIZE * 1e-4) ** 2  # cm^2
    charge = np.zeros(shape, dtype=np.float32)
    for _ in range(rng.poisson(COSMIC_RATE * area * exposure)):
        cosine = max(np.sqrt(rng.random()), STEEPEST)
        azimuth = rng.uniform(0, 2 * np.pi)
        length = THICKNESS * np.sqrt(1 - cosine**2) / cosine / PIXEL_SIZE  # pixels, in the plane
        moyal = -np.log(rng.standard_normal() ** 2)
        most_probable = ELECTRONS_PER_MICROMETRE * THICKNESS / cosine
        total = max(most_probable * (1 + LANDAU_WIDTH * moyal), 0.0)
        count = max(int(length / TRACK_STEP), 8)
        along = np.linspace(0, length, count)
        y = rng.uniform(0, shape[0]) + along * np.sin(azimuth) + rng.normal(0, DIFFUSION, count)
        x = rng.uniform(0, shape[1]) + along * np.cos(azimuth) + rng.normal(0, DIFFUSION, count)
        row, column = np.floor(y).astype(int), np.floor(x).astype(int)
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        np.add.at(charge, (row[inside], column[inside]), np.float32(total / count))
    return np.rint(charge)
