"""Streams: a loop is fed with the data that the hooks make, in order, as far as it goes."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigpipe import (
    BigMultiPipe,
    FileError,
    FunctionPipe,
    InNamesError,
    NestablePool,
    OptionError,
    RunFinished,
    TooManyErrorsError,
    UnsendableError,
)
from bigpipe.sharing.segments import SPARE
from tests.gate import Gate, Opener
from tests.mischief import Unloadable, Unpicklable, in_a_fork, worker_pids
from tests.pipes import FirstTimeOnly, fail, get_into_trouble, kill_self
from tests.places import not_spawned

LARGE = (100, 200)  # 160 kB as float64: goes through shared memory
SMALL = (3,)
WORKERS: dict[str, Any] = {"executor": "processes", "num_processes": 2}

MakeFiles = Callable[..., list[str]]


class Maker(BigMultiPipe):
    """Make an array of a number, which is the input, and note in a file that it was begun."""

    def worker_init(self, inits=None, **kwargs):
        if inits is not None:
            note(inits, str(os.getpid()))

    def worker_exit(self, exits=None, **kwargs):
        if exits is not None:
            note(exits, str(os.getpid()))

    def file_read(self, in_name, begun=None, shape=LARGE, **kwargs):
        if begun is not None:
            note(begun, in_name)
        get_into_trouble("file_read", in_name, **kwargs)
        return np.full(shape, float(in_name))

    def data_process(self, data, rejected=(), in_name=None, **kwargs):
        get_into_trouble("data_process", in_name, **kwargs)
        return None if in_name in rejected else data + 1

    def outname_create(self, in_name, **kwargs):
        raise AssertionError("no name is asked for")

    def file_write(self, data, outname, **kwargs):
        raise AssertionError("nothing is written")


class WithPid(Maker):
    """Tell who has made the data."""

    def data_process(self, data, **kwargs):
        return data, os.getpid()


def note(path: Path, text: str) -> None:
    """Append a line, in one piece."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def noted(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def numbers(n: int) -> list[str]:
    return list(map(str, range(n)))


def means(data: Any) -> list[float]:
    return [each.mean() for each in data]


@dataclass(frozen=True)
class Twice:
    """Get into trouble two times."""

    action: Any

    def __call__(self, name: str) -> None:
        self.action(name)
        self.action(name)


# What comes, and in which order.


@pytest.mark.parametrize("shape", [LARGE, SMALL, ()], ids=str)
def test_loop_is_given_the_data_in_input_order(anywhere: dict[str, Any], shape: tuple[int, ...]):
    with Maker(shape=shape, **anywhere).stream(numbers(30)) as stream:
        arrays = list(stream)
    assert [each.shape for each in arrays] == [shape] * 30
    assert means(arrays) == [i + 1 for i in range(30)]


@pytest.mark.process
def test_order_is_kept_if_a_later_file_is_ready_first(gate: Gate):
    with Maker(**WORKERS).stream(numbers(6), prefetch=3, trouble=late_first(gate)) as stream:
        assert means(stream.epoch(["7"] * 9)) == [8] * 9  # both workers are there
        assert means(stream) == [1, 2, 3, 4, 5, 6]


def both_are_there(gate: Gate) -> dict[tuple[str, str], Any]:
    """One of two workers ends file 20 when the other one has begun file 21."""
    return {("file_read", "20"): gate, ("file_read", "21"): Opener(gate)}


def late_first(gate: Gate) -> dict[tuple[str, str], Any]:
    """The first of two workers ends its first file when the other one has begun its second."""
    return {
        ("data_process", "0"): Twice(gate),
        **{("data_process", name): Opener(gate) for name in "123"},
    }


@pytest.mark.process
def test_data_that_the_loop_keeps_stay_as_they_are():
    """Their memory is not used again before they are gone."""
    with Maker(**WORKERS).stream(numbers(40), prefetch=4) as stream:
        kept = [array[:, ::2] for array in stream]
        assert means(kept) == [i + 1 for i in range(40)]
        for array in stream:
            array[:] = -1
    del stream
    gc.collect()
    assert means(kept) == [i + 1 for i in range(40)]


