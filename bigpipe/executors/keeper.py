"""A process that keeps large keywords as they were when the run began.

Owns that process, and how workers get the original pages from it. `bigpipe.sharing.buffers` puts
these back, and `bigpipe.executors.processes` decides whether a keeper is used.

Forked workers inherit the caller's arrays and need no copy of them. A worker that has written into
an array asks for those pages as they were::

    keeper, forked first      <--- parts wanted, an end of a socket ---   worker
    has all as it was         ------- a byte on that socket ---------->     |
        |                                                                   |
        `-- writes the parts -->   file, shared by all   -- reads them -----'

The parent cannot be asked, because the caller may have changed the arrays meanwhile, or be busy.
The keeper writes only the parts asked for, so the file stays small unless hooks write much.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from bigpipe.executors import launch
from bigpipe.executors._descriptors import above_stdio
from bigpipe.sharing.buffers import BuffersLost, InheritedBuffers, Range, write_all
from bigpipe.sharing.pages import Canary, address_of, are_private, can_be_watched
from bigpipe.sharing.snapshot import Snapshot

__all__ = ["Keeper", "main"]

MIN_KEPT = 32 << 20  # bytes: below, writing a file is faster than forking a process; arbitrary
END_GRACE = 1.0  # seconds from the end of its sockets to that of the process; arbitrary
AT_ONCE = 1000  # parts in one packet: 24 KB

_PART = struct.Struct("<QQQ")
_DONE = b"1"

inherited: Snapshot | None = None
"""Set in the parent while it forks the keeper, which finds it here."""


class Keeper:
    """The parent's end of the process and, after a fork, a worker's. Made by `start`."""

    def __init__(self, child: launch.Child, requests: socket.socket) -> None:
        self._child = child
        self._requests = requests

    @classmethod
    def start(cls, snapshot: Snapshot) -> Keeper | None:
        """Let forked workers use the caller's own arrays, if that is worthwhile and safe.

        Parameters
        ----------
        snapshot : Snapshot
            The keywords, not yet filled.

        Returns
        -------
        Keeper or None
            ``None`` if the arrays are small, or if this system does not tell which pages a process
            has written into; the snapshot is then unchanged.
        """
        if sum(view.nbytes for view in snapshot.buffers) < MIN_KEPT or not can_be_watched():
            return None
        try:
            _make_private(snapshot.buffers)
        except OSError:  # no list of mappings here
            return None
        canary = Canary()
        keeper = cls._fork(snapshot)
        if not canary.has_sung():
            keeper.close()
            return None
        snapshot.inherit(InheritedBuffers(snapshot.buffers, snapshot.spans, keeper.fetch))
        return keeper

    @classmethod
    def _fork(cls, snapshot: Snapshot) -> Keeper:
        global inherited
        requests, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        requests = socket.socket(fileno=above_stdio(requests.detach()))
        with there, launch.no_fork():
            inherited = snapshot
            try:
                child = launch.start("fork", f"{__name__}:main", [there.fileno(), snapshot.fd])
            except BaseException:
                requests.close()
                raise
            finally:
                inherited = None
        return cls(child, requests)

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked; only in the parent."""
        return self._child.poll() is None

    def has_ended(self) -> bool:
        """Whether it has ended, or is about to and cannot be asked; only in the parent."""
        return self._child.wait(END_GRACE) is not None

    def fetch(self, ranges: list[Range]) -> None:
        """Have the keeper write parts of the buffers to the file; callable in any process.

        Raises
        ------
        BuffersLost
            If the keeper has died.
        """
        try:
            for i in range(0, len(ranges), AT_ONCE):
                self._ask(b"".join(_PART.pack(*part) for part in ranges[i : i + AT_ONCE]))
        except OSError as error:  # it has died, or a hook has closed bigpipe's descriptor
            raise BuffersLost("the process that keeps large keywords has died") from error

    def _ask(self, packet: bytes) -> None:
        here, there = socket.socketpair()
        with here:
            with there:
                socket.send_fds(self._requests, [packet], [there.fileno()])
            if here.recv(1) != _DONE:
                raise ConnectionError("no answer")

    def close(self) -> None:
        """End the process."""
        self._child.close()
        self._requests.close()


def _make_private(buffers: list[memoryview]) -> None:
    """Copy the buffers that other processes share: a write into one would be seen by all."""
    ranges = [(address_of(view), view.nbytes, not view.readonly) for view in buffers]
    for i, is_private in enumerate(are_private(ranges)):
        if not is_private:
            copied = memoryview(bytearray(buffers[i]))
            buffers[i] = copied.toreadonly() if buffers[i].readonly else copied


def main(requests_fd: int, data_fd: int) -> int:
    """Write parts of the buffers to the file for workers that ask; return the exit code."""
    snapshot = inherited
    if snapshot is None:
        raise RuntimeError("the keeper must be forked from the process that has the keywords")
    with socket.socket(fileno=requests_fd) as requests:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(requests, AT_ONCE * _PART.size, 1)
            if not packet:
                return 0
            for number, start, stop in _PART.iter_unpack(packet):
                view, (offset, _) = snapshot.buffers[number], snapshot.spans[number]
                write_all(data_fd, view[start:stop], offset + start)
            with socket.socket(fileno=descriptors[0]) as asker, suppress(ConnectionError):
                asker.send(_DONE)  # unless it is gone
