from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.demo import steps
from bigpipe.demo.frames import Bad, Frame
from bigpipe.demo.steps import Masters

SHAPE = (20, 30)


def frame(value: float = 0.0, shape: tuple[int, int] = SHAPE, **header: Any) -> Frame:
    return Frame("a.fits", np.full(shape, value, dtype=np.float32), fits.Header(header))


def dark(value: float, exposure: float, done: str = "overscan bias") -> Frame:
    master = frame(value, EXPTIME=exposure)
    master.variance = np.full(SHAPE, 0.5, dtype=np.float32)
    master.steps = done.split()
    return master


def calibrated(value: float = 100.0, **header: Any) -> Frame:
    light = frame(value, **header)
    light.variance = np.full(SHAPE, 9.0, dtype=np.float32)
    return light


def test_each_amplifier_loses_the_level_of_its_own_overscan() -> None:
    raw = frame(shape=(20, 40), DATASEC="[1:30,1:20]", BIASSEC="[31:40,1:20]", AMPSROW=2)
    raw.data[:, :15], raw.data[:, 15:30] = 150.0, 260.0
    raw.data[:, 30:35], raw.data[:, 35:] = 100.0, 200.0
    raw.data[0, 30] = 65535.0  # a cosmic ray in the overscan
    raw = steps.trim(steps.subtract_overscan(raw))
    np.testing.assert_array_equal(np.unique(raw.data[:, :15]), [50.0])
    np.testing.assert_array_equal(np.unique(raw.data[:, 15:]), [60.0])
    assert raw.shape == (20, 30)
    assert raw.steps == ["overscan", "trim"]


def test_read_noise_is_measured_in_the_overscan_if_the_header_has_none() -> None:
    raw = frame(shape=(500, 60), DATASEC="[1:30,1:500]", BIASSEC="[31:60,1:500]", GAIN=2.0)
    raw.data += np.random.default_rng(1).normal(0, 3.0, raw.data.shape)
    raw = steps.apply_gain(steps.subtract_overscan(raw))
    # From 15,000 values it is known to 0.95 %.
    assert raw.read_noise == pytest.approx(6.0, rel=0.05)


def test_trimming_keeps_the_reference_pixel_on_the_same_star() -> None:
    raw = steps.trim(frame(TRIMSEC="[5:30,3:20]", CRPIX1=10.0, CRPIX2=8.0))
    assert raw.shape == (18, 26)
    assert (raw.header["CRPIX1"], raw.header["CRPIX2"]) == (6.0, 6.0)


def test_gain_turns_adu_into_electrons_once() -> None:
    assert steps.apply_gain(frame(10.0, GAIN=1.5)).data[0, 0] == 15.0
    assert steps.apply_gain(frame(10.0, GAIN=1.5)).unit == "electron"
    already = steps.apply_gain(frame(10.0, GAIN=1.5, BUNIT="electron"))
    assert (already.data[0, 0], already.unit) == (10.0, "electron")
    unknown = steps.apply_gain(frame(10.0, BUNIT="counts / pixel"))
    assert (unknown.data[0, 0], unknown.unit) == (10.0, "adu")


def test_saturated_and_undefined_pixels_are_marked() -> None:
    raw = frame(100.0, SATURATE=60000)
    raw.data[0, 0], raw.data[1, 1] = 60000.0, np.nan
    raw = steps.mask_unusable(raw)
    assert raw.marked(Bad.SATURATED)[0, 0]
    assert raw.marked(Bad.UNUSABLE)[1, 1]
    assert np.count_nonzero(raw.mask) == 2
    assert raw.data[1, 1] == 100.0


def test_step_is_applied_to_each_member_of_a_group() -> None:
    group = [frame(10.0, GAIN=2.0), frame(20.0, GAIN=2.0)]
    assert [member.data[0, 0] for member in steps.apply_gain(group)] == [20.0, 40.0]


def test_bias_is_subtracted_and_its_variance_added() -> None:
    bias = frame(7.0)
    bias.variance = np.full(SHAPE, 4.0, dtype=np.float32)
    light = frame(100.0)
    light.read_noise = 3.0
    light = steps.subtract_bias(light, masters=Masters(bias=[bias]))
    assert light.data[0, 0] == 93.0
    assert light.variance is not None
    assert light.variance[0, 0] == 13.0


