"""The codecs for numpy: arrays as their bytes, or object by object; scalars and dtypes.

Owns the rule that an array's text must hold as many bytes as its shape and dtype claim, so that no
text makes an array larger than itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import numpy.ma as ma

from bigpipe.encoding.codec import Codec, bytes_of, checked, fields_of, items_of, text_of_bytes

__all__ = ["array_of", "codecs"]

MAX_EMPTY = 2**20  # elements or bytes of one element, of an array without bytes; arbitrary

# As numpy writes them: byte order, kind, size, and the unit of a time. After a colon comes what
# distinguishes types of the same size.
_CODE = re.compile(r"([<>|][?biufcmMSUVO]\d*(\[\d*\w+(?:/\d+)?\])?)(:[a-zA-Z]\d*)?")
_DTYPE_FIELDS = {"names", "formats", "offsets", "titles", "itemsize", "aligned", "record"}
_NUMBERS: dict[type, tuple[str, ...]] = {
    bool: ("bool_",),
    int: ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    float: ("float16", "float32", "float64"),
    complex: ("complex64", "complex128"),
}
_DTYPE_TYPES = {type(np.dtype(code)) for code in np.typecodes["All"]}


def codecs() -> Iterable[Codec]:
    """Return the codecs for numpy."""
    # Of the same name: a file may be gone when the text is read, so its elements are kept.
    yield Codec(np.memmap, "array", _array_parts, array_of)
    yield Codec(np.ndarray, "array", _array_parts, array_of)
    yield Codec(
        np.recarray, "recarray", _plain_array, lambda parts: _array(parts).view(np.recarray)
    )
    yield Codec(ma.MaskedArray, "MaskedArray", _masked_parts, _masked)
    yield Codec(type(ma.masked), "masked", lambda value: None, lambda parts: ma.masked)
    for kind in _DTYPE_TYPES:
        yield Codec(kind, "dtype", _dtype_parts, _dtype)
    yield from _scalars()


def _scalars() -> Iterable[Codec]:
    for code in np.typecodes["All"]:  # the common ones have better forms, below
        if code != "O":
            yield Codec(np.dtype(code).type, "scalar", _scalar_parts, _scalar)
    yield Codec(np.record, "scalar", _scalar_parts, _scalar)
    # Not as bytes of an array, which would lose trailing zeros.
    yield Codec(np.str_, "str", "".join, lambda parts: np.str_(checked(parts, str)))
    yield Codec(np.bytes_, "bytes", bytes, lambda parts: np.bytes_(checked(parts, bytes)))
    for plain, names in _NUMBERS.items():
        for name in names:
            kind = getattr(np, name)
            yield Codec(kind, name.rstrip("_"), plain, partial(_number, kind, plain))


def _number(kind: Any, plain: type, parts: Any) -> Any:
    number = kind(checked(parts, plain))
    if plain is int and int(number) != parts:
        raise ValueError(f"{parts} is not a {kind.__name__}")  # older numpy wraps around
    return number


def _scalar_parts(value: Any) -> list[Any]:
    return [
        _dtype_parts(value.dtype),
        text_of_bytes(_without_gaps(np.asarray(value), "C").tobytes()),
    ]


def _scalar(parts: Any) -> Any:
    dtype, data = items_of(parts, 2)
    return array_of([dtype, [], "C", data])[()]


def _array_parts(value: Any) -> list[Any]:
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    dtype = value.dtype
    _check_extent(dtype, value.shape)
    if dtype.kind == "O":
        data: Any = list(value.flat)
    else:
        data = text_of_bytes(_without_gaps(value, order).tobytes(order))
    return [_dtype_parts(dtype), list(value.shape), order, data]


def _without_gaps(value: Any, order: Any) -> Any:
    """Return an array with zeros in the gaps between its fields, which may hold anything."""
    if value.dtype.names is None:
        return value
    clean = np.zeros(value.shape, value.dtype, order)
    clean[...] = value
    return clean


def array_of(parts: Any) -> Any:
    """Return the array that parts from a text describe."""
    code, sizes, order, data = items_of(parts, 4)
    dtype = _dtype(code)
    shape = tuple(checked(size, int) for size in checked(sizes, list))
    if order not in ("C", "F") or min(shape, default=0) < 0 or dtype.subdtype is not None:
        raise ValueError("this is not an array")
    _check_extent(dtype, shape)
    if dtype.kind == "O":
        items = items_of(data, math.prod(shape))
        array = np.empty(shape, dtype, order=order)
        for index, item in zip(np.ndindex(*shape), items, strict=True):
            array[index] = item
        return array
    buffer = bytes_of(data)
    if len(buffer) != math.prod(shape) * dtype.itemsize or dtype.hasobject:
        raise ValueError("an array has not as many bytes of data as its shape and dtype need")
    return np.ndarray(shape, dtype, buffer=buffer, order=order).copy(order="K")


def _check_extent(dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array of no bytes that claims many elements, or very large ones."""
    count = math.prod(shape)
    if count * dtype.itemsize == 0 and max(count, dtype.itemsize) > MAX_EMPTY:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has no bytes")


