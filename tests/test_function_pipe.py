"""Functions in the place of hooks."""

from __future__ import annotations

import inspect
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bigpipe import (
    BigMultiPipe,
    BigpipeWarning,
    FunctionPipe,
    OptionError,
    PipelineError,
    formats,
)
from bigpipe.fingerprint import differences, fingerprint_of

SCALE = 3


def scaled(data, factor=1):
    return data * factor * SCALE


@pytest.fixture
def arrays(make_files, tmp_path, monkeypatch):
    """Names of three arrays, of zeros, ones and twos, in the current folder."""
    names = make_files(3, lambda i: np.full((2, 2), i))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return names


def written(pout):
    return [np.load(outname).max() for outname, _ in pout]


def fingerprint(pipe, **kwargs):
    return fingerprint_of(pipe, pipe._bmp_plan([], kwargs).control)


# What is called with what.


def test_everything_by_extension_if_no_function_is_given(arrays):
    assert written(FunctionPipe(outdir="out").pipeline(arrays)) == [0, 1, 2]


def test_damaged_file_is_told_without_frames_of_those_who_read_it(arrays):
    Path(arrays[0]).write_text("no array")
    [error] = FunctionPipe(outdir="out", on_error="return").pipeline(arrays).errors
    assert "cannot be read" in str(error)
    assert error.traceback == ""
    [error] = FunctionPipe(read=np.load, outdir="out", on_error="return").pipeline(arrays).errors
    assert "numpy" in error.traceback


def test_function_that_fails_on_several_arrays_is_told_how_to_read_one(tmp_path):
    pytest.importorskip("h5py")
    name = str(tmp_path / "a.h5")
    formats.write({f"night/{i}": np.ones(2) for i in range(7)}, name)
    pipe = FunctionPipe(process=scaled, on_error="return", executor="serial")
    text = pipe.pipeline([name]).errors[0].traceback
    assert "several arrays: 'night/0', 'night/1', 'night/2', 'night/3', 'night/4', ..." in text
    assert "the keyword dataset" in text
    pipe.process = lambda data, factor=1: 1 / 0
    pipe.outdir = tmp_path / "out"
    for other in ({"dataset": "night/0"}, {"read": lambda in_name: {"a": 1}}):
        pipe.read = other.pop("read", None)
        errors = pipe.pipeline([name], **other).errors
        assert "ZeroDivisionError" in errors[0].traceback
        assert "several arrays" not in errors[0].traceback


def test_lambdas_and_local_functions_work_anywhere(arrays, anywhere):
    offset = 10

    def read(in_name):
        return np.load(in_name) + offset

    def write(data, outname):
        np.save(outname, data)

    pipe = FunctionPipe(read, lambda data: data * 2, write, "out", **anywhere)
    assert written(pipe.pipeline(arrays)) == [20, 22, 24]


def test_functions_take_the_keywords_that_they_name(arrays):
    seen = []

    def process(data, factor, in_name, other=None):
        seen.append((factor, os.path.basename(in_name), other))
        return data

    def read(in_name, factor=0):
        seen.append(factor)
        return np.load(in_name)

    def write(data, outname, *, meta, factor):
        seen.append((meta, factor))
        np.save(outname, data)

    pipe = FunctionPipe(read, process, write, "out", factor=5, num_processes=1)
    pipe.pipeline(arrays[:1])
    assert seen == [5, (5, "000.npy", None), ({}, 5)]


def test_function_with_any_keywords_takes_what_a_hook_would(arrays):
    seen = {}

    def process(data, **kwargs):
        seen.update(kwargs)
        return data

    pipe = FunctionPipe(process=process, outdir="out", factor=5, num_processes=1)
    pipe.pipeline(arrays[:1])
    assert seen == {
        "factor": 5,
        "in_name": arrays[0],
        "outdir": "out",
        "create_outdir": False,
        "outname_append": "_bmp",
    }


