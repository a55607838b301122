"""The page of results says what the suite has seen, and what it has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.sizes import Sizes

REPORT = """\
<testsuites><testsuite time="3.5">
<testcase classname="tests.faults.test_kills" name="a[1]" time="1.0"><properties>
  <property name="fault" value="SIGKILL to a_worker"/><property name="file" value="written"/>
  <property name="again" value="0"/><property name="resumed" value="as a serial run"/>
</properties></testcase>
<testcase classname="tests.faults.test_kills" name="a[2]" time="2.0"><properties>
  <property name="fault" value="SIGKILL to a_worker"/><property name="file" value="killed"/>
  <property name="again" value="2"/><property name="resumed" value="as a serial run"/>
</properties></testcase>
<testcase classname="tests.faults.test_disks" name="b" time="0.5"><properties>
  <property name="fault" value="no disk"/><property name="instances" value="7"/>
</properties>{outcome}</testcase>
<testcase classname="tests.faults.test_disks" name="c" time="0.0">
  <skipped message="no such disk"/></testcase>
</testsuite></testsuites>
"""


def page_of(tmp_path: Path, outcome: str) -> str:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.replace("{outcome}", outcome))
    return "\n".join(table.page(list(table.cases(report)), Sizes(seed=5), 3.5))


def cells(page: str, first: str) -> list[str]:
    """Return the row of a table that begins with this cell."""
    _, _, row = page.partition(f"    * - {first}\n")
    lines = row.splitlines()[: len(table.COLUMNS) - 1]
    return [line.removeprefix("      -").strip() for line in lines]


def test_cases_of_one_fault_make_one_row(tmp_path: Path):
    page = page_of(tmp_path, "")
    assert cells(page, r"SIGKILL to a\_worker") == [
        *("2", "written (1 x); killed (1 x)", "", "as a serial run", "0 to 2", "3.0"),
    ]
    assert cells(page, "no disk") == ["7", "", "", "", "", "0.5"]
    assert "9 runs with a fault took 4 s. 0 of them failed a check.\nSeed 5," in page


@pytest.mark.parametrize("outcome", ["<failure/>", "<error/>"])
def test_what_went_wrong_is_not_passed_over(tmp_path: Path, outcome: str):
    page = page_of(tmp_path, outcome)
    assert cells(page, "no disk")[3] == "**1 FAILED**"
    assert "1 of them failed a check" in page


def test_what_went_wrong_before_it_was_known_what_it_was_is_told_by_its_name(tmp_path: Path):
    page_of(tmp_path, "<failure/>")
    report = tmp_path / "report.xml"
    report.write_text(report.read_text().replace('name="fault"', 'name="other"'))
    page = "\n".join(table.page(list(table.cases(report)), Sizes(seed=5), 3.5))
    assert cells(page, "b")[3] == "**1 FAILED**"


def test_what_was_not_tried_is_told_with_the_reason(tmp_path: Path):
    assert page_of(tmp_path, "").endswith("- no such disk (1 x)\n")


def test_each_part_has_the_first_line_of_its_module_as_its_title(tmp_path: Path):
    page = page_of(tmp_path, "").splitlines()
    assert [page[i - 1] for i, line in enumerate(page) if line.startswith("-----")] == [
        "Workers, their parent or both killed, at each point and at random instants",
        "Full disks, read-only folders, and folders that are removed",
        "Not tried here",
    ]


def test_sizes_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BIGPIPE_FAULTS_INSTANTS", "7")
    monkeypatch.delenv("BIGPIPE_FAULTS_FILES", raising=False)
    sizes = Sizes.from_environment()
    assert (sizes.instants, sizes.files) == (7, Sizes.files)
