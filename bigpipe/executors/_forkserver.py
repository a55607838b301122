"""The fork server: a process without threads that forks workers for its parent.

Owns the server's side and the messages. `bigpipe.executors.launch` starts it and sends it requests;
`bigpipe.executors._newborn` is what a forked worker does first.

::

    parent                            server                        worker
      |--- control: modules ------------>| imports them
      |--- control: target, sys.path, -->| forks ------------------>| lives
      |    channel, lifeline, stdout,    |                          |
      |    stderr, fds                   |                          |
      |<-- channel: process id ----------|                          |
      |                                  |<------- SIGCHLD ---------| ends
      |<-- channel: exit code -----------|
      |--- channel: closed ------------->| reaps
      |--- control: closed ------------->| ends

Each worker has its own channel, so that a request abandoned half-way disturbs no other. A worker
that has ended is reaped only when the parent has closed the channel: until then, no other process
can get its number or that of its group.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import selectors
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigpipe.environment import thread_libraries
from bigpipe.executors._children import ended, kill_group, reap
from bigpipe.executors._descriptors import borrowed_socket, close_parent_fd, register_parent_fd
from bigpipe.executors._newborn import fork_worker

__all__ = ["MAX_FDS", "read_number", "send_request", "serve"]

MAX_FDS = 250  # descriptors in one message; Linux allows 253
_LENGTH = struct.Struct("!I")  # bytes of the message that follows
_NUMBER = struct.Struct("!i")  # process id (or minus an errno), exit code


def serve(control: int) -> None:
    """Fork workers until the other end of the control socket is closed."""
    request = _receive(control)
    if request is None:
        return
    for name in request[0]["preload"]:
        with suppress(Exception):  # a worker that needs it will fail in the same way and report it
            importlib.import_module(name)
    with suppress(Exception):  # as above
        thread_libraries()  # so that the workers need not look for them
    _Server(control).run()


@dataclass
class _Worker:
    pid: int
    channel: int
    has_ended: bool = False
    is_released: bool = False
    """The parent has closed its end of the channel."""


class _Server:
    """The one loop of the server."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.PollSelector()  # epoll would share its set with the workers
        wakeup, signalled = (end.detach() for end in socket.socketpair())
        for fd in (control, wakeup, signalled):
            register_parent_fd(fd)
        os.set_blocking(signalled, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # with a handler, Python writes a byte
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        self._wakeup = wakeup
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(wakeup, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._report_ends()
                elif key.fd == self._control:
                    request = _receive(self._control)
                    if request is None:
                        return
                    self._start(*request)
                else:
                    self._release(key.data)

    def _start(self, message: dict[str, Any], fds: list[int]) -> None:
        if len(fds) != message["n_fds"]:  # this process cannot have more open files
            if fds:
                _send_number(fds[0], -errno.EMFILE)
            for fd in fds:
                os.close(fd)
            return
        channel, lifeline, stdout, stderr, *rest = fds
        register_parent_fd(channel)
        try:
            pid = fork_worker(
                message["target"],
                rest,
                lifeline,
                path=message["path"],
                streams=(stdout, stderr),
            )
        except OSError as error:
            _send_number(channel, -(error.errno or 1))
            close_parent_fd(channel)
        else:
            self._workers[pid] = worker = _Worker(pid, channel)
            self._selector.register(channel, selectors.EVENT_READ, worker)
            _send_number(channel, pid)
        finally:
            for fd in (lifeline, stdout, stderr, *rest):
                os.close(fd)

    def _report_ends(self) -> None:
        for worker in list(self._workers.values()):
            if worker.has_ended:
                continue
            exitcode = ended(worker.pid)
            if exitcode is not None:
                worker.has_ended = True
                _send_number(worker.channel, exitcode)
                self._reap_if_done(worker)

    def _release(self, worker: _Worker) -> None:
        worker.is_released = True
        self._selector.unregister(worker.channel)
        kill_group(worker.pid)
        self._reap_if_done(worker)

    def _reap_if_done(self, worker: _Worker) -> None:
        if worker.has_ended and worker.is_released:
            reap(worker.pid)
            close_parent_fd(worker.channel)
            del self._workers[worker.pid]


def send_request(control: int, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send the server a message, in the parent.

    Parameters
    ----------
    control : int
        The parent's end of the control socket.
    message : dict
        ``preload`` (names of modules) in the first, ``target`` and ``path`` in the others.
    fds : sequence of int
        Channel and lifeline of the worker, its standard output and error, then the
        descriptors that its target is called with.
    """
    body = json.dumps({**message, "n_fds": len(fds)}).encode()
    data = _LENGTH.pack(len(body)) + body
    with borrowed_socket(control) as sock:
        n_sent = socket.send_fds(sock, [data], fds) if fds else 0
        sock.sendall(data[n_sent:])


def _receive(control: int) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for the parent's next message; ``None`` at its end."""
    cloexec = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # Linux
    with borrowed_socket(control) as sock:
        head, fds, _, _ = socket.recv_fds(sock, _LENGTH.size, MAX_FDS, flags=cloexec)
    try:
        head += _read_exactly(control, _LENGTH.size - len(head))
        body = _read_exactly(control, _LENGTH.unpack(head)[0])
    except EOFError:
        return None
    return json.loads(body), fds


def _read_exactly(fd: int, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        part = os.read(fd, n_bytes - len(data))
        if not part:
            raise EOFError("the other end of the socket was closed")
        data += part
    return data


def _send_number(channel: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the parent does not want to know any more
        os.write(channel, _NUMBER.pack(number))


def read_number(channel: int, *, keep: bool = False) -> int:
    """Wait for the server's next number about a worker; `EOFError` if the server has ended.

    With ``keep``, the number stays in the channel, which remains readable for others that wait.
    """
    flags = socket.MSG_WAITALL | (socket.MSG_PEEK if keep else 0)
    try:
        with borrowed_socket(channel) as sock:
            data = sock.recv(_NUMBER.size, flags)
    except ConnectionResetError as error:
        raise EOFError(str(error)) from error
    if len(data) < _NUMBER.size:
        raise EOFError("the other end of the socket was closed")
    number: int = _NUMBER.unpack(data)[0]
    return number
