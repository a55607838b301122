"""Images are read as they were meant, and what is wrong with a file is said with its name."""

from __future__ import annotations

import gzip
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import FITSFixedWarning

from bigpipe import BigpipeWarning
from bigpipe.fits import CCDMultiPipe, read_ccd
from tests.fits.frames import RAMP, patch, write, write_extensions

WCS_CARDS = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 10.0,
    "CRVAL2": 20.0,
    "CRPIX1": 2.0,
    "CRPIX2": 1.5,
    "CD1_1": -1e-4,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 1e-4,
}


def read(name: Any, **options: Any) -> Any:
    return read_ccd(name, **{"fallback_unit": "adu", **options})


# Values


@pytest.mark.parametrize(
    ("stored", "read_as"),
    [
        ("u1", "f4"),
        ("i2", "f4"),
        ("u2", "f4"),
        ("i4", "f8"),
        ("u4", "f8"),
        ("f4", "f4"),
        ("f8", "f8"),
    ],
    ids=str,
)
def test_values_become_floating_point_that_holds_them(
    tmp_path: Path, stored: str, read_as: str
) -> None:
    top = 1.5 if stored[0] == "f" else np.iinfo(stored).max
    values = np.array([[0, 1], [2, top]], dtype=stored)
    data = read(write(tmp_path / "a.fits", values)).data
    assert data.dtype == np.dtype(read_as)
    assert data.dtype.isnative
    np.testing.assert_array_equal(data, values.astype(read_as))


@pytest.mark.parametrize(
    ("stored", "dtype"), [("u8", None), ("u8", "f4"), ("u4", "f4"), ("u2", "f2")], ids=str
)
def test_small_unsigned_values_are_told_apart_in_any_precision(
    tmp_path: Path, stored: str, dtype: str | None
) -> None:
    values = np.array([[0, 1, 2, 1000]], dtype=stored)
    data = read(write(tmp_path / "a.fits", values), dtype=dtype).data
    assert data.dtype == np.dtype(dtype or "f8")
    np.testing.assert_array_equal(data, values)


def test_unsigned_values_do_not_wrap_when_one_is_subtracted(tmp_path: Path) -> None:
    ccd = read(write(tmp_path / "a.fits", RAMP))
    assert (ccd.data - 5).min() == -5


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "tiles"])
def test_blank_pixels_are_nan_and_masked_also_in_unsigned_images(
    tmp_path: Path, compressed: bool
) -> None:
    name = write(tmp_path / "a.fits", RAMP, BLANK=-32768 + 7)
    if compressed:
        with fits.open(name, do_not_scale_image_data=True) as hdus:
            image = fits.CompImageHDU(hdus[0].data)
            image.header.update(BZERO=32768, BSCALE=1, BLANK=-32768 + 7)
            name = str(tmp_path / "a.fits.fz")
            fits.HDUList([fits.PrimaryHDU(), image]).writeto(name)
    ccd = read(name)
    assert np.argwhere(np.isnan(ccd.data)).tolist() == np.argwhere(RAMP == 7).tolist()
    np.testing.assert_array_equal(ccd.mask, RAMP == 7)


def test_scaled_integers_are_what_they_stand_for_and_say_so_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    hdu = fits.PrimaryHDU(RAMP.astype(np.int16))
    hdu.writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update(BSCALE=0.5, BZERO=100.0)
    ccd = read(path)
    np.testing.assert_array_equal(ccd.data, RAMP * 0.5 + 100)
    assert not {"BSCALE", "BZERO"} & set(ccd.header)
    with pytest.raises(ValueError, match="not integers"):
        read(path, dtype=np.int32)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i8"])
def test_integers_are_read_as_such_if_asked_for(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0, 1, np.iinfo(dtype).max]], dtype=dtype)
    data = read(write(tmp_path / "a.fits", values), dtype=dtype).data
    np.testing.assert_array_equal(data, values)


def test_integers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", np.array([[300]], dtype=np.uint16))
    with pytest.raises(ValueError, match=r"a\.fits: values .* do not fit dtype=uint8: give"):
        read(name, dtype=np.uint8)


# Units


def test_the_unit_is_bunit_or_the_fallback_or_what_the_caller_says(tmp_path: Path) -> None:
    given = write(tmp_path / "a.fits", BUNIT="ELECTRONS")
    missing = write(tmp_path / "b.fits")
    assert read(given).unit == u.electron
    assert read(given, unit="ct").unit == u.ct
    assert read(given, unit="").unit == u.dimensionless_unscaled
    assert read(missing).unit == u.adu


