"""Where files are processed: serial, threads, processes, and pools that others have made."""

from __future__ import annotations

import warnings

from bigpipe.errors import BigpipeWarning
from bigpipe.executors.base import Executor
from bigpipe.options import Options

__all__ = ["Executor", "make_executor"]


def make_executor(options: Options, n_workers: int) -> Executor:
    """Return the executor that the options ask for; warn if it cannot do all that they ask."""
    executor = _chosen(options, n_workers)
    if options.file_timeout is not None and not executor.can_stop:
        warnings.warn(
            f"{type(executor).__name__} cannot stop a file: file_timeout is not kept",
            BigpipeWarning,
            stacklevel=5,
        )
    return executor


def _chosen(options: Options, n_workers: int) -> Executor:
    """Return the executor; the heavy ones are imported only here."""
    if isinstance(options.executor, Executor):
        return options.executor
    if options.executor == "serial" or (n_workers <= 1 and options.executor is None):
        from bigpipe.executors.serial import SerialExecutor

        return SerialExecutor(keep_frames=options.on_error == "raise")
    if options.executor == "threads":
        from bigpipe.executors.threads import ThreadsExecutor

        return ThreadsExecutor()
    if options.PoolClass is not None:
        from bigpipe.executors.pool import PoolExecutor

        return PoolExecutor(options.PoolClass, n_workers)
    from bigpipe.executors.processes import ProcessesExecutor

    return ProcessesExecutor()
