"""Tests of the places a pipeline can be started from: scripts, cells, functions, lambdas."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bigpipe import BigMultiPipe
from tests.mischief import PATIENCE, SOON
from tests.programs import run_python

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
MakeFiles = Callable[..., list[str]]

PIPELINE = """
import os, sys
from bigpipe import BigMultiPipe

FACTOR = 2

def note(data, bmp_meta=None, **kwargs):
    bmp_meta["pid"] = os.getpid()
    return data

class Doubler(BigMultiPipe):
    def data_process(self, data, **kwargs):
        return data * FACTOR

    def file_write(self, data, outname, **kwargs):
        with open(outname, "wb") as file:
            file.write(data)
        return outname

def run():
    outdir, method, *names = sys.argv[1:]
    pipe = Doubler(
        2, executor="processes", start_method=method, outdir=outdir, create_outdir=True,
        pre_process_list=[lambda data, **kwargs: data.upper()], post_process_list=note,
    )
    pout = pipe.pipeline(names)
    assert os.getpid() not in {meta["pid"] for _, meta in pout}
    print("done", len(pout))

print("started")
"""
GUARDED = PIPELINE + '\nif __name__ == "__main__":\n    run()\n'
UNGUARDED = PIPELINE + "\nrun()\n"
# What a notebook does: names in `__main__`, and no file that could be imported.
CELL = f"import __main__; exec(compile({UNGUARDED!r}, '<cell 1>', 'exec'), vars(__main__))"


def printed_by(*arguments: str, **options: Any) -> str:
    """Run a program; return what it printed, and fail if it complained."""
    done = run_python(*arguments, **options)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_script_runs_once_with_and_without_a_guard(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    for text in (GUARDED, UNGUARDED):
        script = tmp_path / "script.py"
        script.write_text(text)
        names = make_files(3)
        out = tmp_path / "out"
        assert printed_by(str(script), str(out), start_method, *names) == "started\ndone 3\n"
        assert (out / "001_bmp.bin").read_bytes() == b"001.BIN\n" * 2


@pytest.mark.parametrize("way", ["standard input", "-c", "cell"])
def test_program_without_a_file_runs_once(
    make_files: MakeFiles, tmp_path: Path, start_method: str, way: str
):
    names = make_files(3)
    arguments = [str(tmp_path / "out"), start_method, *names]
    if way == "standard input":
        printed = printed_by("-", *arguments, input=UNGUARDED)
    else:
        printed = printed_by("-c", CELL if way == "cell" else UNGUARDED, *arguments)
    assert printed == "started\ndone 3\n"
    assert (tmp_path / "out" / "001_bmp.bin").read_bytes() == b"001.BIN\n" * 2


def test_module_that_is_run_by_its_name_runs_once(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    (tmp_path / "night.py").write_text(UNGUARDED)
    code = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); " + textwrap.dedent(
        "runpy.run_module('night', run_name='__main__', alter_sys=True)"
    )
    names = make_files(2)
    printed = printed_by("-c", code, str(tmp_path / "out"), start_method, *names)
    assert printed == "started\ndone 2\n"


IN_CHILD = (
    PIPELINE
    + """
if __name__ == "__main__":
    import multiprocessing
    child = multiprocessing.get_context("spawn").Process(target=run)
    child.start()
    child.join()
"""
)


def test_script_may_run_in_a_child_that_is_spawned(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    (script := tmp_path / "script.py").write_text(IN_CHILD)
    arguments = [str(script), str(tmp_path / "out"), start_method, *make_files(2)]
    assert printed_by(*arguments) == "started\nstarted\ndone 2\n"


WITH_POOLS = """
import enum, multiprocessing, sys
from bigpipe import BigMultiPipe

class Side(enum.Enum):
    LEFT = 1

FACTOR = 2

def double(x):
    return Side.LEFT, x * FACTOR

def count(pair):
    return (pair[0] is Side.LEFT) + pair[1]

