"""Frames of a folder are sorted and grouped by header; what lacks calibration is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.fits import CombinePipe, Kind, Night, night, read_header
from tests.fits.frames import write

DATA = Path(__file__).parents[3] / "shared" / "data"


def write_night(folder: Path) -> None:
    lights = {"V": 60.0, "R": 60.0, "B": 5.0}
    for i in range(3):
        write(folder / f"bias{i}.fits", IMAGETYP="bias", **{"CCD-TEMP": -20.0 + 0.1 * i})
        write(folder / f"dark{i}.fits", IMAGETYP="dark", EXPTIME=60.0, **{"CCD-TEMP": -20.0})
        write(folder / f"flat{i}.fits", IMAGETYP="flat", EXPTIME=1.0 + i, FILTER="VVR"[i])
    write(folder / "warm.fits", IMAGETYP="dark", EXPTIME=60.0, **{"CCD-TEMP": 5.0})
    for name, exposure in lights.items():
        cards = {"FILTER": name, "EXPTIME": exposure, "CCD-TEMP": -19.5, "OBJECT": "M 13"}
        write(folder / f"light{name}.fits", IMAGETYP="light", GAIN=2.0, **cards)
    write(folder / "odd.fits", np.zeros((5, 6)), IMAGETYP="light")


def sorted_night(folder: Path, **options: Any) -> Night:
    return night(folder, num_processes=1, **options)


def base_names(frames: Any) -> list[str]:
    return [Path(frame.name).name for frame in frames]


def test_frames_are_sorted_by_kind(tmp_path: Path) -> None:
    write_night(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    found = sorted_night(tmp_path)
    assert [len(found.of(kind)) for kind in Kind] == [3, 4, 3, 4]
    light = found.of("light")[0]
    assert (light.object, light.gain, light.keys.filter) == ("M 13", 2.0, "B")
    assert found.unreadable == []


def test_groups_have_in_common_what_must_match(tmp_path: Path) -> None:
    write_night(tmp_path)
    found = sorted_night(tmp_path)
    assert [base_names(group.frames) for group in found.groups("bias")] == [
        ["bias0.fits", "bias1.fits", "bias2.fits"]
    ]
    assert found.groups("bias")[0].keys.temperature == pytest.approx(-19.9)
    darks = [base_names(group.frames) for group in found.groups("dark")]
    assert darks == [["dark0.fits", "dark1.fits", "dark2.fits"], ["warm.fits"]]
    flats = [(group.keys.filter, len(group.frames)) for group in found.groups("flat")]
    assert flats == [("V", 2), ("R", 1)]
    assert len(found.groups("light")) == 4


def test_binning_and_exposure_and_unknown_temperatures_make_groups(tmp_path: Path) -> None:
    for number, cards in enumerate(
        [{"EXPTIME": 1.0}, {"EXPTIME": 2.0}, {"EXPTIME": 1.0, "XBINNING": 2}]
        + [{"EXPTIME": 1.0, "CCD-TEMP": t} for t in (-20.0, -18.5, -17.5)]
    ):
        write(tmp_path / f"{number}.fits", IMAGETYP="dark", **cards)
    groups = sorted_night(tmp_path).groups(Kind.DARK)
    assert {tuple(base_names(group.frames)) for group in groups} == {
        *{("0.fits",), ("1.fits",), ("2.fits",), ("3.fits", "4.fits"), ("5.fits",)},
    }
    wide = sorted_night(tmp_path, temperature_tolerance=3).groups(Kind.DARK)
    assert ["3.fits", "4.fits", "5.fits"] in [base_names(group.frames) for group in wide]


def test_each_light_is_told_its_calibration_and_those_without_are_named(tmp_path: Path) -> None:
    write_night(tmp_path)
    found = sorted_night(tmp_path)
    by_name = {Path(frame.name).name: frame for frame in found.of("light")}
    groups = found.calibration_of(by_name["lightV.fits"])
    assert {kind: len(group.frames) for kind, group in groups.items()} == {
        Kind.BIAS: 3,
        Kind.DARK: 3,
        Kind.FLAT: 2,
    }
    assert found.calibration_of(by_name["lightB.fits"])[Kind.FLAT] is None
    assert base_names(found.without("flat")) == ["lightB.fits", "odd.fits"]
    assert base_names(found.without("dark")) == ["odd.fits"]
    strict = sorted_night(tmp_path, scale_darks=False)
    assert base_names(strict.without("dark")) == ["lightB.fits", "odd.fits"]


def test_the_summary_has_each_group_and_what_is_missing(tmp_path: Path) -> None:
    write_night(tmp_path)
    (tmp_path / "bad.fits").write_text("no")
    text = str(sorted_night(tmp_path))
    assert "   3 dark  3 x 4, 60 s, -20.0 C\n" in text
    assert "   2 flat  3 x 4, V\n" in text
    assert "No flat fits lightB.fits, odd.fits.\n" in text
    assert "bad.fits: this is not a FITS file" in text


def test_a_camera_with_words_of_its_own_is_understood(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", OBSMODE="Z")

    def translated(name: Any) -> fits.Header:
        header = read_header(name)
        header["IMAGETYP"] = {"Z": "bias"}[header["OBSMODE"]]
        return header

    assert len(sorted_night(tmp_path, header_of=translated).of(Kind.BIAS)) == 1


def test_names_may_be_given_and_may_all_be_unreadable(tmp_path: Path) -> None:
    names = []
    for i in range(25):
        names.append(tmp_path / f"{i}.fits")
        names[-1].write_text("no")
    assert len(sorted_night(iter(names)).unreadable) == 25


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sorted_night(tmp_path / "none")


def test_a_folder_without_frames_is_said(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    assert str(night(tmp_path)) == "no FITS files"


def test_groups_are_inputs_of_the_pipeline_that_combines(tmp_path: Path) -> None:
    write_night(tmp_path)
    groups = sorted_night(tmp_path).groups("dark")
    pipe = CombinePipe(outdir=tmp_path / "masters", create_outdir=True, fallback_unit="adu")
    pout = pipe.pipeline([group.names for group in groups], num_processes=1)
    assert [Path(name).name for name, _ in pout] == [
        *("dark-60s-3x4--20.0C.fits", "dark-60s-3x4-5.0C.fits"),
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason="real frames are not here")
def test_real_frames_of_a_spectrograph_are_sorted_by_object() -> None:
    found = sorted_night(DATA / "kast_blue")
    assert {kind.value: base_names(found.of(kind)) for kind in Kind} == {
        "bias": ["b21.fits.gz", "b22.fits.gz", "b23.fits.gz"],
        "dark": [],
        "flat": ["b11.fits.gz", "b12.fits.gz", "b13.fits.gz"],
        "light": ["b1.fits.gz", "b24.fits.gz", "b27.fits.gz"],
    }
    assert len(found.without("dark")) == 3
    assert found.without("bias") == found.without("flat") == []
