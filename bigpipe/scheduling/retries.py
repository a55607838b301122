"""Which failed files are retried, and when; and when errors stop a run.

Owns these two rules. Time arrives as a number; `bigpipe.run` carries out the retries.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from bigpipe.errors import BigpipeError, FileError, RemoteError, message_of, shown, warn
from bigpipe.plurals import plural

__all__ = ["ErrorLimit", "Retries", "may_pass"]

MAX_PAUSE_S = 60.0  # seconds between two attempts at one file at most; arbitrary
N_ALIKE = 20  # first files that all fail in the same way before a run is stopped; arbitrary

_LASTING = (BigpipeError, FileExistsError, IsADirectoryError, NotADirectoryError)


def may_pass(exception: BaseException) -> bool:
    """Return whether a fault may be temporary, such as that of a drive or of a network.

    Examples
    --------
    >>> may_pass(TimeoutError()), may_pass(FileExistsError()), may_pass(ValueError())
    (True, False, False)
    """
    return isinstance(exception, OSError) and not isinstance(exception, _LASTING)


class Retries:
    """Keeps the files that wait for a retry.

    Parameters
    ----------
    max_retries : int, optional
        Maximum number of retries of one file.
    retry_on : tuple of types, callable or None, optional
        Exceptions after which a file is retried; `may_pass` if not given.
    pause_s : float, optional
        Seconds before the first retry; doubled before each further one.

    Examples
    --------
    >>> retries = Retries(max_retries=1, pause_s=2.0)
    >>> error = FileError("file_read raised")
    >>> error.__cause__ = OSError("the server does not answer")
    >>> retries.wants(7, error, now=10.0), retries.due(11.0), retries.due(12.0)
    (True, [], [7])
    >>> retries.wants(7, error, now=13.0)
    False
    """

    def __init__(
        self,
        max_retries: int = 0,
        retry_on: tuple[type[BaseException], ...] | Callable[[Any], Any] | None = None,
        pause_s: float = 1.0,
    ) -> None:
        self._max_retries = max_retries
        self._retry_on = may_pass if retry_on is None else retry_on
        self._pause_s = pause_s
        self._waiting: list[tuple[float, int]] = []  # a heap
        self._n_tried: dict[int, int] = {}
        self._n_begun: dict[int, int] = {}
        self._has_warned = False

    @property
    def n_waiting(self) -> int:
        """Number of files that wait for a retry."""
        return len(self._waiting)

    def n_begun(self, task: int) -> int:
        """Return how often a file had been begun when it was last put off."""
        return self._n_begun.get(task, 0) if self._n_begun else 0

    def wants(self, task: int, error: FileError, now: float) -> bool:
        """Put off a failed file if it is to be retried; return whether it is."""
        n = self._n_tried.get(task, 0) + 1
        if n > self._max_retries or not self._holds_for(error):
            return False
        self._n_tried[task] = n
        self._n_begun[task] = error.attempts
        pause_s = min(MAX_PAUSE_S, self._pause_s * 2.0 ** min(n - 1, 64))
        heapq.heappush(self._waiting, (now + pause_s, task))
        return True

    def _holds_for(self, error: FileError) -> bool:
        cause = error.__cause__
        if cause is None:  # no hook has raised
            return False
        if not isinstance(self._retry_on, tuple):
            return self._is_worth_it(self._retry_on, cause, error.in_name)
        if isinstance(cause, RemoteError):  # of a class known here only by its name
            return error.kind[1] in {kind.__name__ for kind in self._retry_on}
        return isinstance(cause, self._retry_on)

    def _is_worth_it(self, ask: Callable[[Any], Any], cause: BaseException, in_name: Any) -> bool:
        try:
            return bool(ask(cause))
        except Exception as raised:  # of the caller's own: all other files must not be lost for it
            if not self._has_warned:
                self._has_warned = True
                warn(
                    f"the function given as retry_on= raised {type(raised).__name__}: "
                    f"{message_of(raised)}, for the {type(cause).__name__} of {shown(in_name)}: "
                    "that file is not tried again. Let it return False for exceptions that it "
                    "does not know."
                )
            return False

    def due(self, now: float) -> list[int]:
        """Return the files that have waited long enough, and forget them."""
        tasks = []
        while self._waiting and self._waiting[0][0] <= now:
            tasks.append(heapq.heappop(self._waiting)[1])
        return tasks

    def next_at(self) -> float | None:
        """Return when the first file will have waited long enough."""
        return self._waiting[0][0] if self._waiting else None

    def drop(self) -> list[int]:
        """Give up all waiting files; return them."""
        tasks = sorted(task for _, task in self._waiting)
        self._waiting.clear()
        return tasks

    def forget(self, tasks: Iterable[int]) -> None:
        """Forget files that have ended."""
        for task in tasks if self._n_tried else ():
            self._n_tried.pop(task, None)
            self._n_begun.pop(task, None)


class ErrorLimit:
    """Tells when a run should be stopped for its errors.

    Parameters
    ----------
    max_errors : int or None, optional
        Number of failed files that stops it. ``None``: it stops if the first 20 files all fail
        in the same hook with the same kind of exception.

    Attributes
    ----------
    one_went_well : bool
        Whether a file has ended without an error; further ones need not be reported.

    Examples
    --------
    >>> limit = ErrorLimit(max_errors=1)
    >>> limit.add(FileError("file_read raised ValueError", hook="file_read"))
    '1 file failed, and max_errors=1 allows no more'
    """

    def __init__(self, max_errors: int | None = None) -> None:
        self._max_errors = max_errors
        self._n_failed = 0
        self._kinds: set[tuple[str, str]] = set()
        self.one_went_well = False

    def add(self, error: FileError | None) -> str | None:
        """Count the end of a file; return why to stop the run, if it has to stop."""
        if error is None:
            self.one_went_well = True
            return None
        self._n_failed += 1
        n = self._n_failed
        if self._max_errors is not None:
            if n < self._max_errors:
                return None
            failed = f"{n} {plural(n, 'file')} failed"
            return f"{failed}, and max_errors={self._max_errors} allows no more"
        if self.one_went_well or n > N_ALIKE:
            return None
        self._kinds.add(error.kind)
        if n < N_ALIKE or len(self._kinds) > 1:
            return None
        hook, kind = error.kind
        return (
            f"the first {n} files all failed with {kind} in {hook}; to try the others as well, "
            "give max_errors"
        )
