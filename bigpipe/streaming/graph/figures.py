"""What stages did, in figures: while they run, and afterwards.

Owns the records, the table, and which stage held up the others. Where the figures come from is
`bigpipe.streaming.graph.meter`.
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
    """What one stage has done, all copies of it together."""

    name: str
    """The stage; ``'(caller)'`` is the loop that takes what comes out."""
    copies: int
    """Processes or threads."""
    n_taken: int
    """Elements that came in; of several streams side by side, tuples of them."""
    n_given: int
    """Elements that went out, on all streams."""
    n_skipped: int
    """Elements left out, as the step raised."""
    busy_s: float
    """Seconds of work, and of carrying elements; the sum over the copies."""
    take_s: float
    """Seconds in which it waited for an element; the sum over the copies."""
    give_s: float
    """Seconds in which it waited for room behind it; the sum over the copies."""
    fill: float
    """How full the queue behind it was when it gave, from 0 to 1; 0 if it gives nothing."""
    elapsed_s: float
    """Seconds since the run began, until its end at most."""
    state: str
    """What it does now; of several copies, joined by commas."""

    @property
    def rate(self) -> float:
        """Elements per second: those that came in, or those of a source."""
        return (self.n_taken or self.n_given) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def busy(self) -> float:
        """Part of the time in which it was at work, from 0 to 1."""
        total = self.busy_s + self.take_s + self.give_s
        return self.busy_s / total if total > 0 else 0.0


@dataclass(frozen=True)
class Report:
    """What the stages of a run have done."""

    stages: Sequence[StageFigures]
    """In the order in which they were declared; last, the caller."""
    elapsed_s: float
    """Seconds since the run began, until its end at most."""
    is_over: bool
    """Whether the run has ended."""
    skipped: Sequence[StageError] = field(default_factory=list)
    """Elements left out, with ``on_error='skip'``."""

    @property
    def bottleneck(self) -> str:
        """Name of the stage that was at work for most of the time: it held up the others.

        More copies of it, or less work in it, would make the whole faster. ``'(caller)'`` if
        that is the loop which takes what comes out.
        """
        return max(self.stages, key=lambda each: each.busy).name

    def __getitem__(self, name: str) -> StageFigures:
        """Return the figures of a stage."""
        return next(each for each in self.stages if each.name == name)

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
    """Return the figures of a stage, from those of its copies."""
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
    """Return the figures of the loop that takes what comes out."""
    busy_s = max(0.0, elapsed_s - waited_s)
    state = STATES[ENDED] if is_over else STATES[BUSY]
    return StageFigures(CALLER_NAME, 1, n_taken, 0, 0, busy_s, waited_s, 0.0, 0.0, elapsed_s, state)
