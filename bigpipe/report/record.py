"""What is known of a run, in one record, from which the other modules of this package draw.

Owns the record, and how it is made from a journal or a result. `bigpipe.report.advice` draws
conclusions from it; `bigpipe.report.html` and `bigpipe.report.plots` show it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from bigpipe.errors import JournalError
from bigpipe.journal import Journal, runs_of
from bigpipe.journal_store.reader import explained, opened
from bigpipe.journal_store.rows import FileRow, LiveRow, result_of
from bigpipe.records import FileResult, Sample

if TYPE_CHECKING:
    from bigpipe.pout import Pout

__all__ = ["PHASES", "Attempt", "RunRecord", "record_of", "text_of"]

MAX_MEMBERS = 3  # names of a group that are shown; arbitrary
CLOCK_NOISE = 1e-3  # seconds by which a file may seem to begin before the last one ends; arbitrary
PHASES = ("read", "process", "write")
_PHASE_OF = {"file_read": 0, "file_write": 2}  # of hooks; all others process


class Attempt(NamedTuple):
    """One attempt at one file."""

    place: int
    """Position of the input in ``in_names``."""
    name: str
    """The input as text; of a group, its first members."""
    outcome: str
    """Value of `bigpipe.Outcome`; ``'in flight'`` if it had not ended when last recorded."""
    outname: str | None = None
    """Name of the output."""
    began_at: float | None = None
    """Seconds since 1970; ``None`` if it did not begin, or the time is unknown."""
    ended_at: float | None = None
    """Seconds since 1970; ``None`` if it did not end, or the time is unknown."""
    read_s: float = 0.0
    process_s: float = 0.0
    write_s: float = 0.0
    """Seconds in the hooks that read, process and write."""
    size: int | None = None
    """Bytes of the input on disk."""
    peak_rss: int | None = None
    growth: int | None = None
    projected: int | None = None
    attempts: int = 1
    worker: int | None = None
    """As in `bigpipe.FileResult`."""
    is_kept: bool = False
    """Whether an earlier run processed it; the figures are then those of that run."""
    error: str | None = None
    """Message of its error."""
    kind: tuple[str, str] | None = None
    """Hook and type of the error, by which failures are grouped."""
    traceback: str = ""
    """The worker's traceback; ``''`` if there is none."""

    @property
    def last_at(self) -> float:
        """Seconds since 1970 of its end or, if that is unknown, of its beginning."""
        assert self.began_at is not None
        return self.began_at if self.ended_at is None else self.ended_at

    @property
    def seconds(self) -> float:
        """Seconds in all hooks."""
        return self.read_s + self.process_s + self.write_s


