"""A run over inputs epoch by epoch, only as far ahead as its results are taken.

Owns when an input may be read, and the order in which results are given out. Everything else is as
in `bigpipe.run`. Workers stay from one epoch to the next, and drop inputs that they have not begun
when an epoch is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bigpipe.executors.base import Died
from bigpipe.executors.delivery import DataReceiver, Handle, max_segments
from bigpipe.records import FileResult
from bigpipe.run import Run
from bigpipe.running import outcomes
from bigpipe.running.ledger import Ended
from bigpipe.running.plan import Plan
from bigpipe.scheduling.events import Instruction

__all__ = ["EpochRun", "Epochs"]

AHEAD_OF_EACH = 2  # default number of results of each worker that may wait; arbitrary

PARTS = 4  # parts in which the inputs ahead are renewed; arbitrary

_NOTHING: Any = None  # result of a run that was not allowed to wait


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
        self.is_waited_for = False
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


class EpochRun(Run):
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

    def __init__(
        self, pipe: Any, plan: Plan, data: DataReceiver, n_ahead: int | None, n_together: int
    ) -> None:
        assert isinstance(plan.in_names, Epochs)
        self._epochs = plan.in_names
        self._data = data
        self._given = n_ahead
        self._n_together = n_together
        self._waiting: dict[int, FileResult] = {}
        self._is_passing = False
        self._has_read = False
        super().__init__(pipe, plan)
        pipe.max_segments = max_segments(max(1, self._n_workers))
        data.max_held = pipe.max_segments // 2
        # The consumer raises an error when its turn comes; the workers stay.
        self._options = replace(self._options, on_error="return")

    @property
    def is_over(self) -> bool:
        """Whether the workers have ended, cannot begin, or belong to another process."""
        return self._has_ended or self._init_error is not None or self._is_copy

    @property
    def _has_ended(self) -> bool:
        return self._loop.gi_frame is None  # type: ignore[attr-defined]

    def begin(self, in_names: Iterable[Any]) -> None:
        """Begin an epoch."""
        self.drop()
        self._epochs.begin(in_names)

    def drop(self) -> None:
        """Drop the rest of this epoch, including results of files that workers have begun."""
        if self._is_copy:
            return
        self._epochs.end()
        self._waiting.clear()
        self._pipe.first = self._epochs.first
        self._data.give_back()

    def take(self) -> FileResult | None:
        """Wait for the result of the next input; ``None`` at the end of the epoch."""
        if self._is_copy:  # memory that this process were to give back is in use by the caller
            raise RuntimeError(outcomes.FORKED)
        epochs = self._epochs
        number = epochs.first + epochs.n_taken
        if number not in self._waiting:
            if epochs.n_read == epochs.n_taken and not epochs.has_more:
                return None
            epochs.is_waited_for = True
            try:
                while number not in self._waiting:
                    self._keep(next(self, _NOTHING))
                    if self._has_ended and number not in self._waiting:
                        raise RuntimeError("the workers have ended: the stream was closed")
            finally:
                epochs.is_waited_for = False
        result = self._waiting.pop(number)
        epochs.n_taken += 1
        # After a batch, not after each: workers that get many at once wake up less often.
        few = max(1, epochs.n_ahead // PARTS)
        if epochs.room >= few or epochs.n_taken % self._n_together == 0:
            self._pass()
        return result

    def finish(self) -> None:
        """End the workers: gracefully if all are idle."""
        try:
            if not self.is_over and self._scheduler.is_done and not self._retries.n_waiting:
                self._inputs.have_ended = True
                for result in self:
                    self._keep(result)
        finally:
            self.close()

    def close(self) -> None:
        """End the run where it is."""
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        self._waiting.clear()
        self._files.ready.clear()
        self._data.close()
        self._pipe.close()

    def _keep(self, result: FileResult) -> None:
        if result is not _NOTHING and result.index >= self._epochs.first:
            self._waiting[result.index] = result

    def _pass(self) -> None:
        """Handle waiting events and submit tasks, without blocking."""
        self._is_passing, self._has_read = True, False
        try:
            while (result := next(self, _NOTHING)) is not _NOTHING:
                self._keep(result)
        finally:
            self._is_passing = False

    def _n_ahead(self) -> int:
        n_workers = max(1, self._n_workers)
        n_ahead = self._given
        if self._executor.works_in_turn:
            n_ahead = 0
        elif n_ahead is None:
            n_ahead = max(AHEAD_OF_EACH * n_workers, self._n_together)
        self._epochs.n_ahead = n_ahead
        # All are with the workers at once, who do not see the parent while it does other things.
        return -(-(n_ahead + 1) // n_workers) if self._executor.max_ahead else 0

    @property
    def _n_wanted(self) -> int:
        wants = self._epochs.room > 0 and super()._n_wanted > 0 and self._epochs.has_more
        return int(wants)

    def _patience(self) -> float:
        return 0.0 if self._is_passing else super()._patience()

    def _read_inputs(self) -> None:
        super()._read_inputs()
        self._has_read = True

    def _ended(self) -> Iterator[FileResult]:
        yield from super()._ended()
        if self._is_passing and self._has_read:
            yield _NOTHING

    def _on_end(self, ended: Sequence[Ended], is_final: bool) -> None:
        for result, _ in ended:
            if isinstance(result.outname, Handle):
                result.outname = self._data.claim(result.outname)
        super()._on_end(ended, is_final)

    def _died(self, event: Died, now: float) -> list[Instruction]:
        instructions = super()._died(event, now)
        self._data.forget(event.pid)
        return instructions

    def _finish(self, graceful: bool) -> None:
        try:
            super()._finish(graceful)
        finally:
            self._let_go()
