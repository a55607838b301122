"""What was written for bigmultipipe 0.2 runs unchanged, but for the import.

The pipelines here are written in its idioms: the ones that its documentation teaches, and
those of pipelines that were built upon it.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bigpipe import (
    OUTNAME_APPEND,
    BigMultiPipe,
    NestablePool,
    NoDaemonPool,
    WorkerWithKwargs,
    assure_list,
    bmp_cleanup,
    cached_pout,
    multi_logging,
    multi_proc,
    no_outfile,
    num_can_process,
    outname_creator,
    prune_pout,
)
from bigpipe.argparse_handler import ArgparseHandler, BMPArgparseMixin


@pytest.fixture
def frames(make_files, request):
    """Six frames, each of its own number throughout."""
    if "threads" in request.node.name:
        # numpy reads the head of a file by Python's own parser, in which CPython 3.11 stumbles if a
        # finalizer of something collected just then lets another thread parse too.
        gc.collect()
    return make_files(6, lambda i: np.full((4, 5), float(i)))


# The body of a loop in one hook, and in functions.


class ArrayPipe(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname


class LoopBody(ArrayPipe):
    def data_process_meta_create(self, data, skip=None, scale=1, **kwargs):
        if skip is not None and data[0, 0] == skip:
            return (None, {})
        data = data * scale
        return (data, {"median": np.median(data)})


def skip_one(data, skip=None, **kwargs):
    if skip is None:
        return data
    if data[0, 0] == skip:
        return None
    return data


def raise_later(data, raise_at=None, raise_by=None, **kwargs):
    if data[0, 0] == raise_at:
        return {"bmp_data": data, "bmp_kwargs": {"to_add": raise_by}}
    return data


def add(data, to_add=None, **kwargs):
    if to_add is not None:
        data = data + to_add
    return data


def median(data, bmp_meta=None, **kwargs):
    if bmp_meta is not None:
        bmp_meta["median"] = np.median(data)
    return data


def test_loop_body_in_one_hook(frames, outdir, anywhere):
    pipe = LoopBody(scale=10, outdir=outdir)
    pout = pipe.pipeline(frames, skip=2, **anywhere)
    pruned_pout, pruned_in_names = prune_pout(pout, frames)
    outnames, meta = zip(*pruned_pout, strict=True)
    assert pruned_in_names == frames[:2] + frames[3:]
    assert [m["median"] for m in meta] == [0, 10, 30, 40, 50]
    assert [np.load(name)[0, 0] for name in outnames] == [0, 10, 30, 40, 50]
    assert os.path.basename(outnames[0]) == f"000{OUTNAME_APPEND}.npy"


def test_loop_body_in_functions(frames, outdir, anywhere):
    pipe = ArrayPipe(
        pre_process_list=[skip_one, raise_later],
        post_process_list=[add, median],
        raise_at=3,
        outdir=outdir,
    )
    pout = pipe.pipeline(frames, skip=2, raise_by=0.5, **anywhere)
    assert pout[2] == (None, {})
    assert [m.get("median") for _, m in pout] == [0, 1, None, 3.5, 4, 5]


# A layer for one kind of data, with options of its own.


class Frame:
    """A frame as a library would have it."""

    def __init__(self, array, **header):
        self.array = array
        self.header = header

    @classmethod
    def read(cls, in_name, unit=None, **kwargs):
        return cls(np.load(in_name), unit=unit)

    def write(self, outname, overwrite=False):
        if os.path.exists(outname) and not overwrite:
            raise OSError(f"{outname} exists")
        with open(outname, "wb") as file:
            np.save(file, self.array)


class FramePipe(BigMultiPipe):
    """Makes out from the first frame how much memory one needs."""

    frame_cls = Frame
    expand_factor = 3.5

    def __init__(
        self, frame_cls=None, shape=None, expand_factor=None, outname_append="_fr", **kwargs
    ):
        self.frame_cls = frame_cls or self.frame_cls
        self.shape = shape
        self.expand_factor = expand_factor or self.expand_factor
        super().__init__(outname_append=outname_append, **kwargs)

    def pipeline(
        self,
        in_names,
        num_processes=None,
        mem_available=None,
        mem_frac=None,
        process_size=None,
        shape=None,
        expand_factor=None,
        **kwargs,
    ):
        num_processes = num_processes or self.num_processes
        mem_available = mem_available or self.mem_available
        mem_frac = mem_frac or self.mem_frac
        process_size = process_size or self.process_size
        shape = shape or self.shape
        expand_factor = expand_factor or self.expand_factor
        if process_size is None:
            if shape is None:
                shape = self.file_read(in_names[0], **kwargs).array.shape
            process_size = np.prod(shape) * 8 * expand_factor
        num_processes = num_can_process(
            len(in_names),
            num_processes=num_processes,
            mem_available=mem_available,
            mem_frac=mem_frac,
            process_size=process_size,
            error_if_zero=False,
        )
        return super().pipeline(
            in_names,
            num_processes=max(1, num_processes),
            mem_available=mem_available,
            mem_frac=mem_frac,
            process_size=process_size,
            **kwargs,
        )

    def file_read(self, in_name, **kwargs):
        kwargs = self.kwargs_merge(**kwargs)
        if isinstance(in_name, str):
            return self.frame_cls.read(in_name, **kwargs)
        return [self.file_read(name, **kwargs) for name in in_name]

    def file_write(self, data, outname, in_name=None, overwrite=False, **kwargs):
        kwargs = self.kwargs_merge(**kwargs)
        BigMultiPipe(self).file_write(data, outname, **kwargs)
        data.write(outname, overwrite=overwrite)
        return outname


def note_header(data, bmp_meta=None, in_name=None, **kwargs):
    bmp_meta.update(data.header, name=os.path.basename(in_name))
    return data


def test_layer_that_measures_its_first_file_before_the_run(frames, tmp_path, anywhere):
    outdir = f"{tmp_path}/made/by/the/idiom"
    pipe = FramePipe(outdir=outdir, create_outdir=True, unit="adu", post_process_list=note_header)
    pout = pipe.pipeline(frames, **anywhere)
    assert [os.path.basename(outname) for outname, _ in pout] == [
        f"{i:03d}_fr.npy" for i in range(6)
    ]
    assert pout[3][1] == {"unit": "adu", "name": "003.npy"}
    assert all(os.path.dirname(outname) == outdir for outname, _ in pout)


def test_layer_refuses_to_overwrite_unless_it_is_told(frames, outdir, anywhere):
    pipe = FramePipe(outdir=outdir)
    pipe.pipeline(frames, **anywhere)
    pout = pipe.pipeline(frames, on_error="return", **anywhere)
    assert all("exists" in str(meta["bmp_error"]) for _, meta in pout)
    assert pipe.pipeline(frames, overwrite=True, **anywhere).errors == []


def test_layer_upon_a_layer(frames, outdir):
    class Corrected(FramePipe):
        def __init__(self, bias=None, **kwargs):
            self.bias = bias
            super().__init__(outname_append="_cor", **kwargs)

        def data_process(self, data, **kwargs):
            data.array = data.array - self.bias
            return data

    pout = Corrected(bias=1, outdir=outdir).pipeline(frames, num_processes=1)
    assert [np.load(outname)[0, 0] for outname, _ in pout] == [-1, 0, 1, 2, 3, 4]


# Attributes.


class OwnAttributes(ArrayPipe):
    """Has attributes called as options are, and as bigpipe's own might be."""

    def __init__(self, executor=None, progress=None, **kwargs):
        self.executor = executor
        self.progress = progress
        self.on_error = "a flag of ours"
        self.start_method = 1
        self.results = []
        self.options = self.control = self.plan = self.index = None
        self.outdir = "overwritten by the constructor"
        super().__init__(**kwargs)

    def data_process(self, data, **kwargs):
        self.results.append(self.executor)
        return data * self.progress