def test_a_bunit_that_is_no_unit_is_told_with_its_value(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", BUNIT="raw")
    with pytest.warns(BigpipeWarning, match=r"^BUNIT = 'raw' is not a known unit; .* as adu"):
        assert read(name).unit == u.adu
    with pytest.raises(ValueError, match=r"'raw' is not a known unit. Give fallback_unit"):
        read_ccd(name)


def test_a_missing_unit_without_fallback_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.fits: it has no BUNIT. Give fallback_unit"):
        read_ccd(write(tmp_path / "a.fits"))


# HDUs


def test_the_first_image_is_read_with_the_cards_of_the_primary_hdu(tmp_path: Path) -> None:
    name = write_extensions(tmp_path / "a.fits", ("SCI", RAMP), ("OTHER", RAMP + 1), OBJECT="M 13")
    with fits.open(name, mode="update") as hdus:
        for text in ("one", "two"):
            hdus[0].header.add_history(text)
    ccd = read(name)
    np.testing.assert_array_equal(ccd.data, RAMP)
    assert ccd.header["OBJECT"] == "M 13"
    assert list(ccd.header["HISTORY"]) == ["one", "two"]
    np.testing.assert_array_equal(read(name, hdu="other").data, RAMP + 1)
    np.testing.assert_array_equal(read(name, hdu=2).data, RAMP + 1)


def test_all_images_are_read_as_a_list_that_shares_the_primary_header(tmp_path: Path) -> None:
    name = write_extensions(tmp_path / "a.fits", ("A", RAMP), ("B", RAMP + 1), OBJECT="M 13")
    first, second = read(name, hdu="all")
    assert [ccd.header["EXTNAME"] for ccd in (first, second)] == ["A", "B"]
    assert {ccd.header["OBJECT"] for ccd in (first, second)} == {"M 13"}
    np.testing.assert_array_equal(second.data, RAMP + 1)


@pytest.mark.parametrize("hdu", ["NONE", 7])
def test_an_hdu_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, hdu: Any) -> None:
    name = write_extensions(tmp_path / "a.fits", ("SCI", RAMP))
    with pytest.raises(ValueError, match=r"no HDU .*0 PRIMARY \(no image\), 1 SCI \(3 x 4\)"):
        read(name, hdu=hdu)


@pytest.mark.parametrize("hdu", [None, "all", 0], ids=str)
def test_a_file_without_an_image_is_refused(tmp_path: Path, hdu: Any) -> None:
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"a\.fits: .*no image"):
        read(tmp_path / "a.fits", hdu=hdu)


def test_mask_and_uncertainty_are_read_as_ccddata_writes_them(tmp_path: Path) -> None:
    mask = RAMP > 9
    noise = StdDevUncertainty(np.sqrt(RAMP.astype(float)))
    ccd = CCDData(RAMP.astype(float), unit="adu", mask=mask, uncertainty=noise)
    ccd.write(tmp_path / "a.fits")
    same = read(tmp_path / "a.fits")
    np.testing.assert_array_equal(same.mask, mask)
    np.testing.assert_array_equal(same.uncertainty.array, noise.array)
    bare = read(tmp_path / "a.fits", hdu_mask=None, hdu_uncertainty=None)
    assert bare.mask is None
    assert bare.uncertainty is None


@pytest.mark.parametrize(
    ("extension", "cls"),
    [("VAR", VarianceUncertainty), ("IVAR", InverseVariance), ("ERR", StdDevUncertainty)],
)
def test_an_uncertainty_without_a_class_is_what_its_name_says(
    tmp_path: Path, extension: str, cls: type
) -> None:
    noise = np.ones((3, 4), dtype=np.float32)
    name = write_extensions(tmp_path / "a.fits", ("SCI", RAMP), (extension, noise))
    assert type(read(name, hdu_uncertainty=extension).uncertainty) is cls


def test_a_mask_of_another_shape_is_not_the_images(tmp_path: Path) -> None:
    name = write_extensions(tmp_path / "a.fits", ("SCI", RAMP), ("MASK", RAMP[:2]))
    assert read(name).mask is None


def test_the_version_of_an_extension_tells_whose_mask_and_uncertainty_it_is(
    tmp_path: Path,
) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for version in (1, 2):
        hdus.append(fits.ImageHDU(RAMP, name="SCI", ver=version))
        hdus.append(
            fits.ImageHDU(np.full(RAMP.shape, version - 1, np.uint8), name="DQ", ver=version)
        )
        if version == 1:
            hdus.append(fits.ImageHDU(np.ones(RAMP.shape), name="ERR"))
    hdus.writeto(tmp_path / "a.fits")
    names = {"hdu_mask": "DQ", "hdu_uncertainty": "ERR"}
    both = read(tmp_path / "a.fits", hdu="all", **names)
    assert [ccd.mask.all() for ccd in both] == [False, True]
    assert [ccd.uncertainty is None for ccd in both] == [False, True]
    assert read(tmp_path / "a.fits", hdu=("SCI", 2), **names).mask.all()


@pytest.mark.parametrize("ending", [".gz", ".fz"])
def test_compressed_files_are_read_as_others(tmp_path: Path, ending: str) -> None:
    name = write(tmp_path / "a.fits", OBJECT="M 13")
    packed = tmp_path / f"a.fits{ending}"
    if ending == ".gz":
        packed.write_bytes(gzip.compress(Path(name).read_bytes()))
    else:
        image = fits.CompImageHDU(RAMP)
        image.header["OBJECT"] = "M 13"
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(packed)
    ccd = read(packed)
    np.testing.assert_array_equal(ccd.data, RAMP)
    assert ccd.header["OBJECT"] == "M 13"
    assert "EXTNAME" not in ccd.header


