"""What every executor does: takes tasks for numbered workers, and returns events.

Owns the interface between `bigpipe.run` and the places where files are processed, and the
plain records that cross it. `bigpipe.executors.worker` runs a task.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigpipe.errors import FileError
from bigpipe.journal_store.rows import FileTexts
from bigpipe.measure import n_cores
from bigpipe.options import Options
from bigpipe.prints import Place

__all__ = [
    "HOOKS",
    "Asked",
    "Died",
    "Executor",
    "ExecutorEvent",
    "InitFailed",
    "Ready",
    "Report",
    "Reported",
    "Setup",
    "Task",
    "Told",
]

MAX_SLACK = 0.02  # seconds to wait for more reports of tiny files, to read many at a time
HURRY = 0.1  # seconds after a question during which reports are read at once; arbitrary
HOOKS = (
    *("file_read", "pre_process", "data_process_meta_create", "data_process", "post_process"),
    *("outname_create", "file_write"),
)
"""The hooks that most files pass through, in this order."""


@dataclass(slots=True)
class Task:
    """One input to be processed."""

    index: int
    """Position of the input in ``in_names``."""
    in_name: Any
    """The input."""
    granted: str | None = None
    """The output name that the task may write without asking."""
    memory: int | None = None
    """Bytes that a pipeline started by one of its hooks may use."""
    is_recorded: bool = False
    """Whether the report must contain the texts for the journal."""
    checksums: tuple[str | None, ...] | None = None
    """Checksums to compare the input's content with: if they match, nothing runs. ``None``: the
    content is not compared."""
    is_alone: bool = False
    """Whether its worker must begin no other file beside it, because a worker with several files
    died on it."""

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order, which pickles fastest."""
        if not (self.is_recorded or self.is_alone):
            return (self.index, self.in_name, self.granted, self.memory)
        rest = (self.is_recorded, self.checksums, self.is_alone)
        return (self.index, self.in_name, self.granted, self.memory, *rest)


@dataclass(slots=True)
class Report:
    """What a worker reports of a task that has ended."""

    index: int
    """The task."""
    outname: Any = None
    """The output name that ``file_process`` returned."""
    meta: Any = field(default_factory=dict)
    """The metadata that ``file_process`` returned."""
    rejected_by: str | None = None
    """Hook or function that returned ``None``."""
    seconds: dict[str, float] | tuple[float, ...] = field(default_factory=dict)
    """Seconds in each hook; sent without names, as a tuple, for the first of ``HOOKS``."""
    peak_rss: int | None = None
    """Bytes: highest resident memory while the worker had this file."""
    error: FileError | None = None
    """What a hook raised."""
    worker: int | None = None
    """Process id of the worker; in threads, the native id of the thread."""
    has_written: bool = False
    """Whether a file is in place under the final name, even if no name was returned."""
    unnamed: str | None = None
    """Name of a new file in place, if no name or a different one was returned."""
    growth: int | None = None
    """Bytes by which the worker's peak exceeds its size before its first file."""
    texts: FileTexts | None = None
    """Texts for the journal, if the task asked for them."""
    is_unchanged: bool = False
    """Whether nothing ran because the content is unchanged."""
    began_at: float | None = None
    """Seconds since 1970 when the worker began the task."""
    side_files: dict[str, bool] | None = None
    """Side files in place, if any; the values say whether there was something before."""

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order, which pickles fastest."""
        seconds, names = self.seconds, tuple(self.seconds)
        if type(seconds) is dict and names == HOOKS[: len(names)]:
            seconds = tuple(seconds.values())
        return (
            self.index,
            self.outname,
            self.meta,
            self.rejected_by,
            seconds,
            self.peak_rss,
            self.error,
            self.worker,
            self.has_written,
            self.unnamed,
            self.growth,
            self.texts,
            self.is_unchanged,
            self.began_at,
            self.side_files,
        )


@dataclass(slots=True)
class Setup:
    """What an executor needs to start workers for one run."""

    pipe: Any
    """The pipeline object."""
    control: dict[str, Any]
    """Keywords of the hooks, the same for all files."""
    n_workers: int
    """Most workers at once."""
    threads_per_worker: int | None
    """Threads of numerical libraries in each worker; ``None``: unchanged."""
    file_timeout: float | None
    """Seconds that one file may take."""
    start_method: str | None
    """How worker processes begin; ``None``: the fastest way that is safe here."""
    claim: Callable[[int, Any, str, bool], str]
    """Decides at once on a name, for executors with one task at a time in this process."""
    cores_per_worker: float | None = None
    """Cores that a pipeline started by a worker's hook may use; ``None``: all."""
    taken: Callable[[], tuple[list[str], list[tuple[str, str]]]] = lambda: ([], [])
    """Returns all inputs, and the outputs with the inputs they belong to, for executors whose
    workers cannot ask."""
    place: Place = field(default_factory=Place.without_bar)
    """Where workers print."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Open files that the pipeline needs in worker processes too."""
        return getattr(self.pipe, "_bmp_descriptors", ())

    @classmethod
    def of(
        cls,
        pipe: Any,
        control: dict[str, Any],
        options: Options,
        n_workers: int,
        claim: Callable[[int, Any, str, bool], str],
        taken: Callable[[], tuple[list[str], list[tuple[str, str]]]],
    ) -> Setup:
        """Return the setup that the options ask for with this number of workers."""
        cores = n_cores() / n_workers if n_workers > 1 else None
        threads = options.threads_per_worker
        if threads is None and cores is not None:
            threads = max(1, int(cores))
        timeout, method = options.file_timeout, options.start_method
        return cls(pipe, control, n_workers, threads, timeout, method, claim, cores, taken)


