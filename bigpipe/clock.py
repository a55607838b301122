"""The time of a run, which stands still while the caller's own code runs.

Owns the count of seconds. What is too long for a file is decided in `bigpipe.scheduler`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Tell the time of one run.

    Attributes
    ----------
    stopped_s : float
        Seconds for which it was stopped.

    Notes
    -----
    Workers may wait for an answer while the caller's code has the control, be it the body of a
    loop over results or a generator of inputs. So that must not count for ``file_timeout``.

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
        return time.monotonic() - self.stopped_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the time stand still inside the block."""
        left_at = time.monotonic()
        try:
            yield
        finally:
            self.stopped_s += time.monotonic() - left_at
