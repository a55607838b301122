"""Combine the values of each pixel into one: means and medians with rejection, in numpy.

Owns the arithmetic. `bigpipe.fits.frame_stack` provides the values, as many pixels as fit into
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.errors import OptionError

__all__ = ["Rule", "combine_stack"]

BLOCK_VALUES = 2**18  # values processed at once: 1 MiB stays in a core's cache
NETWORK_FRAMES = 32  # up to here, a network of comparisons sorts faster than numpy
MAD_TO_SIGMA = 1.482602218505602  # of a normal distribution

METHODS = ("average", "median", "sum")
_CENTERS = ("mean", "median")
_DEVIATIONS = ("std", "mad_std")
_FLAGS = {
    "sigma_clip": "give the numbers of deviations as sigma_clip_low_thresh and "
    "sigma_clip_high_thresh",
    "clip_extrema": "give the numbers of values as nlow and nhigh",
    "minmax_clip": "give the limits as minmax_clip_min and minmax_clip_max",
}
_NUMBERS = (
    "minmax_clip_min",
    "minmax_clip_max",
    "sigma_clip_low_thresh",
    "sigma_clip_high_thresh",
)

Values = NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """How to combine the values of a pixel. The names are those of `ccdproc.combine`."""

    method: str = "average"
    """``'average'``, ``'median'`` or ``'sum'``."""
    clip_extrema: bool = False
    """Reject the `nlow` lowest and the `nhigh` highest values."""
    nlow: int = 1
    """Number of lowest values that `clip_extrema` rejects."""
    nhigh: int = 1
    """Number of highest values that `clip_extrema` rejects."""
    minmax_clip: bool = False
    """Reject values below `minmax_clip_min` or above `minmax_clip_max`."""
    minmax_clip_min: float | None = None
    """Lowest value that is kept; ``None``: no limit."""
    minmax_clip_max: float | None = None
    """Highest value that is kept; ``None``: no limit."""
    sigma_clip: bool = False
    """Reject values further from the centre than the thresholds."""
    sigma_clip_low_thresh: float | None = 3
    """Threshold below the centre, in deviations; ``None``: no limit."""
    sigma_clip_high_thresh: float | None = 3
    """Threshold above the centre, in deviations; ``None``: no limit."""
    sigma_clip_func: Any = "mean"
    """The centre: ``'mean'`` or ``'median'``, or numpy's functions of these names."""
    sigma_clip_dev_func: Any = "std"
    """The deviation: ``'std'`` or ``'mad_std'``, or the functions of these names."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma_clip_func", _name(self.sigma_clip_func))
        object.__setattr__(self, "sigma_clip_dev_func", _name(self.sigma_clip_dev_func))
        for name, values in (
            ("method", METHODS),
            ("sigma_clip_func", _CENTERS),
            ("sigma_clip_dev_func", _DEVIATIONS),
        ):
            if getattr(self, name) not in values:
                known = ", ".join(map(repr, values))
                raise OptionError(f"{name}={getattr(self, name)!r} is unknown: give one of {known}")
        for name, remedy in _FLAGS.items():
            if getattr(self, name) not in (True, False, None):
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is neither True nor False: {remedy}"
                )
        for name in ("nlow", "nhigh"):
            n = getattr(self, name)
            if not isinstance(n, Integral) or int(n) < 0:
                raise OptionError(f"{name}={n!r} is not a number of values: give 0 or more")
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Real):
                raise OptionError(
                    f"{name}={value!r} is not a number: give one, or None for no limit"
                )
        high = self.sigma_clip_high_thresh
        if high is not None and high < 0:
            raise OptionError(
                f"sigma_clip_high_thresh={high!r} is below the center: give 0 or more, or None"
            )


def _name(function: Any) -> str:
    name = getattr(function, "__name__", function)
    return str(name).removeprefix("nan")


def combine_stack(stack: Values, rule: Rule) -> tuple[Values, Values]:
    """Combine values along the first axis.

    Parameters
    ----------
    stack : (n, ...) ndarray of float
        The values, NaN where they do not count. Overwritten.
    rule : Rule
        How to combine them.

    Returns
    -------
    tuple of ndarray
        The result, NaN where no value counts, and its standard deviation. The latter is the
        deviation of the values that count, divided by the root of their number; for a sum,
        multiplied by their number. For a median, the deviation is estimated from the median
        absolute deviation. All as in ccdproc.
    """
    n_frames = len(stack)
    flat = stack.reshape(n_frames, -1)
    n_pixels = flat.shape[1]
    result = np.empty(n_pixels, dtype=stack.dtype)
    deviation = np.empty(n_pixels, dtype=stack.dtype)
    length = max(1024, BLOCK_VALUES // n_frames)
    for start in range(0, n_pixels, length):
        part = slice(start, start + length)
        result[part], deviation[part] = _combined(np.ascontiguousarray(flat[:, part]), rule)
    return result.reshape(stack.shape[1:]), deviation.reshape(stack.shape[1:])


class _Block:
    """Values of some pixels, and which of them count. The others are 0."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.keep: NDArray[np.bool_] | None = None
        is_nan = np.isnan(values)
        if is_nan.any():
            self.reject(is_nan)

    def reject(self, where: NDArray[np.bool_]) -> None:
        self.keep = ~where if self.keep is None else self.keep & ~where
        np.copyto(self.values, 0, where=where)

    @property
    def count(self) -> Any:
        """How many values of each pixel count."""
        if self.keep is None:
            return len(self.values)
        return self.keep.sum(axis=0)

    def sum(self) -> Values:
        total = np.zeros(self.values.shape[1], dtype=np.float64)
        for row in self.values:
            total += row
        return total

    def mean(self) -> Values:
        mean: Values = (self.sum() / self.count).astype(self.values.dtype)
        return mean

    def median(self) -> Values:
        return _median(self.values, self.keep)

    def std(self, mean: Values) -> Values:
        total = np.zeros_like(mean)
        difference = np.empty_like(mean)
        for number, row in enumerate(self.values):
            np.subtract(row, mean, out=difference)
            np.multiply(difference, difference, out=difference)
            if self.keep is not None:  # also where the mean is NaN because no value counts
                np.copyto(difference, 0, where=~self.keep[number])
            total += difference
        variance: Values = total / np.asarray(self.count, dtype=mean.dtype)
        return np.sqrt(variance)

    def mad_std(self, median: Values) -> Values:
        deviation = _median(np.abs(self.values - median), self.keep)
        deviation *= MAD_TO_SIGMA
        return deviation