@pytest.mark.process
def test_data_that_are_kept_beyond_what_may_be_shared_are_copied():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))  # so 20 segments for each worker
    try:
        with Maker(**WORKERS).stream(numbers(150), prefetch=8) as stream:
            kept = list(stream)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert means(kept) == [i + 1 for i in range(150)]


@pytest.mark.process
def test_more_data_than_may_be_shared_can_be_ahead():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (160, hard))  # so 20 segments for each worker
    try:
        with Maker(**WORKERS).stream(numbers(150), prefetch=140) as stream:
            assert means(stream) == [i + 1 for i in range(150)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mappings here")
def test_shared_memory_is_used_again():
    with Maker(**WORKERS).stream(numbers(100), prefetch=3) as stream:
        most = max(len(shared_mappings()) for _ in stream)
    # Each of two workers may keep as many as can be under way (three ahead, one in the loop and the
    # one before, which its variable has still), some to spare, and one that it has just made anew.
    assert most <= 2 * (3 + 2 + SPARE + 1)


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mappings here")
def test_shared_memory_of_workers_that_have_died_is_given_up(tmp_path: Path):
    deaths = {name: FirstTimeOnly(kill_self, tmp_path / name) for name in numbers(13)[1:]}
    trouble = {("data_process", name): death for name, death in deaths.items()}
    pipe = Maker(executor="processes", num_processes=1, trouble=trouble)
    n_before = len(shared_mappings())
    with pipe.stream(numbers(13), prefetch=0) as stream:
        assert means(stream) == [i + 1 for i in range(13)]
        n_more = len(shared_mappings()) - n_before
    assert len(list(tmp_path.iterdir())) == len(deaths)
    assert n_more < len(deaths)  # each of them had sent data


class Forgetful(Maker):
    """Tell whether the last data is still in the worker."""

    last = staticmethod(lambda: None)

    def data_process(self, data, **kwargs):
        was_there = self.last() is not None
        self.last = weakref.ref(data)
        return data, was_there


@pytest.mark.process
def test_worker_keeps_nothing_of_what_it_has_sent():
    with Forgetful(**WORKERS).stream(numbers(12)) as stream:
        assert not any(was_there for _, was_there in stream)


def shared_mappings() -> list[str]:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if "memfd:bigpipe" in line]


class Odd(BigMultiPipe):
    """Make what the input says."""

    def file_read(self, in_name, **kwargs):
        return ODDITIES[in_name]()


@dataclass
class Frame:
    image: Any
    name: str


def record() -> np.ndarray:
    data = np.zeros(3000, [("x", float), ("name", "S10"), ("pair", "2i4")])
    data["x"] = np.arange(3000)
    data["name"] = b"star"
    return data


def masked() -> np.ndarray:
    return np.ma.masked_less(np.arange(30_000.0), 10)


def table() -> Any:
    from astropy.table import Table  # not for every spawned worker

    return Table({"x": np.arange(20_000), "name": ["a"] * 20_000})


ODDITIES: dict[str, Callable[[], Any]] = {
    "text": lambda: "a word",
    "bytes": lambda: b"x" * 300_000,
    "number": lambda: 1.5,
    "false": lambda: False,
    "list": lambda: [1, "two", [3.0]],
    "tuple of arrays": lambda: (np.arange(20_000), "label", np.ones(3)),
    "dict of arrays": lambda: {"image": np.ones((100, 100)), "mask": np.zeros((100, 100), bool)},
    "dataclass": lambda: Frame(np.ones((100, 100), np.float32), "m13"),
    "table of fields": record,
    "masked": masked,
    "Fortran order": lambda: np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    "strided": lambda: np.arange(60_000).reshape(200, 300)[::-2, 5:250:3],
    "empty": lambda: np.empty((0, 5)),
    "no dimension": lambda: np.array(7),
    "objects": lambda: np.array([None, {"a": 1}, "b"], dtype=object),
    "other byte order": lambda: np.arange(20_000, dtype=">i4"),
    "dates": lambda: np.arange("2020-01", "2030-01", dtype="datetime64[D]"),
    "table": table,
    "many arrays": lambda: [np.full(i, i) for i in range(300)],
}


