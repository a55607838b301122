"""What a part of a network does, and for how long: written by it, read by the caller at any time.

Owns the form of the figures in memory that both can see. What is concluded from them is in
`bigpipe.streaming.graph.figures`.
"""

from __future__ import annotations

import mmap
import time
from typing import Any

__all__ = ["BUSY", "ENDED", "GIVING", "PAGE_SIZE", "STATES", "TAKING", "Meter"]

STATES = ("starting", "busy", "waits to take", "waits to give", "ended")
_STARTING, BUSY, TAKING, GIVING, ENDED = range(5)

_N_TAKEN, _N_GIVEN, _STATE, _SINCE, _FILL, _N_SKIPPED, _SECONDS = range(7)
_N_FIELDS = _SECONDS + len(STATES)
PAGE_SIZE = mmap.PAGESIZE


class Meter:
    """Figures of one part.

    Parameters
    ----------
    descriptor : int, optional
        A file of `PAGE_SIZE` that others map too; not closed. Without one, only this process sees
        the figures.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        memory: Any = bytearray(PAGE_SIZE)
        if descriptor is not None:
            memory = mmap.mmap(descriptor, PAGE_SIZE)
        # A double at a time, which no reader sees by half.
        self._fields = memoryview(memory).cast("d")[:_N_FIELDS]

    def keep(self) -> None:
        """Keep the figures as they are, and let the shared memory go."""
        memory: Any = bytearray(self._fields)
        self._fields = memoryview(memory).cast("d")

    def enter(self, state: int) -> None:
        """Note what is done from now on."""
        now = time.monotonic()
        fields = self._fields
        was = int(fields[_STATE])
        if fields[_SINCE]:
            fields[_SECONDS + was] += now - fields[_SINCE]
        fields[_SINCE] = now
        fields[_STATE] = state

    def count_taken(self) -> None:
        """Note that an element was taken."""
        self._fields[_N_TAKEN] += 1

    def count_skipped(self) -> None:
        """Note that an element was left out after an error."""
        self._fields[_N_SKIPPED] += 1

    def count_given(self, fill: float) -> None:
        """Note that an element was given, and what part of the room on its link is taken up."""
        fields = self._fields
        fields[_N_GIVEN] += 1
        fields[_FILL] += fill

    @property
    def state(self) -> int:
        """What is done now."""
        return int(self._fields[_STATE])

    @property
    def n_taken(self) -> int:
        """Elements taken."""
        return int(self._fields[_N_TAKEN])

    @property
    def n_given(self) -> int:
        """Elements given."""
        return int(self._fields[_N_GIVEN])

    @property
    def n_skipped(self) -> int:
        """Elements left out."""
        return int(self._fields[_N_SKIPPED])

    @property
    def fill(self) -> float:
        """Part of the room behind it that was taken up, on average; 0 if it gives nothing."""
        return self._fields[_FILL] / max(1.0, self._fields[_N_GIVEN])

    def seconds(self, state: int) -> float:
        """Return the seconds spent in a state so far."""
        fields = self._fields
        total: float = fields[_SECONDS + state]
        if int(fields[_STATE]) == state != ENDED and fields[_SINCE]:
            total += max(0.0, time.monotonic() - fields[_SINCE])
        return total
