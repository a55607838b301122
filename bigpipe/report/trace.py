"""A run in the trace format that Perfetto and Chrome's ``about:tracing`` open.

Owns the events of the trace, made from `bigpipe.report.record`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from bigpipe.report.files import write_file
from bigpipe.report.record import PHASES, Attempt, RunRecord, record_of

__all__ = ["trace_events", "write_trace"]

_RUN = 1  # the one process of the trace; its threads are the workers


def write_trace(source: Any, path: str | os.PathLike[str], run: int | None = None) -> None:
    """Write a run as a trace: a row for each worker, a block for each file and phase.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or the result of a run.
    path : str or os.PathLike
        The trace to write, as JSON.
    run : int, optional
        Number of the run in the journal; by default, the last.

    Notes
    -----
    Viewers drop blocks that partly overlap. So the blocks of a row either follow or contain one
    another, exact to a tenth of a microsecond; a block that would begin before the last one ends is
    moved to that end.

    References
    ----------
    .. [1] The "Trace Event Format" of the Chromium project: events ``X`` (complete), ``C``
       (counter) and ``M`` (metadata); times in microseconds.
    """
    record = record_of(source, run)
    trace = {"traceEvents": list(trace_events(record)), "displayTimeUnit": "ms"}
    write_file(path, json.dumps(trace, separators=(",", ":")).encode("ascii"))


def trace_events(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace."""
    yield _named("process_name", 0, f"{record.title} ({record.state})")
    for worker, lane in record.lanes.items():
        name = "worker" if worker is None else f"worker {worker}"
        for hand in range(record.n_hands):
            more = f", file {hand + 1} at once" if hand else ""
            yield _named("thread_name", lane * record.n_hands + hand + 1, name + more)
    free_at: dict[int, int] = {}
    for attempt in sorted(record.drawn(), key=lambda attempt: attempt.began_at or 0.0):
        lane = record.lanes[attempt.worker] * record.n_hands + record.hand(attempt) + 1
        block = _Block(attempt, record.began_at, free_at.get(lane, 0))
        free_at[lane] = block.end
        yield from block.events(lane)
    for sample in record.samples:
        at = max(0, _ticks(sample.at - record.began_at))
        if sample.used is not None:
            yield _counter(at, "memory in use", "bytes", sample.used)
            yield _counter(at, "memory that may be used", "bytes", sample.budget)
        if sample.n_in_flight is not None:
            yield _counter(at, "files in flight", "files", sample.n_in_flight)


def _named(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _RUN, "tid": thread, "name": what, "args": {"name": _valid(name)}}


def _counter(at: int, name: str, unit: str, value: int) -> dict[str, Any]:
    # One series for each counter: viewers stack the series of one counter.
    times = {"ph": "C", "pid": _RUN, "tid": 0, "ts": _microseconds(at)}
    return {**times, "name": name, "args": {unit: value}}


class _Block:
    """A file, and inside it the phases that its time was spent in."""

    def __init__(self, attempt: Attempt, began_at: float, free_at: int) -> None:
        assert attempt.began_at is not None
        lasted = max(attempt.last_at - attempt.began_at, attempt.seconds)
        self.attempt = attempt
        self.start = max(free_at, _ticks(attempt.began_at - began_at))
        self.end = max(self.start, _ticks(attempt.began_at - began_at + lasted))

    def events(self, thread: int) -> Iterator[dict[str, Any]]:
        name = _valid(os.path.basename(self.attempt.name) or self.attempt.name)
        yield self._event(thread, "file", name, self.start, self.end) | {"args": self._known()}
        start, until_s = self.start, 0.0
        for phase in PHASES:
            until_s += getattr(self.attempt, f"{phase}_s")
            end = min(self.end, self.start + _ticks(until_s))
            if end > start:
                yield self._event(thread, "phase", phase, start, end)
            start = end

    def _event(self, thread: int, kind: str, name: str, start: int, end: int) -> dict[str, Any]:
        times = {"ts": _microseconds(start), "dur": _microseconds(end - start)}
        return {"ph": "X", "pid": _RUN, "tid": thread, "cat": kind, "name": name, **times}

    def _known(self) -> dict[str, Any]:
        known = {
            "input": self.attempt.name,
            "outcome": self.attempt.outcome,
            "output": self.attempt.outname,
            "size": self.attempt.size,
            "peak RSS": self.attempt.peak_rss,
            "projected": self.attempt.projected,
            "attempts": self.attempt.attempts,
            "error": self.attempt.error,
        }
        return {
            name: _valid(value) if isinstance(value, str) else value
            for name, value in known.items()
            if value is not None
        }


def _ticks(seconds: float) -> int:
    """Return whole tenths of microseconds, so that equal times are exactly equal."""
    return round(1e7 * seconds)


def _microseconds(ticks: int) -> float:
    return ticks / 10


def _valid(text: str) -> str:
    """Return text without lone surrogates, which names that are not UTF-8 have."""
    return text.encode("utf-8", "replace").decode("utf-8")
