"""The benchmarks run, count only right outputs, and say what the figures say. None is timed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
MEASURED = BENCHMARKS / "measured.json"
PAGE = ROOT / "docs" / "speed.rst"
MODULES = ("cases", "contenders", "run_once", "tables")
CASES = ("tiny", "large", "cpu", "skewed", "startup")
CONTENDERS = (
    *("serial loop", "multiprocessing.Pool", "ProcessPoolExecutor"),
    *("joblib", "mpire", "pebble", "bigpipe"),
)


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """Modules of the benchmarks, which are scripts beside one another and no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield {name: importlib.import_module(name) for name in MODULES}
        for name in MODULES:
            sys.modules.pop(name, None)


def run_script(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_contender(contender: str, case: str, indir: Path, outdir: Path) -> dict[str, float]:
    asked = {
        "contender": contender,
        "case": case,
        "in_folder": str(indir),
        "outdir": str(outdir),
        "is_whole": True,
        "n_workers": 2,
    }
    figures: dict[str, float] = json.loads(
        run_script(BENCHMARKS / "run_once.py", json.dumps(asked))
    )
    return figures


@pytest.mark.process
@pytest.mark.parametrize("contender", CONTENDERS)
def test_contender_does_its_work(bench, contender, tmp_path):
    if not bench["contenders"].is_installed(bench["contenders"].CONTENDERS[contender]):
        pytest.skip(f"{contender} is not installed: pip install '.[bench]'")
    bench["cases"].make_inputs("tiny", "smoke", tmp_path / "in")
    figures = run_contender(contender, "tiny", tmp_path / "in", tmp_path / "out")
    assert figures["wall_s"] > 0


@pytest.mark.process
@pytest.mark.parametrize("case", CASES)
def test_bigpipe_does_the_work_of_each_case(bench, case, tmp_path):
    bench["cases"].make_inputs(case, "smoke", tmp_path / "in")
    figures = run_contender("bigpipe", case, tmp_path / "in", tmp_path / "out")
    assert figures["parent_cpu_s"] > 0


@pytest.mark.parametrize("is_whole", [False, True], ids=["straight", "replace"])
@pytest.mark.parametrize("case", CASES)
def test_function_of_the_peers_makes_right_outputs(bench, case, is_whole, tmp_path):
    cases = bench["cases"]
    names = cases.make_inputs(case, "smoke", tmp_path / "in")
    (tmp_path / "out").mkdir()
    for name in names:
        cases.process_file(case, str(tmp_path / "out"), is_whole, name)
    cases.check_outputs(case, names, str(tmp_path / "out"))


def spoil_by_removing(outdir: Path) -> None:
    next(outdir.iterdir()).unlink()


def spoil_by_adding(outdir: Path) -> None:
    (outdir / "000000_bmp.txt.tmp").touch()


def spoil_by_cutting(outdir: Path) -> None:
    path = next(outdir.iterdir())
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("spoil", [spoil_by_removing, spoil_by_adding, spoil_by_cutting])
@pytest.mark.parametrize("case", CASES)
def test_wrong_outputs_have_no_time(bench, case, spoil, tmp_path, monkeypatch):
    names = bench["cases"].make_inputs(case, "smoke", tmp_path / "in")
    outdir = tmp_path / "out"

    def run(work: Any, names: list[str]) -> None:
        for name in names:
            work(name)
        spoil(outdir)

    contenders = bench["contenders"]
    careless = contenders.Contender("careless", None, lambda n_workers: run)
    monkeypatch.setitem(contenders.CONTENDERS, "careless", careless)
    with pytest.raises((bench["cases"].WrongOutputs, ValueError)):
        bench["run_once"].timed_run("careless", case, names, str(outdir), True, 2)


@pytest.mark.process
def test_command_compares_and_writes_what_it_measured(tmp_path):
    arguments = ["--size", "smoke", "--rounds", "1", "--only", "startup", "memory", "keyword"]
    files = ["--json", tmp_path / "figures.json", "--page", tmp_path / "page.rst"]
    shown = run_script(BENCHMARKS / "compare.py", *arguments, "--folder", tmp_path, *files)
    assert "bigpipe takes" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"python", "processor", "n_cores", "file_system", "versions"} <= figures["about"].keys()
    assert {run["contender"] for run in figures["cases"]["startup"]["runs"]} >= {
        "serial loop",
        "bigpipe",
    }
    again = run_script(BENCHMARKS / "compare.py", "--read", tmp_path / "figures.json")
    assert again == shown


@pytest.mark.process
def test_import_is_measured(tmp_path):
    figures = json.loads(run_script(BENCHMARKS / "alone.py", "import", '{"n_pairs": 1}'))
    assert figures["loaded"] == []


def runs_of(case: dict[tuple[str, bool], list[float]]) -> list[dict[str, Any]]:
    return [
        {
            "contender": contender,
            "is_whole": is_whole,
            "round": round_,
            "wall_s": wall_s,
            "parent_cpu_s": wall_s / 10,
            "children_cpu_s": wall_s,
        }
        for (contender, is_whole), seconds in case.items()
        for round_, wall_s in enumerate(seconds)
    ]


def test_ratio_is_the_median_of_the_rounds_and_not_of_the_times(bench):
    # In the second round the machine is slow for all; in the third, for bigpipe alone.
    runs = runs_of({("bigpipe", True): [1.0, 10.0, 9.0], ("mpire", True): [2.0, 20.0, 2.0]})
    runs += runs_of({("joblib", True): [5.0, 50.0, 5.0], ("mpire", False): [1.0, 10.0, 1.0]})
    results = {
        "about": {"n_workers": 2},
        "cases": {"tiny": {"what": "", "n_files": 1, "runs": runs}},
        "alone": {},
    }
    whole, straight, _ = bench["tables"].findings(results)
    assert (whole.measured, whole.is_met) == ("0.50", True)
    assert "mpire" in whole.what
    assert (straight.measured, straight.is_met) == ("1.00", True)


@pytest.mark.parametrize(
    ("seconds", "n_workers", "shortest"),
    [([1, 1, 1, 1], 2, 2), ([1, 1, 1, 4], 2, 5), ([4, 1, 1, 1], 2, 4), ([3], 2, 3)],
)
def test_ideal_takes_files_in_order(bench, seconds, n_workers, shortest):
    assert bench["cases"].shortest_s(seconds, n_workers) == shortest


@pytest.mark.parametrize(("growth", "is_met"), [(1 << 20, True), (50 << 20, False)])
def test_memory_that_grows_with_the_files_is_noticed(bench, growth, is_met):
    resident = [[10_000, 100 << 20], [100_000, (100 << 20) + growth]]
    results = {"about": {}, "cases": {}, "alone": {"memory": {"resident": resident}}}
    (finding,) = bench["tables"].findings(results)
    assert finding.is_met is is_met


@pytest.mark.skipif(not MEASURED.exists(), reason="no measured results are kept here yet")
def test_page_is_made_from_what_was_measured(bench):
    results = json.loads(MEASURED.read_text("utf-8"))
    assert results["about"]["size"] == "full"
    assert PAGE.read_text("utf-8") == bench["tables"].as_page(results)