@pytest.mark.parametrize(
    ("process", "result"),
    [(np.sqrt, 1), (np.negative, -1), (np.array, 1), (scaled, 6), (abs, 1), (np.ndarray.round, 1)],
    ids=["ufunc", "another ufunc", "C", "Python", "builtin", "method"],
)
def test_functions_of_libraries_are_called_as_they_are(process, result, arrays):
    pipe = FunctionPipe(np.load, process, outdir="out", num_processes=1, factor=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BigpipeWarning)
        assert written(pipe.pipeline(arrays[1:2])) == [result]


def test_callable_objects_and_methods_are_functions_too(arrays):
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, data, m=0):
            return data + self.n + m

        def add(self, data, *, m):
            return data - self.n - m

    for process, result in ((Adder(1), 112), (Adder(1).add, -110)):
        pipe = FunctionPipe(process=process, outdir="out", m=110, num_processes=1)
        assert written(pipe.pipeline(arrays[1:2])) == [result]


def test_data_that_is_none_rejects_the_file(arrays):
    pipe = FunctionPipe(process=lambda data: data if data.max() else None, outdir="out")
    assert [outname for outname, _ in pipe.pipeline(arrays, num_processes=1)] == [
        None,
        "out/001_bmp.npy",
        "out/002_bmp.npy",
    ]
    rejecting = FunctionPipe(read=lambda in_name: None, num_processes=1)
    assert rejecting.pipeline(arrays[:1]) == [(None, {})]


def test_lists_of_functions_work_as_ever(arrays):
    def note(data, bmp_meta, **kwargs):
        bmp_meta["max"] = int(data.max())
        return data

    pipe = FunctionPipe(process=scaled, outdir="out", post_process_list=note, num_processes=1)
    assert [meta for _, meta in pipe.pipeline(arrays, factor=2)] == [{"max": n} for n in (0, 6, 12)]


def test_error_names_the_file_and_the_hook(arrays):
    def process(data):
        return data / (data.max() - 1)

    pipe = FunctionPipe(process=process, outdir="out", num_processes=1)
    with np.errstate(all="raise"), pytest.raises(PipelineError) as caught:
        pipe.pipeline(arrays)
    [error] = caught.value.exceptions
    assert error.in_name == arrays[1]
    assert error.hook == "data_process"
    assert "in process" in error.traceback


def test_group_is_read_member_by_member(arrays):
    pipe = FunctionPipe(process=sum, outdir="out", num_processes=1)
    assert written(pipe.pipeline([arrays], outname="sum.npy")) == [3]


# What is written, and where.


def returns_none(data, outname):
    Path(outname).write_bytes(b"x")


def returns_a_count(data, outname):
    return Path(outname).write_bytes(b"x")


def returns_the_name(data, outname):
    Path(outname).write_bytes(b"x")
    return outname


@pytest.mark.parametrize("write", [returns_none, returns_a_count, returns_the_name])
def test_output_has_its_name_whatever_write_returns(write, arrays):
    pipe = FunctionPipe(write=write, outdir="out", num_processes=1)
    assert pipe.pipeline(arrays[:1]) == [("out/000_bmp.npy", {})]
    assert Path("out/000_bmp.npy").read_bytes() == b"x"


def test_another_name_that_write_returns_is_taken(arrays):
    def write(data, outname):
        np.savetxt(outname + ".txt", data)
        return outname + ".txt"

    pipe = FunctionPipe(write=write, outdir="out", num_processes=1)
    assert pipe.pipeline(arrays[:1]) == [("out/000_bmp.npy.txt", {})]
    assert os.listdir("out") == ["000_bmp.npy.txt"]


def test_function_that_writes_nothing_gives_no_name(arrays):
    pipe = FunctionPipe(write=lambda data, outname: None, outdir="out", num_processes=1)
    assert pipe.pipeline(arrays[:1]) == [(None, {})]


