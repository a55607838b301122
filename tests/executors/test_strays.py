"""Tests of how programs are found that have left a worker's process group."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path

import pytest

from bigpipe.executors._strays import Stray, send_signal, strays_of
from bigpipe.system.process_table import ProcTable


@pytest.fixture
def table(tmp_path: Path) -> ProcTable:
    """Worker 10 with what it has started, 20 beside it; 30 and 31 descend from one another."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/statm").touch()
    for pid, parent, group, session in (
        (1, 0, 1, 1),
        (10, 1, 10, 1),
        (11, 10, 10, 1),  # in its group
        (12, 10, 12, 12),
        (13, 12, 12, 12),
        (14, 11, 14, 1),  # an inner worker
        (15, 14, 15, 15),
        (20, 1, 20, 1),
        (21, 20, 21, 21),
        (22, 1, 22, 22),  # nobody knows whose it was
        (30, 31, 30, 30),
        (31, 30, 31, 31),
    ):
        folder = tmp_path / f"proc/{pid}"
        folder.mkdir()
        since = f"{' 0' * 15} {1000 + pid}"
        (folder / "stat").write_text(f"{pid} (a (b) 1) S {parent} {group} {session}{since} 0 0\n")
    return ProcTable(str(tmp_path))


def test_strays_are_descendants_outside_of_the_group(table: ProcTable):
    strays = strays_of(10, 20, 99, table=table)
    assert strays == {
        10: {
            Stray(12, 1012, True),
            Stray(13, 1013, True),
            Stray(14, 1014, False),
            Stray(15, 1015, True),
        },
        20: {Stray(21, 1021, True)},
        99: set(),
    }


def test_none_are_known_where_the_system_does_not_tell(tmp_path: Path):
    assert strays_of(1, table=ProcTable(str(tmp_path))) == {1: set()}


def test_none_are_known_where_no_descriptor_is_left_to_look_with(table, monkeypatch):
    def refuse(self):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(ProcTable, "pids", refuse)
    assert strays_of(10, 20, table=table) == {10: set(), 20: set()}


def test_signal_is_not_sent_to_another_process_that_has_the_number_since():
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as program:
        [stray] = [each for each in strays_of(os.getpid())[os.getpid()] if each.pid == program.pid]
        send_signal(stray._replace(began_at=stray.began_at - 1), signal.SIGKILL)
        send_signal(stray, signal.SIGTERM)
        assert program.wait(60) == -signal.SIGTERM
    send_signal(stray, signal.SIGTERM)  # it has gone: nothing happens
