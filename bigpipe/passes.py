"""Which tasks may go past the first of those that wait.

Owns how often that may happen, and what may still pass afterwards. The order of the tasks that
wait is `bigpipe.pending`; what the workers are charged with, `bigpipe.charges`.
"""

from __future__ import annotations

from collections.abc import Mapping

from bigpipe.charges import Charges

__all__ = ["Passes"]

SMALL_BESIDE = 2  # times smaller than a task at work, to pass while that goes on; arbitrary


class Passes:
    """Let tasks go past the first one, which has no room yet or is held back, but not for long.

    Parameters
    ----------
    max_passes : int
        Tasks that may pass and be in the way of the first one.

    Notes
    -----
    Tasks are not counted while those that were at work before the first pass leave the first
    task no room: it would have to wait without them as well.

    After ``max_passes`` the blockers are noted: of the tasks at work, the fewest and largest
    that leave no room. One of them has to end before the first task can start, and until one
    has, tasks go by that are small beside them. From then on none does. So the first task waits
    for tasks that were at work at that time, and for small ones, whatever else comes in.
    """

    def __init__(self, max_passes: int) -> None:
        self._max_passes = max_passes
        self._first: int | None = None  # the task that others went past
        self._n = 0
        # Tasks at work before the first pass and now, with projections, and the charges then.
        self._before: dict[int, int] = {}
        self._held = 0
        self._blockers: set[int] | None = None
        self._small = 0

    def most(self, first: int | None, needed: int, charges: Charges) -> int | None:
        """Return the bytes that a task may take to go past the first one; ``None``: any number.

        Parameters
        ----------
        first : int or None
            The first of all that wait.
        needed : int
            Its projection.
        charges : Charges
            What is in use.
        """
        if first != self._first or self._n < self._max_passes:
            return None
        if self._blockers is None:
            self._close(needed, charges)
        return self._small

    def _close(self, needed: int, charges: Charges) -> None:
        """Note who leaves the first task no room."""
        self._blockers = set()
        self._small = -1
        at_work = []
        room = charges.limit - needed
        for at in charges.workers.values():
            room -= at.reserved
            if at.tasks:
                at_work.append((at.charge - at.reserved, next(iter(at.tasks))))
        for growth, task in sorted(at_work, reverse=True):
            room -= growth
            self._blockers.add(task)
            if room < 0:
                self._small = growth // SMALL_BESIDE
                return

    def note(
        self, first: int | None, needed: int, charges: Charges, at_work: Mapping[int, int]
    ) -> None:
        """Take in that a task goes past the first one.

        Parameters
        ----------
        first, needed, charges
            As of `most`.
        at_work : mapping of int to int
            The projections of the tasks that are at work.
        """
        if first != self._first:
            self._first, self._n = first, 0
            self._before, self._held = dict(at_work), charges.total
            self._blockers = None
        self._n += self._held + needed <= charges.limit

    def left(self, task: int) -> None:
        """Take in that a task is no longer at work."""
        self._held -= self._before.pop(task, 0)
        if self._blockers and task in self._blockers:
            self._small = -1
