"""Images in TIFF files, by tifffile, to be read only.

Owns how a stack of images becomes one array. `flat` reads images that are contiguous in the file.
Nothing is written: the directory of each image follows the data, so a file that grows would be
invalid until the end, and a killed run could not continue in it.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigpipe.errors import StoreError
from bigpipe.formats import check_tiff, library
from bigpipe.streaming.stores.base import ArrayStore, native
from bigpipe.streaming.stores.flat import FlatStore

__all__ = ["TiffPages", "TiffStore"]


class TiffStore:
    """Opens a series of images of a TIFF file."""

    @classmethod
    def open(cls, name: str, mode: str, *, series: int = 0) -> ArrayStore:
        """Open a series, by default the first."""
        if mode != "r":
            raise _only_read(name)
        file = _open_file(name)
        try:
            if not -len(file.series) <= series < len(file.series):
                raise StoreError(f"{name!r} has {len(file.series)} series of images: no {series}")
            found = file.series[series]
            start = found.dataoffset
            if start is None:
                return TiffPages(name, file, found)
            stored = np.dtype(found.dtype).newbyteorder(file.byteorder)
        except BaseException:
            file.close()
            raise
        file.close()
        return FlatStore.of_whole(name, "r", shape=tuple(found.shape), stored=stored, start=start)

    @classmethod
    def create(cls, name: str, **how: Any) -> ArrayStore:
        """Raise an error: TIFF files are not written in chunks."""
        raise _only_read(name)


class TiffPages:
    """A stack of images that are compressed, or apart in the file. Each is decoded as a whole.

    Parameters
    ----------
    name : str
        The file.
    file : tifffile.TiffFile
        The open file; closed with the stack.
    series : tifffile.TiffPageSeries
        One of its series.
    """

    def __init__(self, name: str, file: Any, series: Any) -> None:
        self.name, self.shape = name, tuple(series.shape)
        self.dtype = native(np.dtype(series.dtype))
        self._file, self._pages = file, series.pages
        self._only: NDArray[Any] | None = None  # the image, if there is one: decoded for all chunks
        page = tuple(series.keyframe.shape)
        self._stack = self.shape[: len(self.shape) - len(page)]
        if self._stack + page != self.shape or math.prod(self._stack) != len(series.pages):
            raise StoreError(
                f"the images in {name!r} are not stored as a stack and cannot be read in chunks: "
                "convert the file, for instance with tifffile.imwrite"
            )
        self.chunks: tuple[int, ...] | None = (1,) * len(self._stack) + page

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return a region as a new array."""
        limits = [range(*s.indices(n)) for s, n in zip(region, self.shape, strict=True)]
        array = np.empty([len(each) for each in limits], self.dtype)
        n_stack = len(self._stack)
        for at in np.ndindex(array.shape[:n_stack]):
            place = tuple(each[i] for each, i in zip(limits, at, strict=False))
            number = int(np.ravel_multi_index(place, self._stack)) if place else 0
            array[at] = self._page(number)[region[n_stack:]]
        return array

    def _page(self, number: int) -> NDArray[Any]:
        if self._only is not None:
            return self._only
        page = self._pages[number]
        if page is None:  # OME: an image that was not taken
            return np.zeros(self.shape[len(self._stack) :], self.dtype)
        try:
            values: NDArray[Any] = page.asarray()
        except Exception as error:  # tifffile, imagecodecs and zlib raise many classes
            raise StoreError(
                f"image {number} of {self.name!r} cannot be decoded: {error}. If the file is "
                "truncated, copy it again."
            ) from error
        if len(self._pages) == 1:
            self._only = values
        return values

    def write(self, region: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Raise an error: it is open to be read."""
        raise _only_read(self.name)

    def resize(self, shape: tuple[int, ...]) -> None:
        """Raise an error: it is open to be read."""
        raise _only_read(self.name)

    def sync(self) -> None:
        """Do nothing: nothing was written."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _open_file(name: str) -> Any:
    tiff = library(name, ("tifffile", "tifffile"))
    try:
        file = tiff.TiffFile(name)
        try:
            check_tiff(file)
        except BaseException:
            file.close()
            raise
    except (tiff.TiffFileError, struct.error, ValueError) as error:
        raise StoreError(
            f"{name!r} cannot be read as TIFF: {error}. If it is truncated, copy it again."
        ) from error
    return file


def _only_read(name: str) -> StoreError:
    return StoreError(
        f"{name!r} cannot be written, as TIFF files can only be read in chunks: write .npy, .h5 or "
        ".zarr"
    )
