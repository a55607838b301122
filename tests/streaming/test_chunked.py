"""A pipeline of chunks does what one of whole files does, for chunks of any length."""

from __future__ import annotations

import ast
import gc
import itertools
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bigpipe
from bigpipe import (
    BigpipeWarning,
    FunctionPipe,
    NestablePool,
    OptionError,
    Outcome,
    PipelineError,
    bmp_cleanup,
    formats,
    no_outfile,
)
from bigpipe.streaming import (
    ChunkedMultiPipe,
    Step,
    StopStream,
    compose,
    decimate,
    fir,
    read_chunks,
    write_chunks,
)
from tests.streaming.chunk_pipes import (
    EveryNth,
    Filter,
    KillOnce,
    Waver,
    amplified,
    counted,
    differences,
    expected,
    fail,
    filtered,
)

SERIAL = {"executor": "serial"}
LENGTHS = (1, 3, 10, 64, 1000)
ONCE = ("pre begins", "data begins", "post begins", "pre ends", "data ends", "post ends")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name, n=101, channels=3):
    array = np.random.default_rng(n).integers(-100, 100, (n, channels)).astype("i2")
    np.save(name, array)
    return array


def ramp(name, n=100):
    array = np.arange(n)
    np.save(name, array)
    return array


def of_one(pout):
    [(outname, meta)] = pout
    return outname, meta


class MiddleOfThree(Step):
    """The median of each sample and the two before it, of chunks that share two samples."""

    def local_init(self, **kwargs):
        self.is_first = True

    def run(self, chunk):
        if self.is_first:
            chunk, self.is_first = np.concatenate([[0, 0], chunk]), False
        return np.median([chunk[2:], chunk[1:-1], chunk[:-2]], axis=0)


