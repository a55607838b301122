"""Ready-made steps that filter a stream of samples.

Their results are the same wherever chunks end. Their names are in lower case, like those of
`itertools`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bigpipe.errors import StreamError
from bigpipe.streaming.steps.base import Step
from bigpipe.streaming.steps.namespaces import (
    as_chunk,
    as_numpy,
    axis_of,
    copied,
    cut,
    in_unit,
    is_numpy,
    joined,
    like,
    namespace_of,
    unit_of,
    unmasked,
    with_unit,
)

__all__ = ["count", "decimate", "fir", "iir", "running_mean", "sosfilt"]

BLOCK = 1 << 15  # numbers that are filtered at a time: they stay in a core's cache


class _Remembering(Step):
    """A step that remembers one value from chunk to chunk."""

    _remembered: str  # name of the attribute

    def get_state(self) -> Any:
        """Return what the next chunk needs from those before."""
        return getattr(self, self._remembered)

    def set_state(self, state: Any) -> None:
        """Restore what the next chunk needs from those before."""
        setattr(self, self._remembered, state)


class fir(Step):
    """Filter samples with a finite impulse response: weighted sums of a sample and those before it.

    Parameters
    ----------
    b : array-like, (n,)
        Weights: of the sample, of the one before it, and so on.
    axis : int, optional
        Axis of the samples.
    every : int, optional
        Give only every so many-th sample, starting with the first: like `decimate` after it, with
        less work.
    steady : bool, optional
        Assume that the samples before the first were equal to it, instead of 0.

    Notes
    -----
    Sums are made in the same order wherever chunks end, so results are identical to the last bit.
    They equal ``scipy.signal.lfilter(b, 1, x)`` except for rounding, in the precision of the
    chunks. Integers become double precision.

    Examples
    --------
    >>> smooth = fir([0.5, 0.5])
    >>> smooth([2.0, 4.0]).tolist(), smooth([6.0]).tolist()
    ([1.0, 3.0], [5.0])
    """

    def __init__(self, b: Any, axis: int = 0, *, every: int = 1, steady: bool = False) -> None:
        self.b, self.axis, self.every, self.steady = np.asarray(b), axis, every, steady
        if self.b.ndim != 1 or not self.b.size:
            raise StreamError(f"fir needs a list of weights, but was given shape {self.b.shape}")
        if every < 1:
            raise StreamError(f"fir cannot give one of every={every} samples: give 1 or more")
        self._before: Any = None
        self._phase = 0  # samples to skip until the next one to give

    def run(self, chunk: Any) -> Any:
        """Filter a chunk."""
        chunk = _floating(unmasked(as_chunk(chunk), "fir"))
        axis = axis_of(self.axis, chunk, "fir")
        n, n_before = chunk.shape[axis], self.b.size - 1
        before = self._before
        if before is None:
            before = _history(chunk, axis, n_before, self.steady and n > 0)
        samples = joined([before, chunk], axis)
        if n:  # without a sample, the level of a steady signal is unknown
            self._before = copied(cut(samples, axis, n, n + n_before))
        weights = self.b.tolist()  # plain numbers do not change the precision
        first, self._phase = self._phase, (self._phase - n) % self.every
        if is_numpy(samples):
            unit = unit_of(samples)
            numbers = in_unit(samples, unit)
            return with_unit(_weighted(numbers, weights, axis, first, self.every), unit)
        stop = n + n_before
        parts = (
            weight * cut(samples, axis, first + n_before - k, stop - k, self.every)
            for k, weight in enumerate(weights)
        )
        return sum(parts, start=next(parts))

    def get_state(self) -> Any:
        """Return the samples that the next ones need."""
        return {"before": self._before, "phase": self._phase}

    def set_state(self, state: Any) -> None:
        """Restore the samples that the next ones need."""
        self._before, self._phase = state["before"], state["phase"]


class _Recursive(_Remembering):
    """A filter of scipy that keeps its delays from chunk to chunk.

    Parameters
    ----------
    coefficients : tuple of ndarray
        Arguments of scipy's functions for this filter.
    delays : tuple of int
        Shape of the delays of one signal: their number, preceded by that of sections, if any.
    axis, steady
        As for `sosfilt`.
    """

    _remembered = "_zi"

    def __init__(
        self, coefficients: tuple[Any, ...], delays: tuple[int, ...], axis: int, steady: bool
    ) -> None:
        self.axis, self.steady = axis, steady
        self._coefficients, self._delays = coefficients, delays
        self._zi: Any = None  # the delays

    def functions(self) -> tuple[Any, Any]:
        """Return scipy's functions that filter and that compute the delays of a steady signal."""
        raise NotImplementedError

    def run(self, chunk: Any) -> Any:
        """Filter a chunk."""
        chunk = unmasked(as_chunk(chunk), type(self).__name__)
        samples = as_numpy(chunk)
        axis = axis_of(self.axis, samples, type(self).__name__)
        dtype = np.result_type(samples, np.float32, *self._coefficients)
        if not samples.shape[axis]:
            return like(with_unit(np.empty(samples.shape, dtype), unit_of(samples)), chunk)
        if self._zi is None:
            self._zi = self._first_zi(cut(samples, axis, 0, 1), axis, dtype)
        unit = unit_of(self._zi)  # the unit of the first samples
        filtered, _ = self.functions()
        numbers, zi = in_unit(samples, unit), in_unit(self._zi, unit)
        result, zi = filtered(*self._coefficients, numbers, axis, zi)
        self._zi = with_unit(zi, unit)
        return like(with_unit(result, unit), chunk)

    def _first_zi(self, first: Any, axis: int, dtype: Any) -> Any:
        """Return the delays before the first samples."""
        zi, level = np.zeros(self._delays, dtype), np.zeros_like(first)
        if self.steady:
            _, steady_delays = self.functions()
            zi, level = steady_delays(*self._coefficients), first
        *sections, n_delays = self._delays
        lengths = (n_delays if i == axis else 1 for i in range(first.ndim))
        return zi.reshape(*sections, *lengths) * level


