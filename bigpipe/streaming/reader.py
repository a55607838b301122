"""Arrays in files as streams of chunks.

Owns which part of a file is read when. How it is read is the affair of its store, in
`bigpipe.streaming.stores`.
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

DEFAULT_NBYTES = 64 << 20  # bytes: far more than a call or a seek costs, far less than memory


class ChunkReader:
    """An array in a file as a stream of chunks: what `read_chunks` returns.

    Iterating opens the file anew, each time. It can be sent to another process.

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
        Of the whole array.
    dtype : numpy.dtype
        Of the chunks.
    axis : int
        Along which it is cut, counted from 0.
    n : int
        Samples in a chunk.
    overlap, start, stop : int
        As given; `stop` is at most the length of the array.
    positions : range
        The first sample of each chunk.
    chunk_nbytes : int
        Bytes of a chunk.
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
                f"samples along axis {self.axis}: give numbers from 0, the smaller one first."
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
                "one of them."
            )
        self._tiling = Tiling(self.start, self.stop, n, overlap)
        self.n, self.overlap, self.chunk_nbytes = n, overlap, n * sample

    def _warn(self, n: int, nbytes: int, wanted: int) -> None:
        warn(
            f"The smallest chunk of {self.name!r} along axis {self.axis}, {n} samples, has "
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
                del chunk  # or it would be held while the next one is read

    def from_position(self, position: int) -> ChunkReader:
        """Return a reader that goes on from a sample, with chunks of the same length.

        Parameters
        ----------
        position : int
            One of `positions`, or any other sample.

        Returns
        -------
        ChunkReader
            Another one.
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
    """Read an array in a file chunk by chunk, in memory for one of them.

    Parameters
    ----------
    name : str or os.PathLike
        A file ``.npy``, ``.fits`` (an image, or a table as an array with fields), ``.h5`` or
        ``.hdf5``, ``.zarr``; or the bytes of an array: ``.raw``, ``.bin``, ``.dat``, and any other
        if `dtype` is given.
    n : int, optional
        Samples in a chunk. A sample is what one index of the axis stands for.
    nbytes : int or str, optional
        Instead of `n`: at most so many bytes in a chunk, such as ``"64 MiB"``, the default. Where
        the file stores chunks of its own, those that are read are made of whole ones; if one is
        too much, of parts of it.
    axis : int, optional
        Along which it is cut.
    overlap : int, optional
        Samples that a chunk shares with the one before it.
    start, stop : int, optional
        The first sample, and the one behind the last; all if not given.
    **how : dict
        - ``dataset``: path of an array in an HDF5 file or a Zarr store that has several;
        - ``hdu``: number or name of an HDU of a FITS file; if not given, the first that has data;
        - ``dtype``, ``shape``, ``offset``: of the bytes of an array. In ``shape``, by default
          ``(-1,)``, the first length may be -1: it is taken from the size of the file. ``offset``
          is in bytes.

    Returns
    -------
    ChunkReader
        Iterating gives arrays that belong to nobody else. It has a length, and ``shape``,
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
        *(name,), n=n, nbytes=nbytes, axis=axis, overlap=overlap, start=start, stop=stop, **how
    )
