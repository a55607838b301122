"""Runs over many files: options and keywords, what comes back, and the same in every executor."""

from __future__ import annotations

import itertools
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import psutil
import pytest

from bigpipe import (
    BigMultiPipe,
    BigpipeWarning,
    CollisionError,
    FileError,
    FileFinished,
    InNamesError,
    MemoryBudgetError,
    NestablePool,
    OptionError,
    Outcome,
    PipelineError,
    Pout,
    RunFinished,
    RunStarted,
    UnsendableError,
    no_outfile,
    prune_pout,
)
from bigpipe.executors import worker
from bigpipe.scheduling.pace import MAX_AHEAD
from tests.ids import shown
from tests.pipes import Doubler, fail, note_size
from tests.places import not_spawned

OPTIONS = {"executor": "serial"}


def note_process(data, bmp_meta=None, **kwargs):
    bmp_meta["pid"] = os.getpid()
    bmp_meta["thread"] = threading.get_ident()
    return data


def name_by_table(data, bmp_meta=None, outnames=None, **kwargs):
    """Give outputs the names that a table has for their content."""
    bmp_meta["outname"] = outnames[data.split(b"\n")[0].decode()]
    return data


def names_in(folder):
    return sorted(os.listdir(folder))


# Options and keywords.


class Constructorless(Doubler):
    def __init__(self, gain=2):
        self.gain = gain


@dataclass
class Described(Doubler):
    gain: float = 2.0


@pytest.mark.parametrize("cls", [Constructorless, Described])
def test_subclass_that_forgot_the_constructor_is_told_so(cls):
    with pytest.raises(OptionError, match=rf"{cls.__name__} .* super\(\).__init__"):
        cls().pipeline(["a"], **OPTIONS)


class Keywords(BigMultiPipe):
    """Returns the keywords of its hooks as metadata."""

    def file_process(self, in_name, **kwargs):
        return (None, kwargs)


def keywords_of_run(pipe, **given):
    [(_, kwargs)] = pipe.pipeline(["a"], executor="serial", **given)
    return kwargs


def test_constructor_takes_its_options_by_place():
    pipe = BigMultiPipe(2, "1GiB", 0.5, "1MiB", "out", True, "_x", "y", len, abs, NestablePool)
    assert (pipe.num_processes, pipe.mem_available, pipe.mem_frac) == (2, "1GiB", 0.5)
    assert (pipe.process_size, pipe.outdir, pipe.create_outdir) == ("1MiB", "out", True)
    assert (pipe.outname_append, pipe.PoolClass) == ("_x", NestablePool)
    assert (pipe.pre_process_list, pipe.post_process_list) == ([len], [abs])
    assert pipe.outname_create("a") == "out/y"


def test_defaults_are_those_of_the_original():
    pipe = BigMultiPipe()
    assert (pipe.num_processes, pipe.mem_available, pipe.mem_frac) == (None, None, 0.8)
    assert (pipe.process_size, pipe.outdir, pipe.create_outdir) == (None, None, False)
    assert (pipe.outname_append, pipe.PoolClass, pipe.kwargs) == ("_bmp", None, {})


def test_keywords_of_hooks_and_options_of_bigpipe_are_told_apart():
    assert BigMultiPipe(gain=2, executor="serial", on_error="return").kwargs == {"gain": 2}


def test_keywords_of_the_run_are_added_to_those_of_the_object():
    pipe = Keywords(a=1, b=1)
    kwargs = keywords_of_run(pipe, b=2, c=3)
    assert (kwargs["a"], kwargs["b"], kwargs["c"]) == (1, 2, 3)
    assert pipe.kwargs == {"a": 1, "b": 1}


@pytest.mark.parametrize("value", [None, 0, False, "", []], ids=repr)
def test_any_keyword_given_at_the_run_wins(value):
    assert keywords_of_run(Keywords(gain=2), gain=value)["gain"] == value


@pytest.mark.parametrize(
    ("name", "constructed", "given"),
    [
        ("create_outdir", True, False),
        ("outname_append", "_x", ""),
        ("outdir", "out", ""),
        ("outdir", "out", "other"),
        ("outname", "x", "y"),
    ],
)
def test_option_given_at_the_run_wins_even_if_false(name, constructed, given):
    pipe = Keywords(**{name: constructed})
    assert keywords_of_run(pipe)[name] == constructed
    assert keywords_of_run(pipe, **{name: given})[name] == given
    assert keywords_of_run(pipe)[name] == constructed


@pytest.mark.parametrize(
    ("name", "value"),
    [("outdir", "x"), ("outname_append", "x"), ("create_outdir", True), ("outname", "x")],
)
def test_none_at_the_run_means_not_given(name, value):
    assert keywords_of_run(Keywords(**{name: value}), **{name: None})[name] == value


def test_memory_allowed_at_the_run_wins():
    pipe = Keywords(process_size="1 GiB", mem_available="10 GiB")
    assert keywords_of_run(pipe)
    with pytest.raises(MemoryBudgetError, match=r"1\.0 MiB.*1\.0 GiB") as caught:
        pipe.pipeline(["a"], mem_available="1 MiB")
    assert "error_if_zero" not in str(caught.value)  # which is no option of a run


def test_hooks_get_the_folder_though_none_was_given():
    kwargs = keywords_of_run(Keywords())
    assert kwargs == {"outdir": None, "create_outdir": False, "outname_append": "_bmp"}


def test_outname_given_at_the_run_reaches_the_name(make_files, outdir):
    pout = Doubler(outdir=outdir).pipeline(make_files(1), outname="x.bin")
    assert pout == [(f"{outdir}/x.bin", {})]


def test_attributes_set_after_construction_count(make_files, outdir):
    pipe = Doubler()
    pipe.outdir = outdir
    pipe.outname_append = ""
    pipe.post_process_list = note_size
    assert pipe.pipeline(make_files(1)) == [(f"{outdir}/000.bin", {"size": 16})]


def test_construction_checks_nothing():
    pipe = BigMultiPipe(object(), mem_frac="half", on_error="ignore", outdir=7)
    assert pipe.outname_append == "_bmp"


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_processes": -1},
        {"on_error": "ignore"},
        {"outdir": 7},
        {"pre_process_list": ["median"]},
        {"executor": "cluster"},
        {"file_timeout": -1},
    ],
    ids=str,
)
@pytest.mark.parametrize("at", ["construction", "run"])
def test_options_are_checked_before_any_file_is_begun(wrong, at):
    begun = []

    class Noting(BigMultiPipe):
        def file_process(self, in_name, **kwargs):
            begun.append(in_name)
            return (None, {})

    pipe = Noting(**(wrong if at == "construction" else {}))
    with pytest.raises(OptionError, match=next(iter(wrong))):
        pipe.pipeline(["a"], **(wrong if at == "run" else {}))
    assert not begun


def test_iteration_checks_its_options_when_it_is_asked_for():
    with pytest.raises(OptionError, match="on_error"):
        BigMultiPipe().iter_pipeline(["a"], on_error="ignore")


