"""What to do next time: turns the figures of a run into sentences.

Owns the conclusions, and the threshold that each must reach to be given. The figures are in
`bigpipe.report.record`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bigpipe.budget import format_bytes, parse_bytes
from bigpipe.durations import format_seconds
from bigpipe.plurals import plural
from bigpipe.records import Outcome
from bigpipe.report.record import Attempt, RunRecord

__all__ = ["advise"]

WORTH_SAYING = 0.1  # fraction of the workers' time below which a wait is ignored; arbitrary
TOO_MUCH = 0.5  # fraction of the workers' time at which one phase limits the run; arbitrary
LONG_TAIL = 0.2  # fraction of a run in which only one worker was busy; arbitrary
MIN_S = 2.0  # seconds below which nobody minds; arbitrary
MANY_ALIKE = 10  # failures of one kind that are not chance; arbitrary
MUCH_TOO_LARGE = 2.0  # times what was needed; arbitrary
TINY_S = 0.002  # seconds a file takes below which the cost of handing it out is noticeable
MANY = 1000  # files at which that cost adds up; arbitrary


def advise(record: RunRecord) -> list[str]:
    """Return what the figures of a run suggest, most important first; often nothing.

    Parameters
    ----------
    record : RunRecord
        The run.

    Examples
    --------
    >>> advise(RunRecord("Pipe", "finished", 0.0, 9.0, 0, []))
    []
    """
    worked = list(record.drawn())
    return [
        *_about_failures(record.files),
        *_about_memory(record, worked),
        *_about_inputs(record),
        *_about_the_end(record, worked),
        *_about_phases(record, worked),
        *_about_tiny_files(worked),
    ]


def _n_files(n: int) -> str:
    return f"{n:,} {plural(n, 'file')}"


def _about_failures(files: list[Attempt]) -> Iterator[str]:
    counts = Counter(attempt.outcome for attempt in files)
    if n := counts[Outcome.KILLED]:
        yield (
            f"{_n_files(n)} lost the worker at every attempt. If the signal was SIGKILL, memory "
            "may have run out: lower mem_available, or set process_size."
        )
    if n := counts[Outcome.TIMED_OUT]:
        most = max((x.seconds for x in files if x.error is None), default=0.0)
        yield (
            f"{_n_files(n)} took longer than file_timeout; the slowest of the others took "
            f"{format_seconds(most)}."
        )
    kinds = Counter(attempt.kind for attempt in files if attempt.kind is not None)
    for (hook, what), n in kinds.most_common(1):
        if n >= WORTH_SAYING * len(files) and n >= MANY_ALIKE:
            yield (
                f"{n / len(files):.0%} of the files failed with {what} in {hook}: they may share "
                "one cause."
            )


def _about_memory(record: RunRecord, worked: list[Attempt]) -> Iterator[str]:
    time_s = record.elapsed_s * record.n_workers
    if not record.samples or record.elapsed_s < MIN_S:
        return
    last = record.samples[-1]
    part = last.waited_for_memory / time_s
    grown = sorted(x.growth for x in worked if x.growth is not None)
    if part >= WORTH_SAYING:
        text = f"Workers waited for memory {part:.0%} of the time"
        large = last.budget // 2
        n_large = sum(1 for x in worked if (x.projected or 0) > large)
        if n_large:
            text += f": {_n_files(n_large)} above {format_bytes(large)} ran almost alone"
        given = _size(record.options.get("process_size"))
        if grown and given is not None and given > MUCH_TOO_LARGE * grown[-1]:
            text += (
                f". process_size is {format_bytes(given)}, but no file needed more than "
                f"{format_bytes(grown[-1])}: leave it out, or set it to that"
            )
        elif grown and not n_large:
            text += (
                f". Half of the files needed more than {format_bytes(grown[len(grown) // 2])}: "
                f"use fewer workers, or raise mem_available above {format_bytes(last.budget)}"
            )
        yield f"{text}."
    if last.waited_paused / time_s >= WORTH_SAYING:
        yield (
            f"Workers were paused {last.waited_paused / time_s:.0%} of the time because files "
            "took more memory than projected. Set process_size, or override projected_size."
        )
    again = [x for x in record.superseded if x.began_at is not None and x.ended_at is not None]
    lost_s = sum((x.ended_at or 0) - (x.began_at or 0) for x in again)
    if lost_s >= WORTH_SAYING * time_s:
        yield (
            f"{lost_s / time_s:.0%} of the workers' time was lost to attempts that failed or were "
            f"stopped, and were repeated ({len(again):,} in all). If memory was the reason, set "
            "process_size, or override projected_size."
        )


def _size(text: str | None) -> int | None:
    try:
        return None if text is None else parse_bytes(text.strip("'\""))
    except ValueError:  # a function of the name
        return None


def _about_inputs(record: RunRecord) -> Iterator[str]:
    """Say so if workers waited for names, where these were not a list."""
    samples = record.samples
    if record.n_files is not None or len(samples) < 2 or record.elapsed_s < MIN_S:
        return
    part = samples[-1].waited_for_inputs / (record.elapsed_s * record.n_workers)
    if part >= WORTH_SAYING:
        yield (
            f"Workers waited for the next input {part:.0%} of the time: the iterable of names is "
            "slower than the workers. Pass a list of names."
        )


def _about_the_end(record: RunRecord, worked: list[Attempt]) -> Iterator[str]:
    """Say so if one file ran long after all the others had ended."""
    if record.in_flight:
        return
    ended = sorted(
        ((x.ended_at, x.name) for x in worked if x.ended_at is not None), key=lambda end: end[0]
    )
    if len(ended) < 3 or record.n_workers < 2:
        return
    alone_s = ended[-1][0] - ended[-2][0]
    if alone_s >= max(MIN_S, LONG_TAIL * record.elapsed_s):
        part = alone_s / record.elapsed_s
        text = (
            f"For the last {format_seconds(alone_s)}, {part:.0%} of the run, only one worker was "
            f"busy, with {ended[-1][1]!r}"
        )
        if record.options.get("order") == "'given'":
            text += ". Leave out order='given', so that the largest files begin first"
        else:
            text += ". Start such files first: order may be a function of the name"
        yield f"{text}."


def _about_phases(record: RunRecord, worked: list[Attempt]) -> Iterator[str]:
    sums = [sum(x.read_s for x in worked), sum(x.write_s for x in worked)]
    total = record.elapsed_s * record.n_workers
    if record.elapsed_s < MIN_S or record.n_workers < 2 or record.n_hands > 1:
        return
    for seconds, what in zip(sums, ("reading", "writing"), strict=True):
        if seconds >= TOO_MUCH * total:
            yield (
                f"{seconds / total:.0%} of the workers' time went into {what}. If the disk is the "
                "bottleneck, more cores do not help, and fewer workers may be faster. If the disk "
                "is slow to answer but not busy, overlap=True reads ahead and writes behind."
            )


def _about_tiny_files(worked: list[Attempt]) -> Iterator[str]:
    total = sum(x.seconds for x in worked)
    if len(worked) >= MANY and total < TINY_S * len(worked):
        yield (
            f"A file took {1000 * total / len(worked):.2g} ms on average. For files this quick, "
            "several names in one input (a list) save time."
        )