def test_subclass_may_have_attributes_named_like_options(frames, outdir, anywhere):
    pipe = OwnAttributes(executor="ours", progress=2, outdir=outdir)
    pout = pipe.pipeline(frames, **anywhere)
    assert (pipe.executor, pipe.progress, pipe.on_error) == ("ours", 2, "a flag of ours")
    assert [np.load(outname)[0, 0] for outname, _ in pout] == [0, 2, 4, 6, 8, 10]


class Remembering(ArrayPipe):
    """Hands something from hook to hook on itself."""

    def data_process(self, data, **kwargs):
        self.level = data.mean()
        return data

    def file_write(self, data, outname, meta=None, **kwargs):
        meta["level"] = self.level
        return super().file_write(data, outname, **kwargs)


def test_what_a_hook_sets_on_the_object_is_there_for_later_hooks_of_the_file(
    frames, outdir, anywhere
):
    pout = Remembering(outdir=outdir).pipeline(frames, **anywhere)
    assert [meta["level"] for _, meta in pout] == [0, 1, 2, 3, 4, 5]


# Hooks written out as the original has them.


class WrittenOut(ArrayPipe):
    def file_process(self, in_name, **kwargs):
        kwargs = self.kwargs_merge(**kwargs)
        data = self.file_read(in_name, **kwargs)
        if data is None:
            return (None, {})
        data, more = self.pre_process(data, **kwargs)
        if data is None:
            return (None, {})
        kwargs.update(more)
        data, meta = self.data_process_meta_create(data, in_name=in_name, **kwargs)
        if data is None:
            return (None, meta)
        outname = self.outname_create(in_name, data=data, meta=meta, **kwargs)
        outname = self.file_write(data, outname, meta=meta, in_name=in_name, **kwargs)
        return (outname, meta)

    def outname_create(self, *args, **kwargs):
        kwargs = self.kwargs_merge(**kwargs)
        return outname_creator(*args, **kwargs)


