"""A run followed from another terminal: which files workers have, and how far the run is.

Owns the text, and how it is refreshed in place. The data comes from the journal, to which the run
writes about once a second; the run itself is not contacted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from textwrap import wrap
from typing import IO

from bigpipe.budget import format_bytes
from bigpipe.columns import end_within, n_columns, padded, start_within
from bigpipe.durations import format_clock, format_rate
from bigpipe.errors import EncodingError
from bigpipe.journal import runs_of
from bigpipe.journal_store.reader import explained, opened
from bigpipe.journal_store.rows import LiveRow
from bigpipe.origin import JournalRun
from bigpipe.plurals import plural
from bigpipe.progress import remaining_s
from bigpipe.records import Sample
from bigpipe.report.record import text_of

__all__ = ["Glance", "glance", "watch"]

STALE_S = 10.0  # seconds without news from a run after which its last update is shown; arbitrary
N_FOR_RATE = 30  # samples over which the present rate is taken: about half a minute
ENOUGH = 16  # characters for a name: with fewer, the hook's column shrinks
LEAST = 6  # characters for either, however narrow the terminal
USUAL_HOOK = 22  # characters for a hook where there is room, so that columns stay in place
GAPS = 6  # characters between and before the columns
PAUSED = " (paused)"
PLAIN = 100  # columns where there is no terminal; arbitrary


@dataclass(frozen=True)
class Glance:
    """A run as seen at one moment."""

    path: str
    run: JournalRun | None
    samples: list[Sample]
    """Those of the last half minute, preceded by the first of the run."""
    live: list[LiveRow]
    at: float
    """Seconds since 1970 of this moment."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.run is None or self.run.state != "running"

    def text(self, width: int = 80, height: int = 24) -> str:
        """Return lines for a terminal of so many columns and lines."""
        if self.run is None:
            return f"{self.path}: no run yet"
        head = f"{self.run.pipe}, run {self.run.number}, {self.run.state}"
        lines = [part for line in (head, *self._figures(self.run)) for part in wrap(line, width)]
        room = max(1, height - len(lines) - 2)
        shown = self.live if len(self.live) <= room else self.live[: room - 1]
        lines += _table(shown, self.at, width)
        if len(shown) < len(self.live):
            lines.append(f"  and {len(self.live) - len(shown)} more")
        return "\n".join(start_within(line, width) for line in lines)

    def _figures(self, run: JournalRun) -> list[str]:
        if not self.samples:
            return ["no progress recorded yet"]
        now = self.samples[-1]
        n_files = now.n_finished if run.n_files is None else run.n_files
        total = "" if run.n_files is None else f" of {n_files}"
        least = "at least " if run.state == "killed" else ""  # more may have ended since
        parts = [f"{least}{now.n_finished}{total} {plural(n_files, 'file')}"]
        if now.n_failed:
            parts.append(f"{now.n_failed} failed")
        parts += [x for x in (self._rate(), self._left(run)) if x]
        lines = [", ".join(parts)]
        if now.used:
            lines.append(f"{format_bytes(now.used)} of {format_bytes(now.budget)} of memory")
        if not self.has_ended and self.at - now.at > STALE_S:
            lines.append(f"last update {format_clock(self.at - now.at)} ago")
        return lines

    def _rate(self) -> str:
        """Return the present rate; for a run that has ended, the mean rate."""
        first = self.samples[0 if self.has_ended else max(0, len(self.samples) - N_FOR_RATE)]
        last = self.samples[-1]
        seconds, n = last.at - first.at, last.n_finished - first.n_finished
        if seconds <= 0 or n <= 0:
            return ""
        return format_rate(n / seconds)

    def _left(self, run: JournalRun) -> str:
        began_at, last = run.began.timestamp(), self.samples[-1]
        if self.has_ended:
            ended_at = last.at if run.ended is None else run.ended.timestamp()
            return f"in {format_clock(ended_at - began_at)}"
        if run.n_files is None:
            return f"{format_clock(self.at - began_at)} so far"
        finish = next(x.at for x in self.samples if x.n_finished == last.n_finished)
        seconds = remaining_s(
            n_done=last.n_finished,
            n_left=run.n_files - last.n_finished,
            n_in_flight=last.n_in_flight or 0,
            last_finish_s=finish - began_at,
            elapsed_s=self.at - began_at,
        )
        left = "" if seconds is None else f", {format_clock(seconds)} left"
        return f"{format_clock(self.at - began_at)} so far{left}"


