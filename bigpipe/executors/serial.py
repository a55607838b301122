"""The executor of one file at a time in the caller's own process: a debugger works there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bigpipe.claims import DirectClaimant
from bigpipe.errors import FileTimeoutError
from bigpipe.executors.base import Executor, ExecutorEvent, InitFailed, Ready, Reported, Setup, Task
from bigpipe.executors.worker import TaskRunner
from bigpipe.outputs import Stager
from bigpipe.snapshot import LocalSnapshot

__all__ = ["SerialExecutor"]


class SerialExecutor(Executor):
    """Processes files here, one after another.

    Parameters
    ----------
    keep_frames : bool, optional
        Leave an exception its frames, for a debugger.

    Notes
    -----
    A timeout is kept by an alarm signal, so only in the main thread, where no other alarm
    is set, and only as soon as Python code runs.
    """

    max_workers = 1

    def __init__(self, keep_frames: bool = False) -> None:
        self.keep_frames = keep_frames
        self._events: list[ExecutorEvent] = []
        self._task: tuple[int, Task] | None = None
        self._is_ready = False

    def start(self, setup: Setup) -> None:
        """Prepare for a run."""
        self._setup = setup
        self._events, self._task = [], None
        self._runner = TaskRunner(
            setup.pipe,
            LocalSnapshot(setup.control),
            os.getpid(),
            Stager(),
            keep_frames=self.keep_frames,
            file_timeout=setup.file_timeout,
        )

    def add_worker(self, worker: int) -> None:
        """Run ``worker_init``."""
        error = self._runner.init()
        self._is_ready = error is None
        self._events.append(Ready(worker) if error is None else InitFailed(worker, error))

    def submit(self, worker: int, task: Task) -> None:
        """Keep a task until `wait`."""
        self._task = (worker, task)

    def wait(self, timeout: float | None) -> list[ExecutorEvent]:
        """Run the task that was submitted."""
        if not self._events and self._task is not None:
            (worker, task), self._task = self._task, None
            claimant = DirectClaimant(
                task.granted,
                lambda outname, exists: self._setup.claim(
                    task.index, task.in_name, outname, exists
                ),
            )
            with _alarm(self._setup.file_timeout):
                report = self._runner.run(task, claimant)
            self._events.append(Reported(worker, report))
        events, self._events = self._events, []
        return events

    def close(self, graceful: bool) -> list[ExecutorEvent]:
        """Run ``worker_exit``."""
        if self._is_ready:
            self._is_ready = False
            self._runner.exit()
        return []


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise `FileTimeoutError` in the block after so many seconds, where that can be done."""
    if (
        seconds is None
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL
    ):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> Any:
        raise FileTimeoutError

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