@pytest.mark.parametrize("name", ["in_name", "data", "meta", "bmp_meta"])
@pytest.mark.parametrize("at", ["construction", "run"])
def test_keyword_that_hooks_are_called_with_is_refused(name, at):
    pipe = Keywords(**({name: 1} if at == "construction" else {}))
    with pytest.raises(OptionError, match=name):
        pipe.pipeline(["a"], **({name: 1} if at == "run" else {}))


# Mistakes made in earnest.


@pytest.mark.parametrize("at", ["construction", "run"])
def test_near_miss_of_an_option_warns_and_is_passed_on(at):
    pipe = Keywords(**({"num_process": 2} if at == "construction" else {}))
    with pytest.warns(BigpipeWarning, match=r"'num_process'.*'num_processes'") as warned:
        [(_, kwargs)] = pipe.pipeline(["a"], **({"num_process": 2} if at == "run" else {}))
    assert kwargs["num_process"] == 2
    assert warned[0].filename == __file__


def subtract(data, dark=0, **kwargs):
    return data


@pytest.mark.parametrize(
    ("given", "message"),
    [({"drak": 2, "post_process_list": subtract}, "'drak'.*'dark'"), ({"mem_frac": 80}, "80")],
    ids=["parameter", "part of the memory"],
)
def test_what_is_hardly_meant_warns_when_the_run_starts(given, message):
    with pytest.warns(BigpipeWarning, match=message) as warned:
        Keywords().pipeline(["a"], **given)
    assert warned[0].filename == __file__


class InItsBody(Doubler):
    outdir = "reduced"
    num_processes = 0
    post_process_list = staticmethod(note_size)


def test_option_in_the_body_of_a_class_warns_that_it_has_no_effect(outdir):
    with pytest.warns(BigpipeWarning, match=r"^outdir = 'reduced' in the body of In") as told:
        assert InItsBody(num_processes=1).pipeline([], **OPTIONS) == []
    assert len(told) == 1


def test_option_that_the_constructor_is_given_has_its_effect_and_does_not_warn(outdir):
    class Given(InItsBody):
        def __init__(self):
            super().__init__(outdir=outdir, num_processes=1)

    class Property(Doubler):
        @property
        def outdir(self):
            return outdir

        @outdir.setter
        def outdir(self, value):
            pass

    assert Given().pipeline([], **OPTIONS) == Property().pipeline([], **OPTIONS) == []


def test_option_in_the_body_of_a_class_that_gives_it_to_the_run_does_not_warn(outdir):
    class GivesIt(InItsBody):
        def pipeline(self, in_names, **options):
            return super().pipeline(in_names, outdir=self.__class__.outdir, **options)

    assert GivesIt(num_processes=1).pipeline([], **OPTIONS) == []


def knows_near_miss(data, num_process=None, **kwargs):
    return data


class KnowsNearMiss(Keywords):
    def data_process(self, data, num_process=None, **kwargs):
        return data


@pytest.mark.parametrize(
    ("pipe", "given"),
    [
        (KnowsNearMiss(), {}),
        (Keywords(pre_process_list=knows_near_miss), {}),
        (Keywords(), {"post_process_list": knows_near_miss}),
    ],
    ids=["hook", "function of the object", "function of the run"],
)
def test_near_miss_that_a_hook_or_function_knows_does_not_warn(pipe, given):
    pipe.pipeline(["a"], num_process=2, **given)


def test_other_keywords_do_not_warn():
    keywords_of_run(Keywords(), bias=1, gain=2, overwrite=True)


@pytest.mark.parametrize("in_names", ["a", Path("a"), b"a", np.str_("a")], ids=repr)
@pytest.mark.parametrize("method", ["pipeline", "iter_pipeline"])
def test_one_name_where_a_list_belongs_is_refused_with_the_remedy(in_names, method):
    with pytest.raises(InNamesError, match=r"give a list of names: \[.*a.*\]"):
        getattr(BigMultiPipe(), method)(in_names)


@pytest.mark.parametrize("in_names", [None, 7, len], ids=repr)
def test_what_is_no_list_of_names_is_refused(in_names):
    with pytest.raises(InNamesError):
        BigMultiPipe().pipeline(in_names)


# Inputs.


class Echo(BigMultiPipe):
    """Returns the inputs it is given, and their types, without reading them."""

    def file_process(self, in_name, **kwargs):
        return (None, {"in_name": in_name, "type": type(in_name).__name__})


@pytest.mark.parametrize(
    "in_names",
    [
        ["a", "b"],
        ("a", "b"),
        {"a": 1, "b": 2},
        (name for name in "ab"),
        np.array(["a", "b"]),
        np.array(["a", "b"], dtype=object),
        deque([np.str_("a"), np.str_("b")]),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}".strip(),
)
def test_inputs_may_be_any_iterable_of_names(in_names):
    check_names_are_read(in_names)


@pytest.mark.parametrize("kind", ["Column", "MaskedColumn"])
def test_inputs_may_be_a_column_of_a_table(kind):
    check_names_are_read(getattr(pytest.importorskip("astropy.table"), kind)(["a", "b"]))


def check_names_are_read(in_names):
    pout = Echo().pipeline(in_names, executor="serial")
    assert [meta for _, meta in pout] == [
        {"in_name": "a", "type": "str"},
        {"in_name": "b", "type": "str"},
    ]
    assert pout.in_names == ["a", "b"]
    assert {type(name) for name in pout.in_names} == {str}


def test_paths_reach_the_hooks_as_they_are():
    pout = Echo().pipeline([Path("a")], executor="serial")
    assert pout[0][1]["in_name"] == Path("a")


def test_groups_reach_the_hooks_as_lists_of_plain_names():
    group = [np.str_("a"), [Path("b"), np.array(["c", "d"])]]
    [(_, meta)] = Echo().pipeline([group], executor="serial")
    assert meta["in_name"] == ["a", [Path("b"), ["c", "d"]]]
    assert type(meta["in_name"][0]) is str


@pytest.mark.parametrize("executor", [None, "serial", "threads", "processes"])
def test_empty_list_gives_an_empty_result(executor):
    pout = Echo().pipeline([], executor=executor)
    assert pout == []
    assert isinstance(pout, Pout)


@pytest.mark.parametrize("in_names", [(), iter(()), np.array([], dtype=str)], ids=shown)
def test_nothing_in_any_form_gives_an_empty_result(in_names):
    assert Echo().pipeline(in_names, num_processes=2) == []


@not_spawned
def test_error_in_the_callers_generator_is_the_callers(anywhere):
    def names():
        yield "a"
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Echo().pipeline(names(), **anywhere)


# What comes back.


