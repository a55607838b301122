"""Ctrl-C, SIGTERM and SIGHUP during a run, and the exceptions that interrupt a hook.

Owns the signal handlers that a run installs and restores, and the exceptions that no hook raises
by itself. `bigpipe.run` then ends the workers.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = [
    "Heard",
    "Interrupts",
    "Postponed",
    "Terminated",
    "ThreadShield",
    "TimeIsUp",
    "Undisturbed",
]

AT_ONCE = 0.1
"""Seconds within which several signals mean the same; less than between two presses of a key."""


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM, SIGHUP); never the failure of a file."""


class TimeIsUp(BaseException):
    """Raised in a hook whose file took too long; ``except Exception`` does not catch it."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Interrupts:
    """Makes SIGINT, SIGTERM and SIGHUP raise in the main thread, unless the caller handles them.

    SIGHUP means that the terminal was closed; a program run by ``nohup`` still ignores it.

    Parameters
    ----------
    ends_all : callable
        Called in the handler; returns whether its exception is certain to end the run. If so,
        later signals are ignored: batch systems and ``timeout`` send two in a row. If not, those
        of the next `AT_ONCE` seconds are ignored, or the second might interrupt what cleans up
        after the first.

    Attributes
    ----------
    has_raised : bool
        Whether one of the signals has come.
    is_deaf : bool
        Whether none may interrupt what has begun. Signals are then ignored, unless they are the
        first: `uninstall` raises for that. It is set without a call, since a signal that came just
        before may raise when a call begins.
    terminated_by : int or None
        The signal, unless that was SIGINT.

    Notes
    -----
    A process forked during the run, such as one of a `multiprocessing.Pool`, does not have the
    handler: its parent ends it with SIGTERM and waits, and Python runs no handler while the
    process is blocked.
    """

    def __init__(self, ends_all: Callable[[], bool]) -> None:
        self.has_raised = False
        self.terminated_by: int | None = None
        self._ends_all = ends_all
        self.is_deaf = False
        self._is_over = False
        self._deaf_until = -math.inf
        self._late: int | None = None

    def install(self) -> None:
        """Install the handler where possible."""
        if _in_main_thread():
            _keep_from_children()
            for number, usual in _USUAL.items():
                if signal.getsignal(number) is usual:
                    signal.signal(number, self._interrupt)

    def uninstall(self) -> None:
        """Restore the previous handlers, unless they have been replaced since.

        If the first signal came while none was to raise, it has its usual effect now.
        """
        self._is_over = True  # in another thread, there is no more that can be done
        if _in_main_thread():
            with Postponed():  # or a signal would leave the other handlers
                for number, usual in _USUAL.items():
                    if signal.getsignal(number) == self._interrupt:
                        signal.signal(number, usual)
            if self._late is not None:
                signal.raise_signal(self._late)

    def end_process(self) -> None:
        """End this process as the signal would have, so that its parent sees the signal."""
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
        elif self.is_deaf:
            if not self.has_raised:
                self._late = number
        elif time.monotonic() >= self._deaf_until:
            self.is_deaf = self._ends_all()
            self._deaf_until = time.monotonic() + AT_ONCE
            self.has_raised = True
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            self.terminated_by = number
            raise Terminated(128 + number)


_USUAL: dict[int, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,  # last, as it may raise once it is restored
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
    """Whether signals are postponed in the main thread, and which have arrived."""

    def __init__(self) -> None:
        self.is_on = False
        self.held: list[tuple[Callable[[int, FrameType | None], None], int]] = []

    def let_go(self) -> None:
        """Raise for the first postponed signal; later ones mean the same."""
        if self.held:
            handler, number = self.held[0]
            self.held.clear()
            handler(number, None)


_postponement = _Postponement()


class ThreadShield:
    """Postpones exceptions that another thread has the interpreter raise in this one.

    A thread that runs files has one. Its `Postponed` blocks, such as those of a run that a hook
    has started, then hold such an exception back until they have ended.

    Attributes
    ----------
    is_on : bool
        Whether exceptions are postponed now.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_on = False
        self._held: type[BaseException] | None = None

    def protect(self) -> None:
        """Protect the current thread."""
        _here.shield = self

    def order(self, exception: type[BaseException], raise_now: Callable[[], None]) -> None:
        """Call a function that raises an exception in the thread; postpone it if necessary."""
        with self._lock:
            if self.is_on:
                self._held = exception
            else:
                raise_now()

    def turn_on(self, *, keep: bool = False) -> bool:
        """Postpone exceptions from now on; return whether they already were.

        One that was ordered before, and that the interpreter has not raised yet, is raised here,
        or postponed as well (`keep`).
        """
        was_on = self.is_on
        try:
            with self._lock:
                self.is_on = True
            _let_raise()
        except BaseException as ordered:
            self.is_on = keep or was_on
            if not keep:
                raise
            self._held = type(ordered)
        return was_on

    def turn_off(self) -> None:
        """Raise the exception that was postponed, and postpone no more."""
        with self._lock:
            self.is_on = False
            held, self._held = self._held, None
        if held is not None:
            raise held


