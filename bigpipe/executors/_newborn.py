"""A worker process from its first instruction to its last, around the function that it runs.

Owns what all start methods share on the child's side: process group, lifeline, signals, standard
streams, exit code. `bigpipe.executors.launch` creates the process, and the caller chooses the
function.

The lifeline is a socket whose other end only the parent has. However the parent ends, the kernel
then sends SIGKILL to the worker's process group. Neither a worker busy in C code nor a program that
its hooks started can outlive the parent, and no thread is needed.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import io
import os
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from bigpipe.executors._descriptors import above_stdio, is_open

__all__ = ["NO_LIFELINE", "fork_worker", "live", "main"]

NO_LIFELINE = -1  # for a process that notices the end of its parent by itself
FAILED = 1  # exit code of a target that raised

_lifeline: int | None = None  # of this process; a worker forked from it must close it


def fork_worker(
    target: str,
    fds: Sequence[int],
    lifeline: int,
    *,
    path: Sequence[str] | None = None,
    streams: Sequence[int] = (1, 2),
) -> int:
    """Fork a process that runs the target and never returns; return its process id.

    Parameters
    ----------
    target, fds, lifeline, path, streams
        As for `live`.
    """
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)  # or the worker would print what is buffered here a second time
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # A handler of the parent must not run in the worker before it is reset there. A handler
        # that runs right here may raise.
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled_signals())
        pid = _fork_silently()
        if pid == 0:
            gc.freeze()  # what the parent left to be collected is not the worker's to finalize
            _forget_imports()
            live(target, fds, lifeline, path=path, streams=streams)
        try:
            os.setpgid(pid, pid)  # the worker does the same: either may come first
        except (PermissionError, ProcessLookupError):
            pass  # the worker has done it, and has executed a program or ended
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def main(arguments: Sequence[str]) -> NoReturn:
    """Begin in a new interpreter.

    Parameters
    ----------
    arguments : sequence of str
        Target; lifeline; the other descriptors, joined by commas; the caller's ``sys.path``,
        one argument each; the folder where bigpipe was found.
    """
    target, lifeline, fds, *path, _ = arguments
    del sys.argv[1:]
    live(target, [int(fd) for fd in fds.split(",") if fd], int(lifeline), path=path)


def live(
    target: str,
    fds: Sequence[int],
    lifeline: int,
    *,
    path: Sequence[str] | None = None,
    streams: Sequence[int] = (1, 2),
) -> NoReturn:
    """Become a worker, call the target, end the process.

    Parameters
    ----------
    target : str
        ``'module:function'``.
    fds : sequence of int
        Descriptors that the function is called with.
    lifeline : int
        The end of the lifeline, or `NO_LIFELINE`.
    path : sequence of str, optional
        ``sys.path`` to look for the target in.
    streams : sequence of int, optional
        Descriptors to become standard output and error.
    """
    code = FAILED
    try:
        try:
            _settle(fds, lifeline, streams)
            if path is not None:
                sys.path[:] = path
            code = _call(target, fds)
        except BaseException:  # whatever it is, it must not unwind into the parent's frames
            traceback.print_exc()
        _flush(sys.stdout)
        _flush(sys.stderr)
    finally:
        # Nothing of the parent's may run here: no atexit function, no finally above us.
        os._exit(code & 0xFF)


def _settle(fds: Sequence[int], lifeline: int, streams: Sequence[int]) -> None:
    global _lifeline
    if _lifeline is not None:
        os.close(_lifeline)
        _lifeline = None
    os.setpgid(0, 0)
    if lifeline != NO_LIFELINE:
        os.set_inheritable(lifeline, False)
        _arm(lifeline)
        _lifeline = lifeline
    for fd in fds:
        os.set_inheritable(fd, False)
    _reset_signals()
    _settle_streams(streams)
    if sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = _break
    _rename()


def _arm(lifeline: int) -> None:
    """Have this process group killed when the other end of the lifeline closes."""
    if not _arm_by_kernel(lifeline):
        threading.Thread(target=_kill_at_end, args=(lifeline,), daemon=True).start()
    poller = select.poll()
    poller.register(lifeline, select.POLLIN)
    if poller.poll(0):  # it was closed before the kernel was told: no signal will come
        os._exit(FAILED)


def _arm_by_kernel(lifeline: int) -> bool:
    if not hasattr(fcntl, "F_SETSIG"):  # Linux only
        return False
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    except OSError:  # a kernel that only resembles Linux
        return False
    return True


def _kill_at_end(lifeline: int) -> None:
    """Do the same as the kernel, but only when C code that is running lets a thread run."""
    os.read(lifeline, 1)  # nothing is ever written
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _reset_signals() -> None:
    """Reset the parent's handlers; leave Ctrl-C, which every process receives, to the parent."""
    signal.set_wakeup_fd(-1)
    for number in _handled_signals():
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGCHLD):  # also if the parent ignores them
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The group is not the terminal's: under `stty tostop` a worker that prints would stop.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _handled_signals() -> list[int]:
    """Return the signals that have a handler in Python.

    Only these are blocked: `signal` makes an object for each signal of a mask that it returns,
    which takes 0.1 ms for a mask of all signals, several times in a fork.
    """
    return [n for n in range(1, signal.NSIG) if callable(signal.getsignal(n))]