class sosfilt(_Recursive):
    """Filter with second-order sections, as `scipy.signal.sosfilt` does.

    Parameters
    ----------
    sos : array-like, (n, 6)
        Sections, as ``scipy.signal.butter(..., output="sos")`` returns them.
    axis : int, optional
        Axis of the samples.
    steady : bool, optional
        Assume that the samples before the first were equal to it, instead of 0.

    Notes
    -----
    The result is identical to scipy's for the whole stream, to the last bit.
    """

    def __init__(self, sos: Any, axis: int = 0, *, steady: bool = False) -> None:
        self.sos = np.atleast_2d(np.asarray(sos, float))
        super().__init__((self.sos,), (len(self.sos), 2), axis, steady)

    def functions(self) -> tuple[Any, Any]:
        """Return ``sosfilt`` and ``sosfilt_zi``."""
        signal = _scipy_signal()
        return signal.sosfilt, signal.sosfilt_zi


class iir(_Recursive):
    """Filter with the ratio of two polynomials, as `scipy.signal.lfilter` does.

    Parameters
    ----------
    b, a : array-like
        Coefficients of the numerator and of the denominator.
    axis : int, optional
        Axis of the samples.
    steady : bool, optional
        Assume that the samples before the first were equal to it, instead of 0.

    Notes
    -----
    The result is identical to scipy's for the whole stream, to the last bit, unless `a` is a single
    number: use `fir` for that. For filters of high order, `sosfilt` is more exact.
    """

    def __init__(self, b: Any, a: Any, axis: int = 0, *, steady: bool = False) -> None:
        self.b, self.a = np.atleast_1d(np.asarray(b)), np.atleast_1d(np.asarray(a))
        n_delays = max(self.a.size, self.b.size) - 1
        super().__init__((self.b, self.a), (n_delays,), axis, steady)

    def functions(self) -> tuple[Any, Any]:
        """Return ``lfilter`` and ``lfilter_zi``."""
        signal = _scipy_signal()
        return signal.lfilter, signal.lfilter_zi


