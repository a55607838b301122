"""Pieces of shared memory that a sender fills, lends to a receiver, and is given back.

Owns the segments on either side: which one is free, which is new, what is still in use by an
array. What is said of them between the two processes is `bigpipe.transport`'s affair.

A segment is an anonymous file of its own, mapped by both. It is used again, as pages that are
mapped already take memory at several times the speed of new ones.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigpipe.snapshot import anonymous_file

__all__ = ["MAX_HELD", "BorrowedSegments", "OwnSegments", "Segment"]

MAX_HELD = 8  # segments a receiver may hold if nothing else is said; arbitrary
SPARE = 3  # segments beside those under way: one is filled, one or two are in use

_POPULATE_WRITE = 23  # of <linux/mman.h>, since 5.14; Python has no name for it


@dataclass(slots=True, eq=False)
class Segment:
    """Memory that two processes have mapped."""

    number: int
    """Of the sender's making, never used twice."""
    size: int
    """Bytes."""
    memory: Any
    """(size,) uint8 ndarray, which keeps the mapping."""

    @classmethod
    def of(cls, descriptor: int, number: int, size: int) -> Segment:
        """Map a file, which may then be closed."""
        import numpy as np

        mapped = mmap.mmap(descriptor, size)
        with suppress(OSError, AttributeError):  # sooner than page by page, where the system can
            mapped.madvise(_POPULATE_WRITE)
        return cls(number, size, np.frombuffer(mapped, np.uint8))


class OwnSegments:
    """The sender's segments."""

    def __init__(self) -> None:
        self._all: dict[int, Segment] = {}
        self._free: list[Segment] = []
        self._next_number = 0

    def filled(self, n_bytes: int, lay_out: Callable[[Any], None]) -> tuple[Segment, int | None]:
        """Return a segment that nobody uses, filled; with its descriptor if it is new.

        Parameters
        ----------
        n_bytes : int
            What it must hold.
        lay_out : callable
            Fills its memory.
        """
        segment, descriptor = self._take(n_bytes)
        try:
            lay_out(segment.memory)
        except BaseException:  # Ctrl-C, or no memory: nobody will ever give it back
            if descriptor is None:
                self.give_back(segment.number)
            else:
                self.discard(segment)
                os.close(descriptor)
            raise
        return segment, descriptor

    def _take(self, n_bytes: int) -> tuple[Segment, int | None]:
        """Return a segment that nobody uses; with its descriptor if it is new."""
        fitting = [each for each in self._free if n_bytes <= each.size]
        if fitting:
            segment = min(fitting, key=lambda each: each.size)
            self._free.remove(segment)
            return segment, None
        size = max(1, -(-n_bytes // mmap.PAGESIZE)) * mmap.PAGESIZE
        descriptor = anonymous_file()
        try:
            os.ftruncate(descriptor, size)
            segment = Segment.of(descriptor, self._next_number, size)
        except BaseException:
            os.close(descriptor)
            raise
        self._next_number += 1
        self._all[segment.number] = segment
        return segment, descriptor

    def give_back(self, number: int) -> None:
        """Have a segment used again."""
        self._free.append(self._all[number])

    def discard(self, segment: Segment) -> None:
        """Give up a segment of which the receiver has not been told."""
        del self._all[segment.number]

    def let_go(self, n_wanted: int, is_new: bool) -> list[int]:
        """Give up what is not needed; return the numbers, which the receiver is to be told.

        Parameters
        ----------
        n_wanted : int
            Objects that may be under way.
        is_new : bool
            Whether the last one had to be made, as none was large enough: then the one that
            has been free for longest is too small.
        """
        has_many = len(self._free) > 1 and len(self._all) > n_wanted + SPARE
        if not self._free or not (is_new or has_many):
            return []
        segment = self._free.pop(0)
        del self._all[segment.number]
        return [segment.number]

    def close(self) -> None:
        """Give up all; what the receiver holds is its own."""
        self._all.clear()
        self._free.clear()


class BorrowedSegments:
    """The receiver's view of the segments.

    Parameters
    ----------
    max_held : int, optional
        Segments that may be in use at once.

    Attributes
    ----------
    given_back : deque of int
        Numbers of segments that no array uses any more; whoever tells the sender takes them
        away. Filled wherever the last array happens to go, in any thread.
    """

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self.given_back: deque[int] = deque()
        self._all: dict[int, Segment] = {}
        self._held: dict[int, weakref.ref[Any]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._all

    def add(self, segment: Segment) -> None:
        """Take note of a new one."""
        self._all[segment.number] = segment

    def forget(self, number: int) -> None:
        """Give one up, which the sender will not use again."""
        self._all.pop(number, None)

    def borrow(self, number: int, n_bytes: int) -> memoryview:
        """Return the first bytes of a segment, which is given back when none is used any more.

        If ``max_held`` segments are held already, they are copied.
        """
        import numpy as np

        memory = self._all[number].memory
        if len(self._held) >= self._max_held:
            base = memory[:n_bytes].copy()
            self.given_back.append(number)
        else:
            # Whatever is made of a view holds, in the end, the array below it.
            base = np.frombuffer(memory.data, np.uint8, n_bytes)
            self._held[number] = weakref.ref(base, self._giving_back(number))
        whole: memoryview = base.data
        return whole

    def _giving_back(self, number: int) -> Any:
        # Not a method: an array that outlives the receiver is not to keep it.
        held, given_back = self._held, self.given_back

        def give_back(_: object) -> None:
            held.pop(number, None)
            given_back.append(number)

        return give_back

    def close(self) -> None:
        """Give up all that is not in use."""
        self._all.clear()
