"""Starting and ending worker processes.

Owns the parent's side: `start`, the `Child` that it returns, and the one fork server.
`bigpipe.executors._newborn` is what happens in the new process. Callers decide which messages they
exchange with workers.

Why not `multiprocessing.Process`: the caller's main module is never imported again (so that a
script without a ``__main__`` guard, ``python - < script`` and notebooks work under every start
method); workers are not daemonic, yet never outlive their parent, however it ends; each leads
a process group, so that the programs its hooks started end with it; nothing runs at exit.

::

    method        parent                                       process becomes a worker in
    fork          os.fork                                      _newborn.fork_worker
    spawn         a new interpreter                            _newborn.main
    forkserver    asks a server, itself started as by spawn    _newborn.fork_worker, there
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from bigpipe.errors import OptionError, WorkerError
from bigpipe.executors._children import ended, kill_group, reap
from bigpipe.executors._descriptors import (
    above_stdio,
    close_parent_fd,
    forget_parent_fd,
    is_open,
    no_fork,
    register_parent_fd,
    socket_pair,
)
from bigpipe.executors._forkserver import read_number, send_request
from bigpipe.executors._newborn import NO_LIFELINE, fork_worker
from bigpipe.executors._strays import Stray, send_signal, strays_of
from bigpipe.interrupts import Heard

__all__ = [
    "Child",
    "close_parent_fd",
    "forget_parent_fd",
    "forkserver_pid",
    "no_fork",
    "register_parent_fd",
    "start",
    "terminate_all",
]

KILL_GRACE = 5.0  # seconds for a killed process to end, which may hang on a dead disk; arbitrary
# Imported by each worker.
NEEDED = ("bigpipe.executors.process_worker", "cloudpickle", "multiprocessing.reduction")
# If the caller has them. None starts a thread when it is imported, as scipy's and dask's arrays do.
PRELOADED = (
    *("numpy", "astropy", "astropy.io.fits", "astropy.nddata"),
    *("h5py", "pandas", "tifffile", "xarray", "zarr"),
)
SERVER_TARGET = "bigpipe.executors._forkserver:serve"
BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from bigpipe.executors._newborn import main; main(sys.argv[1:])"
)

_server: _OwnChild | None = None  # the fork server; in a forked child, that of its parent


def start(method: str, target: str, fds: Sequence[int] = ()) -> Child:
    """Start a worker process.

    Parameters
    ----------
    method : {'fork', 'forkserver', 'spawn'}
        The start method. With ``'forkserver'``, the first call in a process also starts the server.
    target : str
        ``'module:function'``, importable with the ``sys.path`` of the caller. The worker calls it
        with the descriptors. When it returns, the process ends without running any exit handlers
        of the caller. Its exit code is the `int` that the function returned, else 0. If the
        function raised, it is 1, and the traceback is on standard error.
    fds : sequence of int
        Open descriptors for the worker. Their numbers may differ there. They stay open here; the
        caller closes those that it does not need.

    Returns
    -------
    Child
        The running worker. Call `Child.close` in the end.

    Raises
    ------
    OptionError
        If there is no such method.
    WorkerError
        If the system refuses another process or another open file.

    Notes
    -----
    Any thread may call this, and any worker for its own workers. The worker ignores SIGINT, which a
    terminal sends to every process, and has the default action for every signal that the caller
    handles; its standard input is empty. A caller that can be interrupted should call this, and
    store the result, within one block of `bigpipe.interrupts.Postponed`.
    """
    if method not in ("fork", "forkserver", "spawn"):
        raise OptionError(f"start_method must be 'fork', 'forkserver' or 'spawn', not {method!r}")
    try:
        with _above_stdio(fds) as numbers:
            if method == "forkserver":
                return _start_in_server(target, numbers)
            begin = fork_worker if method == "fork" else _spawn
            return _start_own(lambda lifeline: begin(target, numbers, lifeline))
    except OSError as error:
        raise WorkerError(
            f"a worker could not be started by {method!r}: {error}. Lower num_processes, or raise "
            "the limits on processes, open files or memory (ulimit -u, ulimit -n, ulimit -v)."
        ) from error


def terminate_all(children: Sequence[Child]) -> None:
    """Send SIGTERM to workers, after listing the programs that they started once for all."""
    strays = strays_of(*(child.pid for child in children))
    for child in children:
        child._terminate(strays[child.pid])


def forkserver_pid() -> int | None:
    """Return the process id of this process's fork server; ``None`` if none is running."""
    server = _server
    return server.pid if server is not None and server.is_running_here() else None


