"""Level and noise of images with outliers, and medians of small neighbourhoods.

Pure functions of numpy arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Image",
    "Mask",
    "clipped_mean",
    "median_filter3",
    "pixel_noise",
    "robust_noise",
    "window_values",
]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

MAD_TO_SIGMA = 1.4826  # standard deviation over median absolute deviation, normal distribution
CLIP_SIGMA = 4.0  # rejects fewer than one of 10,000 normal values
CLIP_ROUNDS = 5  # arbitrary; clipping converges after two or three


def robust_noise(values: NDArray[Any]) -> float:
    """Return the standard deviation from the median absolute deviation; NaN without values."""
    if values.size == 0:
        return float("nan")
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def clipped_mean(values: NDArray[Any]) -> float:
    """Return the mean of the values that are within 4 robust sigma of the median.

    Examples
    --------
    >>> clipped_mean(np.array([1.0, 2.0, 3.0, 2.0, 1000.0]))
    2.0
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    for _ in range(CLIP_ROUNDS):
        near = np.abs(values - np.median(values)) <= CLIP_SIGMA * robust_noise(values)
        if near.all():
            break
        values = values[near]
    return float(values.mean())


def pixel_noise(image: NDArray[Any]) -> float:
    """Return the noise from pixel to pixel, ignoring structure on larger scales.

    It comes from the differences of neighbours in a row. Their standard deviation is the square
    root of 2 times that of one pixel.
    """
    return robust_noise(np.diff(image, axis=1)) / math.sqrt(2.0)


def median_filter3(image: Image) -> Image:
    """Return the median of the 3 x 3 pixels around each pixel; edge pixels are repeated.

    Notes
    -----
    The median of nine values is the median of three: the largest of the columns' minima, the
    median of their medians, and the smallest of their maxima.
    """
    padded = np.pad(image, 1, mode="edge")
    above, here, below = padded[:-2], padded[1:-1], padded[2:]
    low, high = np.minimum(above, below), np.maximum(above, below)
    middle = np.maximum(low, np.minimum(here, high))
    np.minimum(low, here, out=low)
    np.maximum(high, here, out=high)
    largest_low = np.maximum(np.maximum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    smallest_high = np.minimum(np.minimum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    middle = _median_of_three(middle[:, :-2], middle[:, 1:-1], middle[:, 2:])
    return _median_of_three(largest_low, middle, smallest_high)


def _median_of_three(a: Image, b: Image, c: Image) -> Image:
    return np.maximum(np.minimum(a, c), np.minimum(b, np.maximum(a, c)))


def window_values(
    image: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp], width: int
) -> NDArray[Any]:
    """Return the ``width`` x ``width`` pixels around each position; edge pixels are repeated.

    Returns
    -------
    (n, width * width) ndarray
        Of the image's dtype, one row for each of the ``n`` positions.
    """
    steps = np.arange(width) - width // 2
    near_rows = np.clip(rows[:, None] + steps, 0, image.shape[0] - 1)
    near_columns = np.clip(columns[:, None] + steps, 0, image.shape[1] - 1)
    values: NDArray[Any] = image[near_rows[:, :, None], near_columns[:, None, :]]
    return values.reshape(len(rows), width * width)
