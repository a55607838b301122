"""`Stream`: processed data for a loop, in input order, epoch by epoch.

Owns batches, and what the loop sees of a failed file. `bigpipe.epoch_run` gets the data here.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import closing
from dataclasses import replace
from typing import Any

from bigpipe import option_checks as checks
from bigpipe.epoch_run import EpochRun, Epochs
from bigpipe.errors import FileError, InNamesError, OptionError, UnsendableError, shown
from bigpipe.executors.base import Executor
from bigpipe.executors.delivery import DataReceiver
from bigpipe.executors.failures import hook_frames
from bigpipe.fed_pipe import FedPipe
from bigpipe.hooks import Hooks
from bigpipe.options import Options
from bigpipe.records import FileResult
from bigpipe.running.plan import Plan, checked_in_names
from bigpipe.slices import name_of

__all__ = ["Stream"]

_WITHOUT_EFFECT = ("PoolClass", "journal", "order", "overlap", "strategy")
_ON_ERROR = ("raise", "skip")

logger = logging.getLogger(__name__)


class Stream:
    """Processed data for a loop, in input order; made by `BigMultiPipe.stream`.

    Each loop over it is an epoch. The first epoch starts the workers, which stay for later ones
    until `close`, the end of a ``with`` block, or the deletion of this object. Leaving a loop
    drops the data that workers had prepared ahead.

    Attributes
    ----------
    errors : list of FileError
        Errors of files left out of the current or last epoch (``on_error='skip'``).

    Notes
    -----
    An array from a worker process is not copied: the caller and the worker share its memory. The
    loop may keep the array and write into it; its memory is reused once no array refers to it.

    Shared memory holds, at most, the data prepared ahead and those that the loop keeps. They come
    on top of the workers' own memory; only that counts towards ``mem_available``.

    With ``executor='threads'``, each thread has one file at a time, so no more than one per
    thread are ahead while the loop is busy. With ``'serial'``, none are.
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
        self._batch_size = None if batch_size is None else checks.count("batch_size", batch_size)
        self._prefetch = None if prefetch is None else checks.whole("prefetch", prefetch)
        if batch_size is None and (collate is not None or drop_last):
            raise OptionError("collate and drop_last need batch_size: give it or leave them out")
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
                    "the inputs came from an iterator, which can be read only once: give a list, "
                    "or pass the inputs of each epoch to epoch()"
                )
            self._has_begun = True
        return self.epoch(names)

    def __len__(self) -> int:
        """Return the number of data or batches of an epoch, if no file is left out."""
        if not isinstance(self._in_names, Sized):
            raise TypeError("the inputs have no length")
        n, size = len(self._in_names), self._batch_size or 1
        return n // size if self._drop_last else -(-n // size)

    def epoch(self, in_names: Iterable[Any]) -> Iterator[Any]:
        """Return an epoch over other inputs, or over the same inputs in another order.

        Parameters
        ----------
        in_names : iterable
            As for `BigMultiPipe.stream`.

        Returns
        -------
        iterator
            Iterator over data or batches. Starting another epoch ends this one.
        """
        data = self._data(checked_in_names(in_names))
        return data if self._batch_size is None else self._batches(data, self._batch_size)

    def close(self) -> None:
        """End the workers. A later epoch starts new ones."""
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
                    # The run still has the result, and the error raised will refer to this stream,
                    # which could then not be deleted.
                    error, result.error, result.meta = result.error, None, {}
                    self._failed(error)
                elif result.outname is not None and (opened := self._opened(result)):
                    # No reference is kept here while the loop uses the data.
                    yield opened.pop()
                    if self._n_epochs != number:
                        raise RuntimeError(
                            "this epoch has ended, because the stream was closed or another epoch "
                            "has begun: use one epoch at a time"
                        )
        finally:
            if self._n_epochs == number:
                run.drop()

    def _opened(self, result: FileResult) -> list[Any]:
        """Return the data in a list, or an empty list if they are left out."""
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
        """Make a batch of the data in a list, and empty the list."""
        taken = batch[:]
        batch.clear()
        return self._collate(taken)

    def _ready(self) -> EpochRun:
        """Return the current run with its workers, or a new one if that has ended."""
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
        weakref.finalize(self, run.close).atexit = False  # at exit, a run ends by itself
        return run


def _check(pipe: Any, given: dict[str, Any]) -> None:
    for name in _WITHOUT_EFFECT:
        if given.get(name) is not None:
            raise OptionError(f"{name} has no effect on a stream: leave it out")
    if type(pipe).file_process is not Hooks.file_process:
        raise OptionError(
            f"{type(pipe).__name__} overrides file_process, whose data a stream cannot get: "
            "override file_read and data_process instead"
        )


def _planned(pipe: Any, given: dict[str, Any], on_error: str) -> Plan:
    plan: Plan = pipe._bmp_plan((), given)
    options: Options = plan.options
    executor = options.executor
    if isinstance(executor, Executor) and executor.wants_all_tasks:
        raise OptionError(
            f"{type(executor).__name__} begins only when it has all inputs, but a stream reads "
            "them as the loop proceeds: use another executor"
        )
    if options.PoolClass is not None:
        raise OptionError("a stream needs bigpipe's own workers: leave PoolClass out")
    options = replace(
        options,
        # Even a single worker is a process, so that it works while the loop does.
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


def _stacked(batch: list[Any]) -> Any:
    import numpy as np

    first = batch[0]
    if all(
        type(each) is np.ndarray and each.shape == first.shape and each.dtype == first.dtype
        for each in batch
    ):
        return np.stack(batch)
    return batch
