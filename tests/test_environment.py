"""Tests of `bigpipe.environment`: what a worker takes over, and threads it may have."""

from __future__ import annotations

import contextlib
import dataclasses
import locale
import logging
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from bigpipe import environment
from bigpipe.environment import Environment, limit_threads, threads_limited
from bigpipe.errors import BigpipeWarning

TIMEOUT = 30  # seconds; only a test that fails ever waits so long
LOGGER = "bigpipe_test.environment"


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put every setting back that a test changes."""
    monkeypatch.chdir(os.getcwd())
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("_levelToName", "_nameToLevel"):
        monkeypatch.setattr(logging, name, dict(getattr(logging, name)))
    environ = dict(os.environ)
    umask = os.umask(0)
    os.umask(umask)
    locale_name = locale.setlocale(locale.LC_ALL, None)
    numpy_errors = np.geterr()
    known_loggers = set(logging.root.manager.loggerDict)
    with warnings.catch_warnings():
        yield
    np.seterr(**numpy_errors)
    locale.setlocale(locale.LC_ALL, locale_name)
    os.umask(umask)
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)
    for name in logging.root.manager.loggerDict.keys() - known_loggers:
        del logging.root.manager.loggerDict[name]
    logging.disable(logging.NOTSET)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _settings() -> dict[str, Any]:
    logger = logging.getLogger(LOGGER)
    return {
        "environ": {name: os.environ.get(name) for name in ("BIGPIPE_NEW", "BIGPIPE_GONE")},
        "cwd": os.getcwd(),
        "last of sys.path": sys.path[-1],
        "umask": _umask(),
        "locale": locale.setlocale(locale.LC_CTYPE, None),
        "first filter": warnings.filters[0],
        "logger": (logger.level, logger.disabled, logger.propagate),
        "root level": logging.root.level,
        "logging.disable": logging.root.manager.disable,
        "level name": logging.getLevelName(25),
        "numpy": np.geterr()["divide"],
    }


def _report_settings(captured: Environment, connection: Any) -> None:
    captured.apply()
    connection.send(_settings())


@pytest.mark.process
def test_worker_has_the_settings_of_its_parent(start_method, own_settings, tmp_path, monkeypatch):
    context = multiprocessing.get_context(start_method)
    os.environ["BIGPIPE_GONE"] = "1"
    with context.Pool(1) as pool:  # the fork server, if any, starts with other settings
        pool.apply(os.getpid)
        pool.close()
        pool.join()
    del os.environ["BIGPIPE_GONE"]
    os.environ["BIGPIPE_NEW"] = "1"
    os.chdir(tmp_path)
    sys.path.append("/not/there")
    os.umask(0o027)
    locale.setlocale(locale.LC_CTYPE, "C")
    warnings.filterwarnings("ignore", message="odd header", category=RuntimeWarning)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(13)
    logger.disabled, logger.propagate = True, False
    monkeypatch.setattr(logging.root, "level", 17)
    logging.disable(5)
    logging.addLevelName(25, "NOTICE")
    np.seterr(divide="ignore")

    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report_settings, args=(Environment.capture(), theirs))
    process.start()
    theirs.close()
    try:
        assert ours.poll(TIMEOUT)
        assert ours.recv() == _settings()
    finally:
        process.join(TIMEOUT)
        ours.close()


def test_capture_changes_nothing(own_settings):
    before = _settings()
    Environment.capture()
    assert _settings() == before


def test_filter_whose_category_cannot_be_found_is_left_out(own_settings):
    class LocalWarning(UserWarning):
        pass

    warnings.simplefilter("ignore", LocalWarning)
    warnings.filterwarnings("ignore", message="odd header")
    captured = Environment.capture()
    arrived = pickle.loads(pickle.dumps(captured))
    assert arrived.warning_filters[0] == (
        "ignore",
        re.compile("odd header", re.I),
        Warning,
        None,
        0,
    )
    assert len(arrived.warning_filters) == len(captured.warning_filters) - 1


def test_filter_whose_category_cannot_be_loaded_is_left_out(own_settings, tmp_path, monkeypatch):
    (tmp_path / "only_in_parent.py").write_text("class OddWarning(UserWarning): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_in_parent

    warnings.simplefilter("ignore", only_in_parent.OddWarning)
    data = pickle.dumps(Environment.capture())
    (tmp_path / "only_in_parent.py").unlink()
    monkeypatch.delitem(sys.modules, "only_in_parent")
    arrived = pickle.loads(data)
    assert arrived.warning_filters == tuple(warnings.filters[1:])


def test_applying_what_is_there_forgets_no_warning_that_was_shown(own_settings):
    warnings.simplefilter("default")
    registry: dict[Any, Any] = {}
    with warnings.catch_warnings(record=True) as shown:
        for _ in range(2):
            Environment.capture().apply()
            warnings.warn_explicit("once", UserWarning, "frame.py", 1, registry=registry)
    assert len(shown) == 1


def test_module_settings_can_be_applied_again(own_settings):
    captured = Environment.capture()
    warnings.simplefilter("always", ImportWarning)
    captured.apply_module_settings()
    assert tuple(warnings.filters) == captured.warning_filters


def test_part_that_fails_warns_and_the_others_are_set(own_settings, tmp_path):
    captured = dataclasses.replace(
        Environment.capture(), cwd=str(tmp_path / "gone"), sys_path=("/not/there",)
    )
    with pytest.warns(BigpipeWarning, match=r"current folder.*FileNotFoundError"):
        captured.apply()
    assert sys.path == ["/not/there"]


def test_part_that_fails_does_not_raise_when_warnings_are_errors(own_settings, tmp_path):
    warnings.simplefilter("error")
    captured = dataclasses.replace(Environment.capture(), cwd=str(tmp_path / "gone"))
    with warnings.catch_warnings(record=True) as shown:
        captured.apply()
    assert [warning.category for warning in shown] == [BigpipeWarning]


def test_deleted_current_folder_is_left_alone(own_settings, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    captured = Environment.capture()
    assert captured.cwd is None
    os.chdir(tmp_path)
    captured.apply()
    assert Path.cwd() == tmp_path


def test_logger_with_a_class_of_its_own_is_not_made_for_its_package(own_settings):
    class OwnLogger(logging.Logger):
        pass

    logging.root.manager.loggerDict[LOGGER] = OwnLogger(LOGGER, level=13)
    logging.getLogger(f"{LOGGER}_plain").setLevel(14)
    captured = Environment.capture()
    del logging.root.manager.loggerDict[LOGGER], logging.root.manager.loggerDict[f"{LOGGER}_plain"]
    captured.apply()
    assert LOGGER not in logging.root.manager.loggerDict
    assert logging.getLogger(f"{LOGGER}_plain").level == 14


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "3"), ("1", "1"), ("3", "3"), ("8", "3"), ("2,1", "2,1"), ("all", "3"), ("0", "3")],
    ids=["unset", "lower", "equal", "higher", "nested", "not a number", "zero"],
)
@pytest.mark.parametrize("name", environment.THREAD_VARIABLES)
def test_limit_of_threads_keeps_a_lower_one(own_settings, name, before, after):
    os.environ.pop(name, None)
    if before is not None:
        os.environ[name] = before
    limit_threads(3)
    assert os.environ[name] == after


class Library:
    """Stands in for a loaded library, as ``threadpoolctl`` shows one."""

    internal_api = "openblas"
    threading_layer = "pthreads"

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads

    def set_num_threads(self, n: int) -> None:
        self.num_threads = n


@pytest.mark.parametrize(("before", "after"), [(8, 3), (3, 3), (1, 1)])
def test_loaded_library_is_limited(own_settings, monkeypatch, before, after):
    library = Library(before)
    monkeypatch.setattr(environment, "thread_libraries", lambda: [library])
    limit_threads(3)
    assert library.num_threads == after


def test_numpy_obeys_the_limit_and_gets_its_threads_back(own_settings):
    def n_threads() -> list[int]:
        return [each["num_threads"] for each in threadpoolctl.threadpool_info()]

    before = n_threads()
    if max(before, default=1) == 1:
        pytest.skip("numpy has one thread here in any case")
    with threads_limited(1):
        assert set(n_threads()) == {1}
    assert n_threads() == before


THREADS_BEFORE_AND_AFTER = """
matrix = np.ones((600, 600))
matrix @ matrix  # large enough for its threads to be started
before = os.listdir("/proc/self/task")
for _ in range(2):
    with threads_limited(1):
        pass
    matrix @ matrix
print(os.listdir("/proc/self/task") == before)
"""

FORK = """
if not os.fork():
    os._exit(0)
os.wait()
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of threads here")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="numpy"),
        pytest.param("import scipy.linalg", id="two OpenBLAS"),
        # A fork ends the threads of OpenBLAS. Only numpy's are started again.
        pytest.param(f"import scipy.linalg{FORK}", id="second OpenBLAS without threads"),
    ],
)
def test_limit_leaves_no_threads_behind(code: str):
    """In a process of its own, as other tests leave libraries and threads behind."""
    if "scipy" in code:
        pytest.importorskip("scipy")
    imports = "import os\nimport numpy as np\nfrom bigpipe.environment import threads_limited\n"
    command = [sys.executable, "-c", f"{imports}{code}\n{THREADS_BEFORE_AND_AFTER}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_variables_are_as_before_after_the_limit(own_settings):
    os.environ.pop("OMP_NUM_THREADS", None)
    os.environ["MKL_NUM_THREADS"] = "8"
    with contextlib.suppress(KeyError), threads_limited(2):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "2")
        raise KeyError
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "8"
