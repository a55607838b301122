"""The memory of a run: its budget, what its inputs will need, what its workers use now.

Turns options, names and measurements into the figures that the scheduler gets.
`bigpipe.scheduler` decides which file starts and which worker is paused; `bigpipe.measure` and
`bigpipe.tree_meter` measure.
"""

from __future__ import annotations

import math
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from bigpipe.budget import format_bytes, parse_bytes, seconds_to_fill
from bigpipe.context import name_of
from bigpipe.errors import OptionError, shown, warn
from bigpipe.executors.base import Executor
from bigpipe.file_states import names_of
from bigpipe.input_files import file_size, is_compressed
from bigpipe.measure import mem_available_bytes, memory_pressure, usable_memory
from bigpipe.options import Options
from bigpipe.plurals import plural
from bigpipe.records import MemoryUse, Sample
from bigpipe.scheduling.admission import Admission, Need, small
from bigpipe.scheduling.events import Measured
from bigpipe.scheduling.projection import GUESS_PER_COMPRESSED_BYTE
from bigpipe.tree_meter import TreeMeter

if TYPE_CHECKING:
    from bigpipe.journal_store.rows import FileRow

__all__ = ["MemoryWatch", "need_of"]

MAX_TO_CHOOSE_FROM = 1000  # pending inputs of a list, of which some may fit; arbitrary
MIN_SAMPLE_S = 0.1  # seconds between measurements while memory may run short; arbitrary
MAX_SAMPLE_S = 0.5  # seconds between them otherwise: finds hooks' child processes; arbitrary
N_TRIED = 64  # names whose sizes are looked up before deciding whether to look up all
MAX_LOOKUP_S = 100e-6  # seconds for one: a local disk takes a few us, a slow server ms
NOISE = 32 << 20  # bytes that libraries and the allocator keep, not counted; arbitrary
MARGIN = 1.05  # recommended size / measured size
KEPT_SHARE = 16  # budget / freed memory that all workers together may keep; arbitrary
MAX_KEPT = 512 << 20  # bytes that one worker may keep; arbitrary: large arrays take less
MIN_KEPT = 64 << 20  # bytes that the allocator keeps by itself
HIGH_PRESSURE = 20.0  # percent of the time in which some process waited for memory; arbitrary


