"""Whether two values are the same: equal, of the same types throughout, nan being equal to nan."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
from astropy.coordinates import BaseCoordinateFrame, EarthLocation, SkyCoord
from astropy.coordinates.representation import BaseRepresentationOrDifferential
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time, TimeDelta
from astropy.units import Quantity
from astropy.utils.masked import Masked

__all__ = ["same"]

INFO = ("name", "description", "format", "meta")


def same(first: Any, second: Any) -> bool:
    """Tell whether two values are the same; of a set or a dict, in the same order or any."""
    if type(first) is not type(second):
        return False
    for kinds, compare in COMPARED:
        if isinstance(first, kinds):
            return compare(first, second)
    return bool(first == second)


def _same_float(first: Any, second: Any) -> bool:
    if first != first:
        return second != second
    return bool(first == second and math.copysign(1, first) == math.copysign(1, second))


def _same_complex(first: Any, second: Any) -> bool:
    return same(first.real, second.real) and same(first.imag, second.imag)


def _same_list(first: Any, second: Any) -> bool:
    return len(first) == len(second) and all(map(same, first, second))


def _same_dict(first: Any, second: Any) -> bool:
    return _same_list(list(first.items()), list(second.items()))


def _same_set(first: Any, second: Any) -> bool:
    return len(first) == len(second) and all(any(same(a, b) for b in second) for a in first)


def _same_dtype(first: Any, second: Any) -> bool:
    return (first.str, first.char, first.type, first.isalignedstruct, repr(first)) == (
        (second.str, second.char, second.type, second.isalignedstruct, repr(second))
    )


def _same_array(first: Any, second: Any) -> bool:
    if first.shape != second.shape or not same(first.dtype, second.dtype):
        return False
    if first.ndim and first.size and first.flags.fnc != second.flags.fnc:
        return False
    if first.dtype.hasobject:
        return _same_list(list(first.flat), list(second.flat))
    if first.dtype.names is not None:  # what is between the fields is not theirs
        return all(_same_array(first[name], second[name]) for name in first.dtype.names)
    return bool(first.tobytes() == second.tobytes())


def _same_masked_array(first: Any, second: Any) -> bool:
    if first is np.ma.masked:
        return second is first
    return (
        _same_array(first.filled(), second.filled())
        and np.array_equal(np.ma.getmaskarray(first), np.ma.getmaskarray(second))
        and (first.mask is np.ma.nomask) == (second.mask is np.ma.nomask)
        and str(first.fill_value) == str(second.fill_value)
        and first.hardmask == second.hardmask
    )


def _same_info(first: Any, second: Any) -> bool:
    return all(same(getattr(first.info, each), getattr(second.info, each)) for each in INFO)


def _same_quantity(first: Any, second: Any) -> bool:
    return (
        same(first.unit, second.unit)
        and first.unit.to_string() == second.unit.to_string()
        and _same_array(first.view(np.ndarray), second.view(np.ndarray))
        and same(getattr(first, "wrap_angle", None), getattr(second, "wrap_angle", None))
        and getattr(first, "ellipsoid", None) == getattr(second, "ellipsoid", None)
        and _same_info(first, second)
    )


def _same_astropy_masked(first: Any, second: Any) -> bool:
    return same(first.unmasked, second.unmasked) and same(first.mask, second.mask)


def _same_time(first: Any, second: Any) -> bool:
    names = ("scale", "format", "precision", "in_subfmt", "out_subfmt", "location")
    deltas = ("_delta_ut1_utc", "_delta_tdb_tt")
    return (
        all(same(getattr(first, name, None), getattr(second, name, None)) for name in names)
        and all(str(getattr(first, d, None)) == str(getattr(second, d, None)) for d in deltas)
        and np.array_equal(first.mask, second.mask)
        and bool(np.all((first.jd1 == second.jd1) | first.mask))
        and bool(np.all((first.jd2 == second.jd2) | first.mask))
        and _same_info(first, second)
    )


def _same_representation(first: Any, second: Any) -> bool:
    return all(same(getattr(first, c), getattr(second, c)) for c in first.components) and same(
        getattr(first, "differentials", {}), getattr(second, "differentials", {})
    )


def _same_frame(first: Any, second: Any) -> bool:
    return (
        first.has_data == second.has_data
        and (not first.has_data or same(first.data, second.data))
        and first.get_representation_cls(None) == second.get_representation_cls(None)
        and all(same(getattr(first, n), getattr(second, n)) for n in first.frame_attributes)
    )


def _same_skycoord(first: Any, second: Any) -> bool:
    return (
        same(first.frame, second.frame)
        and same(first._extra_frameattr_names, second._extra_frameattr_names)
        and all(same(getattr(first, n), getattr(second, n)) for n in first._extra_frameattr_names)
        and _same_info(first, second)
    )


def _same_column(first: Any, second: Any) -> bool:
    names = (*INFO, "unit")
    return same(first.data, second.data) and all(
        same(getattr(first, name), getattr(second, name)) for name in names
    )


def _same_table(first: Any, second: Any) -> bool:
    return (
        first.colnames == second.colnames
        and first.masked == second.masked
        and same(first.meta, second.meta)
        and all(same(first[name], second[name]) for name in first.colnames)
    )


def _same_header(first: Any, second: Any) -> bool:
    cards = [[list(card) for card in header.cards] for header in (first, second)]
    return same(*cards)


COMPARED: tuple[tuple[Any, Callable[[Any, Any], bool]], ...] = (
    (Table, _same_table),
    ((Column, MaskedColumn), _same_column),
    (SkyCoord, _same_skycoord),
    (BaseCoordinateFrame, _same_frame),
    (BaseRepresentationOrDifferential, _same_representation),
    ((Time, TimeDelta), _same_time),
    (Masked, _same_astropy_masked),
    ((Quantity, EarthLocation), _same_quantity),
    (np.ma.MaskedArray, _same_masked_array),
    (np.ndarray, _same_array),
    (np.dtype, _same_dtype),
    (np.void, lambda first, second: _same_array(np.asarray(first), np.asarray(second))),
    (float, _same_float),
    ((complex, np.complexfloating), _same_complex),
    ((np.floating, np.datetime64, np.timedelta64), lambda a, b: str(a) == str(b)),
    (Decimal, lambda first, second: str(first) == str(second)),
    (fits.Header, _same_header),
    (dict, _same_dict),
    ((list, tuple), _same_list),
    ((set, frozenset), _same_set),
)
