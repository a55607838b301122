"""What travels between the parent and a worker process, and the ends of the channels.

Owns the form of packets and frames and both ends of the two sockets. What they mean is told
in `bigpipe.executors.processes`.

A task is one packet. Everything else is a frame of a stream: length of the payload (4 bytes),
kind (1 byte), number (8 bytes), payload.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import threading
from collections import deque
from typing import Any

from bigpipe.errors import UnsendableError, shown
from bigpipe.executors._descriptors import close_parent_fd, no_fork, register_parent_fd
from bigpipe.executors.base import Task
from bigpipe.snapshot import anonymous_file

__all__ = ["MAX_PACKET", "ParentEnds", "WorkerEnds", "task_packet"]

REPORT, TOLD, ASK, STAGING, READY, INIT_FAILED, SETUP, ANSWER, LARGE_TASK = range(9)

END = b"end"
MAX_PACKET = 1024  # bytes: larger tasks (groups of many names) go through the stream
STAGE_SIZE = 256  # bytes for the name of the hook that runs
CHUNK = 256 * 1024  # bytes read at once

_HEADER = struct.Struct("<IBQ")
_MAX_PAYLOAD = 2**32 - 1
# A socket that keeps packets apart, so that taking one is atomic, and tells of its end.
_PACKETS = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)


def task_packet(sequence: int, task: Task | None) -> bytes:
    """Return a task as a packet; without a task, one that says it comes by the stream."""
    if task is None:
        return pickle.dumps((sequence, None), protocol=5)
    content = (sequence, (task.index, task.in_name, task.granted, task.memory))
    if _is_plain(task.in_name):
        return pickle.dumps(content, protocol=5)
    import cloudpickle

    try:
        packet: bytes = cloudpickle.dumps(content, protocol=5)  # its class may be the caller's own
    except Exception as error:  # any object's own pickling may raise anything
        raise UnsendableError(
            f"the input {shown(task.in_name)} cannot be sent to a worker process "
            f"({type(error).__name__}: {error}); give its name as a str, or use "
            "executor='threads' or 'serial'"
        ) from error
    return packet


def _is_plain(in_name: Any) -> bool:
    """Whether an input is of classes that any interpreter has."""
    if type(in_name) is list:
        return all(map(_is_plain, in_name))
    return type(in_name) is str or type(in_name).__module__.startswith("pathlib")


def frame(kind: int, number: int, payload: bytes) -> list[bytes]:
    """Return a frame in pieces."""
    if len(payload) > _MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes are more than the 4 GiB that can be sent")
    return [_HEADER.pack(len(payload), kind, number), payload]


class ParentEnds:
    """The parent's ends of one worker's channels, and until it has begun, the worker's."""

    def __init__(self) -> None:
        stage_fd = anonymous_file()
        os.ftruncate(stage_fd, STAGE_SIZE)
        self._stage = mmap.mmap(stage_fd, STAGE_SIZE)
        # Other workers are forked while these are open, and must not keep them.
        with no_fork():
            self.tasks, self._tasks_there = socket.socketpair(socket.AF_UNIX, _PACKETS)
            self._recall = self._tasks_there.dup()
            self.stream, stream_there = socket.socketpair()
            for end in (self.tasks, self._recall, self.stream):
                register_parent_fd(end.fileno())
        self.stream.setblocking(False)
        self._stream_there: socket.socket | None = stream_there
        self._stage_fd = stage_fd
        self.worker_fds = [self._tasks_there.fileno(), stream_there.fileno(), stage_fd]
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()

    def close_worker_fds(self) -> None:
        """Close what belongs to the worker now; a copy of its end of the tasks is kept."""
        if self._stream_there is not None:
            self._stream_there.close()
            self._tasks_there.close()
            self._stream_there = None
            os.close(self._stage_fd)

    def close(self) -> None:
        """Close everything."""
        self.close_worker_fds()
        for end in (self.tasks, self._recall, self.stream):
            close_parent_fd(end.detach())
        self._stage.close()

    def unread_tasks(self) -> list[int]:
        """Take back the packets that the worker has not taken; return their sequence numbers."""
        sequences: list[int] = []
        while True:
            try:
                packet = self._recall.recv(MAX_PACKET * 2, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):
                return sequences
            if not packet:
                return sequences
            if packet != END:
                sequences.append(pickle.loads(packet)[0])

    def stage(self) -> str | None:
        """Return the name of the hook that the worker was last in."""
        return bytes(self._stage).partition(b"\0")[0].decode("utf-8", "replace") or None

    def send(self, kind: int, number: int, payload: bytes) -> bool:
        """Send a frame, or what fits of it now; return whether all has gone."""
        self._outgoing.extend(memoryview(piece) for piece in frame(kind, number, payload) if piece)
        return self.flush()

    def flush(self) -> bool:
        """Send what still waits, without blocking; return whether all has gone."""
        while self._outgoing:
            piece = self._outgoing.popleft()
            try:
                sent = self.stream.send(piece)
            except BlockingIOError:
                self._outgoing.appendleft(piece)
                return False
            except OSError:  # the worker is gone, which is noticed elsewhere
                self._outgoing.clear()
                return True
            if sent < len(piece):
                self._outgoing.appendleft(piece[sent:])
        return True

    def receive(self) -> tuple[bool, list[tuple[int, int, bytes]]]:
        """Read what is there; return whether more may come, and the whole frames."""
        open_still = True
        while True:
            try:
                chunk = self.stream.recv(CHUNK)
            except BlockingIOError:
                break
            except OSError:
                open_still = False
                break
            if not chunk:
                open_still = False
                break
            self._incoming += chunk
            if len(chunk) < CHUNK:
                break
        return open_still, self._whole_frames()

    def _whole_frames(self) -> list[tuple[int, int, bytes]]:
        frames = []
        start = 0
        data = self._incoming
        while len(data) - start >= _HEADER.size:
            length, kind, number = _HEADER.unpack_from(data, start)
            end = start + _HEADER.size + length
            if len(data) < end:
                break
            frames.append((kind, number, bytes(data[start + _HEADER.size : end])))
            start = end
        if start:
            del data[:start]
        return frames


