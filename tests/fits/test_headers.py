from __future__ import annotations

from typing import Any

import pytest

from bigpipe.fits import headers
from bigpipe.fits.headers import Kind


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        pytest.param({"IMAGETYP": "Bias Frame"}, Kind.BIAS, id="maxim-bias"),
        pytest.param({"IMAGETYP": "zero"}, Kind.BIAS, id="iraf-zero"),
        pytest.param({"IMAGETYP": "FLAT"}, Kind.FLAT, id="flat"),
        pytest.param({"OBSTYPE": "dome flat"}, Kind.FLAT, id="dome-flat"),
        pytest.param({"ESO DPR TYPE": "FLAT,SKY"}, Kind.FLAT, id="eso-flat"),
        pytest.param({"IMAGETYP": "Dark Flat", "EXPTIME": 3}, Kind.DARK, id="dark-for-flats"),
        pytest.param({"IMAGETYP": "Light Frame", "OBJECT": "bias"}, Kind.LIGHT, id="light-wins"),
        pytest.param({"IMAGETYP": "object", "OBJECT": "Dome Flat"}, Kind.FLAT, id="object-tells"),
        pytest.param(
            {"OBSTYPE": "DARK", "OBJECT": "Bias", "EXPTIME": 0}, Kind.BIAS, id="dark-of-0-s"
        ),
        pytest.param({"OBSTYPE": "OBJECT", "OBJECT": "Arcs"}, Kind.LIGHT, id="arc"),
        pytest.param({"OBJECT": "Dark Nebula B33"}, Kind.LIGHT, id="nebula-called-dark"),
        pytest.param({"FRAME": "FK5", "OBJECT": "LTT7379"}, Kind.LIGHT, id="frame-of-coordinates"),
        pytest.param({}, Kind.LIGHT, id="nothing"),
    ],
)
def test_kind_is_told_from_the_words_of_the_header(header: dict[str, Any], kind: Kind) -> None:
    assert headers.kind_of(header) is kind


def test_gain_is_that_in_electrons_where_a_camera_writes_a_setting_too() -> None:
    assert headers.gain_of({"GAIN": 139, "EGAIN": 0.8}) == 0.8
    assert headers.gain_of({"GAIN": "1.9"}) == 1.9


@pytest.mark.parametrize("value", [0, -1, "high", float("nan"), None], ids=str)
def test_gain_that_cannot_be_one_is_not_known(value: Any) -> None:
    assert headers.gain_of({"GAIN": value}) is None


def test_exposure_is_none_when_no_keyword_gives_it() -> None:
    assert headers.exposure_of({"EXPTIME": "unknown"}) is None
    assert headers.exposure_of({"EXPOSURE": 5}) == 5.0


def test_unsigned_16_bit_data_saturate_at_the_largest_number() -> None:
    assert headers.saturation_of({"BITPIX": 16, "BZERO": 32768}) == 65535.0
    assert headers.saturation_of({"BITPIX": -32}) is None
    assert headers.saturation_of({"SATURATE": 60000, "BITPIX": 16, "BZERO": 32768}) == 60000.0


def test_section_with_spaces_is_read() -> None:
    header = {"BIASSEC": "[   4:  13,   1: 520]", "TRIMSEC": "[  17: 528,   1: 520]"}
    (amplifier,) = headers.readout_of(header, (520, 536))
    assert amplifier.data == (slice(0, 520), slice(16, 528))
    assert amplifier.overscan == (slice(0, 520), slice(3, 13))


def test_two_amplifiers_share_columns_and_overscan_in_order() -> None:
    header = {"DATASEC": "[1:2048,1:350]", "AMPSROW": 2, "COVER": 32}
    left, right = headers.readout_of(header, (350, 2112))
    assert (left.data[1], right.data[1]) == (slice(0, 1024), slice(1024, 2048))
    assert left.overscan is not None
    assert right.overscan is not None
    assert (left.overscan[1], right.overscan[1]) == (slice(2048, 2080), slice(2080, 2112))


@pytest.mark.parametrize("text", ["[1:9,1:5]", "[0:4,1:5]", "[*,*]", "none", ""], ids=repr)
def test_section_that_does_not_lie_in_the_image_is_as_good_as_none(text: str) -> None:
    (amplifier,) = headers.readout_of({"DATASEC": text, "BIASSEC": text}, (5, 8))
    assert amplifier.data == (slice(0, 5), slice(0, 8))
    assert amplifier.overscan is None


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        pytest.param({"OBJECT": "Arcs"}, True, id="object"),
        pytest.param({"IMAGETYP": "comp"}, True, id="iraf"),
        pytest.param({"OBJECT": "Arcturus"}, False, id="a-star"),
    ],
)
def test_arc_lamp_is_known_by_a_whole_word(header: dict[str, Any], answer: bool) -> None:
    assert headers.is_arc(header) is answer
