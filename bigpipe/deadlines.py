"""When each task at work will have taken too long.

Owns those moments only; what is done then is decided by `bigpipe.scheduler`.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

__all__ = ["Deadlines"]


class Deadlines:
    """Tell the worker that is the first to have had its time.

    Parameters
    ----------
    seconds : float
        How long each task may take, pauses left out.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # (due, worker, task), soonest first. Those that no longer hold are dropped when they
        # reach the front.
        self._queue: deque[tuple[float, int, int]] = deque()
        self._at_work: dict[int, tuple[float, int, int]] = {}
        self._left: dict[int, tuple[float, int]] = {}  # seconds and task of those paused

    def begin(self, worker: int, task: int, now: float) -> None:
        """Count from now on, for a worker that takes up a task."""
        entry = (now + self._seconds, worker, task)
        if worker in self._left:
            self._left[worker] = self._seconds, task
            return
        self._at_work[worker] = entry
        self._queue.append(entry)

    def end(self, worker: int) -> None:
        """Count no longer, for a worker without a task."""
        self._at_work.pop(worker, None)
        self._left.pop(worker, None)

    def pause(self, worker: int, now: float) -> None:
        """Keep what is left of a worker's time."""
        due, _, task = self._at_work.pop(worker)
        self._left[worker] = due - now, task

    def resume(self, worker: int, now: float) -> None:
        """Go on with what was left."""
        if worker in self._left:
            left, task = self._left.pop(worker)
            self._at_work[worker] = now + left, worker, task
            insort(self._queue, self._at_work[worker])

    def first(self) -> tuple[float, int, int] | None:
        """Return the first that is due: when, the worker, its task."""
        while self._queue and self._at_work.get(self._queue[0][1]) is not self._queue[0]:
            self._queue.popleft()
        return self._queue[0] if self._queue else None