@dataclass(slots=True)
class Ready:
    """A worker has run ``worker_init``."""

    worker: int
    reserved: int | None = None
    """Bytes of private memory that the worker holds without a file."""


@dataclass(slots=True)
class Reported:
    """A worker has finished tasks."""

    worker: int
    reports: list[Report]
    """One or more, in the order in which the tasks ended."""


@dataclass(slots=True)
class Died:
    """A worker has ended without being asked to."""

    worker: int
    pid: int
    """Its process id."""
    exitcode: int
    """Exit code, or minus the number of the signal."""
    hook: str | None
    """The hook that it was last in."""
    unbegun: tuple[int, ...] = ()
    """Tasks sent ahead to it that it had not begun."""
    peak_rss: int | None = None
    """Bytes: the most that it and the processes it started were measured to use while it had its
    task; ``None`` if not measured. Filled in by the run."""
    began_at: float | None = None
    """Seconds since 1970 when it began its task. Filled in by the run."""
    was_stopped: bool = False
    """Whether the run ended it because memory was short. Filled in by the run."""


@dataclass(slots=True)
class InitFailed:
    """A worker could not be prepared: its setup failed, or ``worker_init`` raised."""

    worker: int
    error: FileError


@dataclass(slots=True)
class Asked:
    """A worker wants to write a name, and waits for `Executor.answer`."""

    worker: int
    index: int
    outname: str
    exists: bool


@dataclass(slots=True)
class Told:
    """A worker has sent a log record or a warning."""

    pid: int
    """Process id of the worker."""
    index: int | None
    """The task that it had; ``None`` if it had none."""
    payload: Any
    """For `bigpipe.log.LogReceiver.dispatch`."""


ExecutorEvent = Ready | Reported | Died | InitFailed | Asked | Told


class Executor(ABC):
    """Processes tasks in workers, for one run.

    The run calls `start` once, then the other methods from the same thread, and always `close`
    at the end.
    """

    max_workers: int | None = None
    """Most workers it can have; ``None``: no limit."""
    can_stop = True
    """Whether it can stop a worker's task, by `kill` or by itself, after `Setup.file_timeout`."""
    max_ahead = 0
    """Most tasks that a busy worker may be sent ahead; `recall` can take these back."""
    can_pause = False
    """Whether it can `pause` a worker. The memory of such workers is measured, by `pids`."""
    works_in_turn = False
    """Whether it works only while `wait` is called."""
    wants_all_tasks = False
    """Whether it begins only when it has every task."""

    has_strategies = False
    """Whether its workers can take files as `strategy` says."""
    strategy: Any = None
    """Set for each run: the `bigpipe.executors.strategies.Strategy` of its workers; ``None``: one
    file after another."""

    slack_s = 0.0
    """Set by the run: seconds for which `wait` may delay, to read many reports at once."""
    asked_at = -math.inf
    """When a worker last asked for a name, by `time.monotonic`."""

    @property
    def n_begun(self) -> int:
        """Most tasks that a worker has begun at once."""
        return 1 if self.strategy is None else int(self.strategy.n_begun)

    @property
    def n_ahead(self) -> int:
        """Tasks that a worker should have beyond those, if they can be taken back."""
        return int(self.strategy.n_ahead) if self.strategy is not None and self.max_ahead else 0

    def let_pile_up(self) -> None:
        """Sleep while workers have tasks ahead and no worker waits for an answer.

        Waking up for each report would take the cores from the workers.
        """
        if self.slack_s and time.monotonic() - self.asked_at > HURRY:
            time.sleep(min(self.slack_s, MAX_SLACK))

    @abstractmethod
    def start(self, setup: Setup) -> None:
        """Prepare for a run, without starting workers."""

    @abstractmethod
    def add_worker(self, worker: int) -> None:
        """Start a worker; `Ready`, `InitFailed` or `Died` follows."""

    @abstractmethod
    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Send tasks to a worker, which begins them in this order; `Reported` or `Died` follows.

        A worker gets one task at a time, unless `max_ahead` allows several.
        """

    @abstractmethod
    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Wait until something happens, or for this many seconds; return the events."""

    @abstractmethod
    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """End all workers; return their last events.

        Parameters
        ----------
        graceful : bool
            All tasks have ended, so ``worker_exit`` may take its time. Otherwise running tasks
            are stopped within a second.
        """

    def recall(self, worker: int) -> tuple[int, ...]:
        """Take back the tasks that a worker has not begun."""
        return ()

    def answer(self, worker: int, index: int, refusal: str) -> None:
        """Answer `Asked`: why the task may not write the name, or ``''`` if it may."""
        raise NotImplementedError

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """Stop a worker's task; call `recall` first. `Died` or `Reported` follows.

        Parameters
        ----------
        worker : int
            The worker.
        at_once : bool, optional
            Give it no time to clean up, because its memory is needed.
        """
        raise NotImplementedError

    def let_keep(self, n_bytes: int) -> None:  # noqa: B027 - a permission, which need not be used
        """Allow each worker to keep this much freed memory for its next task."""

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker that is a process of its own."""
        return {}

    def stages(self) -> dict[int, str | None]:
        """Return the hook that each worker is in, or was last in, if that is known."""
        return {}

    def pause(self, worker: int) -> None:
        """Pause a worker and all processes that its hooks have started."""
        raise NotImplementedError

    def resume(self, worker: int) -> None:
        """Let a paused worker continue."""
        raise NotImplementedError
