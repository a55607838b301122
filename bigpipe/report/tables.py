"""The files of a run as comma-separated values.

Owns the columns of that file. Tables of astropy and pandas come from `bigpipe.Pout` and
`bigpipe.Journal`.
"""

from __future__ import annotations

import csv
import io
import os
from datetime import datetime
from typing import Any

from bigpipe.report.files import write_file
from bigpipe.report.record import Attempt, record_of

__all__ = ["write_csv"]

COLUMNS = (
    *("in_name", "outcome", "outname", "began", "ended", "seconds", "read_s", "process_s"),
    *("write_s", "size", "peak_rss", "growth", "projected", "attempts", "worker", "from_journal"),
    "error",
)


def write_csv(source: Any, path: str | os.PathLike[str], run: int | None = None) -> None:
    """Write a line for each input of a run: times in seconds, sizes and memory in bytes.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or the result of a run.
    path : str or os.PathLike
        The table to write. It is UTF-8; names that are not are written as their own bytes.
    run : int, optional
        Number of the run in the journal; by default, the last.
    """
    record = record_of(source, run)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(map(_cells, record.files))
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


def _cells(attempt: Attempt) -> list[Any]:
    """Return a line; cells of unknown values are empty."""
    return [
        attempt.name,
        attempt.outcome,
        attempt.outname,
        _moment(attempt.began_at),
        _moment(attempt.ended_at),
        *map(_seconds, (attempt.seconds, attempt.read_s, attempt.process_s, attempt.write_s)),
        attempt.size,
        attempt.peak_rss,
        attempt.growth,
        attempt.projected,
        attempt.attempts,
        attempt.worker,
        "yes" if attempt.is_kept else "no",
        attempt.error,
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}"


def _moment(at: float | None) -> str | None:
    """Return a moment as local time."""
    if at is None:
        return None
    return datetime.fromtimestamp(at).isoformat(timespec="milliseconds")
