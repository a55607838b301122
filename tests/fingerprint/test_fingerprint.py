"""A fingerprint differs if, and only if, a file would be processed differently."""

from __future__ import annotations

import ast
import copyreg
import functools
import os
import sys
import threading

import numpy as np
import pytest

from bigpipe import BigMultiPipe
from bigpipe.fingerprint import differences, fingerprint_of
from tests.programs import run_python

SCRIPT = '''
import functools
import numpy as np
from bigpipe import BigMultiPipe

SCALE = 2.5
NAMES = {"a", "b", "c"}


def stretched(data):
    """Help."""
    return data * SCALE


def mean(data, bmp_meta=None, **kwargs):
    bmp_meta["mean"] = stretched(data).mean()
    return data


def reject(data, limit=3, **kwargs):
    return data if data.max() < limit else None


class Base(BigMultiPipe):
    def data_process(self, data, **kwargs):
        return data


class Pipe(Base):
    mode = "fast"

    def __init__(self, threshold=3, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold

    def file_read(self, in_name, flat=None, **kwargs):
        return np.load(in_name) / flat

    def data_process(self, data, **kwargs):
        # first the base class
        data = super().data_process(data, **kwargs)
        return stretched(data) if kwargs.get("name") in NAMES else data

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname

    @property
    def doubled(self):
        return 2 * self.threshold


def make(**kwargs):
    kwargs = {"flat": np.arange(12.0).reshape(3, 4), "gain": 1.5, "outdir": "/data", **kwargs}
    return Pipe(post_process_list=[mean, functools.partial(reject, limit=5)], **kwargs)
'''


def pipe_of(source=SCRIPT, **kwargs):
    namespace = {"__name__": "a_script"}
    exec(compile(source, "<script>", "exec", dont_inherit=True), namespace)
    return namespace["make"](**kwargs)


def fingerprint(pipe, *, given=None, **options_and_kwargs):
    """Return the fingerprint of a run with these options and keywords."""
    return fingerprint_of(pipe, pipe._bmp_plan([], options_and_kwargs).control, given)


def changes(before, after):
    return differences(before.parts, after.parts)


class Plain(BigMultiPipe):
    def data_process(self, data, **kwargs):
        return data


def test_parts_have_names_that_say_what_they_are():
    assert set(fingerprint(pipe_of()).parts) == {
        "keyword 'flat'",
        "keyword 'gain'",
        "option outdir",
        "option outname_append",
        "function post_process_list[0] mean",
        "function post_process_list[1] reject",
        "attribute 'threshold'",
        "hook data_process",
        "hook data_process of Base",
        "hook file_read",
        "hook file_write",
        "method __init__",
        "attribute doubled",
        "constant mode",
    }


def test_pipeline_without_anything_has_only_options():
    parts = fingerprint(BigMultiPipe()).parts
    assert set(parts) == {"option outdir", "option outname_append"}


def test_fingerprint_is_the_same_in_processes_with_other_hashes(tmp_path):
    script = tmp_path / "script.py"
    ending = """
from bigpipe.fingerprint import fingerprint_of
pipe = make()
result = fingerprint_of(pipe, pipe._bmp_plan([], {}).control)
print(result.text, result.parts, result.unstable)
"""
    script.write_text(SCRIPT + ending)
    found = [
        run_python(script, env={"PYTHONHASHSEED": seed}, is_to_succeed=True).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert found[0].startswith(fingerprint(pipe_of()).text), "in a module, not in __main__"


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda source: "# comment\n\n\n" + source,
        lambda source: source.replace('"""Help."""', '"""Help in another way."""'),
        lambda source: source.replace(
            "    return data * SCALE", "    # why\n    return data * SCALE"
        ),
        lambda source: source.replace("stretched(data):", "stretched(data: object) -> object:"),
        lambda source: ast.unparse(ast.parse(source)),
        lambda source: source + "\n\ndef unused():\n    return 3\n\nUNUSED = 3\n",
    ],
    ids=["lines", "docstring", "comment", "annotations", "formatting", "unused"],
)
def test_what_changes_nothing_does_not_count(rewrite):
    source = rewrite(SCRIPT)
    assert source != SCRIPT
    assert fingerprint(pipe_of(source)) == fingerprint(pipe_of())


