"""The codecs for astropy's coordinates: representations, frames, and objects made of them.

Owns the types of `astropy.coordinates` except angles and distances, which are quantities. A frame
is put together without any transformation, which might download a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of, instance_of
from bigpipe.encoding.quantities import angle_codecs, described, noted

__all__ = ["codecs"]


def codecs() -> Iterable[Codec]:
    """Return the codecs for coordinates."""
    from astropy import coordinates

    yield from angle_codecs()
    yield Codec(coordinates.EarthLocation, "EarthLocation", _location_parts, _location)
    for name, kind in _public(coordinates.BaseRepresentationOrDifferential).items():
        if hasattr(kind, "attr_classes"):
            yield Codec(kind, name, _representation_parts, partial(_representation, kind))
    for name, kind in _public(coordinates.BaseCoordinateFrame).items():
        yield Codec(kind, name, _frame_parts, partial(_frame, kind))
    yield Codec(coordinates.SkyCoord, "SkyCoord", _skycoord_parts, _skycoord)


@cache
def _public(base: type) -> dict[str, Any]:
    """Return the subclasses of ``base`` that `astropy.coordinates` exports, by name."""
    from astropy import coordinates

    return {
        name: kind
        for name, kind in vars(coordinates).items()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__name__ == name
    }


def _location_parts(value: Any) -> dict[str, Any]:
    return described(
        value, {"x": value.x, "y": value.y, "z": value.z, "ellipsoid": value.ellipsoid}
    )


def _location(parts: Any) -> Any:
    from astropy.coordinates import EarthLocation

    fields = fields_of(parts, {"x", "y", "z", "ellipsoid"}, {"info"})
    location = EarthLocation.from_geocentric(**_quantities(fields, ("x", "y", "z")))
    location.ellipsoid = checked(fields["ellipsoid"], str)
    return noted(location, fields)


def _quantities(fields: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return those fields, which must be quantities of one shape."""
    from astropy.units import Quantity

    found = {name: instance_of(fields[name], Quantity) for name in names}
    if len({each.shape for each in found.values()}) > 1:
        raise ValueError("the coordinates have different shapes")
    return found


def _representation_parts(value: Any) -> dict[str, Any]:
    parts = {name: getattr(value, name) for name in value.components}
    if getattr(value, "differentials", None):
        parts["differentials"] = dict(value.differentials)
    return described(value, parts)


def _representation(kind: Any, parts: Any) -> Any:
    from astropy.coordinates import BaseDifferential

    names = set(kind.attr_classes)
    fields = fields_of(parts, names, {"differentials", "info"})
    options = {}
    if "differentials" in fields:
        differentials = checked(fields["differentials"], dict)
        options["differentials"] = {
            name: instance_of(each, BaseDifferential) for name, each in differentials.items()
        }
    return noted(kind(**_quantities(fields, kind.attr_classes), **options), fields)


def _frame_parts(value: Any) -> dict[str, Any]:
    attributes = {
        name: getattr(value, name)
        for name in sorted(value.frame_attributes)
        if not value.is_frame_attr_default(name)
    }
    representations = {
        part: None if kind is None else kind.__name__
        for part, kind in value.get_representation_cls(None).items()
    }
    parts = {
        "attributes": attributes,
        "representations": representations,
        "data": value.data if value.has_data else None,
    }
    return described(value, parts)


def _frame(kind: Any, parts: Any) -> Any:
    from astropy.coordinates import BaseDifferential, BaseRepresentation

    fields = fields_of(parts, {"attributes", "representations", "data"}, {"info"})
    attributes = checked(fields["attributes"], dict)
    for name, value in attributes.items():
        _check_attribute(kind.frame_attributes[name], value)
    data = fields["data"]
    arguments = [] if data is None else [instance_of(data, BaseRepresentation)]
    chosen = fields_of(fields["representations"], {"base"}, {"s"})
    options = {"representation_type": _public(BaseRepresentation)[chosen["base"]]}
    if chosen.get("s") is not None:
        options["differential_type"] = _public(BaseDifferential)[chosen["s"]]
    return noted(kind(*arguments, **attributes, **options), fields)


def _check_attribute(attribute: Any, value: Any) -> None:
    """Refuse a value for an attribute of a frame that would have to be transformed or parsed."""
    from astropy import coordinates
    from astropy.time import Time
    from astropy.units import Quantity

    if value is None:
        return
    if isinstance(attribute, coordinates.EarthLocationAttribute):
        checked(value, coordinates.EarthLocation)
    elif isinstance(attribute, coordinates.CoordinateAttribute):
        checked(value, coordinates.ICRS)
    elif not isinstance(value, Time | Quantity | coordinates.BaseRepresentationOrDifferential):
        raise ValueError(f"{type(value).__name__} is not a type for an attribute of a frame")


def _skycoord_parts(value: Any) -> dict[str, Any]:
    from astropy.coordinates import frame_transform_graph

    names = sorted(frame_transform_graph.frame_attributes.keys() - value.frame.frame_attributes)
    extra = {name: getattr(value, name, None) for name in names}
    extra = {name: each for name, each in extra.items() if each is not None}
    return described(value, {"frame": value.frame, "extra": extra})


def _skycoord(parts: Any) -> Any:
    from astropy.coordinates import BaseCoordinateFrame, SkyCoord, frame_transform_graph

    fields = fields_of(parts, {"frame", "extra"}, {"info"})
    coord = SkyCoord(instance_of(fields["frame"], BaseCoordinateFrame))
    for name, value in checked(fields["extra"], dict).items():
        _check_attribute(frame_transform_graph.frame_attributes[name], value)
        setattr(coord, name, value)
    return noted(coord, fields)
