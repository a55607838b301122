"""The frames of a group until they are combined, in memory or in a temporary file.

Owns where they are kept. `bigpipe.fits.masters` prepares each frame before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from numpy.typing import NDArray

from bigpipe.errors import OptionError
from bigpipe.fits.stacking import Rule, combine_stack

__all__ = ["FrameStack", "check_scale"]

MAX_NAMES = 999  # names of a group's inputs in the header: as many as three digits can count

_SCALES = ("median", "mean")

Scale = str | Callable[[NDArray[Any]], float] | list[float] | None


class FrameStack:
    """The frames of a group, one after the other, in memory or in a temporary file.

    Parameters
    ----------
    n_frames : int
        The most frames that can be added.
    limit : int
        The most bytes that they may take in memory.
    folder : str or os.PathLike, optional
        Folder for the temporary file.
    keywords : dict
        Keywords of the pipeline. Only ``scale`` is used.

    Attributes
    ----------
    names : list
        Names of the added frames.
    added : dict
        Keywords of the last frame, after its pre-processing.
    """

    def __init__(self, n_frames: int, limit: int, folder: Any, keywords: dict[str, Any]) -> None:
        self.names: list[Any] = []
        self.added: dict[str, Any] = {}
        self._n_frames = n_frames
        self._limit = limit
        self._folder = folder
        self._scale: Scale = keywords.get("scale")
        self._first: CCDData | None = None
        self._memory: NDArray[Any] | None = None
        self._file: IO[bytes] | None = None
        check_scale(self._scale, n_frames)

    def __enter__(self) -> FrameStack:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Release all frames."""
        self._memory = None
        if self._file is not None:
            self._file.close()

    @property
    def is_on_disk(self) -> bool:
        """Whether the frames are in a file."""
        return self._file is not None

    def add(self, frame: CCDData, name: Any, number: int) -> None:
        """Add a frame.

        Parameters
        ----------
        frame : CCDData
            The frame.
        name : str or os.PathLike
            Its name.
        number : int
            Its index in the group, counting frames that were left out.

        Raises
        ------
        ValueError
            If its shape or unit differs from that of the first frame.
        """
        if not isinstance(frame, CCDData):
            raise ValueError(
                f"{os.fspath(name)} was read as {type(frame).__name__}, but only one CCDData from "
                "each file can be combined: give the hdu to read, or combine extensions one at a "
                "time"
            )
        values = np.asarray(frame.data)
        if self._first is None:
            self._begin(frame)
        elif values.shape != self.shape or frame.unit != self._first.unit:
            raise ValueError(
                f"{os.fspath(name)} has {_described(values.shape, frame.unit)}, but "
                f"{os.fspath(self.names[0])} of the same group has "
                f"{_described(self.shape, self._first.unit)}: put it into another group"
            )
        row = np.empty(self.shape, self.dtype) if self._memory is None else None
        target = row if self._memory is None else self._memory[len(self.names)]
        assert target is not None
        target[...] = values
        if frame.mask is not None:
            np.copyto(target, np.nan, where=np.broadcast_to(frame.mask, self.shape))
        factor = _factor(self._scale, values, target, number, name)
        if factor != 1:
            target *= self.dtype.type(factor)
        if self._file is not None:
            self._file.write(target.data)
        self.names.append(name)

    def _begin(self, frame: CCDData) -> None:
        values = np.asarray(frame.data)
        self.shape = values.shape
        is_double = values.dtype.kind != "f" and values.dtype.itemsize > 2
        self.dtype = np.dtype(np.float64 if is_double or values.dtype == float else np.float32)
        self._first = CCDData(np.zeros(1), unit=frame.unit, meta=frame.header.copy(), wcs=frame.wcs)
        if values.size * self.dtype.itemsize * self._n_frames <= self._limit:
            self._memory = np.empty((self._n_frames, *self.shape), dtype=self.dtype)
            return
        folder = self._folder if self._folder and os.path.isdir(self._folder) else "."
        # It has no name, so the system removes it however this process ends.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (`close` closes it)

    def combined(self, rule: Rule) -> CCDData:
        """Return the frames combined."""
        assert self._first is not None
        result = np.empty(self.shape, dtype=self.dtype)
        deviation = np.empty(self.shape, dtype=self.dtype)
        for part, stack in self._stripes():
            values, error = combine_stack(stack, rule)
            result.reshape(-1)[part] = values
            deviation.reshape(-1)[part] = error
        mask = np.isnan(result)
        header = self._first.header
        header["NCOMBINE"] = (len(self.names), "frames combined")
        for number, name in enumerate(self.names[:MAX_NAMES], start=1):
            header[f"IMCMB{number:03d}"] = os.path.basename(os.fspath(name))
        return CCDData(
            result,
            unit=self._first.unit,
            meta=header,
            wcs=self._first.wcs,
            mask=mask if mask.any() else None,
            uncertainty=StdDevUncertainty(deviation),
        )

    def _stripes(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the same pixels of all frames, as many at once as memory allows."""
        n_frames, n_pixels = len(self.names), int(np.prod(self.shape))
        if self._memory is not None:
            yield slice(0, n_pixels), self._memory[:n_frames].reshape(n_frames, -1)
            return
        assert self._file is not None
        self._file.flush()
        size = self.dtype.itemsize
        length = max(1, min(n_pixels, self._limit // (n_frames * size)))
        stack = np.empty((n_frames, length), dtype=self.dtype)
        for start in range(0, n_pixels, length):
            stop = min(start + length, n_pixels)
            part = stack[:, : stop - start]
            for number in range(n_frames):
                self._file.seek((number * n_pixels + start) * size)
                self._file.readinto(part[number].data)  # type: ignore[attr-defined]
            yield slice(start, stop), part


def _described(shape: tuple[int, ...], unit: Any) -> str:
    return f"{' x '.join(map(str, shape))} pixels in {unit.to_string() or 'no unit'}"


def check_scale(scale: Any, n_frames: int | None = None) -> None:
    """Raise `OptionError` unless `scale` is valid for a group of `n_frames` frames."""
    if scale is None or callable(scale) or (isinstance(scale, str) and scale in _SCALES):
        return
    if isinstance(scale, str) or not hasattr(scale, "__len__"):
        raise OptionError(
            f"scale={scale!r} is not understood: give 'median', 'mean', a function or a list of "
            "factors"
        )
    if n_frames is not None and len(scale) != n_frames:
        raise OptionError(
            f"scale has {len(scale)} factors for a group of {n_frames} frames: give one factor for "
            "each frame, or a function of the values. If groups need different factors, combine "
            "them in separate runs."
        )


def _factor(
    scale: Scale, values: NDArray[Any], unmasked: NDArray[Any], number: int, name: Any
) -> float:
    if scale is None:
        return 1.0
    if callable(scale):
        return float(scale(values))
    if isinstance(scale, str):
        level = float(np.nanmedian(unmasked) if scale == "median" else np.nanmean(unmasked))
        if level == 0:
            raise ValueError(
                f"the {scale} of {os.fspath(name)} is 0, and the frame cannot be divided by it: "
                "give another scale, or leave the frame out in a pre-processing function"
            )
        return 1 / level
    return float(scale[number])
