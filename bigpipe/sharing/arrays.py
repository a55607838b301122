"""Pickling of numpy arrays whose memory would otherwise be copied into the pickle.

Owns how arrays in keywords are pickled. numpy passes the memory of a plain, contiguous array as a
buffer beside the pickle. It copies other arrays into the pickle, and again at each unpickling.
Here, their memory becomes a buffer, too. `bigpipe.sharing.snapshot` stores the buffers.
"""

from __future__ import annotations

import sys
from functools import cache
from types import FunctionType
from typing import Any

from bigpipe.sharing.by_value import note_module

__all__ = ["pickler_class", "reduced"]

MIN_ARRAY = 64 * 1024  # bytes: smaller arrays are pickled in numpy's way


@cache
def pickler_class() -> Any:
    """Return cloudpickle's pickler, imported only here, with arrays as `reduced` gives them."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (type, FunctionType)):
                note_module(obj)
            found = reduced(obj)
            return super().reducer_override(obj) if found is NotImplemented else found

    return Pickler


def reduced(obj: Any) -> Any:
    """Return how to pickle a large array, as ``reducer_override`` does; ``NotImplemented`` if not.

    Of the subclasses, it handles only those that it can rebuild exactly: memory maps, record
    arrays, masked arrays and astropy's quantities.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(obj, numpy.ndarray) or obj.nbytes < MIN_ARRAY:
        return NotImplemented
    kind = type(obj)
    if obj.dtype.hasobject:
        return NotImplemented
    if kind is numpy.ndarray:
        if obj.flags.forc:
            return NotImplemented  # numpy does it
        return obj.copy().__reduce_ex__(5)
    if kind in (numpy.memmap, numpy.recarray):
        return _seen_as, (kind, obj.view(numpy.ndarray), obj.dtype)
    masked = sys.modules.get("numpy.ma")
    if masked is not None and kind is masked.MaskedArray and obj.baseclass is numpy.ndarray:
        mask = masked.getmaskarray(obj)
        return _masked, (obj.data, mask, obj._fill_value)
    quantity = sys.modules.get("astropy.units.quantity")
    if quantity is not None and kind.__reduce__ is quantity.Quantity.__reduce__:
        return _seen_as, (kind, obj.view(numpy.ndarray), obj.dtype), obj.__dict__, None, None, _set
    return NotImplemented


def _seen_as(kind: type, array: Any, dtype: Any) -> Any:
    seen = array.view(kind)
    if seen.dtype != dtype:
        seen.dtype = dtype
    return seen


def _set(obj: Any, attributes: dict[str, Any]) -> None:
    obj.__dict__.update(attributes)


def _masked(data: Any, mask: Any, fill_value: Any) -> Any:
    import numpy

    array: Any = numpy.ma.MaskedArray(data, mask=mask, copy=False)
    array._fill_value = fill_value
    return array
