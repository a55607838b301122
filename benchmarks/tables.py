"""The figures of `compare`: tables and targets, as text and as a page of the documentation.

Owns every ratio that is shown. `compare` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cases
import contenders

__all__ = ["ALWAYS_WHOLE", "Finding", "aligned", "as_page", "as_text", "findings"]

MIB = 1 << 20
MAX_GROWTH = 5 * MIB  # bytes that count as flat: 50 for each of 100,000 files; arbitrary
MAX_IMPORT = 0.06  # seconds
MAX_PARENT_CPU = 20e-6  # seconds a file
MAX_KEYWORD_TIME = 1.0  # copies of the array
MAX_KEYWORD_MEMORY = 1.15  # copies of the array, in all processes together, the caller's among them
MAX_TINY = 1.10  # of the fastest peer's time
MIN_CPU = 0.97  # of the ideal
ALWAYS_WHOLE = (contenders.BIGPIPE.name, contenders.STAGED.name)
WAYS = {False: "straight", True: "replace"}

Table = list[tuple[str, ...]]


@dataclass(frozen=True)
class Finding:
    """One target of the project, and what was measured."""

    what: str
    measured: str
    target: str
    is_met: bool


def findings(results: dict[str, Any]) -> list[Finding]:
    """Compare what was measured with what is to be reached."""
    found = []
    for name, case in results["cases"].items():
        if name == "tiny":
            found += [_fastest(case, is_whole) for is_whole in (True, False)]
        elif name == "large":
            found += [_slower_than(case, is_whole) for is_whole in (True, False)]
        elif name == "cpu":
            found.append(_of_ideal(case, results["about"]["n_workers"]))
    alone = results["alone"]
    if "memory" in alone:
        found.append(_memory(alone["memory"]))
    if "parent" in alone:
        found.append(_parent_cpu(alone["parent"]))
    if "keyword" in alone:
        found += _keyword(alone["keyword"])
    if "import" in alone:
        found += _import(alone["import"])
    return found


def _times(case: dict[str, Any]) -> dict[tuple[str, bool], list[float]]:
    """Return the seconds of each contender and way, round by round."""
    times: dict[tuple[str, bool], list[float]] = {}
    for run in sorted(case["runs"], key=lambda run: run["round"]):
        times.setdefault((run["contender"], run["is_whole"]), []).append(run["wall_s"])
    return times


def _ratio(case: dict[str, Any], to: tuple[str, bool]) -> float:
    """Return how many times as long bigpipe takes: what else the machine does only adds."""
    times = _times(case)
    return min(times[contenders.BIGPIPE.name, True]) / min(times[to])


def _peers(case: dict[str, Any], is_whole: bool) -> list[tuple[str, bool]]:
    return [key for key in _times(case) if key[0] in contenders.PEERS and key[1] is is_whole]


def _fastest(case: dict[str, Any], is_whole: bool) -> Finding:
    times = _times(case)
    fastest = min(_peers(case, is_whole), key=lambda key: min(times[key]))
    ratio = _ratio(case, fastest)
    what = f"tiny files: bigpipe's time over the fastest peer's ({fastest[0]}, {WAYS[is_whole]})"
    return Finding(what, f"{ratio:.2f}", f"<= {MAX_TINY:.2f}", ratio <= MAX_TINY)


def _slower_than(case: dict[str, Any], is_whole: bool) -> Finding:
    ratios = {key[0]: _ratio(case, key) for key in _peers(case, is_whole)}
    worst = max(ratios, key=ratios.__getitem__)
    what = f"large files: bigpipe's time over any peer's (highest: {worst}, {WAYS[is_whole]})"
    return Finding(what, f"{ratios[worst]:.2f}", "<= 1.00", ratios[worst] <= 1.0)


def _of_ideal(case: dict[str, Any], n_workers: int) -> Finding:
    share = _share_of_ideal(case, (contenders.BIGPIPE.name, True), n_workers)
    what = f"CPU-bound work: the ideal time (serial time / {n_workers}) over bigpipe's"
    return Finding(what, f"{share:.3f}", f">= {MIN_CPU}", share >= MIN_CPU)


def _share_of_ideal(case: dict[str, Any], key: tuple[str, bool], n_workers: int) -> float:
    times = _times(case)
    ideal = cases.shortest_s(case["shares"], n_workers)
    return ideal * min(times[contenders.SERIAL.name, True]) / min(times[key])


def _parent_cpu(figures: dict[str, Any]) -> Finding:
    each = min(figures["cpu_s"]) / figures["n_files"]
    return Finding(
        f"CPU time of the parent for each of {figures['n_files']:,} tiny files",
        f"{each * 1e6:.1f} us",
        f"< {MAX_PARENT_CPU * 1e6:.0f} us",
        each < MAX_PARENT_CPU,
    )


def _cpu(case: dict[str, Any], contender: str, is_whole: bool, whose: str) -> list[float]:
    return [
        run[whose]
        for run in case["runs"]
        if (run["contender"], run["is_whole"]) == (contender, is_whole)
    ]


def _memory(figures: dict[str, Any]) -> Finding:
    (first, before), *_, (last, after) = figures["resident"]
    growth = after - before
    what = f"memory of the parent: growth from {first:,} to {last:,} files"
    target = f"< {MAX_GROWTH / MIB:.0f} MiB"
    return Finding(what, f"{growth / MIB:.1f} MiB", target, growth < MAX_GROWTH)


def _keyword(figures: dict[str, Any]) -> list[Finding]:
    copies = (figures["with"] - figures["without"]) / figures["copy"]
    what = "a large array as a keyword"
    found = [
        Finding(
            f"{what}: extra time, over one copy's",
            f"{copies:.2f}",
            f"<= {MAX_KEYWORD_TIME:.2f}",
            copies <= MAX_KEYWORD_TIME,
        )
    ]
    if figures.get("peak_pss"):
        held = figures["peak_pss"] / figures["n_bytes"]
        target = f"<= {MAX_KEYWORD_MEMORY:.2f}"
        is_met = held <= MAX_KEYWORD_MEMORY
        found.append(Finding(f"{what}: memory, over one copy's", f"{held:.2f}", target, is_met))
    return found


def _import(figures: dict[str, Any]) -> list[Finding]:
    taken = figures["wall_s"]
    loaded = ", ".join(figures["loaded"]) or "none"
    return [
        Finding(
            "import bigpipe: time beyond bare Python",
            f"{taken * 1e3:.1f} ms",
            f"< {MAX_IMPORT * 1e3:.0f} ms",
            taken < MAX_IMPORT,
        ),
        Finding(
            "import bigpipe: large libraries loaded, such as numpy or astropy",
            loaded,
            "none",
            loaded == "none",
        ),
    ]


def _findings_table(results: dict[str, Any]) -> Table:
    rows: Table = [("what", "measured", "target", "met")]
    for each in findings(results):
        rows.append((each.what, each.measured, each.target, "yes" if each.is_met else "no"))
    return rows


def _case_table(case: dict[str, Any], n_workers: int) -> Table:
    """Return a row for each contender, the fastest first."""
    has_ideal = "shares" in case
    head = ["contender", "output", "seconds", "median", "bigpipe takes"]
    head += ["parent CPU/file", "all CPU/file", *(["of the ideal"] if has_ideal else [])]
    rows: Table = [tuple(head)]
    times = _times(case)
    for key in sorted(times, key=lambda key: min(times[key])):
        parent = _cpu(case, *key, "parent_cpu_s")
        children = _cpu(case, *key, "children_cpu_s")
        total = [a + b for a, b in zip(parent, children, strict=True)]
        row = [
            key[0],
            "whole" if key[0] in ALWAYS_WHOLE else WAYS[key[1]],
            f"{min(times[key]):.3f}",
            f"{median(times[key]):.3f}",
            f"x {_ratio(case, key):.2f}",
            _each(parent, case["n_files"]),
            # joblib's workers outlive the run, so that the system does not tell their time.
            "?" if key[0] == "joblib" else _each(total, case["n_files"]),
        ]
        if has_ideal:
            row.append(f"{_share_of_ideal(case, key, n_workers):.3f}")
        rows.append(tuple(row))
    return rows


def _each(seconds: Sequence[float], n_files: int) -> str:
    micro = min(seconds) / n_files * 1e6
    return f"{micro:,.1f} us" if micro < 1000 else f"{micro / 1000:,.1f} ms"


def _alone_table(results: dict[str, Any]) -> Table:
    rows: Table = [("what", "measured")]
    alone = results["alone"]
    for n_files, n_bytes in alone.get("memory", {}).get("resident", ()):
        rows.append((f"memory of the parent after {n_files:,} files", f"{n_bytes / MIB:.1f} MiB"))
    if "parent" in alone:
        it = alone["parent"]
        what = f"CPU time of the parent for each of {it['n_files']:,} tiny files"
        each = (_each([seconds], it["n_files"]) for seconds in sorted(it["cpu_s"]))
        rows.append((f"{what}, each round", ", ".join(each)))
    if "keyword" in alone:
        it = alone["keyword"]
        what = f"array of {it['n_bytes'] / 1e6:.0f} MB as a keyword, {it['n_files']} files"
        extra = it["with"] - it["without"]
        rows.append((f"{what}: seconds with the array", f"{it['with']:.3f}"))
        rows.append((f"{what}: seconds without the array", f"{it['without']:.3f}"))
        rows.append(("copying that array once in memory: seconds", f"{it['copy']:.3f}"))
        rows.append(("the array's extra time, over one copy's", f"{extra / it['copy']:.1f}"))
        if it.get("peak_pss"):
            copies = it["peak_pss"] / it["n_bytes"]
            rows.append((f"{what}: memory of all processes, over one copy's", f"{copies:.2f}"))
    if "import" in alone:
        it = alone["import"]
        rows.append(("import bigpipe: time beyond bare Python", f"{it['wall_s'] * 1e3:.1f} ms"))
        rows.append(("import bigpipe: CPU time beyond bare Python", f"{it['cpu_s'] * 1e3:.1f} ms"))
    return rows


def _about(results: dict[str, Any]) -> list[str]:
    about = results["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"Measured on {about['date']}: {about['processor']}, {about['n_cores']} cores, "
        f"{about['system']}, Python {about['python']}, files on {about['file_system']}, "
        f"{about['n_workers']} workers, load average {about['load_at_start']:.1f} at the start "
        f"and {about['load_at_end']:.1f} at the end. Creating a small file took "
        f"{about['create_s_at_start'] * 1e6:.0f} us at the start and "
        f"{about['create_s_at_end'] * 1e6:.0f} us at the end: ext4 creates files slowly for "
        "minutes after many were deleted.",
        *_calm(about.get("calm")),
        f"Versions: {versions}.",
    ]
    if about["not_installed"]:
        lines.append(f"Not installed, so not compared: {', '.join(about['not_installed'])}.")
    return lines


def _calm(calm: dict[str, float] | None) -> list[str]:
    if not calm:
        return []
    return [
        "Before each run, the benchmark waits for a quiet moment, in which a loop of plain Python "
        f"takes about as long on each core as it does at best, {calm['least_s'] * 1e3:.1f} ms. It "
        f"waited {calm['waited_s']:.0f} s in all. {calm['n_quiet']} of {calm['n_moments']} runs "
        "began in a quiet moment; for the others, none came in time. If the quiet moment had "
        "ended before the run did, the run was repeated, as long as time for waiting was left: "
        f"{calm['n_repeated']} times."
    ]


def as_text(results: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    n_workers = results["about"]["n_workers"]
    parts = ["\n".join(_about(results))]
    for name, case in results["cases"].items():
        n_rounds = len({run["round"] for run in case["runs"]})
        title = f"{cases.CASES[name].title}: {case['what']}; least of {n_rounds}"
        parts.append(f"{title}\n{aligned(_case_table(case, n_workers))}")
    if results["alone"]:
        parts.append(f"bigpipe alone\n{aligned(_alone_table(results))}")
    rows = _findings_table(results)
    if len(rows) > 1:
        parts.append(f"Targets\n{aligned(rows)}")
    return "\n\n".join(parts)


def aligned(rows: Table, gap: str = "  ") -> str:
    """Return rows as lines, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [gap.join(x.ljust(w) for x, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


_INTRODUCTION = """\
Speed
=====

.. This page is made by: python benchmarks/compare.py --page docs/speed.rst

This page compares bigpipe with other ways to run a function on many files. All of them do the
same work, from input files to output files. A time counts only if all outputs are there and
correct. All figures of a table come from one run of ``python benchmarks/compare.py``, in which the
contenders take turns, each in a fresh process.

How to read the tables
----------------------

output
    How the contender writes an output. ``straight``: to its final name. ``replace``: to a temporary
    name, and then moved, so that a file under its final name is whole. ``whole``: as bigpipe always
    does, which also covers side files and files that were there before.

seconds, median
    The shortest time of all rounds, because other work on the machine can only add to it. The
    median shows how much it added.

bigpipe takes
    bigpipe's time over the contender's. Above 1, the contender is faster.

parent CPU/file, all CPU/file
    Processor time of the process that called the run, and of all processes, including the start of
    the workers. joblib's workers outlive the run, so theirs is not known (``?``).

of the ideal
    The shortest possible time for files begun in the given order, over the measured time. bigpipe
    begins the largest files first, so it can exceed 1.

bigpipe does more for each file than its peers: it measures time and memory, gives the hooks fresh
keywords, refuses outputs that collide, and lets a worker that dies cost no other file. For tiny
files, this takes most of the time.

Two contenders need an explanation. "bigmultipipe" is bigpipe's predecessor, with the same hooks;
whether its outputs are whole depends on ``file_write``. "its outputs by hand" is a
``ProcessPoolExecutor`` whose function does only the least that bigpipe's outputs need: it checks
whether the name exists, writes in a folder of the worker's own, lists its files, and moves
it. For tiny files, nothing that makes the same promise about outputs can be faster.

How it was measured
-------------------
"""


def as_page(results: dict[str, Any]) -> str:
    """Return the figures as a page of the documentation."""
    n_workers = results["about"]["n_workers"]
    parts = [_INTRODUCTION.rstrip(), "\n\n".join(_about(results))]
    rows = _findings_table(results)
    if len(rows) > 1:
        parts += [_heading("Targets"), _as_rst(rows)]
    for name, case in results["cases"].items():
        n_rounds = len({run["round"] for run in case["runs"]})
        text = f"{case['what'][0].upper()}{case['what'][1:]}; {n_rounds} rounds."
        parts += [_heading(cases.CASES[name].title), text, _as_rst(_case_table(case, n_workers))]
    if results["alone"]:
        parts += [_heading("bigpipe alone"), _as_rst(_alone_table(results))]
    return "\n\n".join(parts) + "\n"


def _heading(title: str) -> str:
    return f"{title}\n{'-' * len(title)}"


def _as_rst(rows: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = " ".join("=" * width for width in widths)
    head, *body = aligned(rows, " ").splitlines()
    return "\n".join([rule, head, rule, *body, rule])
