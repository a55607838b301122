"""The benchmarks run, count only right outputs, and say what the figures say. None is timed."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.programs import run_python

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
MEASURED = BENCHMARKS / "measured.json"
PAGE = ROOT / "docs" / "speed.rst"
MODULES = ("calm", "cases", "compare", "contenders", "run_once", "tables")
MODULES += ("memory_cases", "memory_run", "memory_tables", "tree_pss")
CASES = ("tiny", "large", "arrays", "cpu", "skewed", "startup")
CONTENDERS = (
    *("serial loop", "multiprocessing.Pool", "ProcessPoolExecutor"),
    *("joblib", "mpire", "pebble", "its outputs by hand", "bigmultipipe", "bigpipe"),
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
    return run_python(*arguments, is_to_succeed=True).stdout


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


def test_ratio_is_of_the_least_times(bench):
    # In the second round the machine is slow for bigpipe and joblib, in the third for bigpipe.
    runs = runs_of({("bigpipe", True): [1.0, 10.0, 9.0], ("mpire", True): [2.0, 4.0, 2.0]})
    runs += runs_of({("joblib", True): [5.0, 50.0, 5.0], ("mpire", False): [1.0, 2.0, 1.0]})
    results = {
        "about": {"n_workers": 2},
        "cases": {"tiny": {"what": "", "n_files": 1, "runs": runs}},
        "alone": {},
    }
    whole, straight = bench["tables"].findings(results)
    assert (whole.measured, whole.is_met) == ("0.50", True)
    assert "mpire" in whole.what
    assert (straight.measured, straight.is_met) == ("1.00", True)


def test_small_outputs_stay_until_all_is_measured(bench, tmp_path):
    compare = bench["compare"]
    for name, n_bytes in (("small", 10), ("large", compare.MAX_KEPT + 1)):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "out", "wb") as file:
            file.truncate(n_bytes)
        compare._remove_large(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


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


@pytest.mark.parametrize(("seconds", "is_met"), [([0.5, 0.19], True), ([0.5, 0.21], False)])
def test_time_of_the_parent_is_that_of_its_best_round(bench, seconds, is_met):
    figures = {"n_files": 10_000, "cpu_s": seconds}
    results = {"about": {}, "cases": {}, "alone": {"parent": figures}}
    (finding,) = bench["tables"].findings(results)
    assert finding.is_met is is_met


@pytest.mark.process
def test_time_of_the_parent_is_measured_in_a_process_for_each_round(bench, tmp_path):
    asked, calm = {"n_files": 5, "n_rounds": 2}, bench["calm"].Calm(0.0)
    figures = bench["compare"]._measure_parent(asked, tmp_path / "parent", 2, calm)
    assert figures["n_files"] == 5
    assert [seconds > 0 for seconds in figures["cpu_s"]] == [True, True]
    assert len(list((tmp_path / "parent").glob("*/out/*.txt"))) == 10


class Loops:
    """Stands for the loop by which a quiet moment is told, and for the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calm: ModuleType, times: list[float]):
        self.left = [1.0] * calm.N_FIRST + times
        self.now = 0.0
        monkeypatch.setattr(calm, "loop_s", lambda: self.left.pop(0))
        monkeypatch.setattr(calm, "time", self)

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_quiet_moment_is_waited_for(bench, monkeypatch):
    loops = Loops(monkeypatch, bench["calm"], [2.0, 1.2, 1.1, 9.9])
    calm = bench["calm"].Calm(100.0)
    calm.wait()
    assert loops.left == [9.9]
    assert (calm.n_quiet, calm.n_moments, calm.waited_s) == (1, 1, loops.now)


def test_patience_has_an_end_for_one_run_and_for_one_benchmark(bench, monkeypatch):
    loops = Loops(monkeypatch, bench["calm"], [2.0] * 1000)
    calm = bench["calm"].Calm(50.0)
    calm.wait()
    assert loops.now == pytest.approx(5.0)
    for _ in range(100):
        calm.wait()
    assert loops.now == pytest.approx(50.0)
    calm.begin()
    calm.wait()
    assert loops.now == pytest.approx(55.0)
    assert (calm.n_quiet, calm.n_moments) == (0, 102)


