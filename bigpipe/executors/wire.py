"""What travels between the parent and a worker process, and the ends of the channels.

Owns the format of tickets and frames, and both ends of the two sockets. What they mean is described
in `bigpipe.executors.processes`.

Every message is a frame of a stream: length of the payload (4 bytes), kind (1 byte), number (8
bytes), payload. A frame may hold many tasks. But to begin a task, the worker must first take its
ticket, a number (8 bytes) in a socket that the parent can read too, to take tickets back.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import sys
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from bigpipe.errors import UnsendableError, shown
from bigpipe.executors._descriptors import close_parent_fd, no_fork, register_parent_fd
from bigpipe.executors.base import Task
from bigpipe.sharing.snapshot import anonymous_file

__all__ = ["ParentEnds", "WorkerEnds", "packed_tasks"]

REPORT, TOLD, ASK, STAGING, READY, INIT_FAILED, SETUP, ANSWER, TASKS = range(9)

END = 0  # the ticket that lets a worker end; those of tasks begin at 1
STAGE_SIZE = 256  # bytes for the name of the hook that runs
CHUNK = 256 * 1024  # bytes read at once

_HEADER = struct.Struct("<IBQ")
_MAX_PAYLOAD = 2**32 - 1
_PAUSED = struct.Struct("=d")  # after the name, in the shared page
_KEPT = struct.Struct("=Q")  # after that
_KEPT_AT = STAGE_SIZE + _PAUSED.size
_PAGE_SIZE = _KEPT_AT + _KEPT.size
_TICKET = struct.calcsize("Q")
_SOME_TICKETS = 4096  # bytes read at once; arbitrary


def packed_tasks(tasks: Iterable[Task]) -> bytes:
    """Return tasks as the payload of a frame."""
    contents = [task.as_tuple() if type(task.in_name) is str else _packed(task) for task in tasks]
    return pickle.dumps(contents, protocol=5)


def _packed(task: Task) -> tuple[Any, ...] | bytes:
    """Return a task's fields; if unpickling them may fail, as bytes, to be read at its turn."""
    content = task.as_tuple()
    if _is_plain(task.in_name):
        return content
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(content, protocol=5)  # its class may be the caller's own
    except Exception as error:  # any object's own pickling may raise anything
        raise UnsendableError(
            f"the input {shown(task.in_name)} cannot be sent to a worker process "
            f"({type(error).__name__}: {error}); give its name as a str, or use "
            "executor='threads' or 'serial'"
        ) from error
    return packed


def _is_plain(in_name: Any) -> bool:
    """Whether an input consists of classes that every interpreter has."""
    if type(in_name) is list:
        return all(map(_is_plain, in_name))
    return type(in_name) is str or type(in_name).__module__.startswith("pathlib")


def frame(kind: int, number: int, payload: bytes) -> list[bytes]:
    """Return a frame, in pieces if it is large."""
    if len(payload) > _MAX_PAYLOAD:
        raise ValueError(f"a message of {len(payload)} bytes exceeds the limit of 4 GiB")
    header = _HEADER.pack(len(payload), kind, number)
    return [header + payload] if len(payload) < CHUNK else [header, payload]


