"""The codecs for numbers with units, and for astropy's arrays with a mask.

Owns `astropy.units.Quantity` and its subclasses, such as angles, and the ``info`` that a table
keeps of a column that is not a `Column`. The units themselves are in `bigpipe.encoding.units`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of
from bigpipe.encoding.units import checked_unit

__all__ = ["angle_codecs", "described", "masked_codecs", "noted", "quantity_codecs"]

_NOTES = ("name", "description", "format", "meta")


def quantity_codecs() -> Iterable[Codec]:
    """Return the codecs for quantities of any unit."""
    from astropy.units import Decibel, Dex, Magnitude, Quantity

    yield _plain(Quantity)
    yield _plain(Magnitude)
    yield _plain(Dex)
    yield _plain(Decibel)


def angle_codecs() -> Iterable[Codec]:
    """Return the codecs for the quantities of `astropy.coordinates`."""
    from astropy.coordinates import Angle, Distance, Latitude, Longitude

    yield _plain(Angle)
    yield _plain(Latitude)
    yield _plain(Distance, allow_negative=True)
    yield Codec(Longitude, "Longitude", _longitude_parts, _longitude)


def masked_codecs() -> Iterable[Codec]:
    """Return the codecs for arrays and quantities with a mask of astropy's kind."""
    import numpy as np
    from astropy.utils.masked import Masked

    kinds = [codec.kind for codecs in (quantity_codecs(), angle_codecs()) for codec in codecs]
    for kind in (np.ndarray, *kinds):
        yield Codec(Masked(kind), f"Masked{kind.__name__}", _masked_parts, partial(_masked, kind))


def described(value: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Return parts, with the notes that a table or a user put into the value's ``info``."""
    if value.__dict__.get("info") is not None:
        notes = {name: getattr(value.info, name) for name in _NOTES}
        notes = {name: note for name, note in notes.items() if note is not None and note != {}}
        if notes:
            parts["info"] = notes
    return parts


def noted(value: Any, fields: dict[str, Any]) -> Any:
    """Return a value that was put together, with the notes that `described` found."""
    for name, note in fields_of(fields.get("info", {}), set(), set(_NOTES)).items():
        setattr(value.info, name, note)
    return value


def _plain(kind: Any, **options: Any) -> Codec:
    return Codec(kind, kind.__name__, _quantity_parts, partial(_quantity, kind, options))


def _quantity(kind: Any, options: dict[str, Any], parts: Any) -> Any:
    fields = fields_of(parts, {"value", "unit"}, {"info"})
    value, unit = _value_and_unit(fields)
    return noted(kind(value, unit=unit, dtype=value.dtype, **options), fields)


def _quantity_parts(value: Any) -> dict[str, Any]:
    import numpy as np

    return described(value, {"value": _numbers(value.view(np.ndarray)), "unit": value.unit})


def _value_and_unit(fields: dict[str, Any]) -> tuple[Any, Any]:
    return _numbers(fields["value"]), checked_unit(fields["unit"])


def _numbers(part: Any) -> Any:
    """Return a part if it is an array of numbers: text in it would be parsed."""
    import numpy as np

    if type(part) is not np.ndarray or part.dtype.kind not in "buifcV":
        raise ValueError("a quantity needs an array of numbers")
    return part


def _longitude_parts(value: Any) -> dict[str, Any]:
    return {**_quantity_parts(value), "wrap_angle": value.wrap_angle}


def _longitude(parts: Any) -> Any:
    from astropy.coordinates import Angle, Longitude

    fields = fields_of(parts, {"value", "unit", "wrap_angle"}, {"info"})
    value, unit = _value_and_unit(fields)
    wrap_angle = checked(fields["wrap_angle"], Angle)
    if wrap_angle.shape:
        raise ValueError("a longitude needs a single wrap angle")
    return noted(Longitude(value, unit=unit, wrap_angle=wrap_angle, dtype=value.dtype), fields)


def _masked_parts(value: Any) -> dict[str, Any]:
    return described(value, {"unmasked": value.unmasked, "mask": value.mask})


def _masked(kind: Any, parts: Any) -> Any:
    import numpy as np
    from astropy.utils.masked import Masked

    fields = fields_of(parts, {"unmasked", "mask"}, {"info"})
    unmasked, mask = fields["unmasked"], fields["mask"]
    if type(unmasked) is not kind or np.shape(mask) != unmasked.shape:
        raise ValueError("an array and a mask of the same shape are needed")
    return noted(Masked(unmasked, mask=mask), fields)
