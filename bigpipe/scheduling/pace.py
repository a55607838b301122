"""How long tasks take, and so how many of them a worker is to have ahead.

Owns the running mean and what follows from it: also for how long nobody needs to look after the
workers. The first tasks take many times as long as those after them, and a mean of what is seen
late is too long; so at first that is a short time, which grows as long as no worker is found idle.
Who is given which task is decided in `bigpipe.scheduler`.
"""

from __future__ import annotations

__all__ = ["MAX_AHEAD", "Pace"]

AHEAD_SECONDS = 0.05  # work sent ahead to a worker; arbitrary, many times a parent's delay
MAX_AHEAD = 192  # tasks; what tiny files need to hide the parent's delay
MIN_AHEAD_FOR_SLACK = 4  # tasks; with fewer ahead, a parent that tarries leaves workers idle
FIRST_SLACK_S = 0.001  # some ten of the shortest tasks; arbitrary
SLACK_GROWTH = 1.5  # each time that a worker still had work; arbitrary
# Longer tasks go to who is idle first, not ahead, if there is an admission; arbitrary.
SHORT_S = 0.1  # seconds
SMOOTHING = 0.2  # weight of the newest duration in their running mean; arbitrary


class Pace:
    """Follow how fast tasks end.

    Parameters
    ----------
    max_ahead : int
        Tasks that may be sent to a worker which has one.
    min_ahead : int, optional
        Tasks that it is to be sent in any case, as it begins several at once.

    Attributes
    ----------
    ahead : int
        Tasks to send ahead now: more of them if they are short.

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
        """Learn from tasks that have ended, so many in so many seconds.

        Parameters
        ----------
        seconds : float
            Since the first of them began, until it was seen that they had ended.
        n : int, optional
            How many they are.
        ran_out : bool, optional
            Whether their worker has nothing left to do, and who knows since when.
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
        """Whether tasks take so little that it does not matter which worker has them."""
        return self._min_ahead > 0 or 0.0 < self._mean_s < SHORT_S

    @property
    def slack_s(self) -> float:
        """Seconds for which workers that have all they are to have ahead have enough to do."""
        if self.ahead < MIN_AHEAD_FOR_SLACK:
            return 0.0
        return min(self._mean_s * self.ahead / 2, self._most_slack_s)