class ParentEnds:
    """The parent's ends of one worker's channels and, until the worker has begun, its ends."""

    def __init__(self) -> None:
        # Other workers are forked while the sockets are open, and must not keep them. If there are
        # too few descriptors, those that have been opened are closed.
        with no_fork(), ExitStack() as opened:
            self._stage_fd = anonymous_file()
            opened.callback(os.close, self._stage_fd)
            os.ftruncate(self._stage_fd, _PAGE_SIZE)
            self._stage = opened.enter_context(mmap.mmap(self._stage_fd, _PAGE_SIZE))
            self._tickets, self._tickets_there = map(opened.enter_context, socket.socketpair())
            self._recall = opened.enter_context(self._tickets_there.dup())
            self.stream, stream_there = map(opened.enter_context, socket.socketpair())
            for end in (self._tickets, self._recall, self.stream):
                register_parent_fd(end.fileno())
            opened.pop_all()
        self.stream.setblocking(False)
        self._stream_there: socket.socket | None = stream_there
        self.worker_fds = [self._tickets_there.fileno(), stream_there.fileno(), self._stage_fd]
        self._incoming = bytearray()
        # What could not be sent yet. A whole frame of tasks comes with the number of its first
        # task: it is not sent if its tasks are taken back before.
        self._outgoing: deque[tuple[int, memoryview]] = deque()
        self._n_sent = 0  # tasks

    def close_worker_fds(self) -> None:
        """Close the worker's ends, which it now has; a copy of its end of the tickets is kept."""
        if self._stream_there is not None:
            self._stream_there.close()
            self._tickets_there.close()
            self._stream_there = None
            os.close(self._stage_fd)

    def close(self) -> None:
        """Close everything."""
        self.close_worker_fds()
        for end in (self._tickets, self._recall, self.stream):
            close_parent_fd(end.detach())
        self._stage.close()

    def next_numbers(self, n: int) -> range:
        """Return the numbers of the next tasks that are sent."""
        return range(self._n_sent + 1, self._n_sent + 1 + n)

    def send_tasks(self, tasks: Sequence[Task]) -> bool:
        """Send tasks, then their tickets; return whether everything was sent."""
        numbers = self.next_numbers(len(tasks))
        pieces = frame(TASKS, numbers[0], packed_tasks(tasks))
        self._outgoing.append((numbers[0], memoryview(b"".join(pieces))))
        have_gone = self.flush()
        self._n_sent = numbers[-1]
        self._tickets.sendall(array("Q", numbers))
        return have_gone

    def send_end(self) -> None:
        """Let the worker end when it has done its tasks."""
        self._tickets.sendall(array("Q", [END]))

    def take_tickets_back(self) -> list[int]:
        """Take back the tickets that the worker has not taken; return the tasks' numbers."""
        tickets = array("Q")
        while True:
            try:
                some = self._recall.recv(_SOME_TICKETS, socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):
                break
            if not some:
                break
            tickets.frombytes(some)
        numbers = [number for number in tickets if number != END]
        while numbers and self._outgoing and self._outgoing[-1][0] >= numbers[0]:
            self._outgoing.pop()
        return numbers

    def note_paused(self, seconds: float) -> None:
        """Tell the worker for how many seconds it was paused, before it continues."""
        _PAUSED.pack_into(self._stage, STAGE_SIZE, seconds)

    def note_kept(self, n_bytes: int) -> None:
        """Tell the worker how much freed memory it may keep."""
        _KEPT.pack_into(self._stage, _KEPT_AT, n_bytes)

    def stage(self) -> str | None:
        """Return the name of the hook that the worker was last in."""
        return self._stage[:STAGE_SIZE].partition(b"\0")[0].decode("utf-8", "replace") or None

    def send(self, kind: int, number: int, payload: bytes) -> bool:
        """Send a frame, or as much as fits now; return whether everything was sent."""
        self._outgoing.extend((0, memoryview(piece)) for piece in frame(kind, number, payload))
        return self.flush()

    def flush(self) -> bool:
        """Send what still waits, without blocking; return whether everything was sent."""
        while self._outgoing:
            first, piece = self._outgoing.popleft()
            try:
                sent = self.stream.send(piece)
            except BlockingIOError:
                self._outgoing.appendleft((first, piece))
                return False
            except OSError:  # the worker has ended, which is noticed elsewhere
                self._outgoing.clear()
                return True
            if sent < len(piece):
                self._outgoing.appendleft((0, piece[sent:]))
        return True

    def receive(self) -> tuple[bool, list[tuple[int, int, bytes]]]:
        """Read what has arrived; return whether more may come, and the complete frames."""
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
        frames: list[tuple[int, int, bytes]] = []
        start, size, there = 0, _HEADER.size, len(self._incoming)
        if there < size or there < size + _HEADER.unpack_from(self._incoming)[0]:
            return frames  # copy nothing of a large frame, which comes in pieces, before its end
        data, unpack_from = bytes(self._incoming), _HEADER.unpack_from
        while there - start >= size:
            length, kind, number = unpack_from(data, start)
            begin = start + size
            if there < begin + length:
                break
            start = begin + length
            frames.append((kind, number, data[begin:start]))
        del self._incoming[:start]
        return frames


class _NotOurs:
    """Replaces the page of a worker in a child that a hook has forked."""

    def __setitem__(self, place: slice, name: bytes) -> None:
        """End the child, which has returned from the hook."""
        os._exit(0)


