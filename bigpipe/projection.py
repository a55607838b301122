"""How much memory a task will take, learned from those that have ended.

Owns the upper bound for one task and what it is drawn from. Who may start within a budget is
decided by `bigpipe.admission`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

__all__ = ["GUESS_PER_COMPRESSED_BYTE", "Need", "Projector", "size_class"]

MiB = 2**20

WINDOW = 32  # samples that are remembered; arbitrary, so that what was long ago is forgotten
ONE_IN = 8  # samples that show nothing new is taken in, once the window is full; arbitrary
EXCEEDED_BY = 16  # of so many samples, one may lie above the bound; arbitrary
OUTLIER = 4.0  # times the middle sample: those beyond it lie above the bound, too; arbitrary
MAX_OUTLIERS = 4  # of so many samples, one may be such; arbitrary
LAST_MARGIN = 1.1  # over the upper end of many samples; arbitrary
FIRST_MARGIN = 2.0  # over the first sample; arbitrary
NOISE = MiB  # bytes: growth below this is the allocator's, not the file's
FLOOR = 16 * MiB  # bytes: what any file may take; arbitrary
FLOOR_SHARE = 256  # the floor is at most this part of the budget
FAR = 2.0  # times the largest size seen: beyond it, a bound that ignores size is not trusted
GUESS_FLOOR = 64 * MiB  # bytes, while nothing is known; arbitrary
GUESS_PER_BYTE = 10  # of a plain file, while nothing is known; arbitrary
GUESS_PER_COMPRESSED_BYTE = 40  # of a compressed one; arbitrary
MAX_CORRECTIONS = 256  # given sizes of which each has a correction of its own


@dataclass(slots=True)
class Need:
    """What is known of a task before it begins."""

    size: int | None = None
    """Bytes on disk, summed for a group. ``None`` if there is no such thing."""
    given: int | None = None
    """Bytes that the caller says a worker takes with it, ``reserved`` included."""
    rank: float = 0.0
    """Where it stands in the order: lower is earlier."""
    is_compressed: bool = False
    """Its data is larger than its file."""


class Projector:
    """Bound the growth of a worker that has a certain task.

    Parameters
    ----------
    budget : int
        Bytes for the run, of which a guess takes half at most.

    Attributes
    ----------
    reserved : int
        Bytes of a worker without a task, which a given size includes.
    version : int
        Another number whenever a projection may have changed.

    Notes
    -----
    Growth is what is held above ``reserved``. A given size counts until it is exceeded: then
    what was measured does. Else there are two ways to predict, from the input's size and from
    growth alone; the one that varies less is used. The bound is the upper end of the latest
    samples with a margin that shrinks from 2 to 1.1. One file in 16 may lie above it, and up
    to one in 4 if they are far larger than the rest: the memory of all workers is watched, and
    to be idle for the sake of a rare file costs more than to run that one again. A sample costs
    constant time; what is kept does not grow.
    """

    def __init__(self, budget: int) -> None:
        self.reserved = 0
        self.version = 0
        self._budget = budget
        self._floor = min(FLOOR, budget // FLOOR_SHARE)
        self._plain, self._compressed, self._unsized = _Learned(), _Learned(), _Learned()
        self._excess = _Window()
        self._corrected: dict[int, float] = {}

    def project(self, need: Need) -> int:
        """Return an upper bound, in bytes, for the growth that a task causes."""
        if need.given is not None:
            return self._from_given(need.given)
        learned = self._learned(need)
        if not learned.n_samples:
            return self._guess(need)
        return max(self._floor, learned.bound(need.size, self._budget // 2))

    def learn(self, need: Need, growth: int, *, at_least: bool = False) -> None:
        """Take in what a task has taken.

        Parameters
        ----------
        need : Need
            What was known of the task.
        growth : int
            Bytes, measured.
        at_least : bool, optional
            It did not run to its end.
        """
        if at_least and growth <= self.project(need):
            return
        if need.given is not None:
            self._learn_given(need.given, growth)
        elif self._learned(need).add(need.size, max(growth, NOISE)):
            self.version += 1

    def _learned(self, need: Need) -> _Learned:
        if need.size is None:
            return self._unsized
        return self._compressed if need.is_compressed else self._plain

    def _guess(self, need: Need) -> int:
        half = self._budget // 2
        if need.size is None:
            return half
        per_byte = GUESS_PER_COMPRESSED_BYTE if need.is_compressed else GUESS_PER_BYTE
        return min(half, max(GUESS_FLOOR, per_byte * need.size))

    def _from_given(self, given: int) -> int:
        growth = max(0, given - self.reserved)
        if not self._excess.n_samples:
            return growth
        factor = self._excess.high
        if factor > 1:
            factor *= LAST_MARGIN
        return int(max(growth * factor, self._corrected.get(given, 0)))

    def _learn_given(self, given: int, growth: int) -> None:
        promised = max(0, given - self.reserved)
        if growth > promised:
            corrected = max(growth * LAST_MARGIN, self._corrected.get(given, 0))
            if given in self._corrected or len(self._corrected) < MAX_CORRECTIONS:
                self._corrected[given] = corrected
        elif not self._excess.n_samples:
            return
        self._excess.add(max(1.0, growth / max(promised, NOISE)))
        self.version += 1


class _Learned:
    """What inputs of one kind have taken."""

    def __init__(self) -> None:
        self._growths = _Window()
        self._per_byte = _Window()
        self._largest = 0
        self._n_left_out = 0
        self._growth_bound = 0.0
        self._per_byte_bound = 0.0
        self._varies_with_size = True

    @property
    def n_samples(self) -> int:
        return self._growths.n_samples

    def add(self, size: int | None, growth: int) -> bool:
        """Take in a sample; return whether the bound was drawn anew."""
        if growth <= self._growth_bound and self.n_samples >= WINDOW:
            self._n_left_out += 1
            if self._n_left_out % ONE_IN:
                return False
        self._growths.add(growth)
        if size is not None:
            self._per_byte.add(growth / max(size, 1))
            self._largest = max(self._largest, size)
        n_samples = self.n_samples
        margin = LAST_MARGIN + (FIRST_MARGIN - LAST_MARGIN) / n_samples
        self._growth_bound = self._growths.high * margin
        if size is not None:
            self._per_byte_bound = self._per_byte.high * margin
            self._varies_with_size = self._per_byte.spread <= self._growths.spread
        return True

    def bound(self, size: int | None, cap: int) -> int:
        """Return the bound for a size; ``cap``: the most that is told of one far from all seen."""
        if size is None:
            return int(self._growth_bound)
        by_size = self._per_byte_bound * size
        if size > FAR * self._largest:
            in_proportion = self._growth_bound * size / max(self._largest, 1)
            larger = by_size if self._varies_with_size else in_proportion
            return int(max(self._growth_bound, min(larger, cap)))
        return int(by_size if self._varies_with_size else self._growth_bound)


class _Window:
    """The latest samples, in order of size."""

    def __init__(self) -> None:
        self.n_samples = 0
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self._sorted: list[float] = []

    def add(self, sample: float) -> None:
        if len(self._latest) == WINDOW:
            del self._sorted[bisect_left(self._sorted, self._latest[0])]
        self._latest.append(sample)
        insort(self._sorted, sample)
        self.n_samples += 1

    @property
    def high(self) -> float:
        """The upper end: few samples lie above it."""
        n_samples = len(self._sorted)
        place = n_samples - 1 - n_samples // EXCEEDED_BY
        far = OUTLIER * self._sorted[(n_samples - 1) // 2]
        while self._sorted[place] > far and place >= n_samples - n_samples // MAX_OUTLIERS:
            place -= 1
        return self._sorted[place]

    @property
    def spread(self) -> float:
        """The largest sample, in those of the middle one."""
        return self._sorted[-1] / self._sorted[len(self._sorted) // 2]


def size_class(n_bytes: int) -> int:
    """Return a number that sizes within half a power of two of each other share.

    Examples
    --------
    >>> [size_class(n) for n in (0, 1, 4, 5, 6, 7, 8)]
    [0, 2, 6, 6, 7, 7, 8]
    """
    n_bits = n_bytes.bit_length()
    return 2 * n_bits + (n_bytes >> (n_bits - 2) & 1 if n_bits > 1 else 0)
