"""A picture of a run of the memory benchmarks: the memory of each worker, and its pauses.

Owns the drawing; needs matplotlib. `memory_run` measures what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw"]

GB = 10**9
N_TIMES = 120  # points, at most, of each area: what the width of the picture can show; arbitrary
COLORS = ("#4477AA", "#CCBB44", "#66CCEE", "#AA3377", "#228833", "#EE6677")  # Tol, bright
MARKS = {
    "Pause": ("paused", "v", "#000000"),
    "Resume": ("continues", "^", "#FFFFFF"),
    "Stop": ("stopped, its file run again", "X", "#DD2222"),
}
STYLE = {"font.size": 9.0, "svg.fonttype": "none", "svg.hashsalt": "bigpipe"}


def draw(run: dict[str, Any], path: Path) -> None:
    """Draw a run into a file of a type that its extension says."""
    groups = {str(pid): int(worker) for worker, pid in run["workers"].items()}
    times, held = _held(run["samples"], groups)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.2), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        names = ["_caller", *(f"worker {worker + 1}" for worker in sorted(groups.values()))]
        # The caller holds too little to be seen, so it has no place in the legend.
        colors = ["#999999", *(COLORS[i % len(COLORS)] for i in range(len(groups)))]
        axes.stackplot(times, held / GB, labels=names, colors=colors, linewidth=0)
        budget = run["budget"] / GB
        axes.axhline(budget, color="black", linestyle="--", linewidth=1, label="budget")
        _mark(axes, run["said"], times, held / GB)
        axes.set(xlim=(0, times[-1]), ylim=(0, 1.15 * budget))
        axes.set(xlabel="time (s)", ylabel="memory (GB)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right center", frameon=False)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _held(samples: Sequence[Any], groups: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return times, and the bytes of the caller and of each worker at each of them.

    Of the looks that fall together in the picture, that is taken at which most was held.
    """
    per_point = math.ceil(len(samples) / N_TIMES)
    parts = [samples[i : i + per_point] for i in range(0, len(samples), per_point)]
    chosen = [max(part, key=lambda sample: sum(sample[1].values())) for part in parts]
    held = np.zeros((len(groups) + 1, len(chosen)))
    rows = {worker: i + 1 for i, worker in enumerate(sorted(groups.values()))}
    for i, (_, used) in enumerate(chosen):
        for group, n_bytes in used.items():
            held[rows[groups[group]] if group in groups else 0, i] += n_bytes
    return np.array([at for at, _ in chosen]), held


def _mark(axes: Axes, said: Sequence[Any], times: np.ndarray, held: np.ndarray) -> None:
    """Put marks where workers were paused, resumed and stopped, on top of what each holds."""
    tops = np.cumsum(held, axis=0)
    for word, (meaning, marker, color) in MARKS.items():
        at = [(when, worker) for when, what, worker, _ in said if what == word]
        after = [np.searchsorted(times[:-1], when) for when, _ in at]
        x = [when for when, _ in at]
        # Who is paused has just grown; who is stopped holds nothing at the next look.
        y = [max(tops[w + 1, max(0, i - 1) : i + 1]) for i, (_, w) in zip(after, at, strict=True)]
        if at:
            axes.plot(x, y, marker, ms=6, mfc=color, mec="black", mew=0.6, ls="", label=meaning)
