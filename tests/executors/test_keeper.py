"""Large keywords of whole runs: fresh for each file, and held once."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from astropy import units
from astropy.nddata import CCDData

from bigpipe.executors import keeper
from bigpipe.executors.keeper import Keeper
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.sharing.pages import PAGE, can_be_watched
from bigpipe.sharing.snapshot import Snapshot
from tests.executors.large_keywords import (
    Keeping,
    is_as_given,
    note_found,
    note_part,
    write,
    write_and_fork,
    write_here_and_there,
    write_in_thread,
    write_little,
    write_nothing,
)
from tests.pipes import Doubler, FirstTimeOnly, kill_self
from tests.places import not_spawned

N = 1 << 20  # bytes: 256 pages, in a mapping of their own
N_FILES = 4
needs_pages = pytest.mark.skipif(not can_be_watched(), reason="this system tells not of pages")

KEYWORDS = {
    "array": lambda: np.ones(N, np.uint8),
    "read-only array": lambda: read_only(np.ones(N, np.uint8)),
    "Fortran order": lambda: np.asfortranarray(np.ones((512, N // 512), np.uint8)),
    "part of an array": lambda: np.ones((1000, N // 500), np.uint8)[5:-5, 5:-5],
    "structured": lambda: np.ones(N // 16, dtype=[("x", "f8"), ("n", "i8")]),
    "objects": lambda: np.array([1] * (N // 8), dtype=object),
    "masked": lambda: np.ma.MaskedArray(np.ones(N // 8), mask=np.arange(N // 8) > 5),
    "empty": lambda: np.ones((0, 3)),
    "several": lambda: [np.ones(N, np.uint8), np.ones(N // 8), np.ones(3)],
    "dict": lambda: {"flat": np.ones(N // 8), "dark": {"long": np.ones(N // 4, np.float32)}},
    "one array twice": lambda: [np.ones(N // 8)] * 2,
    "quantity": lambda: np.ones(N // 8) * units.adu,
    "CCDData": lambda: CCDData(
        np.ones((256, N // 2048)), unit="adu", mask=np.ones((256, N // 2048), bool)
    ),
}


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.fixture
def small_is_large(monkeypatch):
    """Have arrays of one MiB treated as those of hundreds."""
    monkeypatch.setattr(keeper, "MIN_KEPT", 0)


@pytest.fixture
def pipe(tmp_path, small_is_large):
    return Doubler(outdir=tmp_path / "out", create_outdir=True, progress=False)


def found(pout) -> list[bool]:
    return [meta["found"] for _, meta in pout]


def places(pout) -> set[tuple[int, int]]:
    return {meta["place"] for _, meta in pout}


WRITES = [write, write_little, write_here_and_there]


@not_spawned
@pytest.mark.parametrize(
    ("keyword", "write"),
    [(keyword, write) for keyword in KEYWORDS]
    + [("array", write_little), ("several", write_here_and_there)],
)
def test_keyword_that_hooks_write_into_is_fresh_for_each_file(
    pipe, make_files, anywhere, keyword, write
):
    large = KEYWORDS[keyword]()
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=large,
        pre_process_list=write,
        post_process_list=note_found,
        **anywhere,
    )
    assert found(pout) == [True] * N_FILES
    assert is_as_given(large)


def test_keyword_given_to_the_object_is_fresh_for_each_file(make_files, anywhere, tmp_path):
    large = np.ones(N)
    pipe = Doubler(outdir=tmp_path, large=large, pre_process_list=write)
    pout = pipe.pipeline(make_files(N_FILES), post_process_list=note_found, **anywhere)
    assert found(pout) == [True] * N_FILES
    assert is_as_given(large)


@pytest.mark.parametrize("keyword", ["array", "several", "CCDData"])
def test_array_that_a_thread_keeps_is_not_the_next_files(pipe, make_files, anywhere, keyword):
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=KEYWORDS[keyword](),
        pre_process_list=write_in_thread,
        post_process_list=note_found,
        **anywhere,
    )
    assert found(pout) == [True] * N_FILES


def test_arrays_that_the_object_keeps_do_not_change(make_files, anywhere, tmp_path, small_is_large):
    pout = Keeping(outdir=tmp_path).pipeline(
        make_files(N_FILES), large=np.ones(N), post_process_list=note_found, **anywhere
    )
    assert found(pout) == [True] * N_FILES


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_memory_map_of_a_file_is_fresh_and_the_file_stays(
    pipe, make_files, anywhere, tmp_path, mode
):
    path = tmp_path / "array"
    path.write_bytes(bytes([1]) * N)
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=np.memmap(path, dtype=np.uint8, mode=mode),
        pre_process_list=write,
        post_process_list=note_found,
        **anywhere,
    )
    assert found(pout) == [True] * N_FILES
    assert path.read_bytes() == bytes([1]) * N


# Workers that are forked: they use the caller's own memory.

forked = {"executor": "processes", "start_method": "fork", "num_processes": 2}


@needs_pages
@pytest.mark.process
@pytest.mark.parametrize("write", [write_nothing, *WRITES], ids=lambda each: each.__name__)
def test_forked_workers_use_the_memory_that_they_inherit(pipe, make_files, write):
    large = np.ones(N, np.uint8)
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=large,
        pre_process_list=write,
        post_process_list=note_found,
        **forked,
    )
    assert {place for _, place in places(pout)} == {large.__array_interface__["data"][0]}


@needs_pages
@pytest.mark.process
def test_metadata_does_not_hold_the_memory_longer_than_its_file(pipe, make_files):
    large = np.ones(N, np.uint8)
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=large,
        pre_process_list=write_little,
        post_process_list=note_part,
        **forked,
    )
    assert {place for _, place in places(pout)} == {large.__array_interface__["data"][0]}


@needs_pages
@pytest.mark.process
def test_file_has_only_the_pages_that_were_written_into(small_is_large):
    with Kept(np.ones(N, np.uint8)) as kept:
        kept.ask([(0, 3 * PAGE, 4 * PAGE), (0, N - 7, N)])
        assert os.pread(kept.snapshot.fd, PAGE, 3 * PAGE) == bytes([1]) * PAGE
        assert os.pread(kept.snapshot.fd, 7, N - 7) == bytes([1]) * 7
        assert os.fstat(kept.snapshot.fd).st_blocks * 512 <= 3 * PAGE


@needs_pages
@pytest.mark.process
def test_keeper_has_what_was_there_when_it_began(small_is_large):
    array = np.ones(N, np.uint8)
    with Kept(array) as kept:
        array[:] = 0
        kept.ask([(0, 0, N)])
        assert os.pread(kept.snapshot.fd, N, 0) == bytes([1]) * N


@needs_pages
@pytest.mark.process
def test_keeper_that_is_gone_is_told(small_is_large):
    with Kept(np.ones(N, np.uint8)) as kept:
        kept.keeper._child.kill_group()
        kept.keeper._child.wait()
        assert not kept.keeper.is_alive
        with pytest.raises(ConnectionError, match="keeps large keywords has died"):
            kept.ask([(0, 0, N)])


@needs_pages
@pytest.mark.process
def test_memory_that_others_can_change_is_copied_for_the_keeper(small_is_large, tmp_path):
    path = tmp_path / "array"
    path.write_bytes(bytes([1]) * N)
    large = np.memmap(path, dtype=np.uint8, mode="r+")
    with Kept(large) as kept:
        large[:] = 0
        kept.ask([(0, 0, N)])
        assert os.pread(kept.snapshot.fd, N, 0) == bytes([1]) * N
        assert (kept.snapshot.fresh()["large"] == 1).all()


class Kept:
    """A keeper of one array."""

    def __init__(self, large):
        self.snapshot = Snapshot({"large": large})
        self.keeper = Keeper.start(self.snapshot)
        assert self.keeper is not None

    def ask(self, ranges):
        self.keeper.fetch(ranges)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.keeper.close()
        self.snapshot.close()


@pytest.mark.parametrize("why", ["small", "pages not told", "mappings not told"])
def test_without_need_or_means_there_is_no_keeper(monkeypatch, why):
    if why != "small":
        monkeypatch.setattr(keeper, "MIN_KEPT", 0)
    if why == "pages not told":
        monkeypatch.setattr(keeper, "can_be_watched", lambda: False)
    if why == "mappings not told":

        def refuse(ranges):
            raise OSError

        monkeypatch.setattr(keeper, "are_private", refuse)
    snapshot = Snapshot({"large": np.ones(N, np.uint8)})
    assert Keeper.start(snapshot) is None
    snapshot.fill()
    assert is_as_given(snapshot.fresh()["large"])
    snapshot.close()


@pytest.mark.process
def test_keeper_is_ended_if_the_system_tells_nonsense(monkeypatch, small_is_large):
    monkeypatch.setattr(keeper.Canary, "has_sung", lambda self: False)
    snapshot = Snapshot({"large": np.ones(N, np.uint8)})
    before = psutil.Process().children()
    assert Keeper.start(snapshot) is None
    assert psutil.Process().children() == before
    snapshot.close()


@pytest.mark.process
def test_pages_that_a_child_of_a_hook_shares_are_brought_back(pipe, make_files):
    pout = pipe.pipeline(
        make_files(N_FILES),
        large=np.ones(N, np.uint8),
        pre_process_list=write_and_fork,
        post_process_list=note_found,
        **forked,
    )
    assert found(pout) == [True] * N_FILES


@pytest.mark.process
def test_what_the_caller_writes_during_a_run_no_later_worker_sees(pipe, make_files, tmp_path):
    large = np.ones(N, np.uint8)
    names = make_files(N_FILES)
    trouble = {
        ("data_process", Path(name).name): FirstTimeOnly(kill_self, tmp_path / f"died-{i}")
        for i, name in enumerate(names)
        if i
    }
    results = pipe.iter_pipeline(
        names,
        large=large,
        pre_process_list=write,
        post_process_list=note_found,
        trouble=trouble,
        on_error="return",
        **{**forked, "num_processes": 1},
    )
    seen = []
    for result in results:
        seen.append(result.meta["found"])
        large[result.index * PAGE :] = 7
    assert seen == [True] * N_FILES


@needs_pages
@pytest.mark.process
def test_run_goes_on_when_the_keeper_is_killed(pipe, make_files, monkeypatch):
    """Workers that need it end; that is not the fault of a file, and counts against none."""
    begun = []
    start = Keeper.start

    def note(snapshot):
        begun.append(start(snapshot))
        return begun[-1]

    monkeypatch.setattr(Keeper, "start", note)
    names = make_files(N_FILES)
    seen = []
    for result in pipe.iter_pipeline(
        names,
        large=np.ones(N, np.uint8),
        pre_process_list=write,
        post_process_list=note_found,
        max_worker_deaths=1,
        **forked,
    ):
        seen.append(result.meta["found"])
        assert result.attempts == 1
        if begun[0].is_alive:
            os.kill(begun[0]._child.pid, signal.SIGKILL)
            begun[0]._child.wait()
    assert len(begun) == 1
    assert seen == [True] * N_FILES


@needs_pages
@pytest.mark.process
def test_workers_of_two_start_methods_see_the_same(pipe, make_files, monkeypatch, tmp_path):
    """The fork is not safe any more when a worker has to be replaced."""
    methods = iter(["fork", "fork", "forkserver"])
    monkeypatch.setattr(ProcessesExecutor, "_method", lambda self: next(methods, "forkserver"))
    names = make_files(N_FILES)
    trouble = {("data_process", Path(names[2]).name): FirstTimeOnly(kill_self, tmp_path / "died")}
    large = np.ones(N, np.uint8)
    seen = []
    for result in pipe.iter_pipeline(
        names,
        large=large,
        pre_process_list=write_little,
        post_process_list=note_found,
        trouble=trouble,
        executor="processes",
        num_processes=1,
    ):
        seen.append(result.meta["found"])
        large[:] = 7
    assert seen == [True] * N_FILES


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_after_a_run_in_this_process_no_descriptor_is_left(pipe, make_files, executor):
    names = make_files(N_FILES)
    pipe.pipeline(names, executor=executor)  # what is opened once, and kept
    gc.collect()
    before = psutil.Process().num_fds()
    gc.disable()  # nor one that waits for it
    try:
        pipe.pipeline(names, large=np.ones(2 * N, np.uint8), executor=executor)
    finally:
        gc.enable()
    assert psutil.Process().num_fds() == before
