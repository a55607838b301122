"""When each running task will exceed its time limit.

Owns only these times; `bigpipe.scheduler` decides what happens then.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

__all__ = ["Deadlines"]


class Deadlines:
    """Find the worker whose time limit is reached first.

    Parameters
    ----------
    seconds : float
        How long each task may take, without pauses.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # (due, worker, task), soonest first. Outdated entries are dropped when they reach the
        # front.
        self._queue: deque[tuple[float, int, int]] = deque()
        self._at_work: dict[int, tuple[float, int, int]] = {}
        self._left: dict[int, tuple[float, int]] = {}  # seconds and task of those paused

    def begin(self, worker: int, task: int, now: float) -> None:
        """Start counting for a worker that begins a task."""
        entry = (now + self._seconds, worker, task)
        if worker in self._left:
            self._left[worker] = self._seconds, task
            return
        self._at_work[worker] = entry
        self._queue.append(entry)

    def end(self, worker: int) -> None:
        """Stop counting for a worker without a task."""
        self._at_work.pop(worker, None)
        self._left.pop(worker, None)

    def pause(self, worker: int, now: float) -> None:
        """Keep the remaining time of a paused worker."""
        due, _, task = self._at_work.pop(worker)
        self._left[worker] = due - now, task

    def resume(self, worker: int, now: float) -> None:
        """Continue with the remaining time."""
        if worker in self._left:
            left, task = self._left.pop(worker)
            self._at_work[worker] = now + left, worker, task
            insort(self._queue, self._at_work[worker])

    def first(self) -> tuple[float, int, int] | None:
        """Return the first deadline: its time, the worker, and the task."""
        while self._queue and self._at_work.get(self._queue[0][1]) is not self._queue[0]:
            self._queue.popleft()
        return self._queue[0] if self._queue else None