class TestChunkedEqualsWhole:
    @pytest.mark.parametrize("n", LENGTHS)
    def test_for_any_length_of_chunks(self, folder, n):
        whole = save("a.npy")
        pipe = Filter(pre_process_list=amplified, post_process_list=[EveryNth(4), counted])
        outname, meta = of_one(pipe.pipeline(["a.npy"], chunk_length=n, num_processes=1))
        np.testing.assert_array_equal(np.load(outname), expected(whole, 4))
        assert meta["n"] == 26
        assert meta["sum"] == pytest.approx(expected(whole, 4).sum())

    @pytest.mark.parametrize("n", LENGTHS)
    def test_if_the_processing_is_a_method(self, folder, n):
        whole = ramp("a.npy")
        outname, _ = of_one(Waver(chunk_length=n).pipeline(["a.npy"], num_processes=1))
        np.testing.assert_array_equal(np.load(outname), 2 * whole)

    def test_if_nothing_is_overridden(self, folder):
        whole = save("a.npy")
        outname, meta = of_one(ChunkedMultiPipe(chunk_length=7).pipeline(["a.npy"]))
        np.testing.assert_array_equal(np.load(outname), whole)
        assert meta == {}

    def test_in_each_executor(self, folder, anywhere):
        wholes = [save(f"{i}.npy", n) for i, n in enumerate((101, 7, 64, 200))]
        pipe = Filter(pre_process_list=amplified, post_process_list=[differences(), counted])
        pout = pipe.pipeline([f"{i}.npy" for i in range(4)], chunk_length=16, **anywhere)
        for (outname, meta), whole in zip(pout, wholes, strict=True):
            wanted = np.diff(expected(whole), axis=0, prepend=expected(whole)[:1])
            np.testing.assert_allclose(np.load(outname), wanted)
            assert meta["n"] == len(whole)

    @pytest.mark.parametrize("executor", ["serial", "processes"])
    def test_if_files_overlap(self, folder, executor):
        wholes = [save(f"{i}.npy", 50 + i) for i in range(6)]
        pipe = Filter(pre_process_list=amplified, chunk_length=8)
        names = [f"{i}.npy" for i in range(6)]
        pout = pipe.pipeline(names, overlap=True, num_processes=2, executor=executor)
        for (outname, _), whole in zip(pout, wholes, strict=True):
            np.testing.assert_array_equal(np.load(outname), expected(whole))

    @pytest.mark.parametrize("n", [3, 4, 7, 1000], ids=str)
    @pytest.mark.parametrize("length", [1, 2, 3, 10], ids=str)
    def test_of_a_window_if_chunks_share_samples(self, folder, length, n):
        whole = ramp("a.npy", length) ** 2
        np.save("a.npy", whole)
        padded = np.concatenate([[0, 0], whole])
        pipe = ChunkedMultiPipe(
            chunk_length=np.int64(n), chunk_overlap=2, post_process_list=MiddleOfThree()
        )
        outname, _ = of_one(pipe.pipeline(["a.npy"], num_processes=1))
        np.testing.assert_array_equal(
            np.load(outname), np.median([padded[2:], padded[1:-1], padded[:-2]], axis=0)
        )

    @pytest.mark.process
    def test_in_a_pool(self, folder):
        whole = save("a.npy")
        pipe = Filter(pre_process_list=amplified, chunk_length=10)
        outname, _ = of_one(pipe.pipeline(["a.npy"], PoolClass=NestablePool, num_processes=1))
        np.testing.assert_array_equal(np.load(outname), expected(whole))

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(0, 60), max_size=8), st.integers(1, 60))
    def test_wherever_chunks_end(self, folder, cuts, n):
        whole = save("a.npy", n)
        places = [0, *sorted(min(cut, n) for cut in cuts), n]

        class Cut(ChunkedMultiPipe):
            data_process = compose(fir([0.5, 0.25, 0.25]), decimate(3))

            def file_read(self, in_name, **kwargs):
                array = np.load(in_name)
                return (array[i:j] for i, j in itertools.pairwise(places))

        outname, _ = of_one(Cut(post_process_list=differences()).pipeline(["a.npy"], **SERIAL))
        once = fir([0.5, 0.25, 0.25])(whole)[::3]
        np.testing.assert_array_equal(np.load(outname), np.diff(once, axis=0, prepend=once[:1]))

    def test_if_a_file_is_processed_by_hand(self, folder):
        whole = save("a.npy")
        pipe = Filter(pre_process_list=amplified, chunk_length=10)
        outname, meta = pipe.file_process("a.npy")
        np.testing.assert_array_equal(np.load(outname), expected(whole))
        assert meta == {}

    @pytest.mark.parametrize("extension", [".fits", ".h5", ".zarr"])
    def test_in_other_formats(self, folder, extension):
        if extension in (".h5", ".zarr"):
            pytest.importorskip({".h5": "h5py", ".zarr": "zarr"}[extension])
        whole = save("a.npy")
        write_chunks(f"a{extension}", [whole])
        pipe = Filter(pre_process_list=amplified, chunk_length=10)
        outname, _ = of_one(pipe.pipeline([f"a{extension}"], num_processes=1))
        assert outname.endswith(extension)
        written = np.concatenate(list(read_chunks(outname)))
        np.testing.assert_array_equal(written, expected(whole))

    def test_along_another_axis(self, folder):
        whole = save("a.npy")
        pipe = ChunkedMultiPipe(chunk_length=2, axis=1, pre_process_list=negated)
        outname, _ = of_one(pipe.pipeline(["a.npy"], num_processes=1))
        np.testing.assert_array_equal(np.load(outname), -whole)

    def test_from_one_format_to_another(self, folder):
        whole = save("a.npy").astype(">i2")
        whole.tofile("a.dat")
        pipe = ChunkedMultiPipe(
            outname_ext="npy",
            read_options={"dtype": ">i2", "shape": (-1, 3)},
            write_options={"dtype": "f4"},
            chunk_bytes=100,
        )
        outname, _ = of_one(pipe.pipeline(["a.dat"], num_processes=1))
        assert np.load(outname).dtype == np.float32
        np.testing.assert_array_equal(np.load(outname), whole)


class TestSeveralArrays:
    def test_the_output_is_like_the_image_that_was_read(self, folder):
        hdus = [fits.ImageHDU(np.ones(9), name=name) for name in ("SCI", "VAR")]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto("a.fits")
        for how in ({"hdu": "VAR"}, {"read_options": {"hdu": "VAR"}}):
            outname, _ = of_one(ChunkedMultiPipe(**SERIAL, **how).pipeline(["a.fits"]))
            assert fits.getheader(outname)["EXTNAME"] == "VAR"

    @pytest.mark.parametrize("how", [{}, {"write_options": {"dataset": "raw"}}])
    def test_the_output_is_like_the_dataset_that_was_read(self, folder, how):
        h5py = pytest.importorskip("h5py")
        with h5py.File("a.h5", "w") as file:
            file["raw/images"], file["raw/times"] = np.ones((9, 2, 2)), np.arange(9)
            file["raw/images"].attrs["pixel_size"] = 0.16
        pipe = ChunkedMultiPipe(dataset="raw/images", **SERIAL, **how)
        outname, _ = of_one(pipe.pipeline(["a.h5"]))
        with h5py.File(outname) as file:
            assert dict(file["raw" if how else "raw/images"].attrs) == {"pixel_size": 0.16}

    @pytest.mark.parametrize("make", [ChunkedMultiPipe, FunctionPipe], ids=["chunks", "whole"])
    def test_the_output_has_the_name_of_the_dataset(self, folder, make):
        h5py = pytest.importorskip("h5py")
        with h5py.File("a.h5", "w") as file:
            file["long"], file["short"] = np.arange(9), np.arange(3)
        outname, _ = of_one(make(dataset="long", **SERIAL).pipeline(["a.h5"]))
        with h5py.File(outname) as file:
            assert list(file) == ["long"]
            assert file["long"][()].tolist() == list(range(9))

    @pytest.mark.parametrize("extension", [".npy", ".fits", ".zarr"])
    @pytest.mark.parametrize("make", [ChunkedMultiPipe, FunctionPipe], ids=["chunks", "whole"])
    def test_other_formats_take_an_array_without_its_name(self, folder, make, extension):
        h5py = pytest.importorskip("h5py")
        if extension == ".zarr":
            pytest.importorskip("zarr")
        with h5py.File("a.h5", "w") as file:
            file["long"], file["short"] = np.arange(9), np.arange(3)
        pipe = make(dataset="long", outname_ext=extension, **SERIAL)
        outname, _ = of_one(pipe.pipeline(["a.h5"]))
        assert formats.read(outname).tolist() == list(range(9))


