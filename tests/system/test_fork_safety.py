"""Tests of `bigpipe.system.fork_safety`: who may hold a lock in a forked process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bigpipe.system import fork_safety
from bigpipe.system.fork_safety import fork_is_safe
from tests.programs import run_python

FOREIGN_THREAD = """
import ctypes
process = ctypes.CDLL(None)
pause = ctypes.cast(process.pause, ctypes.c_void_p)
process.pthread_create(ctypes.byref(ctypes.c_ulong()), None, pause, None)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads cannot be counted here")
@pytest.mark.parametrize(
    ("code", "safe"),
    [
        pytest.param("", True, id="one thread"),
        pytest.param("import numpy, scipy.linalg", True, id="OpenBLAS"),
        pytest.param(
            "import threading; threading.Thread(target=input).start()", False, id="Python"
        ),
        pytest.param(FOREIGN_THREAD, False, id="native"),
        pytest.param(f"import numpy\n{FOREIGN_THREAD}", False, id="native beside OpenBLAS"),
    ],
)
def test_fork_is_safe_without_threads_that_could_hold_a_lock(code, safe):
    if "scipy" in code:
        pytest.importorskip("scipy")
    answer = (
        f"{code}\nimport os\nfrom bigpipe.system.fork_safety import fork_is_safe\n"
        "print(fork_is_safe(), flush=True)\nos._exit(0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", answer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read().strip() == str(safe)


class Library:
    """Stands in for a loaded library, as ``threadpoolctl`` shows one."""

    internal_api = "openblas"
    threading_layer = "pthreads"

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads


def test_python_thread_is_not_taken_for_one_of_openblas(monkeypatch):
    monkeypatch.setattr(fork_safety, "thread_libraries", lambda: [Library(2)])
    monkeypatch.setattr(fork_safety.os, "listdir", lambda path: ["4121", "4122"])
    monkeypatch.setattr(fork_safety.threading, "active_count", lambda: 1)
    assert fork_is_safe()
    monkeypatch.setattr(fork_safety.threading, "active_count", lambda: 2)
    assert not fork_is_safe()


def test_fork_is_not_safe_where_threads_cannot_be_counted(monkeypatch):
    def no_proc(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(fork_safety.threading, "active_count", lambda: 1)
    monkeypatch.setattr(fork_safety.os, "listdir", no_proc)
    assert not fork_is_safe()


RUN = """
import sys, threading, warnings
from pathlib import Path
from bigpipe import FunctionPipe
from bigpipe.streaming import Stages

def run(**options):
    options = {"start_method": "fork", "num_processes": 2, **options}
    names = [Path(sys.argv[1], f"{i}.txt") for i in range(4)]
    for name in names:
        name.write_text("x")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FunctionPipe(process=str.upper, outdir=sys.argv[1]).pipeline(names, **options)
    for each in caught:
        print(Path(each.filename).name, each.category.__name__, each.message)

def stages(**options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(Stages([range(3), str], **options)) == ["0", "1", "2"]
    for each in caught:
        print(each.category.__name__, each.message)

end = threading.Event()
def start(*names):
    for name in names:
        threading.Thread(target=end.wait, name=name, daemon=True).start()
"""


def said(tmp_path: Path, code: str) -> list[str]:
    done = run_python("-c", RUN + code, tmp_path, is_to_succeed=True, cwd=tmp_path)
    return done.stdout.splitlines()


@pytest.mark.process
def test_an_explicit_fork_beside_threads_warns_once_and_names_them(tmp_path):
    [line] = said(tmp_path, "start('pool_0', 'pool_1')\nrun()")
    assert line.startswith("<string> BigpipeWarning start_method='fork' copies a process")
    assert "threads: 'pool_0', 'pool_1'." in line
    assert "Leave out start_method" in line


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads cannot be counted here")
def test_the_warning_counts_threads_without_a_name(tmp_path):
    [line] = said(tmp_path, f"{FOREIGN_THREAD}\nrun()")
    assert "other threads: 1 of a library that is not written in Python." in line


@pytest.mark.process
def test_the_warning_shortens_a_long_list_of_threads(tmp_path):
    [line] = said(tmp_path, "start(*map(str, range(9)))\nrun()")
    assert "'0', '1', '2', '3', '4' and 4 more." in line


@pytest.mark.process
def test_an_explicit_fork_of_stages_beside_threads_warns(tmp_path):
    [line] = said(tmp_path, "start('pool_0')\nstages(start_method='fork')")
    assert "'pool_0'" in line


@pytest.mark.process
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("run()", id="no other thread"),
        pytest.param("run(progress=True)", id="a progress bar"),
        pytest.param("import numpy, scipy.linalg\nrun()", id="OpenBLAS"),
        pytest.param("start('bigpipe-read')\nrun()", id="a thread of bigpipe"),
        pytest.param("start('pool_0')\nrun(start_method=None)", id="not asked for"),
        pytest.param("start('pool_0')\nrun(num_processes=1)", id="no process is forked"),
        pytest.param("start('pool_0')\nrun(executor='threads')", id="threads"),
        pytest.param("stages(start_method='fork')", id="stages"),
        pytest.param("start('pool_0')\nstages()", id="stages, not asked for"),
    ],
)
def test_nothing_warns_of_a_fork_that_is_safe_or_not_asked_for(tmp_path, code):
    if "scipy" in code:
        pytest.importorskip("scipy")
    assert said(tmp_path, code) == []


@pytest.mark.process
def test_the_watchdog_of_faulthandler_is_no_danger(tmp_path):
    watch = "import faulthandler; faulthandler.dump_traceback_later(1000)\n"
    assert said(tmp_path, f"{watch}run()") == []
