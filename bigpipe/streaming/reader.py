"""Arrays in files as streams of chunks.

Owns which part of a file is read when. Its store, in `bigpipe.streaming.stores`, reads it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from typing import Any

from numpy.typing import NDArray

from bigpipe.budget import format_bytes, parse_bytes
from bigpipe.chunks import Tiling, axis_index, chunk_length, region, sample_nbytes
from bigpipe.errors import StoreError, warn
from bigpipe.streaming.stores.base import open_store

__all__ = ["DEFAULT_NBYTES", "ChunkReader", "read_chunks"]

DEFAULT_NBYTES = 64 << 20  # bytes: much, beside the cost of a call or seek; little, beside memory


class ChunkReader:
    """An array in a file as a stream of chunks. `read_chunks` returns one.

    Each iteration opens the file again. A reader can be sent to another process.

    Parameters
    ----------
    name : str or os.PathLike
        The file.
    n, nbytes, axis, overlap, start, stop, **how
        See `read_chunks`.

    Attributes
    ----------
    name : str
        The file.
    shape : tuple of int
        Shape of the whole array.
    dtype : numpy.dtype
        Type of the chunks.
    axis : int
        Axis along which the array is cut, counted from 0.
    n : int
        Number of samples in a chunk.
    overlap, start, stop : int
        As given; `stop` is at most the length of the array.
    positions : range
        The first sample of each chunk.
    chunk_nbytes : int
        Number of bytes in a chunk.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        n: int | None = None,
        nbytes: int | str | None = None,
        axis: int = 0,
        overlap: int = 0,
        start: int = 0,
        stop: int | None = None,
        **how: Any,
    ) -> None:
        self.name = os.fspath(name)
        self._how = how
        with closing(open_store(self.name, **how)) as store:
            self.shape, self.dtype, grid = store.shape, store.dtype, store.chunks
        self.axis = axis_index(axis, self.shape, self.name)
        length = self.shape[self.axis]
        self.start, self.stop = start, length if stop is None else min(stop, length)
        if start < 0 or (stop is not None and stop < start):
            raise StoreError(
                f"start={start}, stop={stop} is not a part of {self.name!r}, which has {length} "
                f"samples along axis {self.axis}: give numbers from 0, the smaller one first"
            )
        sample = sample_nbytes(self.shape, self.dtype.itemsize, self.axis)
        if n is None:
            wanted = DEFAULT_NBYTES if nbytes is None else parse_bytes(nbytes)
            n = chunk_length(wanted, sample, overlap, grid[self.axis] if grid else 1)
            if n * sample > wanted:
                self._warn(n, n * sample, wanted)
        elif nbytes is not None:
            raise StoreError(
                f"n={n} and nbytes={nbytes} both set the length of chunks of {self.name!r}: give "
                "one of them"
            )
        self._tiling = Tiling(self.start, self.stop, n, overlap)
        self.n, self.overlap, self.chunk_nbytes = n, overlap, n * sample

    def _warn(self, n: int, nbytes: int, wanted: int) -> None:
        warn(
            f"the smallest chunk of {self.name!r} along axis {self.axis}, {n} samples, has "
            f"{format_bytes(nbytes)}, more than the {format_bytes(wanted)} asked for. Another axis "
            "may allow smaller chunks.",
        )

    @property
    def positions(self) -> range:
        """The first sample of each chunk."""
        return self._tiling.positions

    def __len__(self) -> int:
        return len(self._tiling)

    def __iter__(self) -> Generator[NDArray[Any], None, None]:
        with closing(open_store(self.name, **self._how)) as store:
            for first, last in self._tiling:
                try:
                    chunk = store.read(region(len(self.shape), self.axis, first, last))
                except Exception as error:
                    error.add_note(f"While reading samples {first} to {last} of {self.name!r}.")
                    raise
                yield chunk
                del chunk  # do not hold it while the next one is read

    def from_position(self, position: int) -> ChunkReader:
        """Return a reader that starts at a sample, with chunks of the same length.

        Parameters
        ----------
        position : int
            One of `positions`, or any other sample.

        Returns
        -------
        ChunkReader
            The new reader.
        """
        keywords = {"axis": self.axis, "overlap": self.overlap, **self._how}
        return ChunkReader(self.name, n=self.n, start=position, stop=self.stop, **keywords)

    def __repr__(self) -> str:
        return f"<{len(self)} chunks of {self.n} of {self.name!r}, {self.dtype} {self.shape}>"


def read_chunks(
    name: str | os.PathLike[str],
    *,
    n: int | None = None,
    nbytes: int | str | None = None,
    axis: int = 0,
    overlap: int = 0,
    start: int = 0,
    stop: int | None = None,
    **how: Any,
) -> ChunkReader:
    """Read an array in a file chunk by chunk, with one chunk in memory at a time.

    Parameters
    ----------
    name : str or os.PathLike
        A file ``.npy``; ``.fits`` (an image, or a table as a structured array); ``.h5`` or
        ``.hdf5``; ``.zarr``; ``.tif`` or ``.tiff`` (a stack of images, of which those that are
        compressed or in tiles are each decoded as a whole); or the raw bytes of an array:
        ``.raw``, ``.bin``, ``.dat``, and any other extension if `dtype` is given.
    n : int, optional
        Number of samples in a chunk. A sample is what one index along the axis selects.
    nbytes : int or str, optional
        Instead of `n`: the most bytes in a chunk, such as ``"64 MiB"``, the default. If the file
        has storage chunks, each chunk consists of whole ones; if even one exceeds `nbytes`, of
        parts of one.
    axis : int, optional
        Axis along which the array is cut.
    overlap : int, optional
        Number of samples that a chunk shares with the one before it.
    start, stop : int, optional
        The first sample, and the one after the last. Default: all samples.
    **how : dict
        - ``dataset``: path of the array, for an HDF5 file or Zarr store with several arrays;
        - ``hdu``: number or name of an HDU of a FITS file. Default: the first that has data;
        - ``series``: number of a series of images in a TIFF file. Default: the first;
        - ``dtype``, ``shape``, ``offset``: for raw bytes. The first length in ``shape`` may be -1,
          to take it from the size of the file; the default shape is ``(-1,)``. ``offset`` is in
          bytes.

    Returns
    -------
    ChunkReader
        Iterate it for the chunks; each is an array of your own. It has a length, and ``shape``,
        ``dtype``, ``axis``, ``n`` and ``positions``.

    Raises
    ------
    StoreError
        If the file has no such array or axis, or is truncated.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("ramp.npy", np.arange(10))
    >>> [chunk.tolist() for chunk in read_chunks("ramp.npy", n=4, overlap=1)]
    [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    """
    return ChunkReader(
        name, n=n, nbytes=nbytes, axis=axis, overlap=overlap, start=start, stop=stop, **how
    )