def test_hooks_written_out_in_full(frames, outdir, anywhere):
    pipe = WrittenOut(pre_process_list=skip_one, post_process_list=median, outdir=outdir)
    pout = pipe.pipeline(frames, skip=1, **anywhere)
    assert [m.get("median") for _, m in pout] == [0, None, 2, 3, 4, 5]
    assert len(os.listdir(outdir)) == 5


class Split(ArrayPipe):
    """Makes of one input several outputs, and returns the first name."""

    def file_write(self, data, outname, meta=None, **kwargs):
        root, extension = os.path.splitext(outname)
        names = [f"{root}_{i}{extension}" for i in range(2)]
        for name, half in zip(names, np.array_split(data, 2), strict=True):
            np.save(name, half)
        meta["names"] = [os.path.basename(name) for name in names]
        return names[0]


def test_several_outputs_of_one_input(frames, outdir, anywhere):
    pout = Split(outdir=outdir).pipeline(frames[:2], **anywhere)
    assert pout[0] == (f"{outdir}/000_bmp_0.npy", {"names": ["000_bmp_0.npy", "000_bmp_1.npy"]})
    assert len(os.listdir(outdir)) == 4


class WithPlot(ArrayPipe):
    """Has side files, one of them by another program."""

    def file_write(self, data, outname, **kwargs):
        root, _ = os.path.splitext(outname)
        Path(root + ".png").write_bytes(b"plot")
        outname = super().file_write(data, outname, **kwargs)
        subprocess.run(["gzip", "--keep", outname], check=True)
        return outname + ".gz"


def test_side_files_and_programs(frames, outdir, anywhere):
    pout = WithPlot(outdir=outdir).pipeline(frames[:2], **anywhere)
    assert pout[0][0] == f"{outdir}/000_bmp.npy.gz"
    assert sorted(os.listdir(outdir))[:3] == ["000_bmp.npy", "000_bmp.npy.gz", "000_bmp.png"]


# Groups, and the functions for them.


def combine(data, **kwargs):
    return np.mean(data, axis=0)


def subtract(data, offset=0, **kwargs):
    return data - offset


def name_group(data, bmp_meta=None, in_name=None, **kwargs):
    first = os.path.splitext(os.path.basename(in_name[0]))[0]
    bmp_meta["outname"] = f"combined_{first}.npy"
    return data


class Grouped(ArrayPipe):
    def file_read(self, in_name, **kwargs):
        if isinstance(in_name, str):
            return np.load(in_name)
        return [self.file_read(name, **kwargs) for name in in_name]

    def data_process(self, data, **kwargs):
        return combine(multi_proc(subtract)(data, **kwargs))


def test_groups_are_combined_and_named_by_metadata(frames, outdir, anywhere):
    pipe = Grouped(outdir=outdir, post_process_list=name_group)
    pout = pipe.pipeline([frames[:3], frames[3:]], offset=1, **anywhere)
    assert [os.path.basename(outname) for outname, _ in pout] == [
        "combined_000.npy",
        "combined_003.npy",
    ]
    assert [np.load(outname)[0, 0] for outname, _ in pout] == [0, 3]


# Metadata.


def hand_on(data, bmp_meta=None, **kwargs):
    bmp_meta["large"] = data
    bmp_meta["also"] = 1
    return bmp_cleanup(data, bmp_meta, add=["large", "also"])


def use(data, bmp_meta=None, **kwargs):
    multi_logging("warning", bmp_meta, f"large is {bmp_meta['large'].shape}")
    multi_logging("warning", bmp_meta, "that is all")
    bmp_cleanup(bmp_meta, add="also")
    return data


def test_metadata_only_with_things_handed_on(frames, anywhere):
    pipe = ArrayPipe(post_process_list=[hand_on, use, no_outfile])
    pout = pipe.pipeline(frames[:2], **anywhere)
    assert list(pout) == [(None, {"warning": ["large is (4, 5)", "that is all"]})] * 2


# Pools, and pipelines inside.