class WorkerEnds:
    """The worker's ends of its channels. Everything here blocks."""

    def __init__(self, tasks_fd: int, stream_fd: int, stage_fd: int) -> None:
        self.tasks = socket.socket(fileno=tasks_fd)
        self.stream = socket.socket(fileno=stream_fd)
        self._stage = mmap.mmap(stage_fd, STAGE_SIZE)
        os.close(stage_fd)
        self._large_tasks: dict[int, bytes] = {}
        self._lock = threading.RLock()  # threads that hooks start may log
        self._is_amid = False
        self.task_number = 0  # of the task that is at work, 0 if there is none
        self._names: dict[str, bytes] = {}  # hooks are few, and each is noted for every file

    def note_stage(self, hook: str) -> None:
        """Write the name of the hook that begins where the parent can read it."""
        name = self._names.get(hook)
        if name is None:
            name = hook.encode("utf-8", "replace")[: STAGE_SIZE - 1] + b"\0"
            self._names[hook] = name
        self._stage[: len(name)] = name

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame.

        Raises
        ------
        ConnectionError
            If the parent is gone, or another frame was broken off half-way: nothing may
            follow that.
        """
        header, body = frame(kind, number, payload)
        with self._lock:
            if self._is_amid:
                raise ConnectionAbortedError("a frame was broken off")
            self._is_amid = True
            if len(body) < CHUNK:
                self.stream.sendall(header + body)
            else:
                self.stream.sendall(header)
                self.stream.sendall(body)
            self._is_amid = False

    def receive(self, wanted: int, wanted_number: int) -> bytes:
        """Wait for a frame; keep large tasks that come first, drop answers nobody waited for."""
        while True:
            kind, number, payload = self._receive()
            if (kind, number) == (wanted, wanted_number):
                return payload
            self._keep_task(kind, number, payload)

    def _keep_task(self, kind: int, number: int, payload: bytes) -> None:
        if kind == LARGE_TASK:
            self._large_tasks[number] = payload

    def _receive(self) -> tuple[int, int, bytes]:
        header = self._read(_HEADER.size)
        length, kind, number = _HEADER.unpack(header)
        return kind, number, self._read(length)

    def _read(self, n_bytes: int) -> bytes:
        pieces = []
        while n_bytes:
            piece = self.stream.recv(min(n_bytes, CHUNK))
            if not piece:
                raise EOFError("the parent has closed the stream")
            pieces.append(piece)
            n_bytes -= len(piece)
        return b"".join(pieces)

    def next_task(self) -> tuple[int, Task] | None:
        """Wait for a task; return it with its sequence number, or ``None`` at the end."""
        packet = self.tasks.recv(MAX_PACKET * 2)
        if not packet or packet == END:
            return None
        sequence, content = pickle.loads(packet)
        if content is None:
            content = pickle.loads(self._large_task(sequence))[1]
        self.task_number = sequence
        return sequence, Task(*content)

    def _large_task(self, sequence: int) -> bytes:
        while sequence not in self._large_tasks:
            self._keep_task(*self._receive())
        # Tasks are taken in the order of their numbers: lower ones have been recalled.
        payload = self._large_tasks[sequence]
        self._large_tasks = {n: x for n, x in self._large_tasks.items() if n > sequence}
        return payload
