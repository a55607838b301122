"""Tests of what happens inside a worker process: bad hooks, odd results, what it takes over."""

from __future__ import annotations

import locale
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigpipe import (
    BigMultiPipe,
    BigpipeWarning,
    FileFinished,
    Journal,
    Outcome,
    environment,
)
from bigpipe.errors import CollisionError, RemoteError
from tests import mischief
from tests.gate import Gate
from tests.mischief import HoldsLock, Unloadable, Unpicklable
from tests.pipes import Doubler, Writer, fail, fail_unpicklably, written

pytestmark = pytest.mark.process

MakeFiles = Callable[..., list[str]]


# Hooks that raise.


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (fail, ValueError),
        (mischief.exit_politely, SystemExit),
        (mischief.interrupt, KeyboardInterrupt),
        (mischief.abort, mischief.Abort),
        (mischief.run_out_of_memory, MemoryError),
        (mischief.recurse, RecursionError),
    ],
)
def test_whatever_a_hook_raises_fails_its_file_alone(
    pipe: Doubler, make_files: MakeFiles, action: Any, cause: type
):
    names = make_files(4)
    pout = pipe.pipeline(names, trouble={("data_process", "001.bin"): action})
    assert written(pout.results) == {0, 2, 3}
    [error] = pout.errors
    assert type(error.__cause__) is cause
    assert (error.hook, error.in_name, error.exitcode) == ("data_process", names[1], None)
    assert names[1] in str(error)
    assert action.__name__ in error.traceback


def test_worker_goes_on_after_a_hook_has_raised(pipe: Doubler, make_files: MakeFiles):
    options = {"num_processes": 1, "max_errors": 100}
    pout = pipe.pipeline(make_files(40), trouble={"post_process": fail}, **options)
    assert len(pout.errors) == 40
    assert len({result.worker for result in pout.results}) == 1


def test_exception_that_cannot_be_brought_back_is_told_as_text(
    pipe: Doubler, make_files: MakeFiles, start_method: str
):
    trouble = {("file_read", "000.bin"): fail_unpicklably}
    pout = pipe.pipeline(make_files(2), trouble=trouble, start_method=start_method)
    [error] = pout.errors
    assert isinstance(error.__cause__, RemoteError)
    assert str(error.__cause__) == "UnpicklableError: 000.bin is no good"
    assert written(pout.results) == {1}


def test_exception_that_cannot_be_pickled_is_told_as_text(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(1), trouble={"file_read": mischief.RaiseOf(HoldsLock)})
    assert isinstance(pout.errors[0].__cause__, RemoteError)
    assert "HoldsLock" in str(pout.errors[0])


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_exception_without_text_is_told_by_its_type(pipe: Doubler, make_files: MakeFiles):
    pout = pipe.pipeline(make_files(1), trouble={"file_read": mischief.RaiseOf(Mute)})
    assert "Mute" in str(pout.errors[0])


@dataclass(frozen=True)
class Frozen(Exception):
    frame: int = 7


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_exception_that_refuses_attributes_costs_its_own_file(
    pipe: Doubler, make_files: MakeFiles, executor: str
):
    trouble = {("file_write", "000.bin"): mischief.RaiseOf(Frozen)}
    pout = pipe.pipeline(make_files(2), trouble=trouble, executor=executor)
    [error] = pout.errors
    assert error.kind == ("file_write", "Frozen")
    assert written(pout.results) == {1}


def syntax_error() -> SyntaxError:
    return SyntaxError("no keyword", ("config", 1, "after", "x = "))  # a number is due: "after"


def test_exception_that_python_cannot_show_costs_its_own_file(pipe: Doubler, make_files: MakeFiles):
    trouble = {("data_process", "000.bin"): mischief.RaiseOf(syntax_error)}
    pout = pipe.pipeline(make_files(2), trouble=trouble)
    [error] = pout.errors
    assert error.hook == "data_process"
    assert "in data_process" in error.traceback
    assert "SyntaxError" in error.traceback
    assert written(pout.results) == {1}


# Metadata that cannot travel.


class Deep:
    """Nested too deeply to be pickled."""

    def __reduce__(self) -> Any:
        inner: list[Any] = []
        for _ in range(100_000):
            inner = [inner]
        return list, (inner,)


