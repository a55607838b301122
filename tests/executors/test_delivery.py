"""Data from workers by shared memory: both ends in one process."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bigpipe.executors import delivery
from bigpipe.executors.delivery import DataReceiver, DataSender, Handle, max_segments
from bigpipe.sharing import parcels
from bigpipe.sharing.segments import SPARE

N = 50_000  # elements of 8 bytes: large enough to be shared


@pytest.fixture
def receiver() -> Iterator[DataReceiver]:
    receiver = DataReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def sender(receiver: DataReceiver) -> DataSender:
    return DataSender(receiver.worker_fd, n_wanted=4, max_segments=10)


def carried(handle: Handle) -> Handle:
    """Return a handle as it comes out of a report."""
    return pickle.loads(pickle.dumps((handle,)))[0]


def numbers_of(handles: list[Handle]) -> list[Any]:
    return [handle.beside for handle in handles]


def test_data_arrive_in_any_order(sender: DataSender, receiver: DataReceiver) -> None:
    handles = [carried(sender.send({"i": i, "data": np.full(N, i)})) for i in range(5)]
    for i in (3, 0, 4, 1, 2):
        arrived = receiver.claim(handles[i]).open()
        assert arrived["i"] == i
        assert (arrived["data"] == i).all()


def test_small_data_are_in_the_handle(sender: DataSender, receiver: DataReceiver) -> None:
    handle = carried(sender.send([np.arange(1000), "text"]))
    assert isinstance(handle.beside, bytearray)
    array, text = receiver.claim(handle).open()
    array[0] = 7  # it may be written into
    assert array[1:].tolist() == list(range(1, 1000))
    assert text == "text"


def test_memory_is_used_again_when_no_array_uses_it(
    sender: DataSender, receiver: DataReceiver
) -> None:
    first = sender.send(np.full(N, 1))
    kept = receiver.claim(first).open()[5:]
    second = sender.send(np.full(N, 2))
    assert second.beside != first.beside
    del kept
    gc.collect()
    receiver.give_back()
    assert sender.send(np.full(N, 3)).beside == first.beside
    assert (receiver.claim(second).open() == 2).all()


def test_memory_of_what_was_never_opened_is_used_again(
    sender: DataSender, receiver: DataReceiver
) -> None:
    first = sender.send(np.full(N, 1))
    receiver.claim(first)
    receiver.give_back()
    assert sender.send(np.full(N, 2)).beside == first.beside


def test_memory_that_is_not_needed_any_more_is_given_up(
    sender: DataSender, receiver: DataReceiver
) -> None:
    handles = [sender.send(np.full(N, i)) for i in range(10)]
    kept = [receiver.claim(handle).open() for handle in handles]
    del kept
    gc.collect()
    receiver.give_back()
    for _ in range(20):
        receiver.claim(sender.send(np.full(N, 1)))
        receiver.give_back()
    n_left = len(receiver._workers[os.getpid()].flags)
    assert n_left <= 4 + SPARE + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_memory_is_not_lost_when_it_is_not_filled_to_the_end(
    sender: DataSender,
    receiver: DataReceiver,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    def break_off(part: object, memory: object) -> None:
        raise error

    first = sender.send(np.full(N, 1))
    receiver.claim(first)
    receiver.give_back()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(parcels, "_copy", break_off)
        for n in (N, 2 * N):  # one that there is, one that has to be made
            with pytest.raises(error):
                sender.send(np.ones(n))
    gc.collect()  # tracebacks
    assert len(os.listdir("/proc/self/fd")) == before
    assert sender.send(np.full(N, 2)).beside == first.beside
    assert (receiver.claim(sender.send(np.full(2 * N, 3))).open() == 3).all()


def test_larger_data_have_memory_of_their_own(sender: DataSender, receiver: DataReceiver) -> None:
    for n in (N, 2 * N, 3 * N):
        assert len(receiver.claim(sender.send(np.arange(n))).open()) == n
        receiver.give_back()


def test_no_more_is_shared_than_may_be(sender: DataSender, receiver: DataReceiver) -> None:
    handles = [sender.send(np.full(N, i)) for i in range(12)]
    assert [isinstance(handle.beside, bytearray) for handle in handles] == [False] * 10 + [True] * 2
    assert [receiver.claim(handle).open()[0] for handle in handles] == list(range(12))


def test_what_is_held_beyond_the_limit_is_copied(
    sender: DataSender, receiver: DataReceiver
) -> None:
    receiver.max_held = 2
    kept = [receiver.claim(sender.send(np.full(N, i))).open() for i in range(30)]
    receiver.give_back()
    assert [array[0] for array in kept] == list(range(30))
    assert len(receiver._workers[os.getpid()].flags) <= 2 + SPARE


def test_arrays_stay_when_the_worker_and_the_receiver_are_gone(
    sender: DataSender, receiver: DataReceiver
) -> None:
    kept = receiver.claim(sender.send(np.full(N, 5))).open()
    del sender
    receiver.forget(os.getpid())
    receiver.close()
    gc.collect()
    assert (kept == 5).all()


def test_receiver_that_is_closed_twice_closes_nothing_of_another() -> None:
    first = DataReceiver()
    first.close()
    second = DataReceiver()  # has the same descriptors
    first.close()
    handle = DataSender(second.worker_fd, 1, 1).send(np.arange(N))
    assert second.claim(handle).open()[-1] == N - 1
    second.close()


def test_what_a_worker_has_sent_and_nobody_heard_of_is_forgotten(
    sender: DataSender, receiver: DataReceiver
) -> None:
    sender.send(np.full(N, 5))
    receiver.forget(os.getpid())
    receiver._receive_segments()  # nothing is left that could be taken for another worker's
    assert not receiver._workers


def test_without_a_descriptor_all_is_in_the_handle(receiver: DataReceiver) -> None:
    handle = carried(DataSender(None, 1, 1).send(np.arange(N)))
    assert isinstance(handle.beside, bytearray)
    assert receiver.claim(handle).open()[-1] == N - 1


def test_without_shared_memory_all_is_in_the_handle(
    sender: DataSender, receiver: DataReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(delivery, "_send_segment", refuse)
    handle = sender.send(np.arange(N))
    assert isinstance(handle.beside, bytearray)
    monkeypatch.undo()
    assert isinstance(sender.send(np.arange(N)).beside, int)
    assert receiver.claim(handle).open()[-1] == N - 1


def test_descriptors_suffice_for_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft in (256, 1024, 20_000, 1 << 30):
        monkeypatch.setattr(delivery.resource, "getrlimit", lambda which, soft=soft: (soft, soft))
        for n_workers in (1, 2, 8, 64):
            assert 2 <= max_segments(n_workers) <= max(2, soft // (4 * n_workers))
            assert max_segments(n_workers) < 10_000