def test_result_is_the_list_of_pairs_in_input_order(make_files, outdir, anywhere):
    files = make_files(20)
    pout = Doubler(outdir=outdir, post_process_list=note_size).pipeline(files, **anywhere)
    assert pout == [(f"{outdir}/{i:03d}_bmp.bin", {"size": 16}) for i in range(20)]
    assert type(pout[0]) is tuple
    assert pout.in_names == files
    assert pickle.loads(pickle.dumps(pout)) == list(pout)
    outnames, _metas = zip(*pout, strict=True)
    assert [Path(name).read_bytes() for name in outnames] == [
        f"{i:03d}.bin\n".encode() * 2 for i in range(20)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "threads"},
        pytest.param({"executor": "processes"}, marks=pytest.mark.process),
    ],
    ids=lambda x: x["executor"],
)
def test_result_is_in_input_order_though_files_end_in_another(make_files, outdir, gate, options):
    ended = []

    def listen(event):
        if isinstance(event, FileFinished):
            ended.append(event.result.index)
            if event.result.index == 1:
                gate.open()

    pipe = Doubler(outdir=outdir, trouble={("data_process", "000.bin"): gate})
    pout = pipe.pipeline(make_files(2), num_processes=2, progress=listen, **options)
    assert ended == [1, 0]
    assert [os.path.basename(outname) for outname, _ in pout] == ["000_bmp.bin", "001_bmp.bin"]


@pytest.mark.parametrize(
    ("n_files", "options"), [(3, {"num_processes": 1}), (1, {}), (1, {"num_processes": 8})], ids=str
)
def test_where_only_one_fits_files_are_processed_here(make_files, outdir, n_files, options):
    pipe = Doubler(outdir=outdir, post_process_list=note_process)
    pout = pipe.pipeline(make_files(n_files), **options)
    assert {meta["pid"] for _, meta in pout} == {os.getpid()}
    assert {meta["thread"] for _, meta in pout} == {threading.get_ident()}


@pytest.mark.process
def test_where_memory_fits_but_one_files_are_processed_here(make_files, outdir):
    pipe = Doubler(outdir=outdir, post_process_list=note_process)
    pout = pipe.pipeline(
        make_files(2), num_processes=2, mem_available="3 GiB", process_size="2 GiB"
    )
    assert {meta["pid"] for _, meta in pout} == {os.getpid()}


@pytest.mark.process
def test_otherwise_files_are_processed_in_other_processes(make_files, outdir):
    pout = Doubler(outdir=outdir, post_process_list=note_process).pipeline(
        make_files(2), num_processes=2
    )
    assert os.getpid() not in {meta["pid"] for _, meta in pout}
    assert {result.worker for result in pout.results} == {meta["pid"] for _, meta in pout}


def raise_value_error(data, **kwargs):
    raise ValueError("no stars")


def reject(data, **kwargs):
    return None


ENDS = {
    Outcome.WRITTEN: {},
    Outcome.METADATA_ONLY: {"post_process_list": [note_size, no_outfile]},
    Outcome.REJECTED: {"pre_process_list": reject},
    Outcome.FAILED: {"post_process_list": raise_value_error},
}


@pytest.mark.parametrize("outcome", ENDS, ids=str)
def test_every_input_has_one_outcome(make_files, outdir, anywhere, outcome):
    pout = Doubler(outdir=outdir, **ENDS[outcome]).pipeline(
        make_files(3), on_error="return", **anywhere
    )
    assert [result.outcome for result in pout.results] == [outcome] * 3
    rejected_by = "pre_process: reject" if outcome is Outcome.REJECTED else None
    assert [result.rejected_by for result in pout.results] == [rejected_by] * 3


# Errors.


@pytest.fixture
def failing(outdir):
    """A pipeline that fails on the second of its files."""
    return Doubler(outdir=outdir, trouble={("data_process", "001.bin"): fail})


@not_spawned
def test_other_files_are_finished_before_a_failure_is_raised(make_files, outdir, failing, anywhere):
    with pytest.raises(PipelineError, match="1 of 4 files failed") as raised:
        failing.pipeline(make_files(4), **anywhere)
    assert names_in(outdir) == ["000_bmp.bin", "002_bmp.bin", "003_bmp.bin"]
    pout = raised.value.pout
    assert [outname and os.path.basename(outname) for outname, _ in pout] == [
        *("000_bmp.bin", None, "002_bmp.bin", "003_bmp.bin")
    ]
    assert raised.value.exceptions == (pout[1][1]["bmp_error"],)
    assert pickle.loads(pickle.dumps(raised.value)).pout[0] == pout[0]


def test_failure_says_what_where_and_why(make_files, failing, anywhere):
    files = make_files(2)
    with pytest.raises(PipelineError) as raised:
        failing.pipeline(files, **anywhere)
    [error] = raised.value.exceptions
    assert type(error) is FileError
    assert (error.in_name, error.hook, error.attempts) == (files[1], "data_process", 1)
    assert (error.exitcode, error.signal) == (None, None)
    assert type(error.__cause__) is ValueError
    assert error.__cause__.args == ("001.bin is no good",)
    assert "in data_process" in error.traceback
    assert "in fail" in error.traceback
    assert error.traceback in str(error.__cause__.__cause__)


@not_spawned
def test_failures_can_be_returned(make_files, failing, anywhere):
    files = make_files(3)
    pout = failing.pipeline(files, on_error="return", **anywhere)
    assert pout[1][0] is None
    assert list(pout[1][1]) == ["bmp_error"]
    assert pout.errors == [pout[1][1]["bmp_error"]]
    assert pout.results[1].error is pout.errors[0]
    assert prune_pout(pout, files) == (list(pout), files)


class FailingOnB(BigMultiPipe):
    def file_process(self, in_name, **kwargs):
        if in_name == "b":
            raise ValueError("no b, please")
        return (None, {})


@not_spawned
def test_first_failure_can_be_raised_at_once(anywhere):
    names = itertools.chain("ab", itertools.repeat("c"))
    with pytest.raises(FileError, match="no b, please") as raised:
        FailingOnB().pipeline(names, on_error="raise", **anywhere)
    assert type(raised.value.__cause__) is ValueError
    assert raised.value.in_name == "b"


def test_error_class_from_inside_a_function_comes_back(make_files, outdir, anywhere):
    class LocalError(Exception):
        pass

    class Failing(BigMultiPipe):
        def data_process(self, data, **kwargs):
            raise LocalError("mine")

    pout = Failing(outdir=outdir).pipeline(make_files(2), on_error="return", **anywhere)
    assert [repr(error.__cause__) for error in pout.errors] == ["LocalError('mine')"] * 2
    if anywhere.get("start_method") != "fork":  # there its class is made anew
        assert {type(error.__cause__) for error in pout.errors} == {LocalError}


def test_error_that_cannot_be_pickled_is_told_by_its_text(make_files, outdir, anywhere):
    class LockedError(Exception):
        def __init__(self):
            super().__init__("locked", threading.Lock())

    class Failing(BigMultiPipe):
        def data_process(self, data, **kwargs):
            raise LockedError

    pout = Failing(outdir=outdir).pipeline(make_files(2), on_error="return", **anywhere)
    assert all("LockedError" in str(error) and "locked" in str(error) for error in pout.errors)
    assert pickle.loads(pickle.dumps(pout))[0][0] is None


