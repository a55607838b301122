from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.demo.frames import Bad, Frame
from bigpipe.demo.photometry import APERTURE, aperture_errors, aperture_sums, count_sources, measure
from bigpipe.demo.sky import Band, Stars, scene

SHAPE = (120, 120)


@pytest.fixture
def field() -> np.ndarray:
    stars = Stars(np.array([30.0, 60.0]), np.array([30.0, 90.0]), np.array([9000.0, 4000.0]))
    return scene(SHAPE, stars, Band(sky=100.0, transmission=1.0), fwhm=3.0)


def test_stars_are_counted_once_each(field: np.ndarray) -> None:
    noisy = field + np.random.default_rng(1).normal(0, 5.0, SHAPE).astype(np.float32)
    assert count_sources(noisy, noise=5.0) == 2


def test_bright_side_of_a_sloping_sky_is_no_source() -> None:
    slope = np.tile(np.linspace(0, 50, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))
    noisy = slope + np.random.default_rng(1).normal(0, 5.0, SHAPE).astype(np.float32)
    assert count_sources(noisy, noise=5.0) == 0


@pytest.mark.parametrize("noise", [0.0, float("nan")], ids=str)
def test_nothing_is_counted_where_the_noise_is_not_known(field: np.ndarray, noise: float) -> None:
    assert count_sources(field, noise=noise) == 0


def test_plateau_counts_as_one_source() -> None:
    image = np.zeros((20, 20), dtype=np.float32)
    image[8:12, 8:12] = 1000.0
    assert count_sources(image, noise=1.0) == 1


def test_light_in_an_aperture_is_that_above_the_ring_around() -> None:
    image = np.full(SHAPE, 7.0)
    image[60, 60] += 500
    total, above_sky = aperture_sums(image, np.array([60.2]), np.array([59.8]))
    n_pixels = np.round((total[0] - 500) / 7)
    assert n_pixels == pytest.approx(np.pi * APERTURE**2, rel=0.05)
    assert above_sky[0] == pytest.approx(500)


def test_error_of_an_aperture_is_the_scatter_of_what_it_measures() -> None:
    rows, columns = (index.ravel() * 30.0 + 20 for index in np.indices((30, 30)))
    noise = np.random.default_rng(2).normal(0, 3.0, (920, 920))
    _, sums = aperture_sums(noise, rows, columns)
    errors = aperture_errors(np.full(noise.shape, 9.0), rows, columns)
    assert np.ptp(errors) == 0
    # Of 900 apertures; the scatter is known to 2.4 %.
    assert sums.std() == pytest.approx(errors[0], rel=0.12)


def test_measurement_goes_into_the_metadata() -> None:
    frame = Frame("a.fits", np.full(SHAPE, 5, dtype=np.float32), fits.Header({"OBJECT": "M 1"}))
    frame.mark(np.eye(*SHAPE, dtype=bool), Bad.COSMIC_RAY)
    meta: dict[str, object] = {}
    assert measure(frame, bmp_meta=meta) is frame
    assert (meta["object"], meta["sky"], meta["n_cosmic"]) == ("M 1", 5.0, SHAPE[0])
