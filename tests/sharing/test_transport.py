"""Links that carry objects from one process to another, and the end of either."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.sharing import parcels
from bigpipe.sharing.parcels import MIN_ASIDE
from bigpipe.sharing.segments import MAX_HELD
from bigpipe.sharing.transport import MAX_INLINE, Receiver, Sender, open_link, wait_for

LIMIT = 60.0  # seconds; only a test that fails ever waits so long

pytestmark = pytest.mark.process


@pytest.fixture
def link() -> Iterator[tuple[Sender, Receiver]]:
    """Both ends of a link in this process."""
    sending, receiving = open_link()
    sender, receiver = Sender(sending, max_count=100), Receiver(receiving)
    yield sender, receiver
    sender.abandon()
    receiver.close()


@contextmanager
def process(function: Callable[..., None], *args: object) -> Iterator[int]:
    """Run a function in a forked process; give its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*args)
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def fed_by(function: Callable[[Sender], None], **limits: int) -> Iterator[tuple[int, Receiver]]:
    """Give a receiver, and the id of the process that sends."""

    def feed() -> None:
        os.close(receiving)
        function(Sender(sending, **limits))

    sending, receiving = open_link()
    with process(feed) as pid:
        os.close(sending)
        receiver = Receiver(receiving)
        try:
            yield pid, receiver
        finally:
            receiver.close()


@contextmanager
def eaten_by(function: Callable[[Receiver], None], **limits: int) -> Iterator[tuple[int, Sender]]:
    """Give a sender, and the id of the process that receives."""

    def eat() -> None:
        os.close(sending)
        function(Receiver(receiving))

    sending, receiving = open_link()
    with process(eat) as pid:
        os.close(receiving)
        sender = Sender(sending, **limits)
        try:
            yield pid, sender
        finally:
            sender.abandon()


def wait_here(*_: object) -> None:
    signal.pause()


def all_of(receiver: Receiver) -> list[object]:
    objects = []
    while True:
        try:
            objects.append(receiver.receive())
        except EOFError:
            return objects


def test_objects_arrive_in_order():
    def feed(sender):
        for number in range(1000):
            sender.send(number)
        sender.close()

    with fed_by(feed) as (_, receiver):
        assert all_of(receiver) == list(range(1000))


def test_arrays_arrive_whole_and_equal():
    def feed(sender):
        for number in range(20):
            sender.send({"n": number, "arrays": (np.full((7, 50_000), number), np.arange(number))})
        sender.close()

    with fed_by(feed) as (_, receiver):
        for number in range(20):
            came = receiver.receive()
            assert came["n"] == number
            np.testing.assert_array_equal(came["arrays"][0], np.full((7, 50_000), number))
            np.testing.assert_array_equal(came["arrays"][1], np.arange(number))
        with pytest.raises(EOFError):
            receiver.receive()


@given(sizes=st.lists(st.integers(0, 20_000), max_size=20), max_count=st.integers(1, 4))
def test_any_sizes_one_after_another(sizes, max_count):
    sending, receiving = open_link()
    sender, receiver = Sender(sending, max_count=max_count), Receiver(receiving)
    came = []
    for size in sizes:
        while not sender.may_send():
            came.append(receiver.receive())
        sender.send(np.full(size, size, np.uint16))
    sender.close()
    came += all_of(receiver)
    receiver.close()
    assert [len(array) for array in came] == sizes
    assert all((array == len(array)).all() for array in came)


def test_long_pickle_is_no_hindrance(link):
    sender, receiver = link
    text = "text " * MAX_INLINE
    sender.send([text, np.arange(9999)])
    came, array = receiver.receive()
    assert came == text
    np.testing.assert_array_equal(array, np.arange(9999))


