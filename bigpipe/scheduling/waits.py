"""How long workers waited, and for what.

Owns only the sums; `bigpipe.scheduler` knows which workers are idle, and why.
"""

from __future__ import annotations

__all__ = ["Waits"]


class Waits:
    """Add up the time of workers that had no work.

    Attributes
    ----------
    seconds : dict of str to float
        Worker-seconds: ``"memory"`` while pending tasks did not fit, ``"inputs"`` while no task
        was pending, and ``"paused"``.
    seen_at : float
        When the time still to be counted began. Set it before a worker is idle or paused.
    """

    def __init__(self) -> None:
        self.seconds = {"memory": 0.0, "inputs": 0.0, "paused": 0.0}
        self.seen_at = 0.0

    def add(self, now: float, for_memory: bool, n_without_work: int, n_paused: int) -> None:
        """Count the time since ``seen_at``, in which so many workers were idle or paused."""
        passed = now - self.seen_at
        self.seconds["memory" if for_memory else "inputs"] += passed * n_without_work
        self.seconds["paused"] += passed * n_paused
