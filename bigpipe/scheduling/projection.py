"""How much memory a task will take, learned from tasks that have ended.

Owns the upper bound for one task and the samples that it is computed from.
`bigpipe.scheduling.admission` decides which tasks may start within a budget.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

__all__ = ["GUESS_PER_COMPRESSED_BYTE", "Need", "Projector", "size_class"]

MiB = 2**20

WINDOW = 32  # samples that are kept; arbitrary, so that old ones are forgotten
ONE_IN = 8  # with a full window, one in so many uninformative samples is used; arbitrary
EXCEEDED_BY = 16  # one in so many samples may lie above the bound; arbitrary
OUTLIER = 4.0  # times the median: samples beyond it may lie above the bound, too; arbitrary
MAX_OUTLIERS = 4  # one in so many samples may be such an outlier; arbitrary
LAST_MARGIN = 1.1  # times the upper end of many samples; arbitrary
FIRST_MARGIN = 2.0  # times the first sample; arbitrary
NOISE = MiB  # bytes: growth below this is the allocator's, not the file's
FLOOR = 16 * MiB  # bytes that any file may take; arbitrary
FLOOR_SHARE = 256  # the floor is at most budget / FLOOR_SHARE
FAR = 2.0  # times the largest size seen: beyond it, a bound that ignores size is not trusted
GUESS_FLOOR = 64 * MiB  # bytes, while nothing is known; arbitrary
GUESS_PER_BYTE = 10  # of a plain file, while nothing is known; arbitrary
GUESS_PER_COMPRESSED_BYTE = 40  # of a compressed one; arbitrary
MAX_CORRECTIONS = 256  # number of given sizes that have a correction of their own


@dataclass(slots=True)
class Need:
    """What is known of a task before it begins."""

    size: int | None = None
    """Bytes on disk, summed for a group; ``None`` if unknown."""
    given: int | None = None
    """Bytes that a worker takes with it according to the caller, including ``reserved``."""
    rank: float = 0.0
    """Position in the order: lower is earlier."""
    is_compressed: bool = False
    """Whether its data is larger than its file."""


class Projector:
    """Bound the growth of a worker that has a certain task.

    Parameters
    ----------
    budget : int
        Bytes for the run, of which a guess takes half at most.

    Attributes
    ----------
    reserved : int
        Bytes of an idle worker, which a given size includes.
    version : int
        Changes whenever a projection may have changed.

    Notes
    -----
    Growth is the memory above ``reserved``. A given size counts until it is exceeded; then the
    measured one does. Without a given size, the bound is predicted either from the input's size
    or from growth alone, whichever varies less. It is the upper end of the latest samples, with
    a margin that shrinks from 2 to 1.1. One file in 16 may exceed it, and up to one in 4 if they
    are far larger than the rest: the memory of all workers is watched, and keeping cores idle for
    a rare file costs more than running that file again. A sample takes constant time, and the
    memory for samples does not grow.
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
        """Learn from the memory that a task took.

        Parameters
        ----------
        need : Need
            What was known of the task.
        growth : int
            Bytes, measured.
        at_least : bool, optional
            Whether the task did not run to its end.
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
    """The memory that inputs of one kind took."""

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
        """Add a sample; return whether the bound has changed."""
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
        """Return the bound for a size; at most ``cap`` for a size far from all seen."""
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
        """The upper end, above which few samples lie."""
        n_samples = len(self._sorted)
        place = n_samples - 1 - n_samples // EXCEEDED_BY
        far = OUTLIER * self._sorted[(n_samples - 1) // 2]
        while self._sorted[place] > far and place >= n_samples - n_samples // MAX_OUTLIERS:
            place -= 1
        return self._sorted[place]

    @property
    def spread(self) -> float:
        """The largest sample, in units of the median."""
        return self._sorted[-1] / self._sorted[len(self._sorted) // 2]


def size_class(n_bytes: int) -> int:
    """Return the number of the half power of two that a size falls into.

    Examples
    --------
    >>> [size_class(n) for n in (0, 1, 4, 5, 6, 7, 8)]
    [0, 2, 6, 6, 7, 7, 8]
    """
    n_bits = n_bytes.bit_length()
    return 2 * n_bits + (n_bytes >> (n_bits - 2) & 1 if n_bits > 1 else 0)