@pytest.mark.parametrize(
    ("in_name", "options", "outname"),
    [
        ("x.npy", {}, "out/x_bmp.npy"),
        ("x.npy", {"outname_ext": ".fits"}, "out/x_bmp.fits"),
        ("x.npy", {"outname_ext": "fits", "outname_append": ""}, "out/x.fits"),
        ("x.npy", {"outname_ext": ".fits.gz"}, "out/x_bmp.fits.gz"),
        ("x.fits.gz", {}, "out/x_bmp.fits.gz"),
        ("x.fits.gz", {"outname_ext": ".npy"}, "out/x_bmp.npy"),
        ("x.tar.gz", {}, "out/x.tar_bmp.gz"),
        ("a.b/x", {}, "out/x_bmp"),
        ("x.npy", {"outname_ext": ""}, "out/x_bmp"),
        (".x", {"outname_ext": "y"}, "out/.x_bmp.y"),
        ("cube.zarr/", {}, "out/cube_bmp.zarr"),
        ("x.npy", {"outname": "y.z", "outname_ext": ".fits"}, "out/y.z"),
        (Path("y.npy"), {"outname_ext": ".fits"}, "out/y_bmp.fits"),
    ],
    ids=str,
)
def test_output_has_the_extension_of_its_input_or_the_one_given(in_name, options, outname):
    pipe = FunctionPipe(outdir="out", **options)
    assert pipe.outname_create(in_name) == outname
    if "outname" not in options:
        assert pipe.plan([in_name]).files[0].outname == outname


def test_outname_in_the_metadata_is_used_as_it_is():
    pipe = FunctionPipe(outdir="out", outname_ext=".fits")
    assert pipe.outname_create("x.npy", meta={"outname": "y.npy"}) == "out/y.npy"


def test_extension_may_be_given_at_the_run(arrays):
    pipe = FunctionPipe(outdir="out", num_processes=1)
    assert pipe.pipeline(arrays[:1], outname_ext=".fits") == [("out/000_bmp.fits", {})]
    assert fits.getdata("out/000_bmp.fits").shape == (2, 2)


def test_frame_keeps_its_header(tmp_path):
    frame = fits.PrimaryHDU(np.ones((3, 3), np.uint16))
    frame.header["OBJECT"] = "M 13"
    frame.writeto(tmp_path / "x.fits")
    pipe = FunctionPipe(process=lambda image: image / 2, outdir=tmp_path, num_processes=1)
    [(outname, _)] = pipe.pipeline([tmp_path / "x.fits"])
    with fits.open(outname) as hdus:
        assert hdus[0].header["OBJECT"] == "M 13"
        assert hdus[0].data.max() == 0.5


def test_hook_called_directly_makes_the_folder_and_knows_the_keywords(tmp_path):
    pipe = FunctionPipe(process=scaled, outdir=tmp_path / "new", create_outdir=True, factor=2)
    name = pipe.outname_create("x.npy")
    assert pipe.file_write(pipe.data_process(np.ones(2)), name) == name
    assert np.load(name).max() == 6


# The same object otherwise.


def test_functions_come_first_and_all_options_are_taken():
    parameters = list(inspect.signature(FunctionPipe).parameters)
    assert parameters == ["read", "process", "write", "outdir", "outname_ext", "kwargs"]
    pipe = FunctionPipe(num_processes=2, mem_frac=0.5, journal="j", factor=1)
    assert isinstance(pipe, BigMultiPipe)
    assert (pipe.num_processes, pipe.mem_frac, pipe.kwargs) == (2, 0.5, {"factor": 1})


@pytest.mark.parametrize("role", ["read", "process", "write"])
def test_name_in_place_of_a_function_is_refused_before_anything_is_read(role):
    with pytest.raises(OptionError, match=f"{role}='numpy.median' is not a function"):
        FunctionPipe(**{role: "numpy.median"}).pipeline(["missing.npy"])


def test_subclass_that_has_left_out_the_constructor_is_refused():
    class Bare(FunctionPipe):
        def __init__(self):
            pass

    with pytest.raises(OptionError, match=r"call super\(\).__init__"):
        Bare().pipeline(["missing.npy"])


def test_keyword_that_no_function_takes_is_told_of(arrays):
    pipe = FunctionPipe(process=scaled, outdir="out", num_processes=1)
    with pytest.warns(BigpipeWarning, match="no function takes the keyword 'facter'") as caught:
        pipe.pipeline(arrays[:1], facter=2)
    assert [warning.filename for warning in caught] == [__file__]