def test_object_may_have_very_many_arrays(link):
    sender, receiver = link
    n = 70_000  # more than a process may have mappings, usually
    numbers = np.arange(n + MIN_ASIDE, dtype=np.uint32).view(np.uint8)
    arrays = [numbers[4 * i : 4 * i + MIN_ASIDE] for i in range(n)]  # which take no more memory
    sender.send(arrays)
    came = receiver.receive()
    assert [array.view(np.uint32)[0] for array in came] == list(range(n))
    assert all(array.view(np.uint32)[-1] == i + MIN_ASIDE // 4 - 1 for i, array in enumerate(came))


def test_array_is_what_it_was_when_it_was_sent(link):
    sender, receiver = link
    array = np.zeros(100_000)
    sender.send(array)
    array[:] = 1
    assert not receiver.receive().any()


def test_segment_is_used_again_once_its_array_has_gone(link):
    sender, receiver = link
    addresses = set()
    for _ in range(50):
        sender.send(np.ones(100_000))
        addresses.add(receiver.receive().ctypes.data)
    assert len(addresses) <= 3


def test_array_that_the_receiver_keeps_stays_as_it_is(link):
    sender, receiver = link
    kept = []
    for number in range(3 * MAX_HELD):
        sender.send(np.full((100, 100), number))
        kept.append(receiver.receive()[10:, 5])
        gc.collect()
    assert all((part == number).all() for number, part in enumerate(kept))
    receiver.close()
    sender.abandon()
    assert all((part == number).all() for number, part in enumerate(kept))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_segments_are_not_lost_when_they_are_not_filled_to_the_end(link, monkeypatch, error):
    def break_off(part, memory):
        raise error

    sender, receiver = link
    sender.send(np.ones(100_000))
    address = receiver.receive().ctypes.data
    assert not receiver.may_receive()  # which tells the sender that the array has gone
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(parcels, "_copy", break_off)
        for n in (100_000, 200_000):  # one that there is, one that has to be made
            with pytest.raises(error):
                sender.send(np.ones(n))
    gc.collect()  # tracebacks
    assert len(os.listdir("/proc/self/fd")) == before
    sender.send(np.ones(100_000))
    assert receiver.receive().ctypes.data == address
    sender.send(np.full(200_000, 2))
    assert (receiver.receive() == 2).all()


def test_who_keeps_everything_takes_no_more_descriptors_than_allowed(link):
    sender, receiver = link
    kept = []
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        sender.send(np.ones(1000))
        kept.append(receiver.receive())
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * (MAX_HELD + 3)


def test_receiver_may_write_into_what_it_has(link):
    sender, receiver = link
    sender.send(np.zeros(10_000))
    first = receiver.receive()
    first += 1
    sender.send(np.zeros(10_000))
    assert not receiver.receive().any()
    assert first.all()


def test_no_more_objects_are_under_way_than_allowed(link):
    sender, receiver = link
    sender.max_count = 3
    for number in range(3):
        assert sender.may_send()
        sender.send(number)
    assert not sender.may_send()
    assert receiver.receive() == 0
    assert sender.may_send()
    assert (sender.n_sent, sender.n_taken, sender.n_under_way) == (3, 1, 2)


def test_no_more_bytes_are_under_way_than_allowed():
    sizes = []

    def feed(sender):
        for size in (400, 400, 400, 5000, 10):
            sender.send(np.ones(size * 1024, np.uint8))
        sender.close()

    with fed_by(feed, max_count=100, max_bytes=1 << 20) as (_, receiver):
        while True:
            try:
                sizes.append(len(receiver.receive()) // 1024)
            except EOFError:
                break
    assert sizes == [400, 400, 400, 5000, 10]  # also what is larger than the limit, alone


def test_byte_limit_makes_the_sender_wait(link):
    sender, receiver = link
    sender.max_bytes = 1 << 20
    sender.send(np.ones(600 << 10, np.uint8))
    thread = threading.Thread(target=sender.send, args=(np.ones(600 << 10, np.uint8),))
    thread.start()
    assert len(receiver.receive()) == 600 << 10
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert len(receiver.receive()) == 600 << 10


def test_more_small_objects_than_a_socket_takes_are_no_hindrance(link):
    sender, receiver = link
    sender.max_count = 10_000
    for number in range(5000):
        sender.post(number)
    assert sender.has_unsent
    assert [receiver.receive() for _ in range(100)] == list(range(100))
    thread = threading.Thread(target=sender.close)
    thread.start()
    assert all_of(receiver) == list(range(100, 5000))
    thread.join(LIMIT)


def test_sender_that_was_closed_has_ended_the_stream(link):
    sender, receiver = link
    sender.send("last")
    sender.close()
    assert receiver.may_receive()
    assert receiver.receive() == "last"
    for _ in range(2):
        with pytest.raises(EOFError):
            receiver.receive()


def test_sender_that_was_killed_has_not_ended_the_stream():
    def feed(sender):
        sender.send(np.arange(5000))
        signal.pause()

    with fed_by(feed) as (pid, receiver):
        assert receiver.receive().sum() == sum(range(5000))
        assert not receiver.may_receive()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            receiver.receive()


def test_receiver_that_was_killed_breaks_off_a_send_that_waits():
    def eat(receiver):
        receiver.receive()
        signal.pause()

    with eaten_by(eat, max_count=1) as (pid, sender):
        sender.send(np.ones(5000))
        sender.send(np.ones(5000))  # as soon as the first was taken
        killer = threading.Timer(0, os.kill, (pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(BrokenPipeError):
            sender.send(np.ones(5000))
        killer.join()


def test_receiver_that_was_closed_is_told_to_the_sender(link):
    sender, receiver = link
    sender.send("never taken")
    receiver.close()
    assert sender.may_send()
    with pytest.raises(BrokenPipeError):
        sender.send("more")
    sender.close()


class Stop(Exception):
    """Raised by the handler of a signal."""


@contextmanager
def stopped_by_signal() -> Iterator[None]:
    """Have a signal come while the block waits."""

    def stop(number, frame):
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    me = threading.get_ident()
    timer = threading.Timer(0.05, signal.pthread_kill, (me, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Stop):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_signal_breaks_off_a_receive_that_waits_and_the_link_stays_whole(link):
    sender, receiver = link
    with stopped_by_signal():
        receiver.receive()
    sender.send("later")
    assert receiver.receive() == "later"


def test_signal_breaks_off_a_send_that_waits_and_the_link_stays_whole(link):
    sender, receiver = link
    sender.max_count = 1
    sender.send(1)
    with stopped_by_signal():
        sender.send(2)
    assert receiver.receive() == 1
    sender.send(3)
    assert receiver.receive() == 3


def test_ends_may_be_passed_to_a_process_that_runs_already():
    def serve(there):
        _, (descriptor,), _, _ = socket.recv_fds(there, 1, 1)
        sender = Sender(descriptor)
        sender.send(np.arange(3000))
        sender.close()

    here, there = socket.socketpair()
    with here, there, process(serve, there):
        sending, receiving = open_link()
        socket.send_fds(here, [b"."], [sending])
        os.close(sending)
        receiver = Receiver(receiving)
        np.testing.assert_array_equal(receiver.receive(), np.arange(3000))
        receiver.close()


def test_one_may_wait_for_several_ends():
    links = [open_link() for _ in range(3)]
    senders = [Sender(sending) for sending, _ in links]
    receivers = [Receiver(receiving) for _, receiving in links]
    assert not wait_for(receivers, timeout=0)
    senders[1].send("here")
    assert wait_for(receivers, LIMIT)
    assert [receiver.may_receive() for receiver in receivers] == [False, True, False]
    for sender, receiver in zip(senders, receivers, strict=True):
        sender.abandon()
        receiver.close()


def test_closed_ends_leave_no_descriptor_behind():
    before = len(os.listdir("/proc/self/fd"))
    sending, receiving = open_link()
    sender, receiver = Sender(sending, max_count=9), Receiver(receiving)
    for _ in range(3):
        sender.send(np.ones(9999))
    receiver.receive()
    sender.abandon()
    receiver.close()
    del sender, receiver
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
