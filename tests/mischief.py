"""More trouble for the pipelines of `tests.pipes` to get into, and ways to watch processes.

Everything that a hook calls is at top level, so that workers of every start method can
import it. Nothing here sleeps.
"""

from __future__ import annotations

import faulthandler
import importlib
import itertools
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigpipe.errors import WorkerError
from bigpipe.executors._descriptors import is_open

HOOKS = (
    "file_read",
    "pre_process",
    "data_process",
    "post_process",
    "outname_create",
    "file_write",
)
PATIENCE = 60.0  # seconds; only a test that fails ever waits so long
SOON = 10.0  # seconds; what is to be over in one or two, on a machine that is busy


# While a worker is started, each a function of the package that is called then, by start method.
STARTS = {
    "fork, in the fork": ("fork", "_newborn", "_fork_silently"),
    "fork, begun": ("fork", "launch", "fork_worker"),
    "fork, started": ("fork", "launch", "start"),
    "forkserver, asked": ("forkserver", "launch", "send_request"),
    "forkserver, answered": ("forkserver", "launch", "read_number"),
    "forkserver, started": ("forkserver", "launch", "start"),
    "spawn, begun": ("spawn", "launch", "_spawn"),
    "spawn, started": ("spawn", "launch", "start"),
}


@contextmanager
def interrupted_after(module: str, name: str) -> Iterator[None]:
    """Have Ctrl-C come once, when a function of the package has returned."""
    module = f"bigpipe.executors.{module}"
    function = getattr(importlib.import_module(module), name)
    parent = os.getpid()
    calls = itertools.count()

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if os.getpid() == parent and next(calls) == 0:
            signal.raise_signal(signal.SIGINT)
        return result

    # Whoever runs the tests may have it ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{module}.{name}", interrupted)
            yield
    finally:
        signal.signal(signal.SIGINT, handler)


# Trouble to get into, each called with a file's base name.


def exit_with_zero(name: str) -> None:
    os._exit(0)


def crash(name: str) -> None:
    faulthandler.disable()  # pytest's, in a forked worker, would write to the terminal
    os.kill(os.getpid(), signal.SIGSEGV)


def exit_politely(name: str) -> None:
    sys.exit(f"no more of {name}")


def interrupt(name: str) -> None:
    raise KeyboardInterrupt


class Abort(BaseException):
    """Is none of Python's own ways to end."""


def abort(name: str) -> None:
    raise Abort


def run_out_of_memory(name: str) -> None:
    bytearray(1 << 62)


def recurse(name: str) -> None:
    recurse(name)


def loop(name: str) -> None:
    """Stay in Python code for ever."""
    while True:
        pass