@pytest.mark.process
@pytest.mark.parametrize("what", ODDITIES)
def test_data_may_be_anything(what: str):
    with Odd(**WORKERS).stream([what, what]) as stream:
        for data in stream:
            assert same(data, ODDITIES[what]())


def same(one: Any, other: Any) -> bool:
    assert type(one) is type(other)
    if isinstance(one, np.ma.MaskedArray):
        return same(one.mask, other.mask) and same(one.compressed(), other.compressed())
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if type(one).__name__ == "Table":
        return one.colnames == other.colnames and bool((one == other).all())
    if isinstance(one, Frame):
        return same(vars(one), vars(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.process
def test_class_that_nobody_can_import_comes_along():
    class Local(BigMultiPipe):
        def file_read(self, in_name, **kwargs):
            point = type("Point", (), {"x": 0})()
            point.x = int(in_name)
            return point

    with Local(**WORKERS).stream(numbers(3), start_method="forkserver") as stream:
        assert [point.x for point in stream] == [0, 1, 2]


@pytest.mark.process
def test_data_that_cannot_be_sent_are_a_failure_that_says_so():
    class Bad(BigMultiPipe):
        def file_read(self, in_name, **kwargs):
            return Unpicklable()

    what = "Unpicklable cannot be sent.*an open connection"
    with (
        Bad(**WORKERS).stream(numbers(1)) as stream,
        pytest.raises(FileError, match=what) as info,
    ):
        list(stream)
    assert isinstance(info.value.__cause__, UnsendableError)
    assert info.value.hook == "stream"


@pytest.mark.process
def test_data_that_cannot_be_made_again_are_a_failure_that_says_so():
    class Bad(BigMultiPipe):
        def file_read(self, in_name, **kwargs):
            return Unloadable() if in_name == "1" else in_name

    what = r"'1'.*cannot be unpickled"
    with Bad(**WORKERS).stream(numbers(3)) as stream, pytest.raises(FileError, match=what):
        list(stream)
    with Bad(**WORKERS).stream(numbers(3), on_error="skip") as stream:
        assert list(stream) == ["0", "2"]
        assert stream.errors[0].in_name == "1"


@not_spawned
def test_file_that_is_rejected_is_left_out(anywhere: dict[str, Any]):
    with Maker(**anywhere).stream(numbers(6), rejected=("0", "3", "5")) as stream:
        assert means(stream) == [2, 3, 5]


@not_spawned
def test_functions_before_and_after_are_run(anywhere: dict[str, Any]):
    pipe = Maker(pre_process_list=[halve], post_process_list=[sum_up], **anywhere)
    with pipe.stream(["4", "6"]) as stream:
        assert list(stream) == [3 * 20_000, 4 * 20_000]


def halve(data, **kwargs):
    return {"bmp_data": data / 2, "bmp_kwargs": {"halved": True}}


def sum_up(data, bmp_meta=None, halved=False, **kwargs):
    assert halved
    bmp_meta["sum"] = Unpicklable()  # stays where it is
    return data.sum()


# How far workers go ahead.


@not_spawned
@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_no_more_files_are_begun_than_may_be_ahead(
    anywhere: dict[str, Any], prefetch: int, tmp_path: Path
):
    begun = tmp_path / "begun"
    with Maker(begun=begun, **anywhere).stream(numbers(25), prefetch=prefetch) as stream:
        for _ in range(2):
            for n_taken, _ in enumerate(stream, 1):
                assert len(noted(begun)) <= n_taken + prefetch
            assert n_taken == 25
            begun.unlink()


@pytest.mark.process
def test_workers_go_ahead_while_the_loop_is_busy(gate: Gate):
    """All that may be ahead is begun, though nobody looks after the workers.

    Both are there before: one that is still starting gets no files until the loop comes again.
    """
    trouble: dict[tuple[str, str], Any] = {("file_read", str(i)): gate for i in range(1, 20)}
    trouble |= both_are_there(gate)
    with Maker(**WORKERS).stream(numbers(20), prefetch=6, trouble=trouble) as stream:
        assert means(stream.epoch(["0"] * 9)) == [1] * 9  # shows that two fit into memory
        assert means(stream.epoch(["20", "21"])) == [21, 22]
        assert gate.arrived()[1] == "20"
        data = iter(stream)
        gate.open(6)
        assert next(data).mean() == 1
        assert {gate.arrived()[1] for _ in range(6)} == set("123456")
        gate.open(13)
        assert means(data) == list(range(2, 21))


@pytest.mark.process
def test_batch_is_ready_when_the_loop_comes_for_it(gate: Gate):
    trouble = {("file_read", str(i)): gate for i in range(4, 8)}
    with Maker(**WORKERS).stream(numbers(8), batch_size=4, trouble=trouble) as stream:
        batches = iter(stream)
        gate.open(4)
        assert means(next(batches)) == [1, 2, 3, 4]
        assert {gate.arrived()[1] for _ in range(4)} == set("4567")
        assert means(next(batches)) == [5, 6, 7, 8]


@not_spawned
def test_inputs_are_read_only_as_far_as_they_are_needed(anywhere: dict[str, Any]):
    read = []

    def count() -> Iterator[str]:
        for name in numbers(30):
            read.append(name)
            yield name

    with Maker(**anywhere).stream(count(), prefetch=3) as stream:
        for n_taken, _ in enumerate(stream, 1):
            assert len(read) <= n_taken + 3 + 1  # one more is asked for, and waits
    assert read == numbers(30)


# Epochs.


@pytest.mark.process
def test_workers_stay_from_epoch_to_epoch(start_method: str, tmp_path: Path):
    inits = tmp_path / "inits"
    pipe = WithPid(start_method=start_method, inits=inits, **WORKERS)
    with pipe.stream(numbers(8)) as stream:
        pids = {str(pid) for _ in range(3) for _, pid in stream}
    assert pids <= set(noted(inits))
    assert len(noted(inits)) <= 2


@not_spawned
def test_stream_that_is_closed_between_epochs_was_not_interrupted(
    anywhere: dict[str, Any], tmp_path: Path
):
    exits, events = tmp_path / "exits", []
    with Maker(exits=exits, progress=events.append, **anywhere).stream(numbers(8)) as stream:
        for _ in range(2):
            assert len(list(stream)) == 8
        assert noted(exits) == []
    assert noted(exits)
    assert isinstance(events[-1], RunFinished)
    assert (events[-1].n_finished, events[-1].interrupted) == (16, False)


@not_spawned
def test_loop_that_is_left_starts_anew_in_the_next_epoch(anywhere: dict[str, Any], tmp_path: Path):
    inits = tmp_path / "inits"
    with Maker(inits=inits, **anywhere).stream(numbers(20), prefetch=5) as stream:
        for n_seen in (1, 4, 7):
            data = iter(stream)
            assert [next(data).mean() for _ in range(n_seen)] == list(range(1, n_seen + 1))
            del data
        assert means(stream) == list(range(1, 21))
    assert len(noted(inits)) <= 2


@pytest.mark.process
def test_what_was_ahead_of_a_loop_that_is_left_is_not_begun(gate: Gate, tmp_path: Path):
    begun = tmp_path / "begun"
    trouble = {("file_read", "1"): gate}
    pipe = Maker(begun=begun, executor="processes", num_processes=1, trouble=trouble)
    with pipe.stream(numbers(10), prefetch=6) as stream:
        for _ in stream:
            gate.arrived()
            break
        gate.open()
        assert means(stream.epoch(["20", "30"])) == [21, 31]
    assert noted(begun) == ["0", "1", "20", "30"]


@not_spawned
def test_epoch_may_be_of_other_inputs(anywhere: dict[str, Any]):
    with Maker(**anywhere).stream(numbers(3)) as stream:
        assert means(stream.epoch(["5", "4"])) == [6, 5]
        assert means(stream.epoch([])) == []
        assert means(stream) == [1, 2, 3]


@not_spawned
def test_epoch_ends_when_another_begins(anywhere: dict[str, Any]):
    with Maker(**anywhere).stream(numbers(5)) as stream:
        first, second = iter(stream), iter(stream)
        next(first)
        assert next(second).mean() == 1
        with pytest.raises(RuntimeError, match="another epoch has begun"):
            next(first)
        assert means(second) == [2, 3, 4, 5]


def test_iterator_of_inputs_is_good_for_one_epoch():
    stream = Maker(executor="serial").stream(iter(numbers(3)))
    assert means(stream) == [1, 2, 3]
    with pytest.raises(InNamesError, match="give a list"):
        iter(stream)


@not_spawned
def test_stream_that_was_closed_starts_new_workers(anywhere: dict[str, Any]):
    stream = Maker(**anywhere).stream(numbers(3))
    for _ in range(2):
        assert means(stream) == [1, 2, 3]
        stream.close()
        stream.close()


# Batches.


@not_spawned
def test_arrays_of_one_kind_are_stacked(anywhere: dict[str, Any]):
    with Maker(**anywhere).stream(numbers(5), batch_size=2) as stream:
        batches = list(stream)
    assert [batch.shape for batch in batches] == [(2, *LARGE), (2, *LARGE), (1, *LARGE)]
    assert np.concatenate(batches)[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert len(stream) == 3


def test_last_batch_may_be_left_out():
    with Maker(executor="serial").stream(numbers(5), batch_size=2, drop_last=True) as stream:
        assert [len(batch) for batch in stream] == [2, 2]
    assert len(stream) == 2


@pytest.mark.process
@pytest.mark.parametrize("what", ["text", "masked", "tuple of arrays"])
def test_other_data_are_a_list(what: str):
    with Odd(**WORKERS).stream([what] * 3, batch_size=2) as stream:
        batches = list(stream)
    assert [type(batch) for batch in batches] == [list, list]
    assert same(batches, [[ODDITIES[what]()] * 2, [ODDITIES[what]()]])


@pytest.mark.parametrize("names", [("number", "no dimension"), ("empty", "no dimension")])
def test_arrays_that_differ_are_a_list(names: tuple[str, str]):
    [batch] = Odd(executor="serial").stream(names, batch_size=2)
    assert same(batch, [ODDITIES[name]() for name in names])


@not_spawned
def test_batch_is_made_by_a_function_of_the_caller(anywhere: dict[str, Any]):
    with Maker(**anywhere).stream(numbers(5), batch_size=2, collate=means) as stream:
        assert list(stream) == [[1, 2], [3, 4], [5]]


@not_spawned
def test_batch_that_cannot_be_made_ends_the_epoch_alone(anywhere: dict[str, Any]):
    def divide(batch: list[Any]) -> float:
        return 1 / (int(batch[0].mean()) - 3)

    with Maker(**anywhere).stream(numbers(5), batch_size=2, collate=divide) as stream:
        with pytest.raises(ZeroDivisionError):
            list(stream)
        assert len(list(stream.epoch(["7"]))) == 1


def test_rejected_files_leave_no_gap_in_a_batch():
    pipe = Maker(executor="serial", rejected=("1", "2"))
    with pipe.stream(numbers(6), batch_size=2) as stream:
        assert [batch[:, 0, 0].tolist() for batch in stream] == [[1, 4], [5, 6]]


# Parts of files.


class Reader(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        assert isinstance(in_name, str)
        return np.load(in_name)

    def data_process(self, data, in_name=None, **kwargs):
        return os.path.basename(in_name), data.tolist()


class PartReader(Reader):
    def file_read(self, in_name, start=None, end=None, **kwargs):
        return np.array([start or 0, end or -1])


PARTS = [(None, None), (2, 5), (5, None), (None, 3), (np.int64(8), np.int64(100)), (-2, None)]


@not_spawned
def test_part_of_a_file_is_an_input(anywhere: dict[str, Any], make_files: MakeFiles):
    [name] = make_files(1, np.arange(10))
    inputs = [(name, start, end) for start, end in PARTS]
    with Reader(**anywhere).stream([*inputs, name]) as stream:
        got = list(stream)
    expected = [np.arange(10)[start:end].tolist() for start, end in PARTS]
    assert got == [("000.npy", part) for part in [*expected, list(range(10))]]


def test_reader_that_takes_start_and_end_is_given_them(make_files: MakeFiles):
    [name] = make_files(1, np.arange(10))
    with PartReader(executor="serial").stream([(name, 2, 5), name], start=7) as stream:
        assert list(stream) == [("000.npy", [2, 5]), ("000.npy", [7, -1])]


def test_functions_read_parts_too(make_files: MakeFiles):
    [name] = make_files(1, np.arange(10))
    for read in (None, np.load, part_of):
        with FunctionPipe(read, np.ndarray.tolist, executor="serial").stream(
            [(name, 2, 5), (name, 7, None)]
        ) as stream:
            assert list(stream) == [[2, 3, 4], [7, 8, 9]]


def part_of(in_name, start, end):
    return np.load(in_name)[start:end]


def test_error_on_a_part_names_it(make_files: MakeFiles):
    [name] = make_files(1, np.arange(10))
    stream = FunctionPipe(process=len, read=raise_type_error, executor="serial").stream(
        [(name, 2, 5)]
    )
    with pytest.raises(FileError) as info:
        list(stream)
    assert info.value.in_name == (name, 2, 5)
    assert f"'{name}', 2, 5" in str(info.value)
    assert "group" not in str(info.value)


def raise_type_error(in_name):
    raise TypeError("no")


@pytest.mark.process
def test_memory_of_a_part_is_asked_for_by_the_name_of_its_file(make_files: MakeFiles):
    class Sized(Reader):
        def projected_size(self, in_name, **kwargs):
            return os.path.getsize(in_name) + (1 << 26)

    [name] = make_files(1, np.arange(10))
    with Sized(**WORKERS).stream([(name, i, i + 1) for i in range(10)]) as stream:
        assert [data for _, data in stream] == [[i] for i in range(10)]


# What goes wrong.


@not_spawned
def test_error_is_raised_in_its_turn_and_the_workers_stay(anywhere: dict[str, Any], tmp_path: Path):
    inits = tmp_path / "inits"
    trouble = {("data_process", "3"): fail}
    with Maker(inits=inits, **anywhere).stream(numbers(8), trouble=trouble) as stream:
        seen = []
        with pytest.raises(FileError, match="3 is no good") as info:
            seen.extend(each.mean() for each in stream)
        assert info.value.in_name == "3"
        assert len(seen) <= 3
        assert means(stream.epoch(["5"])) == [6]
    assert len(noted(inits)) <= 2


@not_spawned
def test_data_before_an_error_come_first(anywhere: dict[str, Any]):
    trouble = {("data_process", "3"): fail}
    with Maker(**anywhere).stream(numbers(8), prefetch=8, trouble=trouble) as stream:
        data = iter(stream)
        assert [next(data).mean() for _ in range(3)] == [1, 2, 3]
        with pytest.raises(FileError, match="3 is no good"):
            next(data)


@not_spawned
def test_files_that_fail_may_be_left_out(
    anywhere: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    trouble = {("data_process", "1"): fail, ("data_process", "4"): fail}
    with (
        caplog.at_level(logging.WARNING),
        Maker(**anywhere).stream(numbers(6), on_error="skip", trouble=trouble) as stream,
    ):
        for _ in range(2):
            assert means(stream) == [1, 3, 4, 6]
            assert [error.in_name for error in stream.errors] == ["1", "4"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    assert all("left out" in text and "is no good" in text for text in messages)


def test_files_that_all_fail_are_not_left_out_for_ever(caplog: pytest.LogCaptureFixture):
    stream = Maker(executor="serial").stream(
        numbers(40), on_error="skip", trouble={"data_process": fail}
    )
    with pytest.raises(TooManyErrorsError):
        list(stream)


@pytest.mark.process
def test_killed_worker_costs_nothing_but_time(start_method: str, tmp_path: Path):
    trouble = {("data_process", "5"): FirstTimeOnly(kill_self, tmp_path / "killed")}
    with Maker(start_method=start_method, **WORKERS).stream(numbers(20), trouble=trouble) as stream:
        for _ in range(2):
            assert means(stream) == list(range(1, 21))
    assert (tmp_path / "killed").exists()


@pytest.mark.process
def test_file_that_kills_its_workers_is_an_error():
    trouble = {("data_process", "2"): kill_self}
    with Maker(**WORKERS).stream(numbers(6), on_error="skip", trouble=trouble) as stream:
        assert means(stream) == [1, 2, 4, 5, 6]
        assert "SIGKILL" in str(stream.errors[0])


@pytest.mark.process
def test_data_of_a_worker_that_is_killed_afterwards_are_good(gate: Gate):
    """They have arrived, in the parent's memory as much as in the worker's."""
    trouble = {("file_read", "3"): gate}
    pipe = WithPid(executor="processes", num_processes=1, trouble=trouble)
    with pipe.stream(numbers(5), prefetch=4) as stream:
        data = iter(stream)
        kept = [next(data)]
        pid, _ = gate.arrived()
        os.kill(pid, signal.SIGKILL)
        gate.open(2)
        kept += data
    assert [array.mean() for array, _ in kept] == [0, 1, 2, 3, 4]
    assert [made_by == pid for _, made_by in kept] == [True, True, True, False, False]


@pytest.mark.process
def test_file_that_takes_too_long_is_an_error(gate: Gate):
    trouble = {("data_process", "1"): gate}
    with Maker(**WORKERS).stream(
        numbers(4), on_error="skip", file_timeout=0.5, trouble=trouble
    ) as stream:
        assert means(stream) == [1, 3, 4]
        assert "file_timeout" in str(stream.errors[0])


def test_worker_that_cannot_be_prepared_fails_every_file(anywhere: dict[str, Any]):
    class Unready(Maker):
        def worker_init(self, **kwargs):
            raise RuntimeError("no model")

    stream = Unready(**anywhere).stream(numbers(4))
    for _ in range(2):
        with pytest.raises(FileError, match="no model"):
            list(stream)
    stream.close()


@pytest.mark.process
def test_attribute_that_cannot_be_sent_is_named():
    pipe = Maker(start_method="spawn", **WORKERS)
    pipe.connection = Unpicklable()
    with pytest.raises(UnsendableError, match="'connection'"):
        list(pipe.stream(numbers(2)))


@not_spawned
def test_inputs_that_raise_end_the_epoch(anywhere: dict[str, Any]):
    def broken() -> Iterator[str]:
        yield from numbers(3)
        raise RuntimeError("the list is torn")

    with Maker(**anywhere).stream(numbers(3), prefetch=1) as stream:
        with pytest.raises(RuntimeError, match="torn"):
            list(stream.epoch(broken()))
        assert means(stream) == [1, 2, 3]


# What is left.


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if descriptors, mappings or workers are left."""
    list(Maker(executor="processes", num_processes=1).stream(["0"]))  # whatever is kept for good
    gc.collect()
    n_open, n_mapped, pids = len(os.listdir("/proc/self/fd")), len(shared_mappings()), worker_pids()
    yield
    gc.collect()
    # Fewer, if what tests before this one have left is gone by now.
    assert len(os.listdir("/proc/self/fd")) <= n_open
    assert len(shared_mappings()) <= n_mapped
    assert worker_pids() <= pids


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")


@needs_proc
@pytest.mark.process
def test_stream_leaves_nothing():
    with nothing_left():
        for _ in range(2):
            with Maker(**WORKERS).stream(numbers(10), prefetch=4) as stream:
                assert means(stream) == list(range(1, 11))
        del stream


@needs_proc
@pytest.mark.process
def test_loop_that_is_left_leaves_nothing():
    with nothing_left():
        for data in Maker(**WORKERS).stream(numbers(10), prefetch=4):
            assert data.mean() == 1
            break
        del data


@needs_proc
@pytest.mark.process
def test_loop_that_fails_leaves_nothing(tmp_path: Path):
    with nothing_left():
        trouble = {
            ("data_process", "2"): FirstTimeOnly(kill_self, tmp_path / "killed"),
            ("data_process", "5"): fail,
        }
        with pytest.raises(FileError):
            list(Maker(**WORKERS).stream(numbers(10), trouble=trouble))


@needs_proc
@pytest.mark.process
def test_loop_that_fails_leaves_nothing_if_its_error_is_the_last_result():
    """It was, if the loop took fewer than would be renewed: the run had it, and it the stream."""
    with nothing_left():
        stream = Maker(**WORKERS).stream(
            numbers(60), batch_size=2, prefetch=30, trouble={("data_process", "0"): fail}
        )
        with pytest.raises(FileError):
            list(stream)
        del stream


@needs_proc
@pytest.mark.process
def test_stream_that_nobody_has_ends_its_workers():
    with nothing_left():
        stream = Maker(**WORKERS).stream(numbers(10))
        for _ in stream:
            pass
        assert len(worker_pids()) >= 1
        del stream, _
        gc.collect()


def test_workers_at_rest_end_in_peace(tmp_path: Path):
    class Exiting(Maker):
        def worker_exit(self, exits, **kwargs):
            note(exits, "out")

    exits = tmp_path / "exits"
    with Exiting(exits=exits, **WORKERS).stream(numbers(10)) as stream:
        list(stream)
    assert noted(exits) == ["out", "out"]


# What is asked for.


class OwnWay(BigMultiPipe):
    def file_process(self, in_name, **kwargs):
        return in_name, {}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"prefetch": -1}, "prefetch"),
        ({"collate": list}, "batch_size"),
        ({"drop_last": True}, "batch_size"),
        ({"on_error": "finish"}, "on_error"),
        ({"journal": "a.journal"}, "journal"),
        ({"order": "size"}, "order"),
        ({"overlap": True}, "overlap"),
        ({"PoolClass": NestablePool}, "PoolClass"),
        ({"num_processes": -1}, "num_processes"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], what: str):
    with pytest.raises(OptionError, match=what):
        Maker().stream(numbers(3), **given)


def test_numbers_of_numpy_are_numbers():
    with Maker(executor="serial").stream(
        numbers(5), batch_size=np.int64(2), prefetch=np.uint8(0)
    ) as stream:
        assert [len(batch) for batch in stream] == [2, 2, 1]


def test_pool_class_of_the_object_is_refused():
    with pytest.raises(OptionError, match="PoolClass"):
        Maker(PoolClass=NestablePool).stream(numbers(3))


def test_file_process_of_a_subclass_is_refused():
    with pytest.raises(OptionError, match="file_process"):
        OwnWay().stream(numbers(3))


def test_single_name_is_refused():
    with pytest.raises(InNamesError):
        Maker().stream("0")


def test_inputs_without_a_length_give_a_stream_without_one():
    assert len(Maker().stream(numbers(3))) == 3
    with pytest.raises(TypeError):
        len(Maker().stream(iter(numbers(3))))


@not_spawned
def test_object_is_as_it_was(anywhere: dict[str, Any], tmp_path: Path):
    """Options for other kinds of runs have no effect on a stream."""
    pipe = Maker(outdir=tmp_path / "out", journal=tmp_path / "journal", overlap=True, **anywhere)
    with pipe.stream(numbers(3)) as stream:
        assert means(stream) == [1, 2, 3]
    assert list(tmp_path.iterdir()) == []


# Copies of this process.


DEEDS: dict[str, Callable[[Any, Any], object]] = {
    "next": lambda stream, epoch: next(epoch),
    "leave": lambda stream, epoch: epoch.close(),
    "close": lambda stream, epoch: stream.close(),
    "another epoch": lambda stream, epoch: list(stream.epoch(numbers(3))),
}


@pytest.mark.process
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_fork_of_this_process_takes_nothing_away_from_an_epoch(deed):
    with Maker(**WORKERS).stream(numbers(8)) as stream:
        epoch = iter(stream)
        got = [next(epoch)[0, 0]]
        told = in_a_fork(lambda: deed(stream, epoch))
        got += [data[0, 0] for data in epoch]
    assert got == [1, 2, 3, 4, 5, 6, 7, 8]
    assert told.startswith("RuntimeError: this process was forked") == (deed is DEEDS["next"])