def put_lock(data, bmp_meta=None, **kwargs):
    bmp_meta["fine"] = 1
    bmp_meta["lock"] = threading.Lock()
    return data


def test_metadata_that_cannot_be_sent_is_an_error_that_names_the_key(
    make_files, outdir, start_method
):
    pout = Doubler(outdir=outdir, post_process_list=put_lock).pipeline(
        make_files(2), num_processes=2, start_method=start_method, on_error="return"
    )
    assert all("'lock'" in str(error) for error in pout.errors)
    assert len(pout.errors) == 2


@pytest.mark.process
@pytest.mark.parametrize(
    "options", [{"start_method": "spawn"}, {"PoolClass": NestablePool}], ids=str
)
def test_attribute_that_cannot_be_sent_is_named(options):
    pipe = Echo(num_processes=2)
    pipe.catalogue = threading.Lock()
    with pytest.raises(UnsendableError, match="'catalogue'"):
        pipe.pipeline(["a", "b"], **options)


# The same in every executor.


class Meddler(BigMultiPipe):
    """Does to its keywords all that a hook can do, and returns what it found."""

    def file_process(self, in_name, numbers=None, table=None, small=None, large=None, **kwargs):
        found = (list(numbers), dict(table), int(small.sum()), int(large.sum()))
        numbers.append(in_name)
        table["seen"] = True
        small += 1
        large[:] = 7
        return (None, {"found": found, "lambda": kwargs["function"](1)})


def test_keywords_are_fresh_for_each_file(anywhere):
    keywords = {
        "numbers": [1],
        "table": {},
        "small": np.zeros(4),
        "large": np.zeros(1_000_000, dtype=np.uint8),
        "function": lambda x: x + 1,
    }
    pout = Meddler(**keywords).pipeline([str(i) for i in range(10)], **anywhere)
    assert [meta["found"] for _, meta in pout] == [([1], {}, 0, 0)] * 10
    assert [meta["lambda"] for _, meta in pout] == [2] * 10
    assert keywords["numbers"] == [1]
    assert not keywords["small"].any()
    assert not keywords["large"].any()


@not_spawned
def test_group_may_be_changed_by_its_hooks(anywhere):
    class Emptying(BigMultiPipe):
        def file_process(self, in_name, **kwargs):
            in_name[1].clear()
            return (None, {"left": in_name})

    group = ["a", ["b", "c"]]
    pout = Emptying().pipeline([group, group], **anywhere)
    assert [meta["left"] for _, meta in pout] == [["a", []]] * 2
    assert pout.in_names == [["a", ["b", "c"]]] * 2
    assert group == ["a", ["b", "c"]]


@not_spawned
def test_lists_of_the_run_are_fresh_for_each_file(anywhere):
    def count(data, bmp_meta=None, **kwargs):
        bmp_meta["n"] = bmp_meta.get("n", 0) + 1
        return data

    class Adding(BigMultiPipe):
        def file_read(self, in_name, post_process_list=None, **kwargs):
            post_process_list.append(count)
            return b""

    pout = Adding().pipeline(["a", "b", "c", "d"], post_process_list=[count], **anywhere)
    assert [meta["n"] for _, meta in pout] == [2] * 4


class Prepared(BigMultiPipe):
    """Prepares its worker, and says in files when a worker begins and ends."""

    def worker_init(self, log=None, gain=None, **kwargs):
        self.prepared_with = gain
        self.n_files = 0
        self.name = f"{os.getpid()}-{threading.get_ident()}"
        Path(log, f"init-{self.name}").touch(exist_ok=False)

    def file_process(self, in_name, **kwargs):
        self.n_files += 1
        return (None, {"gain": self.prepared_with, "n_files": self.n_files})

    def worker_exit(self, log=None, gain=None, **kwargs):
        with Path(log, f"exit-{self.name}").open("x") as file:
            file.write(f"{gain} {self.n_files}")


def test_workers_are_prepared_once_and_ended_once(tmp_path, anywhere):
    pout = Prepared(log=str(tmp_path)).pipeline([str(i) for i in range(10)], gain=3, **anywhere)
    assert {meta["gain"] for _, meta in pout} == {3}
    inits = sorted(path.name.removeprefix("init") for path in tmp_path.glob("init*"))
    exits = sorted(tmp_path.glob("exit*"))
    assert inits == [path.name.removeprefix("exit") for path in exits]
    said = [path.read_text().split() for path in exits]
    assert {gain for gain, _ in said} == {"3"}
    assert sum(int(n_files) for _, n_files in said) == 10


def assert_ended_well(folder):
    """Check that a worker which had work was ended; one that was still preparing may not be."""
    begun = {name.removeprefix("init") for name in names_in(folder) if name.startswith("init")}
    ended = {name.removeprefix("exit") for name in names_in(folder) if name.startswith("exit")}
    assert ended
    assert ended <= begun


def test_workers_are_ended_well_after_an_error(tmp_path, anywhere):
    class Failing(Prepared):
        def file_process(self, in_name, **kwargs):
            raise ValueError("no stars")

    with pytest.raises(FileError):
        Failing(log=str(tmp_path)).pipeline(
            itertools.repeat("a"), on_error="raise", gain=3, **anywhere
        )
    assert_ended_well(tmp_path)


class Unprepared(BigMultiPipe):
    def worker_init(self, **kwargs):
        raise ConnectionError("no catalogue")


def test_worker_that_cannot_be_prepared_fails_every_file(anywhere):
    names = [str(i) for i in range(10)]
    pout = Unprepared().pipeline(names, on_error="return", **anywhere)
    assert [error.in_name for error in pout.errors] == names
    assert {error.hook for error in pout.errors} == {"worker_init"}
    assert {error.attempts for error in pout.errors} == {0}
    assert all("no catalogue" in str(error) for error in pout.errors)
    assert all(type(error.__cause__) is ConnectionError for error in pout.errors)


@not_spawned
def test_worker_that_cannot_be_prepared_fails_an_endless_list_as_it_comes(anywhere):
    results = Unprepared().iter_pipeline(itertools.repeat("a"), max_errors=1000, **anywhere)
    first = list(itertools.islice(results, 100))
    results.close()
    assert {result.outcome for result in first} == {Outcome.FAILED}
    assert sorted(result.index for result in first) == list(range(100))


