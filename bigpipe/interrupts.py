"""Ctrl-C, SIGTERM and SIGHUP while a run lasts, and what breaks off a hook.

Owns the signal handlers that a run sets and takes back, and the exceptions that no hook
raises by itself. What is then ended, and how, is `bigpipe.run`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["Heard", "Interrupts", "Postponed", "Terminated", "TimeIsUp", "Undisturbed"]


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM, SIGHUP): never a file's own failure."""


class TimeIsUp(BaseException):
    """Raised in a hook whose file has taken too long, and not held up by ``except Exception``."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Interrupts:
    """Has SIGINT, SIGTERM and SIGHUP raise in the main thread, where nobody else handles them.

    SIGHUP tells that the terminal was closed; a program run by ``nohup`` ignores it still.

    Parameters
    ----------
    ends_all : callable
        Asked, in the handler, whether what it raises is sure to lead to the end: then a
        signal that comes after it is ignored. Schedulers and ``timeout`` send two in a row.

    Attributes
    ----------
    has_raised : bool
        Whether one of the signals has come.
    terminated_by : int or None
        The signal, unless that was SIGINT.

    Notes
    -----
    A process that is forked meanwhile, such as one of a `multiprocessing.Pool`, does not
    have the handler: its parent ends it by SIGTERM and waits, and a handler in Python is
    not run while the process is blocked.
    """

    def __init__(self, ends_all: Callable[[], bool]) -> None:
        self.has_raised = False
        self.terminated_by: int | None = None
        self._ends_all = ends_all
        self._is_deaf = False
        self._is_over = False

    def install(self) -> None:
        """Set the handler, where that can be done."""
        if _in_main_thread():
            _keep_from_children()
            for number, usual in _USUAL.items():
                if signal.getsignal(number) is usual:
                    signal.signal(number, self._interrupt)

    def ignore(self) -> None:
        """Let no second signal break off what the first has begun."""
        self._is_deaf = True

    def listen(self) -> None:
        """Take signals again: what the last one raised has been caught on its way."""
        self._is_deaf = False

    def uninstall(self) -> None:
        """Take the handler back, unless it has been replaced since."""
        self._is_over = True  # in another thread, there is no more that can be done
        if _in_main_thread():
            for number, usual in _USUAL.items():
                if signal.getsignal(number) == self._interrupt:
                    signal.signal(number, usual)

    def end_process(self) -> None:
        """End as the signal would have ended this process, by which its parent can tell."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # a hook may have closed it
                stream.flush()
        number = self.terminated_by or signal.SIGTERM
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if _postponement.is_on:
            _postponement.held.append((self._interrupt, number))
        elif self._is_over:
            signal.signal(number, _USUAL[number])
            signal.raise_signal(number)
        elif not self._is_deaf:
            self._is_deaf = self._ends_all()
            self.has_raised = True
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            self.terminated_by = number
            raise Terminated(128 + number)


_USUAL: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
_mask = threading.local()
_is_kept_from_children = False


def _keep_from_children() -> None:
    global _is_kept_from_children
    if not _is_kept_from_children:
        _is_kept_from_children = True
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_forget)


def _block() -> None:
    # A signal sent to the child before it has forgotten the handler waits until then.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _USUAL)


def _unblock() -> None:
    mask = getattr(_mask, "before", None)
    if mask is not None:  # else this was set up in the middle of a fork
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forget() -> None:
    _postponement.is_on = False
    _postponement.held.clear()
    for number, usual in _USUAL.items():
        handler = signal.getsignal(number)
        if isinstance(getattr(handler, "__self__", None), Interrupts):
            signal.signal(number, usual)
    _unblock()


class _Postponement:
    """Whether signals are held back in the main thread, and which have come."""

    def __init__(self) -> None:
        self.is_on = False
        self.held: list[tuple[Callable[[int, FrameType | None], None], int]] = []

    def let_go(self) -> None:
        """Raise for the first signal that was held back; those after it mean the same."""
        if self.held:
            handler, number = self.held[0]
            self.held.clear()
            handler(number, None)


_postponement = _Postponement()


class Postponed:
    """Holds signals back until a block has ended, in the main thread: then the first one raises.

    For what must not be broken off in the middle, such as to start a process and to note that it
    is there, or to clean up. In the block there must be nothing that takes long, unless the caller
    waits for only so long.

    Notes
    -----
    Those signals are held back that `Interrupts` handles. A handler of the caller's own raises
    wherever it wants to.
    """

    def __enter__(self) -> None:
        self._was_on = True  # in another thread, nothing is to be done
        if _in_main_thread():
            _keep_from_children()
            self._was_on = _postponement.is_on
            _postponement.is_on = True

    def __exit__(self, *details: object) -> None:
        if not self._was_on:
            _postponement.is_on = False
            _postponement.let_go()


class Heard:
    """Lets signals raise nevertheless, while something in a block of `Postponed` takes long."""

    def __enter__(self) -> None:
        self._was_on = _in_main_thread() and _postponement.is_on
        if self._was_on:
            _postponement.is_on = False
            _postponement.let_go()

    def __exit__(self, *details: object) -> None:
        if self._was_on:
            _postponement.is_on = True


class Undisturbed:
    """Keeps a second Ctrl-C from breaking off the end of a run, which is a second away."""

    def __enter__(self) -> None:
        self._previous: Any = None
        if _in_main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._previous = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *details: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