@pytest.mark.parametrize("make", [Unpicklable, Unloadable, Deep])
def test_metadata_that_cannot_be_sent_fails_its_file_alone(
    pipe: Doubler, make_files: MakeFiles, make: Any
):
    names = make_files(3)
    pout = Annotated(**OPTIONS, outdir=pipe.outdir, make=make).pipeline(names)
    assert [result.outcome for result in pout.results] == [
        Outcome.WRITTEN,
        Outcome.FAILED,
        Outcome.WRITTEN,
    ]
    [error] = pout.errors
    assert names[1] in str(error)
    assert "metadata" in str(error)
    assert f"the output is in place: {str(pipe.outdir / '001_bmp.bin')!r}" in str(error)
    assert (pipe.outdir / "001_bmp.bin").read_bytes() == Path(names[1]).read_bytes() * 2


@pytest.mark.parametrize("make", [Unpicklable, Unloadable])
def test_metadata_that_cannot_be_sent_from_a_file_that_is_not_written_are_an_error_alone(
    pipe: Doubler, make_files: MakeFiles, make: Any
):
    options = {**OPTIONS, "outdir": pipe.outdir, "make": make}
    [error] = Unwritten(**options).pipeline(make_files(2)).errors
    assert "metadata" in str(error)
    assert "in place" not in str(error)


class Unwritten(Doubler):
    """Gives metadata only; for the second file, those that ``make`` makes."""

    def post_process(self, data, make, **kwargs):
        return None, {"made": make() if data.startswith(b"001") else 1}


class OneName(Doubler):
    """Writes all files under one name."""

    def post_process(self, data, make, **kwargs):
        return data, {"made": make()} if data.startswith(b"001") else {}

    def outname_create(self, in_name, outdir, **kwargs):
        return outdir / "same.bin"


@pytest.mark.parametrize("make", [Unpicklable, Unloadable])
def test_name_of_an_output_stays_taken_if_its_metadata_cannot_be_sent(
    pipe: Doubler, make_files: MakeFiles, gate: Gate, make: Any
):
    def listen(event: Any) -> None:
        if isinstance(event, FileFinished) and event.result.index == 1:
            gate.open()

    names = make_files(2)
    options = {**OPTIONS, "outdir": pipe.outdir, "make": make, "progress": listen}
    pout = OneName(**options).pipeline(names, trouble={("file_read", "000.bin"): gate})
    assert [result.outcome for result in pout.results] == [Outcome.FAILED] * 2
    assert names[1] in str(pout.errors[0])  # whose output it would be
    assert (pipe.outdir / "same.bin").read_bytes() == Path(names[1]).read_bytes() * 2


@pytest.mark.parametrize("make", [Unpicklable, Unloadable])
def test_journal_knows_an_output_whose_metadata_could_not_be_sent(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, make: Any
):
    journal = tmp_path / "journal"
    names = make_files(2)
    options = {**OPTIONS, "outdir": pipe.outdir, "journal": journal}
    Annotated(**options, make=make).pipeline(names)
    with Journal(journal) as told:
        origin = told.trace(pipe.outdir / "001_bmp.bin")
    assert origin.is_as_written
    assert origin.result.outcome is Outcome.FAILED
    assert origin.inputs[0][0] == names[1]


OPTIONS = {
    "num_processes": 2,
    "executor": "processes",
    "create_outdir": True,
    "on_error": "return",
}


class Annotated(Doubler):
    """Gives the second file the metadata that ``make`` makes."""

    def post_process(self, data, make, **kwargs):
        data, meta = super().post_process(data, **kwargs)
        meta["fine"] = 1
        if data.startswith(b"001"):
            meta["connection"] = make()
        return data, meta


def test_metadata_that_cannot_be_pickled_is_named(pipe: Doubler, make_files: MakeFiles):
    pout = Annotated(**OPTIONS, outdir=pipe.outdir, make=Unpicklable).pipeline(make_files(2))
    assert "'connection' cannot be sent back (TypeError: an open connection)" in str(pout.errors[0])


def test_metadata_of_a_class_made_in_a_function_travels(pipe: Doubler, make_files: MakeFiles):
    class Level:
        value = 3

    pout = Annotated(**OPTIONS, outdir=pipe.outdir, make=Level).pipeline(make_files(2))
    assert pout[1][1]["connection"].value == 3


# Hooks that behave badly.


