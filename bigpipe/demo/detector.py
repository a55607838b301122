"""A simulated CCD: from photons that arrive to the numbers in a raw frame.

Owns the physics of the detector. `bigpipe.demo.sky` makes what falls on it, and
`bigpipe.demo.simulate` decides which frames a night has. For a pixel on which falls the light that
makes ``light`` electrons per second in the average pixel::

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
HOT_RATES = (0.5, 50.0)  # electrons per second, uniform in the logarithm

PIXEL_SIZE = 24.0  # micrometres
THICKNESS = 40.0  # micrometres of silicon in which charge is collected
# Muons: about one per minute and cm^2 at sea level; on a mountain, with electrons and what the
# surroundings add, more than twice that.
COSMIC_RATE = 2.5 / 60.0  # per second and cm^2
ELECTRONS_PER_MICROMETRE = 80.0  # most probable charge of a fast muon in silicon
LANDAU_WIDTH = 0.15  # of that charge; sets the tail of large charges
DIFFUSION = 0.25  # pixels: standard deviation by which charge diffuses before it is collected
TRACK_STEP = 0.1  # pixels between the points of a track
STEEPEST = 0.12  # cosine of the angle to the normal of the flattest track (7 degrees); rare beyond


@dataclass(frozen=True)
class Detector:
    """The fixed properties of a detector: the truth that calibration frames should reproduce."""

    bias: Image
    """(ny, nx), in adu: structure on top of the amplifiers' levels; median 0."""
    dark_rate: Image
    """(ny, nx), in electrons per second: dark current, with hot pixels."""
    flat: Image
    """(ny, nx): response of each pixel, vignetting included; median 1."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that see light."""
        return self.bias.shape[0], self.bias.shape[1]

    def expose(self, light: Any, exposure: float, rng: np.random.Generator) -> Exposure:
        """Take one frame.

        Parameters
        ----------
        light : float or (ny, nx) ndarray, in electrons per second
            Electrons that the photons would make in the average pixel; 0 for a closed shutter.
        exposure : float
            Seconds.
        rng : numpy.random.Generator
            Source of the frame's random numbers.

        Returns
        -------
        Exposure
            The raw frame, and where cosmic rays hit it.
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
    """Row of each pixel in which a cosmic ray left charge."""
    cosmic_columns: NDArray[np.int32]
    """Column of each."""
    cosmic_electrons: NDArray[np.float32]
    """Charge of each, in electrons."""


def make_detector(shape: tuple[int, int], rng: np.random.Generator) -> Detector:
    """Make a detector with random faults."""
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
        Source of the random numbers.

    Returns
    -------
    (ny, nx) float32 ndarray, in electrons
        Charge in each pixel, whole electrons.

    Notes
    -----
    Tracks are straight and isotropic, so the number through the surface is proportional to the
    cosine of the angle to the normal. The charge is proportional to the path length in the
    silicon and has the long tail of a Landau distribution, in Moyal's form [1]_. Diffusion
    spreads it slightly.

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
