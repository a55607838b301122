"""Files as streams of chunks, and back: what is written is read, in each format."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.units import imperial
from astropy.utils.masked import Masked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigpipe.encoding import decode, encode
from bigpipe.errors import BigpipeWarning
from bigpipe.streaming import (
    ArrayStore,
    ChunkWriter,
    StoreError,
    open_store,
    read_chunks,
    register_store,
    write_chunks,
)
from bigpipe.streaming.stores import flat

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real files are not here")
FORMATS = ["npy", "raw", "fits", "h5", "zarr"]
ANY_AXIS = ("h5", "zarr")
PACKAGES = {"h5": "h5py", "zarr": "zarr"}
each_format = pytest.mark.parametrize("extension", FORMATS)
# The folder is the same for all examples of a test, which write over one another's files.
in_one_folder = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def path_of(folder, extension):
    if extension in PACKAGES:
        pytest.importorskip(PACKAGES[extension])
    return folder / f"x.{extension}"


def how_to_read(path, array):
    """Return what a file without a header does not say."""
    return {"dtype": array.dtype, "shape": array.shape} if path.suffix == ".raw" else {}


def whole(path, array):
    """Read a file by the library that is made for it."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".raw":
        return np.fromfile(path, array.dtype).reshape(array.shape)
    if path.suffix == ".fits":
        return fits.getdata(path)
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path) as file:
            return file["data"][()]
    import zarr

    return zarr.open(str(path), mode="r")[...]


def cuts(length, numbers):
    """Return places where an axis is cut, some of them empty parts."""
    return sorted(min(number, length) for number in numbers)


@st.composite
def arrays(draw, extension):
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    kinds = ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"]
    kinds += [] if extension == "fits" else ["i1", "?", "c8", ">f4"]
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    size = int(np.prod(shape)) * dtype.itemsize
    values = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    with np.errstate(all="ignore"):
        return (values.reshape(*shape, -1).sum(-1) - 128).astype(dtype)


@each_format
@in_one_folder
@given(data=st.data())
def test_what_is_written_in_chunks_is_read_in_others(extension, tmp_path, data):
    path = path_of(tmp_path, extension)
    array = data.draw(arrays(extension))
    growing = data.draw(st.integers(0, array.ndim - 1)) if extension in ANY_AXIS else 0
    if extension == "npy" and data.draw(st.booleans()):
        growing = array.ndim - 1
    at = cuts(array.shape[growing], data.draw(st.lists(st.integers(0, 7), max_size=4)))

    assert write_chunks(path, np.split(array, at, growing), axis=growing) == str(path)

    np.testing.assert_array_equal(whole(path, array), array)
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    n = data.draw(st.integers(1, 8))
    overlap = data.draw(st.integers(0, n - 1))
    reader = read_chunks(path, n=n, axis=axis, overlap=overlap, **how_to_read(path, array))
    chunks = list(reader)
    assert (reader.shape, len(reader)) == (array.shape, len(chunks))
    assert {chunk.dtype for chunk in chunks} == {reader.dtype} == {array.dtype.newbyteorder("=")}
    for first, chunk in zip(reader.positions, chunks, strict=True):
        expected = array.take(range(first, min(first + n, array.shape[axis])), axis)
        np.testing.assert_array_equal(chunk, expected)
        assert chunk.base is None or chunk.base.base is None
        chunk[...] = 0  # it belongs to nobody else
    if overlap == 0:
        again = np.concatenate(list(reader), axis)
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("extension", ["npy", "raw", "fits"])
@in_one_folder
@given(data=st.data())
def test_pieces_that_are_apart_are_read_and_written_however_long_they_are(
    extension, tmp_path, data
):
    array = np.arange(120, dtype="i2").reshape(data.draw(st.permutations([4, 5, 6])))
    axis, n = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 6))
    path = tmp_path / f"x.{extension}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "MAX_ROW", data.draw(st.integers(1, 200)))
        patch.setattr(flat, "SCRATCH", 200)
        chunks = np.split(array, list(range(n, array.shape[axis], n)), axis)
        write_chunks(path, chunks, axis=axis, length=array.shape[axis])
        reader = read_chunks(path, n=n, axis=axis, **how_to_read(path, array))
        np.testing.assert_array_equal(np.concatenate(list(reader), axis), array)
    np.testing.assert_array_equal(whole(path, array), array)


@each_format
@in_one_folder
@given(data=st.data())
def test_a_file_that_is_gone_on_with_is_as_one_written_in_one_go(extension, tmp_path, data):
    path = path_of(tmp_path, extension)
    array = np.arange(180, dtype="i4").reshape(60, 3)
    how = {"chunks": (data.draw(st.integers(1, 20)), 2)} if extension in ANY_AXIS else {}
    synced = data.draw(st.integers(0, 60))
    lost = data.draw(st.integers(synced, 60))

    writer = ChunkWriter(path, **how)
    for first, last in zip(
        [0, *cuts(synced, [20, 41])], [*cuts(synced, [20, 41]), synced], strict=True
    ):
        writer.write(array[first:last])
    state = decode(encode(writer.sync()))
    writer.write(-array[synced:lost])  # not what comes later, so that it would be seen
    writer.abort()

    with ChunkWriter.reopen(path, state, **how) as writer:
        assert writer.position == synced
        for number in range(synced, 60, 7):
            writer.write(array[number : number + 7])
        if synced == 60:
            writer.write(array[60:])
    np.testing.assert_array_equal(whole(path, array), array)
    if extension == "fits":
        assert path.stat().st_size % 2880 == 0
        with fits.open(path) as hdus:
            hdus.verify("exception")


@each_format
def test_what_was_written_after_the_sync_is_cut_off(extension, tmp_path):
    path = path_of(tmp_path, extension)
    writer = ChunkWriter(path)
    writer.write(np.ones((10, 3)))
    state = writer.sync()
    writer.write(np.zeros((9000, 3)))
    writer.abort()
    ChunkWriter.reopen(path, state).close()
    np.testing.assert_array_equal(whole(path, np.ones((10, 3))), np.ones((10, 3)))


@pytest.mark.parametrize("extension", ["npy", "raw", "h5", "zarr"])
def test_a_file_that_holds_less_than_was_noted_is_refused(extension, tmp_path):
    path = path_of(tmp_path, extension)
    writer = ChunkWriter(path)
    writer.write(np.ones((9000, 3)))
    state = writer.sync()
    writer.abort()
    write_chunks(path, [np.ones((10, 3))])
    with pytest.raises(StoreError, match=r"10 samples, but \d+ had been written|is truncated"):
        ChunkWriter.reopen(path, state)


@each_format
def test_a_program_that_is_killed_leaves_what_was_synced(extension, tmp_path):
    """The file is copied as it is, as a killed program would leave it."""
    import shutil

    path = path_of(tmp_path, extension)
    how = {"chunks": (8, 4), "compression": "gzip"} if extension == "h5" else {}
    how = {"chunks": (8, 4)} if extension == "zarr" else how
    array = np.random.default_rng(1).normal(size=(1000, 4))
    writer = ChunkWriter(path, **how)
    for number in range(0, 500, 20):
        writer.write(array[number : number + 20])
    state = writer.sync()
    for number in range(500, 900, 20):
        writer.write(-array[number : number + 20])
    left = tmp_path / f"left.{extension}"
    (shutil.copytree if path.is_dir() else shutil.copy)(path, left)
    writer.abort()

    with ChunkWriter.reopen(left, state, **how) as writer:
        writer.write(array[500:])
    np.testing.assert_array_equal(whole(left, array), array)


