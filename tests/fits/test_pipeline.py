"""`CCDMultiPipe`: its keywords reach reading and writing; memory is told from headers."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import FITSFixedWarning

import bigpipe
from bigpipe import PipelineError, no_outfile
from bigpipe.fits import CCDMultiPipe, as_single
from bigpipe.fits.pipeline import WORKER_BYTES
from tests.fits.frames import RAMP, write, write_extensions
from tests.fits.test_reading import WCS_CARDS
from tests.places import not_spawned


class Double(CCDMultiPipe):
    def data_process(self, data: Any, **kwargs: Any) -> Any:
        return data.multiply(2, handle_meta="first_found")


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return [write(tmp_path / f"{i}.fits", RAMP + i, OBJECT=f"M {i}") for i in range(3)]


def test_frames_go_from_file_to_file(
    tmp_path: Path, names: list[str], anywhere: dict[str, Any]
) -> None:
    pipe = Double(outdir=tmp_path / "out", create_outdir=True, fallback_unit="adu")
    pout = pipe.pipeline(names, post_process_list=as_single, **anywhere)
    assert [Path(name).name for name, _ in pout] == [f"{i}_ccdmp.fits" for i in range(3)]
    for i, (outname, _) in enumerate(pout):
        with fits.open(outname) as hdus:
            np.testing.assert_array_equal(hdus[0].data, (RAMP + i) * 2)
            assert hdus[0].data.dtype.itemsize == 4
            assert (hdus[0].header["BUNIT"], hdus[0].header["OBJECT"]) == ("adu", f"M {i}")


def test_keywords_of_the_object_hold_for_hooks_that_are_called_directly(names: list[str]) -> None:
    pipe = CCDMultiPipe(fallback_unit="electron", dtype=np.float64)
    ccd = pipe.file_read(names[0])
    assert (ccd.unit, ccd.data.dtype) == (u.electron, np.float64)
    assert pipe.file_read(names[0], fallback_unit="ct").unit == u.ct


def test_a_group_is_a_list_of_images(names: list[str]) -> None:
    ccds = CCDMultiPipe(fallback_unit="adu").file_read([names[:2], names[2]])
    assert [len(ccds), len(ccds[0])] == [2, 2]
    np.testing.assert_array_equal(ccds[1].data, RAMP + 2)


def test_a_subclass_of_ccddata_is_used_and_its_own_read_too(names: list[str]) -> None:
    class Mine(CCDData):
        pass

    class Reads(CCDData):
        @classmethod
        def read(cls, name: Any) -> Any:
            return cls(np.zeros((2, 2)), unit="adu", meta={"NAME": name})

    class Pipe(CCDMultiPipe):
        ccddata_cls = Reads

    assert type(CCDMultiPipe(Mine, unit="adu").file_read(names[0])) is Mine
    assert Pipe().file_read(names[0]).meta["NAME"] == names[0]


def test_an_object_may_be_made_with_anything_to_call_its_hooks(tmp_path: Path) -> None:
    class Writes(CCDMultiPipe):
        def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
            return CCDMultiPipe(self).file_write(data, outname, overwrite=True, **kwargs)

    ccd = CCDData(np.zeros((2, 2)), unit="adu")
    assert Writes().file_write(ccd, str(tmp_path / "a.fits")) == str(tmp_path / "a.fits")


# Names


@pytest.mark.parametrize(
    ("in_name", "keywords", "outname"),
    [
        ("raw/a.fits", {}, "out/a_ccdmp.fits"),
        ("raw/a.fits.gz", {}, "out/a_ccdmp.fits"),
        ("raw/a.fts.fz", {}, "out/a_ccdmp.fts"),
        ("raw/a.fz", {}, "out/a_ccdmp.fits"),
        ("raw/a.b.fts", {"outname_ext": ".fits"}, "out/a.b_ccdmp.fits"),
        ("raw/a.fits.gz", {"outname_ext": ".fits.gz"}, "out/a_ccdmp.fits.gz"),
        ("raw/a.fits", {"compression": "RICE_1"}, "out/a_ccdmp.fits.fz"),
        ("raw/a.fits", {"outname_append": "_red"}, "out/a_red.fits"),
        ("raw/a.fits.gz", {"outname": "b.fits.gz"}, "out/b.fits.gz"),
        (["raw/a.fits"], {"meta": {"outname": "b"}}, "out/b"),
        (["raw/a.fits"], {"outname": "b", "outname_ext": ".fits"}, "out/b.fits"),
    ],
    ids=str,
)
def test_the_output_is_named_after_the_input_uncompressed(
    in_name: Any, keywords: dict[str, Any], outname: str
) -> None:
    assert CCDMultiPipe(outdir="out").outname_create(in_name, **keywords) == outname
    assert CCDMultiPipe(outdir="out", **keywords).outname_create(in_name) == outname


def test_a_plan_knows_the_names_of_the_outputs(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "a").mkdir()
    twice = [*names, write(tmp_path / "a" / "0.fits")]
    plan = CCDMultiPipe(outdir=tmp_path, outname_ext=".fits").plan(twice)
    assert "0_ccdmp.fits" in str(plan)


# Writing


def test_an_output_that_is_there_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, names: list[str]
) -> None:
    pipe = Double(outdir=tmp_path / "out", create_outdir=True, fallback_unit="adu", num_processes=1)
    pipe.pipeline(names)
    said = f"{tmp_path}/out/[^/]+ already exists: give overwrite=True"
    with pytest.raises(PipelineError, match=said):
        CCDMultiPipe.pipeline(pipe, names)
    again = CCDMultiPipe(outdir=tmp_path / "out", fallback_unit="adu", overwrite=True)
    [(outname, _)] = again.pipeline(names[1:2], num_processes=1)
    np.testing.assert_array_equal(fits.getdata(outname), RAMP + 1)
    pipe.pipeline(names, overwrite=True)
    np.testing.assert_array_equal(fits.getdata(outname), (RAMP + 1) * 2)


def test_nothing_is_written_if_it_is_not_wanted(tmp_path: Path, names: list[str]) -> None:
    pipe = CCDMultiPipe(outdir=tmp_path / "out", fallback_unit="adu", num_processes=1)
    assert pipe.pipeline(names, ccddata_write=False) == [(None, {})] * 3


def test_what_is_no_image_is_refused_and_hdus_are_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="given ndarray: return CCDData"):
        CCDMultiPipe().file_write(RAMP, str(tmp_path / "a.fits"))
    hdus = fits.HDUList([fits.PrimaryHDU(RAMP)])
    CCDMultiPipe().file_write(hdus, str(tmp_path / "a.fits"))
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits"), RAMP)


def test_the_header_says_what_was_done(tmp_path: Path, names: list[str]) -> None:
    pipe = Double(outdir=tmp_path, fallback_unit="adu", provenance=True, num_processes=1)
    pout = pipe.pipeline([names], outname="all.fits", flat=RAMP, pre_process_list=take_first)
    header = fits.getheader(pout[0][0])
    assert (header["BMPVERS"], header["BMPPIPE"]) == (bigpipe.__version__, "Double")
    assert [header["BMPNIN"], header["BMPIN001"], header["BMPIN003"]] == [3, "0.fits", "2.fits"]
    history = list(header["HISTORY"])
    assert "bigpipe pre_process_list: take_first" in history
    assert "bigpipe keyword fallback_unit = adu" in history
    assert "bigpipe keyword flat = <ndarray (3, 4)>" in history


def take_first(data: Any, **kwargs: Any) -> Any:
    return data[0]


# Memory


def test_memory_is_told_by_the_size_of_the_image(tmp_path: Path) -> None:
    small = write(tmp_path / "a.fits", np.zeros((10, 10)))
    large = write(tmp_path / "b.fits", np.zeros((100, 100)))
    pipe = CCDMultiPipe()
    n_bytes = int(100 * 100 * 17 * 3.5)
    assert pipe.projected_size(large) == WORKER_BYTES + n_bytes
    assert pipe.projected_size([large, [large]]) == WORKER_BYTES + 2 * n_bytes
    assert pipe.projected_size(large, process_expand_factor=7) == WORKER_BYTES + 2 * n_bytes
    assert CCDMultiPipe(bitpix=34).projected_size(large) == WORKER_BYTES + n_bytes // 4
    assert CCDMultiPipe(naxis1=100, naxis2=100).projected_size(small) == WORKER_BYTES + n_bytes


def test_memory_is_told_of_the_images_that_will_be_read(tmp_path: Path) -> None:
    images = [("A", np.zeros((10, 10))), ("B", np.zeros((20, 20)))]
    name = write_extensions(tmp_path / "a.fits", *images)

    def n_pixels(**keywords: Any) -> float:
        size = CCDMultiPipe(bitpix=8, process_expand_factor=1).projected_size(name, **keywords)
        return size - WORKER_BYTES

    assert [n_pixels(), n_pixels(hdu="b"), n_pixels(hdu=2), n_pixels(hdu="all")] == [
        *(100, 400, 400, 500),
    ]


def test_memory_of_a_file_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_text("no")
    assert CCDMultiPipe().projected_size(tmp_path / "a.fits") is None
    assert CCDMultiPipe().projected_size(tmp_path / "missing.fits") is None


def test_the_callers_process_size_wins(names: list[str]) -> None:
    def look(data: Any, **kwargs: Any) -> Any:
        raise AssertionError

    pipe = CCDMultiPipe(process_size="1 GiB", post_process_list=no_outfile, fallback_unit="adu")
    assert len(pipe.pipeline(names, num_processes=1)) == 3
    with pytest.raises(bigpipe.OptionError):
        pipe.pipeline(names, process_size="much")


# Warnings


@not_spawned
def test_what_was_put_right_in_a_wcs_is_said_once_in_a_run(
    tmp_path: Path, anywhere: dict[str, Any]
) -> None:
    names = [
        write(tmp_path / f"{i}.fits", **WCS_CARDS, **{"DATE-OBS": f"2015-05-2{i}T04:00:00"})
        for i in range(4)
    ]
    pipe = CCDMultiPipe(fallback_unit="adu", post_process_list=no_outfile)
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            pipe.pipeline(names, **anywhere)
        assert [each.category for each in caught] == [FITSFixedWarning]
    for keywords in ({"fits_fixed_ignore": True}, {"warning_ignore_list": [FITSFixedWarning]}):
        pipe.pipeline(names, **keywords, **anywhere)  # any warning would be an error


def test_a_broken_frame_costs_only_itself(
    tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.fits").write_text("no")
    caplog.set_level(logging.ERROR, logger="bigpipe")
    pipe = CCDMultiPipe(outdir=tmp_path / "out", create_outdir=True, fallback_unit="adu")
    pout = pipe.pipeline([*names, tmp_path / "bad.fits"], on_error="return", num_processes=1)
    assert [bool(name) for name, _ in pout] == [True, True, True, False]
    assert "this is not a FITS file" in str(pout.errors[0])