class TestKeywords:
    def test_that_a_chunk_adds_hold_for_the_rest_of_the_file(self, folder):
        ramp("a.npy")
        seen = []

        def found(chunk, **kwargs):
            if chunk[0] in (10, 30):
                return {"bmp_data": chunk, "bmp_kwargs": {"offset": int(chunk[0])}}
            return chunk

        def note(chunk, offset=0, bmp_meta=None, **kwargs):
            seen.append(offset)
            return chunk

        class Pipe(ChunkedMultiPipe):
            def data_process(self, chunk, offset=0, **kwargs):
                return chunk - offset

        pipe = Pipe(chunk_length=10, pre_process_list=found, post_process_list=note)
        outname, _ = of_one(pipe.pipeline(["a.npy"], executor="serial"))
        assert seen == [0, 10, 10, *[30] * 7]
        assert np.load(outname)[[0, 10, 30, 99]].tolist() == [0, 0, 0, 69]

    def test_that_the_first_chunk_adds_name_the_output(self, folder):
        ramp("a.npy")

        def named(chunk, **kwargs):
            return {"bmp_data": chunk, "bmp_kwargs": {"outname": "b.npy"}}

        pipe = ChunkedMultiPipe(chunk_length=10, pre_process_list=named, outdir="out")
        outname, _ = of_one(pipe.pipeline(["a.npy"], executor="serial", create_outdir=True))
        assert outname == os.path.join("out", "b.npy")
        assert len(np.load(outname)) == 100

    def test_are_not_those_of_another_file(self, folder):
        seen = []

        def found(chunk, offset=0, **kwargs):
            seen.append(offset)
            return {"bmp_data": chunk, "bmp_kwargs": {"offset": offset + 1}}

        for name in "ab":
            ramp(f"{name}.npy", 20)
        pipe = ChunkedMultiPipe(chunk_length=10, pre_process_list=found)
        pipe.pipeline(["a.npy", "b.npy"], executor="serial")
        assert seen == [0, 1, 0, 1]

    def test_tell_each_hook_how_long_chunks_are(self, folder):
        ramp("a.npy")

        class Own(ChunkedMultiPipe):
            def file_read(self, in_name, chunk_bytes=None, **kwargs):
                assert chunk_bytes >= 1 << 16
                return read_chunks(in_name, nbytes=80)

        outname, _ = of_one(Own().pipeline(["a.npy"], executor="serial"))
        assert len(np.load(outname)) == 100

    @pytest.mark.parametrize("value", [0, 1, 2, np.int64(3)], ids=str)
    def test_a_number_of_shared_samples_is_not_taken_for_files_that_overlap(self, folder, value):
        ramp("a.npy")
        remedy = f"overlap={value} is neither .* chunk_overlap={value}"
        for pipe, keywords in (
            (ChunkedMultiPipe(overlap=value), {}),
            (ChunkedMultiPipe(), {"overlap": value}),
        ):
            with pytest.raises(OptionError, match=remedy):
                pipe.pipeline(["a.npy"], **keywords)

    def test_of_one_name_only_say_how_long_chunks_are(self, folder):
        ramp("a.npy")
        for keywords in (
            {"chunk_length": 0},
            {"chunk_length": 2, "chunk_bytes": 80},
            {"chunk_bytes": "many"},
            {"chunk_overlap": -1},
            {"chunk_overlap": 3, "chunk_length": 3},
            {"checkpoint": "often"},
        ):
            with pytest.raises(OptionError, match=next(iter(keywords))):
                ChunkedMultiPipe().pipeline(["a.npy"], **keywords)


