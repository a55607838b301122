"""Measurements on a reduced frame: sky, noise, sources, light within an aperture.

Pure functions of numpy arrays, except `measure`, a function for a pipeline's list.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.demo.frames import Bad, Frame
from bigpipe.demo.statistics import Image, Mask, pixel_noise, window_values
from bigpipe.fits import headers

__all__ = ["EDGE", "aperture_errors", "aperture_sums", "count_sources", "measure"]

SOURCE_SIGMA = 5.0  # height of a source above the noise, after smoothing
SKY_BLOCK = 32  # pixels over which the sky is taken as even; wider than a star
SMOOTHED_NOISE = 3 / 8  # noise left by the 3 x 3 smoothing with weights 1 2 1
APERTURE = 5.0  # pixels: radius in which a star's light is summed
SKY_RING = (9.0, 14.0)  # pixels: radii between which the sky around it is measured
WINDOW = 2 * int(SKY_RING[1]) + 1  # pixels: width that holds the ring
EDGE = WINDOW // 2 + 1  # pixels: the ring of a star nearer to an edge is incomplete


def measure(frame: Frame, bmp_meta: dict[str, Any] | None = None, **kwargs: Any) -> Frame:
    """Add the values for the table of results to the metadata."""
    good = frame.data[frame.mask == 0]
    sky = float(np.median(good)) if good.size else float("nan")
    noise = pixel_noise(frame.data)
    if bmp_meta is not None:
        bmp_meta.update(
            object=headers.object_of(frame.header),
            filter=headers.filter_of(frame.header),
            exposure=headers.exposure_of(frame.header),
            unit=frame.unit,
            sky=sky,
            noise=noise,
            n_cosmic=int(np.count_nonzero(frame.marked(Bad.COSMIC_RAY))),
            n_saturated=int(np.count_nonzero(frame.marked(Bad.SATURATED))),
            n_sources=count_sources(frame.data, noise),
            steps=" ".join(frame.steps),
        )
    return frame


def count_sources(image: Image, noise: float) -> int:
    """Count the local maxima that are 5 sigma above the sky around them once smoothed.

    In an image of stars, these are the stars; a spectrum has them along its whole length.

    Examples
    --------
    >>> image = np.zeros((9, 9), dtype=np.float32)
    >>> image[4, 4] = 100.0
    >>> count_sources(image, noise=1.0)
    1
    """
    if min(image.shape) < 5 or not noise > 0:
        return 0
    image = image - _sky_of(image)
    rows = image[:-2] + 2 * image[1:-1] + image[2:]
    smooth = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
    middle = smooth[1:-1, 1:-1]
    peak = middle > SOURCE_SIGMA * SMOOTHED_NOISE * noise
    for y in range(3):
        for x in range(3):
            neighbour = smooth[y : y + middle.shape[0], x : x + middle.shape[1]]
            # Of two equal neighbours the later one counts, so that a plateau counts once.
            if (y, x) < (1, 1):
                peak &= middle >= neighbour
            elif (y, x) > (1, 1):
                peak &= middle > neighbour
    return int(np.count_nonzero(peak))


def _sky_of(image: Image) -> Image:
    """Return the sky: medians of blocks of the image, interpolated between them."""
    row_edges, column_edges = (_block_edges(length) for length in image.shape)
    medians = np.array(
        [
            [np.median(image[top:bottom, left:right]) for left, right in pairwise(column_edges)]
            for top, bottom in pairwise(row_edges)
        ]
    )
    sky = _between(row_edges) @ medians @ _between(column_edges).T
    return np.asarray(sky, dtype=np.float32)


def _block_edges(length: int) -> NDArray[np.intp]:
    return np.linspace(0, length, max(length // SKY_BLOCK, 1) + 1).astype(np.intp)


def _between(edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the weight of each block in each pixel: linear between centers and beyond them."""
    pixels, centers = np.arange(edges[-1]), (edges[:-1] + edges[1:] - 1) / 2
    weights = np.zeros((pixels.size, centers.size))
    if centers.size == 1:
        return weights + 1
    before = np.clip(np.searchsorted(centers, pixels) - 1, 0, centers.size - 2)
    after = (pixels - centers[before]) / (centers[before + 1] - centers[before])
    weights[pixels, before], weights[pixels, before + 1] = 1 - after, after
    return weights


def aperture_sums(
    image: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the light within 5 pixels of each position.

    Parameters
    ----------
    image : (ny, nx) ndarray
        Values.
    rows, columns : (n,) ndarray
        Positions, in pixels from 0, at least 15 from the edges; rounded to whole pixels.

    Returns
    -------
    total : (n,) float64 ndarray
        The sums as they are.
    above_sky : (n,) float64 ndarray
        The sums less, for each pixel summed, the mean of the ring from 9 to 14 pixels. It is the
        mean, not the median, which noise would shift on the slope of a star's wings.
    """
    at = (np.rint(rows).astype(np.intp), np.rint(columns).astype(np.intp))
    values = window_values(image, *at, WINDOW).astype(np.float64)
    inside, ring = _inside_and_ring()
    total = values[:, inside].sum(axis=1)
    return total, total - inside.sum() * values[:, ring].mean(axis=1)


def aperture_errors(
    variance: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]
) -> NDArray[np.float64]:
    """Return the standard deviation of what `aperture_sums` returns as ``above_sky``."""
    at = (np.rint(rows).astype(np.intp), np.rint(columns).astype(np.intp))
    values = window_values(variance, *at, WINDOW).astype(np.float64)
    inside, ring = _inside_and_ring()
    of_sky = values[:, ring].mean(axis=1) / ring.sum()
    return np.asarray(np.sqrt(values[:, inside].sum(axis=1) + inside.sum() ** 2 * of_sky))


def _inside_and_ring() -> tuple[Mask, Mask]:
    steps = np.arange(WINDOW) - WINDOW // 2
    radius = np.hypot(steps[:, None], steps[None, :]).ravel()
    return radius <= APERTURE, (radius >= SKY_RING[0]) & (radius <= SKY_RING[1])