class MemoryWatch:
    """What a run knows about memory.

    Parameters
    ----------
    options : Options
        Options of the run.
    n_workers : int
        Workers that may be busy at once.
    project : callable or None
        Returns the bytes that a worker needs for an input, or ``None``, if the caller or the
        class provides such a function.
    executor : Executor
        Where files are processed. If its workers have several files at once, figures for one
        file are those for all files of a worker.

    Attributes
    ----------
    budget : int
        Bytes that all workers together may use.
    admission : Admission or None
        The account of bytes, for the scheduler, after `open_account`. ``None`` if memory cannot
        be a limit, because nothing is known of the files in advance and the workers cannot be
        measured.
    reserved : int
        Bytes of the largest idle worker; set by the run.
    of_worker : dict of int to int
        Bytes of each worker at the last measurement.
    too_large : set of int
        Files that do not fit beside others in one worker.
    """

    def __init__(
        self,
        options: Options,
        n_workers: int,
        project: Callable[[Any], Any] | None,
        executor: Executor,
    ) -> None:
        self._n_begun = executor.n_begun
        self.too_large: set[int] = set()
        self._is_given = options.mem_available is not None
        self.budget = usable_memory(options)[0]
        self._n_workers = max(1, n_workers)
        self._equal_share = self.budget // self._n_workers
        self.admission: Admission | None = None
        self._executor = executor
        self._project = project
        self._order = options.order
        self._constant = None if callable(options.process_size) else options.process_size
        self._sizes: Sequence[int] = ()
        self._meter = TreeMeter()
        self._next_at = 0.0 if executor.can_pause else math.inf
        self._used = self._peak = self._recent = 0
        self.of_worker: dict[int, int] = {}
        self._highest: dict[int, int] = {}  # highest bytes measured of a worker with its file
        self._n_exceeded = 0
        self._largest: tuple[int, Any] = (0, None)
        self.reserved = 0

    def order(self, in_names: Iterable[Any], *, as_given: bool) -> Sequence[int] | None:
        """Return the order in which to process inputs; ``None`` means as they come.

        Parameters
        ----------
        in_names : iterable
            The inputs.
        as_given : bool
            Process inputs as they come unless the caller asked for an order.

        Raises
        ------
        OptionError
            If the caller asked for an order of inputs that come from an iterator, or gave a
            function that raises or returns values that cannot be compared.
        """
        order, sizes = self._order, None
        if isinstance(in_names, Sequence):
            sizes = _sizes(in_names, math.inf if order == "size" else MAX_LOOKUP_S)
        elif order is not None and order != "given":
            raise OptionError(f"order={order!r} needs all inputs at once: give a list of names")
        self._sizes = () if sizes is None else sizes
        if callable(order) and isinstance(in_names, Sequence):
            return _by_key(order, in_names)
        is_given = order == "given" or (order is None and as_given)
        if is_given or sizes is None or min(sizes, default=0) == max(sizes, default=0):
            return None
        return sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)

    def open_account(self, need_of: Callable[[int], Need], *, is_list: bool) -> None:
        """Begin an account of what the workers may use, after `order`.

        Parameters
        ----------
        need_of : callable
            Returns what is known of the input with an index.
        is_list : bool
            Whether all inputs are available, so that one that fits can be chosen.
        """
        if not self._executor.can_pause and self._project is None:
            return
        most = GUESS_PER_COMPRESSED_BYTE * max(self._sizes, default=self.budget) * self._n_begun
        is_light = self._project is None and most <= small(self.budget, self._n_workers)
        self.admission = Admission(
            self.budget,
            is_given=self._is_given,
            n_workers=self._n_workers,
            can_pause=self._executor.can_pause,
            need_of=need_of if is_light else None,
        )
        self.admission.n_to_choose_from = MAX_TO_CHOOSE_FROM if is_list else 0
        self._executor.let_keep(self._keepable(self.admission))
        if self._executor.wants_all_tasks:  # it decides by itself which of them run at once
            self.admission.charges.limit = sys.maxsize

    def _keepable(self, admission: Admission) -> int:
        """Return how much freed memory a worker may currently keep."""
        most = min(MAX_KEPT, self.budget // (KEPT_SHARE * self._n_workers))
        return most if most > MIN_KEPT and admission.has_much_room else 0

    def remember(self, rows: Iterable[FileRow]) -> None:
        """Learn from the memory that files of earlier runs took, after `open_account`."""
        if self.admission is None or self._project is not None:
            return
        rows = list(rows)
        if self.admission.is_light:
            if max((row.growth or 0 for row in rows), default=0) <= self.admission.small:
                return
            self.admission.keep_account({})
        for row in rows:
            self.admission.learn(need_of(row, self._n_begun), row.growth or 0)

    def need(self, index: int, in_name: Any) -> Need:
        """Return what is known of an input before it is read.

        Raises
        ------
        OptionError
            If the caller's function did not return a size. What it raises itself is passed on.
        """
        if self._project is not None:
            given = self._project(in_name)
            if given is not None:
                return Need(given=self._together(index, parse_bytes(given)))
        size = self._sizes[index] if self._sizes else file_size(in_name)
        size = None if size is None or size < 0 else size * self._n_begun
        return Need(size=size, is_compressed=is_compressed(in_name))

    def _together(self, index: int, given: int) -> int:
        """Return the bytes of all files that a worker has at once, if they fit."""
        if given <= self.budget < given * self._n_begun:
            self.too_large.add(index)
            return self.budget
        return given * self._n_begun

    def shares(self, indices: Sequence[int]) -> list[int | None]:
        """Return, for each file, the bytes that a pipeline run inside a hook may use.

        That is the size that the caller gave for the file, or else an equal part of the budget:
        what was learned from files without such a pipeline says nothing about it.
        """
        admission, equal = self.admission, self._equal_share
        if admission is None:
            return [None if self._n_workers == 1 else equal] * len(indices)
        if self._project is None:
            return [equal] * len(indices)
        return [admission.projection(i) if admission.is_told(i) else equal for i in indices]

    def look(self, now: float) -> Measured | None:
        """Measure all workers, if it is time to do so again."""
        if now < self._next_at:
            return None
        # Before any worker has had a file, only the system's available memory matters.
        pids = self._executor.pids() if self._next_at else {}
        trees = self._meter.sample(pids.values())
        used = {worker: trees[pid] for worker, pid in pids.items() if pid in trees}
        for worker, n_bytes in used.items():
            self._highest[worker] = max(n_bytes, self._highest.get(worker, 0))
        if self.admission is not None:
            self._executor.let_keep(self._keepable(self.admission))
        self.of_worker = used
        self._used = sum(used.values())
        self._peak = max(self._peak, self._used)
        self._recent = max(self._recent, self._used)
        is_tight = (memory_pressure() or 0.0) > HIGH_PRESSURE
        available = mem_available_bytes()
        room = 0 if is_tight else min(self.budget - self._used, available)
        soon = seconds_to_fill(room, os.cpu_count() or 1) / 2
        self._next_at = now + min(MAX_SAMPLE_S, max(MIN_SAMPLE_S, soon))
        return Measured(used, available, is_tight)

    def until_look(self, now: float) -> float:
        """Return the seconds until it is time to measure again."""
        return max(0.0, self._next_at - now)

    @property
    def state(self) -> tuple[int, int] | None:
        """Bytes that all workers use now and may use; ``None`` if that is not measured."""
        return None if math.isinf(self._next_at) else (self._used, self.budget)

    def recent(self) -> int | None:
        """Return the most that all workers have used since the last call."""
        if math.isinf(self._next_at):
            return None
        most, self._recent = self._recent, self._used
        return most

    def died(self, worker: int) -> int | None:
        """Return the highest memory measured of a dead worker with its last file."""
        return self._highest.pop(worker, None)

    def note(self, worker: int, in_names: Sequence[Any], growths: Sequence[int | None]) -> None:
        """Record by how much ended files made a worker grow."""
        self._highest.pop(worker, None)
        known = [growth for growth in growths if growth is not None]
        if not known:
            return
        most = max(known)
        if self.reserved + most > self._peak and self.state is not None:
            self._peak = self.reserved + most  # the file may have ended before a measurement
        if self._constant is None or most <= self._n_begun * self._constant + NOISE:
            return
        for in_name, growth in zip(in_names, growths, strict=True):
            if growth is not None and growth > self._n_begun * self._constant + NOISE:
                self._n_exceeded += 1
                self._largest = max(self._largest, (growth, in_name), key=itemgetter(0))

    def warn_of_excess(self) -> None:
        """Warn if files needed more than the given ``process_size``."""
        n, (most, in_name) = self._n_exceeded, self._largest
        if not n:
            return
        warn(
            f"{n} {plural(n, 'file')} needed more than process_size="
            f"{self._constant} bytes ({format_bytes(self._constant or 0)}). {shown(in_name)} "
            f"needed most: {format_bytes(most)} beyond the idle worker. Give process_size="
            f"'{format_bytes(MARGIN * most + self.reserved)}', or leave it out."
        )

    def use(self, waited_s: dict[str, float], samples: Iterable[Sample] = ()) -> MemoryUse:
        """Return the memory that the run used."""
        return MemoryUse(self.budget, self._peak, waited_s, tuple(samples))


def need_of(row: FileRow, n_at_once: int = 1) -> Need:
    """Return what was known of a file of an earlier run, or of `n_at_once` like it, beforehand."""
    size = (row.n_bytes or 0) * n_at_once if all(row.states) else None
    return Need(size=size, is_compressed=is_compressed(names_of(row.key)))


def _by_key(function: Callable[[Any], Any], in_names: Sequence[Any]) -> list[int]:
    """Return the positions of inputs, ordered by the values of the caller's function."""
    keys: list[Any] = []
    name = name_of(function)
    for in_name in in_names:
        try:
            keys.append(function(in_name))
        except Exception as error:  # the caller's own function may raise anything
            raise OptionError(
                f"order={name} raised {type(error).__name__}: {error} for {shown(in_name)}. Give a "
                "function that returns a number for each input, or order='size'."
            ) from error
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except Exception as error:  # comparing its values may raise anything, too
        raise OptionError(
            f"order={name} returned values that cannot be compared"
            f"{_first_that_differs(keys, in_names)} ({type(error).__name__}: {error}). Let it "
            "return a number for each input."
        ) from error


def _first_that_differs(keys: Sequence[Any], in_names: Sequence[Any]) -> str:
    """Return as text which input has a key that cannot be compared with that of the first."""
    for key, in_name in zip(keys, in_names, strict=True):
        try:
            bool(key < keys[0])
        except Exception:  # this is the key to report
            what = f": {type(key).__name__} for {shown(in_name)}"
            if key is keys[0]:
                return what
            return f"{what}, {type(keys[0]).__name__} for {shown(in_names[0])}"
    return ""


def _sizes(in_names: Sequence[Any], max_lookup_s: float) -> Sequence[int] | None:
    """Return the size of each input, -1 if it is not a file; ``None`` if that takes too long."""
    sizes = array("q")
    began_at = time.perf_counter()
    for i, in_name in enumerate(in_names):
        size = file_size(in_name)
        sizes.append(-1 if size is None else size)
        if i == N_TRIED and time.perf_counter() - began_at > N_TRIED * max_lookup_s:
            return None
    return sizes
