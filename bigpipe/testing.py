"""Contract checks for authors of executors: what `bigpipe.run` relies on.

Owns the checks. They drive an executor through the interface of `bigpipe.executors.base` as a run
does, and need no test framework. The interface is documented there.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bigpipe.errors import CollisionError, FileError
from bigpipe.executors.base import (
    Asked,
    Died,
    Executor,
    ExecutorEvent,
    InitFailed,
    Ready,
    Report,
    Reported,
    Setup,
    Task,
)
from bigpipe.pipeline import BigMultiPipe

__all__ = ["check_executor"]

PATIENCE = 30.0  # seconds without an event after which a check fails; arbitrary


def check_executor(make: Callable[[], Executor]) -> None:
    """Check that an executor keeps the contract of `bigpipe.executors.base.Executor`.

    Parameters
    ----------
    make : callable
        Returns a new executor at each call, not yet started.

    Raises
    ------
    AssertionError
        If the executor breaks the contract; the message says how.

    Notes
    -----
    Starts about ten workers in all, and writes small files into a temporary folder.

    Examples
    --------
    >>> from bigpipe.executors.serial import SerialExecutor
    >>> check_executor(SerialExecutor)
    """
    for check in (
        _check_reports,
        _check_errors,
        _check_worker_init,
        _check_claims,
        _check_recall,
        _check_workers_end,
        _check_break_off,
        _check_second_run,
    ):
        with tempfile.TemporaryDirectory() as folder:
            driver = _Driver(make(), folder)
            try:
                check(driver)
            except BaseException:
                with suppress(Exception):  # the first failure is the one to report
                    driver.executor.close(graceful=False)
                raise


class _Contract(BigMultiPipe):
    """Does what the name of a file says: ``'3 fail'`` fails."""

    def worker_init(self, **kwargs: Any) -> None:
        if kwargs.get("begin") == "fail":
            raise LookupError("told to fail")
        _leave_note(kwargs["folder"], "init")

    def worker_exit(self, **kwargs: Any) -> None:
        _leave_note(kwargs["folder"], "exit")

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        return in_name

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        what = data.partition(" ")[2]
        if what == "fail":
            raise LookupError("told to fail")
        while what == "stay":
            pass
        return data

    def post_process(self, data: Any, **kwargs: Any) -> Any:
        before = list(kwargs["notes"])
        kwargs["notes"].append(data)  # must not be visible to the next file
        return data, {"name": data, "before": before}

    def outname_create(self, in_name: Any, **kwargs: Any) -> str:
        number, _, what = in_name.partition(" ")
        return os.path.join(kwargs["folder"], "same" if what == "same" else f"out{number}")

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        with open(outname, "w", encoding="utf-8") as file:
            file.write(data)
        return outname


def _leave_note(folder: str, what: str) -> None:
    """Create an empty file, which must not exist yet."""
    name = f"{what}-{os.getpid()}-{threading.get_ident()}"
    with open(os.path.join(folder, name), "x", encoding="utf-8"):
        pass


class _Driver:
    """Takes the place of a run: gives each worker one task after another."""

    def __init__(self, executor: Executor, folder: str) -> None:
        self.executor = executor
        self.folder = folder
        self.reports: dict[int, Report] = {}
        self.init_errors: list[FileError] = []
        self.deaths: list[Died] = []
        self._ready: deque[int] = deque()
        self._owners: dict[str, int] = {}

    def begin(self, n_tasks: int, **control: Any) -> list[int]:
        """Start workers for a number of tasks, wait until one is ready, and return all."""
        executor = self.executor
        most = n_tasks if executor.wants_all_tasks else min(2, executor.max_workers or 2)
        control = {"folder": self.folder, "notes": ["first"], **control}
        executor.start(Setup(_Contract(), control, most, None, None, None, self._claim))
        for worker in range(most):
            executor.add_worker(worker)
        while not (self._ready or self.init_errors or self.deaths):
            self._wait()
        return list(range(most))

    def run(self, names: Sequence[str]) -> dict[int, Report]:
        """Process tasks and return their reports."""
        todo = deque(Task(index, name) for index, name in enumerate(names))
        while len(self.reports) < len(names) and not self.init_errors:
            while todo and self._ready:
                self.executor.submit(self._ready.popleft(), [todo.popleft()])
            if not (self.executor.wants_all_tasks and todo and self._ready):
                self._wait()
        return self.reports

    def await_reports(self, n_reports: int) -> None:
        while len(self.reports) < n_reports:
            self._wait()

    def notes(self, what: str) -> set[str]:
        """Return the workers that have left a note."""
        return {name.partition("-")[2] for name in os.listdir(self.folder) if name.startswith(what)}

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while not (events := self.executor.wait(PATIENCE)):
            assert time.monotonic() < until, f"no event in {PATIENCE:g} s, though one is due"
        for event in events:
            self._take(event)

    def _take(self, event: ExecutorEvent) -> None:
        match event:
            case Ready(worker):
                self._ready.append(worker)
            case Reported(worker, reports):
                for report in reports:
                    index = report.index
                    assert index not in self.reports, f"task {index} is reported twice"
                    self.reports[index] = report
                    self._ready.append(worker)
            case Asked(worker, index, outname, exists):
                refusal = self._claim(index, "", outname, exists)
                self.executor.answer(worker, index, refusal)
            case InitFailed(_, error):
                self.init_errors.append(error)
            case Died():
                self.deaths.append(event)

    def _claim(self, index: int, in_name: Any, outname: str, exists: bool) -> str:
        taken = self._owners.setdefault(outname, index) != index
        return f"{outname} is taken" if taken else ""


def _check_reports(driver: _Driver) -> None:
    names = [f"{i} write" for i in range(12)]
    driver.begin(len(names))
    reports = driver.run(names)
    driver.executor.close(graceful=True)
    for index, name in enumerate(names):
        report = reports[index]
        assert report.error is None, f"task {index} failed: {report.error}"
        assert report.meta["name"] == name, "a task is reported with the metadata of another"
        assert report.meta["before"] == ["first"], "keywords are not fresh for each task"
        assert report.outname == os.path.join(driver.folder, f"out{index}"), "wrong output name"
        with open(report.outname, encoding="utf-8") as file:
            assert file.read() == name, "an output is not in place when its task is reported"
    assert not driver.deaths, "a worker has died"


def _check_errors(driver: _Driver) -> None:
    names = ["0 write", "1 fail", "2 fail", "3 write"]
    driver.begin(len(names))
    reports = driver.run(names)
    driver.executor.close(graceful=True)
    failed = {index: report.error for index, report in reports.items() if report.error is not None}
    assert set(failed) == {1, 2}, "the failed tasks are not those whose hooks raised"
    for error in failed.values():
        assert error.hook == "data_process", f"the hook that raised is reported as {error.hook}"
        assert isinstance(error.__cause__, LookupError), "the cause is not what the hook raised"


def _check_worker_init(driver: _Driver) -> None:
    driver.begin(1, begin="fail")
    if not driver.init_errors:  # a pool may prepare its workers only with their first task
        error = driver.run(["0 write"])[0].error
        assert error is not None, "InitFailed is missing after worker_init raised"
        driver.init_errors.append(error)
    driver.executor.close(graceful=True)
    assert driver.init_errors[0].hook == "worker_init", "the error does not name worker_init"
    assert not driver.notes("exit"), "worker_exit was run without worker_init"


def _check_claims(driver: _Driver) -> None:
    driver.begin(3)
    reports = driver.run(["0 same", "1 same", "2 other"])
    driver.executor.close(graceful=True)
    refused = [reports[i] for i in (0, 1) if reports[i].error is not None]
    assert len(refused) == 1, "exactly one of two tasks with the same output must be refused"
    assert isinstance(refused[0].error, FileError)
    assert isinstance(refused[0].error.__cause__, CollisionError), "refused for another reason"
    assert reports[2].error is None, "a task was refused without a reason"


def _check_recall(driver: _Driver) -> None:
    executor = driver.executor
    n_ahead = executor.max_ahead
    workers = driver.begin(n_ahead + 1)
    if n_ahead:
        worker = driver._ready.popleft()
        executor.submit(worker, [Task(0, "0 write")])
        executor.submit(worker, [Task(i, f"{i} write") for i in range(1, n_ahead + 1)])
        recalled = executor.recall(worker)
        assert set(recalled) <= set(range(n_ahead + 1)), "recalled what was not submitted"
        driver.await_reports(n_ahead + 1 - len(recalled))
        lost = set(range(n_ahead + 1)) - set(recalled) - set(driver.reports)
        assert not lost, f"tasks {lost} are neither recalled nor reported"
        assert not set(recalled) & set(driver.reports), "a task is recalled and reported too"
    else:
        assert executor.recall(workers[0]) == (), "recalled what was not submitted"
    executor.close(graceful=True)


def _check_workers_end(driver: _Driver) -> None:
    driver.begin(4)
    driver.run([f"{i} write" for i in range(4)])
    driver.executor.close(graceful=True)
    assert driver.notes("init"), "worker_init was not run"
    ended, began = driver.notes("exit"), driver.notes("init")
    assert ended == began, "worker_exit was not run in every worker that ran worker_init"
    with suppress(OSError):
        os.unlink(os.path.join(driver.folder, "out0"))
    staging = [name for name in os.listdir(driver.folder) if name.startswith(".bigpipe")]
    assert not staging, "a staging folder was left behind"


def _check_break_off(driver: _Driver) -> None:
    driver.begin(1)
    driver.executor.submit(driver._ready.popleft(), [Task(0, "0 stay")])
    driver.executor.close(graceful=False)  # hangs if the task is not broken off
    assert "out0" not in os.listdir(driver.folder), "an aborted task has written its output"


def _check_second_run(driver: _Driver) -> None:
    for folder in ("first", "second"):
        run = _Driver(driver.executor, os.path.join(driver.folder, folder))
        os.mkdir(run.folder)
        run.begin(2)
        reports = run.run(["0 write", "1 write"])
        driver.executor.close(graceful=True)
        errors = [report.error for report in reports.values() if report.error is not None]
        assert not errors, f"in the {folder} run with one executor: {errors}"