@dataclass
class RunRecord:
    """What is known of a run."""

    title: str
    """Class of the pipeline, or another name for the run."""
    state: str
    """As in `bigpipe.origin.JournalRun`."""
    began_at: float
    ended_at: float
    """Seconds since 1970; if the run has not ended, ``ended_at`` is its last record."""
    n_files: int | None
    """Number of inputs; ``None`` if unknown."""
    files: list[Attempt]
    """The last attempt at each input that has ended, in input order."""
    superseded: list[Attempt] = field(default_factory=list)
    """Attempts after which a file was tried again."""
    in_flight: list[Attempt] = field(default_factory=list)
    """Files that workers had when last recorded; empty if the run has ended by itself."""
    samples: list[Sample] = field(default_factory=list)
    """Memory, counts and waits over time."""
    about: dict[str, str] = field(default_factory=dict)
    """Where it ran, as text to show."""
    options: dict[str, str] = field(default_factory=dict)
    keywords: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """What it ran with, as text to show."""

    @property
    def elapsed_s(self) -> float:
        """Seconds from its beginning to its end."""
        return max(0.0, self.ended_at - self.began_at)

    def drawn(self) -> Iterator[Attempt]:
        """Yield the attempts of this run whose beginning is known."""
        for attempt in (*self.files, *self.superseded, *self.in_flight):
            if attempt.began_at is not None and not attempt.is_kept:
                yield attempt

    @cached_property
    def lanes(self) -> dict[int | None, int]:
        """A lane for each worker; a worker that replaces one that has ended takes its lane."""
        spans: dict[int | None, list[float]] = {}
        for attempt in self.drawn():
            assert attempt.began_at is not None
            span = spans.setdefault(attempt.worker, [attempt.began_at, attempt.last_at])
            span[:] = min(span[0], attempt.began_at), max(span[1], attempt.last_at)
        lanes: dict[int | None, int] = {}
        free_at: list[float] = []
        for worker, (began_at, ended_at) in sorted(spans.items(), key=lambda item: item[1]):
            lanes[worker] = _occupied(free_at, began_at, ended_at)
        return lanes

    @cached_property
    def _hands(self) -> dict[int, int]:
        hands: dict[int, int] = {}
        free_at: dict[int | None, list[float]] = {}
        for attempt in sorted(self.drawn(), key=lambda attempt: attempt.began_at or 0.0):
            assert attempt.began_at is not None
            hands[id(attempt)] = _occupied(
                free_at.setdefault(attempt.worker, []),
                attempt.began_at + CLOCK_NOISE,
                max(attempt.last_at, attempt.began_at + attempt.seconds),
            )
        return hands

    @cached_property
    def n_hands(self) -> int:
        """Most files that a worker had at once."""
        return max(self._hands.values(), default=0) + 1

    def hand(self, attempt: Attempt) -> int:
        """Return which of the files that a worker had at once an attempt is, from 0."""
        return self._hands.get(id(attempt), 0)

    @cached_property
    def n_workers(self) -> int:
        """Most workers that the run could have at once, as far as is known."""
        told = [sample.n_workers for sample in self.samples if sample.n_workers is not None]
        return max([*told, max(self.lanes.values(), default=-1) + 1])


def _occupied(free_at: list[float], began_at: float, ended_at: float) -> int:
    """Occupy the first place that is free at a time, or a new one; return its number."""
    place = next((i for i, at in enumerate(free_at) if at <= began_at), len(free_at))
    free_at[place : place + 1] = [ended_at]
    return place


def record_of(source: Any, run: int | None = None) -> RunRecord:
    """Return what is known of a run.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or the result of a run; a record is returned as it is.
    run : int, optional
        Number of the run in the journal; by default, the last.

    Raises
    ------
    JournalError
        If there is no such journal or run.
    """
    if isinstance(source, RunRecord):
        return source
    if isinstance(source, Journal):
        return _of_journal(source.path, run)
    if isinstance(source, (str, os.PathLike)):
        return _of_journal(os.fspath(source), run)
    return _of_pout(source)


def _of_journal(path: str, number: int | None) -> RunRecord:
    with closing(opened(path)) as reader, explained(path):
        runs = {run.number: run for run in runs_of(reader, path)}
        if number is None:
            number = max(runs, default=1)
        if number not in runs:
            hint = f"; the last is {max(runs)}" if runs else ""
            raise JournalError(f"the journal {path!r} has no run {number}{hint}")
        run = runs[number]
        samples = reader.samples(number)
        files = [_of_row(row, number) for row in reader.of_run(number)]
        others = reader.attempts("run = ? AND NOT is_final", number)
        superseded = [_of_row(row, number) for row in others]
        has_ended = run.ended is not None or number != max(runs)
        live = [] if has_ended else reader.now(number)[1]
    ended = {attempt.place for attempt in files}
    ends = [x.ended_at for x in (*files, *superseded) if x.ended_at is not None and not x.is_kept]
    last = max([*ends, *(sample.at for sample in samples)], default=run.began.timestamp())
    in_flight = [_of_live(row, last) for row in live if row.place not in ended]
    return RunRecord(
        run.pipe,
        run.state,
        run.began.timestamp(),
        last if run.ended is None else run.ended.timestamp(),
        run.n_files,
        files,
        superseded,
        in_flight,
        samples,
        {
            "journal": os.path.abspath(path),
            "run": f"{number} of {len(runs)}",
            "machine": run.host,
            "process": str(run.pid),
            "folder": run.folder,
            "fingerprint": run.fingerprint,
        },
        run.options,
        run.keywords,
        run.versions,
    )


