"""Rows of FITS tables: what numpy converts, and what is left to astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from bigpipe.streaming import read_chunks, write_chunks
from bigpipe.streaming.stores.fits_rows import values_of

SEED = np.random.default_rng(1).integers(0, 100, (20, 12))
COLUMNS = {
    "bytes": {"format": "B"},
    "short": {"format": "I"},
    "long": {"format": "3J"},
    "longer": {"format": "K"},
    "float": {"format": "E"},
    "matrix": {"format": "6D", "dim": "(3,2)"},
    "complex": {"format": "C"},
    "pair": {"format": "2M"},
    "flag": {"format": "L"},
    "bits": {"format": "11X"},
    "text": {"format": "7A"},
    "texts": {"format": "6A", "dim": "(3,2)"},
    "signed": {"format": "B", "bzero": -128},
    "unsigned": {"format": "J", "bzero": 2**31},
    "scaled": {"format": "I", "null": -1},  # and SCALING
    "nullable": {"format": "I", "null": -99},
}
# More digits than astropy writes into a card.
SCALING = {"TSCAL": "1.2345678901234567E-05", "TZERO": "100.1234567890123"}


def values_for(name, how):
    """Return 20 values for a column."""
    kind = how["format"][-1]
    if kind == "A":
        text = SEED.astype(str)
        return text[:, :2] if "dim" in how else text[:, 0]
    n = int(how["format"][:-1] or 1)
    values = SEED[:, :n] > 50 if kind in "LX" else SEED[:, :n]
    if "dim" in how:
        return values.reshape(20, 2, 3)
    return values[:, 0] if n == 1 else values


def make(path, names):
    """Write a table with some of the columns."""
    columns = [
        fits.Column(name, array=values_for(name, COLUMNS[name]), **COLUMNS[name]) for name in names
    ]
    table = fits.BinTableHDU.from_columns(columns)
    if "scaled" in names:
        number = names.index("scaled") + 1
        text = table.header.tostring(endcard=False, padding=False)
        cards = [f"{f'{key}{number}':<8}= {x}".ljust(80) for key, x in SCALING.items()]
        header = fits.Header.fromstring(text + "".join(cards))
        rows = table.data.view(np.ndarray).tobytes()
        whole = header.tostring().encode() + rows + bytes(-len(rows) % 2880)
        path.write_bytes(fits.PrimaryHDU().header.tostring().encode() + whole)
    else:
        table.writeto(path)


EACH = [pytest.param([name], id=name) for name in COLUMNS]


@pytest.mark.parametrize("names", [*EACH, pytest.param([*COLUMNS], id="all")])
def test_each_kind_of_column_is_read_and_written_as_by_astropy(names, tmp_path):
    make(tmp_path / "x.fits", names)
    with fits.open(tmp_path / "x.fits", uint=True) as hdus:
        expected = values_of(hdus[1].data)
    chunks = list(read_chunks(tmp_path / "x.fits", n=7))
    assert {chunk.dtype for chunk in chunks} == {expected.dtype}
    np.testing.assert_array_equal(np.concatenate(chunks), expected)
    if "texts" in names:
        return  # several strings in a row cannot be written by themselves
    write_chunks(tmp_path / "y.fits", chunks, like=tmp_path / "x.fits")
    with fits.open(tmp_path / "y.fits", uint=True) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(values_of(hdus[1].data), expected)


@pytest.mark.parametrize(
    ("names", "n_parsed"),
    [
        pytest.param(["float", "matrix", "long", "pair"], 0, id="numbers"),
        pytest.param(["float", "text", "long", "unsigned"], 2, id="some others"),
        pytest.param(["text", "flag"], 2, id="others"),
    ],
)
def test_no_header_of_plain_columns_is_parsed_for_each_chunk(
    names, n_parsed, tmp_path, monkeypatch
):
    """Astropy takes 1 ms for a column, whatever the number of rows."""
    make(tmp_path / "x.fits", names)
    original, parsed = fits.BinTableHDU.fromstring, []

    def noted(data, **keywords):
        hdu = original(data, **keywords)
        parsed.append(hdu.header["TFIELDS"])
        return hdu

    monkeypatch.setattr(fits.BinTableHDU, "fromstring", noted)
    chunks = iter(read_chunks(tmp_path / "x.fits", n=5))
    next(chunks)
    parsed.clear()
    assert len(list(chunks)) == 3
    assert parsed == [n_parsed] * (3 if n_parsed else 0)