def test_keyword_near_an_option_is_told_of_once(arrays):
    pipe = FunctionPipe(process=scaled, outdir="out", num_processes=1)
    with pytest.warns(BigpipeWarning, match="did you mean 'outdir'") as caught:
        pipe.pipeline(arrays[:1], outdirs="x")
    assert len(caught) == 1


@pytest.mark.parametrize(
    "functions",
    [
        {"process": lambda data, **kwargs: data},
        {"process": lambda data, facter=1: data},
        {"post_process_list": lambda data, **kwargs: data},
    ],
    ids=["any", "named", "in a list"],
)
def test_keyword_that_a_function_may_take_is_not_told_of(functions, arrays):
    pipe = FunctionPipe(outdir="out", num_processes=1, hdu=None, **functions)
    assert len(pipe.pipeline(arrays[:1], facter=2)) == 1


# The journal.


def run_again(pipe, names, **kwargs):
    return [result.from_journal for result in pipe.pipeline(names, **kwargs).results]


def test_files_that_are_done_are_not_done_again(arrays):
    def make(process):
        return FunctionPipe(process=process, outdir="out", journal="j", num_processes=1)

    assert run_again(make(lambda data: data * 2), arrays) == [False] * 3
    assert run_again(make(lambda data: data * 2), arrays) == [True] * 3
    assert run_again(make(lambda data: data * 3), arrays) == [False] * 3


CODE = """
import numpy as np
LIMIT = 3
def shifted(data): return data + LIMIT
def read(in_name): return np.load(in_name)
def process(data, factor=1): return shifted(data) * factor
def write(data, outname): np.save(outname, data)
"""


def pipe_of(code, **kwargs):
    namespace = {"__name__": "a_script"}
    exec(compile(code, "<script>", "exec", dont_inherit=True), namespace)
    functions = {name: namespace[name] for name in ("read", "process", "write")}
    return FunctionPipe(**{**functions, **kwargs})


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("np.load(in_name)", "np.load(in_name) + 0", "attribute 'read' changed"),
        ("* factor", "/ factor", "attribute 'process' changed"),
        ("np.save(outname, data)", "np.save(outname, -data)", "attribute 'write' changed"),
        ("data + LIMIT", "data - LIMIT", "attribute 'process' changed"),
        ("LIMIT = 3", "LIMIT = 4", "attribute 'process' changed"),
    ],
    ids=["read", "process", "write", "what it uses", "a constant"],
)
def test_code_of_the_functions_counts(old, new, what):
    before = fingerprint(pipe_of(CODE))
    assert differences(before.parts, fingerprint(pipe_of(CODE)).parts) == []
    assert differences(before.parts, fingerprint(pipe_of(CODE.replace(old, new))).parts) == [what]
    assert not before.unstable


def test_functions_count_by_code_where_their_module_is_installed(monkeypatch):
    import sys
    import types

    def installed(limit):
        module = types.ModuleType("a_script")
        module.__file__ = "/usr/lib/site-packages/a_script.py"
        monkeypatch.setitem(sys.modules, "a_script", module)
        code = CODE.replace("LIMIT = 3", f"LIMIT = {limit}")
        exec(compile(code, module.__file__, "exec", dont_inherit=True), vars(module))
        return fingerprint(FunctionPipe(process=module.process)).text

    assert installed(3) == installed(3)
    assert installed(3) != installed(4)


def test_what_a_run_has_found_out_does_not_count(arrays):
    pipe = FunctionPipe(process=scaled, outdir="out", num_processes=1)
    before = fingerprint(pipe)
    pipe.pipeline(arrays)
    assert fingerprint(pipe) == before


def test_extension_counts():
    changes = differences(
        fingerprint(FunctionPipe()).parts, fingerprint(FunctionPipe(outname_ext=".png")).parts
    )
    assert changes == ["keyword 'outname_ext' is new"]
