"""The kernel's information about the pages of this process."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from bigpipe.executors import launch
from bigpipe.sharing import pages
from bigpipe.sharing.pages import PAGE, Canary
from bigpipe.sharing.snapshot import anonymous_file

pytestmark = pytest.mark.skipif(
    not pages.can_be_watched(), reason="this system does not tell of pages"
)
N_PAGES = 8


@contextmanager
def forked_child() -> Iterator[None]:
    """Have a child that shares this process's memory."""
    told, tell = os.pipe()
    child = launch.start("fork", "tests.executors.launch_targets:block", [tell])
    try:
        os.close(tell)
        assert os.read(told, 1)
        yield
    finally:
        child.close()
        os.close(told)


def flagged(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], []),
        ([0, 0], []),
        ([1], [(0, 1)]),
        ([1, 1, 0, 1], [(0, 2), (3, 4)]),
        ([0, 1, 0, 0, 1, 1], [(1, 2), (4, 6)]),
    ],
    ids=str,
)
def test_runs_of_flags_are_found(flags, expected):
    assert pages.runs(np.array(flags, dtype=bool)) == expected


@pytest.mark.parametrize(
    ("address", "n_bytes", "expected"),
    [(0, 1, (0, 1)), (PAGE - 1, 2, (0, 2)), (PAGE, PAGE, (1, 2)), (5, PAGE, (0, 2))],
)
def test_every_page_that_a_range_touches_is_counted(address, n_bytes, expected):
    assert pages.pages_of(address, n_bytes) == expected


def test_pages_of_a_private_mapping_that_are_written_into_are_told():
    fd = anonymous_file()
    os.pwrite(fd, bytes(N_PAGES * PAGE), 0)
    mapped = mmap.mmap(fd, N_PAGES * PAGE, access=mmap.ACCESS_COPY)
    os.close(fd)
    view = memoryview(mapped)
    address = pages.address_of(view)
    assert bytes(view) == bytes(N_PAGES * PAGE)  # all are read
    assert flagged(pages.private_pages(address, view.nbytes)) == []
    view[3 * PAGE] = view[5 * PAGE + 7] = 1
    assert flagged(pages.private_pages(address, view.nbytes)) == [3, 5]


@pytest.mark.process
def test_pages_that_are_written_into_after_a_fork_are_told():
    mapped = mmap.mmap(-1, N_PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = memoryview(mapped)
    view[:] = b"x" * view.nbytes
    address = pages.address_of(view)
    with forked_child():
        assert flagged(pages.exclusive_pages(address, view.nbytes)) == []
        view[2 * PAGE + 1] = 0
        assert flagged(pages.exclusive_pages(address, view.nbytes)) == [2]


@pytest.mark.process
def test_memory_that_was_never_touched_counts_as_written_only_once_it_is():
    mapped = mmap.mmap(-1, N_PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = memoryview(mapped)
    address = pages.address_of(view)
    with forked_child():
        assert view[PAGE] == 0  # reading it is not writing
        assert flagged(pages.exclusive_pages(address, view.nbytes)) == []
        view[4 * PAGE] = 1
        assert flagged(pages.exclusive_pages(address, view.nbytes)) == [4]


@pytest.mark.process
def test_canary_sings_after_a_fork():
    canary = Canary()
    with forked_child():
        assert canary.has_sung()


def test_canary_is_silent_where_nothing_has_changed():
    assert not Canary().has_sung()


def test_canary_is_silent_where_pages_are_not_told(monkeypatch):
    def refuse(address: int, n_bytes: int) -> None:
        raise PermissionError

    monkeypatch.setattr(pages, "exclusive_pages", refuse)
    assert not Canary().has_sung()


@pytest.mark.parametrize(
    ("flags", "prot", "is_written", "expected"),
    [
        (mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, True, True),
        (mmap.MAP_PRIVATE, mmap.PROT_READ, False, True),
        (mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, True, False),
        (mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, False, False),
        (mmap.MAP_SHARED, mmap.PROT_READ, False, True),
    ],
    ids=["private", "private, to read", "shared", "shared, read here", "shared, to read"],
)
def test_memory_that_others_can_change_is_not_private(flags, prot, is_written, expected):
    fd = anonymous_file()
    os.ftruncate(fd, N_PAGES * PAGE)
    mapped = mmap.mmap(fd, N_PAGES * PAGE, flags=flags, prot=prot)
    os.close(fd)
    address = pages.address_of(memoryview(mapped))
    ranges = [(address + 10, 3 * PAGE, is_written)]
    assert pages.are_private(ranges) == [expected]


def test_arrays_are_private_memory():
    array = np.ones(1 << 20)
    assert pages.are_private([(pages.address_of(memoryview(array)), array.nbytes, True)]) == [True]
