"""Tests of pools that the caller has chosen, and of the pools that bigpipe has to offer."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool
from pathlib import Path
from typing import Any

import pytest

from bigpipe import (
    NestablePool,
    NoDaemonPool,
    PipelineError,
    WorkerError,
    WorkerWithKwargs,
)
from bigpipe.executors.pool import PoolExecutor
from bigpipe.staging import STAGING_NAME
from tests import mischief
from tests.pipes import Doubler, fail, fail_unpicklably, written

pytestmark = pytest.mark.process

MakeFiles = Callable[..., list[str]]


class SerialPool:
    """The least that a pool can be."""

    def __init__(self, processes: int) -> None:
        self.processes = processes

    def __enter__(self) -> SerialPool:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def map(self, function: Any, tasks: list[Any]) -> list[Any]:
        return [function(task) for task in tasks]


POOLS = [
    *(NestablePool, NoDaemonPool, Pool, ThreadPool, SerialPool),
    *(ProcessPoolExecutor, ThreadPoolExecutor),
]
pools = pytest.mark.parametrize("pool", POOLS)


@pytest.fixture
def pipe(tmp_path: Path) -> Doubler:
    return Doubler(2, outdir=tmp_path / "out", create_outdir=True, on_error="return")


def test_executor_may_be_used_again(pipe: Doubler, make_files: MakeFiles):
    names = make_files(3)
    executor = PoolExecutor(NestablePool, 2)
    assert [written(pipe.pipeline(names, executor=executor).results) for _ in range(2)] == [
        {0, 1, 2}
    ] * 2


@pools
def test_files_are_processed_in_the_pool_that_was_chosen(
    pipe: Doubler, make_files: MakeFiles, pool: Any
):
    names = make_files(12)
    pout = pipe.pipeline(names, PoolClass=pool)
    assert written(pout.results) == set(range(12))
    assert [result.in_name for result in pout.results] == names


@pools
def test_whatever_a_hook_raises_fails_its_file_alone(
    pipe: Doubler, make_files: MakeFiles, pool: Any
):
    trouble = {
        ("data_process", "001.bin"): fail,
        ("file_write", "003.bin"): mischief.exit_politely,
        ("file_read", "004.bin"): fail_unpicklably,
    }
    pout = pipe.pipeline(make_files(6), PoolClass=pool, trouble=trouble)
    assert written(pout.results) == {0, 2, 5}
    assert [error.hook for error in pout.errors] == ["data_process", "file_write", "file_read"]


@pools
def test_two_files_with_one_output_are_refused(pipe: Doubler, make_files: MakeFiles, pool: Any):
    pout = pipe.pipeline(make_files(3), PoolClass=pool, outname="same.bin")
    assert len(written(pout.results)) == 1
    assert len(pout.errors) == 2
    assert "same.bin" in str(pout.errors[0])


class Life(Doubler):
    """Leaves a file in a folder when a worker begins, and one when it ends."""

    def worker_init(self, notes, fails=False, **kwargs):
        if fails:
            raise ValueError("no catalogue")
        (notes / f"init-{os.getpid()}-{threading.get_ident()}").touch()

    def worker_exit(self, notes, **kwargs):
        (notes / f"exit-{os.getpid()}-{threading.get_ident()}").touch()


@pools
def test_workers_begin_and_end_once(make_files: MakeFiles, tmp_path: Path, pool: Any):
    notes = tmp_path / "notes"
    notes.mkdir()
    pipe = Life(2, outdir=tmp_path / "out", create_outdir=True, notes=notes)
    pipe.pipeline(make_files(8), PoolClass=pool)
    began = {path.name.split("-", 1)[1] for path in notes.glob("init-*")}
    n_ended = len(list(notes.glob("exit-*")))
    assert 1 <= len(began) <= 2
    assert n_ended >= 1
    if issubclass(pool, Pool) and not issubclass(pool, ThreadPool):
        assert n_ended == len(began)


@pools
def test_every_file_fails_if_worker_init_raises(make_files: MakeFiles, tmp_path: Path, pool: Any):
    pipe = Life(2, outdir=tmp_path / "out", notes=tmp_path, fails=True)
    with pytest.raises(PipelineError, match="5 of 5") as caught:
        pipe.pipeline(make_files(5), PoolClass=pool)
    assert {error.hook for error in caught.value.exceptions} == {"worker_init"}


@pytest.mark.parametrize("pool", [NestablePool, SerialPool, ProcessPoolExecutor])
def test_folder_that_a_hook_has_gone_to_is_left_before_the_next_file(
    pipe: Doubler,
    make_files: MakeFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pool: Any,
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    names = [os.path.relpath(name) for name in make_files(6)]
    go = mischief.ChangeFolder(tmp_path / "elsewhere")
    trouble = {("data_process", os.path.basename(name)): go for name in names}
    pout = pipe.pipeline(names, PoolClass=pool, trouble=trouble, outdir="out")
    assert written(pout.results) == set(range(6))
    assert len(list((tmp_path / "out").glob("*.bin"))) == 6
    assert Path.cwd() == tmp_path


class Appender(Doubler):
    def file_process(self, in_name, notes, **kwargs):
        before = list(notes)
        notes.append(in_name)
        return None, {"before": before}


@pools
def test_keywords_are_fresh_for_each_file(pool: Any):
    pout = Appender(2).pipeline(list("abcd"), PoolClass=pool, notes=["first"])
    assert [meta["before"] for _, meta in pout] == [["first"]] * 4


class Threaded(Doubler):
    def file_process(self, in_name, **kwargs):
        return None, {"threads": os.environ.get("OMP_NUM_THREADS")}


@pytest.mark.parametrize(("pool", "threads"), [(NestablePool, "3"), (SerialPool, "7")])
def test_numerical_threads_are_limited_in_the_processes_of_a_pool(
    monkeypatch: pytest.MonkeyPatch, pool: Any, threads: str
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    pout = Threaded(2).pipeline(["a", "b"], PoolClass=pool, threads_per_worker=3)
    assert [meta["threads"] for _, meta in pout] == [threads] * 2


class Forgetful(SerialPool):
    def map(self, function: Any, tasks: list[Any]) -> list[Any]:
        return super().map(function, tasks)[1:]


def test_pool_that_loses_a_result_does_not_hold_up_the_run(pipe: Doubler, make_files: MakeFiles):
    with pytest.raises(WorkerError, match="Forgetful"):
        pipe.pipeline(make_files(3), PoolClass=Forgetful)


def test_error_in_one_file_can_stop_the_pool(pipe: Doubler, make_files: MakeFiles):
    with pytest.raises(Exception, match="is no good"):
        pipe.pipeline(
            make_files(6),
            PoolClass=NestablePool,
            trouble={"data_process": fail},
            on_error="raise",
        )
    assert not Path(pipe.outdir, STAGING_NAME).exists()


def test_interrupt_ends_the_pool(pipe: Doubler, make_files: MakeFiles):
    def interrupt(event: Any) -> None:
        if type(event).__name__ == "FileFinished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.pipeline(make_files(6), PoolClass=NestablePool, progress=interrupt)
    assert not Path(pipe.outdir, STAGING_NAME).exists()  # its workers have been killed


def nested(n: int) -> int:
    with multiprocessing.Pool(2) as pool:
        return sum(pool.map(abs, [-n, -n]))


@pytest.mark.parametrize("pool", [NestablePool, NoDaemonPool])
def test_worker_of_a_nestable_pool_may_have_a_pool(pool: Any):
    with pool(2) as workers:
        assert workers.map(nested, [1, 2]) == [2, 4]
        workers.close()
        workers.join()


@pytest.mark.parametrize("pool", [NestablePool, NoDaemonPool])
def test_nestable_pool_works_with_each_start_method(pool: Any, start_method: str):
    context = multiprocessing.get_context(start_method)
    with pool(1, context=context) as workers:
        assert workers.map(is_daemonic, [0]) == [False]
        workers.close()
        workers.join()


def is_daemonic(x: int) -> bool:
    return multiprocessing.current_process().daemon


def test_function_with_kept_keywords_can_be_pickled():
    kept = pickle.loads(pickle.dumps(WorkerWithKwargs(int, base=16)))
    assert kept.worker("ff") == 255


class Annotated(Doubler):
    """Gives the second file metadata that cannot be brought back."""

    def post_process(self, data, **kwargs):
        meta = {"made": mischief.Unloadable()} if data.startswith(b"001") else {}
        return data, meta


def test_metadata_that_cannot_be_unpickled_fail_their_file_alone(
    pipe: Doubler, make_files: MakeFiles
):
    options = {"on_error": "return", "outdir": pipe.outdir, "create_outdir": True}
    pout = Annotated(2, **options).pipeline(make_files(3), PoolClass=NestablePool)
    assert written(pout.results) == {0, 2}
    assert "the output is in place" in str(pout.errors[0])