class Child(ABC):
    """A worker process, seen from its parent.

    Only the process that started the worker can use it. In a forked copy, `close` and the signals
    do nothing.

    Attributes
    ----------
    pid : int
        Process id, and id of the process group that the worker leads. No other process gets
        either before `close`.
    """

    def __init__(self, pid: int, sentinel: int, parent_end: int) -> None:
        self.pid = pid
        self._sentinel = sentinel
        self._parent_end = parent_end
        self._owner = os.getpid()
        self._exitcode: int | None = None
        self._is_closed = False
        self._strays: set[Stray] = set()

    def fileno(self) -> int:
        """Return a descriptor, only to wait on, that is readable once the worker has ended."""
        if self._is_closed:
            raise ValueError(f"worker {self.pid} is closed: it has no descriptor left")
        return self._sentinel

    def poll(self) -> int | None:
        """Return the exit code; minus the signal that killed it; or ``None`` while it runs.

        The code is 255 if other code has reaped the process.
        """
        if self._exitcode is None and self._is_usable():
            self._exitcode = self._look(wait=False)
        return self._exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the worker ends, or for ``timeout`` seconds; return the result of `poll`."""
        if self.poll() is None and self._is_usable():
            poller = select.poll()
            poller.register(self._sentinel, select.POLLIN)
            if poller.poll(None if timeout is None else max(0.0, timeout) * 1000):
                self._exitcode = self._look(wait=True)
        return self._exitcode

    def terminate(self) -> None:
        """Send SIGTERM to the worker alone."""
        terminate_all([self])

    def _terminate(self, strays: set[Stray]) -> None:
        if self._is_usable() and self.poll() is None:
            self._strays |= strays
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def signal_group(self, number: int) -> None:
        """Send a signal to the worker and to all processes it started, if it has not ended.

        Processes that left its group but stay in its session, such as its own workers, do not get
        the signal: the worker controls these itself.
        """
        if self._is_usable() and self.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)
            for stray in strays_of(self.pid)[self.pid]:
                if stray.has_own_session:
                    send_signal(stray, number)

    def kill_group(self) -> None:
        """Send SIGKILL to the worker and to all processes it started, even after its end.

        After its end, processes that left its group are reached only if `terminate` was called
        before.
        """
        if self._is_usable():
            if self.poll() is None:
                self._strays |= strays_of(self.pid)[self.pid]
            kill_group(self.pid)
            while self._strays:
                send_signal(self._strays.pop(), signal.SIGKILL)

    def close(self) -> None:
        """Kill the rest of the worker's group, reap the worker, and close its descriptors."""
        if not self._is_usable():
            return
        self.kill_group()
        self.wait(KILL_GRACE)
        self._is_closed = True
        if self._exitcode is not None:
            self._reap()
        close_parent_fd(self._sentinel)
        close_parent_fd(self._parent_end)

    def _is_usable(self) -> bool:
        return not self._is_closed and self._owner == os.getpid()

    @abstractmethod
    def _look(self, *, wait: bool) -> int | None:
        """Return how it ended; with ``wait``, its end is certain, even if not yet visible."""

    @abstractmethod
    def _reap(self) -> None: ...


class _OwnChild(Child):
    """A child of this very process.

    Parameters
    ----------
    pid : int
        Its process id.
    parent_end : int
        Descriptor, registered: the socket whose other end only the child has.
    """

    def __init__(self, pid: int, parent_end: int) -> None:
        super().__init__(pid, _open_sentinel(pid, otherwise=parent_end), parent_end)

    @property
    def parent_end(self) -> int:
        return self._parent_end

    def is_running_here(self) -> bool:
        return self._is_usable() and self.poll() is None

    def _look(self, *, wait: bool) -> int | None:
        return ended(self.pid, wait=wait)

    def _reap(self) -> None:
        reap(self.pid)


class _ServerChild(Child):
    """A child of the fork server, which reports through the channel how it ended.

    Parameters
    ----------
    pid : int
        Its process id.
    channel, lifeline : int
        Descriptors, registered.
    """

    def __init__(self, pid: int, channel: int, lifeline: int) -> None:
        super().__init__(pid, channel, lifeline)

    def _look(self, *, wait: bool) -> int | None:
        if not wait:
            poller = select.poll()
            poller.register(self._sentinel, select.POLLIN)
            if not poller.poll(0):
                return None
        try:
            return read_number(self._sentinel, keep=True)
        except EOFError:  # the server is gone, and nobody could say when the worker ends
            close_parent_fd(self._parent_end)
            return -signal.SIGKILL

    def _reap(self) -> None:
        """Do nothing: the server reaps it when the channel is closed."""