@pytest.mark.parametrize(
    "action",
    [
        mischief.close_stdout,
        mischief.change_signals,
        mischief.fork_and_return,
        mischief.leave_thread,
    ],
)
def test_hook_that_behaves_badly_harms_no_file(
    pipe: Doubler, make_files: MakeFiles, start_method: str, action: Any
):
    trouble = {("data_process", "001.bin"): action}
    pout = pipe.pipeline(make_files(6), trouble=trouble, start_method=start_method)
    assert written(pout.results) == set(range(6))
    assert [result.attempts for result in pout.results] == [1] * 6


@pytest.mark.parametrize("hook", mischief.HOOKS)
def test_child_that_comes_back_from_a_hook_does_nothing_more(
    pipe: Doubler, make_files: MakeFiles, hook: str
):
    pout = pipe.pipeline(make_files(4), trouble={(hook, "001.bin"): mischief.fork_and_return})
    assert [result.outcome for result in pout.results] == [Outcome.WRITTEN] * 4


def fork_and_stop(data, bmp_meta=None, **kwargs):
    mischief.fork_and_return("")
    bmp_meta["length"] = len(data)  # and no output: no other hook begins after this


def test_child_that_comes_back_from_the_last_function_reports_nothing(
    pipe: Doubler, make_files: MakeFiles
):
    pout = pipe.pipeline(make_files(4), post_process_list=fork_and_stop)
    assert [result.outcome for result in pout.results] == [Outcome.METADATA_ONLY] * 4
    assert [result.attempts for result in pout.results] == [1] * 4


class ForksAndNotes(Doubler):
    def data_process(self, data, **kwargs):
        mischief.fork_and_return("")
        return super().data_process(data, **kwargs)

    def post_process(self, data, note, **kwargs):
        with open(note, "a") as file:
            file.write("x")
        return super().post_process(data, **kwargs)


def test_child_that_comes_back_from_a_hook_begins_no_other(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path
):
    note = tmp_path / "note"
    ForksAndNotes(**OPTIONS, outdir=pipe.outdir, note=note).pipeline(make_files(4))
    assert note.read_text() == "xxxx"


@pytest.mark.parametrize("hook", mischief.HOOKS)
def test_child_that_leaves_a_hook_by_an_exception_does_nothing_more(
    pipe: Doubler, make_files: MakeFiles, hook: str
):
    pout = pipe.pipeline(make_files(4), trouble={(hook, "001.bin"): mischief.fork_and_raise})
    assert written(pout.results) == set(range(4))


def test_hook_that_closes_every_descriptor_costs_its_own_file(pipe: Doubler, make_files: MakeFiles):
    trouble = {("data_process", "001.bin"): mischief.close_all_descriptors}
    pout = pipe.pipeline(make_files(6), trouble=trouble)
    assert written(pout.results) == {0, 2, 3, 4, 5}
    assert pout.results[1].outcome is Outcome.KILLED
    assert pout.errors[0].hook in ("data_process", "post_process", "outname_create", "file_write")


def ask_to_end(name: str) -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("way", [{}, {"batch_size": 2}], ids=["one by one", "batches"])
def test_file_whose_worker_was_told_to_end_has_the_hook_that_it_was_in(
    pipe: Doubler, make_files: MakeFiles, way: dict[str, int]
):
    trouble = {("data_process", "001.bin"): ask_to_end}
    [error] = pipe.pipeline(make_files(2), trouble=trouble, **way).errors
    assert (error.signal, error.hook) == (signal.SIGTERM, "data_process")


