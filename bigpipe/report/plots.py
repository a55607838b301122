"""Figures of a run with matplotlib, for notebooks and papers.

Owns what they show. Only this module needs matplotlib: ``pip install 'bigpipe[plot]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigpipe.report.record import PHASES, RunRecord, record_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_memory", "plot_timeline"]

COLORS = {
    "read": "#56b4e9",
    "process": "#009e73",
    "write": "#e69f00",
    "failed": "#d55e00",
    "run again": "#cc79a7",
    "in flight": "#a9b2ba",
}
GIB = 1 << 30
HEIGHT = 0.8  # of a worker's bars, as a fraction of the distance between two workers
FAR = 5  # times the memory in use: a budget above that would make its line flat


def plot_timeline(source: Any, ax: Axes | None = None, run: int | None = None) -> Axes:
    """Draw what each worker did when: reading, processing, writing, or nothing.

    Parameters
    ----------
    source : str, os.PathLike, Journal, Pout or RunRecord
        A journal, or the result of a run.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default, in a new figure.
    run : int, optional
        Number of the run in the journal; by default, the last.

    Returns
    -------
    matplotlib.axes.Axes
        Has a collection of bars for each phase, labelled with its name. Time is in seconds from
        the beginning of the run.
    """
    record, ax = _over_time(source, ax, run)
    from matplotlib.collections import PolyCollection
    from matplotlib.ticker import MaxNLocator

    bars: dict[str, list[Any]] = {name: [] for name in COLORS}
    names = {id(attempt): "run again" for attempt in record.superseded}
    names |= {id(attempt): "in flight" for attempt in record.in_flight}
    for attempt in record.drawn():
        assert attempt.began_at is not None
        at = attempt.began_at - record.began_at
        height = HEIGHT / record.n_hands
        low = record.lanes[attempt.worker] + 1 - HEIGHT / 2 + record.hand(attempt) * height
        if attempt.kind is not None or id(attempt) in names:  # one bar, so that it is seen
            bars[names.get(id(attempt), "failed")].append(
                _bar(at, attempt.last_at - record.began_at, low, height)
            )
            continue
        for phase in PHASES:
            seconds = getattr(attempt, f"{phase}_s")
            if seconds:
                bars[phase].append(_bar(at, at + seconds, low, height))
                at += seconds
    for name, boxes in bars.items():
        if boxes:
            # The edge makes files visible that are narrower than a pixel.
            style: dict[str, Any] = {
                "facecolors": COLORS[name],
                "edgecolors": COLORS[name],
                "linewidths": 0.3,
            }
            ax.add_collection(PolyCollection(boxes, label=name, **style))
    ax.set_ylim(max(1, record.n_workers) + 0.5, 0.5)
    ax.set_ylabel("worker")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if any(bars.values()):
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(COLORS), frameon=False)
    return ax


def _bar(began_s: float, ended_s: float, low: float, height: float) -> list[tuple[float, float]]:
    high = low + height
    return [(began_s, low), (began_s, high), (ended_s, high), (ended_s, low)]


def plot_memory(source: Any, ax: Axes | None = None, run: int | None = None) -> Axes:
    """Draw the memory that all workers used together, and their budget.

    Parameters
    ----------
    source, ax, run
        As for `plot_timeline`.

    Returns
    -------
    matplotlib.axes.Axes
        Has two lines, in GiB over seconds from the beginning of the run. A budget far above the
        memory in use lies outside the axes. Only bigpipe's own worker processes are measured.
    """
    record, ax = _over_time(source, ax, run)
    samples = [sample for sample in record.samples if sample.used is not None]
    seconds = [sample.at - record.began_at for sample in samples]
    used = [(sample.used or 0) / GIB for sample in samples]
    ax.fill_between(seconds, used, color=COLORS["read"], alpha=0.3, step="pre")
    ax.step(seconds, used, where="pre", color=COLORS["read"], label="in use")
    budget = [sample.budget / GIB for sample in samples]
    highest = max(used, default=0.0)
    is_far = highest > 0 and max(budget) > FAR * highest
    label = f"budget: {max(budget):.3g} GiB, above" if is_far else "budget"
    ax.plot(seconds, budget, color=COLORS["failed"], linestyle="--", label=label)
    ax.set_ylim(0, 1.2 * highest if is_far else None)
    ax.set_ylabel("memory (GiB)")
    ax.legend(loc="best", frameon=False)
    return ax


def _over_time(source: Any, ax: Axes | None, run: int | None) -> tuple[RunRecord, Axes]:
    """Return the run to draw, and axes whose horizontal axis is the time of the run."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib: python -m pip install 'bigpipe[plot]', or write a page with "
            "bigpipe.report.write_page"
        ) from error
    record = record_of(source, run)
    if ax is None:
        _, ax = pyplot.subplots(layout="constrained")
    ax.set_xlim(0, record.elapsed_s or 1)
    ax.set_xlabel("time (s)")
    return record, ax
