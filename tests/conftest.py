"""Fixtures of all tests; those that are automatic fail a test which leaves something behind."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import psutil
import pytest

from bigpipe import measure
from bigpipe.executors import launch
from bigpipe.system import fork_safety
from tests.gate import Gate
from tests.places import PLACES

STAGING = ".bigpipe-staging"
REAPED_AFTER = 10.0  # seconds; only a test that fails ever waits so long

# What test modules import; else each worker of the fork server would, for half a second.
launch.PRELOADED += ("hypothesis", "psutil", "pytest")

# No deadline: the machine may be busy. In CI the same examples are tried every time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


# A shell has what it starts in the background ignore Ctrl-C, which the tests send to programs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collections, which take 0.2 s with them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def known_processes() -> set[psutil.Process]:
    """Processes that were there when the last test ended: to look for them takes milliseconds."""
    return _descendants()


@pytest.fixture(autouse=True)
def threads_of_other_tests_are_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests fork explicitly, though libraries keep the threads that earlier tests started."""
    monkeypatch.setattr(fork_safety, "warn", lambda message: None)


@pytest.fixture(autouse=True)
def no_process_left_behind(known_processes: set[psutil.Process]) -> Iterator[None]:
    """Fail a test that ends with a child process more than the one before it did."""
    yield
    found = _descendants()
    left = {process for process in found - known_processes if process.pid not in _kept_pids()}
    known_processes.clear()
    known_processes |= found
    if left:
        _fail_for(left)


@pytest.fixture(autouse=True)
def no_share_left_behind() -> Iterator[None]:
    """Fail a test that ends with less memory or fewer cores to share than it began with."""
    yield
    share = measure.current_share()
    measure.set_share(None, None)
    measure.set_share(None, None, in_thread=True)
    assert share == (None, None)


@pytest.fixture(autouse=True)
def no_staging_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that ends with a staging folder below its ``tmp_path``."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    left = [str(path) for path in folder.rglob(STAGING)] if folder else []
    assert not left, f"left behind: {', '.join(left)}"


def _fail_for(left: set[psutil.Process]) -> None:
    """End processes; fail, unless they are about to be gone."""
    # A child must be gone. Others are reaped by a parent of their own, which takes a moment.
    others = left - set(psutil.Process().children())
    left -= set(psutil.wait_procs(others, timeout=REAPED_AFTER)[0])
    descriptions = [_describe(process) for process in left]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=REAPED_AFTER)
    assert not descriptions, f"left behind: {', '.join(descriptions)}"


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _kept_pids() -> set[int | None]:
    """Ids of the processes that Python or bigpipe keep for as long as this process lives."""
    return {
        getattr(resource_tracker._resource_tracker, "_pid", None),
        getattr(forkserver._forkserver, "_forkserver_pid", None),
        launch.forkserver_pid(),
    }


def _describe(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error as error:
        return str(error)


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def start_method(request: pytest.FixtureRequest) -> str:
    """Each way to start a process that this system has."""
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {request.param}")
    return request.param


@pytest.fixture(params=PLACES)
def anywhere(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for a run with two workers in each executor, or with one where there is but one."""
    if request.param in ("serial", "threads"):
        return {"executor": request.param, "num_processes": 2}
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {request.param}")
    return {"executor": "processes", "start_method": request.param, "num_processes": 2}


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that makes small files in ``tmp_path/in`` and returns their names.

    ``make_files(3)`` makes ``000.bin``, ``001.bin``, ``002.bin``, each holding its own base
    name and a newline. ``content`` is bytes or an array for all of them, or a function of
    the file's number; arrays make ``.npy`` files.
    """

    def make(n: int, content: Any = None, *, folder: str = "in") -> list[str]:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        contents = (content(i) if callable(content) else content for i in range(n))
        return [_make_file(where, i, each) for i, each in enumerate(contents)]

    return make


def _make_file(where: Path, number: int, content: Any) -> str:
    if isinstance(content, np.ndarray):
        path = where / f"{number:03d}.npy"
        np.save(path, content)
    else:
        path = where / f"{number:03d}.bin"
        path.write_bytes(f"{path.name}\n".encode() if content is None else content)
    return str(path)


@pytest.fixture
def outdir(tmp_path: Path) -> str:
    """The name of an empty folder for outputs."""
    folder = tmp_path / "out"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate at which hooks wait until the test lets them through."""
    with Gate(tmp_path / "gate") as gate:
        yield gate
