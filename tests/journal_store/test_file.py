"""A journal on disk: what happens when it cannot be written, and on a network."""

from __future__ import annotations

import contextlib
import sqlite3
import time

import pytest

from bigpipe import BigpipeWarning, Journal, JournalError
from bigpipe.journal_store import file as journal_file
from bigpipe.journal_store.file import JournalFile
from bigpipe.journal_store.lock import JournalLock
from bigpipe.journal_store.reader import JournalReader
from bigpipe.journal_store.rows import SAMPLE_COLUMNS, RunRow, file_row, file_texts, written_row
from bigpipe.records import FileResult, Outcome
from tests.pipes import Doubler

RUN = RunRow(time.time(), None, None, "here", 1, "/", "tests.Pipe", 3, "f", "{}", "{}", "{}")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "night1.bigpipe")


@pytest.fixture
def file(path):
    """A journal that waits for nobody, with a run begun."""
    file = JournalFile(path)
    file.database.execute("PRAGMA busy_timeout = 0")
    file.begin(RUN)
    yield file
    file.close("finished")


def row(place, run=1):
    name = f"/raw/{place}.fits"
    result = FileResult(place, name, None, {"n": place}, Outcome.METADATA_ONLY)
    return file_row(run, name, result, file_texts([(1, 1)], {}), time.time(), is_final=True)


def places(path):
    with Journal(path) as journal:
        return [result.index for result in journal.results()]


