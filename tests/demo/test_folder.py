from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bigpipe.demo.folder import MARKER, RAW, DemoError, output_folder


def make(path: Path, *names: str, source: Path | None = None, overwrite: bool = False) -> None:
    """Run a demonstration that makes empty files of these names."""
    with output_folder(path, source, overwrite=overwrite) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"")


def names_in(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_new_folder_is_made_and_its_files_are_noted(tmp_path: Path) -> None:
    make(tmp_path / "a" / "b", "raw/1.fits", "table.ecsv")
    marker = json.loads((tmp_path / "a" / "b" / MARKER).read_text())
    assert marker["made"] == ["raw/1.fits", "table.ecsv"]


def test_earlier_demonstration_is_replaced_wholly(tmp_path: Path) -> None:
    make(tmp_path, "raw/1.fits", "raw/2.fits")
    make(tmp_path, "raw/1.fits")
    assert names_in(tmp_path) == [MARKER, "raw/1.fits"]


def test_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DemoError, match="is not empty"):
        make(tmp_path, "raw/1.fits")
    assert names_in(tmp_path) == ["thesis.tex"]


def test_file_that_was_added_to_a_demonstration_is_not_removed(tmp_path: Path) -> None:
    make(tmp_path, "raw/1.fits")
    (tmp_path / "raw" / "mine.fits").write_bytes(b"")
    with pytest.raises(DemoError, match=r"raw/mine\.fits.*--output"):
        make(tmp_path, "raw/1.fits")
    assert "raw/mine.fits" in names_in(tmp_path)


def test_demonstration_that_was_killed_is_replaced_but_for_strange_files(tmp_path: Path) -> None:
    make(tmp_path, "raw/1.fits")
    marker = json.loads((tmp_path / MARKER).read_text())
    (tmp_path / MARKER).write_text(json.dumps({**marker, "made": None}))
    (tmp_path / RAW / "2.fits").write_bytes(b"")
    make(tmp_path, "raw/3.fits")
    assert names_in(tmp_path) == [MARKER, "raw/3.fits"]
    (tmp_path / MARKER).write_text(json.dumps({**marker, "made": None}))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DemoError, match=r"notes\.txt"):
        make(tmp_path, "raw/4.fits")


def test_files_are_noted_when_the_demonstration_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with output_folder(tmp_path, None, overwrite=False) as folder:
            (folder / "table.ecsv").write_bytes(b"")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    make(tmp_path, "raw/1.fits")
    assert names_in(tmp_path) == [MARKER, "raw/1.fits"]


def test_result_of_own_frames_is_replaced_only_if_asked(tmp_path: Path) -> None:
    source, output = tmp_path / "night", tmp_path / "out"
    source.mkdir()
    make(output, "reduced/1.fits", source=source)
    with pytest.raises(DemoError, match="--overwrite"):
        make(output, "reduced/2.fits", source=source)
    make(output, "reduced/2.fits", source=source, overwrite=True)
    assert names_in(output) == [MARKER, "reduced/2.fits"]


@pytest.mark.parametrize("output", ["night", "night/sub", "."], ids=["same", "inside", "around"])
def test_input_and_output_that_lie_in_one_another_are_refused(tmp_path: Path, output: str) -> None:
    source = tmp_path / "night"
    source.mkdir()
    (source / "1.fits").write_bytes(b"")
    with pytest.raises(DemoError, match=re.escape(str(source))):
        make(tmp_path / output, source=source)
    assert names_in(tmp_path) == ["night/1.fits"]


def test_link_to_the_input_folder_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "night")
    with pytest.raises(DemoError, match="input folder"):
        make(tmp_path / "link" / "out", source=tmp_path / "night")


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(DemoError, match="is a file"):
        make(tmp_path / "out")


def test_marker_that_something_else_wrote_does_not_count(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("[1, 2]")
    with pytest.raises(DemoError, match="is not empty"):
        make(tmp_path)
