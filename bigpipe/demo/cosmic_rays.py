"""Find cosmic rays in one image by their sharp edges, after van Dokkum [1]_.

Owns the method, with numpy alone. The medians over 5 x 5 and 7 x 7 pixels, which cost most, are
taken only where the Laplacian is large enough for them to matter.

References
----------
.. [1] P. G. van Dokkum, "Cosmic-Ray Rejection by Laplacian Edge Detection",
   Publications of the Astronomical Society of the Pacific 113, 1420 (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.demo.statistics import Image, Mask, median_filter3, window_values

__all__ = ["find_cosmic_rays"]

MAX_ROUNDS = 4  # long tracks are eaten from their ends; arbitrary, later rounds find nothing
PREFILTER = 0.7  # fraction of the threshold above which a pixel is examined; see _Significance
MIN_FINE_STRUCTURE = 0.01  # sigma; keeps the contrast finite
POSITIONS_AT_ONCE = 50_000  # of 49 pixels each: 30 MB

Positions = tuple[NDArray[np.intp], ...]  # rows and columns, as numpy.nonzero gives them


def find_cosmic_rays(
    image: Image,
    variance: Any,
    *,
    sigma: float = 5.0,
    neighbour_fraction: float = 0.3,
    contrast: float = 5.0,
    ignore: Mask | None = None,
) -> tuple[Mask, Image]:
    """Find the pixels that cosmic rays have hit and fill them from their neighbours.

    Parameters
    ----------
    image : (ny, nx) float32 ndarray, in electrons
        The image with the sky still in it, from which the photon noise is computed.
    variance : float or (ny, nx) float32 ndarray, in electrons squared
        Variance of everything but the photons: read noise, dark current.
    sigma : float, optional
        Height above the noise, in sigma, that makes a pixel a cosmic ray.
    neighbour_fraction : float, optional
        Fraction of ``sigma`` that suffices beside a cosmic ray.
    contrast : float, optional
        Least ratio of the height to the fine structure of stars or lines. About 5 for stars that
        are 2 pixels wide or more.
    ignore : (ny, nx) bool ndarray, optional
        Pixels never to flag, such as saturated ones.

    Returns
    -------
    hit : (ny, nx) bool ndarray
        The pixels found.
    cleaned : (ny, nx) float32 ndarray, in electrons
        The image with each of them replaced by the median of the good pixels of the 5 x 5
        around it.
    """
    hit = np.zeros(image.shape, dtype=bool)
    cleaned = image.copy()
    allowed = np.ones(image.shape, dtype=bool) if ignore is None else ~ignore
    variance = np.broadcast_to(np.asarray(variance, dtype=np.float32), image.shape)
    for _ in range(MAX_ROUNDS):
        measure = _Significance(cleaned, variance)
        new = _mask_of(image.shape, measure.peaks(sigma, contrast))
        for threshold in (sigma, neighbour_fraction * sigma):
            near = np.nonzero(_grown(new))
            above = measure.heights(near) > threshold
            new |= _mask_of(image.shape, (near[0][above], near[1][above]))
        new &= allowed & ~hit
        if not new.any():
            break
        hit |= new
        _fill(cleaned, image, hit)
    return hit, cleaned


class _Significance:
    """Height of the Laplacian relative to the noise, and to the structure around it.

    A first guess of the noise, from medians of 3 x 3 pixels, selects the few pixels whose height is
    computed with medians of 5 x 5, as the method requires.
    """

    def __init__(self, image: Image, variance: NDArray[np.float32]) -> None:
        self.image = image
        self.variance = variance
        self.median3 = median_filter3(image)
        self.laplacian = _positive_laplacian(image)
        self.rough = self.laplacian / np.sqrt(np.maximum(self.median3, 0) + variance)

    def heights(self, at: Positions) -> NDArray[np.float32]:
        """Return the height at each position, less its median over 5 x 5 pixels."""
        noise = self._noise(at)
        smooth = _window_median(self.rough, at, 5)
        return np.asarray(self.laplacian[at] / noise - smooth, dtype=np.float32)

    def peaks(self, sigma: float, contrast: float) -> Positions:
        """Return where the height exceeds ``sigma`` and ``contrast`` times the structure."""
        at = np.nonzero(self.rough > PREFILTER * sigma)
        heights = self.heights(at)
        at, heights = (at[0][heights > sigma], at[1][heights > sigma]), heights[heights > sigma]
        structure = (self.median3[at] - _window_median(self.median3, at, 7)) / self._noise(at)
        sharp = heights > contrast * np.maximum(structure, MIN_FINE_STRUCTURE)
        return at[0][sharp], at[1][sharp]

    def _noise(self, at: Positions) -> NDArray[np.float32]:
        photons = np.maximum(_window_median(self.image, at, 5), 0)
        return np.asarray(np.sqrt(photons + self.variance[at]), dtype=np.float32)


def _positive_laplacian(image: Image) -> Image:
    """Return the Laplacian of the image with each pixel cut in four, positive parts only.

    A quarter of a pixel has two neighbours in its own pixel and one in each of two others, so no
    larger image is needed. The result is scaled so that a single bright pixel gives its own height.
    """
    padded = np.pad(image, 1, mode="edge")
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    up, down = padded[:-2, 1:-1], padded[2:, 1:-1]
    total = np.zeros_like(image)
    for vertical in (up, down):
        twice = 2 * image - vertical
        for horizontal in (left, right):
            total += np.maximum(twice - horizontal, 0)
    return np.asarray(total / 8, dtype=np.float32)


def _window_median(image: NDArray[Any], at: Positions, width: int) -> NDArray[np.float32]:
    return _by_parts(
        at, lambda part: np.median(window_values(image, part[0], part[1], width), axis=1)
    )


def _by_parts(at: Positions, compute: Callable[[Positions], NDArray[Any]]) -> NDArray[np.float32]:
    result = np.empty(len(at[0]), dtype=np.float32)
    for start in range(0, len(result), POSITIONS_AT_ONCE):
        part = slice(start, start + POSITIONS_AT_ONCE)
        result[part] = compute((at[0][part], at[1][part]))
    return result


def _mask_of(shape: tuple[int, ...], at: Positions) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[at] = True
    return mask


def _grown(mask: Mask) -> Mask:
    """Return the mask with the eight neighbours of each of its pixels."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _fill(cleaned: Image, image: Image, bad: Mask) -> None:
    good = np.where(bad, np.float32(np.nan), image)
    at = np.nonzero(bad)

    def median_of_good(part: Positions) -> NDArray[Any]:
        values = np.sort(window_values(good, part[0], part[1], 5), axis=1)  # NaN comes last
        count = np.isfinite(values).sum(axis=1)
        row = np.arange(len(values))
        middle = values[row, np.maximum(count - 1, 0) // 2] + values[row, count // 2]
        return np.asarray(middle / 2)

    filled = _by_parts(at, median_of_good)
    filled[~np.isfinite(filled)] = np.median(image)
    cleaned[at] = filled
