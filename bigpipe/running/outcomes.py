"""The result of a file: from a worker's report, or its death, to a `FileResult`.

Owns the choice of the outcome and the messages of errors that no hook raised.
`bigpipe.scheduler` decides when a task has ended.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from bigpipe.budget import format_bytes
from bigpipe.errors import (
    FileError,
    FileTimeoutError,
    MemoryBudgetError,
    WorkerError,
    how_ended,
    shown,
    warn,
)
from bigpipe.executors.base import HOOKS, Died, Report
from bigpipe.plurals import plural
from bigpipe.records import FileResult, Outcome
from bigpipe.scheduling.losses import MAX_FAILED_STARTS, MAX_IDLE_DEATHS

__all__ = [
    "FORKED",
    "failed",
    "killed",
    "not_started",
    "refused",
    "reported",
    "start_failure",
    "stopped",
    "timed_out",
    "too_large",
    "warn_of_fewer_workers",
    "warn_of_lost_data",
    "warn_of_name",
    "warn_of_side_file",
]

_WRITTEN = Outcome.WRITTEN  # the most frequent outcome; looking up an enum member takes time

FORKED = (
    "this process was forked during the run, which continues in the parent process: take the "
    "results there, or start another run here"
)


def reported(
    report: Report, in_name: Any, attempts: int, projected: int | None = None
) -> FileResult:
    """Return the result of a file that a worker has reported on."""
    error, meta, seconds = report.error, report.meta, report.seconds
    if isinstance(seconds, tuple):
        seconds = _by_hook(seconds)
    outcome, rejected_by = _WRITTEN, None
    if error is not None:
        if error.in_name is None:  # whoever made the error did not know the input
            what = shown(in_name) if in_name is not None else f"in_names[{report.index}] is None"
            error.args = (f"{what}: {error}",)
        error.in_name = in_name
        error.attempts = attempts
        meta = {"bmp_error": error}
        late = isinstance(error.__cause__, FileTimeoutError)
        outcome = Outcome.TIMED_OUT if late else Outcome.FAILED
    elif report.outname is None:
        outcome = Outcome.METADATA_ONLY
        if isinstance(meta, dict) and not meta:
            outcome, rejected_by = Outcome.REJECTED, report.rejected_by
    return FileResult(
        report.index,
        in_name,
        report.outname,
        meta,
        outcome,
        rejected_by,
        error,
        seconds,
        report.peak_rss,
        attempts,
        report.worker,
        projected,
        False,
        report.began_at,
        report.growth,
    )


def _by_hook(seconds: tuple[float, ...]) -> dict[str, float]:
    """Return seconds by hook: those reached, as not every file passes all hooks."""
    if len(seconds) != len(HOOKS):
        return dict(zip(HOOKS, seconds))  # noqa: B905 later hooks were not reached
    read, before, both, process, after, name, write = seconds
    return {  # the usual case, in half the time
        "file_read": read,
        "pre_process": before,
        "data_process_meta_create": both,
        "data_process": process,
        "post_process": after,
        "outname_create": name,
        "file_write": write,
    }


def killed(index: int, in_name: Any, death: Died, attempts: int, budget: int) -> FileResult:
    """Return the result of a file on which ``max_worker_deaths`` workers have died."""
    how = how_ended(death.exitcode)
    before = "" if attempts == 1 else f" (attempt {attempts})"
    message = f"worker {death.pid} {how} on {shown(in_name)}{_stage(death)}{before}"
    if death.exitcode == -signal.SIGKILL:
        message += f"; memory may have run out: {_memory_at_death(death, budget)}"
    return _ended(index, in_name, Outcome.KILLED, _error(message, in_name, death, attempts), death)


def _memory_at_death(death: Died, budget: int) -> str:
    """Return the memory of a worker that was killed, and what helps if memory ran out."""
    remedy = "give process_size or lower num_processes"
    if not death.peak_rss:
        return remedy
    if death.peak_rss > budget // 2:  # fewer workers would hardly help
        remedy = "provide more memory, or process the file in parts"
    return (
        f"the worker used {format_bytes(death.peak_rss)} when last measured, and all workers "
        f"may use {format_bytes(budget)}; {remedy}"
    )


def stopped(index: int, in_name: Any, death: Died, attempts: int) -> FileResult:
    """Return the result of an attempt that the run ended because memory ran short."""
    message = (
        f"worker {death.pid} was stopped on {shown(in_name)}{_stage(death)} because all workers "
        "together would have exceeded their memory; the file is run again when there is room"
    )
    error = _error(message, in_name, death, attempts, MemoryBudgetError(message))
    return _ended(index, in_name, Outcome.KILLED, error, death)


def timed_out(
    index: int, in_name: Any, death: Died, attempts: int, file_timeout: float
) -> FileResult:
    """Return the result of a file whose worker was ended because it took too long."""
    message = (
        f"{shown(in_name)} took longer than file_timeout={file_timeout:g} s{_stage(death)}, so "
        "its worker was ended; raise file_timeout if it may take that long"
    )
    late = FileTimeoutError(f"took longer than {file_timeout:g} s")
    error = _error(message, in_name, death, attempts, late)
    return _ended(index, in_name, Outcome.TIMED_OUT, error, death)


def too_large(
    index: int, in_name: Any, death: Died, attempts: int, used: int | None, budget: int
) -> FileResult:
    """Return the result of a file that alone took more memory than all workers may use."""
    message = (
        f"{shown(in_name)} alone took {format_bytes(used or 0)} of memory{_stage(death)}, but "
        f"mem_available is {format_bytes(budget)}, so its worker was ended; raise mem_available, "
        "or process the file in parts"
    )
    error = _error(message, in_name, death, attempts, MemoryBudgetError(message))
    return _ended(index, in_name, Outcome.FAILED, error, death)


def refused(index: int, in_name: Any, projected: int | None, budget: int) -> FileResult:
    """Return the result of a file projected to need more memory than all workers may use."""
    message = (
        f"{shown(in_name)} was not begun: all workers may use {format_bytes(budget)} of memory "
        f"(mem_available or mem_frac), but the file needs {format_bytes(projected or 0)} "
        "(process_size or projected_size); raise the former, or lower the latter if it is too high"
    )
    error = FileError(message, in_name=in_name, attempts=0)
    error.__cause__ = MemoryBudgetError(message)
    return _ended(index, in_name, Outcome.FAILED, error, None)


def failed(index: int, in_name: Any, error: FileError) -> FileResult:
    """Return the result of a file that cannot be submitted."""
    error.in_name = in_name
    return _ended(index, in_name, Outcome.FAILED, error, None)


def not_started(index: int, in_name: Any, cause: FileError, n_begun: int = 0) -> FileResult:
    """Return the result of a file, begun or not, given up because no worker could be prepared."""
    what = "broken off" if n_begun else "not begun"
    error = FileError(
        f"{cause}; therefore {shown(in_name)} was {what}",
        in_name=in_name,
        hook=cause.hook,
        exitcode=cause.exitcode,
        attempts=n_begun,
        traceback=cause.traceback,
    )
    error.__cause__ = cause.__cause__
    return _ended(index, in_name, Outcome.FAILED, error, None)


def warn_of_name(written: str, returned: Any, in_name: Any) -> None:
    """Warn of a file that was written but has no name, or a wrong one, in the result."""
    if returned is None:
        text = (
            "returned None, so the result has no name for this output: end file_write with "
            "'return outname'"
        )
    else:
        text = (
            f"returned {shown(returned)}, which does not exist: return the name that was "
            "written, or give outname the extension that the writing function adds"
        )
    warn(
        f"file_write has written {written!r} for {shown(in_name)} but {text}. Other files may be "
        "affected too.",
    )


def warn_of_side_file(name: str, in_name: Any) -> None:
    """Warn of a side file that has replaced one that another input wrote in the same run."""
    warn(
        f"file_write has written {name!r} for {shown(in_name)} in place of the file that it wrote "
        "there for another input, which is lost: make the names of all files from outname. To "
        "collect something of all inputs, return it as metadata. Other files may be affected too.",
    )


def warn_of_fewer_workers(n_workers: int, error: Exception) -> None:
    """Warn that the system refuses one more worker; raise if there is none.

    Raises
    ------
    WorkerError
        If the run cannot continue.
    """
    if not n_workers:
        remedy = ""  # which a WorkerError itself tells
        if not isinstance(error, WorkerError):
            remedy = ". Raise the limits on open files or memory (ulimit -n, ulimit -v)."
        raise WorkerError(f"no worker can be started: {error}{remedy}") from error
    warn(
        f"the run continues with {n_workers} {plural(n_workers, 'worker')} "
        f"(num_processes), because the system's limits allow no more: {error}",
    )


def warn_of_lost_data(pipe: Any, results: Sequence[FileResult]) -> None:
    """Warn if all files were rejected by a method of the caller's that never returns anything."""
    hooks = {result.rejected_by for result in results}
    hook = hooks.pop() if len(hooks) == 1 else None
    if hook not in ("file_read", "data_process"):
        return
    method = getattr(type(pipe), hook)
    function = pipe._bmp_done_by.get(hook, method)
    if _never_returns(function):
        n = len(results)
        which = "the only file was" if n == 1 else f"all {n} files were"
        name = function.__name__
        what = f"{hook} of {type(pipe).__name__}" if function is method else f"the function {name}"
        warn(
            f"{which} rejected, because {what} never returns anything: add return with the data "
            "at its end"
        )


