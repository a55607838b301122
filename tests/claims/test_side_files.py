"""Side files that several inputs have written, told from those of an earlier run."""

from __future__ import annotations

from bigpipe.claims.side_files import SideFiles


def test_side_file_of_an_earlier_run_is_no_other_inputs():
    side_files = SideFiles()
    assert side_files.add({"out/all.csv": True}) is None
    assert side_files.add({"out/b.csv": True, "out/all.csv": True}) == "out/all.csv"


def test_large_run_that_is_repeated_gives_no_false_alarm():
    """A single filter is wrong about some ten of so many names."""
    side_files = SideFiles()
    written = dict.fromkeys((f"out/night1/image_{i:06}_bmp.png" for i in range(300_000)), True)
    assert side_files.add(written) is None