def test_bias_of_another_shape_is_not_used() -> None:
    light = steps.subtract_bias(frame(100.0), masters=Masters(bias=[frame(7.0, shape=(5, 5))]))
    assert light.data[0, 0] == 100.0
    assert light.steps == []


def test_read_noise_that_nothing_tells_is_the_noise_beyond_that_of_the_photons() -> None:
    light = frame(400.0, shape=(200, 200))
    light.data += np.random.default_rng(1).normal(0, 25.0, light.data.shape)
    # 25^2 = 400 + 15^2; the noise is known to 1 %, so its excess over photons to 3 %.
    assert steps.subtract_bias(light).read_noise == pytest.approx(15.0, rel=0.15)


def test_dark_is_scaled_to_the_exposure() -> None:
    masters = Masters(darks=[dark(30.0, 300.0)])
    light = steps.subtract_dark(calibrated(EXPTIME=100.0), masters=masters)
    assert light.data[0, 0] == pytest.approx(90.0)
    assert light.variance is not None
    assert light.variance[0, 0] == pytest.approx(9.0 + 10.0 + 0.5 / 9, rel=1e-6)


def test_dark_of_the_same_exposure_is_preferred_to_a_longer_one() -> None:
    masters = Masters(darks=[dark(30.0, 300.0), dark(12.0, 100.0)])
    light = steps.subtract_dark(calibrated(EXPTIME=100.0), masters=masters)
    assert light.data[0, 0] == 88.0


@pytest.mark.parametrize(("exposure", "left"), [(300.0, 70.0), (100.0, 100.0)], ids=str)
def test_dark_that_holds_the_bias_is_used_only_for_its_own_exposure(
    exposure: float, left: float
) -> None:
    masters = Masters(darks=[dark(30.0, 300.0, done="gain")])
    light = steps.subtract_dark(calibrated(EXPTIME=exposure), masters=masters)
    assert light.data[0, 0] == left


def test_light_of_unknown_exposure_has_no_dark_subtracted() -> None:
    light = steps.subtract_dark(calibrated(), masters=Masters(darks=[dark(30.0, 300.0)]))
    assert light.steps == []


def test_flat_of_the_same_filter_divides_and_marks_where_it_saw_no_light() -> None:
    flat_r, flat_v = frame(2.0, FILTER="R"), frame(0.5, FILTER="V")
    flat_v.data[3, 3] = 0.01
    light = steps.divide_flat(calibrated(FILTER="V"), Masters(flats=[flat_r, flat_v]))
    assert light.data[0, 0] == 200.0
    assert light.variance is not None
    assert light.variance[0, 0] == 36.0
    assert light.data[3, 3] == 100.0
    assert light.marked(Bad.UNUSABLE)[3, 3]
    assert np.count_nonzero(light.mask) == 1


def test_light_through_a_filter_without_a_flat_stays_as_it_is() -> None:
    light = steps.divide_flat(calibrated(FILTER="B"), Masters(flats=[frame(2.0, FILTER="R")]))
    assert light.data[0, 0] == 100.0
    assert light.steps == []


def test_lines_of_an_arc_lamp_are_not_cleaned_away() -> None:
    spectra = [calibrated(OBJECT=name) for name in ("Arcs", "M 1")]
    for spectrum in spectra:
        spectrum.data[10, 15] = 5000.0
    arc, science = map(steps.remove_cosmic_rays, spectra)
    assert (arc.data[10, 15], arc.steps) == (5000.0, [])
    assert (science.data[10, 15], science.steps) == (100.0, ["cosmic"])
    assert science.marked(Bad.COSMIC_RAY)[10, 15]


def test_frame_is_rejected_only_if_calibration_frames_have_another_shape() -> None:
    light = frame()
    assert steps.reject_other_shape(light, masters=Masters()) is light
    assert steps.reject_other_shape(light, masters=Masters(bias=[frame()])) is light
    assert steps.reject_other_shape(light, masters=Masters(bias=[frame(shape=(5, 5))])) is None