def test_run_is_repeated_when_the_moment_has_not_lasted(bench, monkeypatch):
    loops = Loops(monkeypatch, bench["calm"], [1.0, 2.0, 1.0, 1.1, 1.0])
    calm = bench["calm"].Calm(100.0)
    lasted = []
    for _ in range(2):
        calm.wait()
        began_at = loops.now
        loops.now += 60.0
        lasted.append(calm.has_lasted(began_at))
    assert lasted == [False, True]
    assert calm.n_repeated == 1


def test_disturbed_run_of_a_case_is_made_once_more(bench, monkeypatch, tmp_path):
    compare, now, outdirs = bench["compare"], itertools.count(), []
    lasts = iter([True, False, False, True])
    heard = []

    class Quiet:
        def wait(self) -> None:
            heard.append("wait")

        def has_lasted(self, began_at: float) -> bool:
            heard.append(began_at)
            return next(lasts)

    def run_script(folder: Path, script: str, asked: str) -> dict[str, float]:
        heard.append("run")
        outdirs.append(json.loads(asked)["outdir"])
        Path(outdirs[-1]).mkdir()
        return {"wall_s": float(len(outdirs))}

    monkeypatch.setattr(compare, "run_script", run_script)
    monkeypatch.setattr(compare, "_entrants", lambda case: [("bigpipe", True)])
    monkeypatch.setattr(compare, "_is_in_memory", lambda folder: True)
    monkeypatch.setattr(compare, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    found = compare._measure_case("tiny", "smoke", tmp_path, 2, 2, Quiet())
    assert [(run["round"], run["wall_s"]) for run in found["runs"]] == [
        *((0, 1.0), (1, 2.0), (1, 3.0), (1, 4.0)),  # all are kept: the least of them is shown
    ]
    assert len(set(outdirs)) == 4
    assert heard == [each for i in range(4) for each in ("wait", "run", i)]


def test_run_is_not_repeated_without_patience(bench, monkeypatch):
    loops = Loops(monkeypatch, bench["calm"], [2.0, 2.0])
    calm = bench["calm"].Calm(100.0)
    assert not calm.has_lasted(loops.now - 200.0)
    assert calm.has_lasted(loops.now)
    assert bench["calm"].Calm(0.0).has_lasted(0.0)


def test_nobody_waits_without_being_asked(bench, monkeypatch):
    monkeypatch.setattr(bench["calm"], "loop_s", lambda: pytest.fail("it was looked"))
    calm = bench["calm"].Calm(0.0)
    calm.wait()
    assert calm.as_dict() == {}


def test_page_tells_how_many_runs_began_in_a_quiet_moment(bench):
    results = json.loads(MEASURED.read_text("utf-8"))
    results["about"]["calm"] = {"least_s": 0.003, "waited_s": 41.2, "n_moments": 37, "n_quiet": 34}
    results["about"]["calm"]["n_repeated"] = 5
    page = bench["tables"].as_page(results)
    assert "3.0 ms. It waited 41 s in all. 34 of 37 runs began in a quiet moment" in page
    results["about"]["calm"] = {}
    assert "quiet moment" not in bench["tables"].as_page(results)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has none")
def test_loop_leaves_the_process_on_the_cores_that_it_had(bench):
    before = os.sched_getaffinity(0)
    assert bench["calm"].loop_s() > 0
    assert os.sched_getaffinity(0) == before


MEMORY_CASES = (
    *("mixed/given", "mixed/nothing", "mixed/alike", "mixed/small"),
    *("compressed", "program", "rlimit"),
)
linux = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="this system does not tell"
)


