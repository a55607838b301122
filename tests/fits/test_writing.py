"""Written data is read back unchanged; a loss of precision is reported or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from bigpipe.fits import as_single, read_ccd, write_ccd
from tests.fits.test_reading import WCS_CARDS

NOISE = np.random.default_rng(seed=3).normal(100, 5, (40, 50))


def image(**cards: Any) -> CCDData:
    header = fits.Header({"OBJECT": "M 13", "HISTORY": "one", **cards})
    header.add_history("two")
    noise = StdDevUncertainty(np.sqrt(np.abs(NOISE)))
    return CCDData(NOISE.copy(), unit="adu", meta=header, mask=NOISE > 110, uncertainty=noise)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "checksum"])
def test_an_image_is_read_as_it_was_written(tmp_path: Path, name: str, checksum: bool) -> None:
    ccd = image()
    write_ccd(ccd, tmp_path / name, checksum=checksum)
    same = read_ccd(tmp_path / name)
    np.testing.assert_array_equal(same.data, ccd.data)
    np.testing.assert_array_equal(same.mask, ccd.mask)
    np.testing.assert_array_equal(same.uncertainty.array, ccd.uncertainty.array)
    assert same.unit == u.adu
    assert same.header["OBJECT"] == "M 13"
    assert list(same.header["HISTORY"]) == ["one", "two"]


def test_mask_and_uncertainty_are_left_out_if_asked(tmp_path: Path) -> None:
    write_ccd(image(), tmp_path / "a.fits", hdu_mask=None, hdu_uncertainty=None)
    with fits.open(tmp_path / "a.fits") as hdus:
        assert len(hdus) == 1


def test_checksums_are_true(tmp_path: Path) -> None:
    write_ccd(image(), tmp_path / "a.fits", checksum=True)
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        assert all(hdu.verify_checksum() == hdu.verify_datasum() == 1 for hdu in hdus)


def test_the_wcs_is_written(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "a.fits", NOISE, fits.Header(WCS_CARDS))
    write_ccd(read_ccd(tmp_path / "a.fits", unit="adu"), tmp_path / "b.fits")
    sky = read_ccd(tmp_path / "b.fits").wcs.pixel_to_world(1.0, 0.5)
    assert (sky.ra.deg, sky.dec.deg) == (pytest.approx(10), pytest.approx(20))


def test_a_file_that_is_there_is_replaced_only_if_asked(tmp_path: Path) -> None:
    write_ccd(image(), tmp_path / "a.fits")
    with pytest.raises(FileExistsError, match=r"a\.fits already exists: give overwrite=True"):
        write_ccd(image(), tmp_path / "a.fits")
    write_ccd(image(OBJECT="M 1"), tmp_path / "a.fits", overwrite=True)
    assert fits.getval(tmp_path / "a.fits", "OBJECT") == "M 1"


# Integers


@pytest.mark.parametrize("compression", [None, True, "RICE_1"], ids=str)
@pytest.mark.parametrize(
    "scaling", [{}, {"bscale": 0.01, "bzero": 100.0}, {"bscale": 0.02}], ids=str
)
def test_scaled_integers_are_as_true_as_they_say(
    tmp_path: Path, scaling: Any, compression: Any
) -> None:
    ccd = image()
    ccd.data[3, 4] = np.nan
    write_ccd(ccd, tmp_path / "a.fits", as_scaled_int=True, compression=compression, **scaling)
    same = read_ccd(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        assert hdus[-1 if compression is None else 1].data.dtype.newbyteorder("=") == np.int16
    error = np.abs(fits.getdata(tmp_path / "a.fits") - ccd.data)
    assert np.argwhere(np.isnan(error)).tolist() == [[3, 4]]
    assert 0.8 * same.header["SCALERR"] < np.nanmax(error) <= same.header["SCALERR"]
    assert same.mask[3, 4]


def test_a_larger_error_than_allowed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"errors up to 0\.0002.*, more than max_scale_error"):
        write_ccd(image(), tmp_path / "a.fits", as_scaled_int=True, max_scale_error=1e-5)
    assert not (tmp_path / "a.fits").exists()


def test_values_outside_of_what_the_integers_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\d+ of the values from 8\d.* lie outside"):
        write_ccd(image(), tmp_path / "a.fits", as_scaled_int=True, bscale=1e-4, bzero=100)


def test_an_image_of_one_value_is_scaled_too(tmp_path: Path) -> None:
    ccd = CCDData(np.full((3, 4), 7.25), unit="adu")
    write_ccd(ccd, tmp_path / "a.fits", as_scaled_int=True)
    np.testing.assert_array_equal(read_ccd(tmp_path / "a.fits").data, 7.25)


# Compression


def test_a_lossy_compression_stays_within_a_step_of_the_noise(tmp_path: Path) -> None:
    write_ccd(image(), tmp_path / "a.fits", compression="RICE_1", quantize_level=16)
    error = np.abs(read_ccd(tmp_path / "a.fits").data - NOISE).max()
    assert 0 < error < 2 * NOISE.std() / 16


# Several images


def test_several_images_are_extensions_and_share_the_cards_they_have_alike(tmp_path: Path) -> None:
    images = [image(EXTNAME=name, CHIP=name) for name in ("A", "B")]
    write_ccd(images, tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.name for hdu in hdus] == [
            *("PRIMARY", "A", "A_MASK", "A_UNCERT", "B", "B_MASK", "B_UNCERT"),
        ]
        assert hdus[0].header["OBJECT"] == "M 13"
        assert "OBJECT" not in hdus["B"].header
        assert "CHIP" not in hdus[0].header
    for ccd, same in zip(images, read_ccd(tmp_path / "a.fits", hdu="all"), strict=True):
        np.testing.assert_array_equal(same.mask, ccd.mask)
        np.testing.assert_array_equal(same.uncertainty.array, ccd.uncertainty.array)
        assert same.unit == u.adu
        assert same.header["CHIP"] == ccd.header["CHIP"]
        assert list(same.header["HISTORY"]) == ["one", "two"]


def test_images_without_a_name_or_with_the_same_one_are_told_apart(tmp_path: Path) -> None:
    images = [image(), image(EXTNAME="A"), image(EXTNAME="A")]
    write_ccd(images, tmp_path / "a.fits", hdu_mask=None, hdu_uncertainty=None)
    with fits.open(tmp_path / "a.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE1", "A", "A_3"]


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no image to write"):
        write_ccd([], tmp_path / "a.fits")


# Precision


def test_as_single_halves_values_and_uncertainty_and_leaves_its_input(tmp_path: Path) -> None:
    ccd = image()
    single, plain = as_single([ccd, CCDData(NOISE, unit="adu")])
    assert single.data.dtype == single.uncertainty.array.dtype == np.float32
    assert ccd.data.dtype == ccd.uncertainty.array.dtype == np.float64
    assert single.header == ccd.header
    np.testing.assert_array_equal(single.mask, ccd.mask)
    assert plain.uncertainty is None
    assert as_single(ccd, as_single_datatype="f2").data.dtype == np.float16
