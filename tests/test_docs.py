"""What the documentation shows is true: every block of Python and every example is run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import re
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bigpipe
from bigpipe import streaming
from bigpipe.options import NAMES, table
from tests.checked import run, script_of
from tests.programs import run_python

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").glob("*.rst"))]
KAST = ROOT.parent / "shared" / "data" / "kast_blue"
REFERENCE = (ROOT / "docs" / "reference.rst").read_text("utf-8")
MODULES = sorted(path for path in ROOT.glob("bigpipe/**/*.py") if ">>> " in path.read_text("utf-8"))


def file_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_page(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page as a person would who pastes it into a script in an empty folder."""
    script = folder / "page.py"
    script.write_text(script_of(text), "utf-8")
    return run_python("-W", "error", script, cwd=folder)


TUTORIAL = ROOT / "docs" / "tutorial.rst"


@pytest.mark.process
@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=file_id)
def test_page_runs_as_a_script(page: Path, tmp_path: Path) -> None:
    ran = run_page(page.read_text("utf-8"), tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.process
@pytest.mark.skipif(not KAST.is_dir(), reason=f"no frames of the tutorial in {KAST}")
def test_tutorial_runs_on_its_frames(tmp_path: Path) -> None:
    (tmp_path / "kast_blue").symlink_to(KAST)
    ran = run_page(TUTORIAL.read_text("utf-8"), tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(not KAST.is_dir(), reason=f"no frames of the tutorial in {KAST}")
def test_figures_of_the_tutorial_are_those_that_its_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script = ROOT / "docs" / "tutorial_figures.py"
    drawn = run_python(script, KAST, "--output", tmp_path / "figures")
    assert drawn.returncode == 0, drawn.stderr
    shown = set(re.findall(r"figure:: tutorial/(\S+)", TUTORIAL.read_text("utf-8")))
    kept = {path.name for path in (ROOT / "docs" / "tutorial").iterdir()}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == shown == kept
    for name in shown:
        assert (ROOT / "docs" / "tutorial" / name).stat().st_size < 150_000
        before, now = (
            np.asarray(Image.open(folder / name).convert("L").reduce(8), dtype=float)
            for folder in (ROOT / "docs" / "tutorial", tmp_path / "figures")
        )
        assert before.shape == now.shape
        assert np.abs(before - now).mean() < 5  # of 255: fonts and versions may differ


@pytest.mark.parametrize("path", MODULES, ids=file_id)
def test_docstring_examples_are_true(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    report = "".join(run(test) for test in tests)
    assert not report, report


@pytest.mark.parametrize(
    "command",
    [
        r"python3 -m venv \S+ && \S+/python -m pip install -q \. && \S+/bigpipe demo",
        r"python3 -m venv \S+ && \S+/python -m pip install .* && \S+/python -m pytest -n 2",
    ],
    ids=["demo", "tests"],
)
def test_readme_has_the_command_once_and_on_one_line(command: str) -> None:
    readme = (ROOT / "README.rst").read_text("utf-8")
    assert len(re.findall(rf"^ +{command}$", readme, re.MULTILINE)) == 1


def options_table_lines() -> list[str]:
    path = ROOT / "docs" / "options_table.py"
    spec = importlib.util.spec_from_file_location("options_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lines()


def test_table_of_options_has_each_option_with_its_default_unit_and_meaning() -> None:
    text = "\n".join(options_table_lines())
    rows = [re.split(r"\n +- ", row) for row in text.split("\n    * - ")[1:]]
    heading, *rows = [[cell.replace("``", "").strip() for cell in row] for row in rows]
    assert heading == ["Option", "Default", "Unit", "Meaning"]
    assert [tuple(row) for row in rows] == table()
    assert [row[0] for row in rows] == list(NAMES)
    assert REFERENCE.count(".. options-table::") == 1


OF_THE_PREDECESSOR = {
    *("num_processes", "mem_available", "mem_frac", "process_size", "outdir", "create_outdir"),
    *("outname_append", "outname", "pre_process_list", "post_process_list", "PoolClass"),
}


def test_who_comes_from_bigmultipipe_is_told_of_each_option_that_is_new() -> None:
    page = (ROOT / "docs" / "from_bigmultipipe.rst").read_text("utf-8")
    told = page.partition("**New options.**")[2].partition("\n\n")[0]
    assert set(re.findall(r"``(\w+)``", told)) == set(NAMES) - OF_THE_PREDECESSOR


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in bigpipe.__all__ if name != "__version__"),
        *streaming.__all__,
        "Executor",
    ],
)
def test_public_name_is_in_the_reference(name: str) -> None:
    directive = rf"^\.\. (auto\w+|function):: {name}(\(\))?$|^    :members: .*\b{name}\b"
    assert re.search(directive, REFERENCE, re.MULTILINE)


def test_every_hook_and_method_of_the_pipeline_is_in_the_reference() -> None:
    public = {name for name in dir(bigpipe.BigMultiPipe) if not name.startswith("_")}
    assert set(re.findall(r"^    \.\. auto\w+:: (\w+)$", REFERENCE, re.MULTILINE)) == public


BLOCK = """\
Title
=====

.. code-block:: python

    x = 1
    {code}

Text.

>>> x + 1
{result}
"""


@pytest.mark.parametrize(
    ("code", "result", "complaint"),
    [
        ("", "2", None),
        ("raise ValueError('in a block')", "2", 'page.py", line 7'),
        ("x = 5", "2", "Got:\n    6"),
        ("x = ''", "Traceback (most recent call last):\nTypeError: can only ...", None),
    ],
    ids=["true", "raises", "untrue", "raises as it says"],
)
def test_a_page_that_is_not_true_is_found_out(
    code: str, result: str, complaint: str | None, tmp_path: Path
) -> None:
    ran = run_page(BLOCK.format(code=code, result=result), tmp_path)
    assert (ran.returncode == 0) == (complaint is None), ran.stderr
    assert complaint is None or complaint in ran.stderr


def test_an_example_sees_what_blocks_and_examples_before_it_have_set(tmp_path: Path) -> None:
    page = BLOCK.format(code="", result="2") + "\n>>> y = x + 2\n>>> y\n3\n"
    ran = run_page(page, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Got:\n    3" in run_page(page.replace("y\n3", "y\n4"), tmp_path).stderr


def test_code_that_is_not_shown_is_run_before_what_follows_it(tmp_path: Path) -> None:
    hidden = BLOCK.format(code="", result="2").replace(".. code-block:: python", ".. testsetup::")
    ran = run_page(hidden, tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_code_of_an_example_that_a_page_shows_is_run(tmp_path: Path) -> None:
    include = ".. literalinclude:: ../examples/from_loop.py\n    :start-at: {}\n    :end-at: {}\n"
    page = include.format("import argparse", "import argparse") + "\n>>> argparse.__name__\n'{}'\n"
    ran = run_page(page.format("argparse"), tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Got:\n    'argparse'" in run_page(page.format("another"), tmp_path).stderr


def test_a_block_marked_not_run_is_not_run(tmp_path: Path) -> None:
    marked = BLOCK.replace("python\n", "python\n    :class: not-run\n", 1)
    ran = run_page(marked.format(code="", result="2"), tmp_path)
    assert "name 'x' is not defined" in ran.stderr


MEASURED = """
import sys
from bigpipe import BigMultiPipe

class Measured(BigMultiPipe):
    def file_read(self, in_name, **kwargs):
        return in_name

    def file_write(self, data, outname, **kwargs):
        return data

Measured(num_processes=2, executor="processes", start_method=sys.argv[1]).pipeline(["a", "b", "c"])
"""


@pytest.mark.process
def test_hooks_in_workers_are_measured_with_the_settings_that_are_shown(
    tmp_path: Path, start_method: str
) -> None:
    pytest.importorskip("coverage", minversion="7.13")
    running = (ROOT / "docs" / "running.rst").read_text("utf-8")
    (settings,) = re.findall(r"^\.\. code-block:: ini\n\n((?: +.+\n)+)", running, re.MULTILINE)
    (tmp_path / ".coveragerc").write_text(textwrap.dedent(settings), "utf-8")
    (tmp_path / "measured.py").write_text(MEASURED, "utf-8")
    for arguments in (["run", "measured.py", start_method], ["combine"], ["json"]):
        run_python("-m", "coverage", *arguments, cwd=tmp_path, is_to_succeed=True)
    report = json.loads((tmp_path / "coverage.json").read_text("utf-8"))
    assert report["files"]["measured.py"]["missing_lines"] == []