@pytest.mark.parametrize("hook", ["file_read", "outname_create", "file_write"])
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_output_is_where_its_name_says_though_a_hook_changed_the_folder(
    pipe: Doubler,
    make_files: MakeFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    hook: str,
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    trouble = {(hook, "001.bin"): mischief.ChangeFolder(elsewhere)}
    pout = pipe.pipeline(make_files(2), trouble=trouble, outdir="relative", executor=executor)
    assert [os.path.abspath(name) for name, _ in pout] == [
        str(tmp_path / "relative" / f"00{i}_bmp.bin") for i in range(2)
    ]
    assert all(os.path.exists(name) for name, _ in pout)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "naming", [{"outname_append": ""}, {"outname": "001.bin"}], ids=["its own", "another's"]
)
@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_input_is_not_overwritten_though_a_hook_changed_the_folder(
    pipe: Doubler,
    make_files: MakeFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    naming: dict[str, str],
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    names = [os.path.relpath(name) for name in make_files(2)]
    before = [Path(name).read_bytes() for name in names]
    go = mischief.ChangeFolder(tmp_path / "elsewhere")
    trouble = {("data_process", os.path.basename(name)): go for name in names}
    pout = pipe.pipeline(
        names, trouble=trouble, outdir=os.path.dirname(names[0]), executor=executor, **naming
    )
    assert [type(error.__cause__) for error in pout.errors] == [CollisionError] * 2
    assert [Path(name).read_bytes() for name in names] == before


def test_file_after_one_whose_hook_changed_the_folder_is_found(
    pipe: Doubler, make_files: MakeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    make_files(4)
    trouble = {("file_write", "001.bin"): mischief.ChangeFolder(elsewhere)}
    names = [f"in/00{i}.bin" for i in range(4)]
    pout = pipe.pipeline(names, trouble=trouble, outdir="out", num_processes=1)
    assert written(pout.results) == {0, 1, 2, 3}


class Wanderer(Doubler):
    def worker_init(self, elsewhere, **kwargs):
        os.chdir(elsewhere)

    def worker_exit(self, elsewhere, **kwargs):
        os.chdir(elsewhere)


@pytest.mark.parametrize(
    "how",
    [
        {"executor": "processes"},
        {"executor": "processes", "batch_size": 2},
        {"executor": "serial"},
        {"executor": "serial", "batch_size": 2},
        {"PoolClass": ProcessPoolExecutor},
    ],
    ids=["processes", "processes, batches", "serial", "serial, batches", "a pool"],
)
def test_first_file_of_a_worker_that_began_by_changing_the_folder_is_found(
    make_files: MakeFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    names = [os.path.relpath(name) for name in make_files(4)]
    pipe = Wanderer(2, elsewhere=elsewhere, outdir="out", create_outdir=True)
    results = pipe.iter_pipeline(names, **how)
    assert [Path.cwd() for result in results if result.outname] == [tmp_path] * 4
    assert Path.cwd() == tmp_path
    assert list(elsewhere.iterdir()) == []


# What a worker takes over.


class Describer(BigMultiPipe):
    """Returns what the worker finds around it, as `describe` sees it, under ``'found'``."""

    def file_process(self, in_name, describe, **kwargs):
        return None, {"found": describe()}


def describe_in_worker(start_method: str | None, describe: Any, **options: Any) -> Any:
    pout = Describer().pipeline(
        ["a"], executor="processes", start_method=start_method, describe=describe, **options
    )
    return pout[0][1]["found"]


def warning_filters() -> list[Any]:
    return [entry[:1] + entry[2:3] for entry in warnings.filters]


def test_worker_has_the_warning_filters(start_method: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BigpipeWarning)
        here = warning_filters()
        assert describe_in_worker(start_method, warning_filters) == here


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_module_that_changes_settings_when_imported_does_not_change_a_workers(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"changes_settings_{method}"
    (tmp_path / f"{name}.py").write_text(
        "import logging, warnings\n"
        "logging.disable(50)\n"
        "warnings.simplefilter('ignore', BytesWarning)\n"
        "def describe():\n"
        "    return logging.root.manager.disable, warnings.filters[0][2].__name__\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        module = __import__(name)
        logging.disable(logging.NOTSET)
        warnings.simplefilter("ignore", BigpipeWarning)
        assert describe_in_worker(method, module.describe) == (0, "BigpipeWarning")


def logging_levels() -> Any:
    return logging.getLogger("tests.levels").getEffectiveLevel(), logging.root.manager.disable


def test_worker_has_the_logging_levels(start_method: str):
    logger = logging.getLogger("tests.levels")
    logger.setLevel(17)
    logging.disable(5)
    try:
        assert describe_in_worker(start_method, logging_levels) == (17, 5)
    finally:
        logger.setLevel(logging.NOTSET)
        logging.disable(logging.NOTSET)


def test_worker_has_the_current_folder(
    start_method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert describe_in_worker(start_method, os.getcwd) == str(tmp_path)


def program_and_arguments() -> list[str]:
    return sys.argv


def test_worker_has_the_name_of_the_program_and_its_arguments(
    start_method: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", ["reduce.py", "--night", "3"])
    found = describe_in_worker(start_method, program_and_arguments)
    assert found == ["reduce.py", "--night", "3"]


def environment_variable() -> str | None:
    return os.environ.get("BIGPIPE_TEST_VARIABLE")


def test_worker_has_the_environment_variables(start_method: str, monkeypatch: pytest.MonkeyPatch):
    for value in ("one", "two"):  # the fork server was started with the first
        monkeypatch.setenv("BIGPIPE_TEST_VARIABLE", value)
        assert describe_in_worker(start_method, environment_variable) == value


def numeric_locale() -> str:
    return locale.setlocale(locale.LC_NUMERIC)


def test_worker_has_the_locale(start_method: str):
    before = locale.setlocale(locale.LC_NUMERIC)
    locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
    try:
        assert describe_in_worker(start_method, numeric_locale) == "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


def test_worker_finds_modules_that_only_a_changed_path_leads_to(
    start_method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = f"found_by_path_{start_method}"
    (tmp_path / f"{name}.py").write_text("def describe():\n    return 'found'\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(name)
    assert describe_in_worker(start_method, module.describe) == "found"


def blas_threads() -> Any:
    import threadpoolctl

    numbers = {library["num_threads"] for library in threadpoolctl.threadpool_info()}
    return numbers, os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(("threads", "found"), [(1, "1"), (2, "2")])
def test_numerical_libraries_are_limited_to_so_many_threads(
    start_method: str, threads: int, found: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    numbers, variable = describe_in_worker(start_method, blas_threads, threads_per_worker=threads)
    assert variable == found
    assert max(numbers) <= threads


def test_forked_worker_need_not_look_for_numerical_libraries(monkeypatch: pytest.MonkeyPatch):
    """It takes some ms, as long as all else that it does before its first file."""

    def look(n_modules: int) -> list[Any]:
        lookers.append(os.getpid())
        return []

    lookers: list[int] = []
    monkeypatch.setattr(environment, "_libraries_found", lru_cache(maxsize=1)(look))
    found = describe_in_worker("fork", lambda: lookers, threads_per_worker=1)
    assert set(found) == {os.getpid()}  # again if a module was imported meanwhile


def test_numerical_libraries_are_limited_to_the_share_of_a_worker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bigpipe.executors.base.n_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    pout = Describer().pipeline(["a", "b"], num_processes=2, describe=blas_threads)
    assert {meta["found"][1] for _, meta in pout} == {"4"}


# Keywords.


def test_keywords_are_fresh_for_each_file(start_method: str):
    image = np.arange(6_250_000, dtype=float)
    pout = Writer().pipeline(
        [str(i) for i in range(6)],
        executor="processes",
        num_processes=2,
        start_method=start_method,
        image=image,
        notes=["first"],
    )
    assert {(meta["before"][0], *meta["before"][1]) for _, meta in pout} == {(image.sum(), "first")}
    assert image[0] == 0


# Processes of a hook's own.


def double_in_pool() -> list[int]:
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def run_program() -> str:
    return subprocess.run(
        [sys.executable, "-c", "print('from a program')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def run_pipeline() -> Any:
    pout = Describer().pipeline(
        ["x", "y"], num_processes=2, executor="processes", describe=os.getpid
    )
    return len({meta["found"] for _, meta in pout} | {os.getpid()}) >= 2


@pytest.mark.parametrize(
    ("describe", "found"),
    [(double_in_pool, [1, 2, 3]), (run_program, "from a program\n"), (run_pipeline, True)],
)
def test_hook_may_have_processes_of_its_own(start_method: str, describe: Any, found: Any):
    assert describe_in_worker(start_method, describe) == found


def sigterm_in_child() -> Any:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, b"1" if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else b"0")
        os._exit(0)
    os.waitpid(pid, 0)
    is_default = os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)
    return is_default, bool(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_child_of_a_hook_can_be_ended_by_sigterm(start_method: str):
    """A pool ends its processes so, and waits for them."""
    assert describe_in_worker(start_method, sigterm_in_child) == (True, False)


def test_signals_of_a_worker_are_not_those_of_its_caller(start_method: str):
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        found = describe_in_worker(start_method, usr1_handler)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found == signal.SIG_DFL


def usr1_handler() -> Any:
    return signal.getsignal(signal.SIGUSR1)
