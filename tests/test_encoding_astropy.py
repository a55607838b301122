"""Units, times, coordinates, tables and headers of astropy, as text and back."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import (
    FK5,
    ICRS,
    AltAz,
    Angle,
    CartesianDifferential,
    CartesianRepresentation,
    Distance,
    EarthLocation,
    Galactocentric,
    Latitude,
    Longitude,
    SkyCoord,
    SkyOffsetFrame,
    SphericalRepresentation,
)
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time, TimeDelta
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked

from bigpipe.encoding import decode, encode
from bigpipe.errors import EncodingError, UnsafeValueError
from tests.same import same

SITE = EarthLocation.from_geodetic(-121.6 * u.deg, 37.3 * u.deg, 1283 * u.m)
NIGHT = Time("2024-05-01T05:06:07.123456789", location=SITE)

UNITS = {
    "named": u.m,
    "with prefix": u.km,
    "composite": u.erg / u.s / u.cm**2 / u.AA,
    "of no short scale": u.Unit(u.m / 3),
    "of a fractional power": u.m ** (1 / 3),
    "dimensionless": u.dimensionless_unscaled,
    "percent": u.percent,
    "per pixel": u.electron / u.pix,
    "imperial": u.imperial.inch / u.s,
    "cgs": u.cgs.statA,
    "magnitude": u.mag,
    "AB magnitude": u.ABmag,
    "instrumental magnitude": u.mag(u.ct / u.s),
    "dex": u.dex(u.cm / u.s**2),
    "decibel": u.dB(u.mW),
    "structured": u.StructuredUnit((u.m, (u.s, u.kg)), names=("a", ["b", ("c", "d")])),
    "unknown": u.Unit("frobs", parse_strict="silent"),
}

QUANTITIES = {
    "scalar": 1.5 * u.m,
    "array": [1.0, np.nan] * u.Jy,
    "of integers": u.Quantity([1, 2], u.adu, dtype="u2"),
    "of float32": u.Quantity(np.ones((2, 3), "f4"), u.K),
    "swapped": u.Quantity(np.ones(2, ">f4"), u.K),
    "in Fortran order": u.Quantity(np.ones((2, 3), order="F"), u.K),
    "complex": u.Quantity(1j, u.V),
    "without elements": [] * u.m,
    "structured": u.Quantity((1.0, 2.0), u.StructuredUnit((u.m, u.s), names=("p", "v"))),
    "magnitude": 3 * u.mag,
    "Magnitude": u.Magnitude([3, 4] * u.ABmag),
    "Dex": u.Dex(4.4, u.dex(u.cm / u.s**2)),
    "Decibel": 3 * u.dB(u.mW),
    "Angle": Angle("3h4m5s"),
    "Longitude": Longitude([350, -10] * u.deg),
    "Longitude around zero": Longitude(-10 * u.deg, wrap_angle=180 * u.deg),
    "Latitude": Latitude(-90 * u.deg),
    "Distance": Distance([1, 2] * u.kpc),
    "negative Distance": Distance(-1 * u.kpc, allow_negative=True),
    "masked": Masked([1.0, 2.0] * u.m, mask=[True, False]),
    "masked angle": Masked(Angle([1.0, 2.0] * u.deg), mask=[True, False]),
    "masked array": Masked(np.arange(3), mask=[True, False, False]),
}


def masked_time():
    times = Time(["2024-05-01", "2024-05-02"], location=SITE)
    times[0] = np.ma.masked
    return times


def time_with_delta():
    time = Time("2024-05-01", scale="utc")
    time.delta_ut1_utc = 0.1
    return time


TIMES = {
    "with location": NIGHT,
    "array": Time([[60000.1, 60000.2], [6e4, np.pi]], format="mjd", scale="tdb"),
    "of two floats": Time(2460000.5, 1e-12, format="jd"),
    "of precision": Time("2024-05-01", precision=9, out_subfmt="date"),
    "in years": Time(2024.5, format="decimalyear", scale="tt"),
    "local": Time("2024-05-01", scale="local"),
    "without elements": Time([], format="mjd"),
    "masked": masked_time(),
    "with a known difference to ut1": time_with_delta(),
    "TimeDelta": TimeDelta([1, 2] * u.s),
    "TimeDelta of a scale": TimeDelta(0.1, scale="tai", format="jd"),
}


def motion():
    velocity = CartesianDifferential([1, 2, 3] * u.km / u.s)
    return CartesianRepresentation([1, 2, 3] * u.pc, differentials=velocity)


COORDINATES = {
    "location": SITE,
    "locations": EarthLocation([1, 2] * u.km, [1, 2] * u.km, [1, 2] * u.km),
    "representation": SphericalRepresentation(1 * u.rad, 2 * u.deg, 3 * u.kpc),
    "with differentials": motion(),
    "frame without data": FK5(equinox="J1975"),
    "frame": ICRS([1, 2] * u.deg, [3, 4] * u.deg),
    "Galactocentric": Galactocentric(motion()),
    "SkyCoord": SkyCoord(10.5 * u.deg, -20 * u.deg),
    "SkyCoord of hour angles": SkyCoord("1h2m3s", "+4d5m6s", frame="fk4", obstime="B1950"),
    "SkyCoord of motions": SkyCoord(
        [1, 2] * u.deg,
        [3, 4] * u.deg,
        distance=[5, 6] * u.pc,
        pm_ra_cosdec=[7, 8] * u.mas / u.yr,
        pm_dec=[9, 10] * u.mas / u.yr,
        radial_velocity=[11, 12] * u.km / u.s,
        equinox="J2015.5",
        obstime=NIGHT,
    ),
    "SkyCoord in Cartesian form": SkyCoord(
        u=1, v=2, w=3, unit="kpc", frame="galactic", representation_type="cartesian"
    ),
    "SkyCoord of Cartesian data": SkyCoord(ICRS(motion())),
    "SkyCoord above a horizon": SkyCoord(
        1 * u.deg, 2 * u.deg, frame=AltAz(obstime=NIGHT, location=SITE, pressure=900 * u.hPa)
    ),
}


def described_table():
    table = QTable(
        {
            "q": [1.0, 2.0] * u.m,
            "t": Time([1.0, 2.0], format="mjd"),
            "sky": SkyCoord([1, 2] * u.deg, [3, 4] * u.deg),
            "where": EarthLocation([1, 2] * u.km, [1, 2] * u.km, [1, 2] * u.km),
            "mq": Masked([1.0, 2.0] * u.s, mask=[False, True]),
            "m": MaskedColumn([1, 2], mask=[False, True], fill_value=-7),
            "o": Column([None, (1, 2)], dtype=object),
            "s": ["a", "bcd"],
            "v": np.zeros((2, 3), ">f4"),
        },
        meta={"comments": ["one", "two"], "nested": {"t": (1, 2)}},
    )
    table["q"].info.description = "a length"
    table["q"].info.format = ".2f"
    table["sky"].info.meta = {"from": "Gaia"}
    return table


def table_of_columns():
    table = Table(
        [
            Column([1, 2], "n", unit="adu", description="counts", format="%03d", meta={"a": (1,)}),
            Column([(1, 2.0), (3, 4.0)], "r", dtype=[("a", "i4"), ("b", "f8")]),
        ]
    )
    table.add_index("n")
    return table


TABLES = {
    "column": Column([1.0, 2.0], "x", unit=u.m, meta={"k": 1}),
    "column without name": Column([b"a"]),
    "masked column": MaskedColumn(["a", "b"], "x", mask=[True, False], unit=u.m),
    "table": table_of_columns(),
    "masked table": Table({"a": [1, 2]}, masked=True),
    "table of no columns": Table(meta={"a": 1}),
    "table of no rows": Table(names=["a", "b"], dtype=["f4", "U3"]),
    "table with masks": Table({"a": MaskedColumn([1, 2], mask=[True, False]), "b": [1, 2]}),
    "QTable": described_table(),
    "Table of mixed columns": Table(described_table()),
}


def usual_header():
    header = fits.PrimaryHDU(np.zeros((2, 3), "i2")).header
    header["OBJECT"] = ("M 13", "target")
    header["EXPTIME"] = (1.5e-3, "[s]")
    header["DARKCOR"] = True
    header["NOTHING"] = None
    header["HIERARCH ESO TEL ALT"] = 45.25
    header["LONG"] = "it's" + " it's" * 40
    header["DP1"] = "EXTVER: 1"
    header.add_comment("of the observer")
    header.add_history("bias subtracted")
    header[""] = "blank"
    return header


def odd_header():
    """Cards that are not as the standard has them, as some telescopes write them."""
    cards = ["AIRMASS =  1.20 / of old", "DATE-OBS= '2024-05-01", "badcard = x y z", "EXPOSURE=3"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        return fits.Header.fromstring("".join(f"{card:80}" for card in cards))


def header_of_python():
    """Values that a FITS file would not hold as they are."""
    header = usual_header()
    header["DIGITS"] = (-1.2345678901234567e-300, "more than fit")
    header["SCALAR"] = np.float32(0.1)
    header["LONGNOTE"] = (1, "a comment that does not fit on the card " * 3)
    return header


HEADERS = {
    "usual": usual_header(),
    "odd": odd_header(),
    "of values of python": header_of_python(),
    "empty": fits.Header(),
}


VALUES = {
    f"{kind}: {name}": value
    for kind, values in (
        *(("unit", UNITS), ("quantity", QUANTITIES)),
        *(("time", TIMES), ("coordinates", COORDINATES)),
    )
    for name, value in values.items()
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_value_comes_back_the_same(value):
    again = decode(encode({"key": [value, (value,)]}))
    assert same(again, {"key": [value, (value,)]})


@pytest.mark.parametrize("value", UNITS.values(), ids=UNITS)
def test_unit_comes_back_with_its_name(value):
    assert decode(encode(value)).to_string() == value.to_string()


def test_unit_that_has_a_name_comes_back_as_itself():
    assert decode(encode(u.km)) is u.km


@pytest.mark.parametrize("value", TABLES.values(), ids=TABLES)
def test_table_comes_back_the_same(value):
    again = decode(encode(value))
    assert same(again, value)
    assert encode(again) == encode(value)


@pytest.mark.parametrize("value", HEADERS.values(), ids=HEADERS)
def test_header_comes_back_the_same(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # whenever an odd card is looked at
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        before = str(value)
        again = decode(encode({"header": value}))["header"]
        assert str(again) == before
        assert [shown(card) for card in again.cards] == [shown(card) for card in value.cards]


def shown(card: fits.Card) -> list[object]:
    try:
        return [card.rawkeyword, repr(card.rawvalue), card.comment]
    except fits.VerifyError:
        return [card.image]


@pytest.mark.parametrize("header", [usual_header(), header_of_python()], ids=["usual", "python"])
def test_encoding_a_header_warns_of_nothing(header):
    decode(encode(header))


def test_notes_on_a_quantity_come_back():
    value = [1.0, 2.0] * u.m
    value.info.description = "a length"
    value.info.meta = {"from": ("Gaia",)}
    assert decode(encode(value)).info.description == "a length"
    assert decode(encode(value)).info.meta == {"from": ("Gaia",)}


def test_time_is_not_converted():
    """Asking a time how much it differs from ut1 would look that up, on the net if need be."""
    again = decode(encode(NIGHT))
    assert not hasattr(again, "_delta_ut1_utc")
    assert not hasattr(NIGHT, "_delta_ut1_utc")
    assert again.jd1 == NIGHT.jd1
    assert again.jd2 == NIGHT.jd2


class Length(u.SpecificTypeQuantity):
    _equivalent_unit = u.m


@pytest.mark.parametrize(
    "value",
    [
        u.def_unit("plop", 1.7 * u.m),
        u.def_unit("plop") * u.s,
        3 * u.def_unit("plop"),
        Length(1, u.m),
        u.Quantity(np.array([1, 2]), u.m, dtype=object),
        table_of_columns()[0],
        table_of_columns().loc,
        SkyCoord(1, 2, unit="deg", frame=SkyOffsetFrame(origin=ICRS(1 * u.deg, 2 * u.deg))),
        Table({"a": [1]}, meta={"f": len}),
        Table({"a": Column([1], format=len)}),
        fits.ImageHDU(),
        Time.now,
    ],
    ids=[
        *(
            "user's unit",
            "composite of it",
            "quantity of it",
            "user's quantity",
            "quantity of objects",
        ),
        *("row", "index"),
        *("offset frame", "meta", "format", "HDU", "method"),
    ],
)
def test_value_without_safe_form_is_refused(value):
    with pytest.raises(UnsafeValueError) as caught:
        encode({"a": value})
    assert caught.value.path[0] == "a"


def test_unsafe_value_in_a_table_is_named():
    with pytest.raises(UnsafeValueError) as caught:
        encode({"t": Table({"a": [1]}, meta={"fit": {"model": len}})})
    assert caught.value.path == ("t", "meta", "fit", "model")


ONE = '{"!numpy.array": ["<f8", [], "C", "AAAAAAAA8D8="]}'
TWO = '{"!numpy.array": ["<f8", [2], "C", "AAAAAAAA8D8AAAAAAADwPw=="]}'
WORDS = '{"!numpy.array": ["<U1", [1], "C", "YQAAAA=="]}'
METRE = '{"!astropy.units.unit": "m"}'
LENGTH = f'{{"!astropy.units.Quantity": {{"value": {ONE}, "unit": {METRE}}}}}'
LENGTHS = f'{{"!astropy.units.Quantity": {{"value": {TWO}, "unit": {METRE}}}}}'
TIME = (
    f'{{"!astropy.time.Time": {{"jd1": {ONE}, "jd2": {ONE}, "scale": "utc", "format": "jd", '
    '"precision": 3, "in_subfmt": "*", "out_subfmt": "*"}}'
)
ICRS_FRAME = encode(ICRS(1 * u.deg, 2 * u.deg))


def frame_text(name: str, attributes: str, data: str = "null") -> str:
    return (
        f'{{"!astropy.coordinates.{name}": {{"attributes": {attributes}, "representations": '
        f'{{"base": "SphericalRepresentation"}}, "data": {data}}}}}'
    )


HOSTILE = {
    "unit that is an expression": '{"!astropy.units.unit": "10**(10**10) m"}',
    "unit that is no text": '{"!astropy.units.unit": []}',
    "unit of an attribute": '{"!astropy.units.unit": "__builtins__"}',
    "unit of a large power": f'{{"!astropy.units.CompositeUnit": [1.0, [{METRE}], [1000000000]]}}',
    "unit of a text as base": '{"!astropy.units.CompositeUnit": [1.0, ["m"], [1]]}',
    "unit of a text as scale": f'{{"!astropy.units.CompositeUnit": ["9", [{METRE}], [1]]}}',
    "unit of too few powers": f'{{"!astropy.units.CompositeUnit": [1.0, [{METRE}], []]}}',
    "unit of a text in a function": '{"!astropy.units.MagUnit": ["10**10**10", "mag"]}',
    "unit of text in a structure": '{"!astropy.units.StructuredUnit": [["a"], ["m"]]}',
    "quantity as text": '{"!astropy.units.Quantity": "1 m"}',
    "quantity of a text": f'{{"!astropy.units.Quantity": {{"value": "1", "unit": {METRE}}}}}',
    "quantity of words": f'{{"!astropy.units.Quantity": {{"value": {WORDS}, "unit": {METRE}}}}}',
    "quantity of a unit as text": f'{{"!astropy.units.Quantity": {{"value": {ONE}, "unit": "m"}}}}',
    "angle of metres": LENGTH.replace("units.Quantity", "coordinates.Angle"),
    "notes on what there is none": LENGTH.replace("}}}", '}, "info": {"x": 1}}}'),
    "time of text": TIME.replace(ONE, '"2024"'),
    "time of words": TIME.replace(ONE, WORDS),
    "time of two shapes": TIME.replace(ONE, TWO, 1),
    "time of no scale": TIME.replace("utc", "etc"),
    "time of no format": TIME.replace('"format": "jd"', '"format": "__class__"'),
    "time at a place by name": TIME.replace('"precision"', '"location": "Greenwich", "precision"'),
    "time of a part too many": TIME.replace('"precision"', '"val": 1, "precision"'),
    "location of text": (
        '{"!astropy.coordinates.EarthLocation": '
        '{"x": "1", "y": "2", "z": "3", "ellipsoid": "WGS84"}}'
    ),
    "location of two shapes": (
        f'{{"!astropy.coordinates.EarthLocation": {{"x": {LENGTH}, "y": {LENGTHS}, '
        f'"z": {LENGTH}, "ellipsoid": "WGS84"}}}}'
    ),
    "representation of two shapes": (
        f'{{"!astropy.coordinates.CartesianRepresentation": {{"x": {LENGTH}, "y": {LENGTHS}, '
        f'"z": {LENGTH}}}}}'
    ),
    "frame at a place by name": frame_text("AltAz", '{"location": "Greenwich"}'),
    "frame at a place to be transformed": frame_text("AltAz", f'{{"location": {ICRS_FRAME}}}'),
    "frame at a time as text": frame_text("AltAz", '{"obstime": "J2000"}'),
    "frame of an unknown attribute": frame_text("ICRS", '{"data": 1}'),
    "frame of no data": frame_text("ICRS", "{}", '"1 2"'),
    "SkyCoord of text": '{"!astropy.coordinates.SkyCoord": {"frame": "1d 2d", "extra": {}}}',
    "SkyCoord by name": '{"!astropy.coordinates.SkyCoord": "M13"}',
    "SkyCoord of another attribute": (
        f'{{"!astropy.coordinates.SkyCoord": {{"frame": {ICRS_FRAME}, "extra": {{"info": 1}}}}}}'
    ),
    "frame of the user": frame_text("SkyOffsetFrame", "{}"),
    "column of a list": '{"!astropy.table.Column": {"data": [1, 2]}}',
    "column of a unit as text": f'{{"!astropy.table.Column": {{"data": {TWO}, "unit": "m"}}}}',
    "table of a file": '{"!astropy.table.Table": "/etc/passwd"}',
    "table of an array": (
        f'{{"!astropy.table.Table": {{"columns": [["a", {TWO}]], "meta": {{}}, "masked": false}}}}'
    ),
    "table of a scalar": (
        f'{{"!astropy.table.QTable": {{"columns": [["a", {LENGTH}]], "meta": {{}}, '
        '"masked": false}}'
    ),
    "mask of another shape": (
        f'{{"!astropy.utils.MaskedQuantity": {{"unmasked": {LENGTHS}, "mask": {ONE}}}}}'
    ),
    "masked of another kind": (
        f'{{"!astropy.utils.MaskedAngle": {{"unmasked": {LENGTH}, "mask": false}}}}'
    ),
    "header of a file": '{"!astropy.io.Header": "/etc/passwd"}',
    "header of numbers": '{"!astropy.io.Header": {"cards": [1, 2]}}',
    "header of objects": '{"!astropy.io.Header": {"cards": [["A", [1], ""]]}}',
    "another name": '{"!astropy.table.TableFormatter": {}}',
    "another module": '{"!astropy.config.set_temp_cache": {}}',
}


@pytest.mark.parametrize(
    "text",
    [METRE, LENGTH, LENGTHS, TIME, ICRS_FRAME, frame_text("AltAz", "{}")],
    ids=["unit", "quantity", "quantities", "time", "frame", "frame without data"],
)
def test_what_hostile_texts_are_made_of_is_good(text):
    decode(json.dumps(json.loads(text)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HOSTILE["quantity of words"], "array of numbers"),
        (HOSTILE["quantity of a unit as text"], "unit is needed"),
        (HOSTILE["unit of a text in a function"], "unit is needed"),
        (HOSTILE["frame at a place to be transformed"], "EarthLocation is needed"),
        (HOSTILE["frame at a time as text"], "str is not a type for an attribute"),
        (HOSTILE["time of words"], "needs floats"),
        (HOSTILE["time at a place by name"], "EarthLocation is needed"),
    ],
    ids=["words", "unit", "function unit", "frame", "time as text", "time", "place"],
)
def test_bad_part_is_refused_before_astropy_sees_it(text, reason):
    with pytest.raises(EncodingError, match=reason):
        decode(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_bad_text_is_refused(text):
    json.loads(text)
    with pytest.raises(EncodingError):
        decode(text)
