"""Runs as records, made up for the tests of reports."""

from __future__ import annotations

from typing import Any

from bigpipe.records import Sample
from bigpipe.report.record import Attempt, RunRecord

BEGAN = 1.7e9  # seconds since 1970; any moment
GIB = 1 << 30


def attempt(place: int, began: float | None = 0.0, **fields: Any) -> Attempt:
    """An attempt that began so many seconds after the run, read, processed and wrote for 1 s."""
    given = {
        "place": place,
        "name": f"raw/{place}.fits",
        "outcome": "written",
        "outname": f"out/{place}.fits",
        "began_at": None if began is None else BEGAN + began,
        "read_s": 1.0,
        "process_s": 1.0,
        "write_s": 1.0,
        "size": 1000 * place,
        "peak_rss": 300 << 20,
        "growth": 200 << 20,
        "projected": 250 << 20,
        "attempts": 1,
        "worker": 100,
        "is_kept": False,
        "error": None,
        "kind": None,
        "traceback": "",
    } | fields
    seconds = given["read_s"] + given["process_s"] + given["write_s"]
    ended_at = None if began is None else BEGAN + began + seconds
    return Attempt(**({"ended_at": ended_at} | given))


def failed(place: int, began: float = 0.0, **fields: Any) -> Attempt:
    """An attempt that failed when it read."""
    given = {
        "outcome": "failed",
        "outname": None,
        "process_s": 0.0,
        "write_s": 0.0,
        "error": f"file_read raised OSError on {place}: gone",
        "kind": ("file_read", "OSError"),
        "traceback": "Traceback (most recent call last):\nOSError: gone",
    }
    return attempt(place, began, **(given | fields))


def sample(at: float, used: int | None = GIB, **fields: Any) -> Sample:
    """A sample so many seconds after the beginning of a run with two workers and 4 GiB."""
    given: dict[str, Any] = {
        "budget": 4 * GIB,
        "n_workers": 2,
        "n_in_flight": 2,
        "n_finished": 0,
        "n_failed": 0,
        "waited_for_memory": 0.0,
        "waited_paused": 0.0,
        "waited_for_inputs": 0.0,
    }
    return Sample(BEGAN + at, used, **(given | fields))


def record(files: list[Attempt], elapsed_s: float = 10.0, **fields: Any) -> RunRecord:
    """A run of these files."""
    given: dict[str, Any] = {"n_files": len(files)} | fields
    return RunRecord("night.Reduce", "finished", BEGAN, BEGAN + elapsed_s, files=files, **given)


def many(n_files: int, n_workers: int = 8) -> RunRecord:
    """A run of many files, of which one in a hundred failed."""
    files = [
        (failed if place % 100 == 99 else attempt)(
            place,
            3.01 * (place // n_workers),
            name=f"raw/night/frame_{place:06d}.fits",
            outname=f"reduced/night/frame_{place:06d}_bmp.fits",
            worker=100 + place % n_workers,
            growth=(100 + place % 200) << 20,
            read_s=0.5 + place % 7 / 10,
        )
        for place in range(n_files)
    ]
    elapsed_s = 3.01 * (n_files // n_workers + 1)
    samples = [sample(at, GIB + at % 7, n_workers=n_workers) for at in range(int(elapsed_s))]
    return record(files, elapsed_s, samples=samples)
