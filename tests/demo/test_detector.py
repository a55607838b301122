"""The simulated physics against its formulas.

Means and variances are of ``N_PIXELS`` pixels, so a mean is known to sigma / 256 and a variance
to 0.55 %; bounds are five times that.
"""

from __future__ import annotations

import numpy as np
import pytest

from bigpipe.demo import detector as ccd
from bigpipe.demo.detector import Detector, make_detector

SHAPE = (256, 256)
N_PIXELS = SHAPE[0] * SHAPE[1]
VARIANCE_BOUND = 5 * np.sqrt(2 / N_PIXELS)
ROUNDING = 1 / 12  # adu^2: variance of rounding to whole numbers


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def faultless() -> Detector:
    zero = np.zeros(SHAPE, dtype=np.float32)
    return Detector(bias=zero, dark_rate=zero, flat=zero + 1)


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """A detector without faults that no cosmic ray hits."""
    monkeypatch.setattr(ccd, "COSMIC_RATE", 0.0)
    return faultless()


def electrons(raw: np.ndarray) -> np.ndarray:
    """Undo bias level and gain of the left amplifier, whose level is the overscan's."""
    start = SHAPE[1]
    level = raw[:, start : start + ccd.OVERSCAN_COLUMNS].mean()
    return (raw[:, : SHAPE[1] // 2] - level) * ccd.GAIN


def test_overscan_shows_read_noise_and_nothing_else(even: Detector) -> None:
    raw = even.expose(1000.0, 10.0, rng()).raw
    overscan = raw[:, SHAPE[1] : SHAPE[1] + ccd.OVERSCAN_COLUMNS].astype(float)
    expected = (ccd.READ_NOISE / ccd.GAIN) ** 2 + ROUNDING
    assert overscan.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / overscan.size))
    # The level drifts by BIAS_DRIFT from frame to frame.
    assert overscan.mean() == pytest.approx(ccd.BIAS_LEVELS[0], abs=5 * ccd.BIAS_DRIFT)


@pytest.mark.parametrize("light", [0.0, 20.0, 500.0], ids="{} e/s".format)
def test_variance_is_that_of_photons_read_noise_and_rounding(even: Detector, light: float) -> None:
    first, second = (even.expose(light, 10.0, rng(seed)).raw.astype(float) for seed in (1, 2))
    difference = (first - second)[:, : SHAPE[1] // 2]
    expected = 2 * ((10.0 * light + ccd.READ_NOISE**2) / ccd.GAIN**2 + ROUNDING)
    assert difference.var() == pytest.approx(expected, rel=VARIANCE_BOUND * np.sqrt(2))


def test_signal_is_light_times_flat_plus_dark_rate_times_exposure(even: Detector) -> None:
    half = SHAPE[0] // 2
    flat, dark = even.flat.copy(), even.dark_rate.copy()
    flat[:half] = 0.5
    dark[:half] = 3.0
    faulty = Detector(even.bias, dark, flat)
    signal = electrons(faulty.expose(40.0, 10.0, rng()).raw)
    # Mean of 128 x 128 pixels of noise 21 and of the overscan's level: good to 0.2 electrons.
    assert signal[:half].mean() == pytest.approx(10 * (40 * 0.5 + 3), abs=1.0)
    assert signal[half:].mean() == pytest.approx(10 * 40, abs=1.0)


def test_bias_structure_is_added_in_adu(even: Detector) -> None:
    bias = even.bias.copy()
    bias[:, 10] = 50.0
    raw = Detector(bias, even.dark_rate, even.flat).expose(0.0, 0.0, rng()).raw.astype(float)
    others = raw[:, 11 : SHAPE[1] // 2].mean()
    assert raw[:, 10].mean() - others == pytest.approx(50.0, abs=1.2)


def test_bright_light_ends_at_the_largest_number(even: Detector) -> None:
    raw = even.expose(1e6, 10.0, rng()).raw
    assert raw.dtype == np.uint16
    assert (raw[:, : SHAPE[1]] == 65535).all()
    assert raw[:, SHAPE[1] :].max() < 2000


def test_cosmic_rays_are_where_the_exposure_says_they_are() -> None:
    exposed = faultless().expose(0.0, 600.0, rng())
    charge = np.zeros(SHAPE)
    charge[exposed.cosmic_rows, exposed.cosmic_columns] = exposed.cosmic_electrons
    difference = electrons(exposed.raw) - charge[:, : SHAPE[1] // 2]
    assert charge.max() > 100 * ccd.READ_NOISE
    assert np.abs(difference).max() < 7 * ccd.READ_NOISE


def test_number_of_cosmic_rays_goes_with_the_exposure(monkeypatch: pytest.MonkeyPatch) -> None:
    # One pixel each: no way through the silicon to the side.
    monkeypatch.setattr(ccd, "STEEPEST", 1.0)
    monkeypatch.setattr(ccd, "DIFFUSION", 0.0)
    area = N_PIXELS * (ccd.PIXEL_SIZE * 1e-4) ** 2
    expected = ccd.COSMIC_RATE * area * 10_000
    count = np.count_nonzero(ccd.cosmic_rays(SHAPE, 10_000, rng()))
    assert count == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_fault_maps_have_the_medians_that_master_frames_are_compared_with() -> None:
    detector = make_detector(SHAPE, rng())
    assert np.median(detector.bias) == pytest.approx(0, abs=1e-5)
    assert np.median(detector.flat) == pytest.approx(1, abs=1e-6)
    hot = detector.dark_rate > 2 * ccd.DARK_RATE
    assert hot.mean() == pytest.approx(
        ccd.HOT_FRACTION, abs=5 * np.sqrt(ccd.HOT_FRACTION / N_PIXELS)
    )
    assert detector.dark_rate.max() <= ccd.HOT_RATES[1] + ccd.DARK_RATE


def test_same_seed_gives_the_same_frame(even: Detector) -> None:
    first, again, other = (even.expose(5.0, 9.0, rng(seed)).raw for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