def _combined(values: Values, rule: Rule) -> tuple[Values, Values]:
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where no value counts
        block = _Block(values)
        _reject(block, rule)
        count = np.asarray(block.count, dtype=values.dtype)
        if rule.method == "median":
            center = block.median()
            return center, block.mad_std(center) / np.sqrt(count)
        mean = block.mean()
        error = block.std(mean) / np.sqrt(count)
        if rule.method == "sum":
            total = block.sum().astype(values.dtype)
            return np.where(count > 0, total, np.nan), error * count
        return mean, error


def _reject(block: _Block, rule: Rule) -> None:
    if rule.clip_extrema:
        _reject_extrema(block, rule.nlow, rule.nhigh)
    if rule.minmax_clip:
        if rule.minmax_clip_min is not None:
            block.reject(block.values < rule.minmax_clip_min)
        if rule.minmax_clip_max is not None:
            block.reject(block.values > rule.minmax_clip_max)
    if not rule.sigma_clip:
        return
    center = block.median() if rule.sigma_clip_func == "median" else block.mean()
    if rule.sigma_clip_dev_func == "std":
        sigma = block.std(center if rule.sigma_clip_func == "mean" else block.mean())
    else:
        sigma = block.mad_std(center if rule.sigma_clip_func == "median" else block.median())
    outside = None
    if rule.sigma_clip_low_thresh is not None:
        outside = block.values < center - abs(rule.sigma_clip_low_thresh) * sigma
    if rule.sigma_clip_high_thresh is not None:
        above = block.values > center + rule.sigma_clip_high_thresh * sigma
        outside = above if outside is None else outside | above
    if outside is not None and outside.any():
        block.reject(outside)


def _reject_extrema(block: _Block, nlow: int, nhigh: int) -> None:
    """Reject the lowest and highest values; among equal ones, those of earlier frames."""
    where = np.zeros(block.values.shape, dtype=bool)
    columns = np.arange(block.values.shape[1])
    for n, fill, find in ((nlow, np.inf, np.argmin), (nhigh, -np.inf, np.argmax)):
        left = ~where if block.keep is None else block.keep & ~where
        values = _filled(block.values, left, fill)
        for _ in range(n):
            found = find(values, axis=0)
            where[found, columns] = True
            values[found, columns] = fill
    block.reject(where)


def _filled(values: Values, keep: NDArray[np.bool_] | None, fill: float) -> Values:
    """Return a copy with `fill` in place of values that do not count."""
    copy = values.copy()
    if keep is not None:
        np.copyto(copy, fill, where=~keep)
    return copy


def _median(values: Values, keep: NDArray[np.bool_] | None) -> Values:
    rows = _sorted(_filled(values, keep, np.inf))
    n = len(rows)
    half = values.dtype.type(0.5)
    count: Any = n
    if keep is None:
        low, high = rows[(n - 1) // 2], rows[n // 2]
    else:
        count = keep.sum(axis=0)
        # Where no value counts, all are infinite, and their difference is NaN.
        low = _at(rows, np.maximum(count - 1, 0) // 2)
        high = _at(rows, np.minimum(count // 2, n - 1))
    median: Values = low + (high - low) * half
    is_nan = np.isnan(median)
    if is_nan.any():  # values that count may be infinite too: their sum is right
        np.copyto(median, low + high, where=is_nan & (count > 0))
    return median


def _at(rows: list[Values], index: NDArray[Any]) -> Values:
    """Return, for each column, the value in the row given by `index`."""
    lowest, highest = int(index.min()), int(index.max())
    result = rows[lowest].copy()
    for number in range(lowest + 1, highest + 1):
        np.copyto(result, rows[number], where=index == number)
    return result


def _sorted(values: Values) -> list[Values]:
    """Sort each column; return the rows. Overwrites the values."""
    if len(values) > NETWORK_FRAMES:
        values.sort(axis=0)
        return list(values)
    rows = list(values)
    spare = np.empty_like(rows[0])
    for i, j in _network(len(rows)):
        lower, upper = rows[i], rows[j]
        np.minimum(lower, upper, out=spare)
        np.maximum(lower, upper, out=upper)
        rows[i], spare = spare, lower
    return rows


@cache
def _network(n: int) -> tuple[tuple[int, int], ...]:
    """Return the comparisons that sort `n` values, by Batcher's odd-even merging [1]_.

    References
    ----------
    .. [1] K. E. Batcher, Sorting networks and their applications, AFIPS 1968, p. 307.
    """
    pairs = []
    run = 1
    while run < n:
        step = run
        while step:
            for first in range(step % run, n - step, 2 * step):
                for i in range(first, min(first + step, n - step)):
                    if i // (2 * run) == (i + step) // (2 * run):
                        pairs.append((i, i + step))
            step //= 2
        run *= 2
    return tuple(pairs)
