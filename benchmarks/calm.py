"""Waits for a quiet moment, because other work on the machine, or on its host, slows a contender.

Owns the test for such a moment: a loop of plain Python takes about as long on each core as its
best time so far. The wait is the same for all contenders.
"""

from __future__ import annotations

import math
import os
import time
from statistics import median

__all__ = ["Calm"]

N_STEPS = 100_000  # of one loop, which takes 4 to 8 ms; arbitrary
N_LOOPS = 9  # on each core; arbitrary
N_FIRST = 40  # looks, before the first run, by which it is known how fast the machine can be
TOLERANCE = 1.15  # times the least; arbitrary
PAUSE_S = 0.2  # between two looks


class Calm:
    """Waits, at most so many seconds for one benchmark, and for one of its runs a tenth of that.

    Attributes
    ----------
    least_s : float
        Seconds of the loop, on the slowest core, at best.
    waited_s : float
        Seconds in all.
    n_moments, n_quiet, n_repeated : int
        How often it was waited for a quiet moment, how often one has come, and how often it did
        not last and the run was repeated.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.least_s = math.inf
        self.waited_s = 0.0
        self.n_moments = self.n_quiet = self.n_repeated = 0
        self._left_s = patience_s
        for _ in range(N_FIRST if patience_s else 0):
            self._look()

    def begin(self) -> None:
        """Begin a benchmark, with fresh patience."""
        self._left_s = self._patience_s

    def wait(self) -> None:
        """Return in a quiet moment, or when that has taken too long."""
        if not self._patience_s:
            return
        began_at = time.perf_counter()
        most_s = min(self._patience_s / 10, self._left_s)
        self.n_moments += 1
        while not (is_quiet := self._look() <= TOLERANCE * self.least_s):
            if time.perf_counter() - began_at >= most_s:
                break
            time.sleep(PAUSE_S)
        self.n_quiet += is_quiet
        self.waited_s += time.perf_counter() - began_at
        self._spend(began_at)

    def has_lasted(self, began_at: float) -> bool:
        """Return whether it is still quiet after a run, or the time for waiting is used up."""
        if self._left_s <= 0 or self._look() <= TOLERANCE * self.least_s:
            return True
        self.n_repeated += 1
        self._spend(began_at)
        return False

    def _spend(self, began_at: float) -> None:
        self._left_s -= time.perf_counter() - began_at

    def as_dict(self) -> dict[str, float]:
        """Return what was found, but where nobody has waited."""
        if not self.n_moments:
            return {}
        names = "least_s", "waited_s", "n_moments", "n_quiet", "n_repeated"
        return {name: getattr(self, name) for name in names}

    def _look(self) -> float:
        taken = loop_s()
        self.least_s = min(self.least_s, taken)
        return taken


def loop_s() -> float:
    """Return the seconds of a loop of plain Python on the slowest core that may be used."""
    if not hasattr(os, "sched_setaffinity"):
        return median(_loop() for _ in range(N_LOOPS))
    allowed = os.sched_getaffinity(0)
    try:
        return max(_on_core(core) for core in allowed)
    finally:
        os.sched_setaffinity(0, allowed)


def _on_core(core: int) -> float:
    os.sched_setaffinity(0, {core})
    return median(_loop() for _ in range(N_LOOPS))


def _loop() -> float:
    began_at = time.perf_counter()
    total = 0
    for i in range(N_STEPS):
        total += i
    return time.perf_counter() - began_at
