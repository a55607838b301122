"""Objects split for another process into a short pickle and large buffers beside it.

Owns which parts of an object stay out of the pickle, how they are copied once into other memory,
and how the object is rebuilt from there. `bigpipe.sharing.transport` owns that memory and sends it
to the other process.

Arrays stay out of the pickle unless they are tiny. The pickle has their type, shape and order of
axes in memory, so a transposed or trimmed array is copied once, in the order of its elements.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from functools import cache
from typing import Any

from bigpipe.errors import UnsendableError
from bigpipe.sharing.arrays import pickler_class, reduced

__all__ = ["MIN_ASIDE", "Parcel", "unpacked"]

MIN_ASIDE = 2048  # bytes: smaller buffers are faster inside the pickle than beside it
ALIGNMENT = 64  # bytes: a line of a processor's cache, and the widest vectors

_COUNT = struct.Struct("<Q")  # number of parts beside the pickle
_SPAN = struct.Struct("<QQ")  # start and size in bytes of a part

_PLAIN_KINDS = "biufc"  # kinds of dtypes that their `str` describes completely


class Parcel:
    """An object, split into a pickle ("words") and parts beside it.

    Parameters
    ----------
    obj : object
        Anything that can be pickled, by value if necessary.
    max_words : int, optional
        Maximum size of the words in bytes; larger ones become a part, too.

    Attributes
    ----------
    words : bytes
        The pickle, and the positions of the parts.
    are_words_aside : bool
        Whether the pickle is itself a part, so that the words have only positions.
    n_bytes : int
        Size of all parts in bytes.

    Notes
    -----
    The parts are still the object's own memory: changes before the end of `lay_out` are included.
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
        """Copy each part to its position.

        Parameters
        ----------
        memory : (n,) uint8 ndarray
            Memory of at least `n_bytes` to write into.
        """
        for part, (start, n_bytes) in zip(self._parts, self._spans, strict=True):
            _copy(part, memory[start : start + n_bytes])


def unpacked(words: bytes | memoryview, memory: memoryview | None, are_aside: bool) -> Any:
    """Rebuild an object from its words and parts; it uses the memory of the parts directly.

    Parameters
    ----------
    words : bytes or memoryview
        The words of the `Parcel`.
    memory : memoryview or None
        Memory with the parts; ``None`` if there are none.
    are_aside : bool
        Whether the pickle is one of the parts.

    Raises
    ------
    UnsendableError
        If that fails, for example because a class cannot be imported here.
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
    """Collects the parts that stay beside the pickle.

    Separate from the pickler, which would otherwise form a reference cycle with the arrays. Their
    memory must be freed as soon as nobody uses them.
    """

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._stood_for: dict[int, tuple[bytearray, Any]] = {}

    def stand_in(self, array: Any) -> pickle.PickleBuffer:
        """Return the object that is pickled in place of an array's memory."""
        stand_in = bytearray(1)
        self._stood_for[id(stand_in)] = (stand_in, array)
        return pickle.PickleBuffer(stand_in)

    def lay_aside(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a buffer's memory beside the pickle; return whether it stays in it instead."""
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
    """Mixin of both picklers: keeps arrays beside the pickle."""

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
        """Return how to rebuild an array from the memory that replaces its stand-in."""
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
    """Return a pickler that pickles by value what cannot be imported elsewhere."""
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
    return array.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def _copy(part: Any, memory: Any) -> None:
    import numpy as np

    if isinstance(part, memoryview):
        np.copyto(memory, np.frombuffer(part, np.uint8))
    elif part.flags.c_contiguous:
        # As bytes: numpy copies records field by field otherwise.
        np.copyto(memory, part.reshape(-1).view(np.uint8))
    else:
        np.copyto(np.ndarray(part.shape, part.dtype, memory.data), part)
