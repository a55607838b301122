"""The codecs for types that are built in or from the standard library.

Owns those types alone. `bigpipe.encoding.registry` decides when modules are imported: those of a
family when a value or a text first needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any

from bigpipe.encoding.codec import Codec, bytes_of, checked, items_of, text_of_bytes

__all__ = ["FAMILIES", "codecs"]

# No dots: a name leads to a file of the time zone database, or to nothing.
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_FACTORIES: dict[str, type] = {
    each.__name__: each for each in (bool, dict, float, int, list, set, str, tuple)
}


def codecs(family: str) -> Iterable[Codec]:
    """Return the codecs of a family, one of `FAMILIES`."""
    return FAMILIES[family]()


def _built_in() -> Iterable[Codec]:
    yield Codec(float, "float", repr, _float)
    yield Codec(int, "int", hex, lambda parts: int(checked(parts, str), 16))
    yield Codec(str, "str", _code_points, lambda parts: "".join(map(chr, checked(parts, list))))
    yield Codec(complex, "complex", lambda value: [value.real, value.imag], _complex)
    yield Codec(bytes, "bytes", text_of_bytes, bytes_of)
    yield Codec(bytearray, "bytearray", text_of_bytes, lambda parts: bytearray(bytes_of(parts)))
    yield Codec(range, "range", _bounds, lambda parts: range(*_ints(parts, 3)))
    yield Codec(slice, "slice", _bounds, lambda parts: slice(*items_of(parts, 3)))
    yield Codec(tuple, "tuple", list, lambda parts: tuple(checked(parts, list)))
    yield Codec(set, "set", list, lambda parts: set(checked(parts, list)))
    yield Codec(frozenset, "frozenset", list, lambda parts: frozenset(checked(parts, list)))
    yield Codec(dict, "dict", lambda value: [list(pair) for pair in value.items()], _dict)


def _float(parts: Any) -> float:
    if parts not in ("nan", "inf", "-inf"):
        raise ValueError("a finite float must be written as a number")
    return float(parts)


def _code_points(value: str) -> list[int]:
    return [ord(character) for character in value]


def _complex(parts: Any) -> complex:
    real, imag = items_of(parts, 2)
    return complex(checked(real, float), checked(imag, float))


def _bounds(value: range | slice) -> list[Any]:
    return [value.start, value.stop, value.step]


def _ints(parts: Any, count: int) -> list[int]:
    return [checked(part, int) for part in items_of(parts, count)]


def _dict(parts: Any) -> dict[Any, Any]:
    return dict(items_of(pair, 2) for pair in checked(parts, list))


def _collections() -> Iterable[Codec]:
    from collections import Counter, OrderedDict, defaultdict, deque

    yield Codec(deque, "deque", lambda value: [value.maxlen, list(value)], _deque)
    yield Codec(OrderedDict, "OrderedDict", dict, lambda parts: OrderedDict(checked(parts, dict)))
    yield Codec(Counter, "Counter", dict, lambda parts: Counter(checked(parts, dict)))
    yield Codec(defaultdict, "defaultdict", _defaultdict_parts, _defaultdict)


def _deque(parts: Any) -> Any:
    from collections import deque

    longest, members = items_of(parts, 2)
    return deque(checked(members, list), longest if longest is None else checked(longest, int))


def _defaultdict_parts(value: Any) -> list[Any]:
    factory = value.default_factory
    if factory is None:
        return [None, dict(value)]
    for name, known in _FACTORIES.items():
        if factory is known:
            return [name, dict(value)]
    raise ValueError("its default_factory is not a built-in type")


def _defaultdict(parts: Any) -> Any:
    from collections import defaultdict

    name, members = items_of(parts, 2)
    factory = None if name is None else _FACTORIES[checked(name, str)]
    return defaultdict(factory, checked(members, dict))


def _datetime() -> Iterable[Codec]:
    from datetime import date, datetime, time, timedelta, timezone

    day = ("year", "month", "day")
    clock = ("hour", "minute", "second", "microsecond", "tzinfo", "fold")
    span = ("days", "seconds", "microseconds")
    yield Codec(date, "date", _attributes(*day), lambda parts: date(*_ints(parts, 3)))
    yield Codec(
        datetime,
        "datetime",
        _attributes(*day, *clock),
        lambda parts: datetime(*items_of(parts, 9)[:8], fold=parts[8]),
    )
    yield Codec(
        time,
        "time",
        _attributes(*clock),
        lambda parts: time(*items_of(parts, 6)[:5], fold=parts[5]),
    )
    yield Codec(
        timedelta, "timedelta", _attributes(*span), lambda parts: timedelta(*_ints(parts, 3))
    )
    # The arguments that pickle uses: the offset, and the name if there is one.
    yield Codec(
        timezone,
        "timezone",
        lambda value: list(value.__getinitargs__()),
        lambda parts: timezone(*checked(parts, list)),
    )


def _attributes(*names: str) -> Callable[[Any], list[Any]]:
    get = attrgetter(*names)
    return lambda value: list(get(value))


def _zoneinfo() -> Iterable[Codec]:
    from zoneinfo import ZoneInfo

    yield Codec(ZoneInfo, "ZoneInfo", _zone_key, lambda parts: ZoneInfo(_zone_name(parts)))


def _zone_key(value: Any) -> str:
    return _zone_name(value.key)


def _zone_name(key: Any) -> str:
    if key is None or not _ZONE.fullmatch(checked(key, str)):
        raise ValueError(f"{key!r} is not the name of a time zone")
    return str(key)


def _decimal() -> Iterable[Codec]:
    from decimal import Decimal

    yield Codec(Decimal, "Decimal", str, lambda parts: Decimal(checked(parts, str)))


def _fractions() -> Iterable[Codec]:
    from fractions import Fraction

    both = _attributes("numerator", "denominator")
    yield Codec(Fraction, "Fraction", both, lambda parts: Fraction(*_ints(parts, 2)))


def _pathlib() -> Iterable[Codec]:
    import pathlib

    for kind in (
        *(pathlib.PurePosixPath, pathlib.PureWindowsPath),
        *(pathlib.PosixPath, pathlib.WindowsPath),
    ):
        yield Codec(kind, kind.__name__, str, partial(_path, kind))


def _path(kind: Any, parts: Any) -> Any:
    return kind(checked(parts, str))


def _uuid() -> Iterable[Codec]:
    from uuid import UUID

    yield Codec(UUID, "UUID", attrgetter("hex"), lambda parts: UUID(hex=checked(parts, str)))


FAMILIES: dict[str, Callable[[], Iterable[Codec]]] = {
    "": _built_in,
    "collections": _collections,
    "datetime": _datetime,
    "decimal": _decimal,
    "fractions": _fractions,
    "pathlib": _pathlib,
    "uuid": _uuid,
    "zoneinfo": _zoneinfo,
}