def _let_raise() -> None:
    """Do nothing: the interpreter raises what other threads have ordered when a call begins."""


_here = threading.local()


def _shield() -> ThreadShield | None:
    """Return the shield of the current thread, but not that of a thread in which we were forked."""
    return None if _in_main_thread() else getattr(_here, "shield", None)


class Postponed:
    """Postpones interruptions until a block has ended; then the first one raises.

    For code that must not be interrupted, such as starting a process and recording it, or cleaning
    up. The block must not take long, unless it waits with a timeout.

    Notes
    -----
    In the main thread, these are the signals that `Interrupts` handles; the caller's own handlers
    may raise anywhere. In a thread with a `ThreadShield`, they are exceptions ordered through it.
    """

    def __enter__(self) -> None:
        self._was_on = True  # elsewhere, nothing is to be done
        self._shield = _shield()
        if _in_main_thread():
            _keep_from_children()
            self._was_on = _postponement.is_on
            _postponement.is_on = True
        elif self._shield is not None:
            self._was_on = self._shield.turn_on()

    def __exit__(self, *details: object) -> None:
        if self._was_on:
            return
        if self._shield is not None:
            self._shield.turn_off()
        else:
            _postponement.is_on = False
            _postponement.let_go()


class Heard:
    """Lets interruptions raise during a slow part of a `Postponed` block."""

    def __enter__(self) -> None:
        self._shield = _shield()
        if self._shield is not None:
            self._was_on = self._shield.is_on
            if self._was_on:
                self._shield.turn_off()
            return
        self._was_on = _in_main_thread() and _postponement.is_on
        if self._was_on:
            _postponement.is_on = False
            _postponement.let_go()

    def __exit__(self, *details: object) -> None:
        if self._was_on and self._shield is not None:
            self._shield.turn_on()
        elif self._was_on:
            _postponement.is_on = True


class Undisturbed:
    """Keeps Ctrl-C from interrupting the end of a run, which takes about a second.

    A handler of `Interrupts` that is deaf is left, as it remembers the signal; any other is
    replaced. In a thread with a `ThreadShield`, exceptions are postponed until then.
    """

    def __enter__(self) -> None:
        self._previous: Any = None
        self._shield = _shield()
        self._was_on = self._shield is not None and self._shield.turn_on(keep=True)
        handler = signal.getsignal(signal.SIGINT)
        owner = getattr(handler, "__self__", None)
        is_deaf = isinstance(owner, Interrupts) and owner.is_deaf
        if _in_main_thread() and callable(handler) and not is_deaf:
            self._previous = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *details: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self._shield is not None and not self._was_on:
            self._shield.turn_off()
