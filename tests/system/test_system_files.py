"""Small files of the system: read whole, and closed whatever happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bigpipe.interrupts import Interrupts, Terminated
from bigpipe.system.process_table import ProcTable
from bigpipe.system.system_files import read_text


def read_text_of(root: Path) -> None:
    read_text(str(root / "proc/7/statm"))


def read_memory_of(root: Path) -> None:
    ProcTable(str(root)).memory(7)


@pytest.mark.parametrize("read", [read_text_of, read_memory_of])
def test_file_is_closed_if_a_signal_comes_when_it_has_just_been_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], None]
) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/statm").write_text("5000 600 200 1 0 900 0\n")
    open_file = os.open

    def open_interrupted(path: str, flags: int) -> int:
        file = open_file(path, flags)
        signal.raise_signal(signal.SIGTERM)
        return file

    before = os.listdir("/dev/fd")
    monkeypatch.setattr(os, "open", open_interrupted)
    interrupts = Interrupts(lambda: True)
    interrupts.install()
    try:
        with pytest.raises(Terminated):
            read(tmp_path)
    finally:
        interrupts.uninstall()
    assert os.listdir("/dev/fd") == before
