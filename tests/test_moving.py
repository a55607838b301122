"""Single moves and copies, where the system helps and where it does not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bigpipe import moving

LONG_AGO = 1_500_000_000  # seconds: a time stamp that no test can meet by chance


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("old")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_copy_has_content_mode_and_times(source: Path, target: Path) -> None:
    source.chmod(0o640)
    os.utime(source, (LONG_AGO, LONG_AGO))
    moving.copy(str(source), str(target))
    assert target.read_text() == "old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_mtime == LONG_AGO


def test_copy_is_complete_where_the_kernel_stops_halfway(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3_000_000)
    source.write_bytes(content)

    def halfway(reader: int, writer: int, count: int) -> int:
        os.write(writer, os.read(reader, 1000))
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "copy_file_range", halfway, raising=False)
    moving.copy(str(source), str(target))
    assert target.read_bytes() == content


def test_copy_is_complete_if_the_kernel_copies_a_part_at_a_time(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "COPY_STEP", 1000)
    content = os.urandom(4500)
    source.write_bytes(content)
    moving.copy(str(source), str(target))
    assert target.read_bytes() == content


def test_copy_of_a_folder_is_like_that_of_its_files(tmp_path: Path, target: Path) -> None:
    folder = tmp_path / "cube.zarr"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "0").write_text("data")
    (folder / "link").symlink_to("part")
    os.utime(folder / "part" / "0", (LONG_AGO, LONG_AGO))
    moving.copy(str(folder), str(target))
    assert (target / "part" / "0").read_text() == "data"
    assert (target / "part" / "0").stat().st_mtime == LONG_AGO
    assert os.readlink(target / "link") == "part"


def test_copy_needs_no_help_of_the_kernel(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    moving.copy(str(source), str(target))
    assert target.read_text() == "old"


@pytest.mark.parametrize("text", ["NEW", "old"])
def test_change_is_seen_that_leaves_size_and_times_as_they_were(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """On file systems with coarse times two changes may have one time."""
    precise = moving._stamp

    def coarse(path: str) -> moving._Stamp:
        return moving._Stamp(path, precise(path).inode, precise(path).size, 0, 0)

    monkeypatch.setattr(moving, "_stamp", coarse)
    copied = moving.Copy(str(source), str(target))
    target.write_text(text)
    assert copied.is_untouched() == (text == "old")


def test_change_of_mode_is_seen(source: Path, target: Path) -> None:
    os.utime(source, (LONG_AGO, LONG_AGO))
    copied = moving.Copy(str(source), str(target))
    assert copied.is_untouched()
    target.chmod(0o600)
    assert not copied.is_untouched()


def test_folder_changed_just_now_counts_as_touched(source: Path, target: Path) -> None:
    (source.parent / "store").mkdir()
    copied = moving.Copy(str(source.parent / "store"), str(target))
    assert not copied.is_untouched()


def test_folder_made_by_another_meanwhile_is_used(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def late(path: str) -> None:
        mkdir(path)
        mkdir(path)

    monkeypatch.setattr(os, "mkdir", late)
    moving.make_folders_of(str(target / "new.fits"), str(source))
    assert target.is_dir()


def test_file_may_not_replace_a_folder_by_accident(source: Path, target: Path) -> None:
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        moving.put(str(source), str(target), wholly=False)
    assert target.is_dir()


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "in two steps"])
def test_what_was_replaced_wholly_takes_the_place_of_the_new(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, is_at_once: bool
) -> None:
    if not is_at_once:
        monkeypatch.setattr(moving, "_exchange_at_once", lambda source, destination: False)
    (target / "chunk").mkdir(parents=True)
    moving.put(str(source), str(target), wholly=True)
    assert target.read_text() == "old"
    assert sorted(os.listdir(target.parent)) == ["source", "target"]
    assert os.listdir(source) == ["chunk"]


def test_system_without_exchange_is_noticed(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    target.write_text("other")
    assert not moving._exchange_at_once(str(source), str(target))
    assert (source.read_text(), target.read_text()) == ("old", "other")


def test_link_to_a_folder_is_moved_as_a_link(tmp_path: Path) -> None:
    for folder in ("staged", "final", "final/plots", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "staged" / "plots").symlink_to(tmp_path / "elsewhere")
    staged, final = str(tmp_path / "staged"), str(tmp_path / "final")
    assert list(moving.moves(staged, final)) == [(f"{staged}/plots", f"{final}/plots")]


def test_places_are_those_of_files_at_any_depth_without_links(tmp_path: Path) -> None:
    (tmp_path / "plots" / "small").mkdir(parents=True)
    for name in ("a.png", "small/b.png"):
        (tmp_path / "plots" / name).touch()
    (tmp_path / "plots" / "latest.png").symlink_to("a.png")
    (tmp_path / "plots" / "tiny").symlink_to("small")
    plots = str(tmp_path / "plots")
    assert sorted(moving.places(plots, "/out")) == ["/out/a.png", "/out/small/b.png"]
    assert list(moving.places(f"{plots}/a.png", "/out/b.png")) == ["/out/b.png"]
    assert list(moving.places(f"{plots}/tiny", "/out/tiny")) == []


def test_copy_of_what_is_gone_is_not_current(source: Path, target: Path) -> None:
    copied = moving.Copy(str(source), str(target))
    assert copied.is_current()
    source.unlink()
    assert not copied.is_current()


@pytest.mark.parametrize("named", [True, False], ids=["temporary file named", "no file named"])
def test_error_of_writing_names_the_callers_file(
    source: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    def full(descriptor: int) -> None:
        [temporary] = source.parent.glob(".bigpipe-*")
        raise OSError(28, "No space left on device", *[str(temporary)] * named)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        moving.write_whole(source, b"new")
    assert (caught.value.errno, caught.value.filename) == (28, str(source))
    assert (os.listdir(source.parent), source.read_text()) == (["source"], "old")


@pytest.mark.parametrize("can_ask", [True, False], ids=["asked", "looked"])
def test_name_is_taken_by_whatever_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_ask: bool
) -> None:
    monkeypatch.setattr(moving, "_CAN_ASK", can_ask and moving._CAN_ASK)
    (tmp_path / "file").touch(mode=0)
    (tmp_path / "folder").mkdir(mode=0)
    (tmp_path / "to nowhere").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    names = ["file", "folder", "to nowhere", "loop"]
    assert all(moving.is_there(str(tmp_path / name)) for name in names)
    free = ["missing", "missing/below", "file/below", "loop/below", "a\0b", "x" * 5000]
    assert not any(moving.is_there(str(tmp_path / name)) for name in free)
