from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.demo.frames import Frame, read_reduced
from bigpipe.demo.reduce import LightPipe, MasterPipe, combine
from bigpipe.demo.steps import Masters
from bigpipe.fits.headers import Kind
from bigpipe.records import Outcome

SHAPE = (100, 120)
READ_NOISE = 5.0


def frames(count: int, level: float = 0.0) -> list[Frame]:
    rng = np.random.default_rng(8)
    made = []
    for i in range(count):
        data = rng.poisson(level, SHAPE) + rng.normal(0, READ_NOISE, SHAPE)
        made.append(Frame(f"{i}.fits", data.astype(np.float32), fits.Header()))
        made[-1].read_noise = READ_NOISE
    return made


@pytest.mark.parametrize("count", [2, 3, 6], ids=str)
def test_cosmic_ray_in_one_frame_does_not_reach_the_master(count: int) -> None:
    group = frames(count, level=100)
    group[1].data[50, 60] += 5000
    master = combine(group, Kind.DARK)
    assert abs(master.data[50, 60] - 100) < 5 * np.sqrt(125 / (count - 1))


@pytest.mark.parametrize(
    ("kind", "level"), [(Kind.BIAS, 0), (Kind.DARK, 200), (Kind.FLAT, 20_000)], ids=str
)
def test_variance_of_a_master_is_that_of_its_noise(kind: Kind, level: float) -> None:
    master = combine(frames(5, level), kind)
    assert master.variance is not None
    # Of 12,000 pixels; the variance is known to 1.3 %, and of 5 values few are rejected.
    offsets = (master.data - np.mean(master.data)) / np.sqrt(master.variance)
    assert offsets.var() == pytest.approx(1.0, rel=0.08)


def test_flats_of_different_brightness_make_a_master_of_median_1() -> None:
    group = frames(1, 10_000) + frames(1, 20_000)
    master = combine(group, Kind.FLAT)
    assert np.median(master.data) == pytest.approx(1.0, abs=0.01)
    assert (master.unit, master.header["NCOMBINE"]) == ("", 2)


def test_master_of_one_frame_is_that_frame() -> None:
    (only,) = group = frames(1, 50)
    np.testing.assert_array_equal(combine(group, Kind.DARK).data, only.data)


def test_spread_that_the_noise_does_not_explain_widens_the_variance() -> None:
    group = frames(5)
    for frame in group:
        frame.data *= 3
    variance = combine(group, Kind.BIAS).variance
    assert variance is not None
    assert np.median(variance) == pytest.approx(9 * READ_NOISE**2 / 5, rel=0.2)


def write_raw(path: Path, value: float, **header: object) -> str:
    rng = np.random.default_rng(int(value))
    data = np.rint(rng.normal(value, 3.0, SHAPE)).astype(np.uint16)
    fits.PrimaryHDU(data, fits.Header({"GAIN": 1.0, "RDNOISE": 3.0, **header})).writeto(path)
    return str(path)


def test_groups_are_named_after_what_tells_them_apart(tmp_path: Path) -> None:
    groups = [
        [write_raw(tmp_path / f"{name}{i}.fits", 1000 + i, FILTER=name) for i in (1, 2)]
        for name in ("V", "H2O")
    ]
    groups[1] = [write_raw(tmp_path / "odd.fits", 1000, FILTER="../H a")]
    pipe = MasterPipe(outdir=tmp_path / "masters", create_outdir=True, num_processes=1)
    pout = pipe.pipeline(groups, kind=Kind.FLAT, masters=Masters())
    names = [Path(outname).name for outname, _ in pout]
    assert names == ["flat-V-100x120.fits", "flat-.._H_a-100x120.fits"]
    assert [meta["n_frames"] for _, meta in pout] == [2, 1]
    assert read_reduced(pout[0][0]).header["FILTER"] == "V"


def test_calibration_frame_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    group = [write_raw(tmp_path / f"{i}.fits", 100 + i) for i in (1, 2)]
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE")
    pipe = MasterPipe(outdir=tmp_path, num_processes=1)
    [(_, meta)] = pipe.pipeline([[*group, str(tmp_path / "bad.fits")]], kind=Kind.BIAS)
    assert meta["n_frames"] == 2
    assert "bad.fits" in caplog.text


def test_light_goes_through_all_steps_and_is_measured(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "m1.fits.gz", 1000, OBJECT="M 1", EXPTIME=10.0)
    bias = Frame("bias", np.full(SHAPE, 300, dtype=np.float32), fits.Header())
    flat = Frame("flat", np.full(SHAPE, 0.5, dtype=np.float32), fits.Header())
    pipe = LightPipe(outdir=tmp_path, num_processes=1)
    [(outname, meta)] = pipe.pipeline([raw], masters=Masters(bias=[bias], flats=[flat]))
    assert outname == str(tmp_path / "m1_reduced.fits")
    assert meta["steps"] == "gain bias cosmic flat"
    assert meta["sky"] == pytest.approx(1400, abs=2)
    # Noise of 3 (the data's own, and their rounding), doubled by the flat.
    assert meta["noise"] == pytest.approx(6.0, rel=0.1)
    assert read_reduced(outname).header["OBJECT"] == "M 1"


def test_light_that_no_calibration_frame_fits_is_rejected(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a.fits", 100)
    other = Masters(bias=[Frame("b", np.zeros((5, 5), dtype=np.float32), fits.Header())])
    pout = LightPipe(outdir=tmp_path, num_processes=1).pipeline([raw], masters=other)
    (result,) = pout.results
    assert result.outcome is Outcome.REJECTED
    assert result.rejected_by is not None
    assert "reject_other_shape" in result.rejected_by