class WorkerEnds:
    """The worker's ends of its channels. Everything here blocks.

    Attributes
    ----------
    is_forked : bool
        Whether this is a child that a hook has forked: the channels are not its own.
    at_work : dict
        Numbers of the tasks that have begun, with the tasks' indices.
    """

    def __init__(self, tickets_fd: int, stream_fd: int, stage_fd: int) -> None:
        self.tickets = socket.socket(fileno=tickets_fd)
        self.stream = socket.socket(fileno=stream_fd)
        self._stage = mmap.mmap(stage_fd, _PAGE_SIZE)
        os.close(stage_fd)
        self._tasks: deque[tuple[int, Any]] = deque()  # with their numbers, in order
        self._answers: dict[int, bytes] = {}  # by the number of the task that waits for it
        self._lock = threading.RLock()  # threads that hooks start may log
        self._reading = threading.Lock()  # several threads may wait for frames
        self._is_amid = False
        self.is_forked = False
        self.at_work: dict[int, int] = {}
        self._has_ended = False
        self._noted: Any = self._stage
        self._names: dict[str, tuple[slice, bytes]] = {}  # hooks are few, and noted for every file

    def paused_s(self) -> float:
        """Return for how many seconds the parent has paused this process."""
        seconds: float = _PAUSED.unpack_from(self._stage, STAGE_SIZE)[0]
        return seconds

    def kept_bytes(self) -> int:
        """Return how many bytes of freed memory this process may keep."""
        n_bytes: int = _KEPT.unpack_from(self._stage, _KEPT_AT)[0]
        return n_bytes

    def note_fork(self) -> None:
        """Note that this process is a forked child. `os.fork` calls this there."""
        self.is_forked = True
        self._noted = _NotOurs()

    def note_stage(self, hook: str) -> None:
        """Write the name of the hook that begins where the parent can read it."""
        place, name = self._names.get(hook) or self._encoded(hook)
        self._noted[place] = name

    def _encoded(self, hook: str) -> tuple[slice, bytes]:
        name = hook.encode("utf-8", "replace")[: STAGE_SIZE - 1] + b"\0"
        encoded = self._names[hook] = slice(len(name)), name
        return encoded

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame.

        Raises
        ------
        ConnectionError
            If the parent has ended, or an earlier frame was cut short, which nothing may follow.
        """
        pieces = frame(kind, number, payload)
        with self._lock:
            if self._is_amid:
                raise ConnectionAbortedError("an earlier frame was cut short")
            self._is_amid = True
            for piece in pieces:
                self.stream.sendall(piece)
            self._is_amid = False

    def receive(self, wanted: int, number: int) -> bytes:
        """Wait for a frame; keep the frames that other threads wait for."""
        while True:
            with self._reading:
                if wanted == ANSWER and number in self._answers:
                    return self._answers.pop(number)
                frame = self._receive()
                if frame[:2] == (wanted, number):
                    return frame[2]
                self._keep(*frame)

    def _keep(self, kind: int, number: int, payload: bytes) -> None:
        if kind == TASKS:
            self._tasks.extend(enumerate(pickle.loads(payload), number))
        elif kind == ANSWER and number in self.at_work:
            self._answers[number] = payload

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

    def next_task(self, wait: bool = True) -> tuple[int, Task] | None:
        """Take a ticket; return its number and task.

        Parameters
        ----------
        wait : bool, optional
            Wait until there is one.

        Returns
        -------
        tuple or None
            ``None`` at the end or, without ``wait``, if there is no ticket yet.
        """
        if self._has_ended:
            return None
        try:
            ticket = self.tickets.recv(_TICKET, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        wanted = int.from_bytes(ticket, sys.byteorder)
        if wanted == END:  # or the parent has ended
            self._has_ended = True
            return None
        tasks = self._tasks
        while not tasks or tasks[-1][0] < wanted:
            with self._reading:
                if not tasks or tasks[-1][0] < wanted:
                    self._keep(*self._receive())
        number, content = tasks.popleft()
        while number != wanted:  # it was taken back
            number, content = tasks.popleft()
        task = Task(*(content if type(content) is tuple else pickle.loads(content)))
        self.at_work[number] = task.index
        return number, task

    def end_task(self, number: int) -> None:
        """Note that a task will ask for nothing more."""
        self.at_work.pop(number, None)
        if self._answers:
            self._answers.pop(number, None)

    def number_of(self, index: int | None) -> int:
        """Return the number of the running task with this index; 0 if there is none."""
        for number, other in self.at_work.items():
            if index is None or other == index:
                return number
        return 0
