"""Data on its way from workers to the caller's process, with arrays in shared memory.

Owns what a worker puts into shared memory, how the caller's process reads it, and how the worker
learns that it may reuse that memory. `bigpipe.fed_pipe` and `bigpipe.epoch_run` decide when data
is sent and when it is opened.

::

    worker: DataSender                              parent: DataReceiver
      send(data) -> handle --- in the report ----->   claim(handle) -> Delivered
          |      (a new segment's descriptor ---------> one socket, of all workers)   |
          `-- one copy ---> segment, mapped by both  <------ views, no copy --- open()
                            its last byte: lent? <--- 0, when no array uses it any more

Unlike in `bigpipe.sharing.transport`, the report identifies the data here: its file, worker and
attempt. It is lost only together with its worker. So data may be claimed in any order, and nothing
needs to be sent back to a worker.

The memory has no name: it is freed when the processes that use it end, however they end.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from array import array
from typing import Any, NamedTuple

from bigpipe.executors._descriptors import (
    above_stdio,
    borrowed_socket,
    close_parent_fd,
    no_fork,
    register_parent_fd,
)
from bigpipe.sharing.parcels import Parcel, unpacked
from bigpipe.sharing.segments import BorrowedSegments, OwnSegments, Segment

__all__ = ["DataReceiver", "DataSender", "Delivered", "Handle", "max_segments"]

MIN_SHARED = 64 * 1024  # bytes: below, copying into the report is faster than mapping
MAX_SEGMENTS = 4096  # of one worker: a process may have some 65000 mappings; arbitrary

_NO_MORE = (
    "shared memory needs more open files or mappings than this process may have: raise the limit "
    "(ulimit -n), or lower prefetch"
)

_NEW = struct.Struct("<QQQ")  # process id, number of the segment, its bytes
_ROOM_FOR_FD = socket.CMSG_SPACE(array("i").itemsize)


class Handle(NamedTuple):
    """What a report holds in place of data."""

    pid: int
    """Process id of the worker."""
    words: bytes
    """The data without its buffers, in the form of `bigpipe.sharing.parcels`."""
    n_bytes: int
    """Size of the buffers."""
    beside: bytearray | int
    """The buffers, or the number of the segment that holds them."""
    forgotten: list[int]
    """Segments that the worker has given up."""


def max_segments(n_workers: int) -> int:
    """Return how many segments each worker may have, so that descriptors do not run out.

    A mapping keeps a descriptor of its own, in the worker and in the caller's process.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MAX_SEGMENTS
    return max(2, min(MAX_SEGMENTS, soft // (4 * n_workers)))


class DataSender:
    """The worker's side.

    Parameters
    ----------
    fd : int or None
        Descriptor to send new segments by; ``None`` to put all data into the report.
    n_wanted : int
        Number of data items that may be under way or in use by the caller at once.
    max_segments : int
        Most segments; data that finds none goes into the report.
    """

    def __init__(self, fd: int | None, n_wanted: int, max_segments: int) -> None:
        self._fd = fd
        self._n_wanted = n_wanted
        self._max_segments = max_segments
        self._segments = OwnSegments()
        self._lent: dict[int, Segment] = {}

    def send(self, data: Any) -> Handle:
        """Put data where the caller's process can read it."""
        parcel = Parcel(data)
        self._take_back()
        has_room = len(self._lent) < self._max_segments
        if self._fd is not None and parcel.n_bytes >= MIN_SHARED and has_room:
            try:
                return self._share(parcel, self._fd)
            except OSError:  # no more descriptors or mappings: send it as small data
                pass
        return self._enclose(parcel)

    def _enclose(self, parcel: Parcel) -> Handle:
        import numpy as np

        memory = bytearray(parcel.n_bytes)
        if memory:
            parcel.lay_out(np.frombuffer(memory, np.uint8))
        return Handle(os.getpid(), parcel.words, parcel.n_bytes, memory, [])

    def _share(self, parcel: Parcel, fd: int) -> Handle:
        segment, descriptor = self._segments.filled(parcel.n_bytes + 1, parcel.lay_out)
        if descriptor is not None:
            try:
                _send_segment(fd, segment, descriptor)
            except BaseException:
                self._segments.discard(segment)
                raise
            finally:
                os.close(descriptor)
        segment.memory[-1] = 1
        self._lent[segment.number] = segment
        forgotten = self._segments.let_go(self._n_wanted, descriptor is not None)
        return Handle(os.getpid(), parcel.words, parcel.n_bytes, segment.number, forgotten)

    def _take_back(self) -> None:
        for number in [number for number, each in self._lent.items() if not each.memory[-1]]:
            del self._lent[number]
            self._segments.give_back(number)


def _send_segment(fd: int, segment: Segment, descriptor: int) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
    with borrowed_socket(fd) as sock:
        sock.sendmsg([_NEW.pack(os.getpid(), segment.number, segment.size)], [rights])


class Delivered:
    """Data that has arrived; its memory is lent until this and all its arrays are deleted."""

    __slots__ = ("_memory", "_words")

    def __init__(self, words: bytes, memory: memoryview) -> None:
        self._words = words
        self._memory: memoryview | None = memory

    def open(self) -> Any:
        """Return the data. May be called only once."""
        memory, self._memory = self._memory, None
        return unpacked(self._words, memory, False)


class _Worker(NamedTuple):
    segments: BorrowedSegments
    flags: dict[int, Any]
    """Memory of each segment; its last byte is 1 while it is lent."""


class DataReceiver:
    """The side of the process that workers send data to.

    Attributes
    ----------
    worker_fd : int
        The descriptor for the workers.
    max_held : int
        Segments of each worker that may be in use here; data beyond that is copied.
    """

    def __init__(self) -> None:
        self.max_held = MAX_SEGMENTS
        self._workers: dict[int, _Worker] = {}
        with no_fork():
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._fd = above_stdio(ours.detach())
            self.worker_fd = above_stdio(theirs.detach())
            register_parent_fd(self._fd)

    def claim(self, handle: Handle) -> Delivered:
        """Take the data of a report.

        Raises
        ------
        OSError
            If this process cannot have more open files or mappings.
        """
        self.give_back()  # now, as this process is awake anyway
        if isinstance(handle.beside, bytearray):
            return Delivered(handle.words, memoryview(handle.beside))
        worker = self._workers.get(handle.pid)
        if worker is None or handle.beside not in worker.flags:
            self._receive_segments()
            worker = self._workers[handle.pid]
        memory = worker.segments.borrow(handle.beside, handle.n_bytes)
        for number in handle.forgotten:
            worker.segments.forget(number)
            worker.flags.pop(number, None)
        return Delivered(handle.words, memory)

    def give_back(self) -> None:
        """Let workers reuse memory that is no longer used here."""
        for worker in self._workers.values():
            given_back = worker.segments.given_back
            while given_back:
                worker.flags[given_back.popleft()][-1] = 0

    def forget(self, pid: int) -> None:
        """Release the segments of a worker that has ended; data that it has sent stays."""
        self._receive_segments()
        self._workers.pop(pid, None)

    def close(self) -> None:
        """Accept no more data. Data that was opened stays."""
        self._workers.clear()
        if self._fd >= 0:  # at a second call, the numbers may belong to other files
            ours, theirs = self._fd, self.worker_fd
            self._fd = self.worker_fd = -1
            close_parent_fd(ours)
            os.close(theirs)

    def _receive_segments(self) -> None:
        with no_fork(), borrowed_socket(self._fd) as sock:
            while self._receive_segment(sock):
                pass

    def _receive_segment(self, sock: socket.socket) -> bool:
        cloexec = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux
        how = socket.MSG_DONTWAIT | cloexec
        try:
            message, ancillary, flags, _ = sock.recvmsg(_NEW.size, _ROOM_FOR_FD, how)
        except BlockingIOError:
            return False
        if flags & socket.MSG_CTRUNC or not ancillary:
            raise OSError(_NO_MORE)
        descriptors = array("i", ancillary[0][2])
        try:
            pid, number, size = _NEW.unpack(message)
            segment = Segment.of(descriptors[0], number, size)
        except OSError as error:
            raise OSError(error.errno, _NO_MORE) from error
        finally:
            os.close(descriptors[0])
        worker = self._workers.get(pid)
        if worker is None:
            worker = self._workers[pid] = _Worker(BorrowedSegments(self.max_held), {})
        worker.segments.add(segment)
        worker.flags[number] = segment.memory
        return True
