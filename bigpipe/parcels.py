"""Objects taken apart for another process: a short pickle, and large memory beside it.

Owns what of an object is laid aside, how it is laid into other memory with one copy, and how
the object is made again from there. Which memory that is, and how it gets to the other
process, is `bigpipe.transport`'s affair.

An array is never written into the pickle unless it is tiny. What stands there for it says its
type, its shape and the order of its axes in memory, so that one that is transposed or trimmed
is copied as its elements lie, and once.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from functools import cache
from typing import Any

from bigpipe.arrays import pickler_class, reduced
from bigpipe.errors import UnsendableError

__all__ = ["MIN_ASIDE", "Parcel", "unpacked"]

MIN_ASIDE = 2048  # bytes: less is copied along with the pickle sooner than it is laid aside
ALIGNMENT = 64  # bytes: a line of a processor's cache, and the widest vectors

_COUNT = struct.Struct("<Q")  # parts that are laid aside
_SPAN = struct.Struct("<QQ")  # where one begins, and its bytes

_PLAIN_KINDS = "biufc"  # of a dtype that its `str` says all of


class Parcel:
    """An object, taken apart.

    Parameters
    ----------
    obj : object
        Anything that can be pickled, if need be by value.
    max_words : int, optional
        Bytes of the words, beyond which they are laid aside too.

    Attributes
    ----------
    words : bytes
        The object, but for what is laid aside, and where that is.
    are_words_aside : bool
        Whether they say no more than where they are.
    n_bytes : int
        Bytes of what is laid aside, in all.

    Notes
    -----
    The parts are still the object's own memory: what is written into it before `lay_out`, or
    while that lasts, is seen.
    """

    def __init__(self, obj: Any, max_words: int = sys.maxsize) -> None:
        self._parts: list[Any] = []
        pickled = self._dumped(obj)
        self._spans: list[tuple[int, int]] = []
        self.n_bytes = 0
        for part in self._parts:
            self._place(part)
        places = b"".join([_SPAN.pack(*span) for span in self._spans])
        self.words = _COUNT.pack(len(self._spans)) + places + pickled
        self.are_words_aside = len(self.words) > max_words
        if self.are_words_aside:
            self._parts.append(memoryview(self.words))
            self._place(self._parts[-1])
            self.words = _SPAN.pack(*self._spans[-1])

    def _dumped(self, obj: Any) -> bytes:
        if type(obj) in _ATOMS:
            return pickle.dumps(obj, protocol=5)
        try:
            return self._dump(_pickler_class(), obj)
        except Exception:  # any object's own pickling may raise anything: then by value
            return self._dump_by_value(obj)

    def _dump_by_value(self, obj: Any) -> bytes:
        try:
            return self._dump(_pickler_by_value_class(), obj)
        except Exception as error:
            raise UnsendableError(
                f"an object of type {type(obj).__name__} cannot be sent to another process "
                f"({type(error).__name__}: {error}); send numbers, text or arrays, or use "
                "executor='threads'"
            ) from error

    def _dump(self, kind: Any, obj: Any) -> bytes:
        file = io.BytesIO()
        asides = _Asides()
        kind(file, asides).dump(obj)
        self._parts = asides.parts
        return file.getvalue()

    def _place(self, part: Any) -> None:
        start = -(-self.n_bytes // ALIGNMENT) * ALIGNMENT
        self._spans.append((start, part.nbytes))
        self.n_bytes = start + part.nbytes

    def lay_out(self, memory: Any) -> None:
        """Copy the parts, each to its place.

        Parameters
        ----------
        memory : (n,) uint8 ndarray
            At least `n_bytes`, to be written into.
        """
        for part, (start, n_bytes) in zip(self._parts, self._spans, strict=True):
            _copy(part, memory[start : start + n_bytes])


def unpacked(words: bytes | memoryview, memory: memoryview | None, are_aside: bool) -> Any:
    """Make an object of its words and of what was laid aside, which it then uses as its own.

    Parameters
    ----------
    words : bytes or memoryview
        As `Parcel` has them.
    memory : memoryview or None
        What was laid out; ``None`` if nothing was.
    are_aside : bool
        Whether the words were laid aside too.

    Raises
    ------
    UnsendableError
        If that fails, as a class cannot be imported here.
    """
    if are_aside:
        assert memory is not None
        start, n_bytes = _SPAN.unpack(words)
        words = memory[start : start + n_bytes]
    (count,) = _COUNT.unpack_from(words)
    end = _COUNT.size + count * _SPAN.size
    views = []
    if memory is not None:
        spans = _SPAN.iter_unpack(words[_COUNT.size : end])
        views = [memory[start : start + n_bytes] for start, n_bytes in spans]
    try:
        return pickle.loads(words[end:], buffers=views)
    except Exception as error:  # a class may raise anything here
        raise UnsendableError(
            "an object that another process sent cannot be unpickled "
            f"({type(error).__name__}: {error}); send numbers, text or arrays, or use "
            "executor='threads'"
        ) from error


_ATOMS = (type(None), bool, int, float, complex)


class _Asides:
    """What is laid aside while an object is pickled.

    Apart from the pickler, which would otherwise be part of a cycle, and arrays with it: their
    memory is to be free as soon as nobody uses them.
    """

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._stood_for: dict[int, tuple[bytearray, Any]] = {}

    def stand_in(self, array: Any) -> pickle.PickleBuffer:
        """Return what is pickled in place of an array's memory."""
        stand_in = bytearray(1)
        self._stood_for[id(stand_in)] = (stand_in, array)
        return pickle.PickleBuffer(stand_in)

    def lay_aside(self, buffer: pickle.PickleBuffer) -> bool:
        """Lay aside what a buffer stands for; return whether it stays in the pickle instead."""
        _, array = self._stood_for.get(id(memoryview(buffer).obj), (None, None))
        if array is not None:
            self.parts.append(array)
            return False
        view = buffer.raw()
        if view.nbytes < MIN_ASIDE:
            return True
        self.parts.append(view)
        return False


