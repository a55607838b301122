"""Tests of the channels between the caller and a worker process."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator

import pytest

from bigpipe.executors import wire
from bigpipe.executors.base import Task
from bigpipe.executors.processes import MAX_AHEAD


@pytest.fixture
def ends() -> Iterator[tuple[wire.ParentEnds, wire.WorkerEnds]]:
    """Both ends, in one process."""
    parent = wire.ParentEnds()
    worker = wire.WorkerEnds(*map(os.dup, parent.worker_fds))
    parent.close_worker_fds()
    yield parent, worker
    worker.tasks.close()
    worker.stream.close()
    parent.close()


def test_as_many_tasks_as_may_be_sent_ahead_fit_and_can_be_taken_back(ends):
    parent, worker = ends
    name = "x" * (wire.MAX_PACKET - 100)
    for sequence in range(MAX_AHEAD + 1):
        packet = wire.task_packet(sequence, Task(sequence, name))
        assert 0.9 * wire.MAX_PACKET < len(packet) <= wire.MAX_PACKET
        parent.tasks.send(packet, socket.MSG_DONTWAIT)
    parent.tasks.send(wire.END, socket.MSG_DONTWAIT)
    assert worker.next_task()[1].in_name == name
    assert parent.unread_tasks() == list(range(1, MAX_AHEAD + 1))
    assert parent.unread_tasks() == []


def test_large_task_that_was_taken_back_is_passed_over(ends):
    parent, worker = ends
    for sequence in (1, 2):
        packet = wire.task_packet(sequence, Task(sequence, "x" * 10_000))
        parent.send(wire.LARGE_TASK, sequence, packet)
        parent.tasks.send(wire.task_packet(sequence, None))
        if sequence == 1:
            assert parent.unread_tasks() == [1]
    sequence, task = worker.next_task()
    assert (sequence, task.index, len(task.in_name)) == (2, 2, 10_000)


def test_answer_may_come_after_large_tasks(ends):
    parent, worker = ends
    packet = wire.task_packet(5, Task(5, "x" * 10_000))
    parent.send(wire.LARGE_TASK, 5, packet)
    parent.tasks.send(wire.task_packet(5, None))
    parent.send(wire.ANSWER, 3, b"for one who did not wait")
    parent.send(wire.ANSWER, 4, b"no")
    assert worker.receive(wire.ANSWER, 4) == b"no"
    assert worker.next_task()[0] == 5


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