@linux
@pytest.mark.process
def test_command_runs_each_case_of_memory_and_writes_what_it_measured(tmp_path):
    script, figures = BENCHMARKS / "memory.py", tmp_path / "figures.json"
    arguments = ["--size", "smoke", "--only", *MEMORY_CASES, "--folder", tmp_path]
    shown = run_script(script, *arguments, "--json", figures)
    measured = json.loads(figures.read_text())["cases"]
    assert measured.keys() == set(MEMORY_CASES)
    for name, case in measured.items():
        assert case["run"]["wall_s"] > 0, name
        assert case["run"]["peak_pss"] > 0, name
        assert case["run"]["peak_pss"] >= case["run"]["peak_workers"], name
        assert case["alone"].keys() == {"small", "large"}, name
        assert {word for _, word, _, _ in case["run"]["said"]} >= {"Start", "Submit"}, name
    assert run_script(script, "--read", figures) == shown
    assert not [path for path in tmp_path.iterdir() if path != figures]


@linux
@pytest.mark.process
def test_memory_is_told_of_each_process_group(bench):
    script = "held = b'1' * 40_000_000; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as child:
        child.stdout.readline()
        used = bench["tree_pss"].look([os.getpid(), child.pid])
        child.communicate(b"\n", timeout=100)
    assert used.keys() == {os.getpgrp(), child.pid}
    assert used[child.pid] > 40_000_000


def small_inputs(bench: dict[str, ModuleType], case: str, folder: Path) -> list[str]:
    memory_cases = bench["memory_cases"]
    names: list[str] = memory_cases.make_inputs(memory_cases.CASES[case], "smoke", folder)
    return names


@pytest.mark.parametrize("case", [name for name in MEMORY_CASES if name != "program"])
def test_output_that_is_not_what_the_work_makes_is_noticed(bench, case, tmp_path):
    memory_cases = bench["memory_cases"]
    name = small_inputs(bench, case, tmp_path / "in")[0]
    pipe = memory_cases.Reduction(1, outdir=str(tmp_path / "out"), create_outdir=True)
    outname, _ = pipe.file_process(name)
    assert memory_cases.check_output(name, outname, 1)
    values = np.load(outname)
    values[-1] += 1
    np.save(outname, values)
    assert not memory_cases.check_output(name, outname, 1)


def test_arrays_are_a_hundred_times_as_large_as_their_compressed_files(bench, tmp_path):
    for name in small_inputs(bench, "compressed", tmp_path / "in"):
        with zipfile.ZipFile(name) as archive:
            (array,) = archive.infolist()
        assert 80 < array.file_size / array.compress_size < 120


def memory_run(**changed: Any) -> dict[str, Any]:
    """Make up a run of two workers: the second is paused, then stopped."""
    samples = [[0.1 * i, {"1": 10**7, "2": i * 10**7, "3": 2 * 10**7}] for i in range(500)]
    return {
        "wall_s": 5.0,
        "budget": 600 * 10**6,
        "peak_seen": 510 * 10**6,
        "peak_pss": 520 * 10**6,
        "peak_workers": 510 * 10**6,
        "waited_s": {"memory": 0.5},
        "files": [{"kind": "a", "seconds": 2.0, "attempts": 1 + (i == 1)} for i in range(3)],
        "said": [[0.0, "Start", 0, None], [2.0, "Pause", 1, None], [3.0, "Stop", 1, 1]],
        "workers": {"0": 2, "1": 3},
        "reserved": {"0": 5 * 10**6},
        "samples": samples,
    } | changed


def memory_results(**changed: Any) -> dict[str, Any]:
    alone = memory_run(workers={"0": 2}, samples=[[0.0, {"2": 10**8}], [1.5, {"2": 5}], [2.0, {}]])
    case = {"alone": {"a": alone}, "run": memory_run(**changed)}
    return {"about": {"n_workers": 2, "size": "full"}, "cases": {"mixed/given": case}}


def test_makespan_is_set_against_the_largest_of_the_bounds(bench):
    tables = bench["memory_tables"]
    results = memory_results()
    bounds = tables.lower_bounds(results["cases"]["mixed/given"], 2)
    memory = 3 * 1.5 * (100 - 5) / 600  # three files, each with 95 MB for 1.5 s
    assert bounds == {
        "work / cores": pytest.approx(3.0),
        "memory": pytest.approx(memory),
        "longest file": pytest.approx(2.0),
    }
    peak, makespan = tables.findings(results)
    assert (peak.measured, peak.is_met) == ("520 MB", True)
    assert (makespan.measured, makespan.is_met) == ("1.67", False)


