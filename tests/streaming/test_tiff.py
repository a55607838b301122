"""TIFF files as streams of chunks: contiguous or compressed, read as tifffile reads them."""

from __future__ import annotations

import numpy as np
import pytest

from bigpipe.streaming import ChunkedMultiPipe, StoreError, open_store, read_chunks, write_chunks
from bigpipe.streaming.stores.flat import FlatStore

tifffile = pytest.importorskip("tifffile")

STACK = np.arange(7 * 20 * 16).reshape(7, 20, 16)
HYPERSTACK = STACK.reshape(7, 4, 5, 16)
COLOURS = STACK[:6].reshape(2, 20, 16, 3).astype("u1")
KINDS = {
    "contiguous": (STACK.astype("u2"), {}),
    "big-endian": (STACK.astype("u2"), {"byteorder": ">"}),
    "big": (STACK.astype("f4"), {"bigtiff": True}),
    "ImageJ": (HYPERSTACK.astype("u2"), {"imagej": True, "metadata": {"axes": "TZYX"}}),
    "OME": (HYPERSTACK.astype("i2"), {"ome": True, "metadata": {"axes": "TZYX"}}),
    "compressed": (STACK.astype("u2"), {"compression": "zlib"}),
    "compressed hyperstack": (
        HYPERSTACK.astype("u2"),
        {"compression": "zlib", "photometric": "minisblack"},
    ),
    "compressed big-endian": (STACK.astype("f8"), {"compression": "zlib", "byteorder": ">"}),
    "predicted": (STACK.astype("u2"), {"compression": "zlib", "predictor": True}),
    "tiled": (STACK.astype("u2"), {"tile": (16, 16)}),
    "colours": (COLOURS, {"photometric": "rgb"}),
    "compressed colours": (COLOURS, {"photometric": "rgb", "compression": "zlib"}),
    "masks": (STACK % 3 == 0, {}),
    "one image": (STACK[0].astype("i4"), {}),
    "one compressed image": (STACK[0].astype("i4"), {"compression": "zlib"}),
}
each_kind = pytest.mark.parametrize(
    ("array", "how"), [pytest.param(*KINDS[kind], id=kind) for kind in KINDS]
)


@each_kind
def test_images_are_read_as_by_tifffile(array, how, tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, array, **how)
    expected = tifffile.imread(path)
    assert expected.shape == array.shape
    for axis in range(array.ndim):
        reader = read_chunks(path, n=3, axis=axis)
        assert (reader.shape, reader.dtype) == (array.shape, array.dtype)
        chunks = list(reader)
        np.testing.assert_array_equal(np.concatenate(chunks, axis), expected)
        assert {chunk.dtype for chunk in chunks} == {array.dtype}
        chunks[0][...] = 0  # it belongs to nobody else
    (part,) = read_chunks(path, n=9, start=1, stop=2)
    np.testing.assert_array_equal(part, expected[1:2])


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that grows with each image that is decoded."""
    noted = []
    original = tifffile.TiffPage.asarray  # that of a TiffFrame calls it

    def counted(page, **keywords):
        noted.append(page.index)
        return original(page, **keywords)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", counted)
    return noted


@pytest.mark.parametrize(("kind", "is_flat"), [("contiguous", True), ("compressed", False)])
def test_only_what_is_needed_is_read(kind, is_flat, decoded, tmp_path):
    array, how = KINDS[kind]
    tifffile.imwrite(tmp_path / "x.tif", array, **how)
    store = open_store(tmp_path / "x.tif")
    part = store.read((slice(2, 4), slice(0, 5), slice(3, 4)))
    np.testing.assert_array_equal(part, array[2:4, :5, 3:4])
    assert isinstance(store, FlatStore) == is_flat
    assert decoded == ([] if is_flat else [2, 3])
    store.close()


def test_only_image_is_decoded_once_for_all_chunks(decoded, tmp_path):
    array, how = KINDS["one compressed image"]
    tifffile.imwrite(tmp_path / "x.tif", array, **how)
    chunks = read_chunks(tmp_path / "x.tif", n=4)
    assert (len(list(chunks)), len(decoded)) == (5, 1)


def test_chunks_of_so_many_bytes_are_whole_images(tmp_path):
    array, how = KINDS["compressed"]
    tifffile.imwrite(tmp_path / "x.tif", array, **how)
    assert read_chunks(tmp_path / "x.tif", nbytes=2 * array[0].nbytes + 10).n == 2


def test_series_is_chosen(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(STACK.astype("u2"))
        file.write(STACK[0].astype("f4"))
    (image,) = read_chunks(tmp_path / "x.tif", series=1)
    np.testing.assert_array_equal(image, STACK[0])
    with pytest.raises(StoreError, match=r"'.*x.tif' has 2 series of images: no 2"):
        read_chunks(tmp_path / "x.tif", series=2)


@pytest.mark.parametrize("kind", ["contiguous", "compressed"])
def test_truncated_file_is_named(kind, tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (7, 200, 160)).astype("u1")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, noise, **KINDS[kind][1], metadata=None)
    path.write_bytes(path.read_bytes()[:-30000])
    with pytest.raises(StoreError, match=r"x.tif'.* truncated"):
        list(read_chunks(path, n=1))


@pytest.mark.parametrize("content", [b"", b"junk" * 9, b"II*\0junk"], ids=["empty", "junk", "cut"])
def test_what_is_no_tiff_file_is_named(content, tmp_path):
    (tmp_path / "x.tiff").write_bytes(content)
    with pytest.raises(StoreError, match=r"'.*x.tiff' cannot be read as TIFF: .* copy it again"):
        read_chunks(tmp_path / "x.tiff")


def test_tiff_file_is_not_written(tmp_path):
    with pytest.raises(StoreError, match=r"can only be read in chunks: write .npy, .h5 or .zarr"):
        write_chunks(tmp_path / "x.tif", [STACK])
    assert not any(tmp_path.iterdir())


def test_pipeline_reads_a_stack_in_chunks(tmp_path):
    array, how = KINDS["compressed"]
    tifffile.imwrite(tmp_path / "x.tif", array, **how)
    pipe = ChunkedMultiPipe(outdir=tmp_path, outname="x.npy", executor="serial", chunk_length=2)
    [(outname, _)] = pipe.pipeline([tmp_path / "x.tif"])
    np.testing.assert_array_equal(np.load(outname), array)
