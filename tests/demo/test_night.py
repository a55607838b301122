"""A small simulated night, whole, and folders of frames that are not as they should be.

The night has 4 lights of 256 x 256 pixels: 260,000 sky pixels, about 45 measurements of stars,
40 pixels with cosmic rays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from bigpipe.demo import DemoError, DemoSettings, run_demo
from bigpipe.demo.compare import ComparePipe, agreement_of
from bigpipe.demo.frames import read_reduced
from bigpipe.demo.report import Report

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SHAPE = (256, 256)
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real frames in {DATA}")


def demo(output: Path, **settings: object) -> Report:
    settings = {"num_processes": 1, **settings}
    return run_demo(DemoSettings(output=output, **settings), lambda line: None)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return demo(tmp_path_factory.mktemp("night"), shape=SHAPE, n_lights=4)


@pytest.fixture
def source(night: Report, tmp_path: Path) -> Path:
    """A copy of the night's raw frames, to be spoilt."""
    return Path(shutil.copytree(night.output / "raw", tmp_path / "source"))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_sky_agrees_with_the_truth_within_its_uncertainty(night: Report) -> None:
    assert night.agreement is not None
    # Poisson's skewness moves the median by -0.008; overscan and masters leave as much again.
    assert abs(night.agreement.sky_median) < 0.04
    # The rms of 260,000 pixels is known to 0.15 %; masters of 5 frames estimate the noise.
    assert night.agreement.sky_rms == pytest.approx(1.0, abs=0.03)
    assert night.agreement.n_sky > 200_000


def test_stars_are_as_bright_as_they_were_made(night: Report) -> None:
    assert night.agreement is not None
    assert night.agreement.n_stars > 20
    # A scatter of 2 % over 20 stars and more, times 1.25 for a median: good to 0.6 %.
    assert night.agreement.star_ratio == pytest.approx(1.0, abs=0.03)
    # The robust scatter of 20 values is known to 25 %.
    assert 0.4 < night.agreement.star_sigma < 1.8


def test_cosmic_rays_are_found_and_little_else(night: Report) -> None:
    assert night.agreement is not None
    assert night.agreement.n_cosmic > 10
    assert night.agreement.cosmic_completeness > 0.85
    assert night.agreement.cosmic_purity > 0.75


def test_masters_are_the_detectors_faults(night: Report) -> None:
    with fits.open(night.output / "truth" / "detector.fits") as hdus:
        bias, dark, flat = (hdus[name].data.astype(float) for name in ("BIAS", "DARK", "FLAT"))
    masters = night.output / "masters"
    expected = {"bias-256x256": bias * 1.6, "dark-300s-256x256": dark * 300, "flat-V-256x256": flat}
    for name, truth in expected.items():
        master = read_reduced(masters / f"{name}.fits")
        assert master.variance is not None
        offsets = (master.data - truth) / np.sqrt(master.variance)
        # Overscan means are good to 0.08 electrons, 0.04 of a master's noise.
        assert abs(np.median(offsets)) < 0.2, name
        assert np.std(offsets) == pytest.approx(1.0, abs=0.1), name


@pytest.mark.parametrize(
    ("factor", "ratio"), [(1.1, 1.1), (0.8, 0.8)], ids=["too bright", "too faint"]
)
def test_comparison_sees_a_wrong_gain(
    night: Report, tmp_path: Path, factor: float, ratio: float
) -> None:
    name = str(tmp_path / "spoilt.fits")
    shutil.copy(night.output / "reduced" / "light-001_reduced.fits", name)
    with fits.open(name, mode="update") as hdus:
        hdus[0].data *= factor
    truth = {name: str(night.output / "truth" / "light-001.fits")}
    [(_, meta)] = ComparePipe(num_processes=1).pipeline([name], truth=truth)
    agreement = agreement_of([meta])
    assert agreement.star_ratio == pytest.approx(ratio, rel=0.05)
    assert agreement.sky_rms > 1.4


def test_table_has_a_row_for_each_light_and_is_written(night: Report) -> None:
    table = Table.read(night.table_name)
    assert list(table["file"]) == [f"light-{i:03d}_reduced.fits" for i in (1, 2, 3, 4)]
    assert set(table["steps"]) == {"overscan trim gain bias dark cosmic flat"}
    # Sky of 3 and 5 electrons per second for 120 s.
    np.testing.assert_allclose(table["sky"], [360, 600, 360, 600], rtol=0.02)


def test_report_says_what_and_where(night: Report) -> None:
    text = night.text()
    assert "4 of 4 light frames reduced with 7 bias, 5 dark, 10 flat frames, by 1 process" in text
    assert f"Files in {night.output}" in text
    assert "truth" in text
    assert night.n_failed == 0
    assert max(map(len, text.splitlines())) <= 100 + len(str(night.output))


@pytest.mark.process
def test_workers_make_the_same_night_as_one_process(night: Report, tmp_path: Path) -> None:
    again = demo(tmp_path, shape=SHAPE, n_lights=4, num_processes=2)
    for folder in ("raw", "masters", "reduced"):
        assert contents(again.output / folder) == contents(night.output / folder)


def test_input_folder_is_only_read(source: Path, tmp_path: Path) -> None:
    before = contents(source)
    report = demo(tmp_path / "out", source=source)
    assert contents(source) == before
    assert len(report.night.reduced) == 4
    assert report.agreement is None


