"""Text printed during a run: it appears as whole lines, above the bar in a terminal.

Owns how ``print`` writes to a terminal with a bar, in this process and in workers, and to a
notebook, in workers. `bigpipe.log` handles log records and warnings, `bigpipe.progress` the bar.
"""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = [
    "Place",
    "erasing",
    "in_notebook",
    "is_terminal",
    "room_for_prints",
    "settle_prints",
]

USUAL_COLUMNS = 80  # of a terminal whose width is unknown
MAX_HELD = 8192  # characters of an unfinished line; as many as a stream's own buffer has
LINE_ENDS = ("\n", "\r\n")
# What moves the cursor, except for line ends and colours.
OF_DRAWING = re.compile(r"\r(?!\n)|\x1b(?!\[[0-9;:]*m)")


class Place(Enum):
    """Where the output of workers appears."""

    TERMINAL = "a terminal in which the run draws a bar"
    NOTEBOOK = "a notebook"
    ELSEWHERE = "elsewhere, where printing needs no care"

    @classmethod
    def without_bar(cls) -> Place:
        """Return where this process prints if it draws no bar in a terminal."""
        return cls.NOTEBOOK if in_notebook() else cls.ELSEWHERE


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def is_terminal(stream: Any) -> bool:
    """Return whether a stream writes to a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, a replacement without the method, or closed
        return False


def settle_prints(place: Place) -> None:
    """Prepare the output of this process, a worker, until it ends.

    Notes
    -----
    In a notebook, a worker that was not forked prints into a pipe that the kernel reads; without
    this, its text would appear only at the end. A fork of the kernel prints to the kernel's own
    stream, which sends each piece of a line separately, so lines of several workers would mix.
    """
    if place is Place.TERMINAL:
        room_for_prints(erasing)
    if place is not Place.NOTEBOOK:
        return
    for stream in (sys.stdout, sys.stderr):
        if type(stream) is io.TextIOWrapper:
            # If Python is to be unbuffered, it writes pieces of lines.
            stream.reconfigure(line_buffering=True, write_through=False)
        elif type(stream).__module__ == "ipykernel.iostream":
            _Prints(stream, lambda _: "", nullcontext())


def room_for_prints(
    make_room: Callable[[Any], str], lock: AbstractContextManager[Any] | None = None
) -> ExitStack:
    """Call a function before each line that this process prints in a terminal.

    Parameters
    ----------
    make_room : callable
        Called with the stream, in the thread that prints. Returns text to write before the line.
    lock : context manager, optional
        Held during the call and while the line is written. If it is an ``RLock``, text written
        by a thread that already holds it passes unchanged, because that thread draws the bar.

    Returns
    -------
    ExitStack
        Close it to print normally again.

    Notes
    -----
    A line is written when it is whole or flushed. Only text that goes through ``sys.stdout`` and
    ``sys.stderr`` is seen, not what a program or a library writes to the descriptors. Both
    streams remain the same objects. Text that forks of this process print passes unchanged.
    """
    prints = ExitStack()
    streams = [each for each in (sys.stdout, sys.stderr) if type(each) is io.TextIOWrapper]
    for stream in dict.fromkeys(streams):  # both may be one
        if is_terminal(stream):
            prints.callback(_Prints(stream, make_room, lock or nullcontext()).end)
    return prints


def erasing(stream: Any) -> str:
    """Return text that erases the cursor's line, on which another process has drawn a bar."""
    columns = 0
    with suppress(OSError, ValueError):
        columns = os.get_terminal_size(stream.fileno()).columns
    return "\r" + " " * ((columns or USUAL_COLUMNS) - 1) + "\r"


_RLock = type(threading.RLock())


@dataclass(slots=True)
class _Line:
    """The unfinished line of a thread."""

    held: str = ""
    """Text printed so far."""
    has_drawn: bool = False
    """Whether the thread has moved the cursor in this line."""


class _Prints:
    """Replaces the methods ``write`` and ``flush`` of a stream."""

    def __init__(
        self, stream: Any, make_room: Callable[[Any], str], lock: AbstractContextManager[Any]
    ) -> None:
        self._stream = stream
        self._make_room = make_room
        self._lock = lock
        self._of_bar = threading.Condition(lock) if isinstance(lock, _RLock) else None
        self._pid = os.getpid()
        self._is_over = False
        self._is_at_start = True
        self._lines: defaultdict[int, _Line] = defaultdict(_Line)  # by thread
        self._before = stream.write, stream.flush
        # Methods that another run, or other code, has put there.
        self._had = {name: x for name, x in vars(stream).items() if name in ("write", "flush")}
        stream.write, stream.flush = self.write, self.flush

    def write(self, text: str) -> int:
        write = self._before[0]
        if not text or not isinstance(text, str) or self._passes:
            return int(write(text))
        line = self._lines[threading.get_ident()]
        if text == "\r" and not line.has_drawn:  # the held text is complete, such as a counter
            self._draw(line, line.held + text)
        elif OF_DRAWING.match(text):  # the held text waits for its end
            line.has_drawn = True
            write(text)
        elif line.has_drawn and text.startswith(LINE_ENDS):
            line.has_drawn = False
            write(text)
        else:
            self._add(line, text)
        return len(text)

    def _add(self, line: _Line, text: str) -> None:
        line.has_drawn = False
        whole, end, line.held = (line.held + text).rpartition("\n")
        if end:
            self._show(whole + end)
        if OF_DRAWING.search(text, text.rfind("\n") + 1):
            self._draw(line, line.held)
        elif len(line.held) > MAX_HELD:
            held, line.held = line.held, ""
            self._show(held)

    def _draw(self, line: _Line, text: str) -> None:
        line.held, line.has_drawn = "", True
        self._before[0](text)

    def flush(self) -> None:
        if not self._passes:
            line = self._lines[threading.get_ident()]
            if line.held and not line.has_drawn:
                held, line.held = line.held, ""
                self._show(held)
        self._before[1]()

    def end(self) -> None:
        """Write held text, pass everything from now on, and remove replacements that have ended."""
        if not self._passes:
            with suppress(OSError, ValueError):  # the terminal is gone, or the stream closed
                for line in list(self._lines.values()):
                    if line.held:
                        self._show(line.held)
        self._is_over = True
        while (top := _on(self._stream)) is not None and top._is_over:
            del self._stream.write, self._stream.flush
            vars(self._stream).update(top._had)

    @property
    def _passes(self) -> bool:
        return self._is_over or self._pid != os.getpid() or self._is_of_bar

    @property
    def _is_of_bar(self) -> bool:
        if self._of_bar is None:
            return False
        try:
            self._of_bar.notify()  # wakes nobody, and raises if this thread does not hold the lock
        except RuntimeError:
            return False
        return True

    def _show(self, text: str) -> None:
        with self._lock:
            room = self._make_room(self._stream) if self._is_at_start else ""
            self._is_at_start = text[-1] == "\n"
            self._before[0](room + text)


def _on(stream: Any) -> _Prints | None:
    """Return the object that replaces the methods of a stream, if any."""
    owner = getattr(vars(stream).get("write"), "__self__", None)
    return owner if isinstance(owner, _Prints) else None
