"""Code written for ccdmultipipe runs: names, options and idioms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from bigpipe.argparse_handler import ArgparseHandler, BMPArgparseMixin
from bigpipe.fits import CCDArgparseMixin, CCDMultiPipe, FbuCCDData, as_single
from tests.fits.frames import RAMP, write


class Raw(FbuCCDData):
    fallback_unit = "adu"


class Camera(CCDMultiPipe):
    """As a coronagraph's pipeline has it: defaults of its own, checks that are always made."""

    ccddata_cls = Raw

    def __init__(
        self,
        calibration: Any = None,
        outname_append: str = "_p",
        outname_ext: str = ".fits",
        naxis1: int = 4,
        naxis2: int = 3,
        process_expand_factor: float = 3.5,
        **kwargs: Any,
    ) -> None:
        self.calibration = calibration
        super().__init__(
            outname_append=outname_append,
            outname_ext=outname_ext,
            naxis1=naxis1,
            naxis2=naxis2,
            process_expand_factor=process_expand_factor,
            **kwargs,
        )

    def pre_process(self, data: Any, **kwargs: Any) -> Any:
        kwargs = self.kwargs_merge(**kwargs)
        if data.meta.get("filter") is None:
            return (None, {})
        return super().pre_process(data, **kwargs)

    def data_process(self, data: Any, calibration: Any = None, **kwargs: Any) -> Any:
        kwargs = self.kwargs_merge(**kwargs)
        if calibration is None:
            calibration = self.calibration
        return data.subtract(calibration * u.adu, handle_meta="first_found")

    def outname_create(self, *args: Any, outname_ext: str = ".fits", **kwargs: Any) -> Any:
        outname = super().outname_create(*args, outname_ext=outname_ext, **kwargs)
        return outname.replace("Na-on", "Na_on")


class AnyFrame(Camera):
    def pre_process(self, *args: Any, **kwargs: Any) -> Any:
        return CCDMultiPipe(self).pre_process(*args, **kwargs)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    with_filter = write(tmp_path / "Na-on.fts", FILTER="Na")
    return [with_filter, write(tmp_path / "b.fit")]


def test_a_subclass_with_defaults_of_its_own_runs(
    tmp_path: Path, names: list[str], anywhere: dict[str, Any]
) -> None:
    pipe = Camera(calibration=2, post_process_list=as_single, fits_fixed_ignore=True)
    pout = pipe.pipeline(
        names, outdir=tmp_path / "out", create_outdir=True, overwrite=True, **anywhere
    )
    assert [name and Path(name).name for name, _ in pout] == ["Na_on_p.fits", None]
    np.testing.assert_array_equal(fits.getdata(pout[0][0]), RAMP.astype(float) - 2)
    assert fits.getheader(pout[0][0])["BUNIT"] == "adu"


def test_an_object_made_to_call_a_hook_of_the_base_class_does(
    tmp_path: Path, names: list[str]
) -> None:
    pipe = AnyFrame(calibration=0, outdir=tmp_path / "out", create_outdir=True, num_processes=1)
    assert [Path(name).name for name, _ in pipe.pipeline(names)] == ["Na_on_p.fits", "b_p.fits"]


def test_scaled_integers_are_asked_for_by_the_same_keywords(tmp_path: Path) -> None:
    ccd = CCDData(RAMP / 3, unit="adu")
    outname = CCDMultiPipe().file_write(ccd, str(tmp_path / "a.fits"), as_scaled_int=True)
    assert fits.getheader(outname)["BITPIX"] == 16
    np.testing.assert_allclose(fits.getdata(outname), RAMP / 3, atol=1e-4)


def test_a_fallback_unit_counts_last(tmp_path: Path) -> None:
    name, with_unit = write(tmp_path / "a.fits"), write(tmp_path / "b.fits", BUNIT="electron")
    assert Raw.read(name).unit == u.adu
    assert Raw.read(name, fallback_unit="ct").unit == u.ct
    assert Raw.read(with_unit).unit == u.electron
    assert type(Raw.read(name)) is Raw
    assert Raw(CCDData([1.0], unit="s")).unit == u.s
    assert type(Raw.read(name).multiply(2)) is Raw
    with pytest.raises(ValueError, match="unit"):
        FbuCCDData([1.0])


def test_options_of_scripts_are_there() -> None:
    class Script(CCDArgparseMixin, BMPArgparseMixin, ArgparseHandler):
        def add_all(self) -> None:
            for add in ("outname_append", "naxis1", "naxis2", "bitpix", "process_expand_factor"):
                getattr(self, f"add_{add}")()
            self.add_overwrite(default=True)
            self.add_fits_fixed_ignore(help="quiet")

    script = Script(argparse.ArgumentParser())
    script.add_all()
    arguments = ["--naxis2", "3", "--process_expand_factor", "2.5", "--no-overwrite"]
    assert vars(script.parser.parse_args(arguments)) == {
        "outname_append": "_ccdmp",
        "naxis1": None,
        "naxis2": 3,
        "bitpix": None,
        "process_expand_factor": 2.5,
        "overwrite": False,
        "fits_fixed_ignore": False,
    }
