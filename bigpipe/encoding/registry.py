"""Finds the codec of an exact type, or of a name in a text; loads codecs when first needed.

Owns the families: the codecs for one foreign module, which are loaded together. A type belongs to
the family of its module, which is already imported; a name in a text, to the family before its last
dot.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from bigpipe.encoding.codec import Codec

__all__ = ["codec_named", "codec_of"]

_FAMILIES = {
    *("", "collections", "datetime", "decimal", "fractions", "pathlib", "uuid", "zoneinfo"),
    *("numpy", "astropy.units", "astropy.utils", "astropy.coordinates", "astropy.time"),
    *("astropy.table", "astropy.io", "pandas"),
}

_loaded: set[str] = set()
_by_type: dict[type, tuple[str, Codec]] = {}
_by_name: dict[str, Codec] = {}


def codec_of(kind: type) -> tuple[str, Codec] | None:
    """Return the codec of exactly this type, with its full name."""
    found = _by_type.get(kind)
    if found is None:
        _load(_family_of(kind))
        found = _by_type.get(kind)
    return found


def codec_named(name: str) -> Codec | None:
    """Return the codec that a text names."""
    found = _by_name.get(name)
    if found is None:
        _load(name.rpartition(".")[0])
        found = _by_name.get(name)
    return found


def _family_of(kind: type) -> str:
    first, *others = str(kind.__module__).split(".")
    if first == "builtins":
        return ""
    return f"{first}.{others[0]}" if first == "astropy" and others else first


def _load(family: str) -> None:
    if family in _FAMILIES - _loaded:
        for codec in _codecs(family):
            name = f"{family}.{codec.name}" if family else codec.name
            _by_name[name] = codec
            _by_type[codec.kind] = (name, codec)
        _loaded.add(family)


def _codecs(family: str) -> Iterable[Codec]:
    if family == "numpy":
        from bigpipe.encoding import arrays

        return arrays.codecs()
    if family == "pandas":
        from bigpipe.encoding import pandas_tables, pandas_times

        return chain(pandas_times.codecs(), pandas_tables.codecs())
    if family.startswith("astropy."):
        return _astropy_codecs(family)
    from bigpipe.encoding import standard

    return standard.codecs(family)


def _astropy_codecs(family: str) -> Iterable[Codec]:
    from bigpipe.encoding import coordinates, headers, quantities, tables, times, units

    return {
        "astropy.coordinates": coordinates.codecs,
        "astropy.io": headers.codecs,
        "astropy.table": tables.codecs,
        "astropy.time": times.codecs,
        "astropy.units": lambda: chain(units.codecs(), quantities.quantity_codecs()),
        "astropy.utils": quantities.masked_codecs,
    }[family]()
