#!/usr/bin/env python
"""Compare the speed of bigpipe with other ways to do the same work, on this machine::

    python benchmarks/compare.py --quick
    python benchmarks/compare.py --folder /dev/shm --json results.json --page docs/speed.rst

Every contender does the same work on the same files, each in a fresh process, in several rounds
(A B C, B C A, ...), so other work on the machine affects all alike. It can only make times longer,
so the shortest time of all rounds is shown. A full measurement also waits for a quiet moment
before each run, and repeats the run if the moment has not lasted. A time counts only if all
outputs exist and are right. Where outputs matter, peers are measured twice: writing to the final
name, and writing to a temporary name that `os.replace` makes the final one. The latter is the part
of bigpipe's work that they can do in one line.

Owns the command and the order of the runs. `cases`, `contenders` and `alone` are what it runs;
`tables` shows the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import cases
import contenders
import tables
from calm import Calm

from bigpipe.measure import n_cores
from bigpipe.system.filesystems import file_system

__all__ = ["describe_machine", "main", "measure", "run_script"]

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
MAX_KEPT = 16 * MIB  # arbitrary
N_CREATED = 500  # files; arbitrary
PATIENCE_S = 100.0  # seconds for quiet moments, of each benchmark; arbitrary
MAX_RUN = 900  # seconds for one run; arbitrary, many times what the slowest takes
ALONE = ("memory", "parent", "import", "keyword")
ALONE_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "memory": {
        "smoke": {"looks": [10, 20, 30]},
        "quick": {"looks": [10_000, 20_000, 30_000]},
        "full": {"looks": [10_000, 50_000, 100_000]},
    },
    "parent": {
        "smoke": {"n_files": 20, "n_rounds": 1},
        "quick": {"n_files": 20_000, "n_rounds": 2},
        "full": {"n_files": 20_000, "n_rounds": 5},
    },
    "import": {"smoke": {"n_pairs": 1}, "quick": {"n_pairs": 15}, "full": {"n_pairs": 40}},
    "keyword": {
        "smoke": {"n_files": 3, "n_bytes": 1 << 20, "n_rounds": 1},
        "quick": {"n_files": 40, "n_bytes": 400_000_000, "n_rounds": 3},
        "full": {"n_files": 40, "n_bytes": 400_000_000, "n_rounds": 9},
    },
}
BOTH_WAYS = ("tiny", "large")  # where how an output is written is a part of the time


def measure(
    names: Sequence[str],
    size: str,
    folder: Path,
    n_workers: int,
    n_rounds: int | None,
    patience_s: float = 0.0,
) -> dict[str, Any]:
    """Run the benchmarks of these names; return all figures."""
    results = {"about": describe_machine(size, folder, n_workers), "cases": {}, "alone": {}}
    # Nobody's first run counts: it compiles modules and reads libraries from disk.
    _measure_case("startup", "smoke", folder / "warm-up", n_workers, 1, Calm(0.0))
    calm = Calm(patience_s)
    for name in names:
        here = folder / name
        calm.begin()
        if name in ALONE:
            results["alone"][name] = _measure_alone(name, size, here, n_workers, calm)
        else:
            results["cases"][name] = _measure_case(name, size, here, n_workers, n_rounds, calm)
        _remove_large(here)
    results["about"]["calm"] = calm.as_dict()
    results["about"]["load_at_end"] = os.getloadavg()[0]
    results["about"]["create_s_at_end"] = create_s(folder / "at-end")
    return results


def _measure_case(
    name: str, size: str, folder: Path, n_workers: int, n_rounds: int | None, calm: Calm
) -> dict[str, Any]:
    case = cases.CASES[name]
    indir = folder / "in"
    in_names = cases.make_inputs(name, size, indir)
    _check_room(indir)
    entrants = _entrants(name)
    rounds = n_rounds or (case.rounds if size == "full" else min(3, case.rounds))
    runs: list[dict[str, Any]] = []
    for round_ in range(rounds):
        start = round_ % len(entrants)
        for contender, is_whole in entrants[start:] + entrants[:start]:
            _say(f"{name}: round {round_ + 1} of {rounds}, {contender}")
            asked = {
                "contender": contender,
                "case": name,
                "in_folder": str(indir),
                "is_whole": is_whole,
                "n_workers": n_workers,
            }
            has_lasted = False
            while not has_lasted:
                outdir = folder / f"out-{len(runs)}"
                asked["outdir"] = str(outdir)
                if not _is_in_memory(folder):
                    os.sync()  # what the one before has written is not this one's to wait for
                calm.wait()
                began_at = time.perf_counter()
                taken = run_script(folder.parent, "run_once.py", json.dumps(asked))
                has_lasted = calm.has_lasted(began_at)
                runs.append(
                    {"contender": contender, "is_whole": is_whole, "round": round_, **taken}
                )
                _remove_large(outdir)
    found = {"what": case.describe(*case.sizes[size]), "n_files": len(in_names), "runs": runs}
    if case.ideal_s is not None:
        found["shares"] = cases.seconds_of_files(in_names, 1.0)
    return found


def _remove_large(folder: Path) -> None:
    """Remove a folder of outputs that take much room, and leave others until the end.

    ext4 does not give the place of a file that was deleted within the last minute to a new
    one, and looks at all of them for each: after 5,000 were deleted it takes ten times as long.
    """
    files = (path for path in folder.rglob("*") if path.is_file())
    if sum(path.stat().st_size for path in files) > MAX_KEPT:
        shutil.rmtree(folder)


def create_s(folder: Path) -> float:
    """Return the seconds that it takes to make a small file in a new folder."""
    folder.mkdir()
    began_at = time.perf_counter()
    for i in range(N_CREATED):
        (folder / str(i)).write_bytes(b"0")
    return (time.perf_counter() - began_at) / N_CREATED


def _entrants(case: str) -> list[tuple[str, bool]]:
    """Return who takes part, and whether with outputs that appear whole."""
    ways = (False, True) if case in BOTH_WAYS else (True,)
    here = [each.name for each in contenders.CONTENDERS.values() if contenders.is_installed(each)]
    return [
        (name, is_whole)
        for name in here
        for is_whole in (ways if name not in tables.ALWAYS_WHOLE else (True,))
        if case == "tiny" or name != contenders.STAGED.name  # where outputs are most of the work
    ]


def _measure_alone(
    name: str, size: str, folder: Path, n_workers: int, calm: Calm
) -> dict[str, Any]:
    _say(name)
    asked = dict(ALONE_SIZES[name][size])
    if name == "parent":
        return _measure_parent(asked, folder, n_workers, calm)
    folder.mkdir()
    if name != "import":
        asked |= {"folder": str(folder), "n_workers": n_workers}
    calm.wait()
    return run_script(folder.parent, "alone.py", name, json.dumps(asked))


def _measure_parent(
    asked: dict[str, Any], folder: Path, n_workers: int, calm: Calm
) -> dict[str, Any]:
    """Have each round in a process of its own, as the contenders have theirs."""
    n_files, taken = asked["n_files"], []
    for i in range(asked["n_rounds"]):
        here = folder / f"round-{i}"
        here.mkdir(parents=True)
        given = {"folder": str(here), "n_files": n_files, "n_workers": n_workers}
        calm.wait()
        taken.append(run_script(folder.parent, "alone.py", "parent", json.dumps(given))["cpu_s"])
    return {"n_files": n_files, "cpu_s": taken}


def _check_room(indir: Path) -> None:
    """Stop before a disk is full: the outputs take as much room as the inputs."""
    needed = sum(path.stat().st_size for path in indir.iterdir())
    free = shutil.disk_usage(indir).free
    if free < 1.1 * needed:
        raise SystemExit(
            f"{indir} has {free / MIB:.0f} MiB free, and the outputs take {needed / MIB:.0f} MiB; "
            "give another --folder, or --quick"
        )


def run_script(folder: Path, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script of this folder; return what it prints."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, HERE / script, *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        timeout=MAX_RUN,
    )
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} failed: see above")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def describe_machine(size: str, folder: Path, n_workers: int) -> dict[str, Any]:
    packages = [each.package for each in contenders.CONTENDERS.values() if each.package]
    versions = {
        each.package: contenders.version_of(each.package)
        for each in contenders.CONTENDERS.values()
        if each.package and contenders.is_installed(each)
    }
    return {
        "date": date.today().isoformat(),
        "size": size,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "n_cores": os.cpu_count(),
        "n_workers": n_workers,
        "file_system": file_system(folder) or "unknown",
        "versions": versions,
        "not_installed": sorted(set(packages) - set(versions)),
        "load_at_start": os.getloadavg()[0],
        "create_s_at_start": create_s(folder / "at-start"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _is_in_memory(folder: Path) -> bool:
    return file_system(folder) in ("tmpfs", "ramfs")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("::")[0])
    every = [*cases.CASES, *ALONE]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--size", choices=("smoke", "quick", "full"), default="full")
    parser.add_argument("--quick", action="store_const", const="quick", dest="size")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    parser.add_argument("--processes", type=int, help="workers (all cores)")
    parser.add_argument(
        "--patience", type=float, help="seconds each waits for quiet moments (100; --quick: 0)"
    )
    parser.add_argument("--folder", help="where inputs and outputs are (a temporary folder)")
    parser.add_argument("--json", type=Path, help="write the figures here, to be read again")
    parser.add_argument("--read", type=Path, help="measure nothing: show figures of --json")
    parser.add_argument("--page", type=Path, help="write the figures here, as documentation")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured; print the tables."""
    arguments = _arguments(given)
    with ExitStack() as stack:
        if arguments.read:
            results = json.loads(arguments.read.read_text())
        else:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="bigpipe-bench-", dir=arguments.folder)
            )
            n_workers = arguments.processes or n_cores()
            patience_s = arguments.patience
            if patience_s is None:
                patience_s = PATIENCE_S if arguments.size == "full" else 0.0
            where = arguments.only, arguments.size, Path(folder)
            results = measure(*where, n_workers, arguments.rounds, patience_s)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.page:
        arguments.page.write_text(tables.as_page(results))
    print(tables.as_text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
