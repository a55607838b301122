"""Where files are processed: serial, threads, processes, and pools that others have made."""

from __future__ import annotations

from bigpipe.executors.base import Executor
from bigpipe.options import Options

__all__ = ["Executor", "make_executor"]


def make_executor(options: Options, n_workers: int) -> Executor:
    """Return the executor that the options ask for; the heavy ones are imported only here."""
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
