"""Values as text and back, without ever running code: what a journal keeps of a file's metadata.

`encode` makes strict JSON of a value, `decode` the value of the JSON, equal and of the same type.
A text may come from somebody else. It can only name the types below, each of which has a function
of its own here that builds it from parts that were checked; nothing is unpickled, evaluated,
imported or looked up because a text says so.

=========================== ====================================================================
module                      types
=========================== ====================================================================
built in                    ``None``, ``bool``, ``int``, ``float``, ``complex``, ``str``, ``bytes``,
                            ``bytearray``, ``list``, ``tuple``, ``dict``, ``set``, ``frozenset``,
                            ``range``, ``slice``
`collections`               ``OrderedDict``, ``Counter``, ``defaultdict`` (of a built-in type)
`datetime`, `zoneinfo`      ``datetime``, ``date``, ``time``, ``timedelta``, ``timezone``,
                            ``ZoneInfo``
`decimal`, `fractions`      ``Decimal``, ``Fraction``
`pathlib`, `uuid`           the kinds of path, ``UUID``
numpy                       scalars, dtypes, ``ndarray`` (of objects: one by one), ``recarray``,
                            ``MaskedArray``, ``ma.masked``
astropy.units               units, ``Quantity``, ``Magnitude``, ``Dex``, ``Decibel``
astropy.coordinates         ``Angle``, ``Longitude``, ``Latitude``, ``Distance``, ``EarthLocation``,
                            ``SkyCoord``, the frames and representations
astropy.time                ``Time``, ``TimeDelta``
astropy.table               ``Table``, ``QTable``, ``Column``, ``MaskedColumn``
astropy.utils.masked        ``Masked`` arrays and quantities
astropy.io.fits             ``Header``
=========================== ====================================================================

Types count exactly: a subclass that is not listed has no safe form, as its class would have to be
found by name. Not kept: that two parts of a value are one object, whether an array can be written
to, the metadata of a dtype, a table's indices.

Owns the form of the text. Which values are kept, and where, is `bigpipe.journal`'s affair.
"""

from __future__ import annotations

from bigpipe.encoding.walk import decode, encode

__all__ = ["decode", "encode"]
