from __future__ import annotations

import numpy as np
import pytest

from bigpipe.demo.sky import FLUX_SLOPE, FLUXES, Band, Stars, make_stars, scene

DARK_SKY = Band(sky=0.0, transmission=1.0)


def one_star(row: float, column: float, flux: float = 1000.0) -> Stars:
    return Stars(np.array([row]), np.array([column]), np.array([flux]))


@pytest.mark.parametrize("fwhm", [2.8, 3.8], ids=str)
def test_light_of_a_star_adds_up_to_its_flux(fwhm: float) -> None:
    image = scene((101, 101), one_star(50.3, 49.8), DARK_SKY, fwhm)
    # The profile beyond the stamp holds (1 + (STAMP / alpha)^2)^-2 of it, less than 0.1 %;
    # points for pixels make up to 0.5 %.
    assert image.sum() == pytest.approx(1000.0, rel=0.01)


def test_star_is_as_wide_as_the_seeing() -> None:
    image = scene((101, 101), one_star(50, 50), DARK_SKY, fwhm=4.0)
    assert image[50, 52] == pytest.approx(image[50, 50] / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("row", "column", "reaches"),
    [
        pytest.param(-5.0, 50.0, True, id="below"),
        pytest.param(50.0, 104.0, True, id="right"),
        pytest.param(-60.0, -60.0, False, id="far corner"),
        pytest.param(50.0, 500.0, False, id="far right"),
    ],
)
def test_star_outside_brings_in_only_its_wings(row: float, column: float, reaches: bool) -> None:
    image = scene((101, 101), one_star(row, column, flux=1e6), DARK_SKY, fwhm=3.0)
    assert bool(image.any()) is reaches
    assert image.max() < 1e4


def test_filter_dims_stars_and_sets_the_sky() -> None:
    band = Band(sky=7.0, transmission=0.5)
    image = scene((101, 101), one_star(50, 50), band, fwhm=3.0)
    bright = scene((101, 101), one_star(50, 50), DARK_SKY, fwhm=3.0)
    assert np.median(image) == pytest.approx(7.0, rel=0.01)
    assert image[50, 50] - 7.0 == pytest.approx(bright[50, 50] / 2, rel=0.01)


def test_number_of_stars_falls_with_their_brightness_as_a_power() -> None:
    flux = make_stars((8000, 8000), np.random.default_rng(2)).flux
    assert flux.min() >= FLUXES[0]
    assert flux.max() <= FLUXES[1]
    # Of 16,000 stars; the upper limit takes 0.6 % off the power law at the lower end.
    brighter = np.mean(flux > 10 * FLUXES[0])
    assert brighter == pytest.approx(10**FLUX_SLOPE, abs=0.02)
