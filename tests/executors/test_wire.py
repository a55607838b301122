"""Tests of the channels between the caller and a worker process."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest

from bigpipe.executors import wire
from bigpipe.executors.base import Task
from bigpipe.scheduling.pace import MAX_AHEAD
from tests.mischief import check_descriptors_are_given_back


@pytest.fixture
def ends() -> Iterator[tuple[wire.ParentEnds, wire.WorkerEnds]]:
    """Both ends, in one process."""
    parent = wire.ParentEnds()
    worker = wire.WorkerEnds(*map(os.dup, parent.worker_fds))
    parent.close_worker_fds()
    yield parent, worker
    worker.tickets.close()
    worker.stream.close()
    parent.close()


def tasks(*indices: int, name: str = "a") -> list[Task]:
    return [Task(index, name) for index in indices]


def test_tasks_are_taken_in_their_order_and_numbered(ends):
    parent, worker = ends
    assert parent.next_numbers(2) == range(1, 3)
    assert parent.send_tasks(tasks(7, 5))
    assert parent.next_numbers(1) == range(3, 4)
    assert parent.send_tasks(tasks(6))
    parent.send_end()
    taken = [worker.next_task() for _ in range(3)]
    assert [(number, task.index) for number, task in taken] == [(1, 7), (2, 5), (3, 6)]
    assert worker.next_task() is None


def test_task_is_taken_by_the_worker_or_taken_back_and_never_both(ends):
    parent, worker = ends
    parent.send_tasks(tasks(*range(MAX_AHEAD + 1)))
    parent.send_end()
    assert worker.next_task()[0] == 1
    assert parent.take_tickets_back() == list(range(2, MAX_AHEAD + 2))
    assert parent.take_tickets_back() == []


def test_task_that_was_taken_back_is_passed_over(ends):
    parent, worker = ends
    parent.send_tasks(tasks(1, 2))
    worker.next_task()
    parent.send_tasks(tasks(3))
    assert parent.take_tickets_back() == [2, 3]
    parent.send_tasks(tasks(4, 5))
    assert [worker.next_task()[1].index for _ in range(2)] == [4, 5]


def test_tasks_that_are_taken_back_before_they_have_gone_use_no_memory(ends):
    parent, worker = ends
    for index in range(1000):
        parent.send_tasks(tasks(index, name="x" * 10_000))
        parent.take_tickets_back()
    assert len(parent._outgoing) <= 1, "but for one that has gone in part"
    parent.send_tasks(tasks(1000))
    while not parent.flush():
        worker._keep(*worker._receive())
    assert worker.next_task()[1].index == 1000


def test_input_that_cannot_be_read_harms_no_task_beside_it(ends):
    parent, worker = ends
    parent.send_tasks([*tasks(0), Task(1, BrittlePath()), *tasks(2)])
    assert worker.next_task()[1].index == 0
    with pytest.raises(ValueError, match="brittle"):
        worker.next_task()
    assert worker.next_task()[1].index == 2


class BrittlePath(os.PathLike):
    def __fspath__(self):
        return "a"

    def __reduce__(self):
        return break_in_two, ()


def break_in_two():
    raise ValueError("brittle")


def test_answer_may_come_after_tasks(ends):
    parent, worker = ends
    parent.send_tasks(tasks(*range(5), name="x" * 10_000))
    parent.send(wire.ANSWER, 3, b"for one who did not wait")
    parent.send(wire.ANSWER, 4, b"no")
    assert worker.receive(wire.ANSWER, 4) == b"no"
    assert worker.next_task()[1].index == 0


def test_parent_is_not_held_up_by_a_worker_that_does_not_read(ends):
    parent, worker = ends
    content = os.urandom(3_000_000)
    assert not parent.send(wire.SETUP, 0, content)
    received = []
    worker.stream.setblocking(False)
    while not parent.flush():
        received.append(worker.stream.recv(1 << 20))
    worker.stream.setblocking(True)
    frame = b"".join(wire.frame(wire.SETUP, 0, content))
    rest = len(frame) - sum(map(len, received))
    assert b"".join(received) + worker._read(rest) == frame


def test_nothing_follows_a_frame_that_was_broken_off(ends):
    parent, worker = ends
    worker.send(wire.TOLD, 1, b"whole")

    class Broken(io.RawIOBase):
        def sendall(self, data: bytes) -> None:
            stream.send(data[:5])
            raise TimeoutError

    stream, worker.stream = worker.stream, Broken()
    with pytest.raises(TimeoutError):
        worker.send(wire.TOLD, 2, b"half")
    worker.stream = stream
    with pytest.raises(ConnectionError):
        worker.send(wire.TOLD, 3, b"not sent")
    _, frames = parent.receive()
    assert [(kind, number, bytes(payload)) for kind, number, payload in frames] == [
        (wire.TOLD, 1, b"whole")
    ]


def test_name_of_a_hook_is_read_by_the_parent_however_long(ends):
    parent, worker = ends
    assert parent.stage() is None
    worker.note_stage("post_process: " + "é" * 300)
    assert parent.stage().startswith("post_process: éé")
    worker.note_stage("file_write")
    assert parent.stage() == "file_write"


def test_worker_reads_for_how_long_it_was_paused_whatever_hook_it_is_in(ends):
    parent, worker = ends
    assert worker.paused_s() == 0.0
    parent.note_paused(12.5)
    worker.note_stage("post_process: " + "x" * 1000)
    assert worker.paused_s() == 12.5
    assert parent.stage() == "post_process: " + "x" * (wire.STAGE_SIZE - 15)


def test_no_end_stays_open_if_not_all_can_be_opened():
    check_descriptors_are_given_back(lambda: wire.ParentEnds().close())
