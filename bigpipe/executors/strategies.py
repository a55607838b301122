"""How a worker takes its files through the hooks: one by one, in batches, or overlapping.

Owns the order of the parts of several files in one worker. `bigpipe.passage` defines the parts,
`bigpipe.executors.file_run` handles their errors, and the executors bring files to a worker. Over
time, with R for read, P for process, W for write::

    interleaved   R1 P1 W1 R2 P2 W2 R3 P3 W3
    batched       R1 R2 P1+2 W1 W2 R3 R4 P3+4 W3 W4
    overlapped    R1 R2 R3 R4
                     P1 P2 P3 P4
                        W1 W2 W3 W4
"""

from __future__ import annotations

import importlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.executors.file_run import FileRun, process_together
from bigpipe.options import Options

__all__ = ["Batched", "Inbox", "Interleaved", "Overlapped", "Strategy", "make_strategy"]


class Inbox(ABC):
    """Where a strategy takes its files from, and hands them in.

    Attributes
    ----------
    pipe : BigMultiPipe
        The pipeline, as this worker has it.
    """

    pipe: Any

    @abstractmethod
    def take(self, wait: bool = True) -> FileRun | None:
        """Begin the next file; ``None`` if none is left or, without ``wait``, none is here yet."""

    @abstractmethod
    def hand_in(self, files: Sequence[FileRun]) -> None:
        """Report files that have ended, in the order in which they were taken."""


class Strategy(ABC):
    """The order in which a worker does the parts of its files.

    Parameters
    ----------
    options : Options
        The options of the run.

    Attributes
    ----------
    n_begun : int
        Most files that a worker has begun at once. Their memory is projected together.
    n_ahead : int
        Files that a worker is sent in addition, so that it need not wait.
    """

    n_begun = 1
    n_ahead = 1

    def __init__(self, options: Options) -> None:
        self.n_begun = options.batch_size or 1

    @abstractmethod
    def work(self, inbox: Inbox) -> None:
        """Take files and hand them in until there are no more. Called once in each worker."""


class Interleaved(Strategy):
    """Do one file after another."""

    def __init__(self, options: Options) -> None:
        self.n_begun = 1

    def work(self, inbox: Inbox) -> None:
        """Take files and hand them in, until there are no more."""
        while (file := inbox.take()) is not None:
            file.run()
            inbox.hand_in([file])


class Batched(Strategy):
    """Do several files in lock step: read all, process all, write all."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.n_ahead = self.n_begun

    def work(self, inbox: Inbox) -> None:
        """Take files and hand them in, until there are no more."""
        batches = _Batches(inbox, self.n_begun)
        while batch := batches.take():
            _read(batch)
            _process(inbox.pipe, batch)
            _write(batch)
            inbox.hand_in(batch)
            del batch[:]


class Overlapped(Strategy):
    """Read the next files and write the previous ones while others are processed."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._batch_size = self.n_begun
        self._process = _process if options.batch_size else _process_alone
        self.n_begun, self.n_ahead = 3 * self._batch_size, self._batch_size

    def work(self, inbox: Inbox) -> None:
        """Take files and hand them in, until there are no more."""
        line = _Line(_Batches(inbox, self._batch_size), inbox)
        line.start()
        try:
            while batch := line.next_read():
                if batch[0].is_alone:
                    line.write_out()
                    _read(batch)
                    self._process(inbox.pipe, batch)
                    _write(batch)
                    inbox.hand_in(batch)
                    line.read_on()
                    continue
                line.read_on()
                self._process(inbox.pipe, batch)
                line.write(batch)
            line.write_out()
        finally:
            line.stop()


