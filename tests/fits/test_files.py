"""FITS files are known by their names, and their first image is found without reading it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.fits import read_header
from bigpipe.fits.files import is_fits_name, stem_of
from tests.fits.frames import RAMP, write_extensions


@pytest.mark.parametrize("name", ["a.fits", "A.FIT", "a.fts", "a.fits.gz", "a.fits.fz", "a.fz"])
def test_fits_names_are_known_by_their_ending(name: str) -> None:
    assert is_fits_name(name)
    assert stem_of(f"night/{name}").lower() == "a"


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "fits", "a.fits.txt", "a.fits~"])
def test_other_names_are_not_fits_names(name: str) -> None:
    assert not is_fits_name(name)


def test_the_header_of_the_first_plane_has_the_cards_of_the_primary_hdu(tmp_path: Path) -> None:
    cube = np.zeros((2, 3, 4))
    name = write_extensions(tmp_path / "a.fits", ("CUBE", cube), ("SCI", RAMP[None]), OBJECT="M 1")
    with fits.open(name, mode="update") as hdus:
        for text in ("one", "two"):
            hdus[0].header.add_history(text)
        hdus["SCI"].header.add_history("its own")
    header = read_header(name)
    assert (header["EXTNAME"], header["NAXIS1"], header["OBJECT"]) == ("SCI", 4, "M 1")
    assert list(header["HISTORY"]) == ["its own", "one", "two"]


def test_file_that_is_no_fits_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLY NOT")
    with pytest.raises(ValueError, match=r"a\.fits: this is not a FITS file"):
        read_header(tmp_path / "a.fits")
