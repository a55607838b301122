"""Calibration frames are chosen by what must be the same, then by what is nearest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bigpipe.fits.headers import Kind
from bigpipe.fits.matching import FrameKeys, best_match, keys_of, name_of_master

LIGHT = FrameKeys(Kind.LIGHT, (10, 20), (1, 1), "V", 60.0, -20.0)


def test_keys_are_what_the_header_says() -> None:
    header = {"IMAGETYP": "Light Frame", "FILTER": "V", "EXPTIME": 60, "CCD-TEMP": -20}
    assert keys_of(header, (10, 20)) == LIGHT


@pytest.mark.parametrize("kind", ["bias", "dark", "flat"])
@pytest.mark.parametrize("other", [{"shape": (9, 20)}, {"binning": (2, 2)}], ids=str)
def test_shape_and_binning_must_be_the_same(kind: str, other: dict[str, Any]) -> None:
    assert best_match(kind, LIGHT, [replace(LIGHT, **other), LIGHT]) == 1
    assert best_match(kind, LIGHT, [replace(LIGHT, **other)]) is None


@pytest.mark.parametrize(("kind", "fits"), [("bias", True), ("dark", True), ("flat", False)])
def test_only_a_flat_must_have_the_filter(kind: str, fits: bool) -> None:
    assert (best_match(kind, LIGHT, [replace(LIGHT, filter="R")]) == 0) is fits


@pytest.mark.parametrize(("kind", "chosen"), [("bias", 2), ("dark", 2), ("flat", 2)])
def test_the_nearest_temperature_wins(kind: str, chosen: int) -> None:
    candidates = [replace(LIGHT, temperature=t) for t in (-21.5, -18.6, -20.4)]
    assert best_match(kind, LIGHT, candidates) == chosen


def test_a_temperature_beyond_the_tolerance_does_not_fit_but_an_unknown_one_does() -> None:
    warm, unknown = replace(LIGHT, temperature=-10.0), replace(LIGHT, temperature=None)
    assert best_match("dark", LIGHT, [warm]) is None
    assert best_match("dark", LIGHT, [warm], temperature_tolerance=10) == 0
    assert best_match("dark", LIGHT, [warm, unknown]) == 1
    assert best_match("flat", LIGHT, [warm]) == 0


def test_a_dark_of_the_same_exposure_wins_over_the_longest() -> None:
    candidates = [replace(LIGHT, exposure=e) for e in (30.0, 300.0, 60.0)]
    assert best_match("dark", LIGHT, candidates) == 2
    assert best_match("dark", LIGHT, candidates[:2]) == 1
    assert best_match("dark", LIGHT, candidates[:2], scales=False) is None
    assert best_match("dark", replace(LIGHT, exposure=None), candidates) is None


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (FrameKeys(Kind.BIAS, (3, 4)), "bias-3x4.fits"),
        (
            FrameKeys(Kind.DARK, (3, 4), (2, 1), "V", 0.5, -10.25),
            "dark-0.5s-3x4-bin2x1--10.2C.fits",
        ),
        (FrameKeys(Kind.FLAT, (3, 4), (1, 1), "../V", 9.0, -10.0), "flat-.._V-3x4.fits"),
    ],
    ids=["bias", "dark", "flat"],
)
def test_a_master_is_named_after_what_tells_it_from_others(keys: FrameKeys, name: str) -> None:
    assert name_of_master(keys) == name
