"""Ctrl-C and SIGTERM while a run lasts.

Owns the signal handlers that a run sets and takes back. What is then ended, and how, is
`bigpipe.run`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["SigtermHandler", "Terminated", "Undisturbed"]


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM): never a file's own failure."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class SigtermHandler:
    """Has SIGTERM raise `Terminated` in the main thread, if nobody else handles it."""

    def __init__(self) -> None:
        self._is_installed = False
        self._is_deaf = False

    def install(self) -> None:
        """Set the handler, where that can be done."""
        if _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)
            self._is_installed = True

    def ignore(self) -> None:
        """Let no second signal break off what the first has begun."""
        self._is_deaf = True

    def uninstall(self) -> None:
        """Take the handler back, unless it has been replaced since."""
        if self._is_installed and signal.getsignal(signal.SIGTERM) == self._terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if not self._is_deaf:
            raise Terminated(128 + number)


class Undisturbed:
    """Keeps a second Ctrl-C from breaking off the end of a run, which is a second away."""

    def __enter__(self) -> None:
        self._previous: Any = None
        if _in_main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._previous = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *details: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
