"""A run in the trace format that Perfetto and Chrome's ``about:tracing`` open.

Owns the events of the trace. What they are made of is in `bigpipe.report.record`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from bigpipe.report.files import write_whole
from bigpipe.report.record import PHASES, Attempt, RunRecord, record_of

__all__ = ["trace_events", "write_trace"]

_RUN = 1  # the one process of the trace; its threads are the workers


def write_trace(source: Any, path: str | os.PathLike[str], run: int | None = None) -> None:
    """Write a run as a trace: a row for each worker, a block for each file and phase.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or what a run has returned.
    path : str or os.PathLike
        The trace, as JSON.
    run : int, optional
        Number of the run in the journal; the last one if not given.

    References
    ----------
    .. [1] The "Trace Event Format" of the Chromium project: events ``X`` (complete), ``C``
       (counter) and ``M`` (metadata); times in microseconds.
    """
    record = source if isinstance(source, RunRecord) else record_of(source, run)
    trace = {"traceEvents": list(trace_events(record)), "displayTimeUnit": "ms"}
    write_whole(path, json.dumps(trace, separators=(",", ":")).encode("ascii"))


def trace_events(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace."""
    yield _named("process_name", 0, f"{record.title} ({record.state})")
    for worker, lane in record.lanes.items():
        yield _named("thread_name", lane + 1, "worker" if worker is None else f"worker {worker}")
    for attempt in record.drawn():
        yield from _blocks(attempt, record.lanes[attempt.worker] + 1, record.began_at)
    for sample in record.samples:
        at = _microseconds(sample.at - record.began_at)
        if sample.used is not None:
            memory = {"used": sample.used, "budget": sample.budget}
            yield {"ph": "C", "pid": _RUN, "ts": at, "name": "memory (bytes)", "args": memory}
        if sample.n_in_flight is not None:
            files = {"in flight": sample.n_in_flight}
            yield {"ph": "C", "pid": _RUN, "ts": at, "name": "files", "args": files}


def _named(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": _RUN, "tid": thread, "name": what, "args": {"name": _valid(name)}}


def _blocks(attempt: Attempt, thread: int, began_at: float) -> Iterator[dict[str, Any]]:
    """Yield a file, and inside it what of its time was spent in which phase."""
    assert attempt.began_at is not None
    at = attempt.began_at - began_at
    ended_at = attempt.began_at if attempt.ended_at is None else attempt.ended_at
    known = {
        "outcome": attempt.outcome,
        "output": attempt.outname,
        "size": attempt.size,
        "peak RSS": attempt.peak_rss,
        "projected": attempt.projected,
        "attempts": attempt.attempts,
        "error": attempt.error,
    }
    arguments = {
        name: _valid(value) if isinstance(value, str) else value
        for name, value in {"input": attempt.name, **known}.items()
        if value is not None
    }
    block = {"ph": "X", "pid": _RUN, "tid": thread, "cat": "file"}
    name = _valid(os.path.basename(attempt.name) or attempt.name)
    lasted = max(ended_at - attempt.began_at, attempt.seconds)
    yield block | {
        "ts": _microseconds(at),
        "dur": _microseconds(lasted),
        "name": name,
        "args": arguments,
    }
    for phase in PHASES:
        seconds = getattr(attempt, f"{phase}_s")
        if seconds:
            times = {"ts": _microseconds(at), "dur": _microseconds(seconds)}
            yield block | times | {"cat": "phase", "name": phase}
            at += seconds


def _microseconds(seconds: float) -> float:
    return round(1e6 * seconds, 1)


def _valid(text: str) -> str:
    """Return text without what is no character, as in names that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