@each_format
def test_a_stream_of_nothing_says_so(extension, tmp_path):
    with pytest.raises(StoreError, match="no chunk came for"):
        write_chunks(path_of(tmp_path, extension), [])


@each_format
def test_an_array_without_samples_is_written_and_read(extension, tmp_path):
    path = path_of(tmp_path, extension)
    array = np.zeros((0, 3))
    write_chunks(path, [array])
    if extension == "fits":  # an HDU with an axis of no length has no data
        with pytest.raises(StoreError, match="has data"):
            read_chunks(path)
    else:
        assert list(read_chunks(path, **how_to_read(path, array))) == []


@pytest.mark.parametrize("extension", ["raw", "fits", "npy"])
def test_a_format_that_cannot_grow_along_an_axis_says_what_can(extension, tmp_path):
    path = tmp_path / f"x.{extension}"
    with pytest.raises(StoreError, match=r"cannot grow along axis 1.*Give length=.*\.h5 or \.zarr"):
        write_chunks(path, [np.zeros((2, 3, 4))], axis=1)


@each_format
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_with_its_length_known_any_format_takes_chunks_along_any_axis(extension, axis, tmp_path):
    path = path_of(tmp_path, extension)
    array = np.arange(60, dtype="u2").reshape(3, 4, 5)
    chunks = np.array_split(array, 2, axis)
    write_chunks(path, chunks, axis=axis, length=array.shape[axis])
    np.testing.assert_array_equal(whole(path, array), array)
    for number, wrong in ((1, chunks[:1]), (2, [*chunks, chunks[0]])):
        with pytest.raises(StoreError, match=r"was given \d samples, but length="):
            write_chunks(
                tmp_path / f"{number}.{extension}", wrong, axis=axis, length=array.shape[axis]
            )