def _of_row(row: FileRow, run: int) -> Attempt:
    # Metadata is not shown, and reading it may take long.
    result = result_of(row._replace(meta=None), row.place, row.given)
    return _of_result(result)._replace(
        ended_at=_end(row.began_at, result.seconds, row.ended_at),
        size=row.n_bytes,
        is_kept=row.run != run,
    )


def _of_live(row: LiveRow, at: float) -> Attempt:
    """Return an attempt that a worker was busy with."""
    return Attempt(
        place=row.place,
        name=text_of(row.given),
        outcome="in flight",
        began_at=row.since,
        ended_at=max(at, row.since),
        peak_rss=row.memory,
        worker=row.pid,
        error=None if row.hook is None else f"in {row.hook} at the last update",
    )


def _of_pout(pout: Pout) -> RunRecord:
    files = [_of_result(result) for result in pout.results]
    samples = [] if pout.memory is None else list(pout.memory.samples)
    moments = [sample.at for sample in samples]
    for attempt in files:
        if not attempt.is_kept:
            moments += [x for x in (attempt.began_at, attempt.ended_at) if x is not None]
    began_at = min(moments, default=0.0)
    elapsed_s = max(moments, default=0.0) - began_at
    if pout.elapsed_s is not None:
        elapsed_s = max(elapsed_s, pout.elapsed_s)
    return RunRecord(
        "bigpipe run",
        "finished",
        began_at,
        began_at + elapsed_s,
        len(files),
        files,
        samples=samples,
    )


def _of_result(result: FileResult) -> Attempt:
    error = result.error
    read_s, process_s, write_s = _phases(result.seconds)
    return Attempt(
        place=result.index,
        name=text_of(result.in_name),
        outcome=result.outcome,
        outname=None if result.outname is None else text_of(result.outname),
        began_at=result.began_at,
        ended_at=_end(result.began_at, result.seconds, None),
        read_s=read_s,
        process_s=process_s,
        write_s=write_s,
        peak_rss=result.peak_rss,
        growth=result.growth,
        projected=result.projected,
        attempts=result.attempts,
        worker=result.worker,
        is_kept=result.from_journal,
        error=None if error is None else str(error),
        kind=None if error is None else error.kind,
        traceback="" if error is None else error.traceback,
    )


def _end(began_at: float | None, seconds: dict[str, float], noted_at: float | None) -> float | None:
    """Return when a worker was done: its hooks follow without gaps; the row may come later."""
    if began_at is None or not seconds:
        return noted_at
    return began_at + sum(seconds.values())


def _phases(seconds: dict[str, float]) -> tuple[float, float, float]:
    sums = [0.0, 0.0, 0.0]
    for hook, spent in seconds.items():
        sums[_PHASE_OF.get(hook.partition(":")[0], 1)] += spent
    return sums[0], sums[1], sums[2]


def text_of(in_name: Any) -> str:
    """Return the name of an input or output as text to show."""
    if isinstance(in_name, (list, tuple)):
        names = list(_flat(in_name))
        more = f", ... {len(names)} in all" if len(names) > MAX_MEMBERS else ""
        return f"[{', '.join(names[:MAX_MEMBERS])}{more}]"
    if isinstance(in_name, (str, os.PathLike)):
        return os.fsdecode(in_name)
    return str(in_name)


def _flat(names: Iterable[Any]) -> Iterator[str]:
    for name in names:
        if isinstance(name, (list, tuple)):
            yield from _flat(name)
        else:
            yield text_of(name)
