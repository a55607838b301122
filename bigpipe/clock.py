"""The time of a run, which stops while the caller's own code runs.

Owns the count of seconds, without those for which this process was paused or suspended.
`bigpipe.scheduler` decides which files take too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Clock", "running_s", "set_pauses"]

MAX_LATE = 1.0
"""Seconds by which a wait may end too late without being taken for a suspension; arbitrary."""


def _never() -> float:
    return 0.0


_paused_s: Callable[[], float] = _never  # of the run that this process is a worker of


def set_pauses(paused_s: Callable[[], float]) -> None:
    """Set the function that returns the sum of seconds for which this process was paused."""
    global _paused_s
    _paused_s = paused_s


def running_s() -> float:
    """Return the time in seconds without pauses, from an arbitrary start."""
    return time.monotonic() - _paused_s()


class Clock:
    """The clock of one run.

    Attributes
    ----------
    stopped_s : float
        Seconds for which it was stopped.

    Notes
    -----
    Workers may wait for an answer while the caller's code runs, such as the body of a loop over
    results or a generator of inputs. So that time must not count towards ``file_timeout``. Pauses
    do not count either: in a pipeline run by a hook, the worker may be paused to save memory. Nor
    does the time for which the whole job was suspended, by a batch system or by Ctrl-Z. Where hooks
    run in the thread that waits, this clock cannot tell a suspension from a long hook;
    `bigpipe.executors.serial` has the timeout there.

    Examples
    --------
    >>> clock = Clock()
    >>> with clock.stopped():
    ...     print("a hook, or the body of a loop")
    a hook, or the body of a loop
    >>> 0 < clock.stopped_s < clock.elapsed_s
    True
    """

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self.stopped_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began, including those in the caller's code."""
        return time.monotonic() - self._began_at

    def now(self) -> float:
        """Return the time in seconds, from an arbitrary start."""
        return running_s() - self.stopped_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock inside the block."""
        left_at = running_s()
        try:
            yield
        finally:
            self.stopped_s += running_s() - left_at

    def leave_out_lateness(self, due: float) -> None:
        """Leave out the time since a wait was to end at the latest, if this was suspended then.

        Parameters
        ----------
        due : float
            The moment, by `now`.
        """
        late = self.now() - due
        if late > MAX_LATE:
            self.stopped_s += late
