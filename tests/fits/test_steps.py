"""Each step does to a frame what its name says, finds what it needs, and says what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from bigpipe.fits import CCDMultiPipe, ccd_meta_to_bmp_meta, header_to_meta
from bigpipe.fits.steps import (
    correct_gain,
    divide_flat,
    remove_cosmic_rays,
    subtract_bias,
    subtract_dark,
    subtract_overscan,
    trim,
)

pytest.importorskip("ccdproc")
pytest.importorskip("astroscrappy")

SKY = np.arange(20, dtype=np.float32).reshape(4, 5) + 100


def ccd(data: Any = SKY, unit: str = "adu", **cards: Any) -> CCDData:
    return CCDData(np.array(data, dtype=np.float32), unit=unit, meta=fits.Header(cards))


def raw(**cards: Any) -> CCDData:
    """A frame of two amplifiers, at 10 and 20 adu, with two columns of overscan each."""
    data = np.zeros((4, 10))
    data[:, :3], data[:, 3:6], data[:, 6:8], data[:, 8:] = 15, 27, 10, 20
    return ccd(data, **{"DATASEC": "[1:6,1:4]", "COVER": 2, "AMPSROW": 2, **cards})


def test_each_amplifier_loses_its_own_overscan() -> None:
    done = subtract_overscan(raw())
    np.testing.assert_array_equal(done.data[:, :6], [[5, 5, 5, 7, 7, 7]] * 4)
    assert done.data.dtype == np.float32
    assert raw().data[0, 0] == 15
    assert "overscan" in done.header["HISTORY"][0]


@pytest.mark.parametrize(
    ("axis", "section", "levels"),
    [
        (1, "[5:6,1:4]", [[1], [2], [3], [4]]),
        (0, "[1:6,3:4]", [[8.5, 8.5, 8.5, 8.5, 3.5, 3.5]]),
        (None, "[5:6,1:4]", 2.5),
    ],
    ids=["each row", "each column", "all"],
)
def test_the_overscan_is_taken_along_the_axis(axis: int | None, section: str, levels: Any) -> None:
    data = np.full((4, 6), 8.0)
    data[2] = 9
    data[:, 4:] = [[1, 1], [2, 2], [3, 3], [4, 4]]
    done = subtract_overscan(ccd(data), overscan_section=section, overscan_axis=axis)
    np.testing.assert_array_equal(done.data, data - levels)


@pytest.mark.parametrize("axis", [1, 0], ids=["rows", "columns"])
def test_overscan_beyond_what_saw_light_is_left_out(axis: int) -> None:
    data = np.full((4, 6), 8.0)
    data[:, 4:] = [[1], [2], [3], [4]]
    cards = {"TRIMSEC": "[1:4,2:3]", "BIASSEC": "[5:6,1:4]"}
    if axis == 0:
        data, cards = data.T, {"TRIMSEC": "[2:3,1:4]", "BIASSEC": "[1:4,5:6]"}
    done = trim(subtract_overscan(ccd(data, **cards), overscan_axis=axis)).data
    np.testing.assert_array_equal(done if axis else done.T, [[6] * 4, [5] * 4])


def test_an_overscan_along_the_other_side_is_said() -> None:
    frame = ccd(DATASEC="[1:5,1:3]", BIASSEC="[1:5,4:4]")
    with pytest.raises(
        ValueError, match="covers rows 4 to 4, but the data covers 1 to 3: give over"
    ):
        subtract_overscan(frame)
    np.testing.assert_array_equal(subtract_overscan(frame, overscan_axis=0).data[1], [-10] * 5)


def test_integers_do_not_wrap_in_a_step() -> None:
    frame = raw()
    frame.data = frame.data.astype(np.uint16)
    frame.data[0, 0] = 4
    assert subtract_overscan(frame).data[0, 0] == -6


@pytest.mark.parametrize(
    "section", [{}, {"overscan_section": "5:6"}, {"overscan_section": "[90:99,1:4]"}], ids=str
)
def test_an_overscan_that_is_not_there_is_said(section: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="overscan_section"):
        subtract_overscan(ccd(), **section)


def test_trim_keeps_what_saw_light_and_forgets_where_it_was() -> None:
    done = trim(raw(CRPIX1=1.0))
    assert done.shape == (4, 6)
    assert not {"DATASEC", "COVER", "AMPSROW"} & set(done.header)
    assert trim(ccd(), trim_section="[2:4,1:3]").data.tolist() == SKY[:3, 1:4].tolist()
    assert trim(done) is done


def test_the_bias_is_subtracted() -> None:
    done = subtract_bias(ccd(), bias=ccd(np.full((4, 5), 90)))
    np.testing.assert_array_equal(done.data, SKY - 90)
    assert done.header["HISTORY"][0] == "bias subtracted"


def test_of_several_masters_the_one_that_fits_is_taken() -> None:
    masters = [
        ccd(np.full((9, 9), 1)),
        ccd(np.full((4, 5), 2), **{"CCD-TEMP": -10.0}),
        ccd(np.full((4, 5), 3), **{"CCD-TEMP": -20.5, "IMCMB001": "b1.fits"}),
    ]
    done = subtract_bias(ccd(**{"CCD-TEMP": -20.0}), bias=masters)
    np.testing.assert_array_equal(done.data, SKY - 3)
    assert "b1.fits" in done.header["HISTORY"][0]
    with pytest.raises(
        ValueError, match=r"a\.fits: none of the 2 masters fits as bias: give .* shape"
    ):
        subtract_bias(ccd(**{"CCD-TEMP": 0.0}), bias=masters[1:], in_name="a.fits")
    warm = subtract_bias(ccd(**{"CCD-TEMP": 0.0}), bias=masters, temperature_tolerance=15)
    np.testing.assert_array_equal(warm.data, SKY - 2)


@pytest.mark.parametrize(
    ("options", "level"), [({}, 30), ({"dark_scale": False}, 10)], ids=["scaled", "as it is"]
)
def test_the_dark_is_scaled_to_the_exposure(options: dict[str, Any], level: float) -> None:
    dark = ccd(np.full((4, 5), 10), EXPTIME=20.0)
    done = subtract_dark(ccd(EXPTIME=60.0), dark=dark, **options)
    np.testing.assert_allclose(done.data, SKY - level)


def test_a_dark_without_exposure_is_not_scaled() -> None:
    with pytest.raises(ValueError, match="give dark_scale=False"):
        subtract_dark(ccd(EXPTIME=60.0), dark=ccd())
    np.testing.assert_array_equal(subtract_dark(ccd(), dark=ccd(), dark_scale=False).data, 0)


def test_the_flat_is_divided_and_chosen_by_filter() -> None:
    flats = [
        ccd(np.full((4, 5), 3), FILTER="R"),
        ccd(np.linspace(1, 3, 20).reshape(4, 5), FILTER="V"),
    ]
    done = divide_flat(ccd(FILTER="V"), flat=flats)
    np.testing.assert_allclose(done.data, SKY / flats[1].data * 2, rtol=1e-6)
    assert done.unit == u.adu
    floor = divide_flat(ccd(), flat=flats[1], flat_min_value=1.5, flat_norm_value=1)
    assert floor.data[0, 0] == pytest.approx(100 / 1.5)


@pytest.mark.parametrize("bad", [np.nan, 1e6])
def test_bad_pixels_of_a_flat_do_not_count_in_its_mean(bad: float) -> None:
    flat = ccd(np.full((4, 5), 3))
    flat.data[0, 0], flat.data[0, 1] = bad, 1
    flat.mask = np.zeros((4, 5), bool)
    flat.mask[0, 0] = True
    done = divide_flat(ccd(), flat=flat, flat_min_value=2)
    np.testing.assert_allclose(done.data[1:], SKY[1:] / 3 * (2 + 18 * 3) / 19, rtol=1e-6)
    assert done.mask.sum() == 1


@pytest.mark.parametrize("step", [subtract_bias, subtract_dark, divide_flat])
def test_a_step_without_its_master_says_which_keyword(step: Any) -> None:
    kind = {"subtract_bias": "bias", "subtract_dark": "dark", "divide_flat": "flat"}[step.__name__]
    with pytest.raises(ValueError, match=rf"a\.fits: {step.__name__} was given no {kind}=: give"):
        step(ccd(), in_name="a.fits")


@pytest.mark.parametrize(
    ("bias", "error", "told"),
    [
        ("b.fits", TypeError, r"bias= is the file name 'b.fits': give the frame, bias=read_ccd\("),
        ([Path("b.fits")], TypeError, "bias= is the file name 'b.fits'"),
        (np.ones((4, 5)), TypeError, "bias= is of type ndarray: give a CCDData"),
        (
            CCDData(np.ones((9, 8)), unit="adu"),
            ValueError,
            "the bias has 9 x 8 pixels, the frame 4 x 5",
        ),
    ],
    ids=["name", "list of a path", "array", "shape"],
)
def test_what_is_no_master_for_a_frame_is_named(bias: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=r"a\.fits: " + told):
        subtract_bias(ccd(), bias=bias, in_name="a.fits")


def test_one_row_of_a_bias_serves_all_rows() -> None:
    done = subtract_bias(ccd(), bias=ccd(np.full((1, 5), 90)))
    np.testing.assert_array_equal(done.data, SKY - 90)


def test_the_gain_turns_adu_into_electrons_once() -> None:
    done = correct_gain(ccd(GAIN=2.0))
    assert done.unit == u.electron
    np.testing.assert_array_equal(done.data, SKY * 2)
    assert correct_gain(done) is done
    np.testing.assert_array_equal(correct_gain(ccd(), gain=3).data, SKY * 3)
    with pytest.raises(ValueError, match="no GAIN or EGAIN"):
        correct_gain(ccd())


def hit_frame(**cards: Any) -> tuple[CCDData, Any]:
    rng = np.random.default_rng(seed=8)
    data = rng.normal(100, 5, (60, 60))
    hits = np.zeros((60, 60), dtype=bool)
    hits[[10, 20, 30], [15, 40, 25]] = True
    data[hits] += 2000
    return ccd(data, **cards), hits


def test_cosmic_rays_are_replaced_masked_and_counted() -> None:
    frame, hits = hit_frame(RDNOISE=5.0)
    meta: dict[str, Any] = {}
    done = remove_cosmic_rays(frame, bmp_meta=meta)
    assert done.mask[hits].all()
    assert meta == {"n_cosmics": int(done.mask.sum())}
    assert done.data[hits].max() < 150
    assert done.unit == u.adu
    assert remove_cosmic_rays(frame, read_noise=1e9).mask.sum() == 0
    with pytest.raises(ValueError, match="no RDNOISE: give read_noise="):
        remove_cosmic_rays(hit_frame()[0])


def test_lines_of_an_arc_are_left_alone() -> None:
    frame, _ = hit_frame(OBJECT="Arcs")
    assert remove_cosmic_rays(frame) is frame


def test_cards_go_into_the_metadata() -> None:
    meta: dict[str, Any] = {}
    frames = [ccd(EXPTIME=30.0, OBJECT="a"), ccd(EXPTIME=30.0, OBJECT="b")]
    keys = [("EXPTIME", "s"), "OBJECT", "MISSING"]
    assert header_to_meta(frames, bmp_meta=meta, header_keys=keys) is frames
    assert meta == {"EXPTIME": 30 * u.s, "OBJECT": ["a", "b"]}
    again: dict[str, Any] = {}
    ccd_meta_to_bmp_meta(frames[0], bmp_meta=again, ccd_meta_to_bmp_meta_keys=[("EXPTIME", u.s)])
    assert again == {"EXPTIME": 30 * u.s}


def test_steps_take_each_image_of_a_list_with_its_name() -> None:
    done = subtract_bias([ccd(), [ccd()]], bias=ccd(np.full((4, 5), 90)))
    np.testing.assert_array_equal(done[1][0].data, SKY - 90)
    with pytest.raises(ValueError, match=r"^b\.fits: "):
        correct_gain([ccd(GAIN=1.0), ccd()], in_name=["a.fits", "b.fits"])


def test_steps_in_the_lists_of_a_pipeline_get_its_keywords(tmp_path: Any) -> None:
    names = []
    for i in range(2):
        names.append(str(tmp_path / f"{i}.fits"))
        frame = raw(GAIN=2.0, OBJECT=f"M {i}")
        frame.write(names[-1])
    pipe = CCDMultiPipe(
        outdir=tmp_path,
        num_processes=1,
        pre_process_list=[subtract_overscan, trim, subtract_bias, correct_gain],
        post_process_list=[header_to_meta],
    )
    pout = pipe.pipeline(names, bias=ccd(np.ones((4, 6))), header_keys=["OBJECT"])
    assert [meta for _, meta in pout] == [{"OBJECT": "M 0"}, {"OBJECT": "M 1"}]
    with fits.open(pout[0][0]) as hdus:
        np.testing.assert_array_equal(hdus[0].data, [[8, 8, 8, 12, 12, 12]] * 4)
        assert hdus[0].header["BUNIT"] == "electron"
        assert len(hdus[0].header["HISTORY"]) == 4
