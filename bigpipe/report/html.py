"""A run as one page that any browser opens: figures as JSON, a style sheet and a script.

Owns the data of the page, and how the page is put together. Its look and behaviour are in the files
of ``page/``.

Names and messages may contain anything. They occur only in the JSON, which is ASCII without a
``<``, and the script shows them as text. A policy in the page forbids it to use the network.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from bigpipe.records import Outcome, Sample
from bigpipe.report.advice import advise
from bigpipe.report.files import write_file
from bigpipe.report.record import PHASES, Attempt, RunRecord, record_of

__all__ = ["write_page"]

MAX_SAMPLES = 2000  # points of a line: more than a screen has columns of pixels
MAX_TICKS = 1e7  # units of time in a run: many for each column of pixels
MAX_MESSAGES = 20  # messages shown of one kind of failure; arbitrary
MAX_TEXT = 20_000  # characters kept of a traceback, from its end
SCRIPTS = ("figures.js", "timeline.js", "charts.js", "files.js", "page.js")
OUTCOMES = (*(outcome.value for outcome in Outcome), "in flight")


def write_page(source: Any, path: str | os.PathLike[str], run: int | None = None) -> None:
    """Write a run as a page for a browser, in one file.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or the result of a run.
    path : str or os.PathLike
        The page to write.
    run : int, optional
        Number of the run in the journal; by default, the last.

    Raises
    ------
    JournalError
        If there is no such journal or run, or `path` is a journal.
    """
    record = record_of(source, run)
    write_file(path, page_of(record).encode("ascii"))


def page_of(record: RunRecord) -> str:
    """Return the page of a run."""
    parts = resources.files(__package__) / "page"
    page = (parts / "page.html").read_text("ascii")
    style = (parts / "page.css").read_text("ascii")
    script = "\n".join((parts / name).read_text("ascii") for name in SCRIPTS)
    data = json.dumps(figures(record), separators=(",", ":")).replace("<", "\\u003c")
    for mark, text in (("/*style*/", style), ("/*script*/", script), ("/*data*/", data)):
        before, _, after = page.partition(mark)
        page = before + text + after
    return page


def figures(record: RunRecord) -> dict[str, Any]:
    """Return the data for the script of the page."""
    unit = 10.0 ** max(-6, math.ceil(math.log10(max(record.elapsed_s, 1e-6) / MAX_TICKS)))
    kinds = _kinds(record.files)
    return {
        "title": record.title,
        "state": record.state,
        "began": record.began_at,
        "elapsed": record.elapsed_s,
        "total": record.n_files,
        "unit": unit,
        "phases": PHASES,
        "outcomes": OUTCOMES,
        "workers": [None if worker is None else str(worker) for worker in record.lanes],
        "lanes": list(record.lanes.values()),
        "nWorkers": record.n_workers,
        "nHands": record.n_hands,
        "files": {
            "name": shortened(attempt.name for attempt in record.files),
            "outname": shortened(attempt.outname or "" for attempt in record.files),
            "kind": _runs(kinds.get(attempt.kind, -1) for attempt in record.files),
            **_columns(record, unit, record.files),
        },
        "superseded": {
            "name": shortened(attempt.name for attempt in record.superseded),
            **_columns(record, unit, record.superseded),
        },
        "inFlight": {
            "name": shortened(attempt.name for attempt in record.in_flight),
            "hooks": [attempt.error or "" for attempt in record.in_flight],
            **_columns(record, unit, record.in_flight),
        },
        "samples": [_point(sample, record.began_at) for sample in thinned(record.samples)],
        "kinds": [_described(kind, record.files) for kind in kinds],
        "advice": advise(record),
        "about": record.about,
        "options": record.options,
        "keywords": record.keywords,
        "versions": record.versions,
    }


def _columns(record: RunRecord, unit: float, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return a column for each figure; times in units, memory in KiB."""
    numbers = {worker: number for number, worker in enumerate(record.lanes)}
    return {
        "outcome": _runs(OUTCOMES.index(x.outcome) for x in attempts),
        "began": [_began(x, record.began_at, unit) for x in attempts],
        "ended": [_lasted(x, unit) for x in attempts],
        **{phase: [round(getattr(x, f"{phase}_s") / unit) for x in attempts] for phase in PHASES},
        "size": _runs(-1 if x.size is None else x.size for x in attempts),
        **{
            name: _runs(_kibibytes(getattr(x, name)) for x in attempts)
            for name in ("peak_rss", "growth", "projected")
        },
        "attempts": _runs(x.attempts for x in attempts),
        "worker": _runs(numbers.get(x.worker, -1) for x in attempts),
        "hand": _runs(record.hand(x) for x in attempts),
    }


