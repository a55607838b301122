"""The words between a run and its scheduler: what has happened, and what is to be done.

Owns no decision; those are in `bigpipe.scheduler`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "Cause",
    "Dismiss",
    "Event",
    "GiveUp",
    "Instruction",
    "Kill",
    "Measured",
    "Pause",
    "Recall",
    "Resume",
    "Start",
    "StartFailed",
    "StartRefused",
    "Stop",
    "Submit",
    "TaskEnded",
    "TasksRecalled",
    "Tick",
    "WorkerDied",
    "WorkerReady",
]


class Cause(StrEnum):
    """Why a task is given up."""

    DIED = "died"
    """As many workers have died on it as may."""
    TIMED_OUT = "timed out"
    """It took too long."""
    TOO_LARGE = "too large"
    """Alone, it took more than a budget that was given."""
    REFUSED = "refused"
    """What was given as its size is over the budget; it was not begun."""


@dataclass(slots=True)
class WorkerReady:
    """A worker that was started has run its ``worker_init`` and waits for tasks."""

    worker: int
    reserved: int | None = None
    """Bytes that it holds now, before any data. ``None`` if that is not known."""


@dataclass(slots=True)
class TaskEnded:
    """A worker has reported on the task that it had begun."""

    worker: int
    task: int
    growth: int | None = None
    """Bytes above ``reserved`` at its peak. ``None`` if that was not measured."""


@dataclass(slots=True)
class WorkerDied:
    """A worker is gone."""

    worker: int
    unbegun: tuple[int, ...] = ()
    """Tasks sent ahead that it had not taken up."""
    out_of_memory: bool = False
    """The kernel has killed it, as far as can be told."""


@dataclass(slots=True)
class TasksRecalled:
    """Answer to `Recall`: the tasks that came back, perhaps none."""

    worker: int
    tasks: tuple[int, ...] = ()


@dataclass(slots=True)
class Tick:
    """Time has passed."""


@dataclass(slots=True)
class StartRefused:
    """A worker that was to be started cannot be, for want of something that all need."""

    worker: int


@dataclass(slots=True)
class Measured:
    """What is in use at this moment."""

    used: dict[int, int] = field(default_factory=dict)
    """Bytes of each worker and of all that was started from it."""
    available: int | None = None
    """Bytes that the system still has for this run. ``None`` if that is not known."""
    is_tight: bool = False
    """Things wait for memory in the system, however much it says it has."""


Event = WorkerReady | TaskEnded | WorkerDied | TasksRecalled | StartRefused | Tick | Measured


@dataclass(slots=True)
class Start:
    """Start a worker under this number."""

    worker: int


@dataclass(slots=True)
class Submit:
    """Send tasks to a worker; it may have others before them."""

    worker: int
    tasks: tuple[int, ...]
    """One or more, in the order in which it is to begin them."""


@dataclass(slots=True)
class Recall:
    """Take back what a worker has not begun, and answer with `TasksRecalled`."""

    worker: int


@dataclass(slots=True)
class Pause:
    """Let a worker, and all that was started from it, stand still."""

    worker: int


@dataclass(slots=True)
class Resume:
    """Let a paused worker continue."""

    worker: int


@dataclass(slots=True)
class Kill:
    """End a worker: its task took too long. `WorkerDied` is expected to follow."""

    worker: int
    task: int


@dataclass(slots=True)
class Stop:
    """End a worker at once to free its memory. `WorkerDied` is expected to follow.

    It may be paused. The task is run again later, or given up if there is no room for it at all.
    """

    worker: int
    task: int


@dataclass(slots=True)
class Dismiss:
    """End a worker that has no task, to free its memory. `WorkerDied` is expected to follow.

    It may not be ready yet.
    """

    worker: int


@dataclass(slots=True)
class GiveUp:
    """Record a task as ended without a report."""

    task: int
    attempts: int
    """How often it was begun."""
    cause: Cause
    n_bytes: int | None = None
    """Measured if it was too large, projected if it was refused."""


@dataclass(slots=True)
class StartFailed:
    """Workers die before they begin a task: stop the run."""

    worker: int
    was_ready: bool = False
    """Whether it had been ready."""


Instruction = (
    Start | Submit | Recall | Pause | Resume | Kill | Stop | Dismiss | GiveUp | StartFailed
)
