"""Figures of stages, while they run and afterwards.

Owns the records, the table, and which stage is the bottleneck. `bigpipe.streaming.graph.meter`
provides the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bigpipe.durations import format_seconds
from bigpipe.streaming.graph.meter import BUSY, ENDED, GIVING, STATES, TAKING, Meter
from bigpipe.streaming.graph.stage_errors import StageError

__all__ = ["CALLER_NAME", "Report", "StageFigures", "of_caller", "of_stage"]

CALLER_NAME = "(caller)"


@dataclass(frozen=True)
class StageFigures:
    """Figures of one stage, summed over its copies."""

    name: str
    """Name of the stage; ``'(caller)'`` is the loop that takes the results."""
    copies: int
    """Number of processes or threads."""
    n_taken: int
    """Elements taken. With several streams in, tuples of elements."""
    n_given: int
    """Elements given, on all streams."""
    n_skipped: int
    """Elements skipped because the step raised an exception."""
    busy_s: float
    """Seconds of work, including the transport of elements; the sum over the copies."""
    take_s: float
    """Seconds of waiting for an element; the sum over the copies."""
    give_s: float
    """Seconds of waiting for room in the queue behind it; the sum over the copies."""
    fill: float
    """Mean fill of the queue behind it when an element was given, from 0 to 1; 0 if none was."""
    elapsed_s: float
    """Seconds since the run began, or its whole duration."""
    state: str
    """What it does now; with several copies, all their states."""

    @property
    def rate(self) -> float:
        """Elements taken per second; for a source, elements given."""
        return (self.n_taken or self.n_given) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def busy(self) -> float:
        """Fraction of the time in which it was busy, from 0 to 1."""
        total = self.busy_s + self.take_s + self.give_s
        return self.busy_s / total if total > 0 else 0.0


@dataclass(frozen=True)
class Report:
    """Figures of all stages of a run. ``str()`` gives a table."""

    stages: Sequence[StageFigures]
    """The stages in the order of their declaration, then the caller."""
    elapsed_s: float
    """Seconds since the run began, or its whole duration."""
    is_over: bool
    """Whether the run has ended."""
    skipped: Sequence[StageError] = field(default_factory=list)
    """The errors of skipped elements, with ``on_error='skip'``."""

    @property
    def bottleneck(self) -> str:
        """Name of the stage that was busy for the largest share of the time.

        It held up the others: more copies of it, or less work in it, would make the run faster.
        ``'(caller)'`` if it is the loop that takes the results.
        """
        return max(self.stages, key=lambda each: each.busy).name

    def __getitem__(self, name: str) -> StageFigures:
        """Return the figures of a stage."""
        figures = {each.name: each for each in self.stages}
        if name not in figures:
            raise KeyError(f"there is no stage {name!r}: give one of {', '.join(figures)}")
        return figures[name]

    def __str__(self) -> str:
        """Return a table."""
        head = (
            "stage",
            "copies",
            "in",
            "out",
            "skipped",
            "busy",
            "waits in",
            "waits out",
            "fill",
            "per s",
        )
        rows = [head, *map(_row, self.stages)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(
                text.ljust(width) if i == 0 else text.rjust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.append(f"{format_seconds(self.elapsed_s)}; bottleneck: {self.bottleneck}")
        return "\n".join(lines)


def _row(stage: StageFigures) -> tuple[str, ...]:
    total = max(stage.busy_s + stage.take_s + stage.give_s, 1e-9)
    shares = [f"{each / total:.0%}" for each in (stage.busy_s, stage.take_s, stage.give_s)]
    counts = [str(each) for each in (stage.copies, stage.n_taken, stage.n_given, stage.n_skipped)]
    return (stage.name, *counts, *shares, f"{stage.fill:.0%}", f"{stage.rate:.3g}")


def of_stage(name: str, meters: Sequence[Meter], elapsed_s: float) -> StageFigures:
    """Return the figures of a stage from those of its copies."""
    with_fill = [meter.fill for meter in meters if meter.n_given]
    states = dict.fromkeys(STATES[meter.state] for meter in meters if meter.state != ENDED)
    return StageFigures(
        name,
        len(meters),
        sum(meter.n_taken for meter in meters),
        sum(meter.n_given for meter in meters),
        sum(meter.n_skipped for meter in meters),
        sum(meter.seconds(BUSY) for meter in meters),
        sum(meter.seconds(TAKING) for meter in meters),
        sum(meter.seconds(GIVING) for meter in meters),
        sum(with_fill) / len(with_fill) if with_fill else 0.0,
        elapsed_s,
        ", ".join(states) or STATES[ENDED],
    )


def of_caller(n_taken: int, waited_s: float, elapsed_s: float, is_over: bool) -> StageFigures:
    """Return the figures of the loop that takes the results."""
    busy_s = max(0.0, elapsed_s - waited_s)
    state = STATES[ENDED] if is_over else STATES[BUSY]
    return StageFigures(CALLER_NAME, 1, n_taken, 0, 0, busy_s, waited_s, 0.0, 0.0, elapsed_s, state)
