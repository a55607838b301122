#!/usr/bin/env python
"""Measure how bigpipe uses memory in real runs, on this machine::

    python benchmarks/memory.py --quick
    python benchmarks/memory.py --only mixed/given program --json results.json
    python benchmarks/memory.py --picture run.svg

Each run is in a fresh process. Another process adds up the PSS of it and all its descendants every
50 ms. The time is compared with lower bounds that hold for any order of the files: the work over
the cores, the byte-seconds over the budget, and the longest file. To find them, one file of each
kind is first run alone. "At work" is the fraction of the workers' time spent in hooks, for results
that count. A run has figures only if all its outputs exist and are right.

Owns the command and the order of the runs. `memory_cases` and `memory_run` are what it runs;
`memory_tables` shows the figures. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import memory_cases
import memory_tables
from compare import describe_machine, run_script

from bigpipe.measure import n_cores

__all__ = ["main", "measure"]

PICTURED = "mixed/small"


def measure(names: Sequence[str], size: str, folder: Path, n_workers: int) -> dict[str, Any]:
    """Run the cases of these names; return all figures."""
    results = {"about": describe_machine(size, folder, n_workers), "cases": {}}
    for name in names:
        here = folder / name.replace("/", "-")
        in_names = memory_cases.make_inputs(memory_cases.CASES[name], size, here / "in")
        if in_names:  # else it needs data that is not here
            results["cases"][name] = _measure_case(name, size, here, in_names, n_workers)
        else:
            _say(f"{name}: left out, as there are no inputs in {memory_cases.DATA}")
        shutil.rmtree(here)
    results["about"]["load_at_end"] = os.getloadavg()[0]
    return results


def _measure_case(
    name: str, size: str, folder: Path, in_names: list[str], n_workers: int
) -> dict[str, Any]:
    of_kind = {memory_cases.kind_of(in_name): in_name for in_name in in_names}
    alone = {}
    for kind, in_name in of_kind.items():
        _say(f"{name}: {kind}, alone")
        alone[kind] = _run(name, size, folder / f"alone-{kind}", [in_name], 1)
    _say(f"{name}: {len(in_names)} files")
    return {"alone": alone, "run": _run(name, size, folder / "out", in_names, n_workers)}


def _run(name: str, size: str, outdir: Path, in_names: list[str], n_workers: int) -> dict[str, Any]:
    asked = {
        "case": name,
        "size": size,
        "in_names": in_names,
        "outdir": str(outdir),
        "n_workers": n_workers,
        "is_alone": outdir.name.startswith("alone"),
    }
    return run_script(outdir.parents[1], "memory_run.py", json.dumps(asked))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("::")[0])
    every = list(memory_cases.CASES)
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--size", choices=("smoke", "quick", "full"), default="full")
    parser.add_argument("--quick", action="store_const", const="quick", dest="size")
    parser.add_argument("--processes", type=int, help="workers (all cores)")
    parser.add_argument("--folder", help="where inputs and outputs are (a temporary folder)")
    parser.add_argument("--json", type=Path, help="write the figures here, to be read again")
    parser.add_argument("--read", type=Path, help="measure nothing: show figures of --json")
    parser.add_argument("--picture", type=Path, help=f"draw the run of {PICTURED} (.svg, .png)")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured; print the tables, and draw."""
    arguments = _arguments(given)
    if not os.path.exists("/proc/self/smaps_rollup"):
        raise SystemExit("This system does not tell how processes share memory: use Linux")
    if arguments.read:
        results = json.loads(arguments.read.read_text())
    else:
        if arguments.picture and PICTURED not in arguments.only:
            arguments.only = [*arguments.only, PICTURED]
        with tempfile.TemporaryDirectory(prefix="bigpipe-bench-", dir=arguments.folder) as folder:
            n_workers = arguments.processes or n_cores()
            results = measure(arguments.only, arguments.size, Path(folder), n_workers)
    if arguments.json:
        arguments.json.write_text(json.dumps(results) + "\n")
    if arguments.picture and PICTURED not in results["cases"]:
        raise SystemExit(f"{arguments.read} has no run of {PICTURED}, which --picture draws")
    if arguments.picture:
        from memory_picture import draw  # matplotlib takes a while, and may not be installed

        draw(results["cases"][PICTURED]["run"], arguments.picture)
    print(memory_tables.as_text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