def _table(rows: Sequence[LiveRow], at: float, width: int) -> list[str]:
    """Return the file that each worker has, in columns that fit."""
    if not rows:
        return []
    hooks = [row.hook or "?" for row in rows]
    clocks = [format_clock(at - row.since) for row in rows]
    memories = ["" if row.memory is None else format_bytes(row.memory) for row in rows]
    of_clock, of_memory = max(map(len, clocks)), max(map(len, memories))
    most = max(
        len(hook) + len(PAUSED) * row.is_paused for hook, row in zip(hooks, rows, strict=True)
    )
    of_hook = max(most, USUAL_HOOK)
    rest = width - GAPS - of_clock - of_memory
    if rest < ENOUGH + of_hook:
        of_hook = max(LEAST, min(most, 2 * rest // 5))  # a name matters more
    of_name = max(LEAST, rest - of_hook)
    return [
        f"  {padded(_end_of(_name(row), of_name), of_name)}"
        f"  {_fitting(hook, row, of_hook):<{of_hook}} {clock:>{of_clock}} {memory:>{of_memory}}"
        for row, hook, clock, memory in zip(rows, hooks, clocks, memories, strict=True)
    ]


def _name(row: LiveRow) -> str:
    try:
        name = text_of(row.given)
    except EncodingError:  # it was an object of the caller's own
        name = row.in_name
    return "".join(c if c.isprintable() else "?" for c in name)


def _end_of(name: str, room: int) -> str:
    return name if n_columns(name) <= room else "..." + end_within(name, room - 3)


def _fitting(hook: str, row: LiveRow, room: int) -> str:
    """Return the hook, cut to the room there is; whether the worker is paused matters more."""
    if not row.is_paused:
        return hook[:room]
    return hook + PAUSED if len(hook + PAUSED) <= room else PAUSED.strip(" ()")


def glance(path: str | os.PathLike[str]) -> Glance:
    """Look at the last run of a journal.

    Raises
    ------
    JournalError
        If there is no such journal.
    """
    name = os.fspath(path)
    with closing(opened(name)) as reader, explained(name):
        runs = runs_of(reader, name)
        if not runs:
            return Glance(name, None, [], [], time.time())
        samples, live = reader.now(runs[-1].number, N_FOR_RATE)
    # The rows of a killed run still name the files that its workers had.
    return Glance(name, runs[-1], samples, live if runs[-1].state == "running" else [], time.time())


def watch(
    path: str | os.PathLike[str],
    stream: IO[str],
    *,
    interval_s: float = 1.0,
    pause: Callable[[float], None] = time.sleep,
) -> Glance:
    """Show a run until it ends: refreshed in place on a terminal, printed once elsewhere.

    Parameters
    ----------
    path : str or os.PathLike
        The journal.
    stream : file
        Where to print.
    interval_s : float, optional
        Seconds between updates.
    pause : callable, optional
        Waits so many seconds.

    Returns
    -------
    Glance
        What was shown last.
    """
    is_terminal = stream.isatty()
    n_lines = 0
    while True:
        seen = glance(path)
        size = shutil.get_terminal_size()
        text = seen.text(size.columns - 1 if is_terminal else PLAIN, size.lines)
        if n_lines:
            stream.write(f"\x1b[{n_lines}F\x1b[J")  # up to the first line, and clear from there
        stream.write(text + "\n")
        stream.flush()
        n_lines = text.count("\n") + 1
        if seen.has_ended or not is_terminal:
            return seen
        pause(interval_s)