def state_of_the_caller():
    return {
        "start method": multiprocessing.get_start_method(allow_none=True),
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "filters": list(warnings.filters),
        "record factory": logging.getLogRecordFactory(),
        "log handlers": list(logging.getLogger().handlers),
        "threads": set(threading.enumerate()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "descriptors": psutil.Process().num_fds(),
    }


def test_run_leaves_the_caller_as_it_was(make_files, outdir, failing, anywhere):
    failing.pipeline(make_files(4), on_error="return", **anywhere)  # what is kept is there now
    before = state_of_the_caller()
    failing.pipeline(make_files(4), on_error="return", **anywhere)
    with pytest.raises(PipelineError):
        failing.pipeline(make_files(4), **anywhere)
    for result in Echo().iter_pipeline(itertools.repeat("a"), **anywhere):
        assert result.index >= 0
        break
    assert state_of_the_caller() == before


def test_object_belongs_to_the_worker(anywhere):
    if anywhere["executor"] == "serial":
        pytest.skip("the object is used itself, so that a debugger sees it")

    class Counting(BigMultiPipe):
        n_files = 0

        def file_process(self, in_name, **kwargs):
            self.n_files += 1
            return (None, {})

    pipe = Counting()
    pipe.pipeline(["a", "b", "c"], **anywhere)
    assert pipe.n_files == 0


# Results as they finish.


@not_spawned
def test_results_are_yielded_one_by_one_with_all_that_is_known(make_files, outdir, anywhere):
    files = make_files(6)
    pipe = Doubler(outdir=outdir, post_process_list=note_size)
    results = list(pipe.iter_pipeline(files, **anywhere))
    assert sorted(result.index for result in results) == list(range(6))
    for result in results:
        assert result.in_name == files[result.index]
        assert result.entry == (f"{outdir}/{result.index:03d}_bmp.bin", {"size": 16})
        assert result.error is None
        assert result.seconds["data_process"] >= 0
        assert result.attempts == 1
        assert result.worker is not None


def test_results_come_in_order_of_completion(make_files, outdir, gate):
    pipe = Doubler(outdir=outdir, trouble={("data_process", "000.bin"): gate})
    indices = []
    for result in pipe.iter_pipeline(make_files(2), executor="threads", num_processes=2):
        indices.append(result.index)
        if result.index == 1:
            gate.open()
    assert indices == [1, 0]


def test_results_come_in_input_order_if_asked_for(make_files, outdir, gate):
    def listen(event):
        if isinstance(event, FileFinished) and event.result.index == 1:
            gate.open()

    pipe = Doubler(outdir=outdir, trouble={("data_process", "000.bin"): gate})
    results = pipe.iter_pipeline(
        make_files(4), ordered=True, executor="threads", num_processes=2, progress=listen
    )
    assert [result.index for result in results] == [0, 1, 2, 3]


@not_spawned
def test_inputs_are_read_only_as_fast_as_files_are_processed(anywhere):
    n_read = 0

    def names():
        nonlocal n_read
        for i in itertools.count():
            n_read += 1
            yield str(i)

    # What two workers have before them, and as much that they have just ended.
    at_most = 2 * 2 * (MAX_AHEAD + 2)
    with closing(Echo().iter_pipeline(names(), **anywhere)) as results:
        assert n_read == 0
        for n_taken in range(1, 3 * at_most):
            next(results)
            assert n_read - n_taken <= at_most


def test_nothing_is_begun_before_the_first_result_is_asked_for(tmp_path):
    results = Prepared(log=str(tmp_path)).iter_pipeline(["a"], gain=3, executor="serial")
    assert not names_in(tmp_path)
    results.close()
    assert not names_in(tmp_path)


@not_spawned
@pytest.mark.parametrize("ordered", [False, True])
def test_leaving_the_loop_ends_the_workers(tmp_path, anywhere, ordered):
    pipe = Prepared(log=str(tmp_path))
    for result in pipe.iter_pipeline(itertools.repeat("a"), ordered=ordered, gain=3, **anywhere):
        assert result.index >= 0
        break
    else:
        pytest.fail("nothing came")
    assert_ended_well(tmp_path)


@not_spawned
def test_failed_file_is_yielded_with_its_error_and_the_others_go_on(make_files, failing, anywhere):
    results = list(failing.iter_pipeline(make_files(4), **anywhere))
    assert sorted(r.index for r in results if r.error is None) == [0, 2, 3]
    [failed] = [r for r in results if r.error is not None]
    assert failed.entry == (None, {"bmp_error": failed.error})


def test_failed_file_is_yielded_before_its_error_is_raised(make_files, failing):
    results = failing.iter_pipeline(make_files(4), executor="serial", on_error="raise")
    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(FileError, match=r"001\.bin"):
        next(results)


@not_spawned
def test_listener_is_told_of_beginning_files_and_end(make_files, failing, anywhere):
    events = []
    failing.pipeline(make_files(4), on_error="return", progress=events.append, **anywhere)
    assert events[0] == RunStarted(4, n_workers=1 if anywhere["executor"] == "serial" else 2)
    assert sorted(e.result.index for e in events if isinstance(e, FileFinished)) == [0, 1, 2, 3]
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.n_finished, last.n_failed, last.interrupted) == (4, 1, False)


# Who writes what.


def collisions(pout):
    """Return the indices of the files whose output was refused."""
    errors = {r.index: r.error for r in pout.results if r.error is not None}
    assert all(isinstance(error.__cause__, CollisionError) for error in errors.values())
    return sorted(errors)


def assert_whole(pout):
    """Assert that each output holds what its own input makes of it."""
    for result in pout.results:
        if result.outname is not None:
            assert Path(result.outname).read_bytes() == Path(result.in_name).read_bytes() * 2


@not_spawned
def test_two_inputs_of_one_usual_name_are_not_both_written(make_files, outdir, anywhere):
    content = {"here": b"h\n", "there": b"t\n"}
    files = [make_files(1, content[folder], folder=folder)[0] for folder in content]
    pout = Doubler(outdir=outdir).pipeline(files, on_error="return", **anywhere)
    assert len(collisions(pout)) == 1
    [error] = pout.errors
    assert all(repr(name) in str(error) for name in [*files, f"{outdir}/000_bmp.bin"])
    assert_whole(pout)


def test_folder_that_is_a_file_is_said_so(make_files):
    [name] = make_files(1)
    with pytest.raises(PipelineError, match=rf"name of the output's folder: .* outdir: '{name}'"):
        Doubler(outdir=name, create_outdir=True).pipeline([name], executor="serial")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_folder_that_cannot_be_made_is_said_so(make_files):
    with pytest.raises(PipelineError, match=r"cannot be made: give another outdir: '/proc/x'"):
        Doubler(outdir="/proc/x", create_outdir=True).pipeline(make_files(1), executor="serial")


@not_spawned
def test_hook_that_does_not_overwrite_is_refused_what_another_input_has_written(
    make_files, outdir, anywhere
):
    files = [make_files(1, folder=folder)[0] for folder in ("here", "there")]
    pout = Refusing(outdir=outdir).pipeline(files, on_error="return", **anywhere)
    assert len(collisions(pout)) == 1


@not_spawned
def test_hook_that_does_not_overwrite_an_earlier_run_has_its_own_error(
    make_files, outdir, anywhere
):
    Refusing(outdir=outdir).pipeline(make_files(2), **anywhere)
    pout = Refusing(outdir=outdir).pipeline(make_files(2), on_error="return", **anywhere)
    assert [type(error.__cause__) for error in pout.errors] == [FileExistsError] * 2


class Refusing(Doubler):
    """Does not overwrite an existing file."""

    def file_write(self, data, outname, **kwargs):
        if os.path.exists(outname):
            raise FileExistsError(f"{outname} is there already")
        return super().file_write(data, outname, **kwargs)