@pytest.fixture
def blocked(path, file):
    """Another program writes to the journal, and does not come to an end."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def test_rows_that_cannot_be_written_are_written_later(path, file, blocked, monkeypatch):
    monkeypatch.setattr(journal_file, "RETRY_S", 0.0)
    file.add(row(0))
    with pytest.warns(BigpipeWarning, match="cannot be written .*locked.* The run continues"):
        file.flush()
    file.flush()  # warned of once
    assert places(path) == []
    blocked.execute("ROLLBACK")
    file.add(row(1))
    file.flush()
    assert places(path) == [0, 1]


def test_rows_are_written_all_or_none(path, file, monkeypatch):
    monkeypatch.setattr(journal_file, "RETRY_S", 0.0)
    file.add(row(0))
    file.add_kept(1, 1)
    file.database.execute("ALTER TABLE kept RENAME TO away")
    with pytest.warns(BigpipeWarning, match="cannot be written .*kept"):
        file.flush()
    file.database.execute("ALTER TABLE away RENAME TO kept")
    assert places(path) == []
    file.flush()
    assert places(path) == [0, 1]
    assert file.database.execute("SELECT count(*) FROM files").fetchone() == (1,)


def test_file_that_fails_again_is_warned_of_again(path, file, monkeypatch):
    monkeypatch.setattr(journal_file, "RETRY_S", 0.0)
    for place in range(2):
        file.add(row(place))
        file.database.execute("ALTER TABLE files RENAME TO away")
        with pytest.warns(BigpipeWarning, match="cannot be written .*files"):
            file.flush()
        file.database.execute("ALTER TABLE away RENAME TO files")
        file.flush()
    assert places(path) == [0, 1]


def test_reader_does_not_keep_the_run_from_writing(path, file):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM files").fetchone()
        file.add(row(0))
        file.flush()
        assert places(path) == [0]


def test_file_that_fails_is_not_tried_at_each_flush(path, file, blocked):
    file.add(row(0))
    with pytest.warns(BigpipeWarning):
        file.flush()
    blocked.execute("ROLLBACK")
    file.flush()
    assert places(path) == []
    assert 0 < file.until_due <= journal_file.RETRY_S


def test_file_that_fails_is_not_tried_for_each_of_more_rows_than_may_wait(
    path, file, blocked, monkeypatch
):
    monkeypatch.setattr(journal_file, "MAX_WAITING", 2)
    file.add(row(0))
    with pytest.warns(BigpipeWarning, match="cannot be written"):
        file.flush()
    blocked.execute("ROLLBACK")
    for place in range(1, 4):
        file.add(row(place))
    assert places(path) == []
    with pytest.warns(BigpipeWarning, match="^2 files are not in the journal"):
        file.close("finished")
    file.close = lambda end: None
    assert places(path) == [0, 1]


def test_rows_that_could_not_be_written_are_counted_in_the_end(path, blocked, monkeypatch, file):
    monkeypatch.setattr(journal_file, "MAX_WAITING", 2)
    file.add(row(0))
    file.add(row(1))
    with pytest.warns(BigpipeWarning, match="cannot be written"):
        file.add(row(2))
    with pytest.warns(BigpipeWarning, match="^3 files are not in the journal .*night1"):
        file.close("finished")
    file.close = lambda end: None
    blocked.execute("ROLLBACK")
    assert places(path) == []
    with Journal(path) as journal:
        assert journal.runs[0].state == "killed"


def test_more_files_than_may_wait_are_all_noted(path, file, monkeypatch):
    monkeypatch.setattr(journal_file, "MAX_WAITING", 2)
    for place in range(5):
        file.add(row(place))
    for place in range(5, 10):
        file.add_kept(place, 1)
    file.flush()
    assert places(path) == list(range(10))


def test_rows_of_both_kinds_say_the_same_and_keep_their_order(path, file):
    rows = []
    for place in range(6):
        name = f"/raw/{place}.fits"
        result = FileResult(place, name, name, {}, Outcome.WRITTEN, peak_rss=7, began_at=1.5)
        texts = file_texts([(1, 1)], {"file_read": 0.5}, [(name, None)], (name, {}))
        rows.append(file_row(1, name, result, texts, 2.5, is_final=True))
        file.add(written_row(name, result, texts, 2.5) if place % 3 else rows[-1])
    file.flush()
    assert list(JournalReader(file.database).attempts()) == rows


def test_samples_are_written_though_no_file_has_ended(file):
    assert file.until_due is None
    for number in range(2):
        file.sample((file.run, *[0.0] * (len(SAMPLE_COLUMNS) - 1)), [])
        assert file.until_due == 0.0
        file.flush()
        assert file.until_due is None
        count = file.database.execute("SELECT count(*) FROM samples").fetchone()
        assert count == (number + 1,)


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(journal_file, "is_network", lambda path: True)
    monkeypatch.setattr(journal_file, "file_system", lambda path: "nfs4")


def test_journal_on_a_network_is_warned_of_and_kept(make_files, tmp_path, network):
    pipe = Doubler(outdir=tmp_path, journal=tmp_path / "night1.bigpipe", executor="serial")
    names = make_files(3)
    with pytest.warns(BigpipeWarning, match="network file system .nfs4."):
        first = pipe.pipeline(names)
    with pytest.warns(BigpipeWarning):
        second = pipe.pipeline(names)
    assert [result.from_journal for result in second.results] == [True] * 3
    assert second == first
    assert sorted(path.name for path in tmp_path.glob("night1*")) == ["night1.bigpipe"]


def test_rows_on_a_network_wait_for_each_other(path, network, monkeypatch):
    monkeypatch.setattr(journal_file, "MAX_PART", 1e-9)
    with pytest.warns(BigpipeWarning):
        file = JournalFile(path)
    file.begin(RUN)
    for place in range(2):
        file.add(row(place))
        file.flush()
    count = "SELECT count(*) FROM files"
    assert file.database.execute(count).fetchone() == (1,)
    assert 0 < file.until_due <= journal_file.MAX_BEHIND_S
    file.close("finished")
    assert places(path) == [0, 1]


def test_more_files_than_may_wait_on_a_network_are_written_before_they_are_due(
    path, network, monkeypatch
):
    monkeypatch.setattr(journal_file, "MAX_PART", 1e-9)
    monkeypatch.setattr(journal_file, "MAX_WAITING", 2)
    with pytest.warns(BigpipeWarning):
        file = JournalFile(path)
    file.begin(RUN)
    for place in range(7):
        file.add(row(place))
        file.flush()
    file.close("finished")
    assert places(path) == list(range(7))


def test_warning_that_is_an_error_leaves_no_lock(path, network):
    with pytest.raises(BigpipeWarning):
        JournalFile(path)
    JournalLock(path, by_name=True).release()


def test_file_that_is_no_journal_leaves_no_lock(path):
    with open(path, "w") as file:
        file.write("something else, and more of it " * 100)
    with pytest.raises(JournalError, match="not a journal"):
        JournalFile(path)
    JournalLock(path).release()