def test_peak_over_the_budget_is_noticed(bench):
    peak, _ = bench["memory_tables"].findings(memory_results(budget=519 * 10**6))
    assert not peak.is_met


def test_who_stands_still_is_not_at_work(bench):
    said = [[0.0, "Pause", 0, None], [1.0, "Resume", 0, None], [2.0, "Pause", 1, None]]
    results = memory_results(said=[*said, [3.0, "Stop", 1, 1]])
    texts = ("date", "processor", "system", "python", "file_system")
    numbers = ("n_cores", "load_at_start", "load_at_end")
    results["about"] |= dict.fromkeys(texts, "") | dict.fromkeys(numbers, 0)
    shown = bench["memory_tables"].as_text(results)
    assert re.search(r"^mixed/given  3 .* 50%$", shown, re.MULTILINE)  # 3 x 2 s - 1 s, of 2 x 5 s


def test_picture_of_a_run_shows_the_budget_and_who_stood_still(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install '.[docs]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        importlib.import_module("memory_picture").draw(memory_run(), tmp_path / "run.svg")
        sys.modules.pop("memory_picture")
    picture = (tmp_path / "run.svg").read_text("utf-8")
    for word in ("worker 1", "worker 2", "budget", "paused", "stopped"):
        assert f">{word}" in picture
    assert ">continues" not in picture
    assert "dc:date" not in picture
    assert len(picture) < 60_000


@pytest.mark.skipif(not MEASURED.exists(), reason="no measured results are kept here yet")
def test_page_is_made_from_what_was_measured(bench):
    results = json.loads(MEASURED.read_text("utf-8"))
    assert results["about"]["size"] == "full"
    assert PAGE.read_text("utf-8") == bench["tables"].as_page(results)


@pytest.mark.process
def test_slow_disk_is_compared_with_the_best_possible() -> None:
    text = run_script(BENCHMARKS / "slow_disk.py", "--files", "4")
    assert "4 files, 2 workers: the best possible is 0.70 s" in text
    assert text.count("times the best") == 2


@pytest.mark.process
def test_frames_are_combined_to_what_ccdproc_makes_of_them() -> None:
    pytest.importorskip("ccdproc")
    sizes = ("--frames", "4", "--side", "64", "--repeat", "1")
    text = run_script(BENCHMARKS / "combine.py", *sizes, "--mem-limit", "20000")
    rows = [line.split() for line in text.splitlines()[2:]]
    assert [row[-4] for row in rows if "ccdproc" in row] == ["ccdproc"] * 3
    differences = [float(row[-1]) for row in rows if "ccdproc" in row]
    assert max(differences) < 1e-3
    assert len(rows) == 6


@pytest.mark.process
def test_stages_and_their_transport_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    text = run_script(BENCHMARKS / "streaming.py", "--scale", "smoke", "--json", figures)
    results = json.loads(figures.read_text("utf-8"))
    (row,) = results["transport"]
    assert row["gb_per_s"].keys() == {"memcpy", "bigpipe", "queue"}
    assert min(row["of_memcpy"], row["times_queue"], *row["gb_per_s"].values()) > 0
    assert (results["chain"]["n"], results["chain"]["ratio"] > 0) == (3, True)
    assert (results["copy"]["megabytes"], results["copy"]["ratio"] > 0) == (8, True)
    assert "memcpy" in text.splitlines()[0]


@pytest.mark.process
def test_feeding_of_a_loop_is_measured() -> None:
    heading, *rows = run_script(BENCHMARKS / "feeding.py", "--quick").splitlines()
    assert "stream/pool" in heading
    assert [row.split()[0] for row in rows] == ["0.1", "1.0"]
    for row in rows:
        stream, pool, copy = map(float, re.findall(r"([\d.]+) GB/s", row))
        assert min(stream, pool, copy) >= 0
