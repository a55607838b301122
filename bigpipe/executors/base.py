"""What every executor does: takes tasks for numbered workers, tells what has happened.

Owns the interface between `bigpipe.run` and the places where files are processed, and the
plain records that cross it. How a task is run is `bigpipe.executors.worker`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigpipe.errors import FileError
from bigpipe.journal_rows import FileTexts
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

MAX_SLACK = 0.02  # seconds: reports of tiny files are read many at a time, not one by one
HURRY = 0.1  # seconds after a question in which reports do not pile up; arbitrary
HOOKS = (
    *("file_read", "pre_process", "data_process_meta_create", "data_process", "post_process"),
    *("outname_create", "file_write"),
)
"""Those that most files pass, in this order."""


@dataclass(slots=True)
class Task:
    """One input to be processed."""

    index: int
    """Place of the input in ``in_names``."""
    in_name: Any
    """The input."""
    granted: str | None = None
    """The output name that it may write without asking."""
    memory: int | None = None
    """Bytes that a pipeline may use which its hooks run."""
    is_recorded: bool = False
    """The report is to tell what the journal will hold."""
    checksums: tuple[str | None, ...] | None = None
    """What the content of the input is to be compared with: if it is the same, nothing is run.
    ``None``: it is not looked at."""
    is_alone: bool = False
    """No other is to be at work beside it in its worker: one has died on it in company."""

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order: what pickles fastest."""
        if not (self.is_recorded or self.is_alone):
            return (self.index, self.in_name, self.granted, self.memory)
        rest = (self.is_recorded, self.checksums, self.is_alone)
        return (self.index, self.in_name, self.granted, self.memory, *rest)


@dataclass(slots=True)
class Report:
    """What a worker says of a task that has come to its end there."""

    index: int
    """The task."""
    outname: Any = None
    """What ``file_process`` returned, first part."""
    meta: Any = field(default_factory=dict)
    """What ``file_process`` returned, second part."""
    rejected_by: str | None = None
    """Hook or function that returned ``None``."""
    seconds: dict[str, float] | tuple[float, ...] = field(default_factory=dict)
    """Seconds in each hook; on the way, those of the first of ``HOOKS`` go without their names."""
    peak_rss: int | None = None
    """Bytes: highest resident memory while the worker had this file."""
    error: FileError | None = None
    """What a hook raised."""
    worker: int | None = None
    """Process id of the worker; in threads, the native id of the thread."""
    has_written: bool = False
    """Whether something is under the final name, even if no name was returned."""
    unnamed: str | None = None
    """That name, if something new is there and no name was returned."""
    growth: int | None = None
    """Bytes by which the worker was larger, at its peak, than before its first file."""
    texts: FileTexts | None = None
    """What the journal will hold, if that was asked."""
    is_unchanged: bool = False
    """Nothing was run, as the content is what it was."""
    began_at: float | None = None
    """Seconds since 1970 when the worker took it up."""

    def as_tuple(self) -> tuple[Any, ...]:
        """Return the fields in order: what pickles fastest."""
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
        )


@dataclass(slots=True)
class Setup:
    """What an executor needs to start workers for one run."""

    pipe: Any
    """The pipeline object."""
    control: dict[str, Any]
    """Keywords of the hooks, the same for all files."""
    n_workers: int
    """Workers that may be at work at once."""
    threads_per_worker: int | None
    """Threads of numerical libraries in each worker; ``None``: as they are."""
    file_timeout: float | None
    """Seconds that one file may take."""
    start_method: str | None
    """How worker processes begin; ``None``: as is safe and fast here."""
    claim: Callable[[int, Any, str, bool], str]
    """Decide at once on a name, for executors with one task at a time in this process."""
    cores_per_worker: float | None = None
    """Cores that a pipeline may use which a worker's hook runs; ``None``: as many as there are."""
    taken: Callable[[], tuple[list[str], list[tuple[str, str]]]] = lambda: ([], [])
    """Tell all inputs, and outputs with the inputs they belong to, for executors whose workers
    cannot ask."""
    place: Place = field(default_factory=Place.without_bar)
    """Where workers print."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Open files that the pipeline is to have in worker processes too."""
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
        """Return what the options mean for so many workers."""
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
    """Bytes of private memory that it holds without a file."""


@dataclass(slots=True)
class Reported:
    """A worker has ended tasks."""

    worker: int
    reports: list[Report]
    """One or more, in the order in which they ended."""


