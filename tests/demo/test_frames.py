from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from bigpipe.demo.frames import (
    Bad,
    Frame,
    read_frame,
    read_reduced,
    write_frame,
)

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.fixture
def reduced() -> Frame:
    frame = Frame("a.fits", IMAGE.astype(np.float32), fits.Header({"OBJECT": "M 1", "GAIN": 2.0}))
    frame.mark(np.asarray(frame.data == 5), Bad.COSMIC_RAY)
    frame.variance = frame.data + 4
    frame.read_noise, frame.unit, frame.steps = 2.5, "electron", ["overscan", "gain"]
    return frame


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_unsigned_image_is_read_as_float(tmp_path: Path, name: str) -> None:
    fits.PrimaryHDU(IMAGE).writeto(tmp_path / name)
    frame = read_frame(tmp_path / name)
    assert frame.data.dtype == np.float32
    np.testing.assert_array_equal(frame.data, IMAGE)
    assert frame.header["BZERO"] == 32768
    assert frame.name == name
    assert not frame.mask.any()


def test_image_in_an_extension_is_found_and_keeps_the_primary_header(tmp_path: Path) -> None:
    primary = fits.PrimaryHDU(header=fits.Header({"OBJECT": "M 13", "EXPTIME": 1.0}))
    table = fits.BinTableHDU.from_columns([fits.Column("x", "J", array=[1, 2])])
    image = fits.ImageHDU(IMAGE, header=fits.Header({"EXPTIME": 90.0}), name="SCI")
    fits.HDUList([primary, table, image]).writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits")
    np.testing.assert_array_equal(frame.data, IMAGE)
    assert (frame.header["OBJECT"], frame.header["EXPTIME"]) == ("M 13", 90.0)


def test_tile_compressed_image_is_read(tmp_path: Path) -> None:
    image = np.tile(IMAGE, (8, 8))
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image)]).writeto(tmp_path / "a.fits.fz")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.fits.fz").data, image)


def test_axes_of_length_1_do_not_count(tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGE[None]).writeto(tmp_path / "a.fits")
    assert read_frame(tmp_path / "a.fits").shape == (3, 4)


@pytest.mark.parametrize(
    "hdu", [fits.PrimaryHDU(), fits.PrimaryHDU(np.zeros((2, 3, 4)))], ids=["empty", "cube"]
)
def test_file_without_an_image_is_refused_by_name(tmp_path: Path, hdu: fits.PrimaryHDU) -> None:
    hdu.writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits: there is no two-dimensional image"):
        read_frame(tmp_path / "a.fits")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_file_that_is_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((100, 100))).writeto(tmp_path / "a.fits")
    whole = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(whole[:20_000])
    with pytest.raises(ValueError, match=r"a\.fits: .* cut short"):
        read_frame(tmp_path / "a.fits")


def test_what_was_written_is_read_again(tmp_path: Path, reduced: Frame) -> None:
    write_frame(reduced, tmp_path / "a.fits")
    again = read_reduced(tmp_path / "a.fits")
    np.testing.assert_array_equal(again.data, reduced.data)
    np.testing.assert_array_equal(again.mask, reduced.mask)
    np.testing.assert_allclose(again.variance, reduced.variance, rtol=1e-6)
    assert (again.unit, again.read_noise) == ("electron", 2.5)
    assert again.steps == ["overscan", "gain"]
    assert "GAIN" not in again.header


def test_ccddata_finds_unit_mask_and_uncertainty(tmp_path: Path, reduced: Frame) -> None:
    write_frame(reduced, tmp_path / "a.fits")
    image = CCDData.read(tmp_path / "a.fits")
    assert image.unit == "electron"
    np.testing.assert_array_equal(image.mask, reduced.data == 5)
    np.testing.assert_allclose(image.uncertainty.array, np.sqrt(reduced.data + 4), rtol=1e-6)


def test_each_reason_of_a_mask_is_kept_apart(reduced: Frame) -> None:
    reduced.mark(np.asarray(reduced.data >= 5), Bad.SATURATED)
    assert reduced.marked(Bad.COSMIC_RAY).sum() == 1
    assert reduced.marked(Bad.SATURATED).sum() == 7
    assert reduced.marked(Bad.SATURATED | Bad.COSMIC_RAY).sum() == 7