@pytest.mark.parametrize(
    ("missing", "said", "steps"),
    [
        pytest.param("bias", "No bias", "overscan trim gain dark cosmic flat", id="bias"),
        pytest.param("dark", "No dark", "overscan trim gain bias cosmic flat", id="dark"),
        pytest.param("flat", "No flat", "overscan trim gain bias dark cosmic", id="flat"),
    ],
)
def test_calibration_that_is_missing_is_said_and_skipped(
    source: Path, tmp_path: Path, missing: str, said: str, steps: str
) -> None:
    for path in source.glob(f"{missing}-*"):
        path.unlink()
    report = demo(tmp_path / "out", source=source)
    assert {result.meta["steps"] for result in report.night.reduced} == {steps}
    assert said in report.text()
    assert report.n_failed == 0


def test_light_through_a_filter_without_flats_is_said(source: Path, tmp_path: Path) -> None:
    fits.setval(source / "light-002.fits", "FILTER", value="B")
    report = demo(tmp_path / "out", source=source)
    assert "No flat has the shape and filter of light-002.fits." in report.text()
    assert len(report.night.reduced) == 4


def test_frame_of_another_shape_is_said_and_does_not_stop_the_others(
    source: Path, tmp_path: Path
) -> None:
    fits.PrimaryHDU(np.ones((30, 40), dtype=np.float32)).writeto(source / "odd.fits")
    report = demo(tmp_path / "out", source=source)
    assert "odd.fits was not reduced" in report.text()
    assert "30 x 40" in report.text()
    assert len(report.night.reduced) == 4
    assert report.n_failed == 0


def test_files_that_cannot_be_read_are_counted_as_failed(source: Path, tmp_path: Path) -> None:
    (source / "notes.fits").write_text("no FITS file")
    (source / "bias-001.fits").write_bytes((source / "bias-001.fits").read_bytes()[:2880])
    with pytest.warns(UserWarning, match="truncated"):
        report = demo(tmp_path / "out", source=source)
    assert report.night.failures[0][0].endswith("notes.fits")
    assert "1 of 7 bias frames: could not be read" in report.text()
    assert report.n_failed == 2
    assert len(report.night.reduced) == 4


def test_two_inputs_of_one_output_are_told_apart(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "light-001.fits", source / "light-001.fit")
    report = demo(tmp_path / "out", source=source)
    assert report.n_failed == 1
    assert len(report.night.reduced) == 4


def test_folder_without_lights_is_refused_with_what_it_holds(source: Path, tmp_path: Path) -> None:
    for path in source.glob("light-*"):
        path.unlink()
    with pytest.raises(DemoError, match="no light frames: 7 bias, 5 dark, 10 flat"):
        demo(tmp_path / "out", source=source)


def test_folder_without_fits_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("")
    with pytest.raises(DemoError, match="no FITS files"):
        demo(tmp_path / "out", source=tmp_path / "in")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"n_lights": 0}, "at least 1", id="no lights"),
        pytest.param({"shape": (10, 500)}, "at least 64", id="small"),
        pytest.param({"shape": (10**6, 10**6)}, "smaller --shape", id="large"),
        pytest.param({"seed": -1}, "negative", id="seed"),
        pytest.param({"source": Path("nowhere")}, "does not exist", id="source"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(DemoError, match=message):
        demo(tmp_path / "out", **settings)


def test_many_failures_are_shown_in_part(night: Report) -> None:
    failed = dataclasses.replace(night.night, failures=[(f"{i}.fits", "bad") for i in range(30)])
    text = dataclasses.replace(night, night=failed).text()
    assert "9.fits: bad" in text
    assert "10.fits" not in text
    assert "and 20 more" in text


@real
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_real_spectra_are_reduced_with_their_own_calibration(tmp_path: Path) -> None:
    report = demo(tmp_path, source=DATA / "kast_blue")
    steps = {r.meta["object"]: r.meta["steps"] for r in report.night.reduced}
    assert steps["J1217p3905"] == "overscan trim gain bias cosmic flat"
    assert steps["Arcs"] == "overscan trim gain bias flat"
    assert len(steps) == 3
    cosmic = {r.meta["object"]: r.meta["n_cosmic"] for r in report.night.reduced}
    assert 145 <= cosmic["J1217p3905"] <= 160
    assert (report.night.n_frames, report.n_failed) == (
        {"bias": 3, "dark": 0, "flat": 3, "light": 3},
        0,
    )


@real
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_real_frames_without_calibration_are_reduced_as_far_as_can_be(tmp_path: Path) -> None:
    m13 = demo(tmp_path / "m13", source=DATA / "m13")
    # Background near 510 with a pedestal of 500, noise about 24.
    for result in m13.night.reduced:
        assert result.meta["sky"] == pytest.approx(10.5, abs=2)
        assert result.meta["noise"] == pytest.approx(24, abs=1)
        assert result.meta["unit"] == "adu"
    singles = demo(tmp_path / "singles", source=DATA / "singles")
    steps = [result.meta["steps"] for result in singles.night.reduced]
    assert steps == ["overscan trim gain cosmic", "cosmic"]
    assert len(m13.night.reduced) == 5