class Pooling(BigMultiPipe):
    def data_process(self, data, context=None, **kwargs):
        with multiprocessing.get_context(context).Pool(1) as pool:
            if context == "spawn":  # what it gives must be what a new interpreter knows
                return pool.map(count, [(Side.LEFT, 2)])
            return [pair[1] for pair in pool.map(double, [1, 2]) if pair[0] is Side.LEFT]

if __name__ == "__main__":
    method, context, name = sys.argv[1:]
    pipe = Pooling(executor="processes", start_method=method, file_timeout=PATIENCE)
    with pipe.stream([name], context=context) as stream:
        print(*stream)
"""


@pytest.mark.parametrize(("context", "given"), [("fork", "[2, 4]"), ("spawn", "[3]")])
def test_hook_may_give_functions_of_the_script_to_a_pool(
    make_files: MakeFiles, tmp_path: Path, start_method: str, context: str, given: str
):
    (script := tmp_path / "script.py").write_text(WITH_POOLS.replace("PATIENCE", str(PATIENCE)))
    assert printed_by(str(script), start_method, context, *make_files(1)) == f"{given}\n"


WITH_POOLS_IN_STAGES = """
import multiprocessing, sys
from bigpipe.streaming import Stages

def double(x):
    return 2 * x

def pooled(x):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map_async(double, [x]).get(PATIENCE)[0]

with Stages([[3, 4], pooled], start_method=sys.argv[1]) as stages:
    print(*stages)
