"""What a run is doing, noted about once a second: for its report, and for those who look on.

Owns when a sample is taken and what is in it. What the workers use is measured by
`bigpipe.running.memory_watch`; where samples are kept on disk is `bigpipe.journal_store.file`.
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

SAMPLE_S = 1.0  # seconds between samples at least: what an eye can follow in a terminal
MAX_PER_RUN = 5000  # samples that would be taken of a run at its present interval; arbitrary


class Sampler:
    """Takes the samples of one run.

    Parameters
    ----------
    scheduler : callable
        Returns the scheduler.
    watch : MemoryWatch
        Knows what the workers use.
    executor : Executor
        Knows what hooks the workers are in.
    files : Ledger
        Knows the inputs, and how many have ended.

    Attributes
    ----------
    journal : Recorder
        Where samples are noted.
    kept : list of Sample
        Those of the whole run.
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
        """Take a sample if it is time for one.

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
        is_ours = not self._executor.wants_all_tasks  # else nobody here knows who has what
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
        """Return when a worker took up what it has in hand, in seconds since 1970."""
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