class Recording(Step):
    """Notes in a list, which all copies share, when it begins and ends."""

    def __init__(self, notes, name="step"):
        self.notes, self.name = notes, name

    def __deepcopy__(self, memo):
        return Recording(self.notes, self.name)

    def local_init(self, **kwargs):
        self.notes.append(f"{self.name} begins")

    def run(self, chunk):
        return chunk

    def local_term(self):
        self.notes.append(f"{self.name} ends")


class TestSteps:
    @pytest.fixture
    def notes(self):
        return []

    @pytest.fixture
    def steps(self, notes):
        class Pipe(ChunkedMultiPipe):
            data_process = Recording(notes, "data")

        return partial(
            Pipe,
            chunk_length=10,
            executor="serial",
            pre_process_list=[Recording(notes, "pre")],
            post_process_list=[Recording(notes, "post")],
        )

    def test_begin_and_end_once_for_each_file(self, folder, steps, notes):
        for name in "ab":
            ramp(f"{name}.npy")
        steps().pipeline(["a.npy", "b.npy"])
        assert notes == [*ONCE, *ONCE]

    @pytest.mark.parametrize("n_taken", [0, 1, 3, 10, 11])
    def test_end_if_file_write_stops_early(self, folder, steps, notes, n_taken):
        ramp("a.npy")
        cls = steps.func

        class Stops(cls):
            def file_write(self, data, outname, **kwargs):
                return write_chunks(outname, itertools.islice(data, n_taken)) if n_taken else None

        pout = Stops(**steps.keywords).pipeline(["a.npy"])
        assert sorted(notes) == sorted(ONCE)
        if n_taken:
            assert len(np.load(pout[0][0])) == min(100, 10 * n_taken)

    @pytest.mark.parametrize("hook", ["outname_create", "file_write", "post_process"])
    def test_end_if_a_hook_raises(self, folder, steps, notes, hook):
        ramp("a.npy")

        def raises(self, *args, **kwargs):
            raise ValueError("no good")

        cls = type("Raises", (steps.func,), {hook: raises})
        with pytest.raises(PipelineError) as caught:
            cls(**steps.keywords).pipeline(["a.npy"])
        [error] = caught.value.exceptions
        assert error.hook == hook
        gc.collect()
        assert {note for note in notes if "begins" in note} == {
            note.replace("ends", "begins") for note in notes if "ends" in note
        }

    def test_end_if_a_later_chunk_fails(self, folder, steps, notes):
        ramp("a.npy")

        def fails(chunk, bmp_meta=None, **kwargs):
            if chunk[0] == 50:
                raise ValueError("no good")
            return chunk

        with pytest.raises(PipelineError):
            steps().pipeline(["a.npy"], post_process_list=fails)
        assert sorted(notes) == sorted(ONCE)

    def test_end_after_ctrl_c(self, folder, steps, notes):
        ramp("a.npy")

        def interrupts(chunk, bmp_meta=None, **kwargs):
            if chunk[0] == 50:
                raise KeyboardInterrupt
            return chunk

        with pytest.raises(KeyboardInterrupt):
            steps(progress=False).pipeline(["a.npy"], post_process_list=interrupts)
        assert sorted(notes) == sorted(ONCE)

    def test_are_given_keywords_and_metadata(self, folder):
        ramp("a.npy")

        class Counter(Step):
            def local_init(self, bmp_meta, unit, in_name):
                self.meta, self.n = bmp_meta, 0
                bmp_meta["of"] = f"{unit} {os.path.basename(in_name)}"

            def run(self, chunk):
                self.n += len(chunk)
                return chunk

            def local_term(self):
                self.meta["n"] = self.n

        pipe = ChunkedMultiPipe(chunk_length=30, unit="adu", post_process_list=Counter())
        _, meta = of_one(pipe.pipeline(["a.npy"], executor="serial"))
        assert meta == {"of": "adu a.npy", "n": 100}

    def test_that_were_not_called_are_named(self, folder):
        ramp("a.npy")
        with pytest.raises(PipelineError, match=r"differences makes steps; to get one, call it"):
            ChunkedMultiPipe().pipeline(["a.npy"], pre_process_list=differences)

    def test_may_give_a_last_chunk_and_end_early(self, folder):
        ramp("a.npy")

        class First(Step):
            def run(self, chunk):
                if chunk[0] >= 30:
                    raise StopStream(chunk[:3])
                return chunk

            def local_term(self):
                return np.array([-1])

        pipe = ChunkedMultiPipe(chunk_length=10, pre_process_list=First())
        outname, _ = of_one(pipe.pipeline(["a.npy"], executor="serial"))
        assert np.load(outname).tolist() == [*range(33), -1]


