from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.demo import simulate
from bigpipe.demo.detector import GAIN
from bigpipe.demo.simulate import SimulationPipe, detector_of, plan_night, take
from bigpipe.fits import headers
from bigpipe.fits.headers import Kind

SHAPE = (64, 80)


def test_night_has_every_kind_and_flats_for_each_filter_of_a_light() -> None:
    plans = plan_night(7)
    assert [plan.number for plan in plans] == list(range(len(plans)))
    assert len({plan.name for plan in plans}) == len(plans)
    lights = [plan for plan in plans if plan.kind is Kind.LIGHT]
    flats = {plan.filter for plan in plans if plan.kind is Kind.FLAT}
    assert len(lights) == 7
    assert flats == {plan.filter for plan in lights}
    assert {plan.kind for plan in plans} == set(Kind)


def test_night_of_one_light_has_flats_of_one_filter() -> None:
    assert {plan.filter for plan in plan_night(1)} == {"", "V"}


def test_frames_do_not_overlap_in_time() -> None:
    plans = plan_night(3)
    for plan, following in pairwise(plans):
        assert (following.begin - plan.begin).total_seconds() > plan.exposure


@pytest.mark.parametrize("number", [0, 8, 13, -1], ids=["bias", "dark", "flat", "light"])
def test_header_tells_the_kind_and_the_layout(number: int) -> None:
    plan = plan_night(1)[number]
    raw, truth = take(plan, detector_of(SHAPE, 1), 1)
    assert headers.kind_of(raw.header) is plan.kind
    assert headers.exposure_of(raw.header) == plan.exposure
    assert raw.data.dtype == np.uint16
    amplifiers = headers.readout_of(raw.header, raw.data.shape)
    assert [a.data[1] for a in amplifiers] == [slice(0, 40), slice(40, 80)]
    assert (truth is not None) is (plan.kind is Kind.LIGHT)


def test_flat_has_the_level_that_was_asked_for() -> None:
    plan = plan_night(1)[13]
    raw, _ = take(plan, detector_of(SHAPE, 1), 1)
    electrons = (np.median(raw.data[:, :80]) - 1000) * GAIN
    # The lamp varies by 10 %, the amplifiers' levels are 1000 within 15 adu.
    assert electrons == pytest.approx(simulate.FLAT_LEVEL, rel=0.12)


def test_frame_depends_on_the_seed_and_its_number_alone() -> None:
    plans = plan_night(2)[-2:]
    forward = [take(plan, detector_of(SHAPE, 5), 5)[0].data for plan in plans]
    backward = [take(plan, detector_of(SHAPE, 5), 5)[0].data for plan in reversed(plans)]
    np.testing.assert_array_equal(forward, backward[::-1])
    assert (forward[0] != forward[1]).any()
    assert (forward[0] != take(plans[0], detector_of(SHAPE, 6), 6)[0].data).any()


def test_truth_is_written_beside_the_raw_frame(tmp_path: Path) -> None:
    plans = {plan.name: plan for plan in plan_night(1)}
    (tmp_path / "truth").mkdir()
    pipe = SimulationPipe(outdir=tmp_path / "raw", create_outdir=True, num_processes=1)
    keywords = {"plans": plans, "detector": detector_of(SHAPE, 1), "truth_dir": tmp_path / "truth"}
    pipe.pipeline(["light-001.fits", "bias-001.fits"], seed=1, **keywords)
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["light-001.fits"]
    with fits.open(tmp_path / "truth" / "light-001.fits") as hdus:
        light, hits = hdus[0].data, hdus["COSMIC"].data
        assert hdus[0].header["BUNIT"] == "electron/s"
        assert set(hdus["STARS"].columns.names) == {"row", "column", "flux"}
    assert light.shape == SHAPE
    assert (hits["electrons"] > 0).all()


def test_saturation_is_within_what_the_converter_can_say() -> None:
    assert 60_000 < simulate._saturation() <= 65_535