MEAN = "function post_process_list[0] mean"
REJECT = "function post_process_list[1] reject"
IN_BASE = "        return {}data\n\n\nclass"
CODE_CHANGES = {
    "constant of the module": ("2.5", "2.6", {"data_process", MEAN}),
    "set of the module": ('"c"}', '"d"}', {"data_process"}),
    "function of the module": ("data * SCALE", "data / SCALE", {"data_process", MEAN}),
    "hook": ("np.load(in_name) / flat", "np.load(in_name) * flat", {"file_read"}),
    "default": ("flat=None", "flat=1", {"file_read"}),
    "listed function": ('["mean"]', '["Mean"]', {MEAN}),
    "function of a partial": ("max() < limit", "min() < limit", {REJECT}),
    "argument of a partial": ("limit=5", "limit=6", {REJECT}),
    "base class": (IN_BASE.format(""), IN_BASE.format("-"), {"data_process of Base"}),
    "class attribute": ('"fast"', '"slow"', {"constant mode"}),
    "property": ("2 * self", "3 * self", {"attribute doubled"}),
    "constructor": ("= threshold\n", "= 1 * threshold\n", {"method __init__"}),
    "constructor's argument": ("Pipe(post", "Pipe(4, post", {"attribute 'threshold'"}),
}


@pytest.mark.parametrize(("old", "new", "changed"), CODE_CHANGES.values(), ids=CODE_CHANGES.keys())
def test_code_that_changes_is_named(old, new, changed):
    assert SCRIPT.count(old) == 1
    before, after = fingerprint(pipe_of()), fingerprint(pipe_of(SCRIPT.replace(old, new)))
    assert before.text != after.text
    assert set(changes(before, after)) == {f"{name} changed" for name in changed}


def test_keywords_and_options_that_change_are_named():
    before = fingerprint(pipe_of())
    flat = np.arange(12.0).reshape(3, 4)
    flat[2, 3] += 1e-9
    after = fingerprint(pipe_of(), flat=flat, dark=1, outname="x.npy", outname_append="_red")
    assert set(changes(before, after)) == {
        "keyword 'flat' changed",
        "keyword 'dark' is new",
        "option outname is new",
        "option outname_append changed",
    }
    assert "keyword 'dark' is gone" in changes(after, before)


def test_functions_count_in_their_order():
    def first(data, **kwargs):
        return data

    def second(data, **kwargs):
        return -data

    one = fingerprint(Plain(pre_process_list=[first, second]))
    assert fingerprint(Plain(pre_process_list=[first]), pre_process_list=second) == one
    other = fingerprint(Plain(pre_process_list=[second, first]))
    assert one.text != other.text


def test_options_of_how_and_where_to_run_do_not_count():
    one = fingerprint(Plain(1, 2**33, 0.5, 2**20, create_outdir=True, progress=False))
    other = fingerprint(Plain(), num_processes=2, executor="threads", file_timeout=3)
    assert one == other == fingerprint(Plain())


def test_function_that_says_what_memory_a_file_takes_does_not_count():
    class Sized(Plain):
        def projected_size(self, in_name, **kwargs):
            return 10**9

    assert fingerprint(Sized()).text == fingerprint(Plain()).text


def test_relative_outdir_counts_with_the_folder_it_is_relative_to(tmp_path, monkeypatch):
    found = []
    for name in ("a", "b"):
        os.mkdir(tmp_path / name)
        monkeypatch.chdir(tmp_path / name)
        found += [fingerprint(Plain()), fingerprint(Plain(outdir="out"))]
    assert changes(found[0], found[2]) == changes(found[1], found[3]) == ["option outdir changed"]