@pytest.mark.parametrize("where", ["pre", "post"])
def test_error_of_a_step_is_told_and_notes_that_of_its_end(folder, where):
    class FailsTwice(Step):
        def run(self, chunk):
            raise ValueError("why")

        def local_term(self):
            raise AttributeError("its consequence")

    ramp("a.npy")
    pipe = ChunkedMultiPipe(chunk_length=10, **{f"{where}_process_list": FailsTwice()})
    with pytest.raises(PipelineError) as caught:
        pipe.pipeline(["a.npy"], executor="serial")
    (error,) = caught.value.exceptions
    assert "FailsTwice raised ValueError" in str(error)
    assert "Then, while closing: AttributeError: its consequence" in error.traceback


class TestNothing:
    def nothing(self, chunk, **kwargs):
        return None

    @pytest.mark.parametrize("where", ["pre", "data", "post"])
    def test_of_some_chunks_is_left_out(self, folder, where):
        ramp("a.npy")

        def odd(chunk, **kwargs):
            return chunk if chunk[0] // 10 % 2 else None

        class Pipe(ChunkedMultiPipe):
            def data_process(self, chunk, **kwargs):
                return odd(chunk) if where == "data" else chunk

        lists = {} if where == "data" else {f"{where}_process_list": odd}
        outname, _ = of_one(Pipe(chunk_length=10, **lists).pipeline(["a.npy"], executor="serial"))
        assert np.load(outname).tolist() == [x for x in range(100) if x // 10 % 2]

    @pytest.mark.parametrize("where", ["pre", "data"])
    def test_of_all_rejects_the_file_and_leaves_no_output(self, folder, where):
        ramp("a.npy")

        class Pipe(ChunkedMultiPipe):
            def data_process(self, chunk, **kwargs):
                return None if where == "data" else chunk

        lists = {"pre_process_list": self.nothing} if where == "pre" else {}
        pipe = Pipe(chunk_length=10, post_process_list=counted, **lists)
        pout = pipe.pipeline(["a.npy"], outdir="out", create_outdir=True, executor="serial")
        assert pout == [(None, {})]
        [result] = pout.results
        assert result.outcome is Outcome.REJECTED
        assert result.rejected_by.startswith("pre_process: " if where == "pre" else "data_process")
        assert not list(folder.glob("out/*"))

    def test_to_be_written_leaves_metadata_of_all_chunks(self, folder):
        ramp("a.npy")
        pipe = ChunkedMultiPipe(chunk_length=10, post_process_list=[counted, no_outfile])
        pout = pipe.pipeline(["a.npy"], executor="serial")
        assert pout == [(None, {"n": 100, "sum": 4950.0})]
        assert pout.results[0].outcome is Outcome.METADATA_ONLY

    def test_that_file_read_returns_rejects_the_file(self, folder):
        class Pipe(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                return None if in_name == "a.npy" else iter(())

        pout = Pipe().pipeline(["a.npy", "b.npy"], executor="serial")
        assert pout == [(None, {}), (None, {})]

    def test_but_chunks_may_be_returned_by_file_read(self, folder):
        class Pipe(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                return np.zeros(3)

        with pytest.raises(
            PipelineError, match=r"file_read returned ndarray, which is not a stream"
        ):
            Pipe().pipeline(["a.npy"], executor="serial")


class TestErrors:
    @pytest.mark.parametrize(("number", "length"), [(0, 10), (7, 10), (9, 10)])
    def test_name_file_hook_and_chunk(self, folder, number, length):
        ramp("a.npy")
        pipe = Waver(chunk_length=length, trouble={number: fail}, outdir="out")
        with pytest.raises(PipelineError) as caught:
            pipe.pipeline(["a.npy"], create_outdir=True, executor="serial")
        [error] = caught.value.exceptions
        assert error.hook == "data_process"
        assert f"'a.npy', chunk {number} (counted from 0): no good" in str(error)
        assert not list(folder.glob("out/*.npy"))

    @pytest.mark.parametrize("which", ["pre", "post"])
    def test_name_the_function(self, folder, which):
        ramp("a.npy")

        def picky(chunk, **kwargs):
            if chunk[0] == 30:
                raise ValueError("no good")
            return chunk

        with pytest.raises(PipelineError) as caught:
            ChunkedMultiPipe(chunk_length=10).pipeline(
                ["a.npy"], executor="serial", **{f"{which}_process_list": [counted_or_not, picky]}
            )
        [error] = caught.value.exceptions
        assert error.hook == f"{which}_process: picky"
        assert "chunk 3 " in str(error)

    def test_name_file_read_and_file_write(self, folder):
        class Reads(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                yield np.zeros(3)
                raise OSError("torn tape")

        class Writes(ChunkedMultiPipe):
            def file_write(self, data, outname, **kwargs):
                next(data), next(data)
                raise OSError("no space")

        ramp("a.npy")
        for pipe, hook, number in ((Reads(), "file_read", 1), (Writes(), "file_write", 1)):
            with pytest.raises(PipelineError) as caught:
                pipe.pipeline(["a.npy"], chunk_length=10, executor="serial")
            [error] = caught.value.exceptions
            assert error.hook == hook
            assert f"chunk {number} " in str(error)

    def test_in_the_end_of_a_stream_name_no_chunk(self, folder):
        class Last(Step):
            def run(self, chunk):
                return chunk

            def local_term(self):
                raise ValueError("no good")

        ramp("a.npy")
        pipe = ChunkedMultiPipe(chunk_length=10, pre_process_list=Last())
        with pytest.raises(PipelineError) as caught:
            pipe.pipeline(["a.npy"], executor="serial")
        [error] = caught.value.exceptions
        assert str(error) == "pre_process: Last raised ValueError on 'a.npy': no good"

    @pytest.mark.process
    def test_a_killed_worker_costs_no_file(self, folder):
        ramp("a.npy")
        pipe = Waver(chunk_length=10, trouble={5: KillOnce(str(folder / "flag"))})
        pout = pipe.pipeline(["a.npy"], executor="processes", num_processes=1)
        assert pout.results[0].attempts == 2
        np.testing.assert_array_equal(np.load(pout[0][0]), 2 * np.arange(100))

    def test_leave_what_was_there_before(self, folder):
        ramp("a.npy")
        Path("a_bmp.npy").write_text("before")
        with pytest.raises(PipelineError):
            Waver(chunk_length=10, trouble={5: fail}).pipeline(["a.npy"], executor="serial")
        assert Path("a_bmp.npy").read_text() == "before"


def negated(chunk, **kwargs):
    return -chunk


def counted_or_not(chunk, bmp_meta=None, **kwargs):
    return chunk


class TestMetadata:
    def test_is_complete_when_file_write_returns(self, folder):
        ramp("a.npy")
        seen = []

        class Pipe(ChunkedMultiPipe):
            def outname_create(self, in_name, meta=None, **kwargs):
                seen.append(meta["n"])
                return super().outname_create(in_name, meta=meta, **kwargs)

            def file_write(self, data, outname, meta=None, **kwargs):
                seen.append(meta["n"])
                super().file_write(data, outname, meta=meta, **kwargs)
                seen.append(meta["n"])
                return outname

        pipe = Pipe(chunk_length=10, post_process_list=counted)
        pipe.pipeline(["a.npy"], executor="serial")
        assert seen == [10, 10, 100]

    @pytest.mark.parametrize("keep", [False, True])
    def test_that_is_marked_is_removed_in_the_end(self, folder, keep):
        ramp("a.npy")
        seen = []

        def mark(chunk, bmp_meta=None, **kwargs):
            bmp_meta["large"] = chunk
            return bmp_cleanup(chunk, bmp_meta=bmp_meta, add="large")

        def look(chunk, bmp_meta=None, **kwargs):
            seen.append(bmp_meta["large"] is chunk)
            return chunk

        pipe = ChunkedMultiPipe(chunk_length=10, post_process_list=[mark, look])
        _, meta = of_one(pipe.pipeline(["a.npy"], no_bmp_cleanup=keep, executor="serial"))
        assert seen == [True] * 10
        assert ("large" in meta) is keep


class Batches(ChunkedMultiPipe):
    def data_process_batch(self, data_list, in_name=None, kwargs_list=None, offset=0, **kwargs):
        self.sizes = [*getattr(self, "sizes", []), len(data_list)]
        assert len(in_name) == len(kwargs_list) == len(data_list)
        return [None if chunk[0] == 40 else chunk + offset for chunk in data_list]


class TestBatches:
    @pytest.mark.parametrize(
        ("size", "sizes"), [(None, [1] * 10), (1, [1] * 10), (3, [3, 3, 3, 1]), (20, [10])]
    )
    def test_are_of_successive_chunks(self, folder, size, sizes):
        ramp("a.npy")
        pipe = Batches(chunk_length=10, offset=5)
        outname, _ = of_one(pipe.pipeline(["a.npy"], batch_size=size, executor="serial"))
        assert pipe.sizes == sizes
        assert np.load(outname).tolist() == [x + 5 for x in range(100) if not 40 <= x < 50]

    def test_are_not_made_for_a_method_that_takes_one(self, folder):
        whole = ramp("a.npy")
        pipe = Waver(chunk_length=10, batch_size=4)
        outname, _ = of_one(pipe.pipeline(["a.npy"], executor="serial"))
        np.testing.assert_array_equal(np.load(outname), 2 * whole)

    def test_are_not_of_files(self, folder):
        hooks = []

        class Notes(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                hooks.append(f"read {in_name}")
                return super().file_read(in_name, **kwargs)

            def file_write(self, data, outname, in_name=None, **kwargs):
                hooks.append(f"write {in_name}")
                return super().file_write(data, outname, **kwargs)

        ramp("a.npy"), ramp("b.npy")
        Notes(chunk_length=10).pipeline(["a.npy", "b.npy"], batch_size=2, executor="serial")
        assert hooks == ["read a.npy", "write a.npy", "read b.npy", "write b.npy"]

    def test_must_return_one_for_each(self, folder):
        ramp("a.npy")

        class Fewer(ChunkedMultiPipe):
            def data_process_batch(self, data_list, **kwargs):
                return data_list[1:]

        with pytest.raises(PipelineError, match=r"returned 3 results for 4"):
            Fewer(chunk_length=10, batch_size=4).pipeline(["a.npy"], executor="serial")


class TestGroups:
    def test_are_read_side_by_side(self, folder):
        wholes = [ramp("a.npy"), ramp("b.npy")]

        class Adds(ChunkedMultiPipe):
            def data_process(self, chunk, **kwargs):
                first, second = chunk
                return first + second

        pipe = Adds(outname="sum.npy", chunk_bytes=400)
        outname, _ = of_one(pipe.pipeline([["a.npy", "b.npy"]], executor="serial"))
        np.testing.assert_array_equal(np.load(outname), sum(wholes))

    @pytest.mark.parametrize("length", [10, 60, None], ids=["more chunks", "as many", "one chunk"])
    def test_must_be_of_one_length(self, length, folder):
        ramp("a.npy"), ramp("b.npy", 90)
        pipe = ChunkedMultiPipe(
            outname="sum.npy", chunk_length=length, post_process_list=no_outfile
        )
        group = [["a.npy", "b.npy"]]
        with pytest.raises(PipelineError, match=r"'a.npy' has 100 samples.*'b.npy' 90") as raised:
            pipe.pipeline(group, executor="serial")
        advice = re.search(r"read_options=(\{.*?\})", str(raised.value))
        options = ast.literal_eval(advice[1])
        assert pipe.pipeline(group, executor="serial", read_options=options) == [(None, {})]

    def test_are_advised_to_end_where_the_shorter_one_ends(self, folder):
        ramp("a.npy"), ramp("b.npy", 90)
        pipe = ChunkedMultiPipe(outname="sum.npy", read_options={"start": 20})
        with pytest.raises(PipelineError, match=r"'b.npy' 70: read_options={'stop': 90}"):
            pipe.pipeline([["a.npy", "b.npy"]], executor="serial")

    def test_of_other_readers_may_not_end_before_another(self, folder):
        class Lines(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                if isinstance(in_name, list):
                    return super().file_read(in_name, **kwargs)
                return iter(in_name)

        with pytest.raises(PipelineError, match=r"ended after 2 chunks"):
            Lines(outname="x.npy").pipeline([["abc", "ab"]], executor="serial")


class TestRuns:
    def test_are_resumed_from_a_journal(self, folder):
        for name in "abc":
            ramp(f"{name}.npy")
        names = [f"{name}.npy" for name in "abc"]
        pipe = Waver(chunk_length=10, journal="j.bigpipe")
        first = pipe.pipeline(names, checkpoint=60)
        again = pipe.pipeline(names, batch_size=3, mem_available="1 GiB")
        assert again == first
        assert all(result.from_journal for result in again.results)
        changed = pipe.pipeline(names, chunk_length=20)
        assert not any(result.from_journal for result in changed.results)

    def test_are_planned(self, folder):
        ramp("a.npy")
        preview = Waver(chunk_length=10).plan(["a.npy", "missing.npy"])
        assert [file.outname and os.path.basename(file.outname) for file in preview.files] == [
            "a_bmp.npy",
            "missing_bmp.npy",
        ]
        assert not preview.is_good

    def test_have_as_many_workers_as_memory_allows(self, folder):
        np.save("a.npy", np.zeros(10))
        pipe = ChunkedMultiPipe()
        sizes = {}
        for n in (1, 4):
            plan = pipe._bmp_plan(["a.npy"] * 4, {"num_processes": n, "mem_available": "4 GiB"})
            sizes[n] = plan.project("a.npy")
            assert sizes[n] * n <= 4 << 30
        assert sizes[4] <= sizes[1]

    @pytest.mark.parametrize("given", [{"mem_available": 40_000_000}, {"mem_frac": 1e-9}], ids=str)
    def test_keep_to_the_memory_of_the_object_if_they_are_called_directly(self, folder, given):
        np.save("a.npy", np.zeros(10))
        pipe = ChunkedMultiPipe(**given)
        of_a_run = pipe._bmp_plan(["a.npy"], {}).project("a.npy")
        assert pipe.projected_size("a.npy") == of_a_run < 100_000_000

    def test_can_be_called_directly_whatever_options_of_a_run_are(self, folder):
        np.save("a.npy", np.arange(10))
        outname, _ = ChunkedMultiPipe(object(), order=3).file_process("a.npy")
        np.testing.assert_array_equal(np.load(outname), np.arange(10))

    def test_tell_memory_from_the_length_of_chunks(self, folder):
        np.save("a.npy", np.zeros((1000, 100)))
        pipe = ChunkedMultiPipe(chunk_length=500)
        assert pipe.projected_size("a.npy") == 100_000_000 + 16 * 500 * 100 * 8
        assert pipe.projected_size("missing.npy") is None

    @pytest.mark.parametrize(
        "executor", ["serial", pytest.param("processes", marks=pytest.mark.process)]
    )
    @pytest.mark.parametrize("length", [{}, {"chunk_length": 100}, {"chunk_bytes": 8000}], ids=str)
    def test_are_tried_with_less_memory_than_a_worker_may_need(self, folder, executor, length):
        names = ["a.npy", "b.npy"]
        for name in names:
            np.save(name, np.arange(1000.0))
        pipe = ChunkedMultiPipe(2, **length)
        pout = pipe.pipeline(names, mem_available="90 MB", executor=executor)
        assert [result.outcome for result in pout.results] == ["written"] * 2

    def test_have_one_worker_at_a_time_where_memory_is_so_short(self, folder):
        np.save("a.npy", np.zeros(10))
        plan = ChunkedMultiPipe()._bmp_plan(["a.npy"] * 4, {"mem_available": "60 MB"})
        assert 30e6 < plan.project("a.npy") < 60e6

    def test_are_refused_where_no_worker_has_room(self, folder):
        np.save("a.npy", np.zeros(10))
        with pytest.raises(PipelineError, match=r"may use 976\.6 KiB.*the file needs 8\.6 MiB"):
            ChunkedMultiPipe().pipeline(["a.npy"], mem_available="1 MB")


def test_times_of_hooks_of_many_chunks_are_added_up():
    file = bigpipe.context.FileContext("a")
    for _ in range(3000):
        file.begin("file_read")
        file.begin("data_process", test_times_of_hooks_of_many_chunks_are_added_up)
        file.resume("file_write")
    file.end()
    assert file.seconds.keys() == {"file_read", "data_process", "file_write"}
    assert all(seconds > 0 for seconds in file.seconds.values())


def test_the_filter_of_these_tests_is_that_of_numpy():
    whole = np.arange(20.0)
    from tests.streaming.chunk_pipes import TAPS

    np.testing.assert_allclose(filtered(whole), np.convolve(whole, TAPS)[:20])


def test_state_that_is_kept_outside_of_steps_is_told(folder):
    ramp("a.npy")

    class Forgets(ChunkedMultiPipe):
        def data_process(self, chunk, **kwargs):
            self.n = getattr(self, "n", 0) + 1
            return chunk

    with pytest.warns(BigpipeWarning, match=r"a hook has set the attribute n of the pipeline"):
        Forgets(chunk_length=10).pipeline(["a.npy"], checkpoint=0, executor="serial")


def test_what_the_first_chunk_sets_is_no_state(folder):
    ramp("a.npy")

    class Looks(ChunkedMultiPipe):
        def data_process(self, chunk, **kwargs):
            self.table = getattr(self, "table", None) or {"looked": "up"}
            return chunk

    Looks(chunk_length=10).pipeline(["a.npy"], checkpoint=0, executor="serial")


@pytest.mark.process
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(folder):
    """Chunks are made double precision, filtered, and written: what the steps do, and no more."""
    block = np.random.default_rng(1).integers(-100, 100, (16_384, 64)).astype("i2")
    peaks = {}
    for name, n in (("short.npy", 4), ("long.npy", 150)):
        write_chunks(name, itertools.repeat(block, n))
        pipe = Filter(pre_process_list=amplified, post_process_list=counted)
        options = {"chunk_bytes": "2 MiB", "num_processes": 1, "executor": "processes"}
        [result] = pipe.pipeline([name], start_method="spawn", **options).results
        peaks[name] = result.peak_rss
        assert result.meta["n"] == n * len(block)
        assert result.peak_rss <= pipe.projected_size(name, chunk_bytes="2 MiB")
    assert peaks["long.npy"] - peaks["short.npy"] < 8 << 20
    assert os.path.getsize("long.npy") > peaks["long.npy"]


def test_chunks_are_no_stream_of_files(folder):
    ramp("a.npy")
    with pytest.raises(OptionError, match="run_steps"):
        ChunkedMultiPipe().stream(["a.npy"])