class _Batches:
    """Takes several files at a time, but a file that must be alone by itself."""

    def __init__(self, inbox: Inbox, size: int) -> None:
        self._inbox = inbox
        self._size = size
        self._alone: FileRun | None = None

    def take(self) -> list[FileRun]:
        """Wait for a file; return it with others that are already here."""
        first, self._alone = self._alone, None
        first = first or self._inbox.take()
        if first is None:
            return []
        batch = [first]
        while len(batch) < self._size and not first.is_alone:
            more = self._inbox.take(wait=False)
            if more is None:
                break
            if more.is_alone:
                self._alone = more
                break
            batch.append(more)
        return batch


@dataclass(eq=False)
class _Line:
    """Two threads around the one that processes: one reads ahead, one writes behind."""

    batches: _Batches
    inbox: Inbox
    _read: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _to_read: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))
    _to_write: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _written: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _n_to_write: int = 0
    _is_stopped: bool = False

    def start(self) -> None:
        """Start both threads, of which one begins to read."""
        for name, target in (("read", self._read_ahead), ("write", self._write_behind)):
            threading.Thread(target=target, name=f"bigpipe-{name}", daemon=True).start()

    def next_read(self) -> list[FileRun]:
        """Wait for files that have been read; an empty list if there are no more."""
        batch: list[FileRun] = _unless_error(self._read.get())
        return batch

    def read_on(self) -> None:
        """Let the next files be read."""
        self._to_read.release()

    def write(self, batch: list[FileRun]) -> None:
        """Have files written, after waiting for those before them."""
        self.write_out()
        self._n_to_write += 1
        self._to_write.put(batch)

    def write_out(self) -> None:
        """Wait until all files are written."""
        while self._n_to_write:
            _unless_error(self._written.get())
            self._n_to_write -= 1

    def stop(self) -> None:
        """Let both threads end after their current files."""
        self._is_stopped = True
        self._to_read.release()
        self._to_write.put(None)

    def _read_ahead(self) -> None:
        try:
            while True:
                self._to_read.acquire()
                batch = [] if self._is_stopped else self.batches.take()
                if not (batch and batch[0].is_alone):
                    _read(batch)
                is_last = not batch
                self._read.put(batch)  # from here on, the thread that writes it may empty it
                if is_last:
                    return
        except BaseException as error:  # nothing may be lost: the thread that waits raises it
            self._read.put(error)

    def _write_behind(self) -> None:
        try:
            while (batch := self._to_write.get()) is not None:
                _write(batch)
                self.inbox.hand_in(batch)
                del batch[:]
                self._written.put(None)
        except BaseException as error:  # nothing may be lost: the thread that waits raises it
            self._written.put(error)


def _unless_error(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result


def _read(batch: Sequence[FileRun]) -> None:
    for file in batch:
        file.read()


def _process(pipe: Any, batch: Sequence[FileRun]) -> None:
    for file in batch:
        file.prepare()
    process_together(pipe, batch)


def _process_alone(pipe: Any, batch: Sequence[FileRun]) -> None:
    for file in batch:
        file.prepare()
        file.process()


def _write(batch: Sequence[FileRun]) -> None:
    for file in batch:
        file.write()


_BY_NAME = {"interleaved": Interleaved, "batched": Batched, "overlapped": Overlapped}


def make_strategy(options: Options) -> Strategy:
    """Return the strategy that the options ask for.

    Raises
    ------
    OptionError
        If options contradict one another, or a name does not lead to a strategy.
    """
    given = options.strategy
    if given is None:
        given = "overlapped" if options.overlap else "batched" if options.batch_size else None
    if given is None:
        return Interleaved(options)
    cls = _BY_NAME.get(given) or _imported(given) if isinstance(given, str) else given
    strategy = cls(options) if isinstance(cls, type) else cls
    if not isinstance(strategy, Strategy):
        raise OptionError(
            f"strategy={options.strategy!r} is not a bigpipe.executors.strategies.Strategy: derive "
            "its class from that, or use 'interleaved', 'batched' or 'overlapped'"
        )
    return strategy


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(
            f"strategy={name!r} cannot be imported ({error}): give the full name of a class, such "
            "as 'package.module.Class', or 'interleaved', 'batched' or 'overlapped'"
        ) from error