def _began(attempt: Attempt, since: float, unit: float) -> int:
    if attempt.began_at is None or attempt.is_kept:
        return -1
    return max(0, round((attempt.began_at - since) / unit))


def _lasted(attempt: Attempt, unit: float) -> int:
    """Return how long it lasted beyond its hooks; if it was killed, this is its whole time."""
    if attempt.began_at is None or attempt.ended_at is None or attempt.is_kept:
        return 0
    rest = attempt.ended_at - attempt.began_at - attempt.seconds
    return max(0, round(rest / unit))


def _kibibytes(n_bytes: int | None) -> int:
    return -1 if n_bytes is None else round(n_bytes / 1024)


def _runs(values: Iterable[int]) -> list[int] | dict[str, list[int]]:
    """Return a column; if values repeat, as pairs of a count and a value."""
    column = list(values)
    runs: list[int] = []
    for value, group in groupby(column):
        runs += [sum(1 for _ in group), value]
    return {"runs": runs} if len(runs) < len(column) else column


def shortened(names: Iterable[str]) -> list[str | int]:
    """Return names as pairs: characters shared with the name before, and the rest.

    Examples
    --------
    >>> shortened(["raw/a1.fits", "raw/a2.fits", "b"])
    [0, 'raw/a1.fits', 5, '2.fits', 0, 'b']
    """
    column: list[str | int] = []
    before = ""
    for name in names:
        pairs = zip(before, name, strict=False)
        n_shared = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(name))
        )
        if not before[:n_shared].isascii():  # JavaScript counts other characters differently
            n_shared = 0
        column += [n_shared, name[n_shared:]]
        before = name
    return column


def thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Return at most `MAX_SAMPLES`, each with the peak use since the one before."""
    step = -(-len(samples) // MAX_SAMPLES) or 1
    kept = []
    for first in range(0, len(samples), step):
        group = samples[first : first + step]
        used = max((x.used for x in group if x.used is not None), default=None)
        kept.append(group[-1]._replace(used=used))
    return kept


def _point(sample: Sample, began_at: float) -> list[Any]:
    return [round(sample.at - began_at, 3), *sample[1:7], *(round(x, 3) for x in sample[7:])]


def _kinds(files: Iterable[Attempt]) -> dict[tuple[str, str] | None, int]:
    """Return a number for each kind of failure, the most frequent first."""
    counts = Counter(attempt.kind for attempt in files if attempt.kind is not None)
    return {kind: number for number, (kind, _) in enumerate(counts.most_common())}


def _described(kind: tuple[str, str] | None, files: Sequence[Attempt]) -> dict[str, Any]:
    failed = [(i, attempt) for i, attempt in enumerate(files) if attempt.kind == kind]
    hook, what = kind or ("", "")
    return {
        "hook": hook,
        "what": what,
        "n": len(failed),
        "messages": [[i, (x.error or "")[:MAX_TEXT]] for i, x in failed[:MAX_MESSAGES]],
        "traceback": next((x.traceback for _, x in failed if x.traceback), "")[-MAX_TEXT:],
    }
