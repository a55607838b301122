"""Samples of what a run is doing, about one per second, for ``bigpipe report`` and ``watch``.

Owns when a sample is taken and what is in it. `bigpipe.running.memory_watch` measures what the
workers use, and `bigpipe.journal_store.file` keeps samples on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bigpipe.executors.base import Executor
from bigpipe.journal_store.rows import LiveRow, encoded_name
from bigpipe.records import Sample
from bigpipe.running.ledger import Ledger
from bigpipe.running.memory_watch import MemoryWatch
from bigpipe.running.recorder import Recorder
from bigpipe.scheduler import Scheduler

__all__ = ["Sampler"]

SAMPLE_S = 1.0  # least seconds between samples: what an eye can follow in a terminal
MAX_PER_RUN = 5000  # samples that a run may have if all were as far apart as now; arbitrary


class Sampler:
    """Takes the samples of one run.

    Parameters
    ----------
    scheduler : callable
        Returns the scheduler.
    watch : MemoryWatch
        Provides the memory that the workers use.
    executor : Executor
        Provides the hooks that the workers are in.
    files : Ledger
        Provides the inputs, and the number that have ended.

    Attributes
    ----------
    journal : Recorder
        Records the samples.
    kept : list of Sample
        All samples of the run.
    """

    def __init__(
        self,
        scheduler: Callable[[], Scheduler],
        watch: MemoryWatch,
        executor: Executor,
        files: Ledger,
    ) -> None:
        self.journal = Recorder()
        self.kept: list[Sample] = []
        self._scheduler = scheduler
        self._watch = watch
        self._executor = executor
        self._files = files
        self._began_at: float | None = None
        self._next_at = 0.0

    def look(self, now: float) -> None:
        """Take a sample if one is due.

        Parameters
        ----------
        now : float
            The time of the run, in seconds.
        """
        if now < self._next_at:
            return
        if self._began_at is None:
            self._began_at = now
        self._next_at = now + max(SAMPLE_S, (now - self._began_at) / MAX_PER_RUN)
        self.take(now)

    def take(self, now: float) -> None:
        """Take a sample."""
        scheduler, files = self._scheduler(), self._files
        is_ours = not self._executor.wants_all_tasks  # otherwise the workers' files are unknown
        sample = Sample(
            time.time(),
            self._watch.recent(),
            self._watch.budget,
            scheduler.n_workers if is_ours else None,
            len(scheduler.in_flight) if is_ours else None,
            files.n_finished,
            files.n_failed,
            *(scheduler.waited_s[what] for what in ("memory", "paused", "inputs")),
        )
        self.kept.append(sample)
        if self.journal.wants_samples:
            live = self._live(scheduler, sample.at - now) if is_ours else []
            self.journal.sample(sample, live)

    def began_at(self, worker: int, now: float) -> float | None:
        """Return when a worker began its current file, in seconds since 1970."""
        for at in self._scheduler().in_flight:
            if at.worker == worker:
                return time.time() - (now - at.began_at)
        return None

    def _live(self, scheduler: Scheduler, from_run_to_wall: float) -> list[LiveRow]:
        pids, stages = self._executor.pids(), self._executor.stages()
        return [
            LiveRow(
                at.worker,
                pids.get(at.worker),
                at.task,
                encoded_name(self._files.in_name(at.task)),
                stages.get(at.worker),
                at.began_at + from_run_to_wall,
                self._watch.of_worker.get(at.worker),
                int(at.is_paused),
            )
            for at in scheduler.in_flight
        ]
