"""Tests of the contract for executors: those of bigpipe keep it, and breaches are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bigpipe import testing
from bigpipe.executors.base import Executor, Reported
from bigpipe.executors.pool import NestablePool, PoolExecutor
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.executors.serial import SerialExecutor
from bigpipe.executors.threads import ThreadsExecutor
from bigpipe.testing import check_executor

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "make",
    [
        SerialExecutor,
        ThreadsExecutor,
        ProcessesExecutor,
        pytest.param(lambda: PoolExecutor(NestablePool, 2), id="PoolExecutor"),
    ],
)
def test_executors_of_bigpipe_keep_the_contract(make: Callable[[], Executor]):
    check_executor(make)


class Forgetful(SerialExecutor):
    """Gives the second task the result of the first."""

    def wait(self, timeout: float | None) -> Any:
        events = super().wait(timeout)
        for event in events:
            if isinstance(event, Reported) and event.reports[0].index == 1:
                event.reports[0].meta = {"name": "0 write", "before": ["first"]}
        return events


class Twice(SerialExecutor):
    def wait(self, timeout: float | None) -> Any:
        return [event for event in super().wait(timeout) for _ in range(2)]


class Endless(SerialExecutor):
    """Does not run `worker_exit`."""

    def close(self, graceful: bool) -> Any:
        return []


class Sharing(SerialExecutor):
    """Gives every task the same keywords."""

    def start(self, setup: Any) -> None:
        super().start(setup)
        fresh = self._runner.snapshot.fresh()
        self._runner.snapshot.fresh = lambda: dict(fresh)


class Silent(SerialExecutor):
    def submit(self, worker: int, tasks: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Forgetful, "metadata of another"),
        (Twice, "twice"),
        (Endless, "worker_exit"),
        (Sharing, "not fresh"),
        (Silent, "no event"),
    ],
)
def test_executor_that_breaks_the_contract_is_found(
    make: Callable[[], Executor], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(testing, "PATIENCE", 0.1)
    with pytest.raises(AssertionError, match=said):
        check_executor(make)
