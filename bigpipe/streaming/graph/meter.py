"""What a part of a network does, and for how long. The part writes it, the caller may read it.

Owns the layout of these figures in shared memory. `bigpipe.streaming.graph.figures` draws the
conclusions.
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
        A file of `PAGE_SIZE` that other processes map too; not closed. Without one, only this
        process sees the figures.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        memory: Any = bytearray(PAGE_SIZE)
        if descriptor is not None:
            memory = mmap.mmap(descriptor, PAGE_SIZE)
        # A double is written at once, so no reader sees half of it.
        self._fields = memoryview(memory).cast("d")[:_N_FIELDS]

    def keep(self) -> None:
        """Keep the present figures, and release the shared memory."""
        memory: Any = bytearray(self._fields)
        self._fields = memoryview(memory).cast("d")

    def enter(self, state: int) -> None:
        """Note the state from now on."""
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
        """Note that an element was skipped after an error."""
        self._fields[_N_SKIPPED] += 1

    def count_given(self, fill: float) -> None:
        """Note that an element was given, and what share of its link's room is in use."""
        fields = self._fields
        fields[_N_GIVEN] += 1
        fields[_FILL] += fill

    @property
    def state(self) -> int:
        """The present state."""
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
        """Elements skipped."""
        return int(self._fields[_N_SKIPPED])

    @property
    def fill(self) -> float:
        """Mean share of its link's room in use; 0 if nothing was given."""
        return self._fields[_FILL] / max(1.0, self._fields[_N_GIVEN])

    def seconds(self, state: int) -> float:
        """Return the seconds spent in a state so far."""
        fields = self._fields
        total: float = fields[_SECONDS + state]
        if int(fields[_STATE]) == state != ENDED and fields[_SINCE]:
            total += max(0.0, time.monotonic() - fields[_SINCE])
        return total