@each_format
def test_chunks_that_do_not_fit_are_refused(extension, tmp_path):
    path = path_of(tmp_path, extension)
    with pytest.raises(StoreError, match=r"of shape \(2, 4\) does not fit into .*\(2, 3\) so far"):
        write_chunks(path, [np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(StoreError, match=r"of float64 cannot be written .* as int16"):
        write_chunks(path, [np.zeros(2, "i2"), np.zeros(2)])
    with pytest.raises(StoreError, match=r"of float64 cannot be written .* as int16"):
        write_chunks(path, [np.zeros(2)], dtype="i2")
    with pytest.raises(StoreError, match="is a single number, not a chunk"):
        write_chunks(path, [np.float64(3)])
    with pytest.raises(StoreError, match="masked values"):
        write_chunks(path, [np.ma.array([1, 2], mask=[True, False])])


@pytest.mark.parametrize("kind", [str, Path], ids=["str", "Path"])
def test_name_in_place_of_chunks_is_refused(kind, tmp_path):
    path = kind(tmp_path / "x.npy")
    with pytest.raises(StoreError, match=r"x.npy' is a file name.* name of the file first"):
        write_chunks(iter([np.zeros(3)]), path)
    with pytest.raises(StoreError, match=r"a file name.*: give .*read_chunks\('.*x.npy'\)"):
        write_chunks(tmp_path / "y.npy", path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_one_array_in_place_of_chunks_is_refused(shape, tmp_path):
    with pytest.raises(StoreError, match=r"give \[array\] to write it as a chunk"):
        write_chunks(tmp_path / "x.npy", np.zeros(shape))
    assert not list(tmp_path.iterdir())


@each_format
def test_numbers_are_converted_if_a_dtype_is_given(extension, tmp_path):
    path = path_of(tmp_path, extension)
    array = np.array([1.5, 2.5])
    write_chunks(path, [array], dtype="f4")
    assert whole(path, array.astype("f4")).dtype.newbyteorder("=") == np.dtype("f4")
    write_chunks(path, [array, np.array([3], "i2")])
    np.testing.assert_array_equal(whole(path, np.zeros(3)), [1.5, 2.5, 3])


@each_format
def test_a_chunk_can_be_written_into_once_it_is_handed_over(extension, tmp_path):
    path = path_of(tmp_path, extension)
    chunk = np.zeros(5)
    with ChunkWriter(path) as writer:
        for number in range(3):
            chunk[:] = number
            writer.write(chunk)
    assert whole(path, np.zeros(15)).tolist() == [0] * 5 + [1] * 5 + [2] * 5


def hand_over(chunks, writer):
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        writer.write(chunk)


@each_format
def test_a_block_that_fails_closes_the_file_and_hides_no_error(extension, tmp_path):
    path = path_of(tmp_path, extension)
    for chunks in ([np.zeros(3), ZeroDivisionError()], [ZeroDivisionError()]):
        writer = ChunkWriter(path)
        with pytest.raises(ZeroDivisionError), writer:
            hand_over(chunks, writer)
        with pytest.raises(StoreError, match="is closed"):
            writer.write(np.zeros(3))


def test_chunks_of_other_libraries_are_written(tmp_path):
    class Exporting:
        """An array of another library."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **keywords):
            return self.array.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    path = tmp_path / "x.npy"
    write_chunks(path, [Exporting(np.arange(3.0)), [3.0, 4.0], memoryview(np.arange(2.0))])
    assert np.load(path).tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_iterators_and_nothing_in_a_stream_are_as_everywhere(tmp_path):
    path = tmp_path / "x.npy"
    write_chunks(path, [None, np.zeros(1), iter([np.ones(1), None, np.ones(2)])])
    assert np.load(path).tolist() == [0, 1, 1, 1]


# What is asked for


def ramp(folder, n=100):
    np.save(folder / "ramp.npy", np.arange(n, dtype="f8"))
    return folder / "ramp.npy"


def test_chunks_are_as_long_as_their_bytes_allow(tmp_path):
    path = ramp(tmp_path)
    assert read_chunks(path, nbytes=240).n == 30
    assert read_chunks(path, nbytes="0.5 kB").n == 62
    assert read_chunks(path).n == (64 << 20) // 8
    assert read_chunks(path, nbytes=240).chunk_nbytes == 240


def test_a_sample_that_is_too_large_comes_alone_with_a_warning(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 100)))
    with pytest.warns(BigpipeWarning, match=r"along axis 0, 1 samples, has 800 B.*than the 100 B"):
        reader = read_chunks(tmp_path / "x.npy", nbytes=100)
    assert [chunk.shape for chunk in reader] == [(1, 100)] * 3


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"n": 0}, "n=0 is not a valid chunk length"),
        ({"n": 1e2}, "n=100.0 is not a number of samples: give an int"),
        ({"n": "7"}, "n='7' is not a number of samples"),
        ({"n": 4, "overlap": 1.0}, "overlap=1.0 is not a number of samples"),
        ({"n": 4, "overlap": 4}, "overlap=4"),
        ({"n": 4, "nbytes": 4}, "both set the length of chunks of '.*ramp.npy'"),
        ({"axis": 1}, r"no axis 1 in '.*ramp.npy', whose shape is \(100,\)"),
        ({"start": -1}, "is not a part of"),
        ({"start": 5, "stop": 3}, "is not a part of"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(keywords, said, tmp_path):
    with pytest.raises(StoreError, match=said):
        read_chunks(ramp(tmp_path), **keywords)


def test_a_part_of_a_file_is_read(tmp_path):
    path = ramp(tmp_path)
    reader = read_chunks(path, n=4, start=10, stop=19)
    assert np.concatenate(list(reader)).tolist() == list(range(10, 19))
    assert reader.positions == range(10, 22, 4)
    assert list(read_chunks(path, start=200)) == []
    assert np.concatenate(list(read_chunks(path, stop=1000))).tolist() == list(range(100))


def test_reading_goes_on_from_a_position(tmp_path):
    reader = read_chunks(ramp(tmp_path), n=8, overlap=2)
    chunks = [chunk.tolist() for chunk in reader]
    later = [chunk.tolist() for chunk in reader.from_position(reader.positions[3])]
    assert later == chunks[3:]


def test_a_reader_reads_anew_each_time_and_elsewhere(tmp_path):
    reader = read_chunks(ramp(tmp_path), n=30)
    first = iter(reader)
    next(first)
    assert len(list(reader)) == len(list(pickle.loads(pickle.dumps(reader)))) == 4
    assert len(list(first)) == 3


def test_a_reader_looks_as_what_it_reads(tmp_path):
    path = ramp(tmp_path)
    assert repr(read_chunks(path, n=30)) == f"<4 chunks of 30 of {str(path)!r}, float64 (100,)>"


@pytest.mark.parametrize("extension", ["h5", "zarr"])
def test_chunks_of_so_many_bytes_are_whole_storage_chunks(extension, tmp_path):
    path = path_of(tmp_path, extension)
    write_chunks(path, [np.zeros((1000, 2))], chunks=(30, 2))
    assert read_chunks(path, nbytes=16 * 100).n == 90
    assert read_chunks(path, nbytes=16 * 20).n == 15
    assert read_chunks(path, nbytes=16 * 100, overlap=7).n == 97
    assert read_chunks(path, n=100).n == 100


@each_format
def test_a_file_that_is_not_there_is_named(extension, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        read_chunks(path_of(tmp_path, extension))
    assert caught.value.filename == str(tmp_path / f"x.{extension}")


def test_a_format_that_nobody_knows_is_told_what_to_do(tmp_path):
    path = tmp_path / "x.tape"
    path.write_bytes(bytes(80))
    with pytest.raises(
        StoreError, match=r"cannot be read or written.*\.fits.*dtype=.*register_store"
    ):
        read_chunks(path)
    with pytest.raises(StoreError, match="cannot be read or written"):
        write_chunks(path, [np.zeros(3)])
    assert next(iter(read_chunks(path, dtype="f8"))).shape == (10,)
    write_chunks(path, [np.ones(3)], dtype="f4")
    assert path.stat().st_size == 12


class OneNumberALine:
    """A format that no library knows, as somebody would write it."""

    chunks = None
    dtype = np.dtype("f8")

    def __init__(self, name):
        self.name = name
        self.lines = Path(name).read_text().split()
        self.shape = (len(self.lines),)

    @classmethod
    def open(cls, name, mode):
        return cls(name)

    @classmethod
    def create(cls, name, *, shape, dtype, axis, n):
        Path(name).write_text("")
        return cls(name)

    def read(self, region):
        return np.array(self.lines[region[0]], float)

    def write(self, region, array):
        self.lines[region[0]] = map(str, array.tolist())

    def resize(self, shape):
        self.shape = shape

    def sync(self):
        Path(self.name).write_text("\n".join(self.lines))

    close = sync


@pytest.mark.parametrize("extension", [".Lines", "lines"])
def test_a_format_of_ones_own_is_read_and_written(extension, tmp_path, monkeypatch):
    from bigpipe.streaming.stores import base

    monkeypatch.setattr(base, "_REGISTERED", {})
    register_store(OneNumberALine, extension)
    path = tmp_path / "x.lines"
    write_chunks(path, [np.arange(3.0), np.arange(2.0)])
    assert path.read_text().split() == ["0.0", "1.0", "2.0", "0.0", "1.0"]
    assert [chunk.tolist() for chunk in read_chunks(path, n=3)] == [[0, 1, 2], [0, 1]]
    with contextlib.closing(open_store(path)) as store:
        assert isinstance(store, ArrayStore)


# Files that are not as they should be


@pytest.mark.parametrize("extension", ["npy", "raw", "fits", "h5"])
def test_a_truncated_file_is_named(extension, tmp_path):
    path = path_of(tmp_path, extension)
    array = np.arange(3000.0).reshape(1000, 3)
    write_chunks(path, [array])
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 5003)
    with pytest.raises(StoreError, match=rf"{path.name}' .*truncated"):
        list(read_chunks(path, n=100, **how_to_read(path, array)))


def test_a_file_that_is_truncated_while_it_is_read_is_named(tmp_path):
    path = ramp(tmp_path)
    stream = iter(read_chunks(path, n=10))
    next(stream)
    with open(path, "r+b") as file:
        file.truncate(300)
    with pytest.raises(StoreError, match=r"ramp.npy' is truncated: it has 300 bytes") as caught:
        list(stream)
    assert caught.value.__notes__[0].startswith("While reading samples")


@pytest.mark.parametrize(
    "damaged", [b"", b"\x93NUM", b"no numpy file"], ids=["empty", "cut", "text"]
)
def test_what_is_no_npy_file_is_named(damaged, tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"x.npy' is not an .npy file, or is truncated"):
        read_chunks(path)


def test_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([None]))
    with pytest.raises(StoreError, match="holds objects"):
        read_chunks(tmp_path / "x.npy")
    with pytest.raises(StoreError, match="object objects"):
        write_chunks(tmp_path / "y.npy", [np.array([None])])


def test_npy_files_of_all_orders_and_versions_are_read(tmp_path):
    path = tmp_path / "x.npy"
    array = np.arange(12.0).reshape(3, 4)
    for version, given_array in [
        ((1, 0), array),
        ((2, 0), array),
        ((3, 0), array),
        ((1, 0), np.asfortranarray(array)),
        ((1, 0), array.astype(">f8")),
    ]:
        with open(path, "wb") as file:
            np.lib.format.write_array(file, given_array, version)
        np.testing.assert_array_equal(np.concatenate(list(read_chunks(path, n=2))), array)
        np.testing.assert_array_equal(np.hstack(list(read_chunks(path, n=3, axis=1))), array)


def test_a_structured_array_is_written_and_read(tmp_path):
    array = np.zeros(5, [("t", "f8"), ("xy", "i4", (2,)), ("name", "U3")])
    array["t"], array["xy"][:, 1], array["name"] = np.arange(5), 3, "abc"
    for name in ("x.npy", "x.fits"):
        write_chunks(tmp_path / name, [array[:2], array[2:]])
        again = np.concatenate(list(read_chunks(tmp_path / name, n=3)))
        np.testing.assert_array_equal(again.astype(array.dtype), array)


def test_raw_bytes_need_a_dtype_and_whole_samples(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(bytes(3 + 2 * 4 * 5))
    with pytest.raises(StoreError, match="give dtype="):
        read_chunks(path)
    with pytest.raises(StoreError, match="not a whole number of samples of 8 bytes"):
        read_chunks(path, dtype="i2", shape=(-1, 4))
    assert read_chunks(path, dtype="i2", shape=(-1, 4), offset=3).shape == (5, 4)
    assert read_chunks(path, dtype="i2", shape=(4, 4)).shape == (4, 4)
    with pytest.raises(StoreError, match="is truncated: it has 43 bytes, but its array needs 80"):
        read_chunks(path, dtype="i2", shape=(10, 4))


# FITS


def test_scaled_images_are_read_as_astropy_reads_them(tmp_path):
    path = tmp_path / "x.fits"
    for dtype in ("i1", "u2", "u4", "u8", "f4"):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        fits.PrimaryHDU(array).writeto(path, overwrite=True)
        np.testing.assert_array_equal(np.concatenate(list(read_chunks(path, n=1))), array)
        assert read_chunks(path).dtype == array.dtype
        write_chunks(path, [array])
        np.testing.assert_array_equal(fits.getdata(path), array)
    hdu = fits.PrimaryHDU(np.arange(6, dtype="i2").reshape(3, 2))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 10
    hdu.writeto(path, overwrite=True)
    (chunk,) = read_chunks(path)
    np.testing.assert_array_equal(chunk, fits.getdata(path))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".fz"])
def test_compressed_images_are_read_and_not_written(suffix, tmp_path):
    path = tmp_path / f"x.fits{suffix}"
    array = np.arange(600, dtype="i2").reshape(30, 20)
    hdu = fits.CompImageHDU(array) if suffix == ".fz" else fits.PrimaryHDU(array)
    hdu.writeto(path)
    if not hasattr(hdu, "section"):
        with pytest.raises(StoreError, match=r"astropy 5\.3 or later"):
            read_chunks(path)
        return
    np.testing.assert_array_equal(np.concatenate(list(read_chunks(path, n=7))), array)
    np.testing.assert_array_equal(np.hstack(list(read_chunks(path, n=7, axis=1))), array)
    with pytest.raises(StoreError, match="would be compressed"):
        write_chunks(path, [array])


def test_a_compressed_image_that_ends_early_is_named(tmp_path):
    path = tmp_path / "x.fits.gz"
    noise = np.random.default_rng(1).normal(size=(100, 100))
    fits.PrimaryHDU(noise).writeto(path)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(StoreError, match=r"cannot be read as FITS: .* copy it again"):
        list(read_chunks(path, n=30))


def test_tiles_that_are_smaller_than_their_image_are_all_there_or_not(tmp_path):
    path = tmp_path / "x.fits.fz"
    array = np.zeros((300, 200), "i4")
    array[::7] = np.arange(200)
    hdu = fits.CompImageHDU(array)
    hdu.writeto(path)
    whole = path.read_bytes()
    assert len(whole) < array.nbytes
    if not hasattr(hdu, "section"):
        pytest.skip("parts of compressed images are read by astropy 5.3 or later")
    np.testing.assert_array_equal(np.concatenate(list(read_chunks(path, n=7))), array)
    path.write_bytes(whole[:-2880])
    with pytest.raises(StoreError, match="is truncated: it has"):
        read_chunks(path)


def test_the_header_of_the_input_is_kept(tmp_path):
    hdu = fits.PrimaryHDU(np.zeros((4, 3), "u2"))
    hdu.header["OBJECT"], hdu.header["CHECKSUM"] = "M13", "stale"
    hdu.writeto(tmp_path / "x.fits")
    write_chunks(tmp_path / "y.fits", [np.ones((2, 3), "f4")] * 3, like=tmp_path / "x.fits")
    write_chunks(tmp_path / "z.fits", [np.ones((2, 3), "f4")], header=fits.Header({"OBJECT": "M1"}))
    with fits.open(tmp_path / "y.fits") as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert (hdus[0].shape, header["BITPIX"]) == ((6, 3), -32)
        assert (header["OBJECT"], "BZERO" in header, "CHECKSUM" in header) == ("M13", False, False)
    assert fits.getval(tmp_path / "z.fits", "OBJECT") == "M1"


def test_an_hdu_is_chosen(tmp_path):
    path = tmp_path / "x.fits"
    extension = fits.ImageHDU(np.ones((2, 2)), name="VAR")
    fits.HDUList([fits.PrimaryHDU(np.zeros(3)), extension]).writeto(path)
    assert read_chunks(path).shape == (3,)
    assert read_chunks(path, hdu="VAR").shape == read_chunks(path, hdu=1).shape == (2, 2)
    with pytest.raises(StoreError, match="no HDU 'SKY' in"):
        read_chunks(path, hdu="SKY")


@pytest.mark.parametrize("dtype", ["M8[s]", "U5", [("a", "f8"), ("b", "U3")]], ids=str)
def test_what_hdf5_has_no_type_for_is_refused(dtype, tmp_path):
    pytest.importorskip("h5py")
    with pytest.raises(StoreError, match=r"x\.h5' cannot hold .* in a step"):
        write_chunks(tmp_path / "x.h5", [np.zeros(3, dtype)])


@pytest.mark.parametrize("dtype", ["?", "c8", "f2"])
def test_numbers_that_fits_has_not_are_refused(dtype, tmp_path):
    with pytest.raises(StoreError, match=r"cannot hold .*FITS images have no such type"):
        write_chunks(tmp_path / "x.fits", [np.zeros(3, dtype)])


def make_table(n):
    return Table(
        {
            "t": np.arange(n, dtype="f8"),
            "count": np.arange(n, dtype="u2"),
            "flag": np.arange(n) % 2 == 0,
            "name": [f"n{i:02d}" for i in range(n)],
            "xy": np.arange(2 * n, dtype="i4").reshape(n, 2),
        }
    )


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
def test_rows_of_a_table_are_an_array_with_fields(suffix, tmp_path):
    path = tmp_path / f"x.fits{suffix}"
    table = make_table(10)
    table.write(path, format="fits")
    chunks = list(read_chunks(path, n=4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    for name in table.colnames:
        got = np.concatenate([chunk[name] for chunk in chunks])
        np.testing.assert_array_equal(got, table[name])
    assert {chunk.dtype for chunk in chunks} == {read_chunks(path).dtype}


@pytest.mark.parametrize("at", [[], [3], [0, 3, 3, 10]])
def test_tables_are_written_in_chunks(at, tmp_path):
    path = tmp_path / "x.fits"
    table = make_table(10)
    parts = zip([0, *at], [*at, 10], strict=True)
    write_chunks(path, [table[first:last] for first, last in parts])
    with fits.open(path) as hdus:
        hdus.verify("exception")
    again = Table.read(path)
    for name in table.colnames:
        np.testing.assert_array_equal(again[name], table[name])


def test_a_table_that_is_gone_on_with_is_as_one_written_in_one_go(tmp_path):
    path = tmp_path / "x.fits"
    rows = np.array(make_table(300)["t", "count", "xy"])
    writer = ChunkWriter(path)
    writer.write(rows[:100])
    state = writer.sync()
    writer.write(rows[:100])
    writer.abort()
    with ChunkWriter.reopen(path, state) as writer:
        writer.write(rows[100:])
    (again,) = read_chunks(path)
    np.testing.assert_array_equal(again, rows)


def test_text_that_is_longer_than_in_the_first_chunk_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        write_chunks(tmp_path / "x.fits", [Table({"a": ["b"]}), Table({"a": ["longer"]})])


@pytest.mark.parametrize("suffix", [".fits", ".npy", ".h5"])
def test_chosen_columns_are_written_without_gaps(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    rows = np.ones(5, [("a", "i2"), ("b", "f8", 2), ("c", "i4")])
    chosen = rows[["c", "a"]]
    assert write_chunks(path, [chosen[:2], chosen[2:]]) == str(path)
    (again,) = read_chunks(path)
    assert again.dtype.itemsize == 6
    np.testing.assert_array_equal(again, chosen)


def test_a_table_with_masked_values_is_refused(tmp_path):
    table = Table({"a": np.ma.array([1, 2], mask=[False, False]), "b": [1.0, 2.0]}, masked=True)
    write_chunks(tmp_path / "x.fits", [table])
    table["b"].mask[1] = True
    with pytest.raises(StoreError, match="masked values cannot be written"):
        write_chunks(tmp_path / "x.fits", [table])


@pytest.mark.parametrize("suffix", [".fits", ".npy", ".h5"])
def test_quantities_are_written_in_the_unit_of_the_first(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    chunks = [np.ones(2) * units.km, [500.0, 2000.0] * units.m]
    write_chunks(path, chunks)
    np.testing.assert_array_equal(np.concatenate([*read_chunks(path)]), [1, 1, 0.5, 2])
    if suffix == ".fits":
        assert fits.getheader(path)["BUNIT"] == "km"
    writer = ChunkWriter(path)
    writer.write(chunks[0])
    state = writer.sync()
    writer.abort()
    with ChunkWriter.reopen(path, state) as writer:
        writer.write(chunks[1])
    np.testing.assert_array_equal(np.concatenate([*read_chunks(path)]), [1, 1, 0.5, 2])


@pytest.mark.parametrize(
    ("first", "second"),
    [(units.km, units.s), (units.km, None), (None, units.km)],
)
def test_chunk_in_another_unit_is_refused(first, second, tmp_path):
    chunks = [np.ones(2) if unit is None else np.ones(2) * unit for unit in (first, second)]
    expected = f"a chunk in {second or 'no unit'} cannot be .* was in {first or 'no unit'}"
    with pytest.raises(StoreError, match=expected):
        write_chunks(tmp_path / "x.npy", chunks)


def test_unit_of_a_first_chunk_without_samples_counts(tmp_path):
    path = tmp_path / "x.fits"
    write_chunks(path, [np.ones(0) * units.km, [500.0, 2000.0] * units.m])
    assert fits.getdata(path).tolist() == [0.5, 2]
    assert fits.getheader(path)["BUNIT"] == "km"


def test_unit_that_fits_has_not_is_written_by_its_name(tmp_path):
    write_chunks(tmp_path / "x.fits", [np.ones(2) * imperial.mile], header={"A": 1})
    header = fits.getheader(tmp_path / "x.fits")
    assert (header["BUNIT"], header["A"]) == ("mi", 1)


def test_a_table_of_astropys_masked_values_is_refused(tmp_path):
    column = Masked(np.arange(3.0), mask=[False, True, False])
    for chunk in (column, QTable({"a": column})):
        with pytest.raises(StoreError, match="masked values cannot be written"):
            write_chunks(tmp_path / "x.npy", [chunk])


@pytest.mark.parametrize("suffix", [".fits", ".npy"])
def test_rows_as_astropy_reads_them_are_written_with_their_values(suffix, tmp_path):
    columns = [
        fits.Column("n", "I", bzero=2**15, array=np.array([1, 2], "u2")),
        fits.Column("is_good", "L", array=[True, False]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "x.fits")
    write_chunks(tmp_path / f"y{suffix}", [fits.getdata(tmp_path / "x.fits", uint=True)])
    (again,) = read_chunks(tmp_path / f"y{suffix}")
    assert again.tolist() == [(1, True), (2, False)]


def test_columns_may_be_called_as_parts_of_an_array_are(tmp_path):
    rows = np.ones(2, [("mask", "i4"), ("columns", "i4")]).view(np.recarray)
    write_chunks(tmp_path / "x.npy", [rows])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows)


@pytest.mark.parametrize("names", [("b", "a"), ("a", "c")], ids=["order", "names"])
@pytest.mark.parametrize("dtype", [None, [("a", "f4"), ("b", "f4")]], ids=["first", "dtype"])
def test_columns_are_not_put_into_those_of_other_names(names, dtype, tmp_path):
    first, other = (np.ones(2, [(name, "f8") for name in each]) for each in (("a", "b"), names))
    with pytest.raises(StoreError, match="cannot be written"):
        write_chunks(tmp_path / "x.npy", [first, other], dtype=dtype)


def test_text_may_be_bytes_as_astropy_reads_it(tmp_path):
    rows = np.array([("ab", ["c", "de"]), ("xyz", ["g", "f"])], [("s", "U3"), ("v", "U2", 2)])
    write_chunks(tmp_path / "x.fits", [rows])
    table = Table.read(tmp_path / "x.fits")
    assert table["s"].dtype.kind == "S"
    write_chunks(tmp_path / "y.fits", [table[:1], table[1:]], like=tmp_path / "x.fits")
    (again,) = read_chunks(tmp_path / "y.fits")
    np.testing.assert_array_equal(again, rows)
    with pytest.raises(UnicodeDecodeError):
        write_chunks(tmp_path / "z.fits", [np.array([(b"\xff",)], [("s", "S1")])])


def test_a_table_with_several_strings_in_a_row_is_read_and_written(tmp_path):
    rows = np.array([(["ab", "c"], 1), (["", "def"], 2)], [("s", "U3", 2), ("n", "i4")])
    write_chunks(tmp_path / "x.fits", [rows])
    write_chunks(tmp_path / "y.fits", read_chunks(tmp_path / "x.fits", n=1))
    (again,) = read_chunks(tmp_path / "y.fits")
    np.testing.assert_array_equal(again, rows)


@pytest.mark.parametrize("name", [b"'a       '", b"'        '"], ids=["the other's", "none"])
def test_a_table_with_columns_that_have_no_name_of_their_own_is_refused(name, tmp_path):
    path = tmp_path / "x.fits"
    fits.BinTableHDU(np.ones(2, [("a", "i4"), ("b", "i4")])).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"'b       '", name))
    with pytest.raises(StoreError, match=r"have no name, or the same name: .*x\.fits', 'TTYPE2'"):
        read_chunks(path)


def test_a_table_with_arrays_of_different_lengths_is_refused(tmp_path):
    column = fits.Column("v", "PJ()", array=np.array([[1], [1, 2]], dtype=object))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "x.fits")
    with pytest.raises(StoreError, match=r"columns v of .* different lengths"):
        read_chunks(tmp_path / "x.fits")


def test_a_table_without_columns_is_refused(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU()]).writeto(tmp_path / "x.fits")
    with pytest.raises(StoreError, match=r"x\.fits' are empty, as it has no columns"):
        read_chunks(tmp_path / "x.fits", hdu=1)


def test_the_header_is_that_of_the_image_that_was_read(tmp_path):
    two = [fits.ImageHDU(np.ones(3), fits.Header({"KIND": name}), name) for name in ("SCI", "VAR")]
    fits.HDUList([fits.PrimaryHDU(), *two]).writeto(tmp_path / "x.fits")
    write_chunks(tmp_path / "y.fits", [np.ones(3)], like=tmp_path / "x.fits", like_array="VAR")
    assert fits.getheader(tmp_path / "y.fits")["KIND"] == "VAR"


def test_a_table_gets_the_cards_of_the_one_that_was_read(tmp_path):
    columns = [
        fits.Column("t", "D", unit="s", coord_type="TIME", array=np.arange(4.0)),
        fits.Column("n", "J", null=-99, disp="I8", unit="count", array=[1, -99, 3, 4]),
        fits.Column("gone", "J", unit="mm", array=np.arange(4)),
        fits.Column("x", "J", null=-1, disp="I8", unit="pix", array=np.arange(4)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="EVENTS", ver=2)
    table.header.extend([("TELESCOP", "Lick"), ("TEMP1", 20.5), ("TLMIN4", 0), ("TLMIN3", 1)])
    table.header.extend([("TP4_1", 0.5), ("TP4_3", 0.5), ("HISTORY", "made")])
    first = fits.PrimaryHDU(header=fits.Header({"OBSERVER": "me"}))
    fits.HDUList([first, table]).writeto(tmp_path / "x.fits")
    dtype = [("x", "f8"), ("t", "f8"), ("n", "i4"), ("new", "f4")]
    write_chunks(tmp_path / "y.fits", [np.ones(4, dtype)], like=tmp_path / "x.fits")
    with fits.open(tmp_path / "y.fits") as hdus:
        hdus.verify("exception")
        assert hdus[0].header["OBSERVER"] == "me"
        found = hdus["EVENTS", 2]
        assert [column.unit for column in found.columns] == ["pix", "s", "count", None]
        assert [column.null for column in found.columns] == [None, None, -99, None]
        assert [column.disp for column in found.columns] == [None, None, "I8", None]
        assert found.columns["t"].coord_type == "TIME"
        kept = {key: found.header[key] for key in ("TELESCOP", "TEMP1", "TLMIN1", "TP1_2")}
        assert kept == {"TELESCOP": "Lick", "TEMP1": 20.5, "TLMIN1": 0, "TP1_2": 0.5}
        assert not {"TLMIN3", "TLMIN4", "TP4_1", "TP4_3", "TP1_3"} & {*found.header}
        assert found.header["HISTORY"][0] == "made"


def test_null_values_are_left_out_where_numbers_are_stored_otherwise(tmp_path):
    column = fits.Column("n", "J", null=7, bzero=2**31, disp="I8", array=np.arange(3, dtype="u4"))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "x.fits")
    for dtype, null in (("u4", 7), ("i4", None)):
        write_chunks(tmp_path / "y.fits", [np.ones(3, [("n", dtype)])], like=tmp_path / "x.fits")
        assert fits.getheader(tmp_path / "y.fits", 1).get("TNULL1") == null


def test_coordinates_of_images_in_a_column_go_with_it(tmp_path):
    table = fits.BinTableHDU(np.ones(2, [("n", "i4"), ("image", "f4", (2, 3))]))
    table.header.extend([("1CTYP2", "RA---TAN"), ("11PC2A", 0.5), ("WCSN2", "sky"), ("TV2_1", 1.0)])
    table.header.extend([("TS1", 20.5), ("1CTYP1", "gone")])  # the first: of a sensor
    table.writeto(tmp_path / "x.fits")
    (rows,) = read_chunks(tmp_path / "x.fits")
    write_chunks(tmp_path / "y.fits", [rows[["image"]]], like=tmp_path / "x.fits")
    found = fits.getheader(tmp_path / "y.fits", 1)
    kept = {key: found[key] for key in ("1CTYP1", "11PC1A", "WCSN1", "TV1_1", "TS1")}
    assert kept == {"1CTYP1": "RA---TAN", "11PC1A": 0.5, "WCSN1": "sky", "TV1_1": 1.0, "TS1": 20.5}
    assert not {"1CTYP2", "11PC2A", "WCSN2", "TV2_1"} & {*found}
    write_chunks(tmp_path / "y.fits", [np.ones(2, [("image", "f4")])], like=tmp_path / "x.fits")
    assert not {"1CTYP1", "11PC1A"} & {*fits.getheader(tmp_path / "y.fits", 1)}


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_a_card_of_a_column_that_was_written_badly_does_not_lose_the_table(tmp_path):
    path = tmp_path / "x.fits"
    table = fits.BinTableHDU(np.ones(2, [("n", "i4")]))
    table.header["TLMIN1"] = 77
    table.writeto(path)
    path.write_bytes(
        path.read_bytes().replace(b"=                   77", b"=                  7 s")
    )
    write_chunks(tmp_path / "y.fits", read_chunks(path), like=path)
    assert fits.getdata(tmp_path / "y.fits")["n"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "cards",
    [
        {"TUNIT2": "m", "TNULL2": -1},
        {"TFIELDS": 1, "TTYPE1": "b", "TUNIT1": "m", "TNULL1": -1},
        {"TFIELDS": 1, "TTYPE1": "b", "TFORM1": "1J", "TUNIT1": "m", "TNULL1": -1},
    ],
    ids=["by number", "by name", "and form"],
)
def test_a_header_that_is_given_may_tell_of_columns(cards, tmp_path):
    rows = np.ones(2, [("a", "i4"), ("b", "i4")])
    write_chunks(tmp_path / "x.fits", [rows], header=fits.Header(cards))
    with fits.open(tmp_path / "x.fits") as hdus:
        found = [(column.unit, column.null) for column in hdus[1].columns]
    assert found == [(None, None), ("m", -1)]


@pytest.mark.parametrize("dtype", ["f4", [("a", "f4")]], ids=["image", "table"])
def test_a_header_that_is_given_brings_no_checksum_of_other_data(dtype, tmp_path):
    rows = np.arange(4).astype(dtype)
    hdu = fits.BinTableHDU(rows) if rows.dtype.names else fits.PrimaryHDU(rows)
    hdu.writeto(tmp_path / "x.fits", checksum=True)
    header = fits.getheader(tmp_path / "x.fits", 0 if rows.dtype.names is None else 1)
    write_chunks(tmp_path / "y.fits", [rows[:2]], header=header)
    with fits.open(tmp_path / "y.fits") as hdus:
        assert not {"CHECKSUM", "DATASUM"} & {*hdus[-1].header}
    assert "CHECKSUM" in header  # which belongs to the caller


def test_cards_that_told_of_data_as_they_were_are_left_behind(tmp_path):
    first = fits.PrimaryHDU(np.ones((2, 2), "u2"))
    columns = [
        fits.Column("n", "J", bzero=2**31, array=np.arange(2, dtype="u4")),
        fits.Column("grid", "4J", dim="(2,2)", array=np.ones((2, 2, 2))),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    fits.HDUList([first, table]).writeto(tmp_path / "x.fits", checksum=True)
    rows = np.ones(3, [("grid", "i4"), ("n", "i4")])
    write_chunks(tmp_path / "y.fits", [rows], like=tmp_path / "x.fits", like_array=1)
    stale = {"CHECKSUM", "DATASUM", "BZERO", "BSCALE", "TZERO1", "TDIM2"}
    with fits.open(tmp_path / "y.fits") as hdus:
        assert not stale & {*hdus[0].header, *hdus[1].header}
    (again,) = read_chunks(tmp_path / "y.fits")
    np.testing.assert_array_equal(again, rows)


def test_a_table_behind_a_long_first_header_is_gone_on_with(tmp_path):
    rows = np.arange(6).astype([("n", "i4")])
    first = fits.PrimaryHDU(header=fits.Header({f"KEY{i}": i for i in range(100)}))
    fits.HDUList([first, fits.BinTableHDU(rows)]).writeto(tmp_path / "x.fits")
    path = tmp_path / "y.fits"
    writer = ChunkWriter(path, like=tmp_path / "x.fits")
    writer.write(rows[:2])
    state = writer.sync()
    writer.abort()
    with ChunkWriter.reopen(path, state) as writer:
        writer.write(rows[2:])
    (again,) = read_chunks(path)
    np.testing.assert_array_equal(again, rows)
    assert fits.getheader(path)["KEY99"] == 99


def test_a_truncated_table_is_named(tmp_path):
    path = tmp_path / "x.fits"
    make_table(1000).write(path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 8000)
    with pytest.raises(StoreError, match="is truncated"):
        read_chunks(path)


def test_what_a_format_does_not_take_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"npy' has no argument dataset=; it takes: nothing"):
        read_chunks(ramp(tmp_path), dataset="s")
    fits.writeto(tmp_path / "x.fits", np.ones(3))
    with pytest.raises(StoreError, match=r"has no argument dataset=; it takes: hdu=$"):
        read_chunks(tmp_path / "x.fits", dataset="s")


@pytest.mark.parametrize(
    ("name", "keywords", "said"),
    [
        ("x.npy", {"headr": 1}, r"x\.npy' has no argument headr=; it takes: like=, like_array=$"),
        ("x.fits", {"dataset": "s"}, "no argument dataset=; it takes: header=, like=, like_array="),
        ("x.dat", {"dtype": "i2", "shape": (-1, 8)}, "no argument shape=; it takes: like="),
        ("x.h5", {"n": 7}, "no argument n=; it takes: dataset=, like=, like_array=$"),
        ("x.npy", {"unit": "adu"}, "no argument unit="),
    ],
    ids=["none", "that of another format", "that of reading", "ours", "ours of another format"],
)
def test_what_a_format_does_not_take_to_write_is_named(tmp_path, name, keywords, said):
    with pytest.raises(StoreError, match=said):
        write_chunks(tmp_path / name, [np.ones(3, "i2")], **keywords)


# HDF5 and Zarr


def test_a_dataset_is_chosen_by_any_of_its_names(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["second"] = file.create_dataset("first", data=np.arange(3))
        file["first"].attrs["unit"] = "V"
        file["soft"] = h5py.SoftLink("/first")
        file["lost"] = h5py.SoftLink("/nothing")
    for name in ("first", "/second", "soft"):
        assert read_chunks(tmp_path / "x.h5", dataset=name).shape == (3,)
        write_chunks(tmp_path / "y.h5", [np.ones(3)], like=tmp_path / "x.h5", like_array=name)
        with h5py.File(tmp_path / "y.h5") as file:
            assert dict(file["data"].attrs) == {"unit": "V"}
    with pytest.raises(StoreError, match=r"dataset 'lost' is not among .*: first"):
        read_chunks(tmp_path / "x.h5", dataset="lost")


def test_a_dataset_is_chosen_by_its_path(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/data"], file["text"], file["number"] = np.zeros(3), "words", 3
        assert read_chunks  # one array, and others that are none
    assert read_chunks(path).shape == read_chunks(path, dataset="/a/data").shape == (3,)
    with pytest.raises(StoreError, match=r"dataset 'text' is not among the arrays of numbers"):
        read_chunks(path, dataset="text")
    with pytest.raises(StoreError, match=r"dataset 'b' is not among .*: a/data"):
        read_chunks(path, dataset="b")
    with h5py.File(path, "a") as file:
        file["b"] = np.zeros(4)
    with pytest.raises(StoreError, match=r"has several arrays: a/data, b. Give one of them"):
        read_chunks(path)


def test_a_long_list_of_arrays_is_shortened_to_the_nearest(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(100):
            file[f"run{i}/sky"] = np.zeros(3)
    with pytest.raises(StoreError, match=r"numbers in .*: run77/sky, .* and 90 more$"):
        read_chunks(path, dataset="run77/skies")
    with pytest.raises(StoreError, match=r"has several arrays: run0/sky, .* and 90 more\. Give"):
        read_chunks(path)


def test_an_array_of_a_zarr_group_is_chosen_by_its_path(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "x.zarr"
    write_chunks(path, [np.arange(3)], dataset="a")
    assert read_chunks(path).shape == read_chunks(path, dataset="a").shape == (3,)
    with pytest.raises(StoreError, match=r"dataset 'b' is not among .*: a"):
        read_chunks(path, dataset="b")
    zarr.open_group(str(path), mode="a").require_group("below")
    write_chunks(tmp_path / "y.zarr", [np.arange(3)])
    with pytest.raises(StoreError, match="is a single array, without a dataset 'a'"):
        read_chunks(tmp_path / "y.zarr", dataset="a")


def test_how_the_input_is_stored_is_kept(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("s", data=np.zeros(100), compression="gzip", shuffle=True)
        made.attrs["unit"] = "m"
    write_chunks(tmp_path / "y.h5", [np.ones(3)] * 9, like=tmp_path / "x.h5", dataset="s")
    with h5py.File(tmp_path / "y.h5") as file:
        assert (file["s"].compression, file["s"].shuffle, dict(file["s"].attrs)) == (
            *("gzip", True, {"unit": "m"}),
        )


@pytest.mark.parametrize(
    ("how", "unit"),
    [
        pytest.param({"like_array": "a/x"}, "m", id="named"),
        pytest.param({"like_array": "a/x", "dataset": "y"}, "m", id="named, the output as another"),
        pytest.param({"dataset": "y"}, "s", id="as the output"),
    ],
)
@pytest.mark.parametrize("extension", ["h5", "zarr"])
def test_an_output_is_like_one_of_several_arrays(tmp_path, extension, how, unit):
    path = path_of(tmp_path, extension).with_name(f"several.{extension}")
    make_several(path, {"a/x": "m", "y": "s"})
    made = path.with_name(f"made.{extension}")
    write_chunks(made, [np.ones(3)], like=path, **how)
    assert attributes_of(made, how.get("dataset")) == {"unit": unit}


@pytest.mark.parametrize("extension", ["h5", "zarr"])
def test_which_of_several_arrays_an_output_is_like_must_be_said(tmp_path, extension):
    path = path_of(tmp_path, extension).with_name(f"several.{extension}")
    make_several(path, {"a/x": "m", "y": "s"})
    with pytest.raises(StoreError, match=r"Give one as like_array=: a/x, y\."):
        write_chunks(path.with_name(f"made.{extension}"), [np.ones(3)], like=path)


@pytest.mark.parametrize("extension", ["h5", "zarr"])
def test_an_output_of_another_name_is_like_the_only_array(tmp_path, extension):
    path = path_of(tmp_path, extension).with_name(f"several.{extension}")
    make_several(path, {"a/x": "m"})
    made = path.with_name(f"made.{extension}")
    write_chunks(made, [np.ones(3)], like=path, dataset="y")
    assert attributes_of(made, "y") == {"unit": "m"}


def make_several(path, units):
    if path.suffix == ".h5":
        root = pytest.importorskip("h5py").File(path, "w")
    else:
        root = pytest.importorskip("zarr").open_group(str(path), mode="w")
    for name, unit in units.items():
        make = getattr(root, "create_array", None) or root.create_dataset
        make(name, shape=(3,), dtype="f8").attrs["unit"] = unit
    if path.suffix == ".h5":
        root.close()


def attributes_of(path, dataset):
    if path.suffix == ".h5":
        with pytest.importorskip("h5py").File(path) as file:
            return dict(file[dataset or "data"].attrs)
    root = pytest.importorskip("zarr").open(str(path), mode="r")
    return dict((root if dataset is None else root[dataset]).attrs)


def test_how_integers_are_packed_does_not_round_floats(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("s", data=np.arange(100, dtype="i2"), scaleoffset=0, chunks=True)
    write_chunks(tmp_path / "y.h5", [np.full(9, 0.123456789)], like=tmp_path / "x.h5")
    write_chunks(tmp_path / "z.h5", [np.arange(9, dtype="i2")], like=tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5") as file, h5py.File(tmp_path / "z.h5") as packed:
        assert file["data"][0] == 0.123456789
        assert packed["data"].scaleoffset is not None


def test_attributes_of_a_zarr_array_are_kept(tmp_path):
    zarr = pytest.importorskip("zarr")
    write_chunks(tmp_path / "x.zarr", [np.ones(3)])
    zarr.open(str(tmp_path / "x.zarr"), mode="a").attrs["unit"] = "m"
    write_chunks(tmp_path / "y.zarr", [np.ones(3)], like=tmp_path / "x.zarr")
    assert dict(zarr.open(str(tmp_path / "y.zarr"), mode="r").attrs) == {"unit": "m"}


def test_a_file_of_another_format_says_nothing_about_how_to_store(tmp_path):
    path = ramp(tmp_path)
    for name in ("y.h5", "y.zarr", "y.npy", "y.raw", "y.fits"):
        made = path_of(tmp_path, name.partition(".")[2]).with_name(name)
        write_chunks(made, [np.ones(3)], like=path)
        how = {"dtype": float} if name == "y.raw" else {}
        assert [chunk.tolist() for chunk in read_chunks(made, **how)] == [[1, 1, 1]]


def test_what_hdf5_knows_about_a_file_is_written_when_it_is_flushed_and_not_before(tmp_path):
    """Otherwise it is written when a cache of megabytes is full, which takes long to reach."""
    h5py = pytest.importorskip("h5py")
    with ChunkWriter(tmp_path / "x.h5") as writer:
        writer.write(np.ones(10))
        config = writer._store._file.id.get_mdc_config()
        assert (config.evictions_enabled, config.incr_mode, config.decr_mode) == (False, 0, 0)
        with h5py.File(tmp_path / "y.h5", "w") as file:
            assert file.id.get_mdc_config().evictions_enabled


FULL = """
import gc, resource, sys
import h5py, numpy as np
from bigpipe.formats import hierarchies, write
from bigpipe.streaming import write_chunks

no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, no_limit[1]))
unnamed = hierarchies.anonymous_file

def elsewhere():  # the limit stands for a disk that is full; what has no name is not there
    resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
    return unnamed()

hierarchies.anonymous_file = elsewhere
try:
    if sys.argv[2] == "chunks":
        write_chunks(sys.argv[1], [np.random.default_rng(i).random(40_000) for i in range(9)])
    else:
        write({str(i): np.random.default_rng(i).random(40_000) for i in range(9)}, sys.argv[1])
except OSError as error:
    print("raised")
gc.collect()
h5py.File(sys.argv[1], "w").close()
"""


@pytest.mark.process
@pytest.mark.parametrize("how", ["chunks", "whole"])
def test_full_disk_is_an_error_and_not_the_end_of_the_process(how, tmp_path):
    """h5py ends it where it lets go of a file that cannot be written."""
    pytest.importorskip("h5py")
    pytest.importorskip("resource")
    ran = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "x.h5"), how],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (ran.returncode, ran.stdout) == (0, "raised\n"), ran.stderr


# Real files


@needs_data
@pytest.mark.parametrize("detector", ["H-H1", "L-L1"])
def test_strain_is_read_along_its_storage_chunks(detector):
    h5py = pytest.importorskip("h5py")
    path = DATA / "timeseries" / f"{detector}_LOSC_4_V2-1126259446-32.hdf5"
    with pytest.raises(StoreError, match=r"has several arrays: .*quality/simple/DQmask"):
        read_chunks(path)
    reader = read_chunks(path, dataset="strain/Strain", nbytes="100 kB")
    assert (reader.n, len(reader), reader.shape) == (12288, 11, (131072,))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(np.concatenate(list(reader)), file["strain/Strain"][()])


@needs_data
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_zarr_cube_of_format_2_is_read_along_any_axis(axis):
    zarr = pytest.importorskip("zarr")
    path = DATA / "zarr" / "north_sea_level2.zarr"
    with pytest.raises(StoreError, match=r"has several arrays: .*conc_chl"):
        read_chunks(path)
    reader = read_chunks(path, dataset="conc_chl", nbytes="3 MB", axis=axis)
    array = zarr.open(str(path), mode="r")["conc_chl"][...]
    np.testing.assert_array_equal(np.concatenate(list(reader), axis), array)
    assert np.nanmean(array) == pytest.approx(7.83, abs=0.005)


@needs_data
def test_a_zarr_cube_is_copied_to_either_format(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = DATA / "zarr" / "north_sea_level2.zarr"
    has_both = int(zarr.__version__.partition(".")[0]) > 2
    reader = read_chunks(path, dataset="conc_chl", n=1)
    for how in ({"zarr_format": 2}, {"zarr_format": 3}) if has_both else ({},):
        made = write_chunks(tmp_path / "x.zarr", reader, like=path, dataset="conc_chl", **how)
        again = read_chunks(made, n=1)
        for ours, theirs in zip(again, reader, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        root = zarr.open(made, mode="r")
        assert root["conc_chl"].attrs["units"]
        assert (Path(made) / "conc_chl" / "zarr.json").exists() == (how == {"zarr_format": 3})


@needs_data
def test_waveforms_are_read_along_any_axis():
    path = DATA / "timeseries" / "test_arr_in.npy"
    array = np.load(path)
    for axis in range(3):
        chunks = list(read_chunks(path, n=17, axis=axis))
        np.testing.assert_array_equal(np.concatenate(chunks, axis), array)


@needs_data
def test_projections_are_read_from_contiguous_storage():
    h5py = pytest.importorskip("h5py")
    path = DATA / "hdf5" / "tooth.h5"
    reader = read_chunks(path, dataset="exchange/data", n=50)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(np.concatenate(list(reader)), file["exchange/data"][()])


@needs_data
@pytest.mark.parametrize("name", ["m13/M13_blue_0001.fits", "kast_blue/b27.fits.gz"])
def test_frames_are_read_as_astropy_reads_them(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = fits.getdata(DATA / name)
        chunks = list(read_chunks(DATA / name, n=100))
    np.testing.assert_array_equal(np.concatenate(chunks), frame)
    assert chunks[0].dtype == np.uint16
