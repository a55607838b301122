"""Runs one task in a worker, of whichever executor.

Owns the way from a task to a report: fresh keywords, the record of the current file, the peak of
memory, and the handling of exceptions, which `bigpipe.executors.failures` puts into words. It has
no channels and starts nothing; executors do that.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from typing import Any

from bigpipe import context
from bigpipe.claims.register import Claimant
from bigpipe.context import FileContext
from bigpipe.errors import (
    BigpipeWarning,
    FileError,
    FileTimeoutError,
    show_worker_traceback,
)
from bigpipe.executors.base import Report, Task
from bigpipe.executors.failures import describe, file_error
from bigpipe.executors.kept_memory import KeptMemory
from bigpipe.executors.peak_meter import WORTH_LOOKING, PeakMeter
from bigpipe.file_states import checksums, input_states, state_of
from bigpipe.interrupts import Terminated, TimeIsUp
from bigpipe.journal_store.rows import FileTexts, file_texts
from bigpipe.measure import Share, set_share
from bigpipe.outputs import Stager
from bigpipe.sharing.buffers import BuffersLost
from bigpipe.sharing.snapshot import size_besides_arrays

__all__ = ["TaskRunner"]

MIN_COPY_S = 0.05  # seconds that copying the keywords takes below which nobody minds; arbitrary
MUCH_COPYING = 0.2  # fraction of a file's time; arbitrary


class TaskRunner:
    """Runs tasks one after another.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline object, as this worker has it.
    snapshot : Snapshot or LocalSnapshot
        The keywords.
    worker : int
        The value for `FileResult.worker`.
    stager : Stager
        Where outputs are written first.
    on_hook : callable, optional
        Called with the name of each hook as it begins.
    file_timeout : float, optional
        Seconds that one file may take, for the text of the error.
    keep_frames : bool, optional
        Keep an exception's frames, for a debugger. They hold the data.
    catch : tuple of types, optional
        Exceptions that are a file's failure; others end the worker.
    end_worker : callable, optional
        Called after hooks, which may have caught what should have ended this process or thread:
        ends it if it must not continue.
    cores : float, optional
        Cores that a pipeline started by a hook may use.
    is_alone : bool, optional
        Whether nothing else ever runs in this process.
    in_thread : bool, optional
        Whether other tasks, or the caller's code, run in this process at the same time.
    kept_memory : KeptMemory, optional
        Freed memory that is kept from file to file.

    Attributes
    ----------
    reserved : int or None
        Bytes that this worker holds without a file, known after `init`.
    is_late : bool
        Whether the file has taken too long. The executor that raises `TimeIsUp` sets it, because
        a bare ``except:`` of a hook may swallow the exception.
    """

    def __init__(
        self,
        pipe: Any,
        snapshot: Any,
        worker: int,
        stager: Stager,
        *,
        on_hook: Callable[[str], None] | None = None,
        file_timeout: float | None = None,
        keep_frames: bool = False,
        catch: tuple[type[BaseException], ...] = (Exception, SystemExit, TimeIsUp),
        end_worker: Callable[[], None] = lambda: None,
        cores: float | None = None,
        is_alone: bool = False,
        in_thread: bool = False,
        kept_memory: KeptMemory | None = None,
    ) -> None:
        self.pipe = pipe
        self.snapshot = snapshot
        self.worker = worker
        self.stager = stager
        self.on_hook = on_hook
        self.file_timeout = file_timeout
        self.keep_frames = keep_frames
        self.catch = catch
        self.end_worker = end_worker
        self.cores = cores
        self.is_alone = is_alone
        self.in_thread = in_thread
        self._kept_memory = kept_memory
        self.reserved: int | None = None
        self._share: int | None = -1  # memory of the last file; -1 before the first
        self._copy_s = 0.0  # what copying the keywords takes; 0 from the second file on
        self.is_late = False

    def init(self) -> FileError | None:
        """Run ``worker_init``; return what it raised."""
        try:
            began = time.perf_counter()
            kwargs = self.snapshot.fresh()
            self._copy_s = time.perf_counter() - began
            self.pipe.worker_init(**kwargs)
        except (Terminated, BuffersLost):
            raise
        except self.catch as error:
            return self.failure(error, "worker_init", None)
        self._meter = PeakMeter()
        self.reserved = self._meter.reserved
        return None

    def exit(self) -> None:
        """Run ``worker_exit`` after a good `init`, and remove the staging folders."""
        try:
            self.pipe.worker_exit(**self.snapshot.fresh())
        except BuffersLost:
            raise
        except self.catch as error:
            warnings.warn(
                f"worker_exit raised {describe(error)}; the results are not affected",
                BigpipeWarning,
                stacklevel=2,
            )
        finally:
            self.stager.close()
            self._meter.close()

    def run(self, task: Task, claimant: Claimant) -> Report:
        """Take one file through the hooks."""
        began_at = time.time()
        in_name = context.copied(task.in_name)
        states, is_unchanged = self.looked_up(task, in_name)
        if is_unchanged:
            return self.unchanged(task)
        file = self.record(in_name, task.index, claimant)
        if self.on_hook is not None:
            self.on_hook("file_process")
        kept = self._kept_memory
        if kept is not None and kept.is_keeping:
            kept.begin(in_name)
        self._meter.reset()
        outname: Any = None
        meta: Any = {}
        error = None
        token = context.set_current(file)
        share = self._set_share(task.memory)
        kwargs: dict[str, Any] = {}
        try:
            kwargs = self._timed_keywords() if self._copy_s else self.snapshot.fresh()
            returned = self.pipe.file_process(in_name, **kwargs)
            outname, meta = file.pair(returned, "(outname, meta)", "file_process")
            self.end_if_over()
        except (Terminated, BuffersLost):
            raise
        except self.catch as raised:
            if isinstance(raised, TimeIsUp) and not self.is_late:
                raise  # it is meant for the file whose hook called this pipeline
            self.end_worker()
            outname, meta = None, {}
            hook = file.hook or "file_process"
            error = self.failure(raised, hook, task.in_name, file.chunk)
        finally:
            context.reset_current(token)
            if share is not None:
                set_share(*share, in_thread=self.in_thread)
        file.end()
        peak, growth = self._measured()  # before the keywords go, which are not the file's
        if self._copy_s:
            self._warn_of_copies(kwargs, time.time() - began_at)
        del kwargs
        if kept is not None and growth is not None and growth > WORTH_LOOKING:
            kept.end(in_name, self._meter.held)
        return self.report(task, file, outname, meta, error, peak, growth, states, began_at)

    def _timed_keywords(self) -> dict[str, Any]:
        """Return the keywords of the first file; time it if the copy for `init` took long."""
        is_slow = self._copy_s >= MIN_COPY_S
        began = time.perf_counter()  # anew: the first copy may have imported packages
        kwargs: dict[str, Any] = self.snapshot.fresh()
        self._copy_s = time.perf_counter() - began if is_slow else 0.0
        return kwargs

    def _warn_of_copies(self, kwargs: dict[str, Any], file_s: float) -> None:
        """Warn if copying the keywords takes much of the time of a file."""
        copy_s, self._copy_s = self._copy_s, 0.0
        if not kwargs or copy_s < max(MIN_COPY_S, MUCH_COPYING * file_s):
            return  # they could not be copied, or that took little
        name = max(kwargs, key=lambda name: size_besides_arrays(kwargs[name]))
        # Without figures: the caller sees a text once, even if several workers send it.
        warnings.warn(
            f"copying the keyword {name!r} ({type(kwargs[name]).__name__}) for each file takes "
            "much of the time: load it in worker_init, or give it as numpy arrays of numbers, "
            "which are not copied",
            BigpipeWarning,
            stacklevel=2,
        )

    def looked_up(self, task: Task, in_name: Any) -> tuple[tuple[Any, ...], bool]:
        """Return the states of an input for the journal, and whether its content is unchanged."""
        states: tuple[Any, ...] = input_states(in_name) if task.is_recorded else ()
        if task.checksums is None:
            return states, False
        found = checksums(in_name)
        is_unchanged = bool(found) and found == task.checksums
        return tuple(map(_with_checksum, states, found)), is_unchanged

    def unchanged(self, task: Task) -> Report:
        """Return the report of a file whose content is unchanged."""
        return Report(task.index, worker=self.worker, is_unchanged=True)

    def measure(self) -> tuple[int, int | None]:
        """Return the peak since this was last called, and the growth; start anew."""
        measured = self._measured()
        self._meter.reset()
        return measured

    def _measured(self) -> tuple[int, int | None]:
        peak = self._meter.peak()
        # Growth is unknown where several files run at once.
        return peak, None if self.in_thread else self._meter.growth(peak)

    def report(
        self,
        task: Task,
        file: FileContext,
        outname: Any,
        meta: Any,
        error: FileError | None,
        peak: int,
        growth: int | None,
        states: tuple[Any, ...],
        began_at: float,
    ) -> Report:
        """Return the report of a file."""
        rejected_by = file.rejected_by
        if outname is None and error is None and rejected_by is None:
            rejected_by = "file_process"
        return Report(
            task.index,
            outname,
            meta,
            rejected_by if outname is None else None,
            file.seconds,
            peak,
            error,
            self.worker,
            file.has_written,
            file.unnamed,
            growth,
            _texts(file, states, outname, meta, error) if task.is_recorded else None,
            began_at=began_at,
            side_files=dict(file.side_files) if file.side_files else None,
        )

    def record(self, in_name: Any, index: int, claimant: Claimant) -> FileContext:
        """Return a new record for a file."""
        return FileContext(
            in_name,
            index=index,
            worker=self.worker,
            pipe=self.pipe,
            stager=self.stager,
            claimant=claimant,
            on_hook=self.on_hook,
        )

    def _set_share(self, memory: int | None) -> Share | None:
        """Set what a pipeline started by a hook may use; return what to restore afterwards."""
        if not self.is_alone:
            return set_share(memory, self.cores, in_thread=self.in_thread)
        if self._share != memory:  # nothing else runs here: it may stay until the next file
            self._share = memory
            set_share(memory, self.cores)
        return None

    def share(self, memory: int | None) -> None:
        """Set what a pipeline started by a hook may use, in a process of this worker alone."""
        if self.is_alone:
            self._set_share(memory)

    def end_if_over(self) -> None:
        """End the worker, or the file, if it should have ended but a hook caught the exception."""
        self.end_worker()
        if self.is_late:
            raise TimeIsUp

    def failure(
        self, raised: BaseException, hook: str, in_name: Any, chunk: int | None = None
    ) -> FileError:
        """Return the error of a file for what its hook raised."""
        if self.is_late:
            late = FileTimeoutError(f"took longer than file_timeout={self.file_timeout:g} s")
            raised = late.with_traceback(raised.__traceback__)
        error = file_error(raised, hook, in_name, chunk)
        if not self.keep_frames:
            # Frames keep the data of a failed file in memory until the run ends.
            show_worker_traceback(error)
        return error


def _with_checksum(state: Any, checksum: str | None) -> Any:
    return state if state is None or checksum is None else (*state, checksum)


def _texts(
    file: FileContext, states: tuple[Any, ...], outname: Any, meta: Any, error: FileError | None
) -> FileTexts:
    """Return the texts of a file for the journal."""
    if error is not None:
        return file_texts(states, file.seconds)
    return file_texts(states, file.seconds, _outputs(file, outname), (outname, meta))


def _outputs(file: FileContext, outname: Any) -> list[tuple[str, Any]]:
    """Return the outputs in place for a file: the one that was returned, and its side files."""
    names = []
    if isinstance(outname, (str, bytes, os.PathLike)):
        names.append(os.path.abspath(os.fsdecode(outname)))
    names += [name for name in map(os.path.abspath, file.outputs) if os.path.lexists(name)]
    return [(name, state_of(name)) for name in dict.fromkeys(names)]
