"""Progress of a run: a bar, lines in a log file, or calls of the caller's function.

Owns the counting and the drawing. Events come from `bigpipe.run`, log records printed in between
from `bigpipe.log`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from typing import IO, Any

from bigpipe.budget import format_bytes
from bigpipe.durations import format_clock, format_rate
from bigpipe.errors import OptionError, warn
from bigpipe.plurals import plural
from bigpipe.prints import in_notebook, is_terminal
from bigpipe.records import FileFinished, RunFinished, RunStarted

__all__ = ["Event", "Progress", "interrupted", "make_progress", "remaining_s", "say"]

Event = RunStarted | FileFinished | RunFinished

BAR_INTERVAL = 0.1  # seconds: smooth to the eye, and a thousandth of a core
LINE_INTERVAL = 10.0  # seconds between lines in a log file, so that a night stays readable
NARROW = 70  # columns: below it the bar would shrink to nothing beside the full text
WIDE = 110  # columns: minimum width at which memory is shown


class Progress:
    """Show nothing: the base of the other classes, and used for ``progress=False``."""

    is_in_terminal = False
    """Whether it shares a terminal with other output."""
    lock: AbstractContextManager[Any] = nullcontext()
    """Nothing is drawn while another thread holds it."""

    def handle(self, event: Event) -> None:
        """Handle an event."""

    def tick(self, n_in_flight: int, memory: tuple[int, int] | None = None) -> None:
        """Update the time shown. Called about once a second, however long files take.

        Parameters
        ----------
        n_in_flight : int
            Number of files being processed now.
        memory : tuple of int, optional
            Bytes that all workers use now, and bytes that they may use.
        """

    def clear(self) -> None:
        """Clear the bar for a line that is about to be printed. Any thread may call it."""

    def paused(self) -> AbstractContextManager[None]:
        """Return a context manager inside which other code may print."""
        return nullcontext()

    def close(self) -> None:
        """Show the exact final state and stop. A second call does nothing."""


def make_progress(option: bool | Callable[[Event], object] | None) -> Progress:
    """Choose how to show the progress of a run.

    Parameters
    ----------
    option : bool, callable or None
        ``None`` shows a bar on standard error if that is a terminal, or in a notebook. ``True``
        always shows progress: as occasional lines if standard error is not a terminal. ``False``
        shows nothing. A function is called with each event, in the caller's process.

    Returns
    -------
    Progress
        Handles all events of one run.

    Raises
    ------
    OptionError
        If the value is none of these.
    """
    if option is not None and not isinstance(option, bool):
        if callable(option):
            return _CallbackProgress(option)
        raise OptionError(
            f"progress={option!r} cannot be used: give None, True, False, or a function that "
            "takes one event"
        )
    stream = sys.stderr
    if option is False or stream is None:
        return Progress()
    if in_notebook():
        return _BarProgress(stream, in_notebook=True)
    if is_terminal(stream):
        return _BarProgress(stream, in_notebook=False)
    return _LineProgress(stream) if option else Progress()


class _CallbackProgress(Progress):
    def __init__(self, function: Callable[[Event], object]) -> None:
        self._function = function
        self._has_warned = False

    def handle(self, event: Event) -> None:
        try:
            self._function(event)
        except Exception as error:  # any error: showing progress must not end the run
            if self._has_warned:
                return
            self._has_warned = True
            warn(
                f"the function given as progress= raised {type(error).__name__}: {error} "
                f"(at {type(event).__name__}). The run continues; later errors are not shown."
            )


class _Counts:
    """How many files are done, and how long the rest will take."""

    def __init__(self) -> None:
        self.n_files: int | None = None
        self.n_done = 0
        self.n_failed = 0
        self.n_in_flight = 0
        self.memory: tuple[int, int] | None = None
        self.started = 0.0
        self.last_finish = 0.0

    def start(self, n_files: int | None) -> None:
        self.n_files = n_files
        self.started = self.last_finish = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def speed(self) -> str:
        duration = self.last_finish - self.started
        if not self.n_done or duration <= 0:
            return "? files/s"
        return format_rate(self.n_done / duration)

    def left(self) -> str:
        if self.n_files is None:
            return "?"
        seconds = remaining_s(
            n_done=self.n_done,
            n_left=self.n_files - self.n_done,
            n_in_flight=self.n_in_flight,
            last_finish_s=self.last_finish - self.started,
            elapsed_s=self.elapsed_s(),
        )
        return "?" if seconds is None else format_clock(seconds)

    def tail(self) -> str:
        in_flight = f", {self.n_in_flight} in flight" if self.n_in_flight else ""
        return in_flight + self.failures()

    def memory_used(self) -> str:
        if self.memory is None:
            return ""
        used, budget = self.memory
        return f", {format_bytes(used)} of {format_bytes(budget)}"

    def failures(self) -> str:
        return f", failed={self.n_failed}" if self.n_failed else ""


def remaining_s(
    n_done: int, n_left: int, n_in_flight: int, last_finish_s: float, elapsed_s: float
) -> float | None:
    """Estimate the remaining time of a run, for files of a millisecond or of an hour.

    Parameters
    ----------
    n_done, n_left, n_in_flight : int
        Files finished, files not finished, and how many of the latter are being processed.
    last_finish_s : float
        Seconds from the start until the last file finished.
    elapsed_s : float
        Seconds from the start until now.

    Returns
    -------
    float or None
        Seconds; ``None`` before the first file has finished.

    Notes
    -----
    The mean rate is that up to the last finish, so the estimate counts down between two finishes
    instead of growing. When files take longer than earlier ones, the rate is limited to what it
    would be if all files in flight finished now.

    Examples
    --------
    Two of twenty files, side by side, took a minute; half a minute later:

    >>> remaining_s(n_done=2, n_left=18, n_in_flight=2, last_finish_s=60, elapsed_s=90)
    510.0
    """
    if n_done == 0 or last_finish_s <= 0:
        return None
    rate = min(n_done / last_finish_s, (n_done + n_in_flight) / elapsed_s)
    return max(0.0, n_left / rate - (elapsed_s - last_finish_s))


class _CountingProgress(Progress):
    """Count files and write at intervals; subclasses decide what is written."""

    interval = LINE_INTERVAL

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._counts = _Counts()
        self._next_write = float("inf")
        # Not an error of the run: the terminal may be closed during it.
        self._is_lost = False

    def handle(self, event: Event) -> None:
        if isinstance(event, FileFinished):
            counts = self._counts
            counts.n_done += 1
            if event.result.error is not None:
                counts.n_failed += 1
            counts.last_finish = now = time.monotonic()
            if now >= self._next_write:
                self._show(now)
        elif isinstance(event, RunStarted):
            self._counts.start(event.n_files)
            self._next_write = self._counts.started + self.interval
        else:
            self.close()

    def tick(self, n_in_flight: int, memory: tuple[int, int] | None = None) -> None:
        self._counts.n_in_flight = n_in_flight
        self._counts.memory = memory
        now = time.monotonic()
        if now >= self._next_write:
            self._show(now)

    def close(self) -> None:
        if self._next_write != float("inf"):
            self._counts.n_in_flight, self._counts.memory = 0, None
            self._attempt(self._write_last)
            self._next_write = float("inf")

    def _show(self, now: float) -> None:
        self._next_write = now + self.interval
        self._attempt(self._write)

    def _attempt(self, write: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            write()
        except (OSError, ValueError):  # the terminal is gone, or the stream closed
            self._is_lost = True
            self._lose()

    def _lose(self) -> None:
        """Write nothing any more."""

    def _write(self) -> None:
        raise NotImplementedError

    def _write_last(self) -> None:
        self._write()


class _LineProgress(_CountingProgress):
    """Lines, for standard error that is redirected to a file."""

    def _write(self) -> None:
        counts = self._counts
        left = f", {counts.left()} left" if counts.n_done != counts.n_files else ""
        self._stream.write(
            f"bigpipe: {_files(counts.n_done, counts.n_files)} in "
            f"{format_clock(counts.elapsed_s())}{left}, {counts.speed()}{counts.tail()}\n"
        )
        self._stream.flush()


class _BarProgress(_CountingProgress):
    """A tqdm bar, in a terminal or a notebook."""

    interval = BAR_INTERVAL

    def __init__(self, stream: IO[str], in_notebook: bool) -> None:
        super().__init__(stream)
        self.is_in_terminal = not in_notebook
        self._bar: Any = None
        self._is_shown = False
        # The run draws the bar, and any thread that logs clears it.
        self.lock = threading.RLock()

    def clear(self) -> None:
        if self._is_shown:
            self._attempt(self._erase)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.clear()
        try:
            yield
        finally:
            # Not redrawn at once, as many lines may follow; the next event or tick does it.
            now = time.monotonic()
            if now >= self._next_write:
                self._show(now)

    def _lose(self) -> None:
        self._is_shown = False
        if self._bar is not None:
            with suppress(OSError, ValueError):  # one more attempt, instead of one in __del__
                self._bar.close()

    def _erase(self) -> None:
        with self.lock:
            if self._is_shown:
                self._is_shown = False
                self._bar.clear(nolock=True)

    def _write(self) -> None:
        with self.lock:
            self._is_shown = False  # while it is drawn, which prints too
            if self._bar is None:
                self._bar = _new_bar(self._stream, self._counts, not self.is_in_terminal)
            else:
                self._bar.n = self._counts.n_done
                self._bar.refresh(nolock=True)
            self._is_shown = True

    def _write_last(self) -> None:
        with self.lock:
            self._is_shown = False
            if self._bar is None:
                self._bar = _new_bar(self._stream, self._counts, not self.is_in_terminal)
            self._bar.n = self._counts.n_done
            self._bar.close()


def _new_bar(stream: IO[str], counts: _Counts, in_notebook: bool) -> Any:
    tqdm: Any = import_module("tqdm.auto" if in_notebook else "tqdm.std").tqdm

    class FilesBar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no monitor thread, so that forking stays safe
        _lock = threading.RLock()  # tqdm's own is shared between processes, and slow to make

        @property
        def format_dict(self) -> dict[str, Any]:
            fields: dict[str, Any] = super().format_dict
            if fields["ncols"] == 0:  # the terminal does not report its width
                fields["ncols"] = None
            width = fields["ncols"]
            fields.update(
                elapsed=counts.elapsed_s(),
                left=counts.left(),
                speed=counts.speed(),
                failures=counts.failures(),
                tail=counts.tail() + (counts.memory_used() if (width or 0) >= WIDE else ""),
                bar_format=_bar_format(
                    counts.n_files, is_narrow=isinstance(width, int) and width < NARROW
                ),
            )
            return fields

    # In a terminal, below another bar (a loop over nights), it leaves no line of its own.
    return FilesBar(
        total=counts.n_files,
        initial=counts.n_done,
        file=stream,
        dynamic_ncols=True,
        leave=True if in_notebook else None,
    )


def _bar_format(n_files: int | None, is_narrow: bool) -> str:
    if is_narrow and not n_files:
        return "{n_fmt} files, {elapsed}{failures}"
    if is_narrow:
        return "{n_fmt}/{total_fmt}|{bar}|{left} left{failures}"
    if not n_files:
        return "{n_fmt} files [{elapsed}, {speed}{tail}]"
    return "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} files [{elapsed}<{left}, {speed}{tail}]"


def interrupted(
    n_done: int, n_total: int | None, n_failed: int, elapsed_s: float, *, has_journal: bool
) -> str:
    """Return text that says how far a run had got when it was stopped, and how it can continue.

    Parameters
    ----------
    n_done : int
        Files that have ended, including failed ones.
    n_total : int or None
        Total number of files; ``None`` if unknown.
    n_failed : int
        Files that failed.
    elapsed_s : float
        Seconds from the start of the run.
    has_journal : bool
        Whether the results are in a journal.

    Examples
    --------
    >>> interrupted(12, 20, 1, 125.0, has_journal=False)
    'bigpipe: interrupted after 12 of 20 files, 1 of them failed, in 02:05'
    """
    failed = f", {n_failed} of them failed" if n_failed else ""
    elapsed = format_clock(elapsed_s)
    text = f"bigpipe: interrupted after {_files(n_done, n_total)}{failed}, in {elapsed}"
    if has_journal:
        text += "\nbigpipe: the journal has the files that ended; run again to do the others"
    return text


def say(line: str) -> None:
    """Write a line to standard error, which may be closed or missing."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _files(n_done: int, n_total: int | None) -> str:
    if n_total is None:
        return f"{n_done} {plural(n_done, 'file')}"
    return f"{n_done} of {n_total} {plural(n_total, 'file')}"
