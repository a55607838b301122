"""Which tasks may go past the first pending one.

Owns how often that may happen, and which tasks may still pass afterwards.
`bigpipe.scheduling.pending` owns the order of pending tasks; `bigpipe.scheduling.charges` charges
the workers.
"""

from __future__ import annotations

from collections.abc import Mapping

from bigpipe.scheduling.charges import Charges

__all__ = ["Passes"]

SMALL_BESIDE = 2  # a task so many times smaller than a running one may pass beside it; arbitrary


class Passes:
    """Let a limited number of tasks go past the first one, which does not fit or is held back.

    Parameters
    ----------
    max_passes : int
        Maximum number of tasks that may pass and delay the first one.

    Notes
    -----
    Passes are not counted while the tasks that ran before the first pass leave no room for the
    first task: it would have to wait without the passes as well.

    After ``max_passes`` the blockers are recorded: the smallest set of the largest running tasks
    that leave no room. One of them must end before the first task can start. Until one has ended,
    only tasks that are small beside them may pass; afterwards none may. So the first task waits
    only for tasks that were running at that time and for small ones, whatever else is added.
    """

    def __init__(self, max_passes: int) -> None:
        self._max_passes = max_passes
        self._first: int | None = None  # the task that others went past
        self._n = 0
        # Tasks running before the first pass and now, with projections, and the charges then.
        self._before: dict[int, int] = {}
        self._held = 0
        self._blockers: set[int] | None = None
        self._small = 0

    def most(self, first: int | None, needed: int, charges: Charges) -> int | None:
        """Return the bytes that a task may take to go past the first one; ``None`` for no limit.

        Parameters
        ----------
        first : int or None
            The first pending task.
        needed : int
            Its projection.
        charges : Charges
            The memory in use.
        """
        if first != self._first or self._n < self._max_passes:
            return None
        if self._blockers is None:
            self._close(needed, charges)
        return self._small

    def _close(self, needed: int, charges: Charges) -> None:
        """Record which tasks leave no room for the first one."""
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
        """Record that a task goes past the first one.

        Parameters
        ----------
        first, needed, charges
            As for `most`.
        at_work : mapping of int to int
            The projections of running tasks.
        """
        if first != self._first:
            self._first, self._n = first, 0
            self._before, self._held = dict(at_work), charges.total
            self._blockers = None
        self._n += self._held + needed <= charges.limit

    def left(self, task: int) -> None:
        """Record that a task is no longer running."""
        self._held -= self._before.pop(task, 0)
        if self._blockers and task in self._blockers:
            self._small = -1
