"""Common values of BUNIT are understood, or an error says that they are not."""

from __future__ import annotations

import pytest
from astropy import units as u

from bigpipe.fits.units import unit_of


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("adu", u.adu),
        ("ADU", u.adu),
        ("ADU/s", u.adu / u.s),
        ("COUNTS", u.ct),
        ("counts / pixel", u.ct / u.pix),
        ("Electrons", u.electron),
        ("e-", u.electron),
        ("e-/sec", u.electron / u.s),
        ("DN", u.Unit("DN")),
        ("Jy/beam", u.Jy / u.beam),
        ("MJy/sr", u.MJy / u.sr),
        ("erg/(s cm2)", u.erg / u.s / u.cm**2),
    ],
    ids=str,
)
def test_a_unit_is_understood_as_telescopes_write_it(text: str, unit: u.UnitBase) -> None:
    assert unit_of(text) == unit


@pytest.mark.parametrize("text", ["raw", "unknown", "3", "1.5", "electrons in all", "[]"])
def test_what_is_no_unit_is_none(text: str) -> None:
    assert unit_of(text) is None
