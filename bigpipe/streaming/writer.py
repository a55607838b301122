"""Streams of chunks as arrays in files.

Owns which part of a file is written when, and how writing continues in the file of a killed run.
Its store, in `bigpipe.streaming.stores`, writes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bigpipe.chunks import axis_index, region, whole_cells
from bigpipe.errors import StoreError
from bigpipe.formats import is_masked
from bigpipe.streaming.steps.base import outputs_of
from bigpipe.streaming.stores.base import ArrayStore, create_store, open_store
from bigpipe.streaming.stores.raw import RawStore

__all__ = ["ChunkWriter", "write_chunks"]


class ChunkWriter:
    """Writes an array to a file chunk by chunk. The number of chunks need not be known.

    Parameters
    ----------
    name : str or os.PathLike
        The file. It is created, or replaced, when the first chunk comes.
    axis, length, dtype, **how
        See `write_chunks`.

    Attributes
    ----------
    name : str
        The file.
    position : int
        Number of samples written so far.

    Notes
    -----
    Use it in a ``with`` block. If the block ends with an error, the file stays as it is, and may be
    incomplete.

    If the format has storage chunks, each is written once, when it is full. Until then, its samples
    are kept in memory.
    """

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        axis: int = 0,
        length: int | None = None,
        dtype: Any = None,
        **how: Any,
    ) -> None:
        self.name = os.fspath(name)
        self.position = 0
        self._axis, self._length, self._how = axis, length, how
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._is_dtype_given = dtype is not None
        self._unit: Any = None  # that of the first chunk
        self._store: ArrayStore | None = None
        self._tail: list[NDArray[Any]] = []  # samples that do not yet fill a storage chunk
        self._n_in_store = 0
        self._is_closed = False

    @classmethod
    def reopen(cls, name: str | os.PathLike[str], state: dict[str, Any], **writing: Any) -> Self:
        """Continue an unfinished file from the point of a `sync`.

        Parameters
        ----------
        name : str or os.PathLike
            The file.
        state : dict
            The result of `sync`. Everything written after that is cut off.
        **writing
            Keywords with which the writer of the file was made.

        Returns
        -------
        ChunkWriter
            A writer at the position of the `sync`.

        Raises
        ------
        StoreError
            If the file is damaged, or shorter than at the `sync`.
        """
        writer = cls(name, **writing)
        if state["position"]:
            writer._resume(state)
        return writer

    def _resume(self, state: dict[str, Any]) -> None:
        dataset = {"dataset": self._how["dataset"]} if "dataset" in self._how else {}
        self._store = store = open_store(self.name, "r+", **dataset, **state["opening"])
        self._axis = axis_index(self._axis, store.shape, self.name)
        self._dtype, self.position = store.dtype, state["position"]
        self._unit = state["unit"]
        self._tail = [] if state["tail"] is None else [state["tail"]]
        self._n_in_store = self.position - sum(map(self._length_of, self._tail))
        found = store.shape[self._axis]
        if self._length is None and found < self._n_in_store:
            self.abort()
            raise StoreError(
                f"{self.name!r} has {found} samples, but {self._n_in_store} had been written when "
                "its state was saved: write it again from the beginning"
            )
        self._resize(self._n_in_store)

    def write(self, chunk: Any) -> None:
        """Write the next chunk.

        Parameters
        ----------
        chunk : array
            It may differ from the first chunk only in its length along the axis.
        """
        if self._is_closed:
            raise StoreError(
                f"{self.name!r} is closed and takes no more chunks: write them before close()"
            )
        array = self._checked(as_array(self._in_unit(chunk), self.name))
        if self._store is None:
            array = _packed(array)
            self._create(array)
            array = self._checked(array)  # the format may store another dtype
        assert self._store is not None
        self.position += self._length_of(array)
        if self._length is not None and self.position > self._length:
            raise self._wrong_length()
        cell = self._store.chunks[self._axis] if self._store.chunks else 1
        n_whole = whole_cells(self.position, cell) - self._n_in_store
        if n_whole:
            # Usually there is no tail, and the chunk is not copied.
            whole = np.concatenate([*self._tail, array], self._axis) if self._tail else array
            self._put(whole[self._part(0, n_whole)])
            array = whole[self._part(n_whole, self._length_of(whole))]
            self._tail = []
        if self._length_of(array):
            self._tail.append(array.copy())  # the caller may reuse its array

    def sync(self) -> dict[str, Any]:
        """Sync what was written to disk.

        Returns
        -------
        dict
            The state that `reopen` needs to continue from here: numbers, and an array of the
            samples that are not yet in the file.
        """
        if self._store is None:
            return {"position": 0}
        store = self._store
        store.sync()
        return {
            "position": self.position,
            "tail": np.concatenate(self._tail, self._axis) if self._tail else None,
            "opening": store.opening() if isinstance(store, RawStore) else {},
            "unit": self._unit,
        }

    def close(self) -> None:
        """Write the remaining samples, and close the file."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._store is None:
            raise StoreError(
                f"no chunk came for {self.name!r}, so its dtype and shape are unknown: write at "
                "least one, which may be empty"
            )
        try:
            if self._tail:
                self._put(np.concatenate(self._tail, self._axis))
                self._tail = []
            if self._length is not None and self.position < self._length:
                raise self._wrong_length()
        finally:
            self._store.close()

    def abort(self) -> None:
        """Close the file as it is."""
        self._is_closed = True
        self._tail = []
        if self._store is not None:
            with contextlib.suppress(OSError):  # the error that led here is known already
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _create(self, array: NDArray[Any]) -> None:
        self._axis = axis_index(self._axis, array.shape, self.name)
        shape = list(array.shape)
        shape[self._axis] = self._length or 0
        self._store = create_store(
            self.name,
            self._how,
            shape=tuple(shape),
            dtype=array.dtype,
            axis=self._axis,
            n=self._length_of(array),
            may_be_raw=self._is_dtype_given,
            unit=self._unit,
        )
        self._dtype = self._store.dtype

    def _in_unit(self, chunk: Any) -> Any:
        """Return a chunk; a quantity as numbers in the unit of the first chunk."""
        unit = getattr(chunk, "unit", None) if hasattr(chunk, "to_value") else None
        if self._store is None:
            self._unit = unit
        if unit is None and self._unit is None:
            return chunk
        if unit is None or self._unit is None or not unit.is_equivalent(self._unit):
            raise StoreError(
                f"a chunk in {unit or 'no unit'} cannot be written to {self.name!r}, whose first "
                f"chunk was in {self._unit or 'no unit'}: convert the chunks in a step"
            )
        return chunk.to_value(self._unit)

    def _checked(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a chunk in the dtype of the file; raise an error if it does not fit."""
        if self._store is not None:
            shape = list(self._store.shape)
            shape[self._axis] = self.position
            expected = _without(shape, self._axis)
            if array.ndim != len(shape) or _without(array.shape, self._axis) != expected:
                raise StoreError(
                    f"a chunk of shape {array.shape} does not fit into {self.name!r}, whose shape "
                    f"is {tuple(shape)} so far: lengths may differ only along axis {self._axis}"
                )
        if self._dtype is None or array.dtype == self._dtype:
            return array
        fits = np.can_cast(array.dtype, self._dtype, "safe")
        if self._is_dtype_given:
            fits = np.can_cast(array.dtype, self._dtype, "same_kind")
        # Numpy would assign fields by position, whatever their names.
        if not fits or array.dtype.names != self._dtype.names:
            raise StoreError(
                f"a chunk of {array.dtype} cannot be written to {self.name!r} as {self._dtype}: "
                "convert it in a step, or give dtype= to allow a narrower type"
            )
        return array.astype(self._dtype)

    def _put(self, array: NDArray[Any]) -> None:
        assert self._store is not None
        first, last = self._n_in_store, self._n_in_store + self._length_of(array)
        self._resize(last)
        try:
            self._store.write(region(array.ndim, self._axis, first, last), array)
        except Exception as error:
            error.add_note(f"While writing samples {first} to {last} of {self.name!r}.")
            raise
        self._n_in_store = last

    def _resize(self, length: int) -> None:
        assert self._store is not None
        if self._length is None:
            shape = list(self._store.shape)
            shape[self._axis] = length
            self._store.resize(tuple(shape))

    def _wrong_length(self) -> StoreError:
        return StoreError(
            f"{self.name!r} was given {self.position} samples, but length={self._length}: give "
            "their real number, or leave length out"
        )

    def _length_of(self, array: NDArray[Any]) -> int:
        return int(array.shape[self._axis])

    def _part(self, first: int, last: int) -> tuple[slice, ...]:
        assert self._store is not None
        return region(len(self._store.shape), self._axis, first, last)


def write_chunks(
    name: str | os.PathLike[str],
    chunks: Iterable[Any],
    /,
    *,
    axis: int = 0,
    length: int | None = None,
    dtype: Any = None,
    **how: Any,
) -> str:
    """Write a stream of chunks to a file, with one chunk in memory at a time.

    Parameters
    ----------
    name : str or os.PathLike
        The file. Its extension gives the format, as in `read_chunks`, but for TIFF, which cannot be
        written. An existing file is replaced.
    chunks : iterable of array
        The stream. Chunks may differ in length along the axis; the rest of the shape, the dtype
        and, for quantities, the unit follow the first chunk. FITS images store the unit as
        ``BUNIT``; other formats do not store it.
    axis : int, optional
        Axis along which the chunks are joined. ``.npy`` files grow along their first or last axis,
        FITS files and raw bytes along the first, HDF5 and Zarr along any.
    length : int, optional
        Final length along the axis, if known. With it, any format takes chunks along any axis.
    dtype : dtype, optional
        Type in the file, to which chunks are converted.
    **how : dict
        - ``like``: a file, such as the input, that the output is to resemble; ignored if its format
          differs. A FITS image or table gets its header (a column, the units and so on of the
          column of its name; an image made from a table, no cards about columns), an HDF5 dataset
          or Zarr array its attributes, and HDF5 its compression;
        - ``like_array``: the dataset or HDU of that file, if it has several. Default: the one
          called ``dataset``, or the first HDU that has data;
        - ``header``: header for a FITS file;
        - ``dataset``: path of the array in an HDF5 file (default ``"data"``) or in a Zarr store (by
          default, the store is the array);
        - arguments of ``h5py.Group.create_dataset`` or zarr's functions, such as ``compression``.

    Returns
    -------
    str
        The name.

    Raises
    ------
    StoreError
        If no chunk comes, a chunk does not fit the first one, or the file cannot grow along the
        axis, or the second argument is no stream of chunks.

    Examples
    --------
    >>> import numpy as np
    >>> write_chunks("ramps.npy", (np.arange(n) for n in range(4)))
    'ramps.npy'
    >>> np.load("ramps.npy").tolist()
    [0, 0, 1, 0, 1, 2]
    """
    if isinstance(chunks, (str, bytes, os.PathLike)):
        if isinstance(name, (str, os.PathLike)):
            remedy = f"give the chunks of that file, read_chunks({os.fspath(chunks)!r})"
        else:
            remedy = "give the name of the file first, then the chunks"
        raise StoreError(f"{os.fspath(chunks)!r} is a file name, not a stream of chunks: {remedy}")
    if isinstance(chunks, np.ndarray):
        raise StoreError(
            "the stream of chunks is one array: give [array] to write it as a chunk, or "
            "list(array) to join its parts"
        )
    with ChunkWriter(name, axis=axis, length=length, dtype=dtype, **how) as writer:
        for chunk in outputs_of(iter(chunks)):
            writer.write(chunk)
    return writer.name


def as_array(chunk: Any, name: str) -> NDArray[Any]:
    """Return a chunk of any array library as an array of numpy."""
    if hasattr(chunk, "as_array"):  # a table of astropy
        chunk = chunk.as_array()
    elif isinstance(chunk, np.recarray) and hasattr(type(chunk), "columns"):  # of astropy.io.fits
        from bigpipe.streaming.stores.fits_rows import values_of

        chunk = values_of(chunk)  # numpy would see the stored numbers
    if is_masked(chunk):
        raise StoreError(
            f"a chunk with masked values cannot be written to {name!r}: fill them in a step, for "
            "instance by chunk.filled(nan)"
        )
    if isinstance(chunk, np.ndarray):
        array = np.asarray(chunk)
    elif hasattr(chunk, "__dlpack__") and not hasattr(chunk, "__array__"):
        array = np.from_dlpack(chunk)
    else:
        array = np.asarray(chunk)
    if array.ndim == 0:
        raise StoreError(
            f"{chunk!r} is a single number, not a chunk of an array for {name!r}: collect numbers "
            "with pack(n)"
        )
    return array


def _packed(array: NDArray[Any]) -> NDArray[Any]:
    """Return records without the gaps that numpy leaves for fields that were not selected."""
    if array.dtype.names is None:
        return array
    from numpy.lib import recfunctions

    packed: NDArray[Any] = recfunctions.repack_fields(array, recurse=True)
    return packed


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