class _LaysAside:
    """Part of both picklers: has arrays laid aside."""

    def __init__(self, file: io.BytesIO, asides: _Asides) -> None:
        super().__init__(file, protocol=5, buffer_callback=asides.lay_aside)  # type: ignore[call-arg]
        self._asides = asides

    def reducer_override(self, obj: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(obj, numpy.ndarray):
            return self._otherwise(obj)
        if type(obj) is numpy.ndarray and obj.nbytes >= MIN_ASIDE and not obj.dtype.hasobject:
            return self._reduced(obj)
        found = reduced(obj)
        return self._otherwise(obj) if found is NotImplemented else found

    def _reduced(self, array: Any) -> Any:
        """Return how to make an array of the memory that takes the place of a stand-in."""
        axes = None
        if not array.flags.c_contiguous:
            steps = [abs(step) for step in array.strides]
            axes = sorted(range(array.ndim), key=lambda axis: -steps[axis])
            array = array.transpose(axes)
        kind = array.dtype.str if array.dtype.kind in _PLAIN_KINDS else array.dtype
        return _array, (self._asides.stand_in(array), kind, array.shape, axes)

    def _otherwise(self, obj: Any) -> Any:
        return NotImplemented


@cache
def _pickler_class() -> Any:
    return type("_Pickler", (_LaysAside, pickle.Pickler), {})


@cache
def _pickler_by_value_class() -> Any:
    """Return a pickler that sends along what cannot be imported elsewhere."""
    by_value = pickler_class()

    class Pickler(_LaysAside, by_value):  # type: ignore[misc, valid-type]
        def _otherwise(self, obj: Any) -> Any:
            return by_value.reducer_override(self, obj)

    return Pickler


def _array(memory: Any, kind: Any, shape: tuple[int, ...], axes: list[int] | None) -> Any:
    import numpy as np

    array: Any = np.ndarray(shape, kind, memory)
    if axes is None:
        return array
    back = [0] * len(axes)
    for position, axis in enumerate(axes):
        back[axis] = position
    return array.transpose(back)


def _copy(part: Any, memory: Any) -> None:
    import numpy as np

    if isinstance(part, memoryview):
        np.copyto(memory, np.frombuffer(part, np.uint8))
    elif part.flags.c_contiguous:
        # As bytes: numpy copies records field by field otherwise.
        np.copyto(memory, part.reshape(-1).view(np.uint8))
    else:
        np.copyto(np.ndarray(part.shape, part.dtype, memory.data), part)
