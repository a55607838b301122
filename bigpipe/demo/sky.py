"""What a simulated telescope observes: fields of stars of known brightness, and the sky.

Owns the scene, without noise. `bigpipe.demo.detector` turns it into a raw frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bigpipe.demo.statistics import Image

__all__ = ["FILTERS", "Band", "Stars", "make_stars", "scene"]

STARS_PER_MEGAPIXEL = 250
FLUXES = (40.0, 40_000.0)  # electrons per second of the faintest and the brightest star
FLUX_SLOPE = -0.75  # exponent of the number of stars brighter than a flux, as a function of it
MARGIN = 40.0  # pixels around the detector that also have stars, because their wings reach in
MOFFAT_BETA = 3.0  # of the profile (1 + (r / alpha)^2)^-beta, typical of seeing
STAMP = 30  # pixels around a star in which its light is drawn


@dataclass(frozen=True)
class Band:
    """The light that a filter passes."""

    sky: float
    """Electrons per second and pixel from the sky."""
    transmission: float
    """Fraction of a star's light that passes."""


FILTERS = {"V": Band(sky=3.0, transmission=0.8), "R": Band(sky=5.0, transmission=1.0)}


@dataclass(frozen=True)
class Stars:
    """Positions and brightness of the stars of a field."""

    row: NDArray[np.float64]
    """Row in pixels from 0, in the undithered field; may lie outside."""
    column: NDArray[np.float64]
    """Column, likewise."""
    flux: NDArray[np.float64]
    """Electrons per second without a filter, over the whole profile."""


def make_stars(shape: tuple[int, int], rng: np.random.Generator) -> Stars:
    """Scatter stars evenly over a field, many faint ones and few bright ones."""
    ny, nx = shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN
    count = rng.poisson(STARS_PER_MEGAPIXEL * ny * nx / 1e6)
    # Inverse of the cumulative power law between the two limits.
    low, high = (flux**FLUX_SLOPE for flux in FLUXES)
    flux = (low + rng.random(count) * (high - low)) ** (1 / FLUX_SLOPE)
    return Stars(
        row=rng.uniform(-MARGIN, shape[0] + MARGIN, count),
        column=rng.uniform(-MARGIN, shape[1] + MARGIN, count),
        flux=flux,
    )


def scene(shape: tuple[int, int], stars: Stars, band: Band, fwhm: float) -> Image:
    """Draw stars on the sky.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    stars : Stars
        Where they are in this frame.
    band : Band
        The filter.
    fwhm : float
        Full width at half maximum of a star, in pixels.

    Returns
    -------
    (ny, nx) float32 ndarray, in electrons per second
        The signal of an average pixel, without noise.
    """
    x = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)
    image = np.empty(shape, dtype=np.float32)
    image[:] = band.sky * (1 + 0.06 * x)  # brighter towards one side, as near the horizon
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))
    peak = (MOFFAT_BETA - 1) / (np.pi * alpha**2)  # of a star of flux 1
    for row, column, flux in zip(stars.row, stars.column, stars.flux, strict=True):
        rows = np.arange(max(int(row) - STAMP, 0), min(int(row) + STAMP + 1, shape[0]))
        columns = np.arange(max(int(column) - STAMP, 0), min(int(column) + STAMP + 1, shape[1]))
        if rows.size == 0 or columns.size == 0:
            continue
        r2 = ((rows - row) ** 2)[:, None] + (columns - column) ** 2
        profile = flux * band.transmission * peak * (1 + r2 / alpha**2) ** -MOFFAT_BETA
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += profile
    return image