@not_spawned
@pytest.mark.filterwarnings("ignore:file_write has written:bigpipe.BigpipeWarning")
def test_output_whose_name_is_not_returned_is_taken_all_the_same(make_files, outdir, anywhere):
    files = [make_files(1, folder=folder)[0] for folder in ("here", "there")]
    pout = Nameless(outdir=outdir).pipeline(files, on_error="return", **anywhere)
    assert len(collisions(pout)) == 1


class Nameless(Doubler):
    """Writes, and forgets to return the name."""

    def file_write(self, data, outname, **kwargs):
        super().file_write(data, outname, **kwargs)


def test_output_that_is_written_first_and_then_left_alone_is_taken(make_files, outdir):
    pout = SecondLook(outdir=outdir).pipeline(
        make_files(2), outname="same", on_error="return", **OPTIONS
    )
    assert collisions(pout) == [1]
    assert Path(outdir, "same").read_bytes() == b"000.bin\n" * 2


class SecondLook(Doubler):
    """Writes its output, then goes through all hooks again and leaves it alone."""

    def file_process(self, in_name, **kwargs):
        super().file_process(in_name, **kwargs)
        return super().file_process(in_name, **kwargs)

    def file_write(self, data, outname, **kwargs):
        return None if os.path.exists(outname) else super().file_write(data, outname, **kwargs)


@not_spawned
@pytest.mark.parametrize("atomic", [True, False])
def test_file_write_that_forgets_the_name_is_told_so_once(make_files, outdir, anywhere, atomic):
    class Own(Nameless):
        pass

    Own.atomic = atomic
    files = make_files(6)
    with pytest.warns(BigpipeWarning, match="file_write has written") as warned:
        pout = Own(outdir=outdir).pipeline(files, **anywhere)
    assert pout == [(None, {})] * 6
    [text] = [str(warning.message) for warning in warned]
    assert "'return outname'" in text
    assert warned[0].filename == __file__  # where the run was called, not within bigpipe
    number = text.partition("/in/")[2][:3]
    assert f"'{outdir}/{number}_bmp.bin'" in text
    assert len(names_in(outdir)) == 6


class WithSideFile(Doubler):
    """Appends a line to a side file of a name that is or is not that of the output."""

    def file_write(self, data, outname, side="all.csv", **kwargs):
        with open(
            os.path.join(os.path.dirname(outname), side.format(Path(outname).stem)), "a"
        ) as f:
            f.write(f"{len(data)}\n")
        return super().file_write(data, outname, **kwargs)


@not_spawned
def test_side_file_of_several_inputs_is_warned_of_once(make_files, outdir, anywhere):
    with pytest.warns(BigpipeWarning, match="all inputs, return it as metadata") as warned:
        WithSideFile(outdir=outdir).pipeline(make_files(6), **anywhere)
    [text] = [str(warning.message) for warning in warned]
    assert f"'{outdir}/all.csv'" in text


def test_side_files_with_names_of_their_own_are_fine_in_each_run(make_files, outdir):
    for _ in range(2):
        WithSideFile(outdir=outdir).pipeline(make_files(6), side="{}.csv", **OPTIONS)
    assert len(names_in(outdir)) == 12


class WithSideFolder(Doubler):
    """Writes a file into a folder beside the output that it makes itself."""

    def file_write(self, data, outname, **kwargs):
        folder = Path(outname).with_name("plots")
        folder.mkdir()
        (folder / "all.png").write_bytes(data)
        return super().file_write(data, outname, **kwargs)


class WithOneName(Doubler):
    """Writes and returns a name that is not made from that of the output."""

    def file_write(self, data, outname, **kwargs):
        return super().file_write(data, os.path.join(os.path.dirname(outname), "all"), **kwargs)


@pytest.mark.parametrize(
    ("pipe", "name"), [(WithSideFolder, "plots/all.png"), (WithOneName, "all")]
)
def test_second_file_of_one_name_is_warned_of_wherever_it_is(make_files, outdir, pipe, name):
    with pytest.warns(BigpipeWarning, match=f"file_write has written '{outdir}/{name}' for"):
        pipe(outdir=outdir).pipeline(make_files(2), **OPTIONS)


class WithLink(Doubler):
    """Lets a link lead to the output that was written last."""

    def file_write(self, data, outname, **kwargs):
        Path(outname).with_name("latest").symlink_to(os.path.basename(outname))
        return super().file_write(data, outname, **kwargs)


def test_link_may_lead_to_one_output_after_the_other(make_files, outdir):
    WithLink(outdir=outdir).pipeline(make_files(3), **OPTIONS)
    assert os.readlink(os.path.join(outdir, "latest")) == "002_bmp.bin"


class FailsOnce(WithSideFile):
    def file_process(self, in_name, **kwargs):
        result = super().file_process(in_name, **kwargs)
        if not hasattr(self, "has_failed"):
            self.has_failed = True
            raise OSError("the archive does not answer")
        return result


def test_file_that_is_tried_again_may_write_its_side_file_again(make_files, outdir):
    pipe = FailsOnce(outdir=outdir, executor="serial")
    [result] = pipe.pipeline(make_files(1), max_retries=1).results
    assert result.attempts == 2
    assert names_in(outdir) == ["000_bmp.bin", "all.csv"]


class Renaming(Doubler):
    """Writes with a function that adds an extension, as `numpy.save` does."""

    def file_write(self, data, outname, suffixes=(), returned="", **kwargs):
        for suffix in suffixes:
            Path(f"{outname}{suffix}").write_bytes(data)
        return type(outname)(f"{outname}{returned}")


@not_spawned
def test_output_with_another_extension_than_returned_is_told_of_once(make_files, outdir, anywhere):
    files = make_files(6)
    with pytest.warns(BigpipeWarning, match="file_write has written") as warned:
        pout = Renaming(outdir=outdir).pipeline(files, suffixes=[".npy"], **anywhere)
    [text] = [str(warning.message) for warning in warned]
    number = text.partition("/in/")[2][:3]
    assert f"written '{outdir}/{number}_bmp.bin.npy' for" in text
    assert f"returned '{outdir}/{number}_bmp.bin', which does not exist" in text
    assert [outname for outname, _ in pout] == [f"{outdir}/{i:03d}_bmp.bin" for i in range(6)]
    assert names_in(outdir) == [f"{i:03d}_bmp.bin.npy" for i in range(6)]


@pytest.mark.parametrize(
    ("suffixes", "returned"),
    [([""], ""), (["", ".npy"], ""), ([".npy"], ".npy"), ([], ""), ([".a", ".b"], ""), (["b"], "")],
    ids=["output", "side file too", "its name", "nothing", "several files", "another name"],
)
@pytest.mark.parametrize("folder", ["", "./", "there/../"])
def test_other_ways_to_name_an_output_are_fine(make_files, outdir, folder, suffixes, returned):
    Path(outdir, "there").mkdir(parents=True)
    pipe = Renaming(outdir=os.path.join(outdir, folder))
    keywords = {"suffixes": suffixes, "returned": returned}
    [(outname, _)] = pipe.pipeline(make_files(1), **keywords, **OPTIONS)
    assert outname.endswith(f"000_bmp.bin{returned}")