def test_what_leads_back_to_the_pipeline_does_not_matter():
    def make(n, threshold=3):
        pipe = pipe_of(num_processes=n, threshold=threshold)
        pipe.kwargs["pipe"] = pipe.me = pipe
        pipe.inner = BigMultiPipe(pipe, n)
        pipe.post_process_list.append(pipe.file_read)
        return fingerprint(pipe)

    assert make(1) == make(2)
    assert make(1).unstable == ()
    assert changes(make(1), make(1, threshold=4)) == ["attribute 'threshold' changed"]


def test_keyword_of_another_pipeline_counts_by_what_that_does():
    def make(n, gain):
        return fingerprint(Plain(), inner=pipe_of(num_processes=n, gain=gain))

    assert make(1, 2) == make(2, 2)
    assert changes(make(1, 2), make(1, 3)) == ["keyword 'inner' changed"]


def test_attribute_in_a_slot_counts_as_one_in_the_dict_does():
    class Slotted(Plain):
        __slots__ = ("gain", "not_given")

    def make(gain):
        pipe = Slotted()
        pipe.gain = gain
        return fingerprint(pipe)

    assert make(2) == make(2)
    assert changes(make(2), make(3)) == ["attribute 'gain' changed"]


def test_value_that_a_property_keeps_does_not_count():
    class Lazy(Plain):
        @functools.cached_property
        def table(self):
            return [1, 2]

    pipe = Lazy()
    before = fingerprint(pipe)
    assert pipe.table
    assert fingerprint(pipe) == before


def test_what_has_no_stable_content_is_named():
    pipe = pipe_of(lookup={"db": threading.Lock()}, threshold=threading.Lock())
    found = fingerprint(pipe)
    assert [name for name, _ in found.unstable] == [
        "keyword 'lookup'['db']",
        "attribute 'threshold'",
    ]
    assert all("_thread.lock" in reason for _, reason in found.unstable)


def test_given_text_stands_for_everything():
    one = fingerprint(Plain(), given="v1", flat=1)
    assert one.parts.keys() == {"fingerprint"}
    assert one == fingerprint(pipe_of(), given="v1")
    assert changes(one, fingerprint(Plain(), given="v2")) == ["fingerprint changed"]


def test_given_text_stands_for_one_keyword_or_attribute():
    def make(lookup, threshold):
        pipe = pipe_of(lookup=threading.Lock(), threshold=threading.RLock())
        return fingerprint(pipe, given={"lookup": lookup, "threshold": threshold})

    one = make("v1", "v1")
    assert one.unstable == ()
    assert one == make("v1", "v1")
    assert changes(one, make("v2", "v1")) == ["keyword 'lookup' changed"]
    assert changes(one, make("v1", "v2")) == ["attribute 'threshold' changed"]


def test_version_of_python_is_beside_the_fingerprint():
    assert fingerprint(Plain()).python == ".".join(map(str, sys.version_info[:2]))


def test_text_differs_with_the_parts():
    one, two = fingerprint(pipe_of()), fingerprint(pipe_of(), gain=2)
    assert (one.text == two.text) is (one.parts == two.parts) is False


def test_what_pickling_notes_in_a_class_does_not_count():
    class Noted(BigMultiPipe):
        pass

    before = fingerprint_of(Noted(), {})
    copyreg._slotnames(Noted)
    assert "__slotnames__" in vars(Noted)
    assert fingerprint_of(Noted(), {}) == before


def test_functions_in_the_body_of_a_class_count_as_if_they_were_given():
    def double(data, **kwargs):
        return 2 * data

    def halve(data, **kwargs):
        return data / 2

    def made(functions, **given):
        body = {"pre_process_list": functions, "__module__": __name__}
        return fingerprint_of(type("Made", (BigMultiPipe,), body)(**given), {})

    assert made([double]).parts == made([halve], pre_process_list=double).parts
    assert made([double]).text != made([halve]).text
