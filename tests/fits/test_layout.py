"""The layout of a file is read from its headers, and is the one that astropy finds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.fits.layout import Layout, layouts_of
from tests.fits.frames import RAMP, write, write_extensions

LONG_HEADER = {f"CARD{i}": i for i in range(100)}


def test_a_primary_image_is_told_with_its_type(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", np.zeros((2, 3, 4), dtype=np.float64), **LONG_HEADER)
    [layout] = layouts_of(name)
    assert layout == Layout(0, "", (2, 3, 4), -64, False)
    assert (layout.n_pixels, layout.n_bytes) == (24, 192)


def test_images_behind_tables_and_empty_hdus_are_found(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("x", "PD()", array=[[1.0], [2.0, 3.0]])])
    sci = fits.ImageHDU(np.zeros((1000, 7), dtype=np.int16), name="SCI")
    var = fits.ImageHDU(np.zeros((5, 6), dtype=np.float32), name="VAR")
    hdus = [fits.PrimaryHDU(), table, sci, fits.ImageHDU(), var]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert list(layouts_of(tmp_path / "a.fits")) == [
        Layout(2, "SCI", (1000, 7), 16, False),
        Layout(4, "VAR", (5, 6), -32, False),
    ]


@pytest.mark.parametrize("algorithm", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
def test_an_image_compressed_by_tiles_is_told_as_it_will_be(tmp_path: Path, algorithm: str) -> None:
    image = fits.CompImageHDU(np.zeros((70, 80), dtype=np.uint16), compression_type=algorithm)
    last = fits.ImageHDU(np.zeros((5, 6)), name="LAST")
    fits.HDUList([fits.PrimaryHDU(), image, last]).writeto(tmp_path / "a.fits.fz")
    first, second = layouts_of(tmp_path / "a.fits.fz")
    assert (first.hdu, first.shape, first.bitpix, first.is_compressed) == (1, (70, 80), 16, True)
    assert second == Layout(2, "LAST", (5, 6), -64, False)


def test_a_file_compressed_as_a_whole_is_told_without_its_data(tmp_path: Path) -> None:
    name = write_extensions(tmp_path / "a.fits", ("SCI", RAMP))
    packed = gzip.compress(Path(name).read_bytes())
    (tmp_path / "a.fits.gz").write_bytes(packed)
    assert list(layouts_of(tmp_path / "a.fits.gz")) == [Layout(1, "SCI", (3, 4), 16, True)]


def test_only_as_much_is_read_as_is_asked_for(tmp_path: Path) -> None:
    name = write(tmp_path / "a.fits", np.zeros((500, 500)))
    packed = gzip.compress(Path(name).read_bytes(), compresslevel=0)
    cut = tmp_path / "cut.fits.gz"
    cut.write_bytes(packed[:20_000])
    layouts = layouts_of(cut)
    assert next(layouts).shape == (500, 500)
    with pytest.raises(OSError, match=r"cut\.fits\.gz: it cannot be decompressed"):
        next(layouts)


@pytest.mark.parametrize(
    "content",
    [b"", b"no FITS file", b"\x00" * 10_000, b"SIMPLE  =" + b" " * 2871, b"SIMPLE  = T" * 2880],
    ids=["empty", "text", "zeros", "no cards", "no end"],
)
def test_what_is_no_fits_file_holds_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.fits").write_bytes(content)
    assert list(layouts_of(tmp_path / "a.fits")) == []


def test_a_name_is_not_cut_at_a_quote_or_padded(tmp_path: Path) -> None:
    name = write_extensions(tmp_path / "a.fits", ("A", RAMP), ("LONGER_NAME", RAMP))
    assert [layout.name for layout in layouts_of(name)] == ["A", "LONGER_NAME"]
