"""The memory of each worker, together with every process that its hooks have started.

Owns which processes belong to a worker. `bigpipe.system.process_table` reads the figures of one
process; the scheduler acts on figures that are too large.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from bigpipe.measure import PsutilTable
from bigpipe.system.process_table import Anonymous, Kin, Memory, ProcTable

__all__ = ["ProcessTable", "TreeMeter", "system_table"]

LISTING_PART = 0.005  # of the time, at most, goes into looking for new processes; arbitrary
MAX_LISTING_GAP = 1.0  # seconds between searches at most, however many processes there are
EXACT_PART = 0.005  # of the time, at most, goes into counting pages again; arbitrary
WORTH_COUNTING = 16 << 20  # bytes: pages shared of a smaller process do not matter; arbitrary


class ProcessTable(Protocol):
    """Where a meter looks up processes; methods return ``None`` for one that is gone."""

    def pids(self) -> set[int]:
        """Return the ids of all processes."""

    def kin(self, pid: int) -> Kin | None:
        """Return the parent and process group of a process."""

    def memory(self, pid: int) -> Memory | None:
        """Return the memory of a process, at little cost."""

    def anonymous(self, pid: int) -> Anonymous | None:
        """Return how a process shares its pages, at some cost; ``None`` if unknown."""


@dataclass(slots=True)
class _Process:
    """The figures of one process of a tree."""

    parent: int
    shared: int = 0
    """Bytes of its `Memory.private` that are not its own, when its pages were last counted."""
    counted_at: float = -math.inf


class TreeMeter:
    """Measure the memory of workers and of all processes that they have started.

    Parameters
    ----------
    table : ProcessTable, optional
        Where to look up processes; by default the table of this system.
    clock : callable, optional
        Returns seconds. It measures the cost of a sample, which limits how soon the next follows.

    Notes
    -----
    The processes of a worker are those of its process group, its descendants, and theirs. Once
    seen, a process stays in the tree, whatever happens to its parent. Only a process that leaves
    the group and loses its parent between two samples is missed. Each sample looks for new
    processes, or less often if the machine has so many that it would take more than 0.5 % of the
    time.

    Private resident memory is counted, without mapped files and shared memory, so large keywords,
    which all workers share, are not counted for each worker. Pages that a worker shares with the
    process it was forked from are not counted; those that it shares with its own children are
    counted once. As the kernel takes 20 us per MiB to count pages, it is asked when a process is
    first seen and then in at most 0.5 % of the time. Writes to shared pages in between are missed.

    A sample takes 60 us for each hundred processes of the machine, and 10 us for each tree.

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
            Bytes for each worker; 0 if it is gone with all that it had started.
        """
        self._follow(pids)
        if self._trees and self._clock() >= self._list_at:
            self._look_for_new()
        used = {root: self._measured(tree) for root, tree in self._trees.items()}
        if self._clock() >= self._count_at:
            self._count_again()
        return used

    def _follow(self, pids: Iterable[int]) -> None:
        """Keep a tree for each of these workers, and no other."""
        trees = {pid: self._trees.get(pid) or {pid: _Process(0)} for pid in pids}
        if trees.keys() - self._trees.keys():
            self._has_new_worker = True
        self._trees = trees

    def _look_for_new(self) -> None:
        """Add new processes to the trees, forget those that are gone."""
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
        # Children of a new worker may have been seen before the worker was known.
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
        # Between its start and exec a child may still use its parent's memory itself, and right
        # after a fork all pages are shared: it has no memory of its own then.
        own = {pid: memory for pid, memory in told.items() if memory != told.get(tree[pid].parent)}
        for pid, memory in own.items():
            if tree[pid].counted_at == -math.inf and memory.private >= WORTH_COUNTING:
                self._count(pid, tree)
                if tree[pid].shared and tree[pid].parent in tree:
                    self._count(tree[pid].parent, tree)
        return sum(max(0, memory.private - tree[pid].shared) for pid, memory in own.items())

    def _count_again(self) -> None:
        """Count the pages of the process counted longest ago, if any process shares pages."""
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
