"""What a loop is fed with: processed data, in input order, epoch by epoch.

Owns batches and what a failed file does to the loop. How data gets here is
`bigpipe.epoch_run`'s affair.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import closing
from dataclasses import replace
from typing import Any

from bigpipe.epoch_run import EpochRun, Epochs
from bigpipe.errors import FileError, InNamesError, OptionError, UnsendableError, shown
from bigpipe.executors.base import Executor
from bigpipe.executors.delivery import DataReceiver
from bigpipe.executors.worker import hook_frames
from bigpipe.fed_pipe import FedPipe
from bigpipe.hooks import Hooks
from bigpipe.options import Options
from bigpipe.plan import Plan, checked_in_names
from bigpipe.records import FileResult
from bigpipe.slices import name_of

__all__ = ["Stream"]

_WITHOUT_EFFECT = ("PoolClass", "journal", "order", "overlap", "strategy")
_ON_ERROR = ("raise", "skip")

logger = logging.getLogger(__name__)


class Stream:
    """Processed data for a loop, in input order; made by `BigMultiPipe.stream`.

    Looping over it is an epoch. Workers are started by the first one and stay for the next, until
    `close`, the end of a ``with`` block, or until nobody has this object any more. Leaving a
    loop drops what was ahead of it.

    Attributes
    ----------
    errors : list of FileError
        Why files of this epoch, or of the last one, were left out (``on_error='skip'``).

    Notes
    -----
    Of an array from a worker process no copy is made here: its memory is shared with the worker,
    and is used again when no array uses it any more. It is the loop's own for as long as that
    keeps it, and may be written into.

    In shared memory are, at most, the data that are ahead, and those that the loop has. They come
    on top of what the workers use, which alone counts as ``mem_available``.

    With ``executor='threads'``, each thread has one file at a time, so that no more than that are
    ahead while the loop is busy; with ``'serial'``, nothing is.
    """

    def __init__(
        self,
        pipe: Any,
        in_names: Iterable[Any],
        given: dict[str, Any],
        *,
        batch_size: int | None,
        prefetch: int | None,
        collate: Callable[[list[Any]], Any] | None,
        drop_last: bool,
        on_error: str,
    ) -> None:
        _check(pipe, given)
        self._batch_size = _count("batch_size", batch_size, 1)
        self._prefetch = _count("prefetch", prefetch, 0)
        if batch_size is None and (collate is not None or drop_last):
            raise OptionError("collate and drop_last need batch_size: give it, or leave them out.")
        if on_error not in _ON_ERROR:
            raise OptionError(f"on_error must be 'raise' or 'skip' here, not {on_error!r}")
        self._collate = _stacked if collate is None else collate
        self._drop_last = drop_last
        self._skips = on_error == "skip"
        self._pipe = pipe
        self._in_names = in_names
        self._has_begun = False
        self._plan = _planned(pipe, given, on_error)
        self._run: EpochRun | None = None
        self._n_epochs = 0
        self.errors: list[FileError] = []

    def __iter__(self) -> Iterator[Any]:
        names = self._in_names
        if iter(names) is names:
            if self._has_begun:
                raise InNamesError(
                    "the inputs came from an iterator, which can be read once: give a list, or the "
                    "inputs of each epoch to epoch()"
                )
            self._has_begun = True
        return self.epoch(names)

    def __len__(self) -> int:
        """Return how many data, or batches, an epoch has if no file is rejected or left out."""
        if not isinstance(self._in_names, Sized):
            raise TypeError("the inputs have no length")
        n, size = len(self._in_names), self._batch_size or 1
        return n // size if self._drop_last else -(-n // size)

    def epoch(self, in_names: Iterable[Any]) -> Iterator[Any]:
        """Return an epoch over other inputs, or the same ones in another order.

        Parameters
        ----------
        in_names : iterable
            As for `BigMultiPipe.stream`.

        Returns
        -------
        iterator
            Of data or batches. Beginning another epoch ends this one.
        """
        data = self._data(checked_in_names(in_names))
        return data if self._batch_size is None else self._batches(data, self._batch_size)

    def close(self) -> None:
        """End the workers. Another epoch would start new ones."""
        run, self._run = self._run, None
        self._n_epochs += 1
        if run is not None:
            run.finish()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _data(self, in_names: Iterable[Any]) -> Generator[Any, None, None]:
        run = self._ready()
        self._n_epochs += 1
        number = self._n_epochs
        run.begin(in_names)
        self.errors = []
        try:
            while (result := run.take()) is not None:
                if result.error is not None:
                    self._failed(result.error)
                elif result.outname is not None and (opened := self._opened(result)):
                    # Nothing here has the data while the loop is at work on it.
                    yield opened.pop()
                    if self._n_epochs != number:
                        raise RuntimeError(
                            "this epoch has ended, as the stream was closed or another epoch has "
                            "begun: take one at a time"
                        )
        finally:
            if self._n_epochs == number:
                run.drop()

    def _opened(self, result: FileResult) -> list[Any]:
        """Return the data alone in a list; an empty one if they are left out."""
        delivered: Any = result.outname
        try:
            return [delivered.open()]
        except UnsendableError as raised:
            error = FileError(
                f"{shown(result.in_name)}: {raised}", in_name=result.in_name, hook="stream"
            )
            error.__cause__ = raised
            self._failed(error)
            return []

    def _failed(self, error: FileError) -> None:
        if not self._skips:
            raise error.with_traceback(hook_frames(error))
        self.errors.append(error)
        logger.warning("left out: %s", error)

    def _batches(self, data: Generator[Any, None, None], size: int) -> Generator[Any, None, None]:
        batch: list[Any] = []
        with closing(data):
            for each in data:
                batch.append(each)
                del each
                if len(batch) == size:
                    yield self._collated(batch)
            if batch and not self._drop_last:
                yield self._collated(batch)

    def _collated(self, batch: list[Any]) -> Any:
        """Make a batch of what a list holds, and empty it."""
        taken = batch[:]
        batch.clear()
        return self._collate(taken)

    def _ready(self) -> EpochRun:
        """Return the run, with the workers that there are; a new one if they have ended."""
        if self._run is not None and self._run.is_over:
            self._run.close()
            self._run = None
        if self._run is None:
            self._run = self._started()
        return self._run

    def _started(self) -> EpochRun:
        receiver = DataReceiver()
        n_together = self._batch_size or 1
        n_wanted = 2 * n_together + (self._prefetch or 0)
        pipe = FedPipe(self._pipe, receiver.worker_fd, n_wanted)
        plan = replace(self._plan, in_names=Epochs())
        try:
            run = EpochRun(pipe, plan, receiver, self._prefetch, n_together)
        except BaseException:
            pipe.close()
            receiver.close()
            raise
        weakref.finalize(self, run.close).atexit = False  # then, a run ends by itself
        return run


def _check(pipe: Any, given: dict[str, Any]) -> None:
    for name in _WITHOUT_EFFECT:
        if given.get(name) is not None:
            raise OptionError(f"{name} can have no effect on a stream: leave it out.")
    if type(pipe).file_process is not Hooks.file_process:
        raise OptionError(
            f"{type(pipe).__name__} has a file_process of its own, whose data a stream cannot get "
            "at: override file_read and data_process instead."
        )


def _planned(pipe: Any, given: dict[str, Any], on_error: str) -> Plan:
    plan: Plan = pipe._bmp_plan((), given)
    options: Options = plan.options
    executor = options.executor
    if isinstance(executor, Executor) and executor.wants_all_tasks:
        raise OptionError(
            f"{type(executor).__name__} begins only when it has all inputs, and a stream reads "
            "them as the loop goes on: use another executor."
        )
    if options.PoolClass is not None:
        raise OptionError("a stream needs bigpipe's own workers: leave PoolClass out.")
    options = replace(
        options,
        # One worker is a process too, as it works while the loop does.
        executor=executor or "processes",
        on_error="raise" if on_error == "raise" else "return",
        progress=False if options.progress is None else options.progress,
        **dict.fromkeys(_WITHOUT_EFFECT),
        batch_size=None,
    )
    project = plan.project
    return replace(
        plan,
        options=options,
        predict=None,
        project=None if project is None else lambda in_name: project(name_of(in_name)),
        has_outputs=False,
    )


def _count(name: str, value: int | None, least: int) -> int | None:
    if value is None or (isinstance(value, int) and value >= least):
        return value
    raise OptionError(f"{name} must be a whole number from {least} on, not {value!r}")


def _stacked(batch: list[Any]) -> Any:
    import numpy as np

    first = batch[0]
    if all(
        type(each) is np.ndarray and each.shape == first.shape and each.dtype == first.dtype
        for each in batch
    ):
        return np.stack(batch)
    return batch
