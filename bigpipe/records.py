"""Plain records of a run: what became of each file, and the events that listeners are given.

Owns their fields. Who makes them is `bigpipe.run`; who shows them, `bigpipe.progress`.
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
    """The one thing that became of an input."""

    WRITTEN = "written"
    """An output name was returned."""
    METADATA_ONLY = "metadata only"
    """No output, but metadata."""
    REJECTED = "rejected"
    """No output and no metadata: a hook or function returned ``None``."""
    FAILED = "failed"
    """A hook raised, or its result could not be used."""
    KILLED = "killed"
    """Its worker died, as often as it was tried."""
    TIMED_OUT = "timed out"
    """It took longer than ``file_timeout``."""


@dataclass(slots=True)
class FileResult:
    """What became of one input."""

    index: int
    """Place of the input in ``in_names``, from 0."""
    in_name: Any
    """The input as it was given: a name, or a (nested) list of names."""
    outname: str | None
    """Name of the output, or ``None`` if there is none."""
    meta: dict[str, Any]
    """Metadata of the file; ``{'bmp_error': error}`` if it failed."""
    outcome: Outcome
    """What became of it, in a word."""
    rejected_by: str | None = None
    """Hook, or hook and function, that returned ``None``."""
    error: FileError | None = None
    """Why it failed, was killed or timed out."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds spent in each hook that ran, in the worker, last attempt only."""
    peak_rss: int | None = None
    """Bytes: highest resident memory of the worker while it had this file. Includes what the
    worker held before. On systems that cannot reset it, the worker's highest so far; in
    threads, that of the whole process. Of a file whose worker has died or was ended: the most
    that the worker and what it had started held at a look, two to ten times a second, at the
    last attempt; the peak may have been higher."""
    attempts: int = 1
    """How often the file was begun."""
    worker: int | None = None
    """Process id of the worker; the caller's own for ``executor='serial'``; in threads, the
    native id of the thread."""
    projected: int | None = None
    """Bytes that the file was expected to need at most when it was begun, beyond what a worker
    holds without one; ``None`` if memory did not limit."""
    from_journal: bool = False
    """The file was not run: an earlier run with the same journal had done so. All fields but
    ``index`` and ``in_name`` are of that time."""
    began_at: float | None = None
    """Seconds since 1970 when it was begun, the last time; ``None`` if it was not."""
    growth: int | None = None
    """Bytes by which the worker was larger, at its peak, than before its first file: what
    ``projected`` is to be compared with. ``None`` where several files share a process."""

    @property
    def entry(self) -> tuple[str | None, dict[str, Any]]:
        """The ``(outname, meta)`` tuple that `BigMultiPipe.pipeline` returns for this file."""
        return (self.outname, self.meta)


class Sample(NamedTuple):
    """What a run was doing at a moment."""

    at: float
    """Seconds since 1970."""
    used: int | None
    """Bytes: most that all workers and what they started were seen to use since the sample
    before; ``None`` where the workers are no processes of bigpipe's own."""
    budget: int
    """Bytes that they may use."""
    n_workers: int | None
    """Workers that there may be; ``None`` in a pool of another kind, which does not tell."""
    n_in_flight: int | None
    """Those of them that have a file."""
    n_finished: int
    """Inputs that came to an end so far, failed ones included."""
    n_failed: int
    """Those of them that failed."""
    waited_for_memory: float
    """Seconds that workers have waited so far for want of memory, all together."""
    waited_paused: float
    """The same, in which they were made to stand still in the middle of a file."""
    waited_for_inputs: float
    """The same, for want of inputs."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a run has used of its memory."""

    budget: int
    """Bytes that all workers together were to use at most."""
    peak: int
    """Bytes: most that all workers and what they started used together, as far as was seen."""
    waited_s: dict[str, float] = field(default_factory=dict)
    """Seconds of workers in which they did nothing: for want of ``'memory'``, ``'paused'``, for
    want of ``'inputs'``."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    """What the run was doing, from its first moment to its last: about once a second, and less
    often in a long run."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run is about to start its first file."""

    n_files: int | None
    """Number of inputs, ``None`` if it is not known beforehand."""
    n_workers: int
    """Number of files that may be processed at once."""


@dataclass(frozen=True, slots=True)
class FileFinished:
    """One input has come to its end."""

    result: FileResult
    """What became of it."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over."""

    n_finished: int
    """Inputs that came to an end, failed ones included."""
    n_failed: int
    """Inputs that failed, were killed or timed out."""
    elapsed_s: float
    """Seconds from the start of the run."""
    interrupted: bool
    """The run was stopped before its last input: Ctrl-C, an error, or a loop that was left."""
