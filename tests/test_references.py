"""Objects by name, of modules and of scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from bigpipe import BigMultiPipe
from bigpipe.errors import OptionError
from bigpipe.references import find, load
from tests.programs import run_python


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what a test has imported, and what it has put into ``sys.path``."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if not str(getattr(module, "__file__", "")).startswith((sys.prefix, sys.base_prefix)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "value"),
    [("os.path:join", os.path.join), ("bigpipe:BigMultiPipe", BigMultiPipe), ("OSError", OSError)],
    ids=["function", "public name", "builtin"],
)
def test_object_is_found_by_name(reference, value):
    assert find(reference) is value


def test_name_may_have_dots():
    assert find("bigpipe:BigMultiPipe.pipeline") is BigMultiPipe.pipeline


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", "'nonsense' does not name an object: write package.module:name"),
        ("os:nonsense", "os has no nonsense$"),
        ("os.path:jion", "os.path has no jion: did you mean join"),
        ("no.such.module:x", "no module 'no.such.module', neither installed nor in"),
        ("nowhere/script.py:x", "no script 'nowhere/script.py'"),
    ],
    ids=["no module", "no name", "near miss", "no such module", "no script"],
)
def test_what_is_not_there_is_said(reference, message):
    with pytest.raises(OptionError, match=message):
        find(reference)


def test_folder_is_no_module(tmp_path, monkeypatch):
    (tmp_path / "raw_frames").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=r"'raw_frames' is a folder without __init__.py"):
        find("raw_frames:x")


def test_module_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "in_this_folder.py").write_text("x = 7")
    monkeypatch.chdir(tmp_path)
    assert find("in_this_folder:x") == 7


def test_script_is_imported_by_its_name_with_its_folder_importable(tmp_path):
    (tmp_path / "a_script.py").write_text("import its_neighbour; x = its_neighbour.y")
    (tmp_path / "its_neighbour.py").write_text("y = 7")
    assert find(f"{tmp_path}/a_script.py:x") == 7
    assert sys.path[0] == str(tmp_path)
    assert load(f"{tmp_path}/a_script.py") is sys.modules["a_script"]


def test_script_is_not_main(tmp_path):
    (tmp_path / "guarded.py").write_text("if __name__ == '__main__': 1 / 0\nx = 7")
    assert find(f"{tmp_path}/guarded.py:x") == 7


@pytest.mark.parametrize("name", ["night-1.py", "json.py"], ids=["no identifier", "taken"])
def test_script_that_no_import_finds_is_imported_once_all_the_same(name, tmp_path):
    (tmp_path / name).write_text("x = 7\nclass Here: pass")
    module = load(f"{tmp_path}/{name}")
    assert module.x == 7
    assert load(f"{tmp_path}/{name}") is module
    assert "loads" in vars(sys.modules["json"])


def test_two_scripts_of_one_name_are_two(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "twin.py").write_text(f"x = {folder!r}")
    assert [find(f"{tmp_path}/{folder}/twin.py:x") for folder in ("one", "two")] == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "error"),
    [("1 / 0", "ZeroDivisionError"), ("def", "SyntaxError"), ("raise SystemExit(3)", "SystemExit")],
    ids=["raises", "is no Python", "exits"],
)
def test_script_that_cannot_be_imported_says_why(code, error, tmp_path):
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(OptionError, match=f"broken.py cannot be imported: {error}") as caught:
        find(f"{tmp_path}/broken.py:x")
    assert type(caught.value.__cause__).__name__ == error


def test_module_that_lacks_another_says_which(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import not_installed_anywhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="No module named 'not_installed_anywhere'"):
        find("lacking:x")


SCRIPT = """
from bigpipe import BigMultiPipe

class Upper(BigMultiPipe):
    def data_process(self, data, **kwargs):
        return changed(data)

    def file_write(self, data, outname, **kwargs):
        with open(outname, "wb") as file:
            file.write(data)
        return outname

def changed(data):
    return data.upper()
"""
RUN = """
import sys
from bigpipe.references import find
names, options = sys.argv[2:], {"executor": "processes", "num_processes": 2, "outdir": "out"}
Upper = find(sys.argv[1])
for method in ("fork", "forkserver", "spawn"):
    pout = Upper(start_method=method, **options).pipeline(names)
    assert [open(name, "rb").read() for name, _ in pout] == [b"A", b"B"], pout
"""


@pytest.mark.process
@pytest.mark.parametrize("name", ["reduce.py", "night-1.py"])
def test_workers_of_every_start_method_have_the_script(name, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / name).write_text(SCRIPT)
    (tmp_path / "out").mkdir()
    for each in "ab":
        (tmp_path / each).write_text(each)
    ran = run_python(*("-W", "error", "-c", RUN, f"elsewhere/{name}:Upper", "a", "b"), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
