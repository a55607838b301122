"""Tests of the time of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bigpipe import clock as module
from bigpipe.clock import Clock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the system's clock, as the last item."""
    shown = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: shown[-1])
    return shown


def test_time_passes_with_the_systems(seconds: list[float]):
    clock = Clock()
    before = clock.now()
    seconds.append(103.0)
    assert clock.now() - before == 3.0


@pytest.mark.parametrize("error", [None, KeyError], ids=["ends", "raises"])
def test_time_of_the_callers_code_does_not_count_however_it_ends(
    seconds: list[float], error: type[Exception] | None
):
    clock = Clock()
    before = clock.now()
    try:
        with clock.stopped():
            seconds.append(160.0)
            if error is not None:
                raise error
    except KeyError:
        pass
    seconds.append(161.0)
    assert (clock.now() - before, clock.stopped_s, clock.elapsed_s) == (1.0, 60.0, 61.0)


@pytest.fixture
def pauses() -> Iterator[list[float]]:
    """For how long this process has been paused, as its last item."""
    seconds = [0.0]
    module.set_pauses(lambda: seconds[-1])
    yield seconds
    module.set_pauses(module._never)


def test_pauses_of_the_process_do_not_count(seconds: list[float], pauses: list[float]):
    clock = Clock()
    before = clock.now()
    seconds.append(110.0)
    pauses.append(7.0)
    assert (clock.now() - before, clock.elapsed_s) == (3.0, 10.0)


def test_pause_within_the_callers_code_is_left_out_once(seconds: list[float], pauses: list[float]):
    clock = Clock()
    before = clock.now()
    with clock.stopped():
        seconds.append(110.0)
        pauses.append(7.0)
    seconds.append(112.0)
    assert clock.now() - before == 2.0


@pytest.mark.parametrize(("ends_at", "counted"), [(3700.0, 0.5), (101.0, 1.0)], ids=["far", "near"])
def test_only_a_wait_that_ends_far_too_late_was_a_suspension(
    seconds: list[float], ends_at: float, counted: float
):
    clock = Clock()
    before = clock.now()
    seconds.append(ends_at)
    clock.leave_out_lateness(before + 0.5)
    assert clock.now() - before == counted
