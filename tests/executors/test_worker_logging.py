"""Tests of log records and warnings on their way from worker processes to the caller."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bigpipe import BigMultiPipe
from tests.gate import Gate
from tests.pipes import Doubler

pytestmark = pytest.mark.process

MakeFiles = Callable[..., list[str]]
LOGGER = logging.getLogger("tests.worker_logging")


class Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    LOGGER.addHandler(listener)
    LOGGER.setLevel(logging.INFO)
    yield listener
    LOGGER.removeHandler(listener)
    LOGGER.setLevel(logging.NOTSET)


class Talker(BigMultiPipe):
    """Does to each name what the keyword ``talk`` says, and returns the worker's process id."""

    def file_process(self, in_name, talk, **kwargs):
        talk(in_name)
        return None, {"pid": os.getpid()}


def talk_in_worker(names: list[str], talk: Any, start_method: str = "fork", **options: Any) -> Any:
    return Talker(2, executor="processes", start_method=start_method).pipeline(
        names, talk=talk, **options
    )


def log(name: str) -> None:
    LOGGER.info("looking at %s", name)


def log_debug(name: str) -> None:
    LOGGER.debug("not to be heard")


def log_much(name: str) -> None:
    for i in range(5_000):
        LOGGER.info("%s %d %s", name, i, "x" * 200)


def log_in_threads(name: str) -> None:
    """Log from several threads at once, in records too long to be sent in one piece."""
    threads = [threading.Thread(target=log_long, args=(f"{name}{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def log_long(name: str) -> None:
    for _ in range(20):
        LOGGER.info("%s", name * 100_000)


def log_error(name: str) -> None:
    try:
        raise LookupError("no such star")
    except LookupError:
        LOGGER.exception("failed")


def warn(name: str) -> None:
    warnings.warn("this flat is old", UserWarning, stacklevel=1)


def warn_of_change(name: str) -> None:
    warnings.warn("this will change", DeprecationWarning, stacklevel=1)


def test_record_arrives_once_with_file_and_worker(listener: Listener, start_method: str):
    names = ["a", "b", "c"]
    pout = talk_in_worker(names, log, start_method)
    heard = {record.in_name: (record.getMessage(), record.worker) for record in listener.records}
    assert len(listener.records) == 3
    assert heard == {
        name: (f"looking at {name}", meta["pid"])
        for name, (_, meta) in zip(names, pout, strict=True)
    }


def test_record_of_a_group_bears_its_names(listener: Listener):
    talk_in_worker([["a", "b"]], log)
    assert listener.records[0].in_name == ["a", "b"]


def test_level_of_the_caller_holds_in_the_worker(listener: Listener, start_method: str):
    talk_in_worker(["a"], log_debug, start_method)
    assert listener.records == []
    LOGGER.setLevel(logging.DEBUG)
    talk_in_worker(["a"], log_debug, start_method)
    assert listener.texts() == ["not to be heard"]


def test_handlers_of_the_caller_do_not_fire_in_the_worker_too(start_method: str, tmp_path: Path):
    handler = logging.FileHandler(tmp_path / "log")
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        talk_in_worker(["a", "b"], log, start_method)
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
        handler.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == ["looking at a", "looking at b"]


def test_flood_of_records_arrives_whole(listener: Listener):
    talk_in_worker(list("abcd"), log_much)
    assert len(listener.records) == 20_000
    for name in "abcd":
        heard = [text.split()[1] for text in listener.texts() if text.startswith(name)]
        assert heard == [str(i) for i in range(5_000)]


def test_records_of_several_threads_of_a_hook_arrive_whole(listener: Listener):
    talk_in_worker(["a", "b"], log_in_threads)
    assert sorted(listener.texts()) == sorted(
        f"{name}{i}" * 100_000 for name in "ab" for i in range(4) for _ in range(20)
    )


def test_traceback_of_a_record_arrives_as_text(listener: Listener):
    talk_in_worker(["a"], log_error)
    assert "LookupError: no such star" in listener.records[0].exc_text


class Life(Doubler):
    def worker_init(self, **kwargs):
        LOGGER.info("begins")

    def worker_exit(self, **kwargs):
        LOGGER.info("ends")


@pytest.mark.parametrize("leave", [False, True], ids=["to the end", "left"])
def test_records_of_worker_init_and_worker_exit_arrive(
    listener: Listener,
    make_files: MakeFiles,
    tmp_path: Path,
    gate: Gate,
    start_method: str,
    leave: bool,
):
    pipe = Life(1, executor="processes", start_method=start_method, outdir=tmp_path)
    results = pipe.iter_pipeline(make_files(2), trouble={("file_read", "001.bin"): gate})
    worker = next(results).worker
    gate.arrived()
    if leave:
        results.close()
    else:
        gate.open()
        next(results)
        assert list(results) == []
    assert listener.texts() == ["begins", "ends"]
    assert [record.in_name for record in listener.records] == [None, None]
    assert [record.worker for record in listener.records] == [worker, worker]


def test_warning_arrives_once_by_the_filters_of_the_caller(start_method: str):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        talk_in_worker(["a", "b", "c"], warn, start_method)
    [warning] = [entry for entry in heard if entry.category is UserWarning]
    assert str(warning.message) == "this flat is old"
    assert warning.message.in_name in "abc"
    assert isinstance(warning.message.worker, int)
    assert warning.filename == __file__


def test_warning_that_the_caller_ignores_is_ignored(start_method: str):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        talk_in_worker(["a"], warn_of_change, start_method)
    assert heard == []


def test_warning_that_the_caller_makes_an_error_fails_its_file(start_method: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pout = talk_in_worker(["a"], warn, start_method, on_error="return")
    assert isinstance(pout.errors[0].__cause__, UserWarning)


def test_records_do_not_break_the_bar(
    make_files: MakeFiles, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(in_name)s: %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        talk_in_worker(list("abcdefgh"), log, progress=True)
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
    shown = capfd.readouterr().err
    lines = [line.rstrip() for line in shown.replace("\r", "\n").split("\n")]
    for name in "abcdefgh":
        assert f"{name}: looking at {name}" in lines


def test_module_that_warns_when_it_is_imported_does_not_warn_from_each_worker(
    start_method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    name = f"warns_at_import_{start_method}"
    (tmp_path / f"{name}.py").write_text(
        "import warnings\nwarnings.warn('this module is old')\ndef talk(name):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        module = __import__(name)
        talk_in_worker(["a", "b", "c", "d"], module.talk, start_method)
    assert "old" not in capfd.readouterr().err
    assert 1 <= len(heard) <= 2
