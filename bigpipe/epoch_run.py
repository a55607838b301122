"""A run over inputs epoch by epoch, only as far ahead as its results are taken.

Owns when an input may be read, and the order in which results are given out. Everything else is as
in `bigpipe.run`. Workers stay from one epoch to the next, and drop inputs that they have not begun
when an epoch is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bigpipe.executors.base import Executor
from bigpipe.executors.delivery import DataReceiver, Handle, max_segments
from bigpipe.records import FileResult
from bigpipe.run import Run
from bigpipe.running import outcomes
from bigpipe.running.ledger import Ended
from bigpipe.running.plan import Plan
from bigpipe.running.taker import NOTHING, Taker

__all__ = ["EpochRun", "Epochs"]

AHEAD_OF_EACH = 2  # default number of results of each worker that may wait; arbitrary

PARTS = 4  # parts in which the inputs ahead are renewed; arbitrary


class Epochs:
    """The inputs of all epochs, one after another, each given out when there is room for it.

    Attributes
    ----------
    n_ahead : int
        Inputs that may be given out beyond the one that the caller waits for.
    first : int
        Number of the first input of this epoch, counted over all epochs.
    n_read, n_taken : int
        Inputs of this epoch that were given out, and those whose results were taken.
    is_waited_for : bool
        Whether the caller waits for a result.
    are_over : bool
        Whether there will be no further epoch.

    Examples
    --------
    >>> epochs = Epochs()
    >>> epochs.n_ahead = 2
    >>> epochs.begin("abc")
    >>> next(epochs), epochs.room, next(epochs), epochs.room
    ('a', 1, 'b', 0)
    >>> epochs.is_waited_for = True
    >>> epochs.room
    1
    """

    def __init__(self) -> None:
        self.n_ahead = 0
        self.first = self.n_read = self.n_taken = 0
        self.is_waited_for = self.are_over = False
        self._names: Iterator[Any] = iter(())
        self._next: list[Any] = []

    def begin(self, in_names: Iterable[Any]) -> None:
        """Begin an epoch."""
        self.end()
        self._names = iter(in_names)

    def end(self) -> None:
        """Drop the remaining inputs of this epoch."""
        self.first += self.n_read
        self.n_read = self.n_taken = 0
        self._names, self._next = iter(()), []

    @property
    def has_more(self) -> bool:
        """Whether there are further inputs; reads the next one to find out."""
        if not self._next:
            for name in self._names:
                self._next.append(name)
                break
        return bool(self._next)

    @property
    def room(self) -> int:
        """Number of inputs that may still be given out."""
        return self.n_ahead + self.is_waited_for - (self.n_read - self.n_taken)

    def __iter__(self) -> Epochs:
        return self

    def __next__(self) -> Any:
        if not self.has_more:
            raise StopIteration
        self.n_read += 1
        return self._next.pop()


class EpochRun(Taker):
    """One run of a pipeline over any number of epochs.

    Parameters
    ----------
    pipe : FedPipe
        The pipeline; instead of names it returns handles, or objects that can be opened.
    plan : Plan
        The plan; its inputs are `Epochs`.
    data : DataReceiver
        Receives the data of handles. Closed with the run.
    n_ahead : int or None
        Results that workers may have ready beyond the one that the caller waits for. ``None``
        means two for each worker, or as many as are taken together.
    n_together : int
        Results that are taken together.
    """

    lets_raise = False  # the consumer raises an error when its turn comes; the workers stay

    def __init__(
        self, pipe: Any, plan: Plan, data: DataReceiver, n_ahead: int | None, n_together: int
    ) -> None:
        assert isinstance(plan.in_names, Epochs)
        self._pipe = pipe
        self._epochs = plan.in_names
        self._data = data
        self._given = n_ahead
        self._n_together = n_together
        self._waiting: dict[int, FileResult] = {}
        self._n_ended = 0
        self._is_closed = False
        self._run = Run(pipe, plan, taker=self)

    @property
    def is_over(self) -> bool:
        """Whether the workers have ended, cannot begin, or belong to another process."""
        return self._is_closed or self._run.init_error is not None or self._run.is_copy

    def begin(self, in_names: Iterable[Any]) -> None:
        """Begin an epoch."""
        self.drop()
        self._epochs.begin(in_names)

    def drop(self) -> None:
        """Drop the rest of this epoch, including results of files that workers have begun."""
        if self._run.is_copy:
            return
        self._epochs.end()
        self._waiting.clear()
        self._pipe.first = self._epochs.first
        self._data.give_back()

    def take(self) -> FileResult | None:
        """Wait for the result of the next input; ``None`` at the end of the epoch."""
        if self._run.is_copy:  # memory that this process were to give back is in use by the caller
            raise RuntimeError(outcomes.FORKED)
        epochs = self._epochs
        number = epochs.first + epochs.n_taken
        if number not in self._waiting:
            if epochs.n_read == epochs.n_taken and not epochs.has_more:
                return None
            epochs.is_waited_for = True
            try:
                while number not in self._waiting:
                    result = next(self._run, None)
                    if result is None:
                        raise RuntimeError("the workers have ended: the stream was closed")
                    self._keep(result)
            finally:
                epochs.is_waited_for = False
        result = self._waiting.pop(number)
        epochs.n_taken += 1
        # After a batch, not after each: workers that get many at once wake up less often.
        few = max(1, epochs.n_ahead // PARTS)
        if epochs.room >= few or epochs.n_taken % self._n_together == 0:
            self._poll()
        return result

    def _poll(self) -> None:
        """Handle waiting events and submit tasks, without waiting."""
        self.may_wait = False
        try:
            while (result := next(self._run, NOTHING)) is not NOTHING:
                self._keep(result)
        finally:
            self.may_wait = True

    def _keep(self, result: FileResult) -> None:
        if result.index >= self._epochs.first:
            self._waiting[result.index] = result

    def finish(self) -> None:
        """End the workers: gracefully if all are idle."""
        try:
            self._epochs.end()
            if not self.is_over and self._n_ended == self._epochs.first:
                self._epochs.are_over = True
                for result in self._run:
                    self._keep(result)
        finally:
            self.close()

    def close(self) -> None:
        """End the run where it is; called by the run, too, when it ends by itself."""
        self._is_closed = True
        self._run.close()
        self._waiting.clear()
        self._data.close()
        self._pipe.close()

    def set_up(self, executor: Executor, n_workers: int) -> int:
        """Decide how many inputs and pieces of memory may be in use."""
        n_workers = max(1, n_workers)
        self._pipe.max_segments = max_segments(n_workers)
        self._data.max_held = self._pipe.max_segments // 2
        n_ahead = self._given
        if executor.works_in_turn:
            n_ahead = 0
        elif n_ahead is None:
            n_ahead = max(AHEAD_OF_EACH * n_workers, self._n_together)
        self._epochs.n_ahead = n_ahead
        # All are with the workers at once, who do not see the parent while it does other things.
        return -(-(n_ahead + 1) // n_workers) if executor.max_ahead else 0

    def n_wanted(self, n_usable: int) -> int:
        """Return 1 if an input may be given out, and to find out that there are no more."""
        epochs = self._epochs
        return int(epochs.are_over or (epochs.room > 0 and n_usable > 0 and epochs.has_more))

    def ended(self, ended: Sequence[Ended], *, is_final: bool) -> None:
        """Take the data of ended files while their workers' memory is known."""
        self._n_ended += len(ended) if is_final else 0
        for result, _ in ended:
            if isinstance(result.outname, Handle):
                result.outname = self._data.claim(result.outname)

    def died(self, pid: int) -> None:
        """Forget the memory of a worker that has ended."""
        self._data.forget(pid)