@dataclass(slots=True)
class Died:
    """A worker is gone without having been asked to go."""

    worker: int
    pid: int
    """Process id that it had."""
    exitcode: int
    """Exit code, or minus the number of the signal."""
    hook: str | None
    """The hook that it was last in."""
    unbegun: tuple[int, ...] = ()
    """Tasks sent ahead to it that it had not begun."""
    peak_rss: int | None = None
    """Bytes: most that it and what it has started were seen to use while it had its task, if
    anybody has looked; filled in by the run."""
    began_at: float | None = None
    """Seconds since 1970 when it had taken up its task; filled in by the run."""
    was_stopped: bool = False
    """The run has ended it, for want of memory; filled in by the run."""


@dataclass(slots=True)
class InitFailed:
    """A worker could not be prepared: its ``worker_init`` raised, or it could not be sent."""

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
    """The task that it had, if it had one."""
    payload: Any
    """For `bigpipe.log.LogReceiver.dispatch`."""


ExecutorEvent = Ready | Reported | Died | InitFailed | Asked | Told


class Executor(ABC):
    """Processes tasks in workers, for one run.

    The run calls `start` once, the other methods from the same thread, and `close` in the
    end, whatever happens.
    """

    max_workers: int | None = None
    """Workers that it can have at most; ``None``: as many as are wanted."""
    can_stop = True
    """Can stop what a worker does, by `kill` or by itself, when `Setup.file_timeout` is over."""
    max_ahead = 0
    """Tasks that may be sent to a worker which has one: those, `recall` can take back."""
    can_pause = False
    """Can stop what a worker does for a while, by `pause`; its memory is known, by `pids`."""
    works_in_turn = False
    """Works only while `wait` is called."""
    wants_all_tasks = False
    """Begins only when it has been given every task."""

    has_strategies = False
    """Lets workers take files as `strategy` says."""
    strategy: Any = None
    """Set for each run: the `bigpipe.executors.strategies.Strategy` of its workers; ``None``: one
    file after another."""

    slack_s = 0.0
    """Set by the run: seconds that `wait` may let reports pile up, so as to read many at once."""
    asked_at = -math.inf
    """When a worker last asked for a name, by `time.monotonic`."""

    @property
    def n_begun(self) -> int:
        """Tasks that a worker has begun at once, at most."""
        return 1 if self.strategy is None else int(self.strategy.n_begun)

    @property
    def n_ahead(self) -> int:
        """Tasks that it is to have beyond those, if they can be taken back."""
        return int(self.strategy.n_ahead) if self.strategy is not None and self.max_ahead else 0

    def let_pile_up(self) -> None:
        """Sleep while workers have tasks ahead and wait for no answer.

        Waking up for each report would only take the cores from them.
        """
        if self.slack_s and time.monotonic() - self.asked_at > HURRY:
            time.sleep(min(self.slack_s, MAX_SLACK))

    @abstractmethod
    def start(self, setup: Setup) -> None:
        """Prepare for a run; no worker is started yet."""

    @abstractmethod
    def add_worker(self, worker: int) -> None:
        """Start a worker; `Ready`, `InitFailed` or `Died` follows."""

    @abstractmethod
    def submit(self, worker: int, tasks: Sequence[Task]) -> None:
        """Send tasks to a worker, which begins them in this order; `Reported` or `Died` follows.

        One at a time, unless `max_ahead` lets a worker have several.
        """

    @abstractmethod
    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Wait until something has happened, at most so many seconds."""

    @abstractmethod
    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """End all workers; return what they still had to tell.

        Parameters
        ----------
        graceful : bool
            All tasks have ended, so that ``worker_exit`` may take its time. Otherwise
            what is at work is broken off, within a second.
        """

    def recall(self, worker: int) -> tuple[int, ...]:
        """Take back the tasks that a worker has not begun."""
        return ()

    def answer(self, worker: int, index: int, refusal: str) -> None:
        """Answer `Asked`: why the task may not write the name, or nothing."""
        raise NotImplementedError

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """Stop what a worker does. `Died` or `Reported` follows; `recall` went before.

        Parameters
        ----------
        worker : int
            The worker.
        at_once : bool, optional
            Give it no time to tidy up: its memory is needed.
        """
        raise NotImplementedError

    def let_keep(self, n_bytes: int) -> None:  # noqa: B027 - an allowance, not to be made use of
        """Let each worker keep so much freed memory for its next task."""

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker that is a process of its own."""
        return {}

    def stages(self) -> dict[int, str | None]:
        """Return the hook that each worker is in, or was in last, as far as that is known."""
        return {}

    def pause(self, worker: int) -> None:
        """Have a worker, and all that its hooks have started, stand still."""
        raise NotImplementedError

    def resume(self, worker: int) -> None:
        """Let a worker go on."""
        raise NotImplementedError