with_limits_of_this_process = pytest.mark.parametrize(
    "anywhere", ["serial", "threads", "fork"], indirect=True
)


@with_limits_of_this_process
def test_keyword_that_is_slow_to_copy_is_named_once_by_each_worker(
    make_files, outdir, anywhere, monkeypatch
):
    monkeypatch.setattr(worker, "MIN_COPY_S", 0.0)
    monkeypatch.setattr(worker, "MUCH_COPYING", 0.0)
    keywords = {"flat": np.ones(100_000), "stars": {f"HD {i}": i for i in range(1000)}, "n": 2}
    with pytest.warns(BigpipeWarning) as warned:
        Doubler(outdir=outdir).pipeline(make_files(6), **keywords, **anywhere)
    [text] = {str(warning.message) for warning in warned}  # shown once, as it is always the same
    assert len(warned) <= 2  # one from each worker
    assert "the keyword 'stars' (dict) for each file" in text
    assert "worker_init" in text


class CopiedTwice:
    """Can be copied for the run and for `worker_init`, and then no more."""

    n_copies = 0

    def __reduce__(self):
        return (copy_if_not_the_third, ())


def copy_if_not_the_third():
    CopiedTwice.n_copies += 1
    if CopiedTwice.n_copies == 3:
        raise ValueError("no third copy")
    return CopiedTwice()


def test_keyword_that_cannot_be_copied_costs_its_file_alone(make_files, outdir, monkeypatch):
    monkeypatch.setattr(worker, "MIN_COPY_S", 0.0)
    monkeypatch.setattr(worker, "MUCH_COPYING", 0.0)
    monkeypatch.setattr(CopiedTwice, "n_copies", 0)
    pipe = Doubler(outdir=outdir, executor="serial", on_error="return")
    results = pipe.pipeline(make_files(3), thing=CopiedTwice()).results
    assert [result.outcome for result in results] == [Outcome.FAILED] + [Outcome.WRITTEN] * 2


@with_limits_of_this_process
@pytest.mark.parametrize("limit", ["MIN_COPY_S", "MUCH_COPYING"])
def test_keyword_that_is_soon_copied_is_not_named(make_files, outdir, anywhere, monkeypatch, limit):
    monkeypatch.setattr(worker, "MIN_COPY_S", 0.0)
    monkeypatch.setattr(worker, "MUCH_COPYING", 0.0)
    monkeypatch.setattr(worker, limit, math.inf)
    Doubler(outdir=outdir).pipeline(make_files(3), stars=["HD 1"], **anywhere)


@not_spawned
def test_files_that_write_nothing_may_have_one_name(make_files, outdir, anywhere):
    files = [make_files(1, folder=folder)[0] for folder in ("here", "there")]
    assert Unwritten(outdir=outdir).pipeline(files, **anywhere) == [(None, {})] * 2


@pytest.mark.parametrize("atomic", [True, False])
def test_file_write_that_leaves_what_is_there_forgets_nothing(make_files, outdir, atomic):
    class Own(Unwritten):
        pass

    files = make_files(2)
    Doubler(outdir=outdir).pipeline(files, **OPTIONS)
    Own.atomic = atomic
    assert Own(outdir=outdir).pipeline(files, **OPTIONS) == [(None, {})] * 2


class Unwritten(Doubler):
    def file_write(self, data, outname, **kwargs):
        return None


@pytest.mark.parametrize("collection", [list, np.array, dict.fromkeys], ids=["list", "np", "dict"])
def test_inputs_not_read_yet_are_not_overwritten_either(make_files, tmp_path, collection):
    files = make_files(30)
    late = str(Path(files[0]).with_name("000_bmp.bin"))
    Path(late).write_bytes(b"raw")
    pipe = Doubler(outdir=Path(late).parent, num_processes=2)
    pout = pipe.pipeline(collection([*files, late]), on_error="return")
    assert collisions(pout) == [0]
    assert Path(late).read_bytes() == b"raw"


@not_spawned
def test_one_input_given_twice_is_not_written_twice(make_files, outdir, anywhere):
    pout = Doubler(outdir=outdir).pipeline(make_files(1) * 2, on_error="return", **anywhere)
    assert len(collisions(pout)) == 1


def test_two_inputs_named_alike_by_metadata_are_not_both_written(make_files, outdir, anywhere):
    outnames = {"000.bin": "x", "001.bin": "y", "002.bin": "x", "003.bin": "z"}
    pipe = Doubler(outdir=outdir, post_process_list=name_by_table, outnames=outnames)
    pout = pipe.pipeline(make_files(4), on_error="return", **anywhere)
    assert len(collisions(pout)) == 1
    assert names_in(outdir) == ["x", "y", "z"]
    assert_whole(pout)


@not_spawned
def test_one_outname_for_several_inputs_is_written_once(make_files, outdir, anywhere):
    pout = Doubler(outdir=outdir).pipeline(
        make_files(5), outname="x.bin", on_error="return", **anywhere
    )
    assert len(collisions(pout)) == 4


@not_spawned
def test_outputs_may_have_one_anothers_usual_names(make_files, outdir, anywhere):
    outnames = {f"{i:03d}.bin": f"{i ^ 1:03d}_bmp.bin" for i in range(8)}
    pipe = Doubler(outdir=outdir, post_process_list=name_by_table, outnames=outnames)
    pout = pipe.pipeline(make_files(8), **anywhere)
    assert [os.path.basename(name) for name, _ in pout] == list(outnames.values())
    assert_whole(pout)


@not_spawned
@pytest.mark.parametrize("n_workers", [1, 2])
def test_usual_name_of_a_file_that_waits_behind_is_given_at_once(
    make_files, outdir, anywhere, n_workers
):
    """The file that has the usual name was sent ahead to the worker that asks for it."""
    outnames = {f"{i:03d}.bin": f"{i + 1:03d}_bmp.bin" for i in range(4)} | {"003.bin": "last"}
    pipe = Doubler(outdir=outdir, post_process_list=name_by_table, outnames=outnames)
    pout = pipe.pipeline(make_files(4), **{**anywhere, "num_processes": n_workers})
    assert names_in(outdir) == ["001_bmp.bin", "002_bmp.bin", "003_bmp.bin", "last"]
    assert_whole(pout)


@not_spawned
def test_answer_about_a_failed_output_is_not_taken_for_the_next(make_files, outdir, anywhere):
    """The file between two that collide asks for a name, and fails before it is told."""
    outnames = {"000.bin": "x", "001.bin": "y", "002.bin": "x"}
    pipe = Doubler(
        outdir=outdir,
        post_process_list=name_by_table,
        outnames=outnames,
        trouble={("file_write", "001.bin"): fail},
    )
    for n_workers in (1, 2):
        pout = pipe.pipeline(
            make_files(3), on_error="return", **{**anywhere, "num_processes": n_workers}
        )
        assert len(pout.errors) == 2
        assert pout.results[1].error is not None
        assert names_in(outdir) == ["x"]


