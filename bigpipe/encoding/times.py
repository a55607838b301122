"""The codecs for astropy's times: the two floats of each instant, and its format.

Owns `Time` and `TimeDelta`. Nothing is converted between scales in either direction, which might
download a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of
from bigpipe.encoding.quantities import described, noted

__all__ = ["codecs"]

_SHOWN = {"format", "precision", "in_subfmt", "out_subfmt"}
# Set only if they were given or needed for a conversion; reading the property would look them up.
_DELTAS = {"_delta_ut1_utc", "_delta_tdb_tt"}


def codecs() -> Iterable[Codec]:
    """Return the codecs for times."""
    from astropy.time import Time, TimeDelta

    for kind in (Time, TimeDelta):
        yield Codec(kind, kind.__name__, _parts, partial(_time, kind))


def _parts(value: Any) -> dict[str, Any]:
    parts = {"jd1": value._time.jd1, "jd2": value._time.jd2, "scale": value.scale}
    parts |= {name: getattr(value, name) for name in sorted(_SHOWN)}
    deltas = {name: getattr(value, name, None) for name in sorted(_DELTAS)}
    parts |= {name: delta for name, delta in deltas.items() if delta is not None}
    if getattr(value, "location", None) is not None:
        parts["location"] = value.location
    return described(value, parts)


def _time(kind: Any, parts: Any) -> Any:
    fields = fields_of(parts, {"jd1", "jd2", "scale", *_SHOWN}, {*_DELTAS, "location", "info"})
    jd1, jd2 = _days(fields["jd1"]), _days(fields["jd2"])
    if jd1.shape != jd2.shape:
        raise ValueError("the two parts of a time have different shapes")
    options = {}
    if "location" in fields:
        from astropy.coordinates import EarthLocation

        options["location"] = checked(fields["location"], EarthLocation)
    time = kind(jd1, jd2, format="jd", scale=fields["scale"], **options)
    time.format = checked(fields["format"], str)
    for name in ("precision", "in_subfmt", "out_subfmt"):
        setattr(time, name, fields[name])
    for name in _DELTAS & fields.keys():
        setattr(time, name, _days(fields[name]))
    return noted(time, fields)


def _days(part: Any) -> Any:
    import numpy as np
    from astropy.utils.masked import Masked

    if type(part) not in (np.ndarray, np.float64, Masked(np.ndarray)) or part.dtype.kind != "f":
        raise ValueError("a time needs floats")
    return part
