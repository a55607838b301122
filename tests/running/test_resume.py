"""Which files of a journal still count, and which must be run again: the less obvious cases."""

from __future__ import annotations

import os
import platform
import sqlite3
import threading
from pathlib import Path

import pytest

from bigpipe import BigMultiPipe, BigpipeWarning, Journal, NoDaemonPool, Outcome, no_outfile
from tests.pipes import Doubler, fail, note_size


class Tripler(Doubler):
    def data_process(self, data, **kwargs):
        return data * 3


class Numbers(BigMultiPipe):
    """Inputs that are not files."""

    def file_read(self, in_name, **kwargs):
        return str(in_name).encode()

    def outname_create(self, in_name, outdir=None, **kwargs):
        return os.path.join(outdir, str(in_name))

    def file_write(self, data, outname, **kwargs):
        Path(outname).write_bytes(data)
        return outname


class Own(BigMultiPipe):
    """Returns what it is given, for any input."""

    def file_process(self, in_name, outcome=None, **kwargs):
        return outcome


class Joined(Doubler):
    """Inputs that are files, or groups of files and other names."""

    def file_read(self, in_name, **kwargs):
        if isinstance(in_name, str):
            return super().file_read(in_name, **kwargs)
        names = [name for name in in_name if name.endswith(".bin")]
        return b"".join(Path(name).read_bytes() for name in names)

    def outname_create(self, in_name, **kwargs):
        first = in_name if isinstance(in_name, str) else in_name[0]
        return super().outname_create(first, **kwargs)


@pytest.fixture
def pipe(tmp_path):
    """Return a function that makes a pipeline of a class; all have one journal."""
    (tmp_path / "out").mkdir()

    def make(cls=Doubler, **options):
        options = {"executor": "serial", "on_error": "return", **options}
        return cls(outdir=tmp_path / "out", journal=tmp_path / "night1.bigpipe", **options)

    return make


def n_run(pout):
    return sum(not result.from_journal for result in pout.results)


def reasons_of(pipe, names, **options):
    """Return why the plan of a run would run each file again."""
    return [file.reasons for file in pipe.plan(names, **options).files]


def alter(tmp_path, statement, *values):
    """Change the journal as no run does."""
    with sqlite3.connect(tmp_path / "night1.bigpipe") as database:
        database.execute(statement, values)
    database.close()


def touch(path):
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_pipelines_with_one_journal_do_not_run_each_other_again(make_files, pipe):
    names = make_files(2)
    first, second = pipe(outname_append="_a"), pipe(Tripler, outname_append="_b")
    ran = [n_run(each.pipeline(names)) for _ in range(2) for each in (first, second)]
    assert ran == [2, 2, 0, 0]


def test_keywords_in_turn_do_not_run_each_other_again(make_files, pipe):
    names = make_files(2)
    bands = ("g", "r", "g", "r")
    ran = [n_run(pipe().pipeline(names, band=x, outname_append=x)) for x in bands]
    assert ran == [2, 2, 0, 0]


def test_pipeline_does_not_take_what_another_one_has_done(make_files, pipe):
    names = make_files(2)
    pipe().pipeline(names, fingerprint="1")
    pout = pipe(Tripler, outname_append="_b").pipeline(names, fingerprint="1")
    assert n_run(pout) == 2
    assert Path(pout[0][0]).read_bytes() == b"000.bin\n" * 3


def test_earlier_result_does_not_hold_once_its_output_was_overwritten(make_files, pipe):
    names = make_files(2)
    assert [n_run(pipe().pipeline(names, band=x)) for x in "grg"] == [2, 2, 2]


def test_earlier_result_does_not_hold_if_its_output_cannot_be_looked_at(make_files, pipe):
    class Table(Doubler):
        def file_write(self, data, outname, **kwargs):
            return "a row of a database"

    names = make_files(2)
    assert [n_run(pipe(Table).pipeline(names, band=x)) for x in "gggrg"] == [2, 0, 0, 2, 2]


def test_earlier_metadata_hold_again(make_files, pipe):
    names = make_files(2)
    lists = {"post_process_list": [note_size, no_outfile]}
    pouts = [pipe().pipeline(names, band=x, **lists) for x in "grg"]
    assert [n_run(pout) for pout in pouts] == [2, 2, 0]
    assert pouts[2] == pouts[0]


def test_failure_does_not_hold_once_the_file_was_written(make_files, pipe):
    (name,) = make_files(1)
    pipe().pipeline([name], trouble={"data_process": fail}, fingerprint="1")
    pout = pipe().pipeline([name], fingerprint="1")
    assert n_run(pipe().pipeline([name], fingerprint="1", retry_failed=False)) == 0
    os.unlink(pout[0][0])
    again = pipe().pipeline([name], fingerprint="1", retry_failed=False)
    assert (n_run(again), again.results[0].outcome) == (1, Outcome.WRITTEN)