class running_mean(_Remembering):
    """The mean of each sample and the `n` - 1 before it.

    Parameters
    ----------
    n : int
        Number of samples. At the beginning of the stream, the mean is of the samples so far.
    axis : int, optional
        Axis of the samples.

    Notes
    -----
    The work does not depend on `n`. Sums are made of parts that begin at every `n`-th sample of the
    stream, wherever chunks end. So rounding errors do not accumulate, a NaN affects only `n`
    samples, and results are identical to the last bit.

    References
    ----------
    .. [1] M. van Herk, "A fast algorithm for local minimum and maximum filters on rectangular and
       octagonal kernels", Pattern Recognition Letters 13 (1992): parts, for minimum and maximum.

    Examples
    --------
    >>> mean = running_mean(2)
    >>> mean([1, 3]).tolist(), mean([6]).tolist()
    ([1.0, 2.0], [4.5])
    """

    _remembered = "_held"

    def __init__(self, n: int, axis: int = 0) -> None:
        if n < 1:
            raise StreamError(f"running_mean({n}) has no samples: give 1 or more")
        self.n, self.axis = n, axis
        self._held: Any = None  # samples of the part before and of the present one

    def run(self, chunk: Any) -> Any:
        """Give the mean for each sample of a chunk."""
        chunk = _floating(unmasked(as_chunk(chunk), "running_mean"))
        axis = axis_of(self.axis, chunk, "running_mean")
        n_new = chunk.shape[axis]
        samples = chunk if self._held is None else joined([self._held, chunk], axis)
        n_all = samples.shape[axis]
        means = self._means(samples, axis, n_all - n_new)
        # The next mean may reach back to the beginning of the part before the present one.
        keep_from = max(0, (n_all // self.n - 1) * self.n)
        self._held = copied(cut(samples, axis, keep_from, n_all))
        return means

    def _means(self, samples: Any, axis: int, first: int) -> Any:
        """Return the means from sample `first` on; the samples begin with a part."""
        n, namespace = self.n, namespace_of(samples)
        rows = namespace.moveaxis(samples, axis, 0)
        n_all, rest = rows.shape[0], rows.shape[1:]
        n_parts = -(-n_all // n)
        filling = namespace.zeros((n_parts * n - n_all, *rest), dtype=rows.dtype)
        parts = namespace.reshape(joined([rows, filling], 0), (n_parts, n, *rest))
        sums = _cumulative(parts, 1)
        # Summed from the end: what a mean needs from the part before that of its last sample.
        tails = namespace.flip(_cumulative(namespace.flip(parts, axis=1), 1), axis=1)
        # The last mean of a part has all its samples in the part itself.
        none = namespace.zeros((max(0, n_parts - 1), 1, *rest), dtype=tails.dtype)
        beyond = joined([tails[:-1, 1:, ...], none], 1)
        means = [(sums[1:, ...] + beyond) / n]
        if n_parts:
            # The first part has new samples only at the beginning of the stream.
            means.insert(0, _divided(sums[:1, ...]))
        whole = namespace.reshape(joined(means, 0), (n_parts * n, *rest))[first:n_all, ...]
        whole = namespace.moveaxis(whole, 0, axis)
        return whole.astype(samples.dtype, copy=False) if is_numpy(whole) else whole


class decimate(_Remembering):
    """Give every `n`-th sample, starting with the first.

    Parameters
    ----------
    n : int
        Distance of the samples to give.
    axis : int, optional
        Axis of the samples.

    Notes
    -----
    It does not filter. Put a low-pass before it, or use ``fir(b, every=n)``, which does both.

    Examples
    --------
    >>> third = decimate(3)
    >>> third([0, 1, 2, 3]).tolist(), third([4, 5, 6]).tolist()
    ([0, 3], [6])
    """

    _remembered = "_phase"

    def __init__(self, n: int, axis: int = 0) -> None:
        if n < 1:
            raise StreamError(f"decimate({n}) cannot keep one of {n} samples: give 1 or more")
        self.n, self.axis = n, axis
        self._phase = 0

    def run(self, chunk: Any) -> Any:
        """Give every `n`-th sample of the stream."""
        chunk = as_chunk(chunk)
        axis = axis_of(self.axis, chunk, "decimate")
        length = chunk.shape[axis]
        first, self._phase = self._phase, (self._phase - length) % self.n
        return cut(chunk, axis, first, max(first, length), self.n)


class count(_Remembering):
    """Count samples. Their number is the only chunk, at the end.

    Parameters
    ----------
    axis : int or None, optional
        Axis of the samples. ``None`` counts chunks.

    Examples
    --------
    >>> from bigpipe.streaming import run_steps
    >>> list(run_steps([[1, 2], [3]], count())), list(run_steps([[1, 2], [3]], count(axis=None)))
    ([3], [2])
    """

    _remembered = "_count"

    def __init__(self, axis: int | None = 0) -> None:
        self.axis = axis
        self._count = 0

    def run(self, chunk: Any) -> None:
        """Add a chunk's samples to the count."""
        if self.axis is None:
            self._count += 1
        elif hasattr(chunk, "shape"):
            self._count += chunk.shape[axis_of(self.axis, chunk, "count")]
        else:
            self._count += len(chunk)

    def local_term(self) -> int:
        """Give the count."""
        return self._count


def _weighted(samples: Any, weights: list[Any], axis: int, first: int, every: int) -> Any:
    """Make the weighted sums block by block, always in the same order."""
    n_before = len(weights) - 1
    samples = np.moveaxis(samples, axis, 0)
    n_out = len(range(first, len(samples) - n_before, every))
    shape = (n_out, *samples.shape[1:])
    out = np.empty(shape, _dtype_of(samples, weights))
    length = max(1, BLOCK // max(1, out[:1].size))
    scratch = np.empty((min(length, n_out), *shape[1:]), out.dtype)
    for start in range(0, n_out, length):
        block = out[start : start + length]
        product = scratch[: len(block)]
        at, end = first + start * every, first + (start + len(block) - 1) * every + 1
        for k, weight in enumerate(weights):
            part = samples[at + n_before - k : end + n_before - k : every]
            if k == 0:
                np.multiply(part, weight, out=block)
            else:
                np.multiply(part, weight, out=product)
                np.add(block, product, out=block)
    return np.moveaxis(out, 0, axis)


def _dtype_of(samples: Any, weights: list[Any]) -> Any:
    is_complex = any(isinstance(weight, complex) for weight in weights)
    return np.result_type(samples.dtype, np.complex64) if is_complex else samples.dtype


def _history(chunk: Any, axis: int, n: int, steady: bool) -> Any:
    """Return the samples that are assumed before the first one."""
    first = cut(chunk, axis, 0, 1)
    namespace = namespace_of(chunk)
    shape = list(chunk.shape)
    shape[axis] = n
    nothing = namespace.zeros(tuple(shape), dtype=chunk.dtype)
    return nothing + first if steady else nothing


def _floating(chunk: Any) -> Any:
    """Return a chunk of integers in double precision, and others unchanged."""
    namespace = namespace_of(chunk)
    if is_numpy(chunk):
        return chunk if chunk.dtype.kind in "fc" else chunk.astype(np.float64)
    is_floating = getattr(namespace, "isdtype", None)
    if is_floating is None or is_floating(chunk.dtype, ("real floating", "complex floating")):
        return chunk
    return namespace.astype(chunk, namespace.float64)


def _cumulative(part: Any, axis: int) -> Any:
    if is_numpy(part):
        kind = np.result_type(part.dtype, np.float64)  # long sums need more precision
        return np.cumsum(part, axis=axis, dtype=kind)
    return namespace_of(part).cumulative_sum(part, axis=axis)


def _divided(sums: Any) -> Any:
    """Divide each sum of a part by its number of samples."""
    namespace = namespace_of(sums)
    numbers = namespace.arange(1, sums.shape[1] + 1, dtype=sums.dtype)
    return sums / namespace.reshape(numbers, (1, -1, *(1 for _ in sums.shape[2:])))


def _scipy_signal() -> Any:
    try:
        import scipy.signal
    except ImportError:
        raise StreamError(
            "this filter needs scipy, which is not installed: python -m pip install scipy"
        ) from None
    return scipy.signal