def ignore_sigterm_and_loop(name: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    loop(name)


def close_stdout(name: str) -> None:
    sys.stdout.close()
    os.close(1)


def close_all_descriptors(name: str) -> None:
    os.closerange(3, 1000)


def change_signals(name: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def fork_and_return(name: str) -> None:
    """Come back twice: in the worker, and before that in a child of it."""
    pid = os.fork()
    if pid:
        wait_for(pid)


def fork_and_raise(name: str) -> None:
    """Come back in the worker, after a child of it has left by an exception."""
    pid = os.fork()
    if not pid:
        sys.exit()
    wait_for(pid)


def wait_for(pid: int) -> None:
    with suppress(ChildProcessError):  # `change_signals` came before, in the same worker
        os.waitpid(pid, 0)


def leave_thread(name: str) -> None:
    threading.Thread(target=threading.Event().wait).start()


class HoldsLock(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("held", threading.Lock())


class Unpicklable:
    """Cannot be pickled, and says why."""

    def __reduce__(self) -> Any:
        raise TypeError("an open connection")


class Unloadable:
    """Can be pickled, and not be brought back."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


@dataclass(frozen=True)
class RaiseOf:
    """Raise an exception that is made in the worker."""

    make: Any

    def __call__(self, name: str) -> None:
        raise self.make()


@dataclass(frozen=True)
class Swallow:
    """Get into trouble, and hold up what is raised if it is of some kind."""

    kind: type[BaseException]
    action: Any

    def __call__(self, name: str) -> None:
        with suppress(self.kind):
            self.action(name)


@dataclass(frozen=True)
class WaitForProgram:
    """Wait for a shell that waits for a program that never ends; the ids of both are in a file."""

    note: Path
    then: Any = None
    is_stubborn: bool = False

    def __call__(self, name: str) -> None:
        script = "trap '' TERM; " if self.is_stubborn else ""
        script += (
            f"cd '{self.note.parent}'; sleep 1000 & echo $$ $! >new; mv new {self.note.name}; "
        )
        program = subprocess.Popen(["sh", "-c", f"{script} while :; do wait; done"])
        program.returncode = 0  # or Python would warn that it still runs
        try:
            while self.then is not None and not self.note.exists():
                pass
            if self.then is not None:
                self.then(name)
        finally:
            os.waitpid(program.pid, 0)


@dataclass(frozen=True)
class LeaveProgram:
    """Start a program that never ends, and note its process id in a file."""

    note: Path
    then: Any = None
    has_own_session: bool = False

    def __call__(self, name: str) -> None:
        program = subprocess.Popen(["sleep", "1000"], start_new_session=self.has_own_session)
        program.returncode = 0  # or Python would warn that it still runs
        self.note.write_text(str(program.pid))
        if self.then is not None:
            self.then(name)


@dataclass(frozen=True)
class ChangeFolder:
    folder: Path

    def __call__(self, name: str) -> None:
        os.chdir(self.folder)


@dataclass(frozen=True)
class Each:
    """Get into several kinds of trouble, one after the other."""

    actions: tuple[Any, ...]

    def __call__(self, name: str) -> None:
        for action in self.actions:
            action(name)


@contextmanager
def descriptors_left(n: int) -> Iterator[None]:
    """Let this process open only so many descriptors more."""
    free = (number for number in itertools.count() if not is_open(number))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, n, None)), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def check_descriptors_are_given_back(use: Callable[[], None]) -> None:
    """Use an API with ever more descriptors, until they suffice; none may be left open."""
    before = len(os.listdir("/proc/self/fd"))
    for n in itertools.count():
        try:
            with descriptors_left(n):
                use()
        except (OSError, WorkerError):
            assert len(os.listdir("/proc/self/fd")) == before, f"{n} could be opened"
        else:
            return


class Watched:
    """Another process, to be waited for without taking its number for another's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def has_ended(self, within: float = SOON) -> bool:
        return bool(select.select([self._fd], [], [], within)[0])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def watching(*pids: int) -> Iterator[list[Watched]]:
    """Watch processes; kill those that are still there in the end."""
    watched = [Watched(pid) for pid in pids]
    try:
        yield watched
    finally:
        for process in watched:
            process.kill()
            process.close()


def has_gone(pid: int) -> bool:
    """Wait until a process that need not exist any more has ended; tell whether it has."""
    try:
        with watching(pid) as [process]:
            return process.has_ended()
    except ProcessLookupError:
        return True


def worker_pids() -> set[int]:
    """Ids of the processes below this one, those between it and them included.

    Not of those that have ended: the fork server reaps its workers when it gets to it.
    """
    return {process.pid for process in psutil.Process().children(recursive=True) if _runs(process)}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def in_a_fork(deed: Callable[[], object]) -> str:
    """Do something in a forked copy of this process; return what it raised there, as text."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():  # Python 3.12 warns of forks in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        told = ""
        try:
            deed()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        finally:
            os.write(theirs, told.encode())
            os._exit(0)
    os.close(theirs)
    with open(ours, encoding="utf-8") as told_there:
        if not select.select([told_there], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGKILL)
            told_there.read()
            os.waitpid(pid, 0)
            raise TimeoutError("the copy hangs")
        told = told_there.read()
    os.waitpid(pid, 0)
    return told
