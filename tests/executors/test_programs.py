"""Tests of how programs are found that a thread's hooks have started."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from bigpipe.executors._programs import now, programs_of
from bigpipe.system.process_table import ProcTable

THREAD = 100


@pytest.fixture
def table(tmp_path: Path) -> ProcTable:
    """One thread has started 11, 12 and 13, with 12 first; another thread has started 14."""
    (tmp_path / f"proc/self/task/{THREAD}").mkdir(parents=True)
    (tmp_path / f"proc/self/task/{THREAD}/children").write_text("11 12 13 ")
    for pid, parent, began_at in (
        (10, 1, 500),
        (11, 10, 1000),
        (12, 10, 999),
        (13, 10, 1001),
        (14, 10, 1002),
        (15, 13, 1003),
        (16, 15, 1004),
        (17, 12, 1005),
    ):
        folder = tmp_path / f"proc/{pid}"
        folder.mkdir()
        rest = f"{' 0' * 15} {began_at} 0 0"
        (folder / "stat").write_text(f"{pid} (sh) S {parent} {pid} {pid}{rest}\n")
    return ProcTable(str(tmp_path))


def test_programs_are_what_was_started_since_and_what_that_has_started(table: ProcTable):
    programs = programs_of(THREAD, 1000, table=table)
    assert {(each.pid, each.began_at) for each in programs} == {
        (11, 1000),
        (13, 1001),
        (15, 1003),
        (16, 1004),
    }


def test_none_are_known_where_the_system_does_not_tell(tmp_path: Path):
    assert programs_of(THREAD, 0, table=ProcTable(str(tmp_path))) == set()


@pytest.mark.skipif(sys.platform != "linux", reason="nobody tells who has started a program")
def test_program_of_another_thread_is_not_among_them():
    found = []
    me, since = threading.get_native_id(), now()
    with subprocess.Popen(["sleep", "1000"]) as program:
        other = threading.Thread(
            target=lambda: found.append(programs_of(threading.get_native_id(), since))
        )
        other.start()
        other.join()
        mine = programs_of(me, since)
        program.kill()
    assert found == [set()]
    assert program.pid in {each.pid for each in mine}


@pytest.mark.process
def test_server_that_serves_all_threads_is_not_among_them():
    since = now()
    multiprocessing.get_context("spawn").Lock()  # which starts the tracker, if nothing has
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    assert tracker is not None
    assert tracker not in {each.pid for each in programs_of(threading.get_native_id(), 0)}
    assert tracker not in {each.pid for each in programs_of(threading.get_native_id(), since)}
