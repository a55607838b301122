"""The files of a run: which are in progress, and the results of those that have ended.

Owns the record of each input that has been read and has not ended, and the counts.
`bigpipe.running.outcomes` makes the results; `bigpipe.scheduler` decides what to do next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from bigpipe.claims.side_files import SideFiles
from bigpipe.errors import FileError, TooManyErrorsError
from bigpipe.executors.base import Died, Report
from bigpipe.options import Options
from bigpipe.records import FileResult
from bigpipe.running import outcomes
from bigpipe.running.recorder import Recorder
from bigpipe.scheduling.events import Cause, GiveUp
from bigpipe.scheduling.retries import ErrorLimit, Retries

__all__ = ["Ended", "Ledger"]

Ended = tuple[FileResult, Report | None]


class Ledger:
    """Keeps the files of one run.

    Parameters
    ----------
    options : Options
        Options of the run, for the messages of errors.
    budget : int
        Bytes that all workers may use, for the same.
    retries : Retries
        Decides whether a failed file is retried.
    on_end : callable
        Called with results, each with its report if there is one, and whether they are the final
        results of their files.

    Attributes
    ----------
    journal : Recorder
        Knows the results of files whose content is unchanged.
    in_names : dict
        The inputs that have been read and have not ended, by index.
    deaths : dict
        The last death of a worker on a file, by index.
    n_finished, n_failed : int
        Files that have ended, and those of them with an error.
    stop : TooManyErrorsError or None
        Why the run is to be stopped.
    last_death : Died
        The last death of a worker, whether it had a file or not.
    ready : deque of FileResult
        Results that the caller has not received yet.
    """

    def __init__(
        self,
        options: Options,
        budget: int,
        retries: Retries,
        on_end: Callable[[Sequence[Ended], bool], None],
    ) -> None:
        self._options = options
        self._budget = budget
        self._retries = retries
        self._limit = ErrorLimit(options.max_errors)
        self._on_end = on_end
        self._has_warned = self._has_warned_of_side_file = False
        self._side_files = SideFiles()
        self.journal = Recorder()
        self.in_names: dict[int, Any] = {}
        self.deaths: dict[int, Died] = {}
        self.n_finished = self.n_failed = 0
        self.stop: TooManyErrorsError | None = None
        self.last_death: Died
        self.ready: deque[FileResult] = deque()

    def in_name(self, index: int | None) -> Any:
        """Return the input of a file in progress, ``None`` if there is no such file."""
        return None if index is None else self.in_names.get(index)

    def reported(
        self, reports: Sequence[Report], figures: Sequence[tuple[int, int | None]], now: float
    ) -> None:
        """Take a worker's reports on files, with what `Scheduler.figures` has said of them."""
        ended: list[Ended] = []
        for report, (attempts, projected) in zip(reports, figures, strict=True):
            index = report.index
            if report.is_unchanged:
                ended.append((self.journal.unchanged(index), None))
                continue
            in_name = self.in_names[index]
            if report.unnamed is not None and not self._has_warned:
                self._has_warned = True
                outcomes.warn_of_name(report.unnamed, report.outname, in_name)
            if report.side_files is not None and report.error is None:
                self._note_side_files(report.side_files, in_name)
            n_begun = attempts + self._retries.n_begun(index)
            result = outcomes.reported(report, in_name, n_begun, projected)
            if result.error is None or not self._is_put_off(result, report, now):
                ended.append((result, report))
        self._last(ended)

    def _note_side_files(self, written: dict[str, bool], in_name: Any) -> None:
        shared = self._side_files.add(written)
        if shared is not None and not self._has_warned_of_side_file:
            self._has_warned_of_side_file = True
            outcomes.warn_of_side_file(shared, in_name)

    def died(self, index: int, death: Died, n_lost: int) -> None:
        """Record a worker's death on a file; `n_lost` is the attempt, 0 if it is not run again."""
        self.deaths[index] = death
        if n_lost:
            n_lost += self._retries.n_begun(index)
            lost = index, self.in_name(index), death, n_lost
            if death.was_stopped:
                result = outcomes.stopped(*lost)
            else:
                result = outcomes.killed(*lost, self._budget)
            self._on_end([(result, None)], False)

    def given_up(self, order: GiveUp, projected: int | None, now: float) -> None:
        """Take a file that the scheduler gives up."""
        result = self._why_given_up(order)
        result.projected = projected
        before = self._retries.n_begun(order.task)
        if before and result.error is not None:
            result.attempts = result.error.attempts = result.attempts + before
        if not self._is_put_off(result, None, now):
            self._last([(result, None)])

    def _why_given_up(self, order: GiveUp) -> FileResult:
        index, in_name = order.task, self.in_names[order.task]
        if order.cause is Cause.REFUSED:
            return outcomes.refused(index, in_name, order.n_bytes, self._budget)
        death = self.deaths[index]
        if order.cause is Cause.TOO_LARGE:
            figures = order.attempts, order.n_bytes, self._budget
            return outcomes.too_large(index, in_name, death, *figures)
        if order.cause is Cause.TIMED_OUT:
            timeout = self._options.file_timeout
            return outcomes.timed_out(index, in_name, death, order.attempts, timeout)
        return outcomes.killed(index, in_name, death, order.attempts, self._budget)

    def not_started(self, index: int, error: FileError, n_begun: int = 0) -> None:
        """End a file for which no worker could be prepared."""
        n_begun += self._retries.n_begun(index)
        result = outcomes.not_started(index, self.in_names[index], error, n_begun)
        self._last([(result, None)])

    def failed(self, index: int, error: FileError) -> None:
        """End a file that cannot be submitted."""
        self._last([(outcomes.failed(index, self.in_names[index], error), None)])

    def known(self, result: FileResult) -> None:
        """End a file that is skipped, as its result is in the journal."""
        self._last([(result, None)])

    def given_out(
        self, results: Generator[FileResult, None, None], held: dict[int, FileResult] | None
    ) -> Generator[FileResult, None, None]:
        """Yield results; in input order if ``held`` is given to hold early ones.

        If an error ends the run, all results that have ended are yielded before it is raised. The
        run has ended by then, so no worker waits for the caller.
        """
        results = self._all_ended(results)
        return results if held is None else _in_order(results, held)

    def _all_ended(
        self, results: Generator[FileResult, None, None]
    ) -> Generator[FileResult, None, None]:
        try:
            yield from results
        except Exception:
            while self.ready:
                yield self.ready.popleft()
            raise

    def _is_put_off(self, result: FileResult, report: Report | None, now: float) -> bool:
        """Put off a failed file if it is to be retried; return whether it is."""
        error = result.error
        if error is None or not self._retries.wants(result.index, error, now):
            return False
        self.deaths.pop(result.index, None)
        self._on_end([(result, report)], False)
        return True

    def _last(self, ended: Sequence[Ended]) -> None:
        """End files."""
        results = [result for result, _ in ended]
        for result in results:
            del self.in_names[result.index]
            if self.deaths:
                self.deaths.pop(result.index, None)
            if result.error is not None or not self._limit.one_went_well:
                self._count(result)
        self._retries.forget(result.index for result in results)
        self.n_finished += len(results)
        self._on_end(ended, True)
        self.ready.extend(results)

    def _count(self, result: FileResult) -> None:
        """Count a result, and stop the run if too many files have failed."""
        error = result.error
        self.n_failed += error is not None
        if error is None or not result.from_journal:
            reason = self._limit.add(error)
            if reason is not None and error is not None:
                self.stop = TooManyErrorsError(reason, [error])


def _in_order(
    results: Generator[FileResult, None, None], held: dict[int, FileResult]
) -> Generator[FileResult, None, None]:
    """Yield results in input order; ``held`` holds those that come too early."""
    following = 0
    try:
        for result in results:
            held[result.index] = result
            while following in held:
                yield held.pop(following)
                following += 1
    except Exception:
        for index in sorted(held):
            yield held.pop(index)
        raise
    finally:
        results.close()
