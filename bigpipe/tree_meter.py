"""What each worker has in memory, together with every process that its hooks have started.

Owns which processes belong to a worker. What the system tells of one process is read in
`bigpipe.process_table`; what follows from too large a figure is the scheduler's matter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from bigpipe.measure import PsutilTable
from bigpipe.process_table import Anonymous, Kin, Memory, ProcTable

__all__ = ["ProcessTable", "TreeMeter", "system_table"]

LISTING_PART = 0.005  # of the time, at most, goes into looking for new processes; arbitrary
MAX_LISTING_GAP = 1.0  # seconds: however many processes there are, they are looked through
EXACT_PART = 0.005  # of the time, at most, goes into counting pages again; arbitrary
WORTH_COUNTING = 16 << 20  # bytes: pages shared of a smaller process do not matter; arbitrary


class ProcessTable(Protocol):
    """Where a meter looks processes up; ``None`` is a process that is gone."""

    def pids(self) -> set[int]:
        """Return the ids of all processes."""

    def kin(self, pid: int) -> Kin | None:
        """Return whom a process belongs to."""

    def memory(self, pid: int) -> Memory | None:
        """Return what a process has in memory, at little cost."""

    def anonymous(self, pid: int) -> Anonymous | None:
        """Return how a process shares its pages, at some cost; ``None`` if nobody knows."""


@dataclass(slots=True)
class _Process:
    """What is known of one process of a tree."""

    parent: int
    shared: int = 0
    """Bytes of its `Memory.private` that are not its own, when its pages were last counted."""
    counted_at: float = -math.inf


class TreeMeter:
    """Measure the memory of workers with all that they have started.

    Parameters
    ----------
    table : ProcessTable, optional
        Where to look processes up. By default that of this system.
    clock : callable, optional
        Returns seconds. What a look costs is measured by it, and how soon the next may follow.

    Notes
    -----
    To a worker belong the processes of its process group, its descendants, and theirs; a
    process that was seen once as one of them is kept, whatever becomes of its parent. Only one that
    leaves the group and loses its parent between two samples is missed. Processes that are
    new are looked for in each sample, or less often where the machine has so many that it
    would take more than 0.5 % of the time.

    Counted is private resident memory: neither mapped files nor shared memory, so that
    large keywords, which all workers share, are not counted for each. Pages that a worker
    shares with the process it was forked from are not counted, and those that it shares
    with its own children once: the kernel is asked at first sight and then, as it takes
    20 us for each MiB, in at most 0.5 % of the time. In between, a page that was shared and
    is written to goes unnoticed.

    A sample costs 60 us for each hundred processes of the machine, and 10 us for each of
    the trees.

    Examples
    --------
    >>> import os
    >>> used = TreeMeter().sample([os.getpid()])
    >>> used[os.getpid()] > 1_000_000
    True
    """

    def __init__(
        self,
        table: ProcessTable | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._table = system_table() if table is None else table
        self._clock = clock
        self._trees: dict[int, dict[int, _Process]] = {}
        self._strangers: dict[int, Kin] = {}
        self._has_new_worker = False
        self._list_at = self._count_at = -math.inf

    def sample(self, pids: Iterable[int]) -> dict[int, int]:
        """Measure now.

        Parameters
        ----------
        pids : iterable of int
            Process ids of the workers.

        Returns
        -------
        dict
            Bytes for each of them; 0 for one that is gone with all that it had started.
        """
        self._follow(pids)
        if self._trees and self._clock() >= self._list_at:
            self._look_for_new()
        used = {root: self._measured(tree) for root, tree in self._trees.items()}
        if self._clock() >= self._count_at:
            self._count_again()
        return used

    def _follow(self, pids: Iterable[int]) -> None:
        """Have a tree for each of these, and for no other."""
        trees = {pid: self._trees.get(pid) or {pid: _Process(0)} for pid in pids}
        if trees.keys() - self._trees.keys():
            self._has_new_worker = True
        self._trees = trees

    def _look_for_new(self) -> None:
        """Add processes that belong to a tree, forget those that are gone."""
        began = self._clock()
        listed = self._table.pids()
        owners = {pid: root for root, tree in self._trees.items() for pid in tree}
        for pid in self._strangers.keys() - listed:
            del self._strangers[pid]
        new = {
            pid: kin
            for pid in listed - self._strangers.keys() - owners.keys()
            if (kin := self._table.kin(pid)) is not None
        }
        self._strangers |= new
        # What a new worker has started may have been seen before the worker was known.
        for pid in list(self._strangers) if self._has_new_worker else new:
            root = self._owner(pid, owners)
            if root is not None:
                self._trees[root][pid] = _Process(self._strangers[pid].parent)
        self._has_new_worker = False
        for tree in self._trees.values():
            for pid in tree.keys() - listed:
                del tree[pid]
            for pid in tree:
                self._strangers.pop(pid, None)
        now = self._clock()
        self._list_at = now + min((now - began) / LISTING_PART, MAX_LISTING_GAP)

    def _owner(self, pid: int, owners: dict[int, int]) -> int | None:
        """Return the worker that a process belongs to: by its group, or an ancestor's."""
        passed = set()
        while pid not in owners:
            kin = self._strangers.get(pid)
            if kin is None or pid in passed:
                return None
            if kin.group in self._trees:
                return kin.group
            passed.add(pid)
            pid = kin.parent
        return owners[pid]

    def _measured(self, tree: dict[int, _Process]) -> int:
        told = {pid: memory for pid in tree if (memory := self._table.memory(pid)) is not None}
        # Between its start and exec a child may still run in its parent's very memory, and
        # right after a fork all pages are shared: it has nothing of its own then.
        own = {pid: memory for pid, memory in told.items() if memory != told.get(tree[pid].parent)}
        for pid, memory in own.items():
            if tree[pid].counted_at == -math.inf and memory.private >= WORTH_COUNTING:
                self._count(pid, tree)
                if tree[pid].shared and tree[pid].parent in tree:
                    self._count(tree[pid].parent, tree)
        return sum(max(0, memory.private - tree[pid].shared) for pid, memory in own.items())

    def _count_again(self) -> None:
        """Count the pages of that process which was counted longest ago, if any shares some."""
        due = [
            (process.counted_at, pid, root)
            for root, tree in self._trees.items()
            for pid, process in tree.items()
            if process.counted_at > -math.inf and (process.shared or len(tree) > 1)
        ]
        if due:
            _, pid, root = min(due)
            self._count(pid, self._trees[root])

    def _count(self, pid: int, tree: dict[int, _Process]) -> None:
        began = self._clock()
        pages = self._table.anonymous(pid)
        now = self._clock()
        if pages is not None:
            own = pages.unshared if len(tree) == 1 else pages.divided
            tree[pid].shared = max(0, pages.total - own)
            tree[pid].counted_at = now
        self._count_at = max(self._count_at, now) + (now - began) / EXACT_PART


def system_table() -> ProcessTable:
    """Return the processes of this system, from ``/proc`` or, without that, from psutil."""
    table = ProcTable()
    return table if table.exists() else PsutilTable()
