"""File descriptors that must not stay open in child processes.

Owns the register of the parent's ends, which are closed in a child after a fork.
`bigpipe.executors.launch`, the pools and `bigpipe.executors._forkserver` register the descriptors,
use them, and close them in the parent.

A worker learns that its parent has ended when a socket closes whose other end only the parent has.
Any process forked from the parent (another worker, or a child of the user's own `multiprocessing`)
would inherit that end and keep it open, so it is closed there. Programs that are executed do not
matter: every descriptor here is close-on-exec.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from bigpipe.errors import WorkerError

__all__ = [
    "above_stdio",
    "borrowed_socket",
    "close_parent_fd",
    "forget_parent_fd",
    "is_open",
    "leave_descriptors",
    "no_fork",
    "register_parent_fd",
    "socket_pair",
]

_parent_fds: set[int] = set()
_fork_lock = threading.RLock()  # reentrant: a signal handler may fork while this thread has it
_hooks_installed = False


@contextmanager
def no_fork() -> Iterator[None]:
    """Make every other thread that is about to fork wait.

    A fork between the creation and the registration of a descriptor would leave the copy open. Code
    that starts a program with `subprocess` does not wait.
    """
    _install_hooks()
    with _fork_lock:
        yield


def register_parent_fd(fd: int) -> None:
    """Have a descriptor closed in every process that is forked from this one.

    Hold `no_fork` during creation and registration. Close the descriptor with `close_parent_fd`;
    otherwise children would close the next file that gets its number.
    """
    _install_hooks()
    with _fork_lock:
        _parent_fds.add(fd)


def close_parent_fd(fd: int) -> None:
    """Close a registered descriptor. One that is not registered (any more) is left alone."""
    with _fork_lock:
        if fd in _parent_fds:
            _parent_fds.remove(fd)
            os.close(fd)


def forget_parent_fd(fd: int) -> None:
    """Unregister a descriptor that the caller closes; hold `no_fork` around both."""
    with _fork_lock:
        _parent_fds.discard(fd)


def socket_pair() -> tuple[int, int]:
    """Make two connected stream sockets; the first is registered as the parent's end."""
    with no_fork():
        ours, theirs = (above_stdio(end.detach()) for end in socket.socketpair())
        register_parent_fd(ours)
    return ours, theirs


def above_stdio(fd: int) -> int:
    """Move a descriptor out of the way of standard input, output and error.

    In a process that has closed one of those, the next descriptor made takes its number.
    """
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def leave_descriptors(n: int) -> None:
    """Raise `WorkerError` if fewer than these could be opened by this process."""
    try:
        with ExitStack() as taken:
            first = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            taken.callback(os.close, first)
            for _ in range(n - 1):
                taken.callback(os.close, fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, 0))
    except OSError as error:
        raise WorkerError(
            f"too few file descriptors to start a worker and keep {n} free: {error}. Lower "
            "num_processes, or raise the limit on open files (ulimit -n)."
        ) from error


def is_open(fd: int) -> bool:
    """Whether the number stands for an open file."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextmanager
def borrowed_socket(fd: int) -> Iterator[socket.socket]:
    """Lend a descriptor to a socket object that does not close it."""
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


def _install_hooks() -> None:
    """Register with `os.fork`, at first use: importing bigpipe changes nothing."""
    global _hooks_installed
    with _fork_lock:
        if not _hooks_installed:
            _hooks_installed = True
            os.register_at_fork(
                before=_before_fork,
                after_in_parent=_after_fork_in_parent,
                after_in_child=_after_fork_in_child,
            )


def _before_fork() -> None:
    _fork_lock.acquire()


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # the hooks were installed during this fork: it is not taken
        _fork_lock.release()


def _after_fork_in_child() -> None:
    global _fork_lock
    _fork_lock = threading.RLock()  # the thread that holds the old one does not exist here
    for fd in _parent_fds:
        with suppress(OSError):  # closed by somebody else: then it is not open here either
            os.close(fd)
    _parent_fds.clear()
