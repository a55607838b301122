"""Fixtures of the tests of streams."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bigpipe.streaming import Stages


@pytest.fixture(
    params=[
        "threads",
        pytest.param("fork", marks=pytest.mark.process),
        pytest.param("forkserver", marks=pytest.mark.process),
    ]
)
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for each place where stages may run."""
    if request.param == "threads":
        return {"executor": "threads"}
    return {"executor": "processes", "start_method": request.param}


@pytest.fixture(scope="session")
def fork_server() -> None:
    """Have a fork server running, which stays until the end of all tests."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        assert list(Stages([[1]], start_method="forkserver")) == [1]


@pytest.fixture
def no_descriptor_left_behind(fork_server: None) -> Iterator[None]:
    """Fail a test that ends with another number of open descriptors than it began with."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) > before:
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before, "more open files than before"