def test_attempt_before_a_retry_that_never_came_is_no_result(make_files, pipe):
    def disturbed(where):
        raise OSError("no route to host")

    names = make_files(2)
    options = {"fingerprint": "1", "retry_failed": False}
    trouble = {("file_read", "000.bin"): disturbed}
    results = pipe().iter_pipeline(names, max_retries=1, retry_pause=60, trouble=trouble, **options)
    assert next(results).in_name == names[1]
    results.close()
    wanted = ["its last attempt failed, and the run ended before the next one"]
    assert reasons_of(pipe(), names, **options) == [wanted, []]
    pout = pipe().pipeline(names, **options)
    assert [result.from_journal for result in pout.results] == [False, True]
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN] * 2


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("failed", "it failed"), ("killed", "it was killed"), ("timed out", "it was timed out")],
)
def test_file_without_a_result_is_run_again_unless_that_is_not_wanted(
    make_files, pipe, tmp_path, outcome, reason
):
    names = make_files(1)
    pipe().pipeline(names, trouble={"data_process": fail}, fingerprint="1")
    alter(tmp_path, "UPDATE files SET outcome = ?", outcome)
    assert reasons_of(pipe(), names, fingerprint="1") == [[reason]]
    kept = pipe().pipeline(names, fingerprint="1", retry_failed=False)
    assert (n_run(kept), kept.results[0].outcome, len(kept.errors)) == (0, outcome, 1)


def test_row_that_cannot_be_read_is_said_and_its_file_run_again(make_files, pipe, tmp_path):
    names = make_files(2)
    pipe().pipeline(names)
    alter(tmp_path, "UPDATE files SET meta = '{' WHERE place = 0")
    (reason,), of_other = reasons_of(pipe(), names)
    assert reason.startswith("its entry in the journal cannot be read (")
    assert of_other == []
    assert [n_run(pipe().pipeline(names)) for _ in range(2)] == [1, 0]


def test_input_that_is_gone_is_said_and_fails(make_files, pipe):
    names = make_files(3)
    groups = [names[0], names[1:]]
    pipe(Joined).pipeline(groups)
    assert reasons_of(pipe(Joined), groups) == [[], []]
    os.unlink(names[0])
    os.unlink(names[2])
    assert reasons_of(pipe(Joined), groups) == [["the input is gone"]] * 2
    pout = pipe(Joined).pipeline(groups)
    assert [result.outcome for result in pout.results] == [Outcome.FAILED] * 2


@pytest.mark.parametrize("was_changed", [False, True], ids=["same", "changed"])
def test_other_python_is_said_where_the_code_differs(make_files, pipe, tmp_path, was_changed):
    names = make_files(1)
    pipe().pipeline(names)
    alter(tmp_path, """UPDATE runs SET versions = '{"python": "3.8.1"}'""")
    now = ".".join(platform.python_version_tuple()[:2])
    wanted = ["keyword 'band' is new", f"Python was 3.8 and is {now} (compiled code is compared)"]
    given = {"band": "g"} if was_changed else {}
    assert reasons_of(pipe(), names, **given) == [wanted if was_changed else []]


def test_other_release_of_the_same_python_is_no_reason(make_files, pipe, tmp_path):
    names = make_files(1)
    pipe().pipeline(names)
    release = ".".join((*platform.python_version_tuple()[:2], "99"))
    alter(tmp_path, "UPDATE runs SET versions = json_object('python', ?)", release)
    assert reasons_of(pipe(), names, band="g") == [["keyword 'band' is new"]]


def test_class_of_a_script_is_the_same_once_it_is_imported(make_files, pipe, monkeypatch):
    names = make_files(2)
    with monkeypatch.context() as patched:
        patched.setattr(Doubler, "__module__", "__main__")
        pipe().pipeline(names, fingerprint="1")
    assert n_run(pipe().pipeline(names, fingerprint="1")) == 0


def test_plan_of_another_pipeline_has_nothing_to_run_again(make_files, pipe):
    names = make_files(2)
    pipe().pipeline(names)
    preview = pipe(Tripler, outname_append="_b").plan(names)
    assert [(file.step, file.reasons) for file in preview.files] == [("run", [])] * 2


def test_input_given_twice_is_not_done_twice_for_ever(make_files, pipe):
    (name,) = make_files(1)
    outcomes = [Outcome.WRITTEN, Outcome.FAILED]
    for _ in range(3):
        pout = pipe().pipeline([name, name])
        assert [result.outcome for result in pout.results] == outcomes
    assert [result.from_journal for result in pout.results] == [True, False]