"""


def test_stage_may_give_functions_of_the_script_to_a_pool(tmp_path: Path, start_method: str):
    text = WITH_POOLS_IN_STAGES.replace("PATIENCE", str(PATIENCE))
    (script := tmp_path / "script.py").write_text(text)
    assert printed_by(str(script), start_method) == "6 8\n"


FROM_FILE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location({name!r}, {file!r})
module = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


@pytest.mark.parametrize(
    "way",
    [
        "import runpy; runpy.run_path({file!r})",
        FROM_FILE,
        FROM_FILE.replace("{name!r}", "'plugins.night'"),
    ],
    ids=["run_path", "from its file", "in a package that is none"],
)
@pytest.mark.parametrize("name", ["night", "colorsys"])
def test_module_that_no_import_finds_runs_once(
    make_files: MakeFiles, tmp_path: Path, start_method: str, way: str, name: str
):
    (folder := tmp_path / "modules").mkdir()
    (folder / f"{name}.py").write_text(UNGUARDED)
    code = way.format(file=str(folder / f"{name}.py"), name=name)
    names = make_files(2)
    assert printed_by("-c", code, str(tmp_path / "out"), start_method, *names) == (
        "started\ndone 2\n"
    )


def test_class_and_functions_of_a_function_travel(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    suffix = b"!"

    class Shouter(BigMultiPipe):
        def data_process(self, data, add, **kwargs):
            return add(data)

        def file_write(self, data, outname, **kwargs):
            Path(outname).write_bytes(data)
            return outname

    def add_suffix(data: bytes) -> bytes:
        return data.strip() + suffix

    pipe = Shouter(
        2,
        executor="processes",
        start_method=start_method,
        outdir=tmp_path,
        post_process_list=[lambda data, **kwargs: data + suffix],
    )
    pout = pipe.pipeline(make_files(3), add=add_suffix)
    assert [Path(outname).read_bytes() for outname, _ in pout] == [
        f"00{i}.bin!!".encode() for i in range(3)
    ]


@pytest.mark.parametrize("place", ["method", "function", "keyword"])
def test_object_of_a_class_of_a_function_comes_back_as_one_of_that_class(
    make_files: MakeFiles, tmp_path: Path, start_method: str, place: str
):
    @dataclass
    class Level:
        n: int

    class BadLevelError(Exception):
        pass

    def measure(data: bytes, bmp_meta: Any, **kwargs: Any) -> bytes:
        if data == b"001.bin\n":
            raise BadLevelError
        bmp_meta["level"] = Level(3)
        return data

    class Measurer(BigMultiPipe):
        def post_process(self, data, measure=measure, **kwargs):
            meta: dict[str, Any] = {}
            return measure(data, bmp_meta=meta), meta

    pipe = Measurer() if place == "method" else BigMultiPipe()
    if place == "keyword":
        pipe = PassOn()
    given = {"function": {"post_process_list": measure}, "keyword": {"measure": measure}}
    pout = pipe.pipeline(
        make_files(3),
        **given.get(place, {}),
        num_processes=2,
        executor="processes",
        start_method=start_method,
        outdir=tmp_path,
        on_error="return",
    )
    assert isinstance(pout.errors[0].__cause__, BadLevelError)
    assert [meta.get("level") for _, meta in pout] == [Level(3), None, Level(3)]


class PassOn(BigMultiPipe):
    def post_process(self, data, measure, **kwargs):
        meta: dict[str, Any] = {}
        return measure(data, bmp_meta=meta), meta


class State:
    """Something that an object keeps, and that a worker gets a copy of."""

    def __init__(self) -> None:
        self.n = 0


class Stateful(BigMultiPipe):
    def __init__(self, **kwargs: Any) -> None:
        self.state = State()
        super().__init__(**kwargs)

    def file_process(self, in_name, **kwargs):
        self.state.n += 1
        return None, {"n": self.state.n}


def test_object_of_a_worker_is_a_copy_of_the_callers(start_method: str):
    pipe = Stateful(executor="processes", start_method=start_method)
    pipe.state.n = 10
    pout = pipe.pipeline(list("abc"), num_processes=1)
    assert [meta["n"] for _, meta in pout] == [11, 12, 13]
    assert pipe.state.n == 10


def test_run_starts_where_standard_streams_are_closed(
    make_files: MakeFiles, tmp_path: Path, start_method: str
):
    code = UNGUARDED.replace('print("started")', "").replace(
        'print("done", len(pout))', "open(outdir + '/done', 'w').close()"
    )
    names = make_files(2)
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run(
        [*closing, sys.executable, "-c", code, str(tmp_path / "out"), start_method, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "out" / "done").exists()


LOCK = threading.Lock()


class LockUser(BigMultiPipe):
    def file_process(self, in_name, **kwargs):
        with LOCK:
            return None, {"pid": os.getpid()}


def test_process_with_threads_starts_its_workers_safely():
    """A lock that a thread holds would be held for ever in a worker that was forked then."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with LOCK:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        pout = LockUser(2, executor="processes", file_timeout=PATIENCE).pipeline(["a", "b"])
    finally:
        done.set()
        thread.join()
    assert os.getpid() not in {meta["pid"] for _, meta in pout}


IMPORT_HAS_BEGUN, IMPORT_MAY_END = threading.Event(), threading.Event()
HALF_IMPORTED = """
import os
from tests import test_start

if os.getpid() == {pid}:
    test_start.IMPORT_HAS_BEGUN.set()
    test_start.IMPORT_MAY_END.wait()
value = 3
"""


class Importer(BigMultiPipe):
    def file_process(self, in_name, **kwargs):
        import half_imported

        return None, {"value": half_imported.value}


def test_worker_does_not_wait_for_what_a_thread_of_its_parent_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_method: str
):
    (tmp_path / "half_imported.py").write_text(HALF_IMPORTED.format(pid=os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "half_imported", raising=False)
    IMPORT_HAS_BEGUN.clear()
    IMPORT_MAY_END.clear()
    thread = threading.Thread(target=importlib.import_module, args=("half_imported",))
    thread.start()
    IMPORT_HAS_BEGUN.wait()
    pipe = Importer(2, executor="processes", start_method=start_method, file_timeout=SOON)
    try:
        pout = pipe.pipeline(["a", "b"])
    finally:
        IMPORT_MAY_END.set()
        thread.join()
    assert [meta["value"] for _, meta in pout] == [3, 3]
