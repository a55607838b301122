"""Plain records of a run: the result of each file, and the events that listeners receive.

Owns their fields. `bigpipe.run` makes them, `bigpipe.progress` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from bigpipe.errors import FileError

__all__ = [
    "FileFinished",
    "FileResult",
    "MemoryUse",
    "Outcome",
    "RunFinished",
    "RunStarted",
    "Sample",
]


class Outcome(StrEnum):
    """How an input ended."""

    WRITTEN = "written"
    """The file has an output: a name was returned for it."""
    METADATA_ONLY = "metadata only"
    """The file has metadata but no output."""
    REJECTED = "rejected"
    """The file has neither output nor metadata: a hook or function returned ``None``."""
    FAILED = "failed"
    """A hook raised, or its result could not be used."""
    KILLED = "killed"
    """The worker died, at each attempt."""
    TIMED_OUT = "timed out"
    """The file took longer than ``file_timeout``."""


@dataclass(slots=True)
class FileResult:
    """The result of one input."""

    index: int
    """Position of the input in ``in_names``, from 0."""
    in_name: Any
    """The input as it was given: a name, or a (nested) list of names."""
    outname: str | None
    """Name of the output, or ``None`` if there is none."""
    meta: dict[str, Any]
    """Metadata of the file; ``{'bmp_error': error}`` if it failed."""
    outcome: Outcome
    """How the file ended."""
    rejected_by: str | None = None
    """Hook, or hook and function, that returned ``None``."""
    error: FileError | None = None
    """Why the file failed, was killed or timed out."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds spent in each hook in the worker, at the last attempt."""
    peak_rss: int | None = None
    """Peak RSS of the worker while it had this file, in bytes, including what the worker held
    before. On systems that cannot reset the peak it is the worker's highest so far; with
    threads it is that of the whole process. If the worker died or was ended, it is the most
    that the worker and its children held when bigpipe measured them (two to ten times a second)
    during the last attempt; the real peak may have been higher."""
    attempts: int = 1
    """Number of times the file was begun."""
    worker: int | None = None
    """Process id of the worker: the caller's own with ``executor='serial'``, the thread's native
    id with threads."""
    projected: int | None = None
    """Projected upper bound of the file's memory when it was begun, in bytes, beyond what an idle
    worker holds; ``None`` if memory was not a limit."""
    from_journal: bool = False
    """Whether the file was skipped because an earlier run with the same journal finished it. All
    fields but ``index`` and ``in_name`` then come from that run."""
    began_at: float | None = None
    """Start of the last attempt, in seconds since 1970; ``None`` if the file was not begun."""
    growth: int | None = None
    """Bytes by which the worker's peak exceeded its memory before its first file; compare it
    with ``projected``. ``None`` if several files share a process."""

    @property
    def entry(self) -> tuple[str | None, dict[str, Any]]:
        """The ``(outname, meta)`` tuple that `BigMultiPipe.pipeline` returns for this file."""
        return (self.outname, self.meta)


class Sample(NamedTuple):
    """The state of a run at one moment."""

    at: float
    """Time of the sample, in seconds since 1970."""
    used: int | None
    """Highest memory measured since the previous sample, in bytes: all workers and their
    children together. ``None`` if the workers are not bigpipe's own processes."""
    budget: int
    """Bytes that the workers may use."""
    n_workers: int | None
    """Maximum number of workers; ``None`` if another kind of pool does not report it."""
    n_in_flight: int | None
    """Number of workers that have a file."""
    n_finished: int
    """Number of inputs that have ended so far, including failed ones."""
    n_failed: int
    """Number of inputs that have failed so far."""
    waited_for_memory: float
    """Seconds that workers have waited for memory so far, summed over workers."""
    waited_paused: float
    """Seconds that workers have been paused in the middle of a file, summed likewise."""
    waited_for_inputs: float
    """Seconds that workers have waited for inputs, summed likewise."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """How much of its memory budget a run used."""

    budget: int
    """Bytes that all workers together were allowed to use."""
    peak: int
    """Highest memory measured, in bytes: all workers and their children together."""
    waited_s: dict[str, float] = field(default_factory=dict)
    """Seconds in which workers were idle, summed over workers, by reason: waiting for
    ``'memory'``, ``'paused'``, or waiting for ``'inputs'``."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    """The state of the run from start to end, about once a second, less often in a long run."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to start its first file."""

    n_files: int | None
    """Number of inputs; ``None`` if it is not known in advance."""
    n_workers: int
    """Number of files that may be processed at once."""


@dataclass(frozen=True, slots=True)
class FileFinished:
    """One input has ended."""

    result: FileResult
    """Its result."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    n_finished: int
    """Number of inputs that have ended, including failed ones."""
    n_failed: int
    """Number of inputs that failed, were killed or timed out."""
    elapsed_s: float
    """Seconds since the start of the run."""
    interrupted: bool
    """Whether the run stopped before its last input: Ctrl-C, an error, or leaving the loop."""
