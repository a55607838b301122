from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.demo import cosmic_rays
from bigpipe.demo.cosmic_rays import find_cosmic_rays
from bigpipe.demo.sky import Band, Stars, scene

READ_NOISE = 5.0
SKY = 100.0
KAST = Path(__file__).parents[2].parent / "shared" / "data" / "kast_blue"


def noisy(image: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(11)
    return (rng.poisson(image) + rng.normal(0, READ_NOISE, image.shape)).astype(np.float32)


@pytest.fixture
def sky() -> np.ndarray:
    return noisy(np.full((200, 200), SKY))


def test_lone_hit_pixel_is_found_and_filled_from_its_neighbours(sky: np.ndarray) -> None:
    sky[50, 60] += 500
    hit, cleaned = find_cosmic_rays(sky, READ_NOISE**2)
    assert hit[50, 60]
    assert abs(cleaned[50, 60] - SKY) < 30  # the median of 24 pixels of noise 11 is good to 3


def test_every_pixel_of_a_track_is_found(sky: np.ndarray) -> None:
    along = np.arange(30)
    sky[40 + along // 2, 100 + along] += 800
    hit, _ = find_cosmic_rays(sky, READ_NOISE**2)
    assert hit[40 + along // 2, 100 + along].all()


def test_faint_pixel_is_flagged_only_beside_a_bright_one(sky: np.ndarray) -> None:
    sky[50, 60] = SKY + 1000
    sky[51, 61] = sky[150, 61] = SKY + 35  # 3 sigma
    hit, _ = find_cosmic_rays(sky, READ_NOISE**2)
    assert hit[51, 61]
    assert not hit[150, 61]


def test_thick_track_is_eaten_from_its_ends_in_rounds(
    sky: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sky[80:82, 40:60] += 3000
    assert find_cosmic_rays(sky, READ_NOISE**2)[0][80:82, 40:60].all()
    monkeypatch.setattr(cosmic_rays, "MAX_ROUNDS", 1)
    assert not find_cosmic_rays(sky, READ_NOISE**2)[0][80:82, 40:60].all()


def test_noise_alone_is_hardly_ever_flagged(sky: np.ndarray) -> None:
    # Beyond 5 sigma: 0.01 of 40,000 pixels, a few more as the sky's noise is Poisson.
    hit, cleaned = find_cosmic_rays(sky, READ_NOISE**2)
    assert hit.sum() <= 3
    np.testing.assert_array_equal(cleaned[~hit], sky[~hit])


def test_stars_are_not_taken_for_cosmic_rays() -> None:
    rows, columns = (index.ravel() * 20.0 + 10.3 for index in np.indices((9, 9)))
    flux = np.geomspace(1e3, 1e6, rows.size)
    field = scene((200, 200), Stars(rows, columns, flux), Band(SKY, 1.0), fwhm=3.0)
    hit, _ = find_cosmic_rays(noisy(field), READ_NOISE**2)
    assert hit.sum() <= 3


def test_pixels_to_be_ignored_are_left_as_they_are(sky: np.ndarray) -> None:
    sky[50, 60] += 500
    ignore = np.zeros(sky.shape, dtype=bool)
    ignore[50, 60] = True
    hit, cleaned = find_cosmic_rays(sky, READ_NOISE**2, ignore=ignore)
    assert not hit[50, 60]
    assert cleaned[50, 60] == sky[50, 60]


def test_noise_that_is_known_to_be_larger_hides_a_faint_hit(sky: np.ndarray) -> None:
    sky[50, 60] += 100
    sky[150, 60] += 100
    variance = np.full(sky.shape, READ_NOISE**2)
    variance[100:] = 50.0**2
    hit, _ = find_cosmic_rays(sky, variance)
    assert hit[50, 60]
    assert not hit[150, 60]


def test_blob_whose_neighbours_are_all_hit_is_filled_with_the_images_median() -> None:
    image = np.full((5, 5), 10.0, dtype=np.float32)
    image[2, 2] = 1e6
    hit, cleaned = find_cosmic_rays(image, 1.0)
    assert hit[2, 2]
    assert cleaned[2, 2] == 10.0


@pytest.mark.skipif(not KAST.is_dir(), reason=f"no real frames in {KAST}")
def test_real_frame_has_as_many_hit_pixels_as_other_programs_find() -> None:
    """astroscrappy flags 153 pixels of this one with the same thresholds."""
    biases = [fits.getdata(KAST / f"b2{i}.fits.gz").astype(np.float32) for i in (1, 2, 3)]
    image = fits.getdata(KAST / "b27.fits.gz").astype(np.float32) - np.mean(biases, axis=0)
    hit, _ = find_cosmic_rays(image, 4.0**2)
    assert 145 <= hit.sum() <= 160
