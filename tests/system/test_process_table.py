from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from bigpipe.system.process_table import Anonymous, Kin, Memory, ProcTable

PAGE = resource.getpagesize()
KIB = 1024

ROLLUP = """55666871a000-7ffc55ff7000 ---p 00000000 00:00 0                          [rollup]
Rss:                1720 kB
Pss:                 263 kB
Pss_Anon:            116 kB
Pss_File:            147 kB
Shared_Clean:       1500 kB
Shared_Dirty:          0 kB
Private_Clean:        20 kB
Private_Dirty:       100 kB
Anonymous:           316 kB
"""


@pytest.fixture
def table(tmp_path: Path) -> ProcTable:
    """A system with process 7, and an entry that is not a process."""
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    (tmp_path / "proc/meminfo").touch()
    (tmp_path / "proc/sys").mkdir()
    (folder / "stat").write_text("7 (a (b) 1 2) S 3 4 4 0 -1 4194304\n")
    (folder / "statm").write_text("5000 600 200 1 0 900 0\n")
    (folder / "smaps_rollup").write_text(ROLLUP)
    return ProcTable(str(tmp_path))


def test_process_is_known_by_its_number(table: ProcTable) -> None:
    assert table.pids() == {7}


def test_kin_is_found_behind_a_name_with_brackets(table: ProcTable) -> None:
    assert table.kin(7) == Kin(parent=3, group=4)


def test_memory_is_told_in_bytes(table: ProcTable) -> None:
    memory = table.memory(7)
    assert memory == Memory(5000 * PAGE, 600 * PAGE, 200 * PAGE)
    assert memory.private == 400 * PAGE


def test_pages_are_told_apart_by_who_has_them(table: ProcTable) -> None:
    assert table.anonymous(7) == Anonymous(total=316 * KIB, unshared=120 * KIB, divided=116 * KIB)


def test_private_pages_of_files_are_not_taken_for_anonymous_ones(
    table: ProcTable, tmp_path: Path
) -> None:
    text = ROLLUP.replace("Private_Dirty:       100", "Private_Dirty:       900")
    (tmp_path / "proc/7/smaps_rollup").write_text(text)
    pages = table.anonymous(7)
    assert pages is not None
    assert pages.unshared == pages.total


def test_kernel_that_does_not_divide_anonymous_pages_apart_is_understood(
    table: ProcTable, tmp_path: Path
) -> None:
    text = ROLLUP.replace("Pss_Anon:            116 kB\n", "")
    (tmp_path / "proc/7/smaps_rollup").write_text(text)
    pages = table.anonymous(7)
    assert pages is not None
    assert pages.divided == 263 * KIB


def test_pages_of_a_process_that_waits_for_a_disk_are_not_asked_for(
    table: ProcTable, tmp_path: Path
) -> None:
    (tmp_path / "proc/7/stat").write_text("7 (x) D 3 4 4 0 -1 4194304\n")
    assert table.anonymous(7) is None


@pytest.mark.parametrize("text", ["", "junk\n"], ids=["empty", "junk"])
def test_text_that_is_not_understood_is_as_none(
    table: ProcTable, tmp_path: Path, text: str
) -> None:
    for name in ("stat", "statm", "smaps_rollup"):
        (tmp_path / "proc/7" / name).write_text(text)
    assert table.kin(7) is None
    assert table.memory(7) is None
    assert table.anonymous(7) is None


def test_process_that_is_gone_is_none(table: ProcTable) -> None:
    assert table.kin(8) is None
    assert table.memory(8) is None
    assert table.anonymous(8) is None


def test_system_without_the_folder_is_recognised(tmp_path: Path) -> None:
    assert not ProcTable(str(tmp_path)).exists()


@pytest.mark.skipif(not ProcTable().exists(), reason="this system has no /proc")
def test_this_process_finds_itself() -> None:
    table = ProcTable()
    assert os.getpid() in table.pids()
    assert table.kin(os.getpid()) == Kin(os.getppid(), os.getpgrp())
    memory = table.own_memory()
    assert memory is not None
    assert 0 < memory.private < memory.resident < memory.size
