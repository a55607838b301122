"""One file in a worker, in parts that can be done separately.

Owns the handling of an exception in each part, and the final report. The parts are those of
`bigpipe.passage`. A file that is done in one go needs none of this: see
`bigpipe.executors.worker.TaskRunner.run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bigpipe import context
from bigpipe.claims.register import Claimant
from bigpipe.executors.base import Report, Task
from bigpipe.executors.worker import TaskRunner
from bigpipe.interrupts import Terminated
from bigpipe.sharing.buffers import BuffersLost

__all__ = ["FileRun", "process_together"]


class FileRun:
    """One file on its way through a worker.

    Parameters
    ----------
    runner : TaskRunner
        The runner of the worker.
    task : Task
        The file.
    claimant : Claimant
        Asks for the name of the output.

    Attributes
    ----------
    is_alone : bool
        Whether no other file may be in flight beside it, because a worker with several files died
        on it.
    is_over : bool
        Whether it was rejected, has failed or is unchanged; the parts then do nothing.

    Notes
    -----
    Call `read`, `prepare`, `process` and `write` in this order, each once and in any thread, then
    ``report``. What a hook raises is kept for the report.
    """

    def __init__(self, runner: TaskRunner, task: Task, claimant: Claimant) -> None:
        self._runner = runner
        self._claimant = claimant
        self.task = task
        self.is_alone = task.is_alone
        self.restart()

    def restart(self) -> None:
        """Go back to the beginning, with fresh keywords."""
        self.is_over = False
        self._error: Any = None
        self._returned: tuple[Any, Any] | None = None
        self._began_at = time.time()
        in_name = context.copied(self.task.in_name)
        self._states, self._is_unchanged = self._runner.looked_up(self.task, in_name)
        self._file = self._runner.record(in_name, self.task.index, self._claimant)
        self._passage: Any = None
        self._in_name = in_name
        self.is_over = self._is_unchanged
        self._do(self._set_out)
        self._file.end()

    def _set_out(self) -> bool:
        self._kwargs = self._runner.snapshot.fresh()
        self._passage = self._runner.pipe._bmp_passage(self._file, self._in_name, self._kwargs)
        return True

    def read(self) -> None:
        """Read the file."""
        if self._passage is not None:
            self._began_at = time.time()
            self._do(self._passage.read)

    def prepare(self) -> None:
        """Call the functions that come before ``data_process``."""
        if self._passage is not None:
            self._do(self._passage.prepare)

    def process(self) -> None:
        """Process the data, or run the whole ``file_process`` of a subclass."""
        self._do(self._process_whole if self._passage is None else self._passage.process)

    def write(self) -> None:
        """Write the output."""
        if self._passage is not None:
            self._do(self._passage.write)

    def run(self) -> None:
        """Do all parts."""
        self.read()
        self.prepare()
        self.process()
        self.write()

    def _process_whole(self) -> bool:
        self._file.begin("file_process")
        kwargs = self._kwargs
        returned = self._runner.pipe.file_process(self._in_name, **kwargs)
        self._returned = self._file.pair(returned, "(outname, meta)", "file_process")
        return True

    def _do(self, part: Callable[[], bool]) -> None:
        if self.is_over:
            return
        token = context.set_current(self._file)
        try:
            self.is_over = not part()
            self._runner.end_if_over()
        except (Terminated, BuffersLost):
            raise
        except self._runner.catch as raised:
            self.fail(raised)
        finally:
            context.reset_current(token)
            self._file.end()

    def fail(self, raised: BaseException) -> None:
        """End the file with this exception."""
        self._runner.end_worker()
        hook = self._file.hook or "file_process"
        self._error = self._runner.failure(raised, hook, self.task.in_name, self._file.chunk)
        self.is_over = True
        self._let_go()

    def _let_go(self) -> None:
        """Give up the data and the keywords."""
        if self._passage is not None:
            self._returned = self._passage.outname, self._passage.meta
        self._passage = self._kwargs = None

    def report(self, peak: int, growth: int | None) -> Report:
        """Return the report of the file, with the measured memory."""
        if self._is_unchanged:
            return self._runner.unchanged(self.task)
        self._let_go()
        outname, meta = self._returned or (None, {})
        if self._error is not None:
            outname, meta = None, {}
        self._file.end()
        return self._runner.report(
            self.task, self._file, outname, meta, self._error, peak, growth, self._states,
            self._began_at,
        )  # fmt: skip

    @property
    def batched(self) -> tuple[Any, dict[str, Any]]:
        """The data and the keywords of the hooks, to be processed together with other files."""
        kwargs = self._runner.pipe._bmp_control(self._passage.kwargs)
        return self._passage.data, {**kwargs, "in_name": self._file.remaining_names()}

    def of_run(self) -> dict[str, Any]:
        """Return the keywords of the run, which no file has as its own."""
        kwargs: dict[str, Any] = self._runner.pipe._bmp_control(self._runner.snapshot.fresh())
        return kwargs

    def note_batch(self) -> None:
        """Note that processing together with other files begins."""
        self._file.begin("data_process_batch")

    def take_processed(self, data: Any) -> None:
        """Take the result of processing together with other files."""
        self._file.end()
        self._file.batched = (data,)

    @property
    def catch(self) -> tuple[type[BaseException], ...]:
        """Exceptions of a hook that are a failure of its file."""
        return self._runner.catch

    @property
    def has_passage(self) -> bool:
        """Whether the file is done in parts."""
        return self._passage is not None


def process_together(pipe: Any, files: Sequence[FileRun]) -> None:
    """Process the data of several files, together if the pipeline can.

    If that raises, each file is done again from its beginning, one by one, so that only those
    that raise by themselves fail.
    """
    together = [file for file in files if not file.is_over and file.has_passage]
    if together and pipe._bmp_has_batches:
        for file in together:
            file.note_batch()
        try:
            common = together[0].of_run()
            results = pipe._bmp_process_batch([file.batched for file in together], common)
        except (Terminated, BuffersLost):
            raise
        except together[0].catch as raised:
            if len(together) == 1:
                together[0].fail(raised)
            else:
                for file in together:
                    file.restart()
                    file.read()
                    file.prepare()
                    process_together(pipe, [file])
            files = [file for file in files if file not in together]
        else:
            for file, data in zip(together, results, strict=True):
                file.take_processed(data)
    for file in files:
        file.process()