def _plain_array(value: Any) -> Any:
    return value.view(np.ndarray)


def _array(parts: Any) -> Any:
    array: Any = parts
    if type(array) is not np.ndarray:
        raise ValueError("an array is needed")
    return array


def _masked_parts(value: Any) -> dict[str, Any]:
    if value.baseclass is not np.ndarray:
        raise ValueError(f"the data under its mask are a {value.baseclass.__name__}")
    mask = ma.getmask(value)
    # The default may be longer than an element, so it could not be set explicitly.
    is_default = str(value.fill_value) == str(ma.default_fill_value(value.dtype))
    return {
        "data": value.data,
        "mask": None if mask is ma.nomask else mask,
        "fill_value": None if is_default else value.fill_value,
        "hard": bool(value.hardmask),
    }


def _masked(parts: Any) -> Any:
    fields = fields_of(parts, {"data", "mask", "fill_value", "hard"})
    data, mask = _array(fields["data"]), fields["mask"]
    if mask is not None and _array(mask).shape != data.shape:
        raise ValueError("a mask and its data have different shapes")
    masked: Any = ma.MaskedArray(data, ma.nomask if mask is None else mask, copy=False)
    if fields["fill_value"] is not None:
        masked.fill_value = fields["fill_value"]
    if checked(fields["hard"], bool):
        masked.harden_mask()
    return masked


def _dtype_parts(dtype: Any) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_dtype_parts(base), list(shape)]
    if dtype.names is None:
        return _code(dtype)
    if dtype.hasobject:
        raise ValueError("its fields contain objects")
    fields = [dtype.fields[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [_dtype_parts(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": [field[2] if len(field) > 2 else None for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
        "record": dtype.type is np.record,
    }


def _code(dtype: Any) -> str:
    if type(dtype) not in _DTYPE_TYPES or dtype.type is np.record:
        raise ValueError(f"dtype {dtype} is not one of numpy's own")
    code: str = dtype.str
    if dtype.char in "gG":  # a type of 16 bytes differs between machines
        return f"{code}:{dtype.char}{np.finfo(dtype).nmant}"
    return code if np.dtype(code).char == dtype.char else f"{code}:{dtype.char}"


def _dtype(parts: Any) -> Any:
    if type(parts) is str:
        return _plain_dtype(parts)
    if type(parts) is list:
        base, sizes = items_of(parts, 2)
        return np.dtype((_dtype(base), tuple(checked(size, int) for size in checked(sizes, list))))
    fields = dict(fields_of(parts, _DTYPE_FIELDS))
    record = fields.pop("record")
    fields["formats"] = [_dtype(each) for each in checked(fields["formats"], list)]
    aligned = fields.pop("aligned")
    titles = [None if each is None else checked(each, str) for each in fields.pop("titles")]
    if any(titles):
        fields["titles"] = titles
    dtype: Any = np.dtype(cast(Any, fields), align=checked(aligned, bool))
    if dtype.hasobject:
        raise ValueError("a dtype's fields contain objects")
    return np.dtype((np.record, dtype)) if record else dtype


def _plain_dtype(text: str) -> Any:
    match = _CODE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a dtype")
    code = match[1]
    dtype = np.dtype(code)
    if match[3]:
        dtype = np.dtype(match[3][1])
    if dtype.str != code:
        dtype = dtype.newbyteorder(cast(Literal["<", ">", "|"], code[0]))
    if _code(dtype) != text:
        raise ValueError(f"this machine has no dtype {text!r}")
    return dtype