def reduce_night(folder, outdir=None, **kwargs):
    """Run a pipeline over the files of a folder: what a pool of nights would map."""
    names = sorted(str(path) for path in Path(folder).iterdir())
    pipe = ArrayPipe(outdir=outdir, outname_append=f"_{os.path.basename(folder)}", num_processes=2)
    return pipe.pipeline(names, post_process_list=median, **kwargs)


@pytest.mark.process
@pytest.mark.parametrize("pool_class", [NestablePool, NoDaemonPool])
def test_pipelines_inside_a_pool_of_ones_own(make_files, tmp_path, outdir, pool_class):
    for night in ("night1", "night2"):
        make_files(2, np.ones((2, 2)), folder=night)
    worker = WorkerWithKwargs(reduce_night, outdir=outdir, progress=False)
    with pool_class(processes=2) as pool:
        pouts = pool.map(worker.worker, [str(tmp_path / "night1"), str(tmp_path / "night2")])
    assert [meta["median"] for pout in pouts for _, meta in pout] == [1] * 4
    assert len(os.listdir(outdir)) == 4


class Nights(BigMultiPipe):
    """Has a whole night for each input."""

    def file_read(self, in_name, **kwargs):
        return in_name

    def data_process(self, data, outdir=None, **kwargs):
        return reduce_night(data, outdir=outdir)

    def file_write(self, data, outname, meta=None, **kwargs):
        meta["n"] = len(data)
        return data[0][0]


@pytest.mark.process
@pytest.mark.parametrize("pool_class", [None, NestablePool, NoDaemonPool])
def test_pipelines_inside_a_pipeline(make_files, tmp_path, outdir, pool_class):
    for night in ("night1", "night2"):
        make_files(3, np.ones((2, 2)), folder=night)
    nights = [str(tmp_path / "night1"), str(tmp_path / "night2")]
    pipe = Nights(outdir=outdir, PoolClass=pool_class, num_processes=2)
    assert pipe.pipeline(nights) == [
        (f"{outdir}/000_night1.npy", {"n": 3}),
        (f"{outdir}/000_night2.npy", {"n": 3}),
    ]


# A script in a hierarchy of classes.


class FrameArgs(BMPArgparseMixin, ArgparseHandler):
    outname_append = "_fr"

    def add_scale(self, option="scale", default=1.0, help="factor", **kwargs):
        self.parser.add_argument(f"--{option}", type=float, default=default, help=help, **kwargs)

    def add_all(self):
        super().add_all()
        self.add_outdir(default="reduced")
        self.add_create_outdir(default=True)
        self.add_outname_append()
        self.add_num_processes()
        self.add_mem_frac()
        self.add_process_size()
        self.add_read_pout(default=True)
        self.add_write_pout(default=True)


class LoopArgs(FrameArgs):
    outname_append = "_loop"

    def add_all(self):
        super().add_all()
        self.add_scale()
        self.parser.add_argument("names", nargs="+")

    def cmd(self, args):
        pipe = LoopBody(
            outdir=args.outdir,
            outname_append=args.outname_append,
            num_processes=args.num_processes,
            mem_frac=args.mem_frac,
            process_size=args.process_size,
        )

        def pipe_code(create_outdir=None, **kwargs):
            return pipe.pipeline(args.names, create_outdir=create_outdir, **kwargs)

        return cached_pout(
            pipe_code,
            poutname=os.path.join(args.outdir, "night.pout"),
            read_pout=args.read_pout,
            write_pout=args.write_pout,
            create_outdir=args.create_outdir,
            scale=args.scale,
        )


def run_script(*args):
    parser = argparse.ArgumentParser()
    handler = LoopArgs(parser)
    handler.add_all()
    return handler.cmd(parser.parse_args(args))


@pytest.mark.filterwarnings("ignore:.*night.pout.*cannot be read:bigpipe.BigpipeWarning")
def test_script_runs_once_and_reads_what_it_has_kept_the_next_time(frames, tmp_path):
    outdir = f"{tmp_path}/reduced"
    args = ["--outdir", outdir, "--scale", "2", "--num_processes", "1", *frames]
    pout = run_script(*args)
    assert pout[5] == (f"{outdir}/005_loop.npy", {"median": 10})
    for outname, _ in pout:
        os.unlink(outname)
    assert run_script(*args) == pout
    assert os.listdir(outdir) == ["night.pout"]
    run_script("--no-read_pout", *args)
    assert len(os.listdir(outdir)) == 7


def test_small_helpers_are_where_they_were():
    assert assure_list(None) == []
    assert OUTNAME_APPEND == "_bmp"
    assert outname_creator("raw/a.fits", outdir="out", outname_append="") == "out/a.fits"