def test_kept_output_that_a_file_before_it_has_claimed_is_a_collision(make_files, pipe, tmp_path):
    (name,), (other,) = make_files(1), make_files(1, folder="others")
    has_begun, may_end = threading.Event(), threading.Event()

    class Held(BigMultiPipe):  # with usual names, that are granted when a file is handed out
        def file_read(self, in_name, **kwargs):
            if in_name == "filler":
                return None
            if in_name == other:
                has_begun.set()
                assert may_end.wait(60)
            return super().file_read(in_name, **kwargs)

        def file_write(self, data, outname, **kwargs):
            Path(outname).write_bytes(data)
            return outname

    def in_names():
        yield other
        while not has_begun.is_set():
            yield "filler"
        yield name
        may_end.set()

    held = pipe(Held, executor="threads", num_processes=2, fingerprint="1")
    held.pipeline([name])
    pout = held.pipeline(in_names())
    assert (pout.results[0].outcome, pout.results[-1].outcome) == ("written", "failed")
    assert "would both be written" in str(pout.errors[0])
    with Journal(tmp_path / "night1.bigpipe") as journal:
        assert len(list(journal.results())) == len(pout)


def test_inputs_that_are_no_files_have_no_content_to_compare(pipe):
    pipes = pipe(Numbers, compare_inputs="checksum")
    first = pipes.pipeline([1, 2])
    second = pipes.pipeline([1, 2])
    assert (n_run(first), n_run(second)) == (2, 0)
    assert second == first


def test_names_with_something_behind_have_no_content_to_compare(make_files, pipe):
    class Extension(Doubler):
        def file_read(self, in_name, **kwargs):
            return super().file_read(in_name.removesuffix("[1]"), **kwargs)

    names = [f"{name}[1]" for name in make_files(2)]
    ran = [n_run(pipe(Extension, compare_inputs="checksum").pipeline(names)) for _ in range(2)]
    assert ran == [2, 0]


def test_checksum_that_was_not_noted_is_said_in_the_plan(make_files, pipe):
    names = make_files(2)
    pipe().pipeline(names)
    by_content = pipe(compare_inputs="checksum")
    assert reasons_of(by_content, names) == [["its checksum was not recorded"]] * 2
    assert [n_run(by_content.pipeline(names)) for _ in range(2)] == [2, 0]
    touch(names[0])
    assert n_run(by_content.pipeline(names)) == 0
    assert n_run(pipe().pipeline(names)) == 1


def test_checksum_that_was_not_noted_of_one_member_is_said_in_the_plan(make_files, pipe):
    groups = [[*make_files(1), "and no file"]]
    pipe(Joined).pipeline(groups)
    by_content = pipe(Joined, compare_inputs="checksum")
    assert reasons_of(by_content, groups) == [["its checksum was not recorded"]]
    assert [n_run(by_content.pipeline(groups)) for _ in range(2)] == [1, 0]


def test_output_that_files_have_written_together_has_only_to_be_there(make_files, pipe, tmp_path):
    table = tmp_path / "out" / "all.txt"

    class Appending(Doubler):
        def file_write(self, data, outname, **kwargs):
            with open(table, "ab") as file:
                file.write(data)
            return table

    names = make_files(3)
    first = pipe(Appending).pipeline(names)
    second = pipe(Appending).pipeline(names)
    assert (n_run(first), n_run(second)) == (3, 0)
    assert second == first
    table.unlink()
    assert n_run(pipe(Appending).pipeline(names)) == 3


def test_output_that_another_run_has_overwritten_is_not_shared(make_files, pipe):
    (name,), (other,) = make_files(1), make_files(1, folder="others")
    assert [n_run(pipe().pipeline([each])) for each in (name, other, name, name)] == [1, 1, 1, 0]


def test_side_file_that_files_have_written_in_turn_has_only_to_be_there(make_files, pipe, tmp_path):
    class Notes(Doubler):
        def file_write(self, data, outname, **kwargs):
            Path(outname).with_name("notes.txt").write_bytes(data)

    names = make_files(3)
    is_shared = pytest.warns(BigpipeWarning, match="in place of the file that it wrote there")
    with is_shared:
        assert n_run(pipe(Notes).pipeline(names)) == 3
    assert n_run(pipe(Notes).pipeline(names)) == 0
    (tmp_path / "out" / "notes.txt").unlink()
    with is_shared:
        assert n_run(pipe(Notes).pipeline(names)) > 0


def test_files_that_are_done_show_that_not_all_fail_alike(make_files, pipe):
    class Picky(Doubler):
        def file_read(self, in_name, **kwargs):
            if in_name.endswith("000.bin"):
                return super().file_read(in_name, **kwargs)
            raise ValueError("no good")

    names = make_files(30)
    for _ in range(2):
        pout = pipe(Picky).pipeline(names)
        assert len(pout.errors) == 29


