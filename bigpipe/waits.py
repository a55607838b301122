"""What the workers waited for, in seconds.

Owns the sum only; who has no work, and why, is known to `bigpipe.scheduler`.
"""

from __future__ import annotations

__all__ = ["Waits"]


class Waits:
    """Add up the time of workers that had no work.

    Attributes
    ----------
    seconds : dict of str to float
        Worker-seconds: ``"memory"``, while tasks were pending that did not fit; ``"inputs"``,
        while none were; ``"paused"``.
    seen_at : float or None
        When the time to be counted next begins.
    """

    def __init__(self) -> None:
        self.seconds = {"memory": 0.0, "inputs": 0.0, "paused": 0.0}
        self.seen_at: float | None = None

    def add(self, now: float, for_memory: bool, n_without_work: int, n_paused: int) -> None:
        """Count the time in which so many were without work."""
        passed = 0.0 if self.seen_at is None else now - self.seen_at
        if passed > 0.0:
            self.seconds["memory" if for_memory else "inputs"] += passed * n_without_work
            self.seconds["paused"] += passed * n_paused
