"""A killed run continues in the middle of a file, with the same output as an unbroken run."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bigpipe import BigpipeWarning, PipelineError
from bigpipe.cli import main as bigpipe_command
from bigpipe.encoding import decode
from bigpipe.streaming import ChunkedMultiPipe, read_chunks, write_chunks
from bigpipe.streaming.chunked.checkpoint import Checkpointed
from bigpipe.streaming.chunked.checkpoint_folder import CHECKPOINT_NAME, CheckpointFolder
from tests.streaming.checkpoint_program import POINTS, Order, make, run
from tests.streaming.chunk_pipes import FailOnce, KillOnce, KillRunOnce, differences

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("BIGPIPE_SEED", random.randrange(1 << 30)))
N_CHUNKS = 25
N_SAMPLES = 10 * N_CHUNKS - 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_apart(folder, order, limit=60):
    """Run the program in a process of its own; return how it ended."""
    (folder / "order.pickle").write_bytes(pickle.dumps(order))
    return subprocess.run(
        [sys.executable, "-m", "tests.streaming.checkpoint_program", str(folder)],
        cwd=ROOT,
        timeout=limit,
        check=False,
    ).returncode


def chunks_taken(folder):
    """Return the numbers of the chunks that the first function was given, and forget them."""
    numbers = [int(line) for line in (folder / "log").read_text().split()]
    (folder / "log").unlink()
    return numbers


def uninterrupted(folder, name="a.npy", **options):
    """Return the output, as bytes, and metadata of a run of its own."""
    [(outname, meta)] = run(Order([name], {"outdir": "whole", "checkpoint": None, **options}))
    (folder / "log").unlink()
    return Path(outname).read_bytes(), meta


def output(pout):
    [(outname, meta)] = pout
    return Path(outname).read_bytes(), meta


def checkpoints(folder):
    return sorted(folder.glob(f"out/{CHECKPOINT_NAME}/*"))


@pytest.mark.process
@pytest.mark.parametrize("point", POINTS)
def test_killed_run_goes_on_to_the_same_bytes(folder, point):
    make("a.npy", N_SAMPLES)
    wanted = uninterrupted(folder)
    nth = 1 if "hand over" in point else N_CHUNKS // 2
    assert run_apart(folder, Order(["a.npy"], point=point, nth=nth)) == -9
    assert not list(folder.glob("out/*.npy"))
    before = chunks_taken(folder)
    assert output(run(Order(["a.npy"]))) == wanted
    again = chunks_taken(folder)
    assert again[0] == 0, "the name of an output comes with its first chunk"
    if point != "after hand over":  # the output is gone with the worker
        assert set(again) & set(before) <= {0, *before[-2:]}
    assert not checkpoints(folder)
    assert not list(folder.glob("out/.*"))


@pytest.mark.process
@pytest.mark.parametrize("number", range(2))
def test_run_that_is_killed_several_times_goes_on_each_time(folder, number):
    rng = random.Random(f"{SEED} {number}")
    print(f"BIGPIPE_SEED={SEED}, number {number}")
    make("a.npy", N_SAMPLES)
    wanted = uninterrupted(folder)
    n_taken = 0
    for _ in range(4):
        order = Order(["a.npy"], point=rng.choice(list(POINTS)[:6]), nth=rng.randrange(2, 8))
        returncode = run_apart(folder, order)
        n_taken += len(chunks_taken(folder))
        if returncode != -9:
            break
    assert output(run(Order(["a.npy"]))) == wanted
    assert n_taken + len(chunks_taken(folder)) <= N_CHUNKS + 3 * 4


@pytest.mark.process
def test_killed_worker_goes_on_within_the_run(folder, start_method):
    make("a.npy", N_SAMPLES)
    number = random.Random(f"{SEED} {start_method}").randrange(2, N_CHUNKS)
    print(f"BIGPIPE_SEED={SEED}, chunk {number}")
    wanted = uninterrupted(folder)
    options = {"executor": "processes", "start_method": start_method, "num_processes": 1}
    pout = run(Order(["a.npy"], {**options, "trouble": {number: KillOnce(folder / "flag")}}))
    assert output(pout) == wanted
    assert pout.results[0].attempts == 2
    taken = chunks_taken(folder)
    assert taken == [*range(number + 1), 0, *range(number, N_CHUNKS)]


@pytest.mark.process
def test_killed_run_goes_on_from_its_journal(folder):
    """Finished files are not run again, and the file in flight continues."""
    names = ["a.npy", "b.npy", "c.npy"]
    for name, n in zip(names, (50, N_SAMPLES, 60), strict=True):
        make(name, n)
    wanted = [uninterrupted(folder, name)[0] for name in names]
    options = {
        "executor": "processes",
        "num_processes": 1,
        "order": "given",
        "journal": "night.bigpipe",
        "trouble": {20: KillRunOnce(folder / "flag")},
    }
    assert run_apart(folder, Order(names, options)) == -9
    chunks_taken(folder)
    pout = run(Order(names, options))
    assert [Path(outname).read_bytes() for outname, _ in pout] == wanted
    assert [result.from_journal for result in pout.results] == [True, False, False]
    assert chunks_taken(folder) == [0, *range(20, N_CHUNKS), *range(6)]
    assert not checkpoints(folder)


@pytest.mark.process
@pytest.mark.parametrize("extension", ["raw", "fits", "h5", "zarr"])
def test_other_formats_go_on_too(folder, extension):
    if extension in ("h5", "zarr"):
        pytest.importorskip({"h5": "h5py", "zarr": "zarr"}[extension])
    whole = make("a.npy", N_SAMPLES)
    name, how = f"a.{extension}", {}
    if extension == "raw":
        how = {"dtype": "f8", "shape": (-1, 3)}
        options = {"read_options": how, "write_options": {"dtype": "f8"}}
        whole.tofile(name)
    else:
        is_cut = extension in ("h5", "zarr")  # into chunks of its own, some full and some not
        options = {"write_options": {"chunks": (16, 3)}} if is_cut else {}
        write_chunks(name, [whole])
    [(wanted, _)] = run(Order([name], {"outdir": "whole", "checkpoint": None, **options}))
    chunks_taken(folder)
    assert run_apart(folder, Order([name], options, point="before sync", nth=17)) == -9
    assert chunks_taken(folder) == list(range(17))
    [(outname, _)] = run(Order([name], options))
    assert chunks_taken(folder) == [0, *range(16, N_CHUNKS)]
    arrays = [np.concatenate(list(read_chunks(each, **how))) for each in (outname, wanted)]
    np.testing.assert_array_equal(*arrays)


class TestCheckpointOfAFailedFile:
    """What is left of a file that has failed at chunk 17; it would fail only once."""

    @pytest.fixture
    def options(self, folder):
        make("a.npy", N_SAMPLES)
        self.wanted = uninterrupted(folder)
        options = {"trouble": {17: FailOnce(folder / "flag")}}
        with pytest.raises(PipelineError):
            run(Order(["a.npy"], options))
        chunks_taken(folder)
        [self.left] = checkpoints(folder)
        return options

    def goes_on(self, folder, options):
        """Run again; return whether it went on, after checking the output."""
        assert output(run(Order(["a.npy"], options))) == self.wanted
        assert not list(folder.glob("out/.*"))
        taken = chunks_taken(folder)
        assert taken in ([0, *range(17, N_CHUNKS)], [0, *range(N_CHUNKS)], [*range(N_CHUNKS)])
        return taken == [0, *range(17, N_CHUNKS)]

    def test_holds(self, folder, options, caplog):
        with caplog.at_level(logging.INFO, "bigpipe"):
            assert self.goes_on(folder, options)
        assert "resumes at chunk 17" in caplog.text

    def test_holds_however_often_others_are_to_be_made(self, folder, options):
        assert self.goes_on(folder, {**options, "checkpoint": 1000})

    def test_holds_for_more_memory(self, folder, options):
        assert self.goes_on(folder, {**options, "mem_available": "1 GiB", "process_size": "1 GiB"})

    def test_is_not_used_if_none_are_wanted(self, folder, options):
        assert output(run(Order(["a.npy"], {**options, "checkpoint": None}))) == self.wanted
        assert chunks_taken(folder) == list(range(N_CHUNKS))

    @pytest.mark.parametrize(
        "given", [{"new": 1}, {"chunk_length": 7}, {"post_process_list": []}], ids=str
    )
    def test_does_not_hold_for_other_keywords(self, folder, options, caplog, given):
        if "post_process_list" in given:
            given = {"post_process_list": unchanged}
        output(run(Order(["a.npy"], {**options, **given})))
        assert "these have changed: keywords and code" in caplog.text
        assert len(chunks_taken(folder)) >= N_CHUNKS
        assert not list(folder.glob("out/.*"))

    def test_does_not_hold_for_another_input(self, folder, options, caplog):
        make("a.npy", N_SAMPLES)
        os.utime("a.npy", (1, 1))
        assert not self.goes_on(folder, options)
        assert "these have changed: the input" in caplog.text

    def test_does_not_hold_for_other_libraries(self, folder, options, caplog, monkeypatch):
        versions = {"numpy": "0.1"}
        monkeypatch.setattr("bigpipe.streaming.chunked.checkpoint._libraries", lambda: versions)
        assert not self.goes_on(folder, options)
        assert "these have changed: libraries" in caplog.text

    def test_does_not_hold_for_another_format(self, folder, options, caplog, monkeypatch):
        monkeypatch.setattr("bigpipe.streaming.chunked.checkpoint.FORM", 2)
        assert not self.goes_on(folder, options)
        assert "it is from another version of bigpipe" in caplog.text

    def test_does_not_hold_for_chunks_of_another_length(self, folder, options, caplog, monkeypatch):
        # As if `file_read` had chosen another length for a reason that leaves no trace.
        monkeypatch.setattr(
            "bigpipe.streaming.chunked.checkpoint.Checkpointed._check", lambda *given: None
        )
        [(_, meta)] = run(Order(["a.npy"], {**options, "chunk_length": 7}))
        assert "its chunks have a different length" in caplog.text
        assert meta["n"] == self.wanted[1]["n"]

    def test_does_not_hold_again_once_a_run_with_other_keywords_has_begun(self, folder, options):
        other = {"new": 1, "trouble": {20: FailOnce(folder / "other flag")}, "checkpoint": 1000}
        with pytest.raises(PipelineError):
            run(Order(["a.npy"], other))
        assert chunks_taken(folder) == list(range(21))
        assert not list(self.left.glob("*.json"))
        assert not self.goes_on(folder, options)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text[: len(text) // 2],
            lambda text: re.sub(rb'("n_read": ?)17', rb"\g<1>16", text),
            lambda text: b"",
            lambda text: b"\xff\x00" * 100,
        ],
        ids=["cut", "altered", "empty", "no text"],
    )
    def test_is_not_used_if_it_is_damaged(self, folder, options, caplog, damage):
        [noted] = self.left.glob("*.json")
        noted.write_bytes(damage(noted.read_bytes()))
        assert not self.goes_on(folder, options)
        assert "is not used" in caplog.text

    @pytest.mark.parametrize("n_bytes", [None, 0, 50, 500])
    def test_is_not_used_if_the_output_is_damaged(self, folder, options, caplog, n_bytes):
        partial = self.left / "a_bmp.npy"
        if n_bytes is None:
            partial.unlink()
        else:
            os.truncate(partial, n_bytes)
        assert not self.goes_on(folder, options)
        assert "is not used" in caplog.text

    def test_stays_if_the_input_cannot_be_read_just_now(self, folder, options, monkeypatch):
        def torn(self, in_name, **kwargs):
            if os.path.exists("log"):
                raise OSError("no route to host")
            return ChunkedMultiPipe.file_read(self, in_name, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr("tests.streaming.chunk_pipes.Filter.file_read", torn, raising=False)
            # The hooks have changed, but the checkpoint must still be read.
            patched.setattr(
                "bigpipe.streaming.chunked.checkpoint.Checkpointed._check", lambda *given: None
            )
            with pytest.raises(PipelineError, match="no route"):
                run(Order(["a.npy"], options))
        assert chunks_taken(folder) == [0]
        assert self.goes_on(folder, options)

    def test_that_a_step_does_not_take_is_removed(self, folder, options, monkeypatch):
        def refuse(self, state):
            raise ValueError("no such state")

        with monkeypatch.context() as patched:
            patched.setattr(
                "bigpipe.streaming.chunked.checkpoint.Checkpointed._check", lambda *given: None
            )
            patched.setattr("tests.streaming.chunk_pipes.Smooth.set_state", refuse)
            with pytest.raises(PipelineError) as caught:
                run(Order(["a.npy"], options))
        [error] = caught.value.exceptions
        assert "was removed: the file starts over" in error.traceback
        chunks_taken(folder)
        assert not self.goes_on(folder, options)

    def test_is_not_used_while_another_run_has_it(self, folder, options, caplog):
        with (
            CheckpointFolder(os.path.join("out", "a_bmp.npy")) as held,
            caplog.at_level(logging.INFO, "bigpipe"),
        ):
            assert held.is_ours
            assert output(run(Order(["a.npy"], options))) == self.wanted
        assert "is in use" in caplog.text
        assert chunks_taken(folder) == list(range(N_CHUNKS))
        assert checkpoints(folder) == [self.left]

    def test_stays_until_it_is_asked_to_be_removed(self, folder, options, capsys):
        assert bigpipe_command(["clean", "out"]) == 0
        assert self.left.is_dir()
        assert "--checkpoints" in capsys.readouterr().err
        with CheckpointFolder(os.path.join("out", "a_bmp.npy")):
            assert bigpipe_command(["clean", "out", "--checkpoints"]) == 0
        assert f"kept {self.left.relative_to(folder)}: in use" in capsys.readouterr().out
        assert bigpipe_command(["clean", "out", "--checkpoints"]) == 0
        assert f"removed {self.left.relative_to(folder)}" in capsys.readouterr().out
        assert not list(folder.glob("out/.*"))
        assert not self.goes_on(folder, options)


def unchanged(chunk, **kwargs):
    return chunk


class TestFilesThatStartOver:
    def test_as_a_step_cannot_say_its_state_are_told_of_once(self, folder):
        for name in "ab":
            make(f"{name}.npy", 100)
        pipe = ChunkedMultiPipe(chunk_length=10, pre_process_list=differences(), checkpoint=0)
        with pytest.warns(
            BigpipeWarning, match=r"starts over: the state of differences cannot"
        ) as caught:
            pipe.pipeline(["a.npy", "b.npy"], outdir="out", create_outdir=True, executor="serial")
        assert len(caught) == 1
        assert not checkpoints(folder)

    def test_as_file_read_gives_no_reader_are_told_of_once(self, folder):
        class Reads(ChunkedMultiPipe):
            def file_read(self, in_name, **kwargs):
                yield from read_chunks(in_name, n=10)

        for name in "ab":
            make(f"{name}.npy", 100)
        with pytest.warns(
            BigpipeWarning, match=r"return read_chunks\(\.\.\.\), which can resume"
        ) as caught:
            Reads(checkpoint=0).pipeline(["a.npy", "b.npy"], executor="serial")
        assert len(caught) == 1

    def test_as_a_hook_has_a_stream_of_its_own_are_told_of(self, folder):
        class Wraps(ChunkedMultiPipe):
            def file_write(self, data, outname, **kwargs):
                return super().file_write((chunk for chunk in data), outname, **kwargs)

        make("a.npy", 100)
        with pytest.warns(BigpipeWarning, match=r"a hook has replaced the stream"):
            Wraps(checkpoint=0, chunk_length=10).pipeline(["a.npy"], executor="serial")

    def test_as_metadata_cannot_be_saved_are_told_of(self, folder):
        def odd(chunk, bmp_meta=None, **kwargs):
            bmp_meta["odd"] = object
            return chunk

        for name in "ab":
            make(f"{name}.npy", 100)
        pipe = ChunkedMultiPipe(checkpoint=0, chunk_length=10, post_process_list=odd)
        with pytest.warns(BigpipeWarning, match=r"starts over: .*meta.*odd") as caught:
            pipe.pipeline(["a.npy", "b.npy"], executor="serial")
        assert len(caught) == 1


def test_groups_go_on_too(folder):
    for name in "ab":
        make(f"{name}.npy", N_SAMPLES)
    options = {"outdir": "out", "create_outdir": True, "executor": "serial", "checkpoint": 0}

    def run_sum():
        return Sum(chunk_length=10, outname="sum.npy", flag=str(folder / "flag")).pipeline(
            [["a.npy", "b.npy"]], **options
        )

    with pytest.raises(PipelineError, match=r"chunk 12"):
        run_sum()
    [(outname, _)] = run_sum()
    np.testing.assert_array_equal(np.load(outname), np.load("a.npy") + np.load("b.npy"))
    taken = [int(line) for line in (folder / "log").read_text().split()]
    assert taken == [*range(13), 0, *range(12, N_CHUNKS)]


class Sum(ChunkedMultiPipe):
    def data_process(self, chunk, flag=None, **kwargs):
        first, second = chunk
        number = int(first[0, 1]) // 10
        with open("log", "a") as log:
            log.write(f"{number}\n")
        if number == 12:
            FailOnce(flag)(None)
        return first + second


class Offset(ChunkedMultiPipe):
    def data_process(self, chunk, offset=0, flag=None, **kwargs):
        if chunk[0, 1] == 140:
            FailOnce(flag)(None)
        return chunk + offset


def offset_found(chunk, **kwargs):
    """A pre function that finds a keyword in one chunk, for all that come after."""
    if chunk[0, 1] == 50:
        return {"bmp_data": chunk, "bmp_kwargs": {"offset": 5}}
    return chunk


def test_keywords_that_chunks_have_added_hold_when_a_run_goes_on(folder):
    whole = make("a.npy", N_SAMPLES)
    pipe = Offset(chunk_length=10, flag=str(folder / "flag"), pre_process_list=offset_found)
    with pytest.raises(PipelineError, match=r"chunk 14"):
        pipe.pipeline(["a.npy"], executor="serial", checkpoint=0)
    [(outname, _)] = pipe.pipeline(["a.npy"], executor="serial", checkpoint=0)
    whole[50:] += 5
    np.testing.assert_array_equal(np.load(outname), whole)


def noted_until_chunk_5(chunk, bmp_meta=None, **kwargs):
    """A post function that takes back what it has told of the first chunk."""
    if chunk[0, 1] == 0:
        bmp_meta["is_short"] = True
    elif chunk[0, 1] == 50:
        del bmp_meta["is_short"]
    return chunk


def test_metadata_that_chunks_have_removed_stay_away_when_a_run_goes_on(folder):
    make("a.npy", N_SAMPLES)
    flag = str(folder / "flag")
    pipe = Offset(chunk_length=10, flag=flag, post_process_list=noted_until_chunk_5)
    with pytest.raises(PipelineError, match=r"chunk 14"):
        pipe.pipeline(["a.npy"], executor="serial", checkpoint=0)
    [(_, meta)] = pipe.pipeline(["a.npy"], executor="serial", checkpoint=0)
    assert meta == {}


def test_checkpoints_are_made_as_often_as_is_asked_for(folder, monkeypatch):
    make("a.npy", N_SAMPLES)
    times, n_read = itertools.count(), []  # a second passes whenever the time is asked for
    by_count = functools.partial(Checkpointed, clock=times.__next__)
    monkeypatch.setattr("bigpipe.streaming.chunked.passage.Checkpointed", by_count)
    monkeypatch.setattr(
        CheckpointFolder, "note", lambda folder, text: n_read.append(decode(text)["n_read"])
    )
    run(Order(["a.npy"], {"checkpoint": 5}))
    assert n_read == [5, 10, 15, 20]


def test_file_that_goes_on_and_fails_later_goes_on_from_there(folder):
    make("a.npy", N_SAMPLES)
    wanted = uninterrupted(folder)
    order = Order(["a.npy"], {"trouble": {n: FailOnce(folder / f"flag {n}") for n in (9, 17)}})
    for first, last in (0, 9), (9, 17):
        with pytest.raises(PipelineError):
            run(order)
        assert set(chunks_taken(folder)) == {0, *range(first, last + 1)}
    assert output(run(order)) == wanted
    assert chunks_taken(folder) == [0, *range(17, N_CHUNKS)]


class InBatches(ChunkedMultiPipe):
    def data_process_batch(self, data_list, flag=None, **kwargs):
        numbers = [int(chunk[0, 1]) // 10 for chunk in data_list]
        with open("log", "a") as log:
            log.write(f"{numbers[0]}\n")
        if 14 in numbers:
            FailOnce(flag)(None)
        return [2 * chunk for chunk in data_list]


def test_batches_go_on_with_the_one_that_was_not_done(folder):
    whole = make("a.npy", N_SAMPLES)
    pipe = InBatches(chunk_length=10, checkpoint=0, batch_size=3, flag=str(folder / "flag"))
    with pytest.raises(PipelineError, match=r"data_process_batch raised"):
        pipe.pipeline(["a.npy"], executor="serial")
    [(outname, _)] = pipe.pipeline(["a.npy"], executor="serial")
    np.testing.assert_array_equal(np.load(outname), 2 * whole)
    taken = [int(line) for line in (folder / "log").read_text().split()]
    assert taken == [0, 3, 6, 9, 12, 0, *range(12, N_CHUNKS, 3)]


def test_memory_for_shorter_chunks_alone_makes_a_file_start_over(folder, caplog):
    np.save("a.npy", np.arange(400_000.0))
    options = {"outdir": "out", "create_outdir": True, "executor": "serial", "checkpoint": 0}
    wanted = np.arange(400_000.0)
    for sizes, goes_on in (("108 MB", "103 MB"), True), (("117 MB", "101 MB"), False):
        pipe = Third(flag=[str(folder / f"flag {goes_on}")])
        with pytest.raises(PipelineError):
            pipe.pipeline(["a.npy"], process_size=sizes[0], mem_available="1 GB", **options)
        caplog.clear()
        with caplog.at_level(logging.INFO, "bigpipe"):
            pout = pipe.pipeline(["a.npy"], process_size=sizes[1], mem_available="1 GB", **options)
        assert ("resumes at" in caplog.text) is goes_on
        assert ("but memory now allows" in caplog.text) is not goes_on
        np.testing.assert_array_equal(np.load(pout[0][0]), wanted)
        shutil.rmtree("out")


def test_file_goes_on_again_with_less_memory_than_it_began_with(folder, caplog):
    np.save("a.npy", np.arange(400_000.0))
    options = {"executor": "serial", "checkpoint": 0, "mem_available": "1 GB"}
    pipe = Third(flag=[str(folder / "first flag"), str(folder / "second flag")])
    for size in ("108 MB", "103 MB"):
        with pytest.raises(PipelineError):
            pipe.pipeline(["a.npy"], process_size=size, **options)
    caplog.clear()
    with caplog.at_level(logging.INFO, "bigpipe"):
        [(outname, _)] = pipe.pipeline(["a.npy"], process_size="103 MB", **options)
    assert "resumes at" in caplog.text
    np.testing.assert_array_equal(np.load(outname), np.arange(400_000.0))


class Third(ChunkedMultiPipe):
    """Fails late in the file, once for each flag."""

    def data_process(self, chunk, flag=None, **kwargs):
        if chunk[-1] == 399_999:
            for each in flag:
                FailOnce(each)(None)
        return chunk
