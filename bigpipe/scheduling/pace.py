"""How long tasks take, and how many of them to send ahead to a worker.

Owns the running mean, and two results: how many tasks to send ahead, and for how long the parent
may leave the workers alone (the slack). The first tasks take many times as long as later ones, and
ends that the parent sees late make the mean too long. The slack is therefore short at first, and
grows as long as no worker is found idle. `bigpipe.scheduler` assigns tasks to workers.
"""

from __future__ import annotations

__all__ = ["MAX_AHEAD", "Pace"]

AHEAD_SECONDS = 0.05  # work sent ahead to a worker; arbitrary, many times the parent's delay
MAX_AHEAD = 192  # tasks; enough of the smallest files to hide the parent's delay
MIN_AHEAD_FOR_SLACK = 4  # tasks; with fewer ahead, a late parent leaves workers idle
FIRST_SLACK_S = 0.001  # about ten of the shortest tasks; arbitrary
SLACK_GROWTH = 1.5  # factor, each time that a worker still had work; arbitrary
# With an admission, longer tasks are not sent ahead but go to the first idle worker; arbitrary.
SHORT_S = 0.1  # seconds
SMOOTHING = 0.2  # weight of the newest duration in their running mean; arbitrary


class Pace:
    """Measure how fast tasks end.

    Parameters
    ----------
    max_ahead : int
        Maximum number of tasks to send to a worker that already has one.
    min_ahead : int, optional
        Minimum number of tasks to send to it, for workers that begin several at once.

    Attributes
    ----------
    ahead : int
        Number of tasks to send ahead now. It is larger for shorter tasks.

    Examples
    --------
    >>> pace = Pace(96)
    >>> pace.ahead
    1
    >>> pace.note(0.001)
    >>> pace.ahead, pace.is_short
    (50, True)
    """

    def __init__(self, max_ahead: int, min_ahead: int = 0) -> None:
        self._max_ahead = max(max_ahead, min_ahead)
        self._min_ahead = min_ahead
        self._mean_s = 0.0
        self._most_slack_s = FIRST_SLACK_S
        self.ahead = max(min(max_ahead, 1), min_ahead)

    def note(self, seconds: float, n: int = 1, *, ran_out: bool = False) -> None:
        """Learn from the duration of `n` tasks of a worker that have ended.

        Parameters
        ----------
        seconds : float
            Time from the start of the first of them until their ends were seen.
        n : int, optional
            Number of tasks.
        ran_out : bool, optional
            Whether their worker has nothing left to do, perhaps for some time.
        """
        was_away = self.ahead >= MIN_AHEAD_FOR_SLACK and not ran_out
        self._most_slack_s = self._most_slack_s * SLACK_GROWTH if was_away else FIRST_SLACK_S
        mean, each = self._mean_s, seconds / n
        weight = SMOOTHING if n == 1 else 1.0 - (1.0 - SMOOTHING) ** n
        self._mean_s = mean = mean + weight * (each - mean) if mean else each
        wanted = int(AHEAD_SECONDS / (mean or 1e-9)) or 1
        if wanted < self._min_ahead:
            wanted = self._min_ahead
        self.ahead = wanted if wanted < self._max_ahead else self._max_ahead

    @property
    def is_short(self) -> bool:
        """Whether tasks are so short that it does not matter which worker has them."""
        return self._min_ahead > 0 or 0.0 < self._mean_s < SHORT_S

    @property
    def slack_s(self) -> float:
        """Seconds for which the tasks sent ahead keep the workers busy."""
        if self.ahead < MIN_AHEAD_FOR_SLACK:
            return 0.0
        return min(self._mean_s * self.ahead / 2, self._most_slack_s)
