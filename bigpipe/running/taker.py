"""How far a run reads ahead of those who take its results, and what they hear before that.

Owns the interface; this implementation is for callers who take each result as soon as it is ready.
`bigpipe.epoch_run` implements it for a loop that takes its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bigpipe.executors.base import Executor
from bigpipe.running.ledger import Ended

__all__ = ["NOTHING", "Taker"]

NOTHING: Any = None
"""Yielded by a run instead of a result, if it may not wait for one."""


class Taker:
    """Takes results as fast as they come.

    Attributes
    ----------
    may_wait : bool
        Whether the run may wait for its workers. If not, it yields `NOTHING` when it has handled
        what has happened and yielded all results that there are.
    lets_raise : bool
        Whether the run ends with the first error, if ``on_error='raise'``.
    """

    may_wait = True
    lets_raise = True

    def set_up(self, executor: Executor, n_workers: int) -> int:
        """Return how many files to send to a worker beyond those that it has begun.

        Called once, before the run starts.
        """
        return executor.n_ahead if executor.n_begun > 1 else 0

    def n_wanted(self, n_usable: int) -> int:
        """Return how many inputs may be read now, of as many as the scheduler can use."""
        return n_usable

    def ended(self, ended: Sequence[Ended], *, is_final: bool) -> None:
        """Receive the ends of files, or of attempts, before anybody else."""

    def died(self, pid: int) -> None:
        """Note that a worker process has ended; its last reports have been received."""

    def close(self) -> None:
        """Note that the run is over."""
