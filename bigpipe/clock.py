"""The time of a run, which stands still while the caller's own code runs.

Owns the count of seconds, without those for which this process was paused or suspended. What is
too long for a file is decided in `bigpipe.scheduler`.
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
    """Have the seconds left out for which this process is paused, by what returns their sum."""
    global _paused_s
    _paused_s = paused_s


def running_s() -> float:
    """Return the time in seconds, from a moment that means nothing, without pauses."""
    return time.monotonic() - _paused_s()


class Clock:
    """Tell the time of one run.

    Attributes
    ----------
    stopped_s : float
        Seconds for which it was stopped.

    Notes
    -----
    Workers may wait for an answer while the caller's code has the control, be it the body of a
    loop over results or a generator of inputs. So that must not count for ``file_timeout``. Nor do
    pauses, in a pipeline that a hook runs: its worker may be paused for want of memory. Nor does
    the time for which all of a job was suspended, by a batch system or by Ctrl-Z.

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
        """Seconds since the run began, whoever had the control."""
        return time.monotonic() - self._began_at

    def now(self) -> float:
        """Return the time in seconds, from a moment that means nothing."""
        return running_s() - self.stopped_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the time stand still inside the block."""
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
