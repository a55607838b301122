"""The tables of the memory benchmarks: bounds, ratios, targets.

Owns every figure that is shown. `memory` measures.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import memory_cases
from tables import Finding, aligned

__all__ = ["as_text", "findings", "lower_bounds"]

MB = 10**6


def lower_bounds(case: dict[str, Any], n_workers: int) -> dict[str, float]:
    """Return the seconds below which no order of the files can come, and why."""
    alone = case["alone"]
    budget = case["run"]["budget"]
    kinds = [file["kind"] for file in case["run"]["files"]]
    seconds = {kind: run["files"][0]["seconds"] for kind, run in alone.items()}
    areas = {kind: _area(run) for kind, run in alone.items()}
    return {
        "work / cores": sum(seconds[kind] for kind in kinds) / n_workers,
        "memory": sum(areas[kind] for kind in kinds) / budget,
        "longest file": max(seconds[kind] for kind in kinds),
    }


def _area(run: dict[str, Any]) -> float:
    """Return the byte-seconds of one file: what its worker held above what it holds without."""
    samples, workers = run["samples"], run["workers"]
    reserved = sum(run["reserved"].values())
    area = 0.0
    for (at, used), (until, _) in pairwise(samples):
        held = sum(used.get(str(pid), 0) for pid in workers.values())
        area += max(0, held - reserved) * (until - at)
    return area


def _ratio(case: dict[str, Any], n_workers: int) -> float:
    return float(case["run"]["wall_s"] / max(lower_bounds(case, n_workers).values()))


def findings(results: dict[str, Any]) -> list[Finding]:
    """Compare what was measured with what is to be reached."""
    found = []
    for name, case in results["cases"].items():
        run, max_ratio = case["run"], memory_cases.CASES[name].max_ratio
        is_met = run["peak_pss"] <= run["budget"]
        peak, target = f"{run['peak_pss'] / MB:.0f} MB", f"<= {run['budget'] / MB:.0f} MB"
        found.append(Finding(f"{name}: peak PSS of the tree", peak, target, is_met))
        if max_ratio is not None and results["about"]["size"] != "smoke":
            ratio = _ratio(case, results["about"]["n_workers"])
            what = f"{name}: makespan over the lower bound"
            target = f"<= {max_ratio:.1f}"
            found.append(Finding(what, f"{ratio:.2f}", target, ratio <= max_ratio))
    return found


def as_text(results: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    about = results["about"]
    said = [
        f"Measured on {about['date']}: {about['processor']}, {about['n_cores']} cores, "
        f"{about['system']}, Python {about['python']}, files on {about['file_system']}, "
        f"{about['n_workers']} workers, load average {about['load_at_start']:.1f} at the start "
        f"and {about['load_at_end']:.1f} at the end."
    ]
    bounds: list[tuple[str, ...]] = [
        ("case", "files", "seconds", "work / cores", "memory", "longest file", "ratio", "at work")
    ]
    memory: list[tuple[str, ...]] = [
        ("case", "budget", "peak PSS", "of workers", "paused", "stopped", "begun again", "waited")
    ]
    for name, case in results["cases"].items():
        bounds.append(_times(name, case, about["n_workers"]))
        memory.append(_memory(name, case["run"]))
    targets = [("to reach", "measured", "target", "met")]
    targets += [
        (f.what, f.measured, f.target, "yes" if f.is_met else "no") for f in findings(results)
    ]
    said.append("\n".join(_what(results)))
    said.append("Seconds, and the bounds below which they cannot be\n" + aligned(bounds))
    said.append("Memory in MB, and what was done about it\n" + aligned(memory))
    said.append("Targets\n" + aligned(targets))
    return "\n\n".join(said)


def _what(results: dict[str, Any]) -> list[str]:
    return [f"{name}: {memory_cases.CASES[name].what}" for name in results["cases"]]


def _times(name: str, case: dict[str, Any], n_workers: int) -> tuple[str, ...]:
    run = case["run"]
    terms = [f"{term:.2f}" for term in lower_bounds(case, n_workers).values()]
    ratio = f"{_ratio(case, n_workers):.2f}"
    # Other programs make files and the run take longer alike: this tells what they do not.
    in_hooks = sum(file["seconds"] for file in run["files"]) - _paused_s(run["said"])
    at_work = in_hooks / (n_workers * run["wall_s"])
    n_files, wall_s = str(len(run["files"])), f"{run['wall_s']:.2f}"
    return (name, n_files, wall_s, *terms, ratio, f"{at_work:.0%}")


def _paused_s(said: list[Any]) -> float:
    """Return the seconds for which hooks stood still that came to their end."""
    paused_at: dict[int, float] = {}
    paused_s = 0.0
    for at, word, worker, _ in said:
        if word == "Pause":
            paused_at[worker] = at
        elif word == "Resume":
            paused_s += at - paused_at.pop(worker)
    return paused_s


def _memory(name: str, run: dict[str, Any]) -> tuple[str, ...]:
    done = Counter(word for _, word, _, _ in run["said"])
    again = sum(file["attempts"] - 1 for file in run["files"])
    waited = ", ".join(f"{why} {s:.1f} s" for why, s in run["waited_s"].items() if s >= 0.05)
    sizes = [f"{run[key] / MB:.0f}" for key in ("budget", "peak_pss", "peak_workers")]
    counts = [str(done[word]) for word in ("Pause", "Stop")]
    return (name, *sizes, *counts, str(again), waited or "-")
