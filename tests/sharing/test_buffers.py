"""Memory that is lent for one file and restored for the next."""

from __future__ import annotations

import gc
import mmap
import os
import threading

import numpy as np
import pytest

from bigpipe.executors import launch
from bigpipe.sharing import buffers, pages
from bigpipe.sharing.buffers import (
    BuffersLost,
    InheritedBuffers,
    MappedBuffers,
    map_privately,
    write_all,
)
from bigpipe.sharing.pages import PAGE
from bigpipe.sharing.snapshot import anonymous_file

SIZE = 5 * PAGE + 100  # bytes of each of two buffers
SPANS = [(0, SIZE), (6 * PAGE, SIZE)]
CONTENTS = [b"a" * SIZE, b"b" * SIZE]


@pytest.fixture
def fd():
    """Return the descriptor of a file with two buffers."""
    fd = anonymous_file()
    for content, (start, _) in zip(CONTENTS, SPANS, strict=True):
        write_all(fd, memoryview(content), start)
    yield fd
    os.close(fd)


@pytest.fixture(params=[True, False], ids=["pages watched", "pages not watched"])
def mapped(request, monkeypatch):
    """Return buffers in a file, on systems that tell of pages and on others."""
    if not request.param:
        monkeypatch.setattr(pages, "can_be_watched", lambda: False)
    elif not pages.can_be_watched():
        pytest.skip("this system does not tell of pages")
    return MappedBuffers(SPANS)


@pytest.fixture
def watched():
    if not pages.can_be_watched():
        pytest.skip("this system does not tell of pages")
    return MappedBuffers(SPANS)


def as_arrays(views: list[memoryview]) -> list[np.ndarray]:
    return [np.frombuffer(view, np.uint8) for view in views]


def contents(views: list[memoryview]) -> list[bytes]:
    return [bytes(view) for view in views]


def test_buffers_are_those_of_the_file(mapped, fd):
    assert contents(mapped.fresh(fd)) == CONTENTS


@pytest.mark.parametrize("where", [0, PAGE, 2 * PAGE + 5, SIZE - 1], ids=str)
def test_what_was_written_is_gone_at_the_next_call(mapped, fd, where):
    for _ in range(3):
        for array in as_arrays(mapped.fresh(fd)):
            array[where] = 0
        assert contents(mapped.fresh(fd)) == CONTENTS


def test_what_was_written_everywhere_is_gone_at_the_next_call(mapped, fd):
    for _ in range(3):
        for array in as_arrays(mapped.fresh(fd)):
            array[:] = 0
        assert contents(mapped.fresh(fd)) == CONTENTS


def test_what_was_written_is_not_in_the_file(mapped, fd):
    for array in as_arrays(mapped.fresh(fd)):
        array[:] = 0
    assert os.pread(fd, SIZE, 0) == CONTENTS[0]


def test_memory_is_lent_once_more_when_nobody_holds_it(watched, fd):
    places = {pages.address_of(watched.fresh(fd)[0]) for _ in range(3)}
    assert len(places) == 1


@pytest.mark.parametrize(
    "hold",
    [
        lambda view: np.frombuffer(view, np.uint8),
        np.asarray,
        lambda view: np.frombuffer(view, np.uint8)[10:20].reshape(2, 5),
        lambda view: view,
        lambda view: view[3:],
        lambda view: memoryview(view).toreadonly(),
    ],
    ids=["array", "array of the view", "part of an array", "view", "part of a view", "read-only"],
)
def test_memory_that_somebody_holds_does_not_change(mapped, fd, hold):
    array = np.frombuffer(mapped.fresh(fd)[0], np.uint8)
    array[:] = ord("x")
    held = hold(array.data)
    del array
    other = as_arrays(mapped.fresh(fd))
    assert contents(mapped.fresh(fd)) == CONTENTS
    other[0][:] = ord("y")
    assert set(bytes(held)) == {ord("x")}
    assert contents(mapped.fresh(fd)) == CONTENTS


def test_memory_that_is_not_told_of_any_more_is_left_alone(watched, fd, monkeypatch):
    def refuse(address: int, n_bytes: int) -> None:
        raise OSError

    as_arrays(watched.fresh(fd))[0][:] = 0
    monkeypatch.setattr(pages, "private_pages", refuse)
    assert contents(watched.fresh(fd)) == CONTENTS


def test_private_mapping_keeps_what_is_written(fd):
    first, _ = map_privately(fd, SPANS)[1]
    first[0] = 0
    assert os.pread(fd, 1, 0) == b"a"
    assert first[0] == 0


# Memory that is inherited: here, this process's own, with a second list of the contents.