def _settle_streams(streams: Sequence[int]) -> None:
    null = above_stdio(os.open(os.devnull, os.O_RDWR))
    os.dup2(null, 0)
    for number, fd in zip((1, 2), streams, strict=True):
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)
        elif not is_open(number):  # else the next file opened would be standard output
            os.dup2(null, number)
    os.close(null)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    if streams[0] != 1 and type(sys.stdout) is io.TextIOWrapper:
        sys.stdout.reconfigure(line_buffering=os.isatty(1))


def _break(*args: Any, **keywords: Any) -> Any:
    """Replace `breakpoint`, whose debugger would read standard input, which is empty here."""
    if os.environ.get("PYTHONBREAKPOINT"):  # another debugger, which may know how; 0: none
        return sys.__breakpointhook__(*args, **keywords)
    raise RuntimeError(
        "breakpoint() has no terminal in a worker process. Run this file with executor='serial'."
    )


def _rename() -> None:
    """Correct the name and kind that `multiprocessing`, if loaded, has for this process."""
    module = sys.modules.get("multiprocessing.process")
    if module is not None:
        process = module.current_process()
        process.name = f"bigpipe-worker-{os.getpid()}"
        process.daemon = False  # a parent may be; workers may have children


def _call(target: str, fds: Sequence[int]) -> int:
    module, _, function = target.partition(":")
    try:
        code: Any = getattr(importlib.import_module(module), function)(*fds)
    except SystemExit as stop:
        code = stop.code
        if code is not None and not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            return FAILED
    return code if isinstance(code, int) else 0


def _forget_imports() -> None:
    """Forget modules that other threads of the parent were importing, as these cannot finish here.

    Each such thread holds the lock of its module, for which an import would wait for ever, and
    leaves a half-made module. Python renews only some locks of its own, such as those of `logging`.
    """
    me = threading.get_ident()
    # Private, in this form since Python 3.3. If it changes, this function does nothing.
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    for name, reference in list(locks.items()):
        owner = getattr(reference(), "owner", None)
        if owner == me:
            continue
        del locks[name]  # also if nobody had it: somebody may have been about to
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if owner is not None and getattr(spec, "_initializing", False):
            del sys.modules[name]


def _flush(stream: Any) -> None:
    """Flush a standard stream, which may be missing, closed, broken or replaced."""
    try:
        stream.flush()
    except (AttributeError, OSError, ValueError):
        pass  # what it still holds cannot be shown anywhere


def _fork_silently() -> int:
    """Fork without the warning of Python 3.12 about threads: the caller has chosen to fork."""
    if sys.version_info < (3, 12):
        return os.fork()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .*multi-threaded", DeprecationWarning)
        return os.fork()