def _open_sentinel(pid: int, otherwise: int) -> int:
    if not hasattr(os, "pidfd_open"):  # Linux only
        return otherwise
    try:
        with no_fork():
            sentinel = above_stdio(os.pidfd_open(pid))
            register_parent_fd(sentinel)
    except OSError:  # an older kernel, a sandbox, no more descriptors: the socket's end serves too
        return otherwise
    return sentinel


@contextmanager
def _above_stdio(fds: Sequence[int]) -> Iterator[list[int]]:
    """Yield descriptors above those of the standard streams, copied where needed."""
    copies = {fd: above_stdio(os.dup(fd)) for fd in fds if fd <= 2}
    try:
        yield [copies.get(fd, fd) for fd in fds]
    finally:
        for copy in copies.values():
            os.close(copy)


def _start_own(begin: Callable[[int], int]) -> _OwnChild:
    """Start a child of this process by a function that takes its end of a new socket."""
    with no_fork():  # no other process may get a copy of either end
        ours, theirs = socket_pair()
        try:
            pid = begin(theirs)
        except BaseException:
            close_parent_fd(ours)  # this kills the child if it was started
            raise
        finally:
            os.close(theirs)
    return _OwnChild(pid, ours)


def _spawn(target: str, fds: Sequence[int], lifeline: int) -> int:
    """Start a new interpreter that runs the target; return its process id."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise WorkerError(
            "this program has no Python interpreter (sys.executable) that could be started again. "
            "Use start_method='fork'."
        )
    passed = [*fds] if lifeline == NO_LIFELINE else [*fds, lifeline]
    process = subprocess.Popen(
        [
            sys.executable,
            *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
            "-P",  # else Python 3.13.0 reads the current folder, which may have been removed
            "-c",
            BOOTSTRAP,
            target,
            str(lifeline),
            ",".join(map(str, fds)),
            *_import_path(),
            os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
        ],
        stdin=subprocess.DEVNULL,
        stdout=None if _is_stream(1) else subprocess.DEVNULL,
        stderr=None if _is_stream(2) else subprocess.DEVNULL,
        pass_fds=passed,
        process_group=0,
    )
    process.returncode = 0  # or subprocess would reap it when the object is collected
    return process.pid


def _import_path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str) and "\0" not in entry]


def _is_stream(number: int) -> bool:
    """Whether 1 or 2 is still a standard stream, not a file opened after that was closed."""
    return is_open(number) and os.get_inheritable(number)


def _start_in_server(target: str, fds: Sequence[int]) -> Child:
    """Start a worker in the fork server; if that has died, in a new one."""
    for _ in range(2):
        server = _running_server()
        try:
            return _ask(server, target, fds)
        except (EOFError, ConnectionError):
            with Heard():
                has_ended = server.wait(KILL_GRACE) is not None
            if not has_ended:
                break
    raise WorkerError(
        "the fork server has died or does not answer: see standard error. Use start_method='spawn'."
    )


def _running_server() -> _OwnChild:
    global _server
    with no_fork():
        if _server is None or not _server.is_running_here():
            if _server is not None:
                _server.close()
            _server = _start_own(lambda control: _spawn(SERVER_TARGET, [control], NO_LIFELINE))
            send_request(_server.parent_end, {"preload": _preloaded()})
        return _server


def _preloaded() -> list[str]:
    """Return the modules that the server imports, so that each worker need not."""
    ours = [name for name in list(sys.modules) if name.startswith("bigpipe.")]
    return [*NEEDED, *ours, *(name for name in PRELOADED if name in sys.modules)]


def _ask(server: _OwnChild, target: str, fds: Sequence[int]) -> Child:
    message = {"target": target, "path": _import_path()}
    null = above_stdio(os.open(os.devnull, os.O_WRONLY))
    streams = [number if _is_stream(number) else null for number in (1, 2)]
    channel = lifeline = -1
    try:
        with no_fork(), ExitStack() as passed:
            channel, server_channel = socket_pair()
            passed.callback(os.close, server_channel)
            lifeline, worker_lifeline = socket_pair()
            passed.callback(os.close, worker_lifeline)
            everything = [server_channel, worker_lifeline, *streams, *fds]
            send_request(server.parent_end, message, everything)
        with Heard():  # the server may have to import much first
            pid = read_number(channel)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
    except BaseException:
        close_parent_fd(channel)  # the server then kills what it may have started
        close_parent_fd(lifeline)
        raise
    finally:
        os.close(null)
    return _ServerChild(pid, channel, lifeline)
