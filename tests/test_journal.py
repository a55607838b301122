"""A run with a journal: what is done is not done again, and everything can be looked up."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bigpipe
from bigpipe import BigpipeWarning, Journal, JournalError, Outcome, PipelineError
from bigpipe.journal_store.lock import JournalLock
from tests.pipes import Doubler, fail, note_size
from tests.places import not_spawned
from tests.programs import run_python

ROOT = Path(bigpipe.__file__).parents[1]


class Logging(Doubler):
    """Note each file that is read, as a line of a file."""

    factor = 2

    def file_read(self, in_name, log=None, **kwargs):
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, os.path.basename(in_name).encode() + b"\n")
        os.close(fd)
        return super().file_read(in_name, **kwargs)


@pytest.fixture
def night(tmp_path, outdir):
    """A pipeline with a journal, whose reads can be asked for."""
    log = tmp_path / "log"

    class Night(Logging):
        journal_path = str(tmp_path / "night1.bigpipe")

        def taken(self):
            """Return the files that were read since the last call."""
            lines = log.read_text().split() if log.exists() else []
            log.unlink(missing_ok=True)
            return sorted(lines)

    return Night(
        outdir=outdir,
        post_process_list=note_size,
        journal=Night.journal_path,
        log=str(log),
        num_processes=2,
        executor="threads",
    )


def test_second_run_runs_nothing_and_returns_the_same(make_files, night, anywhere):
    names = make_files(5)
    first = night.pipeline(names, **anywhere)
    assert len(night.taken()) == 5
    second = night.pipeline(names, **anywhere)
    assert night.taken() == []
    assert second == first
    assert [result.from_journal for result in second.results] == [True] * 5
    for before, now in zip(first.results, second.results, strict=True):
        assert now.seconds == pytest.approx(before.seconds, abs=1e-6)
        assert (now.attempts, now.worker) == (before.attempts, before.worker)


def test_files_that_were_added_are_run_and_results_stay_in_order(make_files, night):
    names = make_files(5)
    night.pipeline(names[1:4])
    night.taken()
    pout = night.pipeline(names)
    assert night.taken() == ["000.bin", "004.bin"]
    assert pout.in_names == names
    assert [meta["size"] for _, meta in pout] == [16] * 5


def test_rejected_and_metadata_only_files_are_not_run_again(make_files, night):
    names = make_files(2)

    def pre(data, **kwargs):
        return None if data.startswith(b"000") else data

    options = {"pre_process_list": pre, "post_process_list": bigpipe.no_outfile}
    first = night.pipeline(names, **options)
    assert first == [(None, {}), (None, {"size": 16})]
    night.taken()
    assert night.pipeline(names, **options) == first
    assert night.taken() == []


def test_failed_file_is_run_again_unless_told_not_to(make_files, night):
    names = make_files(3)
    with pytest.raises(PipelineError):
        night.pipeline(names, trouble={("file_write", "001.bin"): fail}, fingerprint="1")
    night.taken()
    with pytest.raises(PipelineError) as caught:
        night.pipeline(names, fingerprint="1", retry_failed=False)
    assert night.taken() == []
    (error,) = caught.value.exceptions
    assert error.in_name == names[1]
    assert "001.bin is no good" in str(error)
    assert error.kind == ("file_write", "ValueError")
    night.pipeline(names, fingerprint="1")
    assert night.taken() == ["001.bin"]


def rewrite(path):
    Path(path).write_bytes(b"something of another length")


def touch(path):
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [rewrite, touch, os.unlink], ids=["size", "time", "gone"])
def test_file_is_run_again_if_its_output_changed(make_files, night, change):
    names = make_files(3)
    pout = night.pipeline(names)
    night.taken()
    change(pout[1][0])
    assert night.pipeline(names) == pout
    assert night.taken() == ["001.bin"]
    assert night.pipeline(names) == pout
    assert night.taken() == []


@pytest.mark.parametrize("change", [rewrite, touch], ids=["size", "time"])
def test_file_is_run_again_if_its_input_changed(make_files, night, change):
    names = make_files(3)
    night.pipeline(names)
    night.taken()
    change(names[2])
    night.pipeline(names)
    assert night.taken() == ["002.bin"]


@not_spawned
def test_checksum_tells_what_time_does_not(make_files, night, anywhere):
    names = make_files(3)
    first = night.pipeline(names, compare_inputs="checksum", **anywhere)
    night.taken()
    touch(names[0])
    status = os.stat(names[1])
    content = Path(names[1]).read_bytes()
    Path(names[1]).write_bytes(content[:-1] + b"!")
    os.utime(names[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    second = night.pipeline(names, compare_inputs="checksum", **anywhere)
    assert night.taken() == ["001.bin"]
    assert second == first
    assert [result.from_journal for result in second.results] == [True, False, True]


def test_changed_keyword_runs_all_again_and_back(make_files, night):
    names = make_files(2)
    night.pipeline(names, flat=np.ones(3))
    night.taken()
    night.pipeline(names, flat=np.ones(3))
    assert night.taken() == []
    night.pipeline(names, flat=np.zeros(3))
    assert night.taken() == ["000.bin", "001.bin"]
    night.pipeline(names, flat=np.ones(3))
    assert night.taken() == ["000.bin", "001.bin"]


@pytest.mark.parametrize(
    "option", [{"num_processes": 1}, {"mem_frac": 0.5}, {"progress": False}], ids=repr
)
def test_option_that_reaches_no_hook_runs_nothing_again(make_files, night, option):
    names = make_files(2)
    night.pipeline(names)
    night.taken()
    night.pipeline(names, **option)
    assert night.taken() == []


def test_changed_code_runs_all_again(make_files, night, monkeypatch):
    names = make_files(2)
    night.pipeline(names)
    night.taken()
    monkeypatch.setattr(Logging, "factor", 3)
    night.pipeline(names)
    assert night.taken() == ["000.bin", "001.bin"]


def test_side_file_that_is_gone_runs_its_file_again(make_files, tmp_path, night):
    class Preview(type(night)):
        def file_write(self, data, outname, **kwargs):
            Path(str(outname) + ".png").write_bytes(b"picture")
            return super().file_write(data, outname, **kwargs)

    pipe = Preview(outdir=night.outdir, journal=night.journal_path, log=night.kwargs["log"])
    names = make_files(2)
    pout = pipe.pipeline(names, num_processes=1)
    pipe.taken()
    os.unlink(pout[0][0] + ".png")
    pipe.pipeline(names, num_processes=1)
    assert pipe.taken() == ["000.bin"]


def test_kept_output_is_not_overwritten_by_another_input(make_files, night, tmp_path):
    (name,) = make_files(1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "000.bin").write_bytes(b"000.bin, another\n")
    night.pipeline([name])
    night.taken()
    pout = night.pipeline([name, str(other / "000.bin")], on_error="return")
    assert night.taken() == ["000.bin"]
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN, Outcome.FAILED]
    assert "would both be written" in str(pout.errors[0])


def test_relative_names_mean_the_same_files_from_another_folder(make_files, night, monkeypatch):
    names = make_files(2)
    night.pipeline(names)
    night.taken()
    monkeypatch.chdir(os.path.dirname(names[0]))
    pout = night.pipeline([os.path.basename(name) for name in names])
    assert night.taken() == []
    assert pout.in_names == ["000.bin", "001.bin"]


def test_group_is_kept_and_run_again_if_a_member_changed(make_files, night):
    class Grouped(type(night)):
        def file_read(self, in_name, **kwargs):
            if isinstance(in_name, list):
                return b"".join(self.file_read(member, **kwargs) for member in in_name)
            return super().file_read(in_name, **kwargs)

    names = make_files(4)
    groups = [names[:2], names[2:]]
    pipe = Grouped(outdir=night.outdir, journal=night.journal_path, log=night.kwargs["log"])

    def name_it(data, bmp_meta=None, **kwargs):
        bmp_meta["outname"] = data[:3].decode()
        return data

    options = {"post_process_list": name_it, "num_processes": 1}
    first = pipe.pipeline(groups, **options)
    pipe.taken()
    assert pipe.pipeline(groups, **options) == first
    assert pipe.taken() == []
    touch(names[3])
    pipe.pipeline(groups, **options)
    assert pipe.taken() == ["002.bin", "003.bin"]


def test_meta_without_safe_form_is_named_and_its_file_run_again(make_files, night):
    class Odd:
        pass

    def odd(data, bmp_meta=None, **kwargs):
        bmp_meta["model"] = Odd()
        return data

    names = make_files(2)
    with pytest.warns(BigpipeWarning, match="'model'") as caught:
        night.pipeline(names, post_process_list=odd, fingerprint="1")
    assert len(caught) == 1
    night.taken()
    with pytest.warns(BigpipeWarning, match="'model'"):
        night.pipeline(names, post_process_list=odd, fingerprint="1")
    assert night.taken() == ["000.bin", "001.bin"]


def test_unstable_keyword_is_named_and_does_not_start_over(make_files, night):
    names = make_files(2)
    with sqlite3.connect(":memory:", check_same_thread=False) as database:
        with pytest.warns(BigpipeWarning, match="'db'"):
            night.pipeline(names, db=database, executor="serial")
        night.taken()
        with pytest.warns(BigpipeWarning, match="'db'"):
            night.pipeline(names, db=database, executor="serial")
        assert night.taken() == []
        night.pipeline(names, db=database, executor="serial", fingerprint={"db": "v2"})
        assert night.taken() == ["000.bin", "001.bin"]
    database.close()


# A thread may be stopped between opening a file and the block that closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_iteration_resumes_where_it_was_left(make_files, night):
    names = make_files(6)
    results = night.iter_pipeline(names, num_processes=1)
    done = [result.in_name for result in itertools.islice(results, 2)]
    results.close()
    night.taken()
    pout = night.pipeline(names)
    assert set(night.taken()) >= {os.path.basename(name) for name in names if name not in done}
    kept = [result.in_name for result in pout.results if result.from_journal]
    assert set(kept) >= set(done)
    with Journal(night.journal_path) as journal:
        assert [run.state for run in journal.runs] == ["interrupted", "finished"]


def test_row_is_on_disk_when_the_caller_is_told(make_files, night):
    for n, _result in enumerate(night.iter_pipeline(make_files(3)), 1):
        with Journal(night.journal_path) as journal:
            assert sum(1 for _ in journal.attempts()) >= n
    assert n == 3


def test_second_run_on_a_journal_is_told_who_has_it(make_files, night):
    results = night.iter_pipeline(make_files(3))
    next(results)
    with pytest.raises(JournalError, match="in use by another run in this process"):
        night.pipeline(make_files(3))
    code = (
        "import sys; from bigpipe.journal_store.lock import JournalLock, holder_of\n"
        "print(holder_of(sys.argv[1])['pid'])\n"
        "try: JournalLock(sys.argv[1])\n"
        "except Exception as error: print(error)"
    )
    told = run_python("-c", code, night.journal_path, is_to_succeed=True).stdout
    assert told.startswith(f"{os.getpid()}\n")
    assert f"in use by another run, process {os.getpid()} on" in told
    results.close()
    night.pipeline(make_files(3))
    assert not os.path.exists(night.journal_path + "-lock")


@pytest.mark.parametrize("by_name", [False, True], ids=["locks hold", "network"])
def test_lock_of_a_dead_run_is_not_in_the_way(tmp_path, by_name):
    path = str(tmp_path / "j")
    code = (
        "import sys, os, signal; from bigpipe.journal_store.lock import JournalLock\n"
        f"lock = JournalLock(sys.argv[1], by_name={by_name}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False, cwd=ROOT, timeout=100)
    assert os.path.exists(path + "-lock")
    JournalLock(path, by_name=by_name).release()
    assert not os.path.exists(path + "-lock")


def test_lock_by_name_of_another_machine_stays_and_the_remedy_is_told(tmp_path):
    path = tmp_path / "j"
    owner = {"pid": 1, "host": "elsewhere", "began": "2026-01-01", "start": "1"}
    Path(f"{path}-lock").write_text(json.dumps(owner))
    with pytest.raises(JournalError, match=r"process 1 on elsewhere .* remove '.*j-lock'"):
        JournalLock(str(path), by_name=True)


def not_sqlite(path):
    path.write_bytes(b"not a database, but long enough to be read" * 100)


def other_sqlite(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()


def from_the_future(path):
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA application_id = {0x62706A31}")
        database.execute("PRAGMA user_version = 1000")
    database.close()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (not_sqlite, "not a journal, or is damaged"),
        (other_sqlite, "is not a journal of bigpipe"),
        (from_the_future, "newer bigpipe"),
        (Path.mkdir, "is a folder"),
    ],
    ids=["not sqlite", "other sqlite", "newer", "folder"],
)
def test_file_that_is_no_journal_is_refused_and_left_alone(make_files, night, tmp_path, make, told):
    path = tmp_path / "other"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(JournalError, match=told):
        night.pipeline(make_files(1), journal=path)
    assert night.taken() == []
    assert before is None or path.read_bytes() == before


def test_empty_file_becomes_a_journal(make_files, night, tmp_path):
    (tmp_path / "new").touch()
    night.pipeline(make_files(1), journal=tmp_path / "new")
    with Journal(tmp_path / "new") as journal:
        assert len(list(journal.results())) == 1


def test_missing_folder_of_a_journal_is_told_before_anything_is_run(make_files, night, tmp_path):
    with pytest.raises(JournalError, match="does not exist: make it"):
        night.pipeline(make_files(1), journal=tmp_path / "no" / "j")
    assert night.taken() == []


def test_journal_is_one_file_in_the_end(make_files, night, tmp_path):
    night.pipeline(make_files(2))
    assert [path.name for path in tmp_path.glob("night1*")] == ["night1.bigpipe"]


def test_journal_cut_at_any_byte_tells_of_a_prefix(make_files, night, tmp_path):
    results = night.iter_pipeline(make_files(8), num_processes=1)
    rows = [result.in_name for result in itertools.islice(results, 8)]
    log = Path(night.journal_path + "-wal").read_bytes()
    database = Path(night.journal_path).read_bytes()
    results.close()
    numbers = set()
    for end in {*range(0, len(log), len(log) // 40), len(log)}:
        path = tmp_path / f"cut{end}"
        path.write_bytes(database)
        Path(f"{path}-wal").write_bytes(log[:end])
        try:
            with Journal(path) as journal:
                told = [result.in_name for result in journal.results()]
        except JournalError:  # cut before the tables were made
            continue
        assert told == rows[: len(told)]
        numbers.add(len(told))
    assert len(numbers) > 3
    assert max(numbers) == 8


def test_results_and_errors_can_be_looked_up(make_files, night):
    names = make_files(4)
    trouble = {("file_write", "001.bin"): fail}
    with pytest.raises(PipelineError) as caught:
        night.pipeline(names, trouble=trouble)
    with Journal(night.journal_path) as journal:
        assert [result.in_name for result in journal.results("failed")] == [names[1]]
        assert [str(error) for error in journal.errors()] == [str(caught.value.exceptions[0])]
        assert "ValueError" in journal.errors()[0].traceback
        pout = caught.value.pout
        assert [entry for entry in journal.pout() if entry[0]] == [x for x in pout if x[0]]
        table = journal.to_table()
        assert list(table["outcome"]) == ["written", "failed", "written", "written"]
        assert list(table["outname"].mask) == [False, True, False, False]
        assert table["seconds"].unit == "s"
        assert list(table["size"]) == [os.path.getsize(name) for name in names]
        assert table["error"][1] == str(journal.errors()[0])
        assert "4 of 4 files ended: 3 written, 1 failed" in journal.status()
        assert journal.growths() == [] or journal.growths()[0][0] in names


def test_pout_of_the_last_run_has_what_was_kept(make_files, night):
    names = make_files(4)
    night.pipeline(names[:2])
    pout = night.pipeline(names)
    with Journal(night.journal_path) as journal:
        assert journal.pout() == pout
        assert journal.pout(run=1) == pout[:2]
        with pytest.raises(JournalError, match="has no run 7"):
            journal.pout(run=7)


def test_output_is_traced_to_what_made_it(make_files, night):
    names = make_files(2)
    pout = night.pipeline(names, flat="f.fits")
    with Journal(night.journal_path) as journal:
        origin = journal.trace(pout[0][0])
        assert origin.is_as_written
        assert [(name, same) for name, _, _, same in origin.inputs] == [(names[0], True)]
        assert origin.run.keywords["flat"] == "'f.fits'"
        assert origin.run.versions["bigpipe"] == bigpipe.__version__
        rewrite(pout[0][0])
        touch(names[0])
        origin = journal.trace(pout[0][0])
        assert not origin.is_as_written
        assert not origin.inputs[0][3]
        with pytest.raises(JournalError, match="has no record of"):
            journal.trace("elsewhere")


def test_time_to_go_is_told_by_what_was_run(make_files, night, monkeypatch):
    names = make_files(6)
    night.pipeline(names[:3])
    results = night.iter_pipeline(names, num_processes=1, executor="serial", ordered=True)
    list(itertools.islice(results, 4))
    with Journal(night.journal_path) as journal:
        began = journal.runs[-1].began.timestamp()
        n_ended = len(list(journal.results()))
        n_run = n_ended - 3
        monkeypatch.setattr("bigpipe.journal.time.time", lambda: began + 100.0 * n_run)
        assert f"about {100 * (6 - n_ended)} s to go" in journal.status()
    results.close()
