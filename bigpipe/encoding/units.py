"""The codecs for astropy's units: named units by name, others by what they are made of.

Owns the rule that no text is parsed as a unit: a name is looked up among the units that astropy
itself defines. Numbers with units are in `bigpipe.encoding.quantities`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache, partial
from operator import attrgetter
from typing import Any

from bigpipe.encoding.codec import Codec, checked, items_of

__all__ = ["checked_unit", "codecs"]

MAX_POWER = 1000  # of a unit within another; arbitrary, bounds the numbers that result


def codecs() -> Iterable[Codec]:
    """Return the codecs for units."""
    from astropy import units

    for kind in {type(unit) for unit in _named().values()}:
        yield Codec(kind, "unit", _name, lambda name: _named()[name])
    yield Codec(units.CompositeUnit, "CompositeUnit", _composite_parts, _composite)
    yield Codec(
        units.UnrecognizedUnit,
        "UnrecognizedUnit",
        attrgetter("name"),
        lambda name: units.UnrecognizedUnit(checked(name, str)),
    )
    for function in (units.MagUnit, units.DexUnit, units.DecibelUnit):
        yield Codec(
            function,
            function.__name__,
            lambda unit: [unit.physical_unit, unit.function_unit],
            partial(_function_unit, function),
        )
    yield Codec(
        units.StructuredUnit,
        "StructuredUnit",
        lambda unit: [list(unit.keys()), list(unit.values())],
        _structured,
    )


def checked_unit(part: Any) -> Any:
    """Return a part if it is a unit: text in its place would be parsed."""
    from astropy.units import StructuredUnit, UnitBase
    from astropy.units.function import FunctionUnitBase

    if not isinstance(part, UnitBase | FunctionUnitBase | StructuredUnit):
        raise ValueError(f"a unit is needed, not a {type(part).__name__}")
    return part


@cache
def _named() -> dict[str, Any]:
    """Map each name of a unit that astropy defines to the unit."""
    from astropy import units
    from astropy.units import cgs, imperial

    named: dict[str, Any] = {}
    for module in (units, cgs, imperial):
        for unit in vars(module).values():
            if isinstance(unit, units.NamedUnit):
                for name in unit.names:
                    named.setdefault(name, unit)
    return named


def _name(unit: Any) -> str:
    known = _named().get(unit.name)
    if known is None or type(known) is not type(unit) or known != unit:
        raise ValueError(f"{unit.name!r} is not a unit that astropy defines")
    return str(unit.name)


def _composite_parts(unit: Any) -> list[Any]:
    return [unit.scale, list(unit.bases), list(unit.powers)]


def _composite(parts: Any) -> Any:
    from astropy import units

    scale, bases, powers = items_of(parts, 3)
    if type(scale) not in (int, float, complex, Fraction):
        raise ValueError("the scale of a unit must be a number")
    for base, power in zip(checked(bases, list), checked(powers, list), strict=True):
        if not isinstance(base, units.NamedUnit) or type(power) not in (int, float, Fraction):
            raise ValueError("a unit must be made of named units and their powers")
        if not abs(power) <= MAX_POWER:
            raise ValueError(f"{power} is not a valid power of a unit")
    return units.CompositeUnit(scale, bases, powers)


def _function_unit(kind: Any, parts: Any) -> Any:
    physical_unit, function_unit = items_of(parts, 2)
    return kind(checked_unit(physical_unit), checked_unit(function_unit))


def _structured(parts: Any) -> Any:
    from astropy import units

    names, members = items_of(parts, 2)
    return units.StructuredUnit(
        tuple(checked_unit(member) for member in checked(members, list)),
        names=tuple(checked(name, str) for name in checked(names, list)),
    )