def test_a_subclass_is_what_is_returned(tmp_path: Path) -> None:
    class Mine(CCDData):
        pass

    ccd = read(write(tmp_path / "a.fits", OBJECT="M 13"), ccddata_cls=Mine)
    assert type(ccd) is Mine
    assert ccd.header["OBJECT"] == "M 13"


# WCS


def test_the_wcs_is_kept_and_its_cards_are_not_twice(tmp_path: Path) -> None:
    ccd = read(write(tmp_path / "a.fits", **WCS_CARDS))
    sky = ccd.wcs.pixel_to_world(1.0, 0.5)
    assert (sky.ra.deg, sky.dec.deg) == (pytest.approx(10), pytest.approx(20))
    assert not set(WCS_CARDS) & set(ccd.header)
    written = ccd.to_hdu()[0].header
    assert not [card for card in written if card.startswith("CD1")]
    assert written["PC1_1"] * written["CDELT1"] == pytest.approx(-1e-4)


def test_what_was_put_right_in_a_wcs_has_the_same_text_for_all_files(tmp_path: Path) -> None:
    texts = set()
    for i in (1, 2):
        cards = WCS_CARDS | {"DATE-OBS": f"2015-05-2{i}T04:00:00"}
        with pytest.warns(FITSFixedWarning, match="datfix") as caught:
            read(write(tmp_path / f"{i}.fits", **cards))
        texts |= {str(each.message) for each in caught}
    assert len(texts) == 1


def test_a_wcs_that_cannot_be_used_stays_in_the_header(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", **WCS_CARDS | {"CTYPE1": "RA---XYZ"})
    cannot = pytest.warns(BigpipeWarning, match=r"a\.fits: its WCS .* in the header: .* code")
    with cannot, pytest.warns(FITSFixedWarning):
        ccd = read(name)
    assert ccd.wcs is None
    assert ccd.header["CTYPE2"] == "DEC--TAN"


# Broken files


def test_a_card_that_cannot_be_parsed_is_named_and_taken_as_text(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", GOOD=1, OTHER=2)
    good, bad = b"GOOD    =                    1", b"GOOD    = 1:2:3 'x            "
    name = patch(tmp_path / "a.fits", good, bad)
    with pytest.warns(BigpipeWarning, match=r"a\.fits: .*GOOD .*1:2:3") as caught:
        ccd = read(name)
    assert len(caught) == 1
    assert ccd.header["GOOD"].startswith("1:2:3")
    assert ccd.header["OTHER"] == 2
    ccd.write(tmp_path / "b.fits")


def test_text_that_is_not_ascii_is_told_with_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", OBSERVER="Zoe")
    name = patch(tmp_path / "a.fits", b"'Zoe", b"'Zo\xeb")
    with pytest.warns(Warning, match=r"a\.fits: non-ASCII characters"):
        ccd = read(name)
    assert ccd.header["OBSERVER"] == "Zo?"


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", np.ones((100, 100)))
    Path(name).write_bytes(Path(name).read_bytes()[:20_000])
    with (
        pytest.raises(ValueError, match=r"a\.fits: it cannot be read .* copy it again"),
        pytest.warns(Warning, match="truncated"),
    ):
        read(name)


def damaged(tmp_path: Path, damage: str) -> Path:
    """Return a file that someone's disk or network has changed."""
    path = Path(write(tmp_path / "a.fits", np.arange(10_000, dtype=np.uint16).reshape(100, 100)))
    if damage == "axis":
        patch(path, b"NAXIS1  =                  100", b"NAXIS1  =                   -5")
    elif damage == "type":
        patch(path, b"BITPIX  =                   16", b"BITPIX  =                   17")
    elif damage == "scale":
        patch(path, b"BSCALE  =                    1", b"BSCALE  = 'one'               ")
    else:
        packed = bytearray(gzip.compress(path.read_bytes()))
        packed[50:90] = bytes(40)
        path = tmp_path / "a.fits.gz"
        path.write_bytes(packed)
    return path


@pytest.mark.filterwarnings("ignore:.*truncated")
@pytest.mark.parametrize("damage", ["axis", "type", "scale", "compression"])
def test_a_damaged_file_is_told_by_name(tmp_path: Path, damage: str) -> None:
    path = damaged(tmp_path, damage)
    with pytest.raises(ValueError, match=rf"^{path}: .*(copy it again|correct the header)"):
        read(path)
    CCDMultiPipe().projected_size(path)  # raises nothing


def test_what_is_no_fits_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_text("no")
    with pytest.raises(ValueError, match=r"a\.fits: this is not a FITS file"):
        read(tmp_path / "a.fits")


def test_reading_in_threads_leaves_the_filters_of_warnings_as_they_were(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", **WCS_CARDS)
    before, show = list(warnings.filters), warnings.showwarning
    together = threading.Barrier(4, timeout=30)

    def read_some() -> None:
        together.wait()
        for _ in range(20):
            read(name)

    threads = [threading.Thread(target=read_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
    assert warnings.showwarning is show
