from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigpipe.executors.peak_meter import PeakMeter
from bigpipe.system.process_table import ProcTable


def touch(size: int) -> bytearray:
    """Return a buffer whose every page is resident."""
    return bytearray(b"x") * size


@pytest.fixture
def meter() -> Iterator[PeakMeter]:
    meter = PeakMeter()
    if not meter.resets:
        meter.close()
        pytest.skip("this system cannot reset the peak")
    yield meter
    meter.close()


SIZE = 64 << 20
SLACK = 8 << 20  # the kernel counts pages in batches, and Python keeps some of its own


def test_peak_falls_after_a_reset(meter: PeakMeter) -> None:
    meter.reset()
    before = meter.peak()
    buffer = touch(SIZE)
    assert meter.peak() > before + SIZE - SLACK
    del buffer
    assert meter.peak() > before + SIZE - SLACK
    meter.reset()
    assert meter.peak() < before + SLACK


def test_growth_is_above_what_was_there_before_the_first_file(meter: PeakMeter) -> None:
    meter.reset()
    kept = touch(SIZE)
    meter.reset()
    buffer = touch(SIZE)
    del buffer
    growth = meter.growth(meter.peak())
    del kept
    assert growth is not None
    assert 2 * SIZE - SLACK < growth < 2 * SIZE + SLACK


def test_growth_of_a_file_is_not_that_of_the_one_before(meter: PeakMeter) -> None:
    meter.reset()
    buffer = touch(SIZE)
    del buffer
    meter.reset()
    growth = meter.growth(meter.peak())
    assert growth is not None
    assert growth < SLACK


@pytest.mark.parametrize("is_private", [True, False], ids=["private-mapping", "shared-mapping"])
def test_mapped_pages_are_no_growth(meter: PeakMeter, tmp_path: Path, is_private: bool) -> None:
    path = tmp_path / "keywords"
    path.write_bytes(bytes(4 * SIZE))
    meter.reset()
    access = mmap.ACCESS_COPY if is_private else mmap.ACCESS_READ
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=access) as mapped:
        assert mapped.find(b"x") == -1  # all pages have been read
        buffer = touch(SIZE)
        del buffer
        growth = meter.growth(meter.peak())
    assert growth is not None
    assert SIZE - SLACK < growth < SIZE + SLACK


def test_copies_of_mapped_pages_are_growth(meter: PeakMeter, tmp_path: Path) -> None:
    path = tmp_path / "keywords"
    path.write_bytes(bytes(2 * SIZE))
    meter.reset()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        assert mapped.find(b"x") == -1
        mapped[:SIZE] = b"x" * SIZE
        growth = meter.growth(meter.peak())
    assert growth is not None
    assert 2 * SIZE - SLACK < growth < 2 * SIZE + SLACK  # the copy, and what was copied from


def test_growth_is_not_known_where_the_peak_cannot_be_reset(meter: PeakMeter) -> None:
    meter.close()
    assert meter.growth(meter.peak()) is None


def test_worker_has_reserved_nothing_of_whom_it_was_forked_from() -> None:
    buffer = touch(4 * SIZE)
    own = PeakMeter()
    own.close()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            meter = PeakMeter()
            os.write(writer, json.dumps([meter.reserved, meter.growth(meter.peak())]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        reserved, growth = json.load(answer)
    os.waitpid(pid, 0)
    del buffer
    if growth is None:
        pytest.skip("this system cannot reset the peak")
    assert own.reserved > 4 * SIZE
    assert 0 < reserved < SIZE
    assert growth < SLACK


def test_what_is_reserved_is_known_where_the_peak_cannot_be_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ProcTable, "exists", lambda self: False)
    meter = PeakMeter()
    meter.close()
    assert meter.reserved > 1_000_000


PEAK_OF_A_SMALL_PROCESS = f"""
import json
from bigpipe.executors.peak_meter import PeakMeter
meter = PeakMeter()
meter.reset()
before = meter.peak()
buffer = bytearray(b"x") * {SIZE}
during = meter.peak()
del buffer
meter.reset()
print(json.dumps([meter.resets, before, during, meter.peak()]))
"""


def test_peak_is_not_that_of_the_process_that_started_this_one() -> None:
    """The kernel's cheap figure keeps, through exec, the peak of the parent."""
    buffer = touch(4 * SIZE)
    run = subprocess.run(
        [sys.executable, "-c", PEAK_OF_A_SMALL_PROCESS],
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    del buffer
    resets, before, during, after = json.loads(run.stdout)
    if not resets:
        pytest.skip("this system cannot reset the peak")
    assert before < 2 * SIZE
    assert before + SIZE - SLACK < during < before + SIZE + SLACK
    assert after < before + SLACK


def test_meter_measures_the_child_after_a_fork(meter: PeakMeter) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            meter.reset()
            before = meter.peak()
            del before
            buffer = touch(SIZE)
            high = meter.peak()
            del buffer
            meter.reset()
            os.write(writer, json.dumps([high, meter.peak()]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        high, low = json.load(answer)
    os.waitpid(pid, 0)
    assert low < high - SIZE + SLACK


def test_closed_meter_still_gives_the_peak_of_the_process(meter: PeakMeter) -> None:
    meter.close()
    meter.close()
    meter.reset()
    assert not meter.resets
    assert meter.peak() > 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are not listed")
def test_meter_gives_its_descriptors_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    meters = [PeakMeter() for _ in range(5)]
    for meter in meters:
        meter.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_peak_is_told_where_it_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError("read-only /proc")

    monkeypatch.setattr(os, "open", refuse)
    meter = PeakMeter()
    meter.reset()
    assert not meter.resets
    assert meter.peak() > 1_000_000
