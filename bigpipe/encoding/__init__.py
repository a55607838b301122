"""Values as text and back, without ever running code: how a journal keeps a file's metadata.

`encode` turns a value into strict JSON, and `decode` turns that into an equal value of the same
type. A text need not be trusted. It can only name the types below, and each of these is built by
its own function here from checked parts. Nothing is unpickled, evaluated, imported or looked up
because a text says so.

=========================== ====================================================================
module                      types
=========================== ====================================================================
built in                    ``None``, ``bool``, ``int``, ``float``, ``complex``, ``str``, ``bytes``,
                            ``bytearray``, ``list``, ``tuple``, ``dict``, ``set``, ``frozenset``,
                            ``range``, ``slice``
`collections`               ``OrderedDict``, ``Counter``, ``deque``, ``defaultdict`` (of a built-in
                            type)
`datetime`, `zoneinfo`      ``datetime``, ``date``, ``time``, ``timedelta``, ``timezone``,
                            ``ZoneInfo``
`decimal`, `fractions`      ``Decimal``, ``Fraction``
`pathlib`, `uuid`           the kinds of path, ``UUID``
numpy                       scalars, dtypes, ``ndarray`` (of objects: one by one), ``memmap`` (which
                            becomes an ``ndarray``), ``recarray``, ``MaskedArray``, ``ma.masked``
astropy.units               units, ``Quantity``, ``Magnitude``, ``Dex``, ``Decibel``
astropy.coordinates         ``Angle``, ``Longitude``, ``Latitude``, ``Distance``, ``EarthLocation``,
                            ``SkyCoord``, the frames and representations
astropy.time                ``Time``, ``TimeDelta``
astropy.table               ``Table``, ``QTable``, ``Column``, ``MaskedColumn``
astropy.utils.masked        ``Masked`` arrays and quantities
astropy.io.fits             ``Header``
pandas                      ``Timestamp``, ``Timedelta``, ``NaT``, ``NA``; ``DataFrame``,
                            ``Series`` and ``Index``, but not of periods, intervals or Arrow's types
=========================== ====================================================================

Types must match exactly: a subclass that is not listed has no safe form, because its class would
have to be found by name. Not kept are: whether two parts of a value are one object, whether an
array is writeable, the metadata of a dtype, and a table's indices.

Owns the format of the text. `bigpipe.journal` decides which values are kept, and where.
"""

from __future__ import annotations

from bigpipe.encoding.walk import decode, encode

__all__ = ["decode", "encode"]
