"""Pending tasks, searched by what they need.

Owns their order and the search for the first that fits. `bigpipe.scheduling.projection` projects
what each will take; `bigpipe.scheduling.admission` knows how much room there is.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

__all__ = ["Pending"]

MIDDLE_HOLDS = 16  # the median is recomputed when one task in so many has gone; arbitrary


@dataclass(slots=True, eq=False)
class _Class:
    """Tasks that need about the same memory: only the first of them is ever examined."""

    key: Hashable
    waiting: list[tuple[float, int, int]] = field(default_factory=list)  # heap: rank, turn, task
    projected: int = 0
    task: int | None = None  # the task that ``projected`` is for
    version: int = -1  # of the projections at that time


class Pending:
    """Tasks in the order of their ranks, in classes of similar need.

    Parameters
    ----------
    project : callable
        Returns the projection of a task.

    Notes
    -----
    Finding the first task that fits takes time proportional to the number of classes, whatever
    the number of tasks.
    """

    def __init__(self, project: Callable[[int], int]) -> None:
        self._project = project
        self._classes: dict[Hashable, _Class] = {}
        self._heads: list[tuple[float, int, _Class]] = []  # sorted: rank and turn of the first
        self._n_tasks = 0
        self._turn = 0
        self._front_turn = 0
        self._middle = 0
        self._middle_of = 0  # so many tasks
        self._middle_version = -1

    def __len__(self) -> int:
        return self._n_tasks

    def __iter__(self) -> Iterator[int]:
        for each in self._classes.values():
            for _, _, task in each.waiting:
                yield task

    @property
    def head(self) -> int | None:
        """The first task of all."""
        return self._heads[0][2].waiting[0][2] if self._heads else None

    def add(self, task: int, key: Hashable, rank: float = 0.0) -> None:
        """Add a task after those of its rank. Tasks with the same key need about the same."""
        self._turn += 1
        self._push((rank, self._turn, task), key)

    def put_back(self, task: int, key: Hashable) -> None:
        """Put a task before all others."""
        self._front_turn -= 1
        self._push((-inf, self._front_turn, task), key)

    def _push(self, entry: tuple[float, int, int], key: Hashable) -> None:
        at = self._classes.get(key)
        if at is None:
            at = self._classes[key] = _Class(key)
        if not at.waiting:
            insort(self._heads, (*entry[:2], at))
        elif entry < at.waiting[0]:
            self._heads.remove((*at.waiting[0][:2], at))
            insort(self._heads, (*entry[:2], at))
        heappush(at.waiting, entry)
        self._n_tasks += 1

    def first(self, room: int, version: int, kept: int = 0) -> int | None:
        """Return the position of the first class whose first task fits, or ``None``.

        There must be tasks.

        Parameters
        ----------
        room : int
            Bytes by which a worker may grow.
        version : int
            Version of the projections.
        kept : int, optional
            Bytes of the room to leave free, if there is a task that leaves them.
        """
        first = None
        left = room - kept
        for place, (_, _, at) in enumerate(self._heads):
            projected = self._projected(at, version)
            if projected <= left:
                return place
            if first is None and projected <= room:
                first = place
                if left < 0:
                    break
        return first

    def middle(self, version: int) -> int:
        """Return the approximate median of the projections. There must be tasks."""
        n_tasks = self._n_tasks
        n_gone = self._middle_of - n_tasks
        if version == self._middle_version and 0 <= MIDDLE_HOLDS * n_gone <= n_tasks:
            return self._middle
        self._middle_version, self._middle_of = version, n_tasks
        left = n_tasks // 2
        heads = sorted((self._projected(at, version), len(at.waiting)) for _, _, at in self._heads)
        for self._middle, n_alike in heads:
            left -= n_alike
            if left < 0:
                break
        return self._middle

    def projected(self, place: int, version: int) -> int:
        """Return the projection of the task at a position."""
        return self._projected(self._heads[place][2], version)

    def take(self, place: int) -> int:
        """Remove the task at a position and return it."""
        at = self._heads.pop(place)[2]
        task = heappop(at.waiting)[2]
        if at.waiting:
            rank, turn, _ = at.waiting[0]
            insort(self._heads, (rank, turn, at))
        else:
            del self._classes[at.key]
        self._n_tasks -= 1
        return task

    def _projected(self, at: _Class, version: int) -> int:
        task = at.waiting[0][2]
        if at.version != version or at.task != task:
            at.projected = self._project(task)
            at.task, at.version = task, version
        return at.projected
