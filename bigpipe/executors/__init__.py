"""Where files are processed: in this process, threads, worker processes, or the caller's pool."""

from __future__ import annotations

from bigpipe.errors import OptionError, warn
from bigpipe.executors.base import Executor
from bigpipe.executors.strategies import Interleaved, Overlapped, Strategy
from bigpipe.options import Options
from bigpipe.system.fork_safety import warn_if_fork_is_unsafe

__all__ = ["Executor", "make_executor"]


def make_executor(options: Options, n_workers: int, strategy: Strategy) -> Executor:
    """Return the executor that the options ask for; warn if it cannot keep a file_timeout.

    Raises
    ------
    OptionError
        If the executor cannot work with this strategy, or with max_retries.
    """
    executor = _chosen(options, n_workers, strategy.n_begun > 1)
    executor.strategy = _fitting(strategy, executor, options)
    if options.max_retries and executor.wants_all_tasks:
        raise OptionError("max_retries cannot be used with PoolClass: leave one of them out")
    can_stop = executor.can_stop and (executor.can_pause or executor.strategy is None)
    if options.file_timeout is not None and not can_stop:
        warn(
            f"{type(executor).__name__} cannot stop a file: file_timeout has no effect",
        )
    return executor


def _fitting(strategy: Strategy, executor: Executor, options: Options) -> Strategy | None:
    """Return the strategy for an executor; ``None`` for one file after another."""
    if strategy.n_begun == 1 and type(strategy) is Interleaved:
        return None
    if options.PoolClass is not None or not executor.has_strategies:
        raise OptionError(
            "overlap, batch_size and strategy need bigpipe's own workers: leave out these options, "
            "or PoolClass and executor"
        )
    if not isinstance(strategy, Overlapped):
        return strategy
    if options.executor == "threads":
        raise OptionError(
            "overlap cannot be used with executor='threads': use more threads (num_processes), "
            "which overlap by themselves"
        )
    return strategy if executor.can_pause else None  # a debugger needs one file at a time


def _chosen(options: Options, n_workers: int, in_company: bool) -> Executor:
    """Return the executor; the heavy ones are imported only here."""
    if isinstance(options.executor, Executor):
        return options.executor
    is_one = n_workers <= 1 and not in_company
    if options.executor == "serial" or (is_one and options.executor is None):
        from bigpipe.executors.serial import SerialExecutor

        return SerialExecutor(keep_frames=options.on_error == "raise")
    if options.executor == "threads":
        from bigpipe.executors.threads import ThreadsExecutor

        return ThreadsExecutor()
    if options.PoolClass is not None:
        from bigpipe.executors.pool import PoolExecutor

        return PoolExecutor(options.PoolClass, n_workers)
    from bigpipe.executors.processes import ProcessesExecutor

    if options.start_method == "fork":
        warn_if_fork_is_unsafe()
    return ProcessesExecutor()
