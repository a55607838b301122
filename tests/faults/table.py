"""The page of results: a table of faults against outcomes, from what the suite has seen.

``python -m tests.faults.table docs/faults.rst`` runs the suite in its large setting, which takes
some minutes, and writes the page; with ``--small``, in the setting that it has by default.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.sizes import LARGE, PREFIX, Sizes

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
COLUMNS = {
    "Fault": 28,
    "Runs": 7,
    "File": 25,
    "Other files": 12,
    "When resumed": 16,
    "Begun again": 8,
    "Seconds": 8,
}
HEAD = """\
Faults and their outcomes
=========================

What happens if a worker is killed, if the disk is full, if a hook crashes? A suite of tests causes
such faults on purpose. ``{command}`` runs it and writes this page.

In each run, two workers read, process and write a few files, and a fault strikes one worker or the
whole run. Every run must end by itself, account for each input once, and leave no half-written
output, process, staging folder or temporary file behind. It is then resumed without the fault, and
its outputs must be those of a serial run, byte for byte. The columns of the tables:

Runs
    How often the fault was tried.
File
    What became of the file that the fault struck; "the run has ended" if the fault ended the whole
    run.
Other files
    What became of the others in the same run.
When resumed
    "as a serial run": the outputs were those of a serial run. "as before": each file had the same
    result as before.
Begun again
    How many files were begun in the first run and again when it was resumed.
Seconds
    For all runs of the row, checks included.

{n_instances} runs with a fault took {seconds:.0f} s. {n_failed} of them failed a check.
Seed {seed}, Python {python}, {system}, {n_cores} cores.

"""


@dataclass(frozen=True)
class Case:
    """One test, as it went."""

    module: str
    name: str
    seconds: float
    outcome: str
    """'passed', 'failed' or 'skipped'."""
    reason: str
    """Why it was skipped."""
    seen: dict[str, str]
    """The results that the test has recorded."""


@dataclass
class Row:
    """All cases of one fault."""

    fault: str
    cases: list[Case] = field(default_factory=list)

    def cells(self) -> list[str]:
        n_failed = sum(case.outcome == "failed" for case in self.cases)
        resumed = counted(case.seen.get("resumed", "") for case in self.cases)
        again = [int(case.seen["again"]) for case in self.cases if case.seen.get("again")]
        return [
            literal(self.fault),
            str(sum(int(case.seen.get("instances", 1)) for case in self.cases)),
            literal(counted(case.seen.get("file", "") for case in self.cases)),
            counted(case.seen.get("others", "") for case in self.cases),
            f"**{n_failed} FAILED**" if n_failed else resumed,
            span(again),
            f"{sum(case.seconds for case in self.cases):.1f}",
        ]


def cases(report: Path) -> Iterator[Case]:
    """Read pytest's report."""
    for element in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in element}
        outcome = "failed" if kinds & {"failure", "error"} else "passed"
        skipped = element.find("skipped")
        yield Case(
            element.get("classname", "").rpartition(".")[2],
            element.get("name", ""),
            float(element.get("time", 0)),
            "skipped" if skipped is not None else outcome,
            "" if skipped is None else skipped.get("message", ""),
            {str(p.get("name")): str(p.get("value")) for p in element.iter("property")},
        )


def rows(of: Iterable[Case]) -> list[Row]:
    """Gather cases by their faults, in the order of the suite."""
    found: dict[str, Row] = {}
    for case in of:
        fault = case.seen.get("fault", case.name)
        found.setdefault(fault, Row(fault)).cases.append(case)
    return list(found.values())


def counted(texts: Iterable[str]) -> str:
    """Return what was seen; how often, if there are several things."""
    counts = Counter(text for text in texts if text)
    if len(counts) <= 1:
        return "".join(counts)
    return "; ".join(f"{text} ({n} x)" for text, n in counts.most_common())


def span(numbers: list[int]) -> str:
    """Return the least and the largest of some numbers."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def literal(text: str) -> str:
    """Return text in which nothing is markup."""
    for character in "\\*`_|":
        text = text.replace(character, f"\\{character}")
    return text


def page(of: list[Case], sizes: Sizes, seconds: float) -> list[str]:
    """Return the page as lines of reStructuredText."""
    tried = [case for case in of if case.outcome != "skipped"]
    lines = HEAD.format(
        command="python -m tests.faults.table docs/faults.rst",
        n_instances=sum(int(case.seen.get("instances", 1)) for case in tried),
        n_failed=sum(case.outcome == "failed" for case in tried),
        seconds=seconds,
        seed=sizes.seed,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        n_cores=os.cpu_count(),
    ).splitlines()
    modules = dict.fromkeys(case.module for case in of)
    for module in modules:
        mine = [case for case in tried if case.module == module]
        if mine:
            lines += section(title(module), rows(mine))
    return lines + not_tried(of)


def title(module: str) -> str:
    """Return the first line of a module's docstring."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text("utf-8"))
    return (ast.get_docstring(tree) or module).partition("\n")[0].removesuffix(".")


def section(heading: str, of: list[Row]) -> list[str]:
    widths = " ".join(map(str, COLUMNS.values()))
    lines = [heading, "-" * len(heading), "", ".. list-table::", "    :header-rows: 1"]
    lines += [f"    :widths: {widths}", ""]
    for cells in [list(COLUMNS), *(row.cells() for row in of)]:
        first, *others = cells
        lines += [f"    * - {first}", *(f"      - {cell}".rstrip() for cell in others)]
    return [*lines, ""]


def not_tried(of: list[Case]) -> list[str]:
    """Return why some could not be tried here."""
    reasons = Counter(case.reason for case in of if case.outcome == "skipped")
    lines = [f"- {literal(reason)} ({n} x)" for reason, n in reasons.items()]
    heading = "Not tried here"
    return [heading, "-" * len(heading), "", *lines, ""] if lines else []


def run_suite(sizes: Sizes, report: Path) -> int:
    """Run the suite in these sizes, with pytest's report in a file."""
    given = {PREFIX + each.name.upper(): str(getattr(sizes, each.name)) for each in fields(sizes)}
    command = [sys.executable, "-m", "pytest", str(FOLDER), "-q", f"--junit-xml={report}"]
    command += [f"--ignore={FOLDER / 'test_table.py'}"]
    command += ["-o", "junit_family=xunit1", "-o", "junit_duration_report=call"]
    command += ["-o", "faulthandler_timeout=0"]  # the last takes minutes, with limits of its own
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    """Run the suite and write the page; return pytest's exit code."""
    parser = argparse.ArgumentParser(description="Run the suite of faults, write its results.")
    parser.add_argument("page", type=Path, help="the page, in reStructuredText")
    parser.add_argument("--small", action="store_true", help="run as little as by default")
    parser.add_argument("--seed", type=int, help="of all that is random")
    given = parser.parse_args(arguments)
    sizes = Sizes() if given.small else LARGE
    if given.seed is not None:
        sizes = replace(sizes, seed=given.seed)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        returncode = run_suite(sizes, report)
        seconds = float(ElementTree.parse(report).find("testsuite").get("time"))
        lines = page(list(cases(report)), sizes, seconds)
    given.page.write_text("\n".join(lines), "utf-8")
    return returncode


if __name__ == "__main__":
    sys.exit(main())