@not_spawned
def test_file_that_fails_while_it_waits_for_a_name_hurts_nobody(make_files, outdir, gate, anywhere):
    """Its claim waits for the first file, which is at work; then both come to their end."""
    if anywhere["executor"] == "serial":
        pytest.skip("no two files are at work at once")

    def listen(event):
        if isinstance(event, FileFinished) and event.result.index == 1:
            gate.open()

    pipe = Doubler(
        outdir=outdir,
        post_process_list=name_if_listed,
        outnames={"001.bin": "000_bmp.bin"},
        trouble={("data_process", "000.bin"): gate, ("file_write", "001.bin"): fail},
    )
    pout = pipe.pipeline(make_files(3), on_error="return", progress=listen, **anywhere)
    assert [error.hook for error in pout.errors] == ["file_write"]
    assert names_in(outdir) == ["000_bmp.bin", "002_bmp.bin"]


def name_if_listed(data, outnames=None, **kwargs):
    if data.split(b"\n")[0].decode() in outnames:
        return name_by_table(data, outnames=outnames, **kwargs)
    return data


def test_name_is_free_for_another_if_its_file_fails(make_files, outdir):
    pipe = Doubler(outdir=outdir, trouble={("file_write", "000.bin"): fail}, outname="x")
    pout = pipe.pipeline(make_files(2), executor="serial", on_error="return")
    assert [result.outcome for result in pout.results] == [Outcome.FAILED, Outcome.WRITTEN]


@not_spawned
def test_outputs_that_would_overwrite_inputs_are_refused(make_files, anywhere):
    files = make_files(4)
    before = [Path(name).read_bytes() for name in files]
    outnames = {f"{i:03d}.bin": f"{(i + 1) % 4:03d}.bin" for i in range(4)}
    pipe = Doubler(
        outdir=os.path.dirname(files[0]), post_process_list=name_by_table, outnames=outnames
    )
    pout = pipe.pipeline(files, on_error="return", **anywhere)
    assert collisions(pout) == [0, 1, 2, 3]
    assert [Path(name).read_bytes() for name in files] == before
    for i, error in enumerate(pout.errors):
        assert repr(files[i]) in str(error)
        assert repr(files[(i + 1) % 4]) in str(error)


@not_spawned
@pytest.mark.parametrize("lazily", [False, True])
def test_outputs_over_inputs_are_refused_though_the_folder_has_another_name(
    make_files, tmp_path, anywhere, lazily
):
    files = make_files(3)
    (tmp_path / "link").symlink_to("in")
    names = iter(files) if lazily else files
    pout = Doubler(outdir=str(tmp_path / "link"), outname_append="").pipeline(
        names, on_error="return", **anywhere
    )
    assert collisions(pout) == [0, 1, 2]
    assert Path(files[0]).read_bytes() == b"000.bin\n"


@not_spawned
def test_output_that_is_a_link_to_an_input_is_refused(make_files, outdir, anywhere):
    files = make_files(2)
    Path(outdir, "000_bmp.bin").symlink_to(files[1])
    pout = Doubler(outdir=outdir).pipeline(files, on_error="return", **anywhere)
    assert collisions(pout) == [0]
    assert Path(files[1]).read_bytes() == b"001.bin\n"


@not_spawned
def test_outputs_of_an_earlier_run_are_no_collision(make_files, outdir, anywhere):
    files = make_files(4)
    pipe = Doubler(outdir=outdir)
    for name in files:
        Path(outdir, os.path.basename(name).replace(".", "_bmp.")).write_bytes(b"before")
    assert_whole(pipe.pipeline(files, **anywhere))


@not_spawned
def test_inputs_may_be_the_outputs_of_the_same_folder(make_files, anywhere):
    files = make_files(4)
    pipe = Doubler(outdir=os.path.dirname(files[0]))
    assert_whole(pipe.pipeline(files, **anywhere))
    assert len(names_in(pipe.outdir)) == 8


# Pools of others.


class MapOnly:
    """A pool with nothing but what the contract asks for. Works here, one task at a time."""

    instances: list[MapOnly] = []  # noqa: RUF012

    def __init__(self, processes):
        self.processes = processes
        self.is_open = False
        self.instances.append(self)

    def __enter__(self):
        self.is_open = True
        return self

    def __exit__(self, *details):
        self.is_open = False

    def map(self, function, tasks):
        assert self.is_open
        return [function(task) for task in tasks]


def test_pool_that_only_has_map_is_used(make_files, outdir):
    MapOnly.instances.clear()
    pipe = Doubler(outdir=outdir, post_process_list=note_size, PoolClass=MapOnly)
    pout = pipe.pipeline(make_files(5), num_processes=2)
    assert_whole(pout)
    assert [meta for _, meta in pout] == [{"size": 16}] * 5
    [pool] = MapOnly.instances
    assert pool.processes == 2
    assert not pool.is_open


@pytest.mark.process
@pytest.mark.parametrize("at", ["construction", "run"])
def test_pool_class_can_be_given_in_both_places(make_files, outdir, at):
    pool = {"PoolClass": NestablePool}
    pipe = Doubler(outdir=outdir, **(pool if at == "construction" else {}))
    assert_whole(pipe.pipeline(make_files(6), num_processes=2, **(pool if at == "run" else {})))


@pytest.mark.process
def test_errors_and_collisions_are_seen_in_other_pools_too(make_files, outdir):
    files = make_files(3)
    pipe = Doubler(outdir=outdir, trouble={("data_process", "001.bin"): fail})
    pout = pipe.pipeline(
        [*files, files[0]], num_processes=2, PoolClass=NestablePool, on_error="return"
    )
    causes = {result.index: type(result.error.__cause__) for result in pout.results if result.error}
    assert causes.pop(1) is ValueError
    assert list(causes.values()) == [CollisionError]


@pytest.mark.process
def test_workers_of_other_pools_are_prepared_and_ended(tmp_path):
    Prepared(log=str(tmp_path)).pipeline(
        [str(i) for i in range(8)], gain=3, num_processes=2, PoolClass=NestablePool
    )
    assert len(list(tmp_path.glob("init*"))) == len(list(tmp_path.glob("exit*"))) > 0


def test_workers_of_a_pool_in_this_process_are_ended_with_the_run(tmp_path):
    Prepared(log=str(tmp_path)).pipeline(
        [str(i) for i in range(8)], gain=3, num_processes=2, PoolClass=ThreadPool
    )
    assert len(list(tmp_path.glob("init*"))) == len(list(tmp_path.glob("exit*"))) > 0


@pytest.mark.process
def test_other_pools_fail_every_file_if_a_worker_cannot_be_prepared():
    pout = Unprepared().pipeline(
        ["a", "b", "c"], num_processes=2, PoolClass=NestablePool, on_error="return"
    )
    assert {error.hook for error in pout.errors} == {"worker_init"}
    assert len(pout.errors) == 3