class Inherited:
    """Buffers in this process, and what is asked of their keeper."""

    def __init__(self, monkeypatch, *, readonly=False):
        self.fd = anonymous_file()
        os.ftruncate(self.fd, 12 * PAGE)
        self.memory = [
            mmap.mmap(-1, 6 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in CONTENTS
        ]
        views = []
        for memory, content in zip(self.memory, CONTENTS, strict=True):
            memory[50 : 50 + SIZE] = content  # a buffer need not begin where a page does
            view = memoryview(memory)[50 : 50 + SIZE]
            views.append(view.toreadonly() if readonly else view)
        self.asked = []
        self.written = {}
        monkeypatch.setattr(pages, "exclusive_pages", self.look)
        self.buffers = InheritedBuffers(views, SPANS, self.fetch)

    def look(self, address, n_bytes):
        """Tell, as after a fork, of the pages that differ."""
        flags = np.zeros(6, bool)
        for memory, content in zip(self.memory, CONTENTS, strict=True):
            if pages.address_of(memoryview(memory)) == address - 50:
                for page in range(6):
                    here = bytes(memory[page * PAGE : (page + 1) * PAGE])
                    there = (bytes(50) + content + bytes(PAGE))[page * PAGE : (page + 1) * PAGE]
                    flags[page] = here != there
        return flags

    def fetch(self, ranges):
        self.asked += ranges
        for number, start, stop in ranges:
            os.pwrite(self.fd, CONTENTS[number][start:stop], SPANS[number][0] + start)

    def fresh(self):
        return self.buffers.fresh(self.fd)


@pytest.fixture
def inherited(monkeypatch):
    inherited = Inherited(monkeypatch)
    yield inherited
    os.close(inherited.fd)


def test_inherited_memory_is_lent_as_it_is(inherited):
    for _ in range(2):
        lent = contents(inherited.fresh())
        assert lent == CONTENTS
    assert inherited.asked == []


def test_pages_that_were_written_into_are_asked_for_once_and_brought_back_each_time(inherited):
    for _ in range(3):
        first, second = as_arrays(inherited.fresh())
        first[0] = second[2 * PAGE] = second[SIZE - 1] = 0
        del first, second
        assert contents(inherited.fresh()) == CONTENTS
    last = 5 * PAGE - 50
    assert inherited.asked == [
        (0, 0, PAGE - 50),
        (1, 2 * PAGE - 50, 3 * PAGE - 50),
        (1, last, SIZE),
    ]


def test_many_parts_are_asked_for_as_one(inherited, monkeypatch):
    monkeypatch.setattr(buffers, "MAX_RANGES", 2)
    first = as_arrays(inherited.fresh())[0]
    first[0] = first[2 * PAGE] = first[4 * PAGE] = 0
    del first
    assert contents(inherited.fresh()) == CONTENTS
    assert inherited.asked == [(0, 0, 5 * PAGE - 50)]


def test_what_could_not_be_fetched_is_asked_for_again(inherited, monkeypatch):
    def refuse(ranges):
        raise BuffersLost("its keeper is gone")

    as_arrays(inherited.fresh())[0][0] = 0
    with monkeypatch.context() as patch:
        patch.setattr(inherited.buffers, "_fetch", refuse)
        for _ in range(2):
            with pytest.raises(BuffersLost):
                inherited.fresh()
    assert contents(inherited.fresh()) == CONTENTS


def test_memory_beside_a_buffer_is_left_alone(inherited):
    inherited.memory[0][49] = inherited.memory[0][50 + SIZE] = 7
    assert contents(inherited.fresh()) == CONTENTS
    assert inherited.memory[0][49] == inherited.memory[0][50 + SIZE] == 7


def test_inherited_memory_that_somebody_holds_is_left_to_them(inherited):
    held = as_arrays(inherited.fresh())[1]
    held[:] = 0
    assert contents(inherited.fresh()) == CONTENTS
    assert inherited.asked == [(0, 0, SIZE), (1, 0, SIZE)]
    as_arrays(inherited.fresh())[1][:] = 1
    assert contents(inherited.fresh()) == CONTENTS
    assert not held.any()


def test_objects_that_hold_one_another_do_not_count_as_holding(inherited):
    class Ring:
        pass

    gc.disable()
    try:
        ring = Ring()
        ring.ring, ring.array = ring, as_arrays(inherited.fresh())[0]
        del ring
        assert contents(inherited.fresh()) == CONTENTS
    finally:
        gc.enable()
    assert inherited.asked == []


def test_memory_that_a_thread_holds_is_left_to_it(inherited):
    go_on, is_done = threading.Event(), threading.Event()

    def write(array):
        assert go_on.wait(60)
        array[:] = 0
        del array
        is_done.set()

    thread = threading.Thread(target=write, args=as_arrays(inherited.fresh())[:1])
    thread.start()
    fresh = inherited.fresh()
    go_on.set()
    assert is_done.wait(60)
    thread.join()
    assert contents(fresh) == CONTENTS


@pytest.mark.process
def test_written_pages_are_noted_before_a_fork(inherited, monkeypatch):
    as_arrays(inherited.fresh())[0][0] = 0
    launch.start("fork", "tests.executors.launch_targets:return_nothing").close()
    monkeypatch.setattr(pages, "exclusive_pages", lambda address, n_bytes: np.zeros(6, bool))
    assert contents(inherited.fresh()) == CONTENTS


def test_all_is_brought_back_if_pages_are_not_told_of_any_more(inherited, monkeypatch):
    def refuse(address: int, n_bytes: int) -> None:
        raise OSError

    as_arrays(inherited.fresh())[0][0] = 0
    monkeypatch.setattr(pages, "exclusive_pages", refuse)
    assert contents(inherited.fresh()) == CONTENTS


def test_read_only_memory_stays_read_only(monkeypatch):
    inherited = Inherited(monkeypatch, readonly=True)
    assert all(view.readonly for view in inherited.fresh())
    assert contents(inherited.fresh()) == CONTENTS
    os.close(inherited.fd)