def _never_returns(function: Any) -> bool:
    """Return whether a function was written without ``return`` of a value."""
    import dis
    from inspect import CO_GENERATOR

    if not isinstance(function, FunctionType) or function.__code__.co_flags & CO_GENERATOR:
        return False
    if function.__name__ == "<lambda>":  # returns None on purpose
        return False
    before = ("", None)
    for each in dis.get_instructions(function):
        if each.opname == "RETURN_VALUE" and before != ("LOAD_CONST", None):
            return False
        if each.opname == "RETURN_CONST" and each.argval is not None:
            return False
        before = each.opname, each.argval
    return True


def start_failure(was_ready: bool, death: Died) -> FileError:
    """Return the error of all files if workers keep dying before they begin one."""
    n_deaths, what = MAX_FAILED_STARTS, "were ready"
    if was_ready:
        n_deaths, what = MAX_IDLE_DEATHS, "had begun a file"
    return FileError(
        f"{n_deaths} workers in a row died before they {what}; the last one "
        f"{how_ended(death.exitcode)}{_stage(death)}; read what they wrote to standard "
        "error, or use executor='serial', which needs no workers",
        hook=death.hook or "start of the worker",
        exitcode=death.exitcode,
        attempts=0,
    )


def _stage(death: Died) -> str:
    return f" in {death.hook}" if death.hook else ""


def _error(
    message: str, in_name: Any, death: Died, attempts: int, cause: Exception | None = None
) -> FileError:
    exitcode = death.exitcode if cause is None else None  # not if the run itself ended the worker
    error = FileError(
        message, in_name=in_name, hook=death.hook, exitcode=exitcode, attempts=attempts
    )
    error.__cause__ = cause
    return error


def _ended(
    index: int, in_name: Any, outcome: Outcome, error: FileError, death: Died | None
) -> FileResult:
    return FileResult(
        index,
        in_name,
        None,
        {"bmp_error": error},
        outcome,
        error=error,
        peak_rss=None if death is None else death.peak_rss,
        attempts=error.attempts,
        worker=None if death is None else death.pid,
        began_at=None if death is None else death.began_at,
    )