@pytest.mark.parametrize("as_iterator", [False, True], ids=["list", "iterator"])
def test_journal_is_no_input(make_files, pipe, tmp_path, as_iterator):
    names = [*make_files(2), str(tmp_path / "night1.bigpipe")]
    for _ in range(2):
        assert "is the journal" in pipe().plan(names).files[2].problems[-1]
        pout = pipe().pipeline(iter(names) if as_iterator else names)
        assert [result.outcome for result in pout.results] == ["written", "written", "failed"]
        assert "is the journal of the run: take it out of in_names" in str(pout.errors[0])
    assert n_run(pout) == 1


@pytest.mark.parametrize("as_iterator", [False, True], ids=["list", "iterator"])
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_output_does_not_overwrite_the_journal(make_files, pipe, tmp_path, as_iterator, executor):
    names = make_files(2)
    journal = tmp_path / "out" / "000_bmp.bin"
    options = {"journal": journal, "executor": executor, "num_processes": 2}
    for _ in range(2):
        pout = pipe().pipeline(iter(names) if as_iterator else names, **options)
        assert [result.outcome for result in pout.results] == ["failed", "written"]
        assert "would overwrite the input" in str(pout.errors[0])
    with Journal(journal) as opened:
        assert len(opened.runs) == 2


@pytest.fixture(params=["serial", "processes", "pool"])
def executor(request):
    """Options for a run with two workers, or with one."""
    if request.param == "pool":
        return {"PoolClass": NoDaemonPool, "executor": None, "num_processes": 2}
    return {"executor": request.param, "num_processes": 2}


def test_kept_output_is_not_overwritten(make_files, pipe, executor):
    (name,), (other,) = make_files(1), make_files(1, folder="others")
    pipe().pipeline([name])
    pout = pipe(**executor).pipeline([name, other])
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN, Outcome.FAILED]
    assert f"{other!r} and {name!r} would both be written" in str(pout.errors[0])


@pytest.mark.parametrize("as_iterator", [False, True], ids=["list", "iterator"])
def test_input_of_a_kept_file_is_not_overwritten(make_files, pipe, executor, as_iterator):
    class Onto(Doubler):
        def outname_create(self, in_name, target=None, **kwargs):
            return str(in_name).replace("001.bin", target)

    name, other = make_files(2)
    no_output = {"post_process_list": no_outfile}
    pipe(Onto, **no_output).pipeline([name], fingerprint="1")
    pipes = pipe(Onto, **executor)
    in_names = iter([name, other]) if as_iterator else [name, other]
    pout = pipes.pipeline(in_names, target="000.bin", fingerprint="1")
    assert [result.outcome for result in pout.results] == [Outcome.REJECTED, Outcome.FAILED]
    assert f"would overwrite the input {name!r}" in str(pout.errors[0])


def test_name_that_leads_elsewhere_from_another_folder_is_run_again(
    make_files, pipe, tmp_path, monkeypatch
):
    class Here(Doubler):
        def outname_create(self, in_name, **kwargs):
            return f"{os.path.basename(in_name)}.twice"

    names = make_files(2)
    ran = []
    for folder in ("in", "in", "out", "out"):
        monkeypatch.chdir(tmp_path / folder)
        pout = pipe(Here).pipeline(names)
        assert all(os.path.exists(outname) for outname, _ in pout)
        ran.append(n_run(pout))
    assert ran == [2, 0, 2, 0]


@pytest.mark.parametrize("name", ["000.twice", b"000.twice", Path("000.twice")], ids=repr)
def test_any_kind_of_name_leads_elsewhere_from_another_folder(
    make_files, pipe, tmp_path, monkeypatch, name
):
    names = make_files(1)
    ran = []
    for folder in ("in", "in", "out", "out"):
        monkeypatch.chdir(tmp_path / folder)
        ran.append(n_run(pipe(Own).pipeline(names, outcome=(name, {}))))
    assert ran == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "outcome", [(7, {}), (None, {"n": 1}), (None, {})], ids=["no name", "metadata", "rejected"]
)
def test_what_has_no_name_is_kept_from_another_folder(
    make_files, pipe, tmp_path, monkeypatch, outcome
):
    names = make_files(1)
    monkeypatch.chdir(tmp_path / "in")
    assert pipe(Own).pipeline(names, outcome=outcome) == [outcome]
    monkeypatch.chdir(tmp_path / "out")
    (file,) = pipe(Own).plan(names, outcome=outcome).files
    assert (file.step, file.reasons, file.outname) == ("keep", [], None)
    again = pipe(Own).pipeline(names, outcome=outcome)
    assert (n_run(again), list(again)) == (0, [outcome])
