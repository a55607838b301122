"""The hooks of one file: their order, what each is given and what its answer does.

Files are processed in this process here, so that the hooks' notes can be read. That other
executors do the same is shown in `tests.test_pipeline`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pytest

from bigpipe import (
    BigMultiPipe,
    CollisionError,
    FileError,
    Outcome,
    OutnameError,
    bmp_cleanup,
    for_each_member,
    no_outfile,
)

HOOKS = [
    "file_process",
    "file_read",
    "pre_process",
    "data_process_meta_create",
    "data_process",
    "post_process",
    "outname_create",
    "file_write",
]


class Writer(BigMultiPipe):
    """Writes its data, which are bytes."""

    def file_write(self, data, outname, **kwargs):
        super().file_write(data, outname, **kwargs)
        Path(outname).write_bytes(data if isinstance(data, bytes) else b"".join(data))
        return outname


class Recorder(Writer):
    """Notes in ``calls`` which hook is called, and with what."""

    def __init__(self, **kwargs):
        self.calls = []
        super().__init__(**kwargs)

    def note(self, hook, args, kwargs):
        self.calls.append((hook, args, dict(kwargs)))

    @property
    def hooks(self):
        return [call[0] for call in self.calls]

    def keywords_of(self, hook):
        return next(call[2] for call in self.calls if call[0] == hook)

    def file_process(self, *args, **kwargs):
        self.note("file_process", args, kwargs)
        return super().file_process(*args, **kwargs)

    def file_read(self, *args, **kwargs):
        self.note("file_read", args, kwargs)
        return super().file_read(*args, **kwargs)

    def pre_process(self, *args, **kwargs):
        self.note("pre_process", args, kwargs)
        return super().pre_process(*args, **kwargs)

    def data_process_meta_create(self, *args, **kwargs):
        self.note("data_process_meta_create", args, kwargs)
        return super().data_process_meta_create(*args, **kwargs)

    def data_process(self, *args, **kwargs):
        self.note("data_process", args, kwargs)
        return super().data_process(*args, **kwargs)

    def post_process(self, *args, **kwargs):
        self.note("post_process", args, kwargs)
        return super().post_process(*args, **kwargs)

    def outname_create(self, *args, **kwargs):
        self.note("outname_create", args, kwargs)
        return super().outname_create(*args, **kwargs)

    def file_write(self, *args, **kwargs):
        self.note("file_write", args, kwargs)
        return super().file_write(*args, **kwargs)


@pytest.fixture
def in_name(make_files):
    """One small file; its content is its base name and a newline."""
    [name] = make_files(1)
    return name


@pytest.fixture
def group(make_files):
    return make_files(3)


def run(pipe, in_name, **kwargs):
    """Take one input through a run in this process; return its result."""
    [result] = pipe.iter_pipeline([in_name], executor="serial", **kwargs)
    return result


def run_well(pipe, in_name, **kwargs):
    result = run(pipe, in_name, **kwargs)
    if result.error is not None:
        raise result.error
    return result


def names_in(folder):
    return sorted(os.listdir(folder))


def made_by(function, name):
    """Give a function a name, so that messages can show it."""
    function.__name__ = name
    return function


# Order, arguments and keywords.


def test_hooks_run_in_their_order(in_name, outdir):
    pipe = Recorder(outdir=outdir)
    run_well(pipe, in_name)
    assert pipe.hooks == HOOKS


def test_one_result_is_written_through_all_hooks(in_name, outdir):
    result = run_well(Writer(outdir=outdir), in_name)
    assert result.entry == (f"{outdir}/000_bmp.bin", {})
    assert Path(result.outname).read_bytes() == b"000.bin\n"
    assert result.outcome is Outcome.WRITTEN


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_given_the_merged_keywords(in_name, outdir, hook):
    pipe = Recorder(outdir=outdir, first="construction", second="construction")
    run_well(pipe, in_name, second="run", outname_append="_x")
    kwargs = pipe.keywords_of(hook)
    assert kwargs["first"] == "construction"
    assert kwargs["second"] == "run"
    assert kwargs["outdir"] == outdir
    assert kwargs["create_outdir"] is False
    assert kwargs["outname_append"] == "_x"


@pytest.mark.parametrize("hook", HOOKS)
def test_keywords_of_bigpipe_itself_do_not_reach_the_hooks(in_name, outdir, hook):
    pipe = Recorder(outdir=outdir)
    run_well(pipe, in_name, num_processes=1, on_error="return", progress=False)
    assert not pipe.keywords_of(hook).keys() & {"executor", "num_processes", "on_error", "progress"}


@pytest.mark.parametrize("hook", HOOKS[3:6] + HOOKS[7:])
def test_from_the_processing_on_hooks_are_given_the_input(in_name, outdir, hook):
    pipe = Recorder(outdir=outdir)
    run_well(pipe, in_name)
    assert pipe.keywords_of(hook)["in_name"] == in_name


@pytest.mark.parametrize("hook", ["file_process", "file_read", "outname_create"])
def test_hooks_about_names_are_given_the_input_first(in_name, outdir, hook):
    pipe = Recorder(outdir=outdir)
    run_well(pipe, in_name)
    assert next(call[1] for call in pipe.calls if call[0] == hook) == (in_name,)


@pytest.mark.parametrize("hook", HOOKS[2:6])
def test_hooks_about_data_are_given_the_data_first(in_name, outdir, hook):
    pipe = Recorder(outdir=outdir)
    run_well(pipe, in_name)
    assert next(call[1] for call in pipe.calls if call[0] == hook) == (b"000.bin\n",)


def test_name_is_made_with_data_and_metadata_at_hand(in_name, outdir):
    pipe = Recorder(outdir=outdir, post_process_list=note_length)
    run_well(pipe, in_name)
    kwargs = pipe.keywords_of("outname_create")
    assert (kwargs["data"], kwargs["meta"]) == (b"000.bin\n", {"length": 8})


def test_output_is_written_with_the_metadata_at_hand(in_name, outdir):
    pipe = Recorder(outdir=outdir, post_process_list=note_length)
    run_well(pipe, in_name)
    [(_, args, kwargs)] = [call for call in pipe.calls if call[0] == "file_write"]
    assert args[0] == b"000.bin\n"
    assert os.path.basename(args[1]) == "000_bmp.bin"
    assert kwargs["meta"] == {"length": 8}


def test_merging_keywords_twice_changes_nothing():
    pipe = BigMultiPipe(a=1, b=1)
    once = pipe.kwargs_merge(b=2, c=3)
    assert once == {"a": 1, "b": 2, "c": 3}
    assert pipe.kwargs_merge(**once) == once
    assert pipe.kwargs == {"a": 1, "b": 1}


def test_whole_way_of_a_file_can_be_replaced(in_name):
    class Own(BigMultiPipe):
        def file_process(self, in_name, **kwargs):
            return ("elsewhere", {"read": in_name, "scale": kwargs["scale"]})

    result = run_well(Own(scale=3), in_name)
    assert result.entry == ("elsewhere", {"read": in_name, "scale": 3})


def test_way_of_a_file_can_be_gone_under_another_name(in_name, outdir, tmp_path):
    other = tmp_path / "in" / "other.bin"
    other.write_bytes(b"other")

    class Redirected(Recorder):
        def file_process(self, in_name, **kwargs):
            return super().file_process(str(other), **kwargs)

    pipe = Redirected(outdir=outdir)
    result = run_well(pipe, in_name)
    assert result.outname == f"{outdir}/other_bmp.bin"
    assert pipe.keywords_of("data_process")["in_name"] == str(other)
    assert result.in_name == in_name


def test_way_of_a_file_may_be_gone_several_times(in_name, outdir):
    class Twice(Writer):
        def file_process(self, in_name, **kwargs):
            done = [
                super(Twice, self).file_process(in_name, **{**kwargs, "outname_append": append})
                for append in ("_1", "_2")
            ]
            return (done[0][0], {"all": [outname for outname, meta in done]})

    result = run_well(Twice(outdir=outdir), in_name)
    assert result.meta["all"] == [f"{outdir}/000_1.bin", f"{outdir}/000_2.bin"]
    assert names_in(outdir) == ["000_1.bin", "000_2.bin"]


@pytest.mark.parametrize("returned", [None, "name", ("a", {}, 3)], ids=repr)
def test_file_process_that_returns_no_pair_is_an_error_that_says_so(in_name, returned):
    class Wrong(BigMultiPipe):
        def file_process(self, in_name, **kwargs):
            return returned

    assert "(outname, meta)" in str(run(Wrong(), in_name).error)


# Reading.


def test_file_is_read_as_bytes(in_name):
    assert BigMultiPipe().file_read(in_name) == b"000.bin\n"


def test_path_is_read_as_bytes(in_name):
    assert BigMultiPipe().file_read(Path(in_name)) == b"000.bin\n"


def test_group_is_read_as_the_list_of_its_members(group):
    nested = [group[0], [group[1], [group[2]]]]
    data = BigMultiPipe().file_read(nested)
    assert data == [b"000.bin\n", [b"001.bin\n", [b"002.bin\n"]]]


def test_group_is_read_by_the_subclass_one_member_at_a_time(group):
    class Numbers(BigMultiPipe):
        def file_read(self, in_name, scale=None, **kwargs):
            if not isinstance(in_name, str):
                return super().file_read(in_name, scale=scale, **kwargs)
            return scale * int(Path(in_name).stem)

    assert Numbers().file_read(group, scale=10) == [0, 10, 20]


@pytest.mark.parametrize("odd", [None, 3, b"a.bin"], ids=repr)
def test_input_that_is_no_name_is_named(group, odd):
    for in_name in (odd, [*group, odd]):
        with pytest.raises(TypeError, match=rf"^{odd!r} is neither a name .* nor a list"):
            BigMultiPipe().file_read(in_name)


# Rejection and its hook.


class Rejecting(Recorder):
    """Returns ``None`` as data in the hook named by ``where``."""

    def __init__(self, where, **kwargs):
        super().__init__(**kwargs)
        self.where = where

    def file_read(self, in_name, **kwargs):
        data = super().file_read(in_name, **kwargs)
        return None if self.where == "file_read" else data

    def pre_process(self, data, **kwargs):
        data, kwargs = super().pre_process(data, **kwargs)
        return (None, {}) if self.where == "pre_process" else (data, kwargs)

    def data_process(self, data, **kwargs):
        data = super().data_process(data, **kwargs)
        return None if self.where == "data_process" else data


@pytest.mark.parametrize("where", ["file_read", "pre_process", "data_process"])
def test_hook_that_returns_none_rejects_the_file(in_name, outdir, where):
    pipe = Rejecting(where, outdir=outdir)
    result = run_well(pipe, in_name)
    assert result.entry == (None, {})
    assert result.outcome is Outcome.REJECTED
    assert result.rejected_by == where
    assert pipe.hooks == HOOKS[: HOOKS.index(where) + 1]
    assert names_in(outdir) == []


def test_rejected_file_is_returned_as_such_in_its_place(make_files, outdir):
    def only_even(data, **kwargs):
        return data if int(data[:3]) % 2 == 0 else None

    pipe = Writer(outdir=outdir, pre_process_list=only_even)
    pout = pipe.pipeline(make_files(4), executor="serial")
    assert [entry == (None, {}) for entry in pout] == [False, True, False, True]


def test_hook_that_gives_metadata_without_data_ends_the_file_with_it(in_name, outdir):
    class MetaOnly(Recorder):
        def data_process_meta_create(self, data, **kwargs):
            return (None, {"length": len(data)})

    pipe = MetaOnly(outdir=outdir)
    result = run_well(pipe, in_name)
    assert result.entry == (None, {"length": 8})
    assert result.outcome is Outcome.METADATA_ONLY
    assert result.rejected_by is None
    assert "outname_create" not in pipe.hooks


@pytest.mark.parametrize(
    ("hook", "contents"),
    [
        ("pre_process", "kwargs"),
        ("post_process", "meta"),
        ("data_process_meta_create", "meta"),
    ],
)
@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (np.ones((2, 3)), "ndarray"),
        ({"a": 1, "b": 2}, "dict"),
        ((b"", {}, {}), "tuple of 3"),
        (None, "None"),
    ],
)
def test_hook_that_returns_no_pair_is_told_so(in_name, outdir, hook, contents, returned, found):
    pipe_class = type("NoPair", (Writer,), {hook: lambda self, data, **kwargs: returned})
    (result,) = pipe_class(outdir=outdir).iter_pipeline([in_name], executor="serial")
    assert result.error.hook == hook
    expected = f"{hook} returned {found}, not (data, {contents})"
    assert expected in str(result.error)
    assert ("to reject a file, return (None, {})" in str(result.error)) is (returned is None)


def test_metadata_made_by_a_subclass_reaches_the_caller(in_name, outdir):
    class OwnMeta(Writer):
        def data_process_meta_create(self, data, **kwargs):
            data, meta = super().data_process_meta_create(data, **kwargs)
            return data, {**meta, "own": True}

    result = run_well(OwnMeta(outdir=outdir, post_process_list=note_length), in_name)
    assert result.meta == {"length": 8, "own": True}


# Pre-processing functions.


def add(text):
    """Return a function that appends to the data."""
    return made_by(lambda data, **kwargs: data + text, f"add_{text.decode()}")


def note_length(data, bmp_meta=None, **kwargs):
    bmp_meta["length"] = len(data)
    return data


def test_pre_functions_run_in_order_those_of_the_run_last(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=[add(b"1"), add(b"2")])
    result = run_well(pipe, in_name, pre_process_list=[add(b"3"), add(b"4")])
    assert Path(result.outname).read_bytes() == b"000.bin\n1234"


def test_one_function_without_a_list_is_accepted_in_all_places(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=add(b"1"), post_process_list=note_length)
    result = run_well(pipe, in_name, pre_process_list=add(b"2"), post_process_list=note_sum)
    assert result.meta == {"length": 10, "sum": 10}


def note_sum(data, bmp_meta=None, **kwargs):
    bmp_meta["sum"] = bmp_meta["length"]
    return data


def test_none_as_list_is_an_empty_one(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=None, post_process_list=None)
    result = run_well(pipe, in_name, pre_process_list=None, post_process_list=None)
    assert result.outcome is Outcome.WRITTEN


@pytest.mark.parametrize("name", ["pre_process_list", "post_process_list"])
def test_setting_a_list_to_none_empties_it(name):
    pipe = BigMultiPipe(**{name: [len, abs]})
    setattr(pipe, name, None)
    assert getattr(pipe, name) == []


def note_first(data, bmp_meta=None, **kwargs):
    bmp_meta["first"] = data[:1]
    return data


def prefix(data, **kwargs):
    return b"1" + data


class Listed(Writer):
    """Has its functions in its body: a list, and one alone."""

    pre_process_list: ClassVar = [prefix]
    post_process_list = note_first


class Longer(Listed):
    pre_process_list: ClassVar = [*Listed.pre_process_list, prefix]


class Emptied(Longer):
    pre_process_list = None


class Static(Writer):
    post_process_list = staticmethod(note_first)


class FromMixin(type("Mixin", (), {"pre_process_list": [prefix]}), Writer):
    pass


class Made(Writer):
    """Makes one of its lists when that is asked for."""

    @property
    def pre_process_list(self):
        return [prefix]


@pytest.mark.parametrize(
    ("cls", "before", "after"),
    [
        (Listed, [prefix], [note_first]),
        (Longer, [prefix] * 2, [note_first]),
        (Emptied, [], [note_first]),
        (Static, [], [note_first]),
        (FromMixin, [prefix], []),
        (Made, [prefix], []),
    ],
)
def test_functions_of_the_class_are_those_of_an_object_made_without(
    cls, before, after, in_name, outdir
):
    pipe = cls(outdir=outdir)
    assert (pipe.pre_process_list, pipe.post_process_list) == (before, after)
    result = run_well(pipe, in_name)
    data = b"1" * len(before) + Path(in_name).read_bytes()
    assert Path(result.outname).read_bytes() == data
    assert result.meta == ({"first": data[:1]} if after else {})


@pytest.mark.parametrize(("given", "n"), [([], 0), ([prefix] * 3, 3), (prefix, 1)])
def test_functions_that_are_given_replace_those_of_the_class(given, n):
    assert Longer(pre_process_list=given).pre_process_list == [prefix] * n


def test_list_of_the_class_stays_as_it_is_when_that_of_an_object_changes():
    pipe = Listed()
    pipe.pre_process_list.append(len)
    pipe.post_process_list = None
    assert (pipe.pre_process_list, pipe.post_process_list) == ([prefix, len], [])
    assert Listed().pre_process_list == [prefix]
    assert Listed().post_process_list == [note_first]
    pipe.post_process_list = note_first
    assert pipe.post_process_list == [note_first]


@pytest.mark.process
def test_functions_of_the_class_are_called_in_workers(start_method, make_files, outdir):
    class Local(Longer):
        post_process_list: ClassVar = [
            lambda data, bmp_meta, **kwargs: bmp_meta.update(n=3) or data
        ]

    for cls, meta in ((Longer, {"first": b"1"}), (Local, {"n": 3})):
        pipe = cls(2, executor="processes", start_method=start_method, outdir=outdir)
        [_, (outname, told)] = pipe.pipeline(make_files(2))
        assert Path(outname).read_bytes() == b"11001.bin\n"
        assert told == meta


@pytest.mark.parametrize("name", ["pre_process_list", "post_process_list"])
def test_list_can_be_set_and_added_to_between_runs(name):
    pipe = BigMultiPipe()
    setattr(pipe, name, len)
    getattr(pipe, name).append(abs)
    assert getattr(pipe, name) == [len, abs]


def test_lists_of_a_run_are_for_that_run_alone(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=[add(b"1")])
    run_well(pipe, in_name, pre_process_list=[add(b"2")])
    result = run_well(pipe, in_name)
    assert Path(result.outname).read_bytes() == b"000.bin\n1"


def test_pre_function_that_returns_none_rejects_and_is_named(in_name, outdir):
    def reject(data, **kwargs):
        return None

    pipe = Recorder(outdir=outdir, pre_process_list=[add(b"1"), reject, fail])
    result = run_well(pipe, in_name)
    assert result.entry == (None, {})
    assert result.rejected_by == "pre_process: reject"
    assert pipe.hooks == HOOKS[:3]


def fail(data, **kwargs):
    raise ValueError("called")


def test_dict_without_the_key_for_data_is_data(in_name):
    class Dicts(BigMultiPipe):
        def data_process(self, data, **kwargs):
            return {"seen": data}

    pipe = Dicts(pre_process_list=made_by(lambda data, **kwargs: {"bmp_kwargs": 1}, "make"))
    assert pipe.pre_process(b"")[0] == {"bmp_kwargs": 1}


def give(data=True, **added):
    """Return a pre function that gives keywords; with ``data=None`` it also rejects."""

    def give_keywords(seen, **kwargs):
        return {"bmp_data": seen if data else None, "bmp_kwargs": added}

    return give_keywords


def test_keywords_from_a_pre_function_reach_what_comes_after(in_name, outdir):
    seen = []

    def look(data, **kwargs):
        seen.append(kwargs.get("gain"))
        return data

    pipe = Recorder(outdir=outdir, pre_process_list=[look, give(gain=2), look], gain=1)
    run_well(pipe, in_name, post_process_list=look)
    assert seen == [1, 2, 2]
    for hook in HOOKS[3:]:
        assert pipe.keywords_of(hook)["gain"] == 2


def test_keywords_from_a_pre_function_are_for_its_file_alone(make_files, outdir):
    def first_only(data, **kwargs):
        return give(gain=2)(data) if data == b"000.bin\n" else data

    def note_gain(data, bmp_meta=None, gain=None, **kwargs):
        bmp_meta["gain"] = gain
        return data

    pipe = Writer(outdir=outdir, pre_process_list=first_only, post_process_list=note_gain, gain=1)
    pout = pipe.pipeline(make_files(2), executor="serial")
    assert [meta["gain"] for outname, meta in pout] == [2, 1]


@pytest.mark.parametrize("answer", [{"bmp_data": b"new"}, {"bmp_data": b"new", "bmp_kwargs": None}])
def test_keywords_beside_the_data_may_be_missing(in_name, outdir, answer):
    pipe = Writer(outdir=outdir, pre_process_list=made_by(lambda data, **kwargs: answer, "new"))
    result = run_well(pipe, in_name)
    assert Path(result.outname).read_bytes() == b"new"


def test_none_beside_keywords_rejects(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=give(data=None, gain=2))
    result = run_well(pipe, in_name)
    assert result.entry == (None, {})
    assert result.rejected_by == "pre_process: give_keywords"


def test_pre_function_can_name_output_and_folder(in_name, outdir, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    pipe = Writer(outdir=outdir, pre_process_list=give(outname="x.bin", outdir=str(other)))
    assert run_well(pipe, in_name).outname == f"{other}/x.bin"


def test_pre_function_can_have_the_folder_made(in_name, tmp_path):
    new = tmp_path / "new"
    pipe = Writer(outdir=str(new), pre_process_list=give(create_outdir=True))
    assert run_well(pipe, in_name).outname == f"{new}/000_bmp.bin"


def test_pre_function_may_give_keywords_that_hooks_are_called_with(in_name, outdir):
    pipe = Writer(outdir=outdir, pre_process_list=give(in_name="x", data=1, meta=2, bmp_meta=3))
    assert run_well(pipe, in_name).outname == f"{outdir}/000_bmp.bin"


# Post-processing functions.


def test_post_functions_run_in_order_those_of_the_run_last(in_name, outdir):
    pipe = Writer(outdir=outdir, post_process_list=[add(b"1"), add(b"2")])
    result = run_well(pipe, in_name, post_process_list=[add(b"3")])
    assert Path(result.outname).read_bytes() == b"000.bin\n123"


def test_post_functions_are_given_keywords_and_the_input(in_name, outdir):
    seen = {}

    def look(data, bmp_meta=None, **kwargs):
        seen.update(kwargs)
        return data

    run_well(Writer(outdir=outdir, post_process_list=look, gain=2), in_name)
    assert seen["gain"] == 2
    assert seen["in_name"] == in_name
    assert seen["outdir"] == outdir


def test_post_function_that_returns_none_stops_the_file_and_keeps_its_metadata(in_name, outdir):
    pipe = Recorder(outdir=outdir, post_process_list=[note_length, no_outfile, fail])
    result = run_well(pipe, in_name)
    assert result.entry == (None, {"length": 8})
    assert result.outcome is Outcome.METADATA_ONLY
    assert "outname_create" not in pipe.hooks
    assert names_in(outdir) == []


def test_post_function_that_clears_the_metadata_rejects(in_name, outdir):
    def reject(data, bmp_meta=None, **kwargs):
        bmp_meta.clear()

    pipe = Writer(outdir=outdir, post_process_list=[note_length, reject])
    result = run_well(pipe, in_name)
    assert result.entry == (None, {})
    assert result.rejected_by == "post_process: reject"


def mark_length(data, bmp_meta=None, **kwargs):
    return bmp_cleanup(data, bmp_meta=bmp_meta, add="length")


def test_marked_metadata_is_there_for_later_functions_and_gone_at_the_end(in_name, outdir):
    pipe = Writer(outdir=outdir, post_process_list=[note_length, mark_length, note_sum])
    assert run_well(pipe, in_name).meta == {"sum": 8}


def test_marked_metadata_is_gone_too_when_a_function_stops_the_file(in_name, outdir):
    pipe = Writer(outdir=outdir, post_process_list=[note_length, mark_length, note_sum, no_outfile])
    assert run_well(pipe, in_name).entry == (None, {"sum": 8})


@pytest.mark.parametrize("at", ["construction", "run"])
def test_marked_metadata_can_be_kept_by_a_keyword(in_name, outdir, at):
    keep = {"no_bmp_cleanup": True}
    lists = {"post_process_list": [note_length, mark_length]}
    pipe = Writer(outdir=outdir, **lists, **(keep if at == "construction" else {}))
    meta = run_well(pipe, in_name, **(keep if at == "run" else {})).meta
    assert meta["length"] == 8


def test_metadata_set_while_naming_and_writing_reaches_the_caller(in_name, outdir):
    class Late(Writer):
        def outname_create(self, in_name, meta=None, **kwargs):
            meta["named"] = True
            return super().outname_create(in_name, meta=meta, **kwargs)

        def file_write(self, data, outname, meta=None, **kwargs):
            meta["written"] = len(data)
            return super().file_write(data, outname, meta=meta, **kwargs)

    assert run_well(Late(outdir=outdir), in_name).meta == {"named": True, "written": 8}


# Names of outputs.


def set_meta(**values):
    def set_values(data, bmp_meta=None, **kwargs):
        bmp_meta.update(values)
        return data

    return set_values


def test_name_in_the_metadata_wins(in_name, outdir):
    pipe = Writer(outdir=outdir, post_process_list=set_meta(outname="by_meta.bin"))
    assert run_well(pipe, in_name, outname="by_run.bin").outname == f"{outdir}/by_meta.bin"


def test_folder_in_the_metadata_wins_and_can_be_made(in_name, outdir, tmp_path):
    other = f"{tmp_path}/other"
    values = {"outdir": other, "outname_append": "", "create_outdir": True}
    result = run_well(Writer(outdir=outdir, post_process_list=set_meta(**values)), in_name)
    assert result.outname == f"{other}/000.bin"


@pytest.mark.parametrize("name", ["../escaped.bin", "/escaped.bin", "a/../../escaped.bin"])
def test_name_in_the_metadata_that_leads_outside_is_refused(in_name, outdir, name):
    result = run(Writer(outdir=outdir, post_process_list=set_meta(outname=name)), in_name)
    assert isinstance(result.error.__cause__, OutnameError)
    assert result.error.hook == "outname_create"
    assert repr(name) in str(result.error)
    assert repr(outdir) in str(result.error)


def test_name_made_by_the_subclass_is_its_own_word(in_name, outdir, tmp_path):
    class Elsewhere(Writer):
        def outname_create(self, in_name, outdir=None, **kwargs):
            return os.path.join(outdir, "..", "elsewhere.bin")

    result = run_well(Elsewhere(outdir=outdir), in_name)
    assert Path(result.outname).samefile(tmp_path / "elsewhere.bin")


def test_name_may_be_a_path(in_name, tmp_path):
    class Paths(BigMultiPipe):
        def outname_create(self, in_name, **kwargs):
            return tmp_path / "x.bin"

        def file_write(self, data, outname, **kwargs):
            outname.write_bytes(data)
            return outname

    result = run_well(Paths(), in_name)
    assert os.fspath(result.outname) == str(tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"000.bin\n"


def test_output_with_a_name_in_bytes_is_staged_like_any_other(in_name, tmp_path):
    class Bytes(BigMultiPipe):
        def outname_create(self, in_name, **kwargs):
            return os.fsencode(tmp_path / "x.bin")

        def file_write(self, data, outname, **kwargs):
            Path(os.fsdecode(outname)).write_bytes(data)
            raise ValueError("half written")

    run(Bytes(), in_name)
    assert not (tmp_path / "x.bin").exists()


def test_output_may_have_any_name_that_is_not_for_a_file(in_name):
    class Table(BigMultiPipe):
        def outname_create(self, in_name, **kwargs):
            return 42

        def file_write(self, data, outname, **kwargs):
            return f"row {outname}"

    assert run_well(Table(), in_name).outname == "row 42"


def test_group_without_a_name_is_told_how_to_give_one(group, outdir):
    result = run(Writer(outdir=outdir), group)
    assert isinstance(result.error.__cause__, OutnameError)
    for remedy in ("bmp_kwargs", "bmp_meta['outname']", "outname_create"):
        assert remedy in str(result.error)


@pytest.mark.parametrize(
    "lists",
    [
        {"pre_process_list": give(outname="all.bin")},
        {"post_process_list": set_meta(outname="all.bin")},
    ],
    ids=["pre function", "post function"],
)
def test_group_that_is_given_a_name_makes_one_output(group, outdir, lists):
    result = run_well(Writer(outdir=outdir, **lists), group)
    assert result.outname == f"{outdir}/all.bin"
    assert result.in_name == group
    assert Path(result.outname).read_bytes() == b"000.bin\n001.bin\n002.bin\n"


# Writing.


def test_folder_that_is_missing_is_an_error_that_names_it(in_name, tmp_path):
    result = run(Writer(outdir=str(tmp_path / "missing")), in_name)
    assert isinstance(result.error.__cause__, FileNotFoundError)
    assert result.error.hook == "file_write"
    assert "missing/000_bmp.bin" in result.error.traceback
    assert "bigpipe/hooks.py" not in result.error.traceback
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("at", ["construction", "run"])
def test_folder_is_made_if_asked_for(in_name, tmp_path, at):
    make = {"create_outdir": True}
    pipe = Writer(outdir=f"{tmp_path}/new/deep", **(make if at == "construction" else {}))
    result = run_well(pipe, in_name, **(make if at == "run" else {}))
    assert result.outname == f"{tmp_path}/new/deep/000_bmp.bin"


@pytest.mark.parametrize("atomic", [False, True])
def test_folder_is_made_for_a_hook_that_leaves_it_to_nobody(in_name, tmp_path, atomic):
    class Own(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            Path(outname).write_bytes(data)
            return outname

    Own.atomic = atomic
    result = run_well(Own(outdir=f"{tmp_path}/new", create_outdir=True), in_name)
    assert Path(result.outname).read_bytes() == b"000.bin\n"


def test_name_that_the_hook_returns_is_what_the_caller_gets(in_name, outdir):
    class Compressing(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            Path(outname + ".gz").write_bytes(data)
            return outname + ".gz"

    result = run_well(Compressing(outdir=outdir), in_name)
    assert result.outname == f"{outdir}/000_bmp.bin.gz"
    assert names_in(outdir) == ["000_bmp.bin.gz"]


def test_name_that_the_hook_returns_may_be_anywhere(in_name, outdir, tmp_path):
    class Elsewhere(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            (tmp_path / "elsewhere").write_bytes(data)
            return str(tmp_path / "elsewhere")

    assert run_well(Elsewhere(outdir=outdir), in_name).outname == f"{tmp_path}/elsewhere"


def test_hook_may_write_nothing_and_return_the_name(in_name, outdir):
    result = run_well(BigMultiPipe(outdir=outdir), in_name)
    assert result.entry == (f"{outdir}/000_bmp.bin", {})
    assert names_in(outdir) == []


def test_hook_that_returns_no_name_leaves_the_metadata(in_name, outdir):
    class Silent(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            return None

    result = run_well(Silent(outdir=outdir, post_process_list=note_length), in_name)
    assert result.entry == (None, {"length": 8})


def test_side_files_come_to_stand_beside_the_output(in_name, outdir):
    class WithPreview(Writer):
        def file_write(self, data, outname, **kwargs):
            root = os.path.splitext(outname)[0]
            Path(root + ".png").write_bytes(b"preview")
            return super().file_write(data, outname, **kwargs)

    run_well(WithPreview(outdir=outdir), in_name)
    assert names_in(outdir) == ["000_bmp.bin", "000_bmp.png"]


def test_hook_may_have_another_program_write(in_name, outdir):
    class External(BigMultiPipe):
        def file_write(self, data, outname, in_name=None, **kwargs):
            subprocess.run(["cp", in_name, outname], check=True)
            return outname

    result = run_well(External(outdir=outdir), in_name)
    assert Path(result.outname).read_bytes() == b"000.bin\n"


class Halfway(BigMultiPipe):
    """Fails in the midst of writing."""

    def file_write(self, data, outname, **kwargs):
        with open(outname, "wb", buffering=0) as file:
            file.write(data[:3])
            raise OSError(28, "No space left on device")


def test_what_was_there_before_a_failed_write_is_still_there(in_name, outdir):
    Path(outdir, "000_bmp.bin").write_bytes(b"before")
    assert run(Halfway(outdir=outdir), in_name).outcome is Outcome.FAILED
    assert Path(outdir, "000_bmp.bin").read_bytes() == b"before"
    assert names_in(outdir) == ["000_bmp.bin"]


def test_failed_write_leaves_nothing(in_name, outdir):
    run(Halfway(outdir=outdir), in_name)
    assert names_in(outdir) == []


def test_failed_write_says_what_the_name_would_have_been(in_name, outdir):
    class Refusing(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            raise OSError(f"cannot write {outname}")

    assert f"{outdir}/000_bmp.bin" in run(Refusing(outdir=outdir), in_name).error.traceback


def test_hook_that_refuses_to_overwrite_sees_what_is_there(in_name, outdir):
    class Careful(BigMultiPipe):
        def file_write(self, data, outname, overwrite=False, **kwargs):
            with open(outname, "wb" if overwrite else "xb") as file:
                file.write(data)
            return outname

    assert run(Careful(outdir=outdir), in_name).outcome is Outcome.WRITTEN
    assert isinstance(run(Careful(outdir=outdir), in_name).error.__cause__, FileExistsError)
    assert run(Careful(outdir=outdir), in_name, overwrite=True).outcome is Outcome.WRITTEN


def test_class_can_opt_out_of_staging(in_name, outdir):
    class Direct(Recorder):
        atomic = False

    pipe = Direct(outdir=outdir)
    run_well(pipe, in_name)
    [written] = [args[1] for hook, args, _ in pipe.calls if hook == "file_write"]
    assert written == f"{outdir}/000_bmp.bin"


def test_output_over_its_own_input_is_refused(in_name):
    result = run(Writer(outdir=os.path.dirname(in_name), outname_append=""), in_name)
    assert repr(in_name) in str(result.error)
    assert Path(in_name).read_bytes() == b"000.bin\n"


# Hooks called directly.


def test_whole_way_can_be_gone_without_a_run(in_name, tmp_path):
    pipe = Writer(
        outdir=str(tmp_path / "new"),
        create_outdir=True,
        outname_append="_x",
        pre_process_list=add(b"1"),
        post_process_list=note_length,
    )
    outname, meta = pipe.file_process(in_name)
    assert (outname, meta) == (f"{tmp_path}/new/000_x.bin", {"length": 9})
    assert Path(outname).read_bytes() == b"000.bin\n1"


def test_direct_call_gives_what_it_was_constructed_with_to_all_hooks(in_name, outdir):
    pipe = Recorder(outdir=outdir, gain=2)
    pipe.file_process(in_name)
    assert pipe.hooks == HOOKS
    for hook in HOOKS[1:]:
        assert pipe.keywords_of(hook)["gain"] == 2
        assert pipe.keywords_of(hook)["outdir"] == outdir


def test_error_in_a_direct_call_is_the_hooks_own(in_name):
    with pytest.raises(ValueError, match="called"):
        BigMultiPipe(pre_process_list=fail).file_process(in_name)


def test_name_is_made_directly_as_the_object_was_constructed():
    pipe = BigMultiPipe(outdir="out", outname_append="_x")
    assert pipe.outname_create("raw/a.fits") == "out/a_x.fits"
    assert BigMultiPipe(outname="y.fits").outname_create("raw/a.fits") == "y.fits"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"outdir": "other"}, "other/a_x.fits"),
        ({"outname_append": "_y"}, "out/a_y.fits"),
        ({"outname": "y.fits"}, "out/y.fits"),
        ({"meta": {"outname": "z.fits"}}, "out/z.fits"),
    ],
    ids=str,
)
def test_what_is_given_in_a_direct_call_wins_and_the_rest_stays(given, name):
    pipe = BigMultiPipe(outdir="out", outname_append="_x")
    assert pipe.outname_create("raw/a.fits", **given) == name


def test_lists_are_run_directly_as_the_object_was_constructed():
    pipe = BigMultiPipe(
        outdir="out", gain=2, pre_process_list=add(b"1"), post_process_list=note_length
    )
    data, kwargs = pipe.pre_process(b"0", pre_process_list=add(b"2"))
    assert data == b"012"
    assert (kwargs["gain"], kwargs["outdir"]) == (2, "out")
    assert pipe.post_process(b"012") == (b"012", {"length": 3})
    assert pipe.data_process_meta_create(b"012") == (b"012", {"length": 3})


def test_rejection_in_a_direct_call_gives_no_keywords():
    reject = made_by(lambda data, **kwargs: None, "reject")
    assert BigMultiPipe(pre_process_list=reject).pre_process(b"0") == (None, {})


def test_clean_up_in_a_direct_call_is_as_the_object_was_constructed():
    lists = {"post_process_list": [note_length, mark_length]}
    assert BigMultiPipe(**lists).post_process(b"0")[1] == {}
    assert BigMultiPipe(no_bmp_cleanup=True, **lists).post_process(b"0")[1]["length"] == 1


@pytest.mark.parametrize(
    ("constructed", "given", "is_made"),
    [
        ({}, {}, False),
        ({"create_outdir": True}, {}, True),
        ({"create_outdir": True}, {"create_outdir": False}, False),
        ({}, {"create_outdir": True}, True),
        ({}, {"meta": {"create_outdir": True}}, True),
        ({}, {"meta": {}}, False),
    ],
    ids=str,
)
def test_folder_is_made_directly_if_asked_for(tmp_path, constructed, given, is_made):
    outname = str(tmp_path / "new" / "x")
    assert BigMultiPipe(**constructed).file_write(b"", outname, **given) == outname
    assert (tmp_path / "new").exists() == is_made


def test_folder_of_a_bare_name_needs_no_making():
    assert BigMultiPipe(create_outdir=True).file_write(b"", "x") == "x"


# Groups, member by member.


@for_each_member
def drop_first(data, in_name=None, **kwargs):
    return None if in_name.endswith("000.bin") else data


@for_each_member
def drop_none(data, in_name=None, **kwargs):
    assert data == f"{Path(in_name).name}\n".encode()
    return data


@for_each_member
def drop_all(data, **kwargs):
    return None


def test_dropped_member_leaves_data_and_names_in_all_later_hooks(group, outdir):
    pipe = Recorder(outdir=outdir, pre_process_list=drop_first, outname="all.bin")
    result = run_well(pipe, group)
    assert Path(result.outname).read_bytes() == b"001.bin\n002.bin\n"
    for hook in ("data_process", "post_process", "file_write"):
        assert pipe.keywords_of(hook)["in_name"] == group[1:]
    assert result.in_name == group


def test_tuple_of_names_is_given_as_it_is_until_a_member_is_dropped(group, outdir):
    nested = (group[0], (group[1], group[2]))
    pipe = Recorder(pre_process_list=drop_none, post_process_list=no_outfile)
    result = run_well(pipe, nested)
    assert result.in_name == pipe.keywords_of("post_process")["in_name"] == nested
    pipe = Recorder(outdir=outdir, pre_process_list=drop_first, outname="all.bin")
    run_well(pipe, tuple(group))
    assert pipe.keywords_of("file_write")["in_name"] == group[1:]


def test_tuple_of_other_things_than_names_is_one_input(in_name):
    class OfPart(Recorder):
        def file_read(self, in_name, **kwargs):
            return [super(Recorder, self).file_read(in_name[0], **kwargs), in_name[1]]

    pipe = OfPart(post_process_list=no_outfile)
    run_well(pipe, (in_name, 3))
    assert pipe.keywords_of("data_process")["in_name"] == (in_name, 3)


def test_tuple_that_a_hook_takes_for_a_name_is_told_of(group):
    class OneByOne(BigMultiPipe):
        def file_read(self, in_name, **kwargs):
            if isinstance(in_name, list):
                return super().file_read(in_name, **kwargs)
            return Path(in_name).read_bytes()

    assert "give a group of files as a list" in str(run(OneByOne(), tuple(group)).error)
    assert "as a list" not in str(run(OneByOne(), group).error)


class Sound(BigMultiPipe):
    """Refuse the second of three files, whose names it is given alone or in groups."""

    def file_read(self, in_name, **kwargs):
        if isinstance(in_name, list):
            return super().file_read(in_name, **kwargs)
        return self.checked(Path(in_name).read_bytes())

    def checked(self, data):
        if data == b"001.bin\n":
            raise ValueError("this is damaged")
        return data


class SoundByItself(Sound):
    def file_read(self, in_name, **kwargs):
        if isinstance(in_name, (str, os.PathLike)):
            return super().file_read(in_name, **kwargs)
        return [self.file_read(each) for each in in_name]


@pytest.mark.parametrize("pipe", [Sound(), SoundByItself()], ids=["base class", "own loop"])
@pytest.mark.parametrize("kind", [str, Path])
def test_error_of_a_group_names_the_member_that_could_not_be_read(pipe, kind, group):
    names = [kind(name) for name in group]
    for in_name in (names, [names[0], [names[1]], names[2]]):
        error = run(pipe, in_name, on_error="return").error
        what = f"on {group[1]!r} of a group of {len(group)}: "
        assert str(error).startswith(f"file_read raised ValueError {what}")
        assert error.in_name == in_name


def test_error_of_a_function_for_each_member_names_the_member(group):
    @for_each_member
    def check(data, **kwargs):
        return Sound().checked(data)

    error = run(BigMultiPipe(pre_process_list=check), group, on_error="return").error
    assert f"check raised ValueError on {group[1]!r} of a group of" in str(error)


class Unread(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        return b""


def test_member_that_file_read_rejects_is_dropped_with_its_name(group, outdir):
    class Lenient(Recorder, Sound):
        def file_read(self, in_name, **kwargs):
            try:
                return super().file_read(in_name, **kwargs)
            except ValueError:
                return None

    pipe = Lenient(outdir=outdir, pre_process_list=drop_none, outname="all.bin")
    result = run_well(pipe, group)
    assert pipe.keywords_of("file_write")["in_name"] == [group[0], group[2]]
    assert Path(result.outname).read_bytes() == b"000.bin\n002.bin\n"


def test_error_that_is_about_no_member_alone_names_the_group(group, in_name):
    def combine(data, in_name=None, **kwargs):
        first = in_name[0]
        return blame(first, in_name[1])

    def blame(first, second):
        raise ValueError(first, second)

    for name in (group, tuple(group), in_name, (in_name, 3)):
        pipe = Unread(post_process_list=combine)
        assert "of a group" not in str(run(pipe, name, on_error="return").error)


def test_path_that_is_only_half_made_does_not_hide_the_error(group):
    def look(path):
        raise ValueError("not there")

    def combine(data, **kwargs):
        look(object.__new__(PurePosixPath))

    error = run(Unread(post_process_list=combine), group, on_error="return").error
    assert "raised ValueError on [" in str(error)


COMPLAIN = (
    r"import sys; print('first', 'x' * {n}, 'the last', sep='\n', file=sys.stderr); sys.exit(3)"
)


@pytest.mark.parametrize("text", [True, False], ids=["text", "bytes"])
@pytest.mark.parametrize("n", [1, 10_000], ids=["short", "long"])
def test_error_of_a_program_says_what_it_complained_of(text, n, in_name):
    class Calling(BigMultiPipe):
        def data_process(self, data, **kwargs):
            command = [sys.executable, "-c", COMPLAIN.format(n=n)]
            subprocess.run(command, check=True, capture_output=True, text=text)

    message = str(run(Calling(), in_name, on_error="return").error)
    assert "non-zero exit status 3. Standard error: " in message
    assert message.endswith("x the last")
    assert ("first" in message.partition("Standard error")[2]) is (n == 1)
    assert len(message.partition("Standard error: ")[2]) < 310


@pytest.mark.parametrize("stderr", [None, "", b" \n"], ids=["not captured", "none", "blank"])
def test_error_of_a_silent_program_is_pythons(stderr, in_name):
    class Calling(BigMultiPipe):
        def data_process(self, data, **kwargs):
            raise subprocess.CalledProcessError(3, "solve", stderr=stderr)

    message = str(run(Calling(), in_name, on_error="return").error)
    assert message.endswith("returned non-zero exit status 3.")


def test_error_of_a_part_of_a_file_does_not_call_it_a_group(in_name):
    class Broken(BigMultiPipe):
        def file_read(self, in_name, start=None, end=None, **kwargs):
            return Sound().checked(b"001.bin\n") if isinstance(in_name, str) else in_name[9]

    for part in ((in_name, 0, 1), (in_name, 3)):
        assert "of a group" not in str(run(Broken(), part, on_error="return").error)


def test_member_dropped_at_the_end_is_gone_for_naming_and_writing(group, outdir):
    pipe = Recorder(outdir=outdir, post_process_list=drop_first, outname="all.bin")
    run_well(pipe, group)
    assert pipe.keywords_of("file_write")["in_name"] == group[1:]
    assert next(call[1] for call in pipe.calls if call[0] == "outname_create") == (group[1:],)


def test_names_fit_the_data_for_each_post_function(group, outdir):
    names = []

    def look(data, in_name=None, **kwargs):
        names.append(in_name)
        return data

    lists = {"post_process_list": [look, drop_first, look]}
    run_well(Writer(outdir=outdir, outname="all.bin", **lists), group)
    assert names == [group, group[1:]]


def test_group_that_loses_all_members_is_rejected(group, outdir):
    result = run_well(Writer(outdir=outdir, pre_process_list=drop_all), group)
    assert result.entry == (None, {})
    assert result.rejected_by == "pre_process: drop_all"


def test_members_can_be_processed_one_by_one_in_a_method(group, outdir):
    class Named(Writer):
        @for_each_member
        def data_process(self, data, in_name=None, **kwargs):
            return os.path.basename(in_name).encode() + b": " + data

    result = run_well(Named(outdir=outdir, outname="all.bin"), group[:2])
    assert Path(result.outname).read_bytes() == b"000.bin: 000.bin\n001.bin: 001.bin\n"


# Inside a hook, other pipelines.


def test_other_pipeline_in_a_hook_minds_its_own_file(make_files, outdir):
    inner_file, outer_file = make_files(2)
    inner = Recorder(outdir=outdir, outname_append="_inner")

    class Outer(Writer):
        def data_process(self, data, in_name=None, **kwargs):
            inner.pipeline([inner_file], executor="serial")
            return in_name.encode()

    result = run_well(Outer(outdir=outdir), outer_file)
    assert Path(result.outname).read_bytes() == outer_file.encode()
    assert inner.keywords_of("data_process")["in_name"] == inner_file
    assert names_in(outdir) == ["000_inner.bin", "001_bmp.bin"]


def test_hooks_of_another_object_can_be_used_inside_a_hook(in_name, tmp_path):
    class Idiom(BigMultiPipe):
        def file_write(self, data, outname, **kwargs):
            BigMultiPipe(self).file_write(data, outname, **kwargs)
            Path(outname).write_bytes(data)
            return outname

    outdir = f"{tmp_path}/new"
    result = run_well(Idiom(outdir=outdir, create_outdir=True), in_name)
    assert result.outname == f"{outdir}/000_bmp.bin"


# The record of what happened.


def test_seconds_are_told_for_each_hook_that_ran(in_name, outdir):
    result = run_well(Writer(outdir=outdir, post_process_list=note_length), in_name)
    hooks = {"file_read", "pre_process", "data_process", "post_process", "outname_create"}
    assert result.seconds.keys() >= hooks | {"file_write"}
    assert all(seconds >= 0 for seconds in result.seconds.values())


def test_result_tells_index_attempts_worker_and_memory(in_name, outdir):
    result = run_well(Writer(outdir=outdir), in_name)
    assert (result.index, result.in_name) == (0, in_name)
    assert (result.attempts, result.worker) == (1, os.getpid())
    assert result.peak_rss > 1_000_000


def test_error_that_bigpipe_raises_with_its_remedy_has_no_traceback(in_name):
    error = run(Writer(outdir=os.path.dirname(in_name), outname_append=""), in_name).error
    assert isinstance(error.__cause__, CollisionError)
    assert error.traceback == ""
    assert error.__cause__.__cause__ is None


@pytest.mark.parametrize("hook", HOOKS)
def test_error_in_a_hook_names_the_file_and_the_hook(in_name, outdir, hook):
    def fail_here(self, *args, **kwargs):
        raise ZeroDivisionError("here")

    pipe = type("Failing", (Writer,), {hook: fail_here})(outdir=outdir)
    error = run(pipe, in_name).error
    assert isinstance(error, FileError)
    assert (error.in_name, error.hook) == (in_name, hook)
    assert repr(in_name) in str(error)
    assert hook in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "in fail_here" in error.traceback
    assert "bigpipe/hooks.py" not in error.traceback


@pytest.mark.parametrize("hook", ["pre_process", "post_process"])
def test_error_in_a_listed_function_names_the_function(in_name, outdir, hook):
    pipe = Writer(outdir=outdir, **{f"{hook}_list": [add(b"1"), fail, add(b"2")]})
    assert run(pipe, in_name).error.hook == f"{hook}: fail"


def test_error_of_a_large_group_is_short(outdir, tmp_path):
    (tmp_path / "a").touch()
    group = [str(tmp_path / "a")] * 5000
    error = run(Writer(outdir=outdir, post_process_list=fail), group).error
    assert len(str(error)) < 1000
    assert error.in_name == group


def test_data_may_be_anything(in_name, outdir):
    class Arrays(BigMultiPipe):
        def file_read(self, in_name, **kwargs):
            return np.arange(4)

        def file_write(self, data, outname, meta=None, **kwargs):
            meta["sum"] = int(data.sum())
            return outname

    def double(data, **kwargs):
        return data * 2

    pipe = Arrays(outdir=outdir, pre_process_list=double, post_process_list=double)
    assert run_well(pipe, in_name).meta == {"sum": 24}


class NarrowData(BigMultiPipe):
    def data_process(self, data):
        return data


class NarrowInside(BigMultiPipe):
    def data_process(self, data, **kwargs):
        return narrow(data, bmp_meta={})


def narrow(data):
    return data


class Demanding(BigMultiPipe):
    def data_process(self, data, level, *, gain, **kwargs):
        return data


@pytest.mark.parametrize("given", [{}, {"level": 3}], ids=["both", "by keyword only"])
def test_hook_that_lacks_a_keyword_is_told_in_one_line(given, group):
    error = run(Demanding(**given), group[0]).error
    assert "missing 1 required" in str(error)
    assert str(error).endswith("; give what is missing as a keyword, or the parameter a default")
    assert error.traceback == ""


@pytest.mark.parametrize(
    ("pipe", "has_remedy"),
    [
        (NarrowData(), True),
        (BigMultiPipe(post_process_list=narrow), True),
        (NarrowInside(), False),
    ],
    ids=["hook", "function", "a call of its own"],
)
def test_hook_that_does_not_take_all_keywords_is_told_how(pipe, has_remedy, group):
    message = str(run(pipe, group[0]).error)
    assert "unexpected keyword argument" in message
    assert ("add **kwargs to its parameters" in message) is has_remedy
