"""Segments of shared memory that a sender fills and lends to a receiver, which returns them.

Owns the segments on both sides: which are free, which are new, and which an array still uses.
`bigpipe.sharing.transport` sends the messages about them.

A segment is an anonymous file of its own, mapped by both processes. Segments are reused, as writing
to mapped pages is several times faster than to new ones.
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

from bigpipe.sharing.snapshot import anonymous_file

__all__ = ["MAX_HELD", "BorrowedSegments", "OwnSegments", "Segment"]

MAX_HELD = 8  # default number of segments that a receiver may hold; arbitrary
SPARE = 3  # segments beside those in transit: one is filled, one or two are in use

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
        with suppress(OSError, AttributeError):  # faster than page by page, where supported
            mapped.madvise(_POPULATE_WRITE)
        return cls(number, size, np.frombuffer(mapped, np.uint8))


class OwnSegments:
    """The sender's segments."""

    def __init__(self) -> None:
        self._all: dict[int, Segment] = {}
        self._free: list[Segment] = []
        self._next_number = 0

    def filled(self, n_bytes: int, lay_out: Callable[[Any], None]) -> tuple[Segment, int | None]:
        """Fill a free segment and return it, with its descriptor if it is new.

        Parameters
        ----------
        n_bytes : int
            Bytes that it must hold.
        lay_out : callable
            Fills its memory.
        """
        segment, descriptor = self._take(n_bytes)
        try:
            lay_out(segment.memory)
        except BaseException:  # Ctrl-C, or no memory: the receiver will never return it
            if descriptor is None:
                self.give_back(segment.number)
            else:
                self.discard(segment)
                os.close(descriptor)
            raise
        return segment, descriptor

    def _take(self, n_bytes: int) -> tuple[Segment, int | None]:
        """Return a free segment, with its descriptor if it is new."""
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
        """Make a segment available again."""
        self._free.append(self._all[number])

    def discard(self, segment: Segment) -> None:
        """Drop a segment that the receiver does not know."""
        del self._all[segment.number]

    def let_go(self, n_wanted: int, is_new: bool) -> list[int]:
        """Drop segments that are not needed; return their numbers, to be sent to the receiver.

        Parameters
        ----------
        n_wanted : int
            Objects that may be in transit.
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
        """Drop all segments; those that the receiver holds stay valid there."""
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
        Numbers of segments that no array uses any more, to be removed by the code that tells the
        sender. The thread that drops the last array appends the number.
    """

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self.given_back: deque[int] = deque()
        self._all: dict[int, Segment] = {}
        self._held: dict[int, weakref.ref[Any]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._all

    def add(self, segment: Segment) -> None:
        """Add a new segment."""
        self._all[segment.number] = segment

    def forget(self, number: int) -> None:
        """Drop a segment that the sender will not use again."""
        self._all.pop(number, None)

    def borrow(self, number: int, n_bytes: int) -> memoryview:
        """Return the first bytes of a segment, which is returned when they are no longer used.

        If ``max_held`` segments are already held, return a copy of the bytes.
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
        # Not a method: an array that outlives the receiver must not keep it alive.
        held, given_back = self._held, self.given_back

        def give_back(_: object) -> None:
            held.pop(number, None)
            given_back.append(number)

        return give_back

    def close(self) -> None:
        """Drop all segments that are not in use."""
        self._all.clear()
