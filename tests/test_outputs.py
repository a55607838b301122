"""Outputs appear whole, in their place, with all that belongs to them, or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe import moving, outputs
from bigpipe.errors import CollisionError, OutnameError
from bigpipe.moving import overwrites_input
from bigpipe.outputs import MAX_IDLE, MAX_NAMED, StagedOutput, Stager
from bigpipe.staging import STAGING_NAME, StagingFolder, explain

LONG_AGO = 1_500_000_000  # seconds: a time stamp that no test can meet by chance
TIMEOUT = 60.0  # seconds; only a test that fails ever waits so long
OTHER_FILE_SYSTEM = Path("/dev/shm")


@pytest.fixture
def stager() -> Iterator[Stager]:
    stager = Stager()
    yield stager
    stager.close()


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "out.fits"


@pytest.fixture
def old(final: Path) -> Path:
    """An output of an earlier run."""
    final.write_text("old")
    os.utime(final, (LONG_AGO, LONG_AGO))
    return final


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than ``tmp_path``."""
    if not (OTHER_FILE_SYSTEM.is_dir() and os.access(OTHER_FILE_SYSTEM, os.W_OK)):
        pytest.skip("no second file system")
    if OTHER_FILE_SYSTEM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("tmp_path is on the second file system")
    folder = OTHER_FILE_SYSTEM / f"bigpipe-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    left = list(folder.rglob(STAGING_NAME))
    shutil.rmtree(folder)
    assert not left


def write(stager: Stager, final: Path | str, text: str = "new") -> str | None:
    """Do what a plain ``file_write`` does, and commit it."""
    staged = stager.open(str(final))
    Path(staged.path).write_text(text)
    return staged.commit(staged.path)


def tree(folder: Path) -> dict[str, str | None]:
    """Return what is in a folder: the text of each file, ``None`` for a folder."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
        if STAGING_NAME not in path.parts
    }


# One output


def test_output_has_its_final_name_only_after_commit(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    assert not final.exists()
    assert os.path.basename(staged.path) == final.name
    assert staged.commit(staged.path) == str(final)
    assert final.read_text() == "new"


def test_output_is_moved_and_not_copied(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    inode = os.stat(staged.path).st_ino
    staged.commit(None)
    assert final.stat().st_ino == inode


def test_discarded_output_leaves_nothing(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text("half")
    Path(staged.path + ".png").write_text("half")
    staged.discard()
    stager.close()
    assert os.listdir(final.parent) == []


def test_discarded_output_leaves_the_old_one(stager: Stager, old: Path) -> None:
    before = old.stat()
    staged = stager.open(str(old))
    Path(staged.path).write_text("half")
    staged.discard()
    assert old.read_text() == "old"
    assert (old.stat().st_ino, old.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_next_output_finds_the_staging_folder_empty(stager: Stager, tmp_path: Path) -> None:
    folders = set()
    for name in "abc":
        staged = stager.open(str(tmp_path / name))
        assert os.listdir(os.path.dirname(staged.path)) == []
        folders.add(os.path.dirname(staged.path))
        Path(staged.path).write_text(name)
        Path(staged.path + ".part").mkdir()
        staged.discard() if name == "b" else staged.commit(None)
    assert len(folders) == 1
    assert sorted(os.listdir(tmp_path)) == [STAGING_NAME, "a", "a.part", "c", "c.part"]


def test_two_outputs_of_one_folder_may_be_open_at_once(stager: Stager, tmp_path: Path) -> None:
    first, second = stager.open(str(tmp_path / "a")), stager.open(str(tmp_path / "b"))
    Path(first.path).write_text("a")
    Path(second.path).write_text("b")
    first.commit(None)
    assert tree(tmp_path) == {"a": "a"}
    second.commit(None)
    assert tree(tmp_path) == {"a": "a", "b": "b"}
    assert len(os.listdir(tmp_path / STAGING_NAME)) == 1


def test_hook_that_writes_nothing_may_still_return_its_name(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    assert staged.commit(staged.path) == str(final)
    assert not final.exists()


def test_commit_is_needed_once_only(stager: Stager, tmp_path: Path) -> None:
    staged = stager.open(str(tmp_path / "a"))
    staged.commit(None)
    other = stager.open(str(tmp_path / "b"))
    Path(other.path).write_text("b")
    staged.discard()
    assert staged.commit(staged.path) == str(tmp_path / "a")
    other.commit(None)
    assert tree(tmp_path) == {"b": "b"}


# What the caller gets


@pytest.mark.parametrize(
    ("outname", "returned", "expected"),
    [
        ("out/x.fits", "{path}", "out/x.fits"),
        ("./out/x.fits", "{path}", "./out/x.fits"),
        ("x.fits", "{path}", "x.fits"),
        ("x.fits", "{folder}/y.fits", "y.fits"),
        ("out/x.fits", "{folder}/y.fits", "out/y.fits"),
        ("out/x.fits", "{folder}/sub/y.fits", "out/sub/y.fits"),
        ("out/x.fits", "{folder}", "out"),
        ("x.fits", "{folder}", "."),
        ("out/x.fits", "{folder}/../z.fits", "{folder}/../z.fits"),
        ("out/x.fits", "elsewhere.fits", "elsewhere.fits"),
        ("{cwd}/out/x.fits", "{path}", "{cwd}/out/x.fits"),
        ("{cwd}/out/x.fits", "{folder}/y.fits", "{cwd}/out/y.fits"),
        ("out/../out/x.fits", "{folder}/y.fits", "out/../out/y.fits"),
    ],
)
def test_returned_name_is_final_and_in_the_form_that_was_given(
    stager: Stager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outname: str,
    returned: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    staged = stager.open(outname.format(cwd=tmp_path))
    words = {"path": staged.path, "folder": os.path.dirname(staged.path), "cwd": str(tmp_path)}
    assert staged.commit(returned.format(**words)) == expected.format(**words)


@pytest.mark.parametrize(
    "form", [Path, os.fsencode, os.path.relpath], ids=["path", "bytes", "relative"]
)
def test_name_is_known_in_other_forms(
    stager: Stager, final: Path, form: Callable[[str], str]
) -> None:
    staged = stager.open(str(final))
    assert staged.commit(form(staged.path + ".gz")) == f"{final}.gz"


def test_returned_none_is_none_and_the_output_is_moved(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    assert staged.commit(None) is None
    assert final.read_text() == "new"


def test_return_value_that_is_no_name_is_told_and_nothing_moved(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    length = Path(staged.path).write_text("new")
    with pytest.raises(TypeError, match=r"file_write returned int for .*out\.fits"):
        staged.commit(length)
    assert old.read_text() == "old"


def test_relative_name_is_of_the_folder_that_was_current_at_first(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    staged = stager.open("x.fits")
    monkeypatch.chdir(tmp_path / "two")
    Path(staged.path).write_text("new")
    assert staged.commit(staged.path) == "x.fits"
    assert tree(tmp_path) == {"one": None, "two": None, "one/x.fits": "new"}
    write(stager, "x.fits", "second")
    assert (tmp_path / "two" / "x.fits").read_text() == "second"


def test_relative_name_is_anchored_once_a_hook_has_changed_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stager = Stager()
    assert stager.anchored("out/x.fits") == "out/x.fits"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert stager.anchored("out/x.fits") == f"{tmp_path}/out/x.fits"
    assert stager.anchored("/out/x.fits") == "/out/x.fits"


# Side files


def test_side_files_come_to_their_places(stager: Stager, tmp_path: Path) -> None:
    staged = stager.open(str(tmp_path / "x.fits"))
    folder = Path(staged.path).parent
    (folder / "previews" / "small").mkdir(parents=True)
    for name in ("x.fits", "x.png", "previews/x.png", "previews/small/x.png"):
        (folder / name).write_text(name)
    staged.commit(staged.path)
    found = {name: text for name, text in tree(tmp_path).items() if text is not None}
    assert found == {
        name: name for name in ("x.fits", "x.png", "previews/x.png", "previews/small/x.png")
    }


def test_folder_of_side_files_keeps_what_others_put_there(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "previews" / "small").mkdir(parents=True)
    (tmp_path / "previews" / "other.png").write_text("other")
    (tmp_path / "previews" / "x.png").write_text("old")
    staged = stager.open(str(tmp_path / "x.fits"))
    Path(staged.path).write_text("x")
    previews = Path(staged.path).parent / "previews"
    (previews / "small").mkdir(parents=True)
    (previews / "x.png").write_text("new")
    (previews / "small" / "x.png").write_text("small")
    staged.commit(staged.path)
    assert tree(tmp_path / "previews") == {
        "other.png": "other",
        "x.png": "new",
        "small": None,
        "small/x.png": "small",
    }


def test_side_files_are_told_by_name_with_what_was_there(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "old.png").touch()
    staged = stager.open(str(tmp_path / "x.fits"))
    folder = Path(staged.path).parent
    for name in ("x.fits", "old.png", "new.png"):
        (folder / name).touch()
    make_store(folder / "store", *map(str, range(MAX_NAMED + 1)))
    staged.commit(staged.path)
    in_store = {name for name in staged.side_files if name.startswith(f"{tmp_path}/store/")}
    assert len(in_store) == MAX_NAMED
    others = {name: staged.side_files[name] for name in staged.side_files.keys() - in_store}
    assert others == {f"{tmp_path}/old.png": True, f"{tmp_path}/new.png": False}


def test_folder_that_appears_during_the_move_is_merged(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def late(source: str, destination: str) -> None:
        if os.path.basename(destination) == "previews" and not os.path.exists(destination):
            Path(destination).mkdir()
            Path(destination, "other.png").write_text("other")
        replace(source, destination)

    staged = stager.open(str(tmp_path / "x.fits"))
    (Path(staged.path).parent / "previews").mkdir()
    (Path(staged.path).parent / "previews" / "x.png").write_text("x")
    monkeypatch.setattr(os, "replace", late)
    staged.commit(staged.path)
    assert tree(tmp_path / "previews") == {"other.png": "other", "x.png": "x"}


@pytest.mark.parametrize("returned", ["x.fits", "y.fits", "sub/y.fits", None])
def test_output_comes_after_its_side_files(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str | None
) -> None:
    replace, order = os.replace, []

    def noted(source: str, destination: str) -> None:
        replace(source, destination)
        order.append(os.path.relpath(destination, tmp_path))

    monkeypatch.setattr(os, "replace", noted)
    staged = stager.open(str(tmp_path / "x.fits"))
    folder = Path(staged.path).parent
    (folder / "sub").mkdir()
    (folder / "z").mkdir()
    for name in ("a.png", "x.fits", "y.fits", "z.png", "sub/y.fits", "z/z"):
        (folder / name).write_text(name)
    staged.commit(None if returned is None else str(folder / returned))
    assert order[-1] == returned or order[-1] == "x.fits"
    mains = {"x.fits", returned or "x.fits"}
    assert set(order[-len(mains) :]) == mains


def test_side_file_that_is_an_input_is_refused_before_anything_moves(
    stager: Stager, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_text("input")
    staged = stager.open(str(tmp_path / "x.fits"), inputs=[[str(tmp_path / "x.png")]])
    Path(staged.path).write_text("new")
    Path(staged.path).with_suffix(".png").write_text("preview")
    with pytest.raises(CollisionError, match=r"x\.png"):
        staged.commit(staged.path)
    assert tree(tmp_path) == {"x.png": "input"}


def test_file_where_a_side_folder_belongs_is_told(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "previews").write_text("a file")
    staged = stager.open(str(tmp_path / "x.fits"))
    (Path(staged.path).parent / "previews").mkdir()
    with pytest.raises(OSError, match=r"cannot be moved to its name.*previews"):
        staged.commit(staged.path)
    assert tree(tmp_path) == {"previews": "a file"}


# What is there already


def refuse(path: Path) -> None:
    with path.open("x") as file:
        file.write("new")


def skip(path: Path) -> None:
    if not path.exists():
        path.write_text("new")


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write(" and new")


def update(path: Path) -> None:
    with path.open("r+") as file:
        file.write("NEW")


def replace(path: Path) -> None:
    path.unlink()
    path.write_text("new")


def test_hook_that_refuses_to_overwrite_sees_the_old_output(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    with pytest.raises(FileExistsError):
        refuse(Path(staged.path))
    staged.discard()
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("hook", "expected"),
    [(skip, "old"), (append, "old and new"), (update, "NEW"), (replace, "new")],
)
def test_hook_finds_the_old_output(
    stager: Stager, old: Path, hook: Callable[[Path], None], expected: str
) -> None:
    staged = stager.open(str(old))
    hook(Path(staged.path))
    assert old.read_text() == "old"
    assert staged.commit(staged.path) == str(old)
    assert old.read_text() == expected


@pytest.mark.parametrize("age", ["new", "old"])
def test_output_that_is_skipped_stays_the_same_file(stager: Stager, final: Path, age: str) -> None:
    final.write_text("old")
    if age == "old":
        os.utime(final, (LONG_AGO, LONG_AGO))
    before = final.stat()
    staged = stager.open(str(final))
    staged.commit(staged.path)
    assert (final.stat().st_ino, final.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_copy_of_the_old_output_has_its_mode_and_times(stager: Stager, old: Path) -> None:
    old.chmod(0o640)
    staged = stager.open(str(old))
    status = os.stat(staged.path)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime == LONG_AGO
    Path(staged.path).write_text("new")
    staged.commit(staged.path)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_output_that_the_hook_removes_is_gone(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    os.unlink(staged.path)
    assert staged.commit(None) is None
    stager.close()
    assert os.listdir(old.parent) == []


def test_output_that_the_hook_renames_is_renamed(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    os.rename(staged.path, staged.path + ".bak")
    Path(staged.path).write_text("new")
    staged.commit(staged.path)
    assert tree(old.parent) == {"out.fits": "new", "out.fits.bak": "old"}


def test_output_that_the_hook_wrote_by_its_final_name_stays(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    os.unlink(staged.path)
    old.write_text("written directly")
    staged.commit(str(old))
    assert old.read_text() == "written directly"


def test_hook_that_writes_by_the_final_name_is_left_alone(stager: Stager, old: Path) -> None:
    staged = stager.open(str(old))
    old.write_text("written directly")
    assert staged.commit(str(old)) == str(old)
    assert old.read_text() == "written directly"


def test_old_output_that_cannot_be_copied_is_told_with_the_remedy(
    stager: Stager, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, destination: str) -> None:
        Path(destination).write_text("ol")
        raise OSError(28, "No space left on device", destination)

    monkeypatch.setattr(moving, "copy", full)
    with pytest.raises(OSError, match=r"No space left.*atomic = False.*out\.fits"):
        stager.open(str(old))
    assert old.read_text() == "old"
    assert list((old.parent / STAGING_NAME).glob("*/*")) == []


def test_half_a_copy_is_no_old_output(
    stager: Stager, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanishing(source: str, destination: str) -> None:
        Path(destination).write_text("ol")
        os.unlink(source)
        raise FileNotFoundError(2, "No such file or directory", source)

    monkeypatch.setattr(moving, "copy", vanishing)
    staged = stager.open(str(old))
    refuse(Path(staged.path))
    staged.commit(staged.path)
    assert old.read_text() == "new"


def test_output_replaces_a_folder_that_has_appeared_meanwhile(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    make_store(final, "0")
    assert staged.commit(staged.path) == str(final)
    assert final.read_text() == "new"


# Folders as outputs


def make_store(path: str | Path, *chunks: str) -> None:
    Path(path).mkdir(exist_ok=True)
    for chunk in chunks:
        Path(path, chunk).write_text(chunk)


@pytest.fixture(params=["at once", "in two steps"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which a folder is replaced."""
    if request.param == "in two steps":
        monkeypatch.setattr(moving, "_exchange_at_once", lambda source, destination: False)


@pytest.mark.usefixtures("exchange")
def test_folder_replaces_the_old_one_wholly(stager: Stager, tmp_path: Path) -> None:
    make_store(tmp_path / "x.zarr", "0", "1")
    staged = stager.open(str(tmp_path / "x.zarr"))
    shutil.rmtree(staged.path)
    make_store(staged.path, "1", "2")
    staged.commit(staged.path)
    stager.close()
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/1": "1", "x.zarr/2": "2"}
    assert os.listdir(tmp_path) == ["x.zarr"]


@pytest.mark.usefixtures("exchange")
def test_folder_can_be_updated(stager: Stager, tmp_path: Path) -> None:
    make_store(tmp_path / "x.zarr", "0", "1")
    staged = stager.open(str(tmp_path / "x.zarr"))
    make_store(staged.path, "2")
    Path(staged.path, "0").unlink()
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/0": "0", "x.zarr/1": "1"}
    staged.commit(staged.path)
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/1": "1", "x.zarr/2": "2"}


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("was", ["folder", "file"])
def test_folder_and_file_replace_each_other(stager: Stager, tmp_path: Path, was: str) -> None:
    if was == "folder":
        make_store(tmp_path / "x", "0")
    else:
        (tmp_path / "x").write_text("old")
    staged = stager.open(str(tmp_path / "x"))
    moving.remove(staged.path)
    if was == "folder":
        Path(staged.path).write_text("new")
    else:
        make_store(staged.path, "1")
    staged.commit(staged.path)
    assert tree(tmp_path) == ({"x": "new"} if was == "folder" else {"x": None, "x/1": "1"})


@pytest.mark.usefixtures("exchange")
def test_folder_under_another_name_is_replaced_wholly_too(stager: Stager, tmp_path: Path) -> None:
    make_store(tmp_path / "x.zarr", "0")
    staged = stager.open(str(tmp_path / "x.fits"))
    other = Path(staged.path).with_suffix(".zarr")
    make_store(other, "1")
    assert staged.commit(other) == str(tmp_path / "x.zarr")
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/1": "1"}


def test_folder_that_is_left_alone_stays(stager: Stager, tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"
    make_store(store, "0", "1")
    for path in (store / "0", store / "1", store):
        os.utime(path, (LONG_AGO, LONG_AGO))
    inode = store.stat().st_ino
    staged = stager.open(str(store))
    staged.commit(staged.path)
    assert store.stat().st_ino == inode


def test_old_folder_is_back_if_the_new_one_cannot_take_its_place(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path / "x.zarr", "0")
    staged = stager.open(str(tmp_path / "x.zarr"))
    make_store(staged.path, "1")
    rename = os.rename

    def failing(source: str, destination: str) -> None:
        if source == staged.path:
            raise PermissionError(13, "Permission denied", source, None, destination)
        rename(source, destination)

    monkeypatch.setattr(moving, "_exchange_at_once", lambda source, destination: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(PermissionError, match=r"cannot be moved.*x\.zarr"):
        staged.commit(staged.path)
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/0": "0"}


def test_trailing_slash_stays(stager: Stager, tmp_path: Path) -> None:
    outname = f"{tmp_path}/x.zarr/"
    staged = stager.open(outname)
    assert staged.path.endswith("/x.zarr/")
    make_store(staged.path, "0")
    assert staged.commit(staged.path) == outname
    assert tree(tmp_path) == {"x.zarr": None, "x.zarr/0": "0"}


# Folders that are missing


def test_missing_folder_is_missing_for_the_hook_too(stager: Stager, tmp_path: Path) -> None:
    staged = stager.open(str(tmp_path / "no" / "such" / "x.fits"))
    with pytest.raises(FileNotFoundError):
        Path(staged.path).write_text("new")
    staged.discard()
    stager.close()
    assert os.listdir(tmp_path) == []


def test_folder_that_the_hook_makes_is_made(stager: Stager, tmp_path: Path) -> None:
    final = tmp_path / "no" / "such" / "x.fits"
    staged = stager.open(str(final))
    os.makedirs(os.path.dirname(staged.path), mode=0o755)
    os.chmod(os.path.dirname(staged.path), 0o750)
    Path(staged.path).write_text("new")
    Path(staged.path + ".png").write_text("side")
    assert not final.parent.exists()
    assert staged.commit(staged.path) == str(final)
    assert tree(final.parent) == {"x.fits": "new", "x.fits.png": "side"}
    assert stat.S_IMODE(final.parent.stat().st_mode) == 0o750


def test_folder_may_be_named_in_a_roundabout_way(stager: Stager, tmp_path: Path) -> None:
    staged = stager.open(f"{tmp_path}/no//./x.fits")
    os.mkdir(os.path.dirname(os.path.normpath(staged.path)))
    Path(staged.path).write_text("new")
    assert staged.commit(staged.path) == f"{tmp_path}/no//./x.fits"
    assert tree(tmp_path) == {"no": None, "no/x.fits": "new"}
    assert staged.side_files == {}


def test_relative_folder_that_the_hook_makes_is_made(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    staged = stager.open("no/x.fits")
    os.mkdir(os.path.dirname(staged.path))
    Path(staged.path).write_text("new")
    assert staged.commit(staged.path + ".gz") == "no/x.fits.gz"
    assert tree(tmp_path) == {"no": None, "no/x.fits": "new"}


def test_folder_made_by_another_worker_meanwhile_is_shared(stager: Stager, tmp_path: Path) -> None:
    staged = stager.open(str(tmp_path / "no" / "x.fits"))
    os.mkdir(os.path.dirname(staged.path))
    Path(staged.path).write_text("x")
    make_store(tmp_path / "no", "y.fits")
    staged.commit(staged.path)
    assert tree(tmp_path / "no") == {"x.fits": "x", "y.fits": "y.fits"}


def test_folder_that_is_removed_and_made_again_is_noticed(stager: Stager, tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "out").mkdir()
        write(stager, tmp_path / "out" / "x.fits")
        assert tree(tmp_path / "out") == {"x.fits": "new"}
        shutil.rmtree(tmp_path / "out")


def test_folder_that_is_renamed_is_noticed(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write(stager, tmp_path / "one" / "x.fits")
    (tmp_path / "one").rename(tmp_path / "two")
    write(stager, tmp_path / "two" / "y.fits")
    assert tree(tmp_path / "two") == {"x.fits": "new", "y.fits": "new"}


@pytest.mark.parametrize("existed", [False, True], ids=["new", "replaced"])
def test_output_whose_folder_is_removed_while_it_is_written_is_lost_with_an_error(
    stager: Stager, tmp_path: Path, existed: bool
) -> None:
    """The staging folder is open: without a check, it would look as if nothing had been written."""
    folder = tmp_path / "out"
    folder.mkdir()
    final = folder / "x.fits"
    if existed:
        final.write_text("old")
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="its folder was removed") as caught:
        staged.commit(staged.path)
    assert caught.value.filename == str(final)
    folder.mkdir()
    write(stager, final)
    assert tree(folder) == {"x.fits": "new"}


def test_many_folders_do_not_use_up_file_descriptors(stager: Stager, tmp_path: Path) -> None:
    for number in range(3 * MAX_IDLE):
        (tmp_path / str(number)).mkdir()
        write(stager, tmp_path / str(number) / "x.fits")
    assert len(stager._all) == MAX_IDLE
    assert len(list(tmp_path.rglob(STAGING_NAME))) == MAX_IDLE


def test_staging_folder_is_removed_if_ctrl_c_comes_just_after_it_was_made(
    stager: Stager, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Interrupted(StagingFolder):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            made.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "StagingFolder", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        stager.open(str(final))
    assert os.path.isdir(made[0].path)
    stager.close()
    assert os.listdir(final.parent) == []
    made[0].remove()


# Links, devices, other file systems


def test_output_is_written_through_a_link(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "real.fits").write_text("old")
    (tmp_path / "x.fits").symlink_to("archive/real.fits")
    staged = stager.open(str(tmp_path / "x.fits"))
    append(Path(staged.path))
    Path(staged.path + ".png").write_text("side")
    assert staged.commit(staged.path) == str(tmp_path / "x.fits")
    assert (tmp_path / "x.fits").is_symlink()
    assert (tmp_path / "archive" / "real.fits").read_text() == "old and new"
    assert (tmp_path / "x.fits.png").read_text() == "side"


def test_output_is_written_through_a_link_that_leads_nowhere_yet(
    stager: Stager, tmp_path: Path
) -> None:
    (tmp_path / "x.fits").symlink_to("real.fits")
    staged = stager.open(str(tmp_path / "x.fits"))
    refuse(Path(staged.path))
    staged.commit(staged.path)
    assert (tmp_path / "x.fits").is_symlink()
    assert (tmp_path / "real.fits").read_text() == "new"


def test_output_is_written_through_a_link_to_another_file_system(
    stager: Stager, tmp_path: Path, elsewhere: Path
) -> None:
    (elsewhere / "real.fits").write_text("old")
    (tmp_path / "x.fits").symlink_to(elsewhere / "real.fits")
    staged = stager.open(str(tmp_path / "x.fits"))
    append(Path(staged.path))
    staged.commit(staged.path)
    stager.close()
    assert (tmp_path / "x.fits").is_symlink()
    assert tree(elsewhere) == {"real.fits": "old and new"}


def test_side_folder_may_be_on_another_file_system(
    stager: Stager, tmp_path: Path, elsewhere: Path
) -> None:
    (tmp_path / "previews").symlink_to(elsewhere)
    (elsewhere / "y.png").write_text("y")
    staged = stager.open(str(tmp_path / "x.fits"))
    previews = Path(staged.path).parent / "previews"
    previews.mkdir()
    (previews / "x.png").write_text("x")
    make_store(previews / "x", "0")
    (previews / "link").symlink_to("x.png")
    staged.commit(staged.path)
    stager.close()
    assert tree(elsewhere) == {"x.png": "x", "y.png": "y", "x": None, "x/0": "0", "link": "x"}
    assert (tmp_path / "previews").is_symlink()


@pytest.mark.parametrize("is_absolute", [False, True], ids=["relative", "absolute"])
def test_link_that_the_hook_makes_leads_to_the_final_place(
    stager: Stager, tmp_path: Path, is_absolute: bool
) -> None:
    staged = stager.open(str(tmp_path / "x.fits"))
    Path(staged.path).write_text("new")
    link = Path(staged.path).with_name("latest.fits")
    link.symlink_to(staged.path if is_absolute else "x.fits")
    staged.commit(staged.path)
    assert (tmp_path / "latest.fits").is_symlink()
    assert tree(tmp_path) == {"x.fits": "new", "latest.fits": "new"}


def test_link_that_the_hook_makes_replaces_a_link(stager: Stager, tmp_path: Path) -> None:
    (tmp_path / "real.fits").write_text("real")
    (tmp_path / "x.fits").symlink_to("real.fits")
    staged = stager.open(str(tmp_path / "x.fits"))
    os.unlink(staged.path)
    os.symlink("real.fits", staged.path)
    staged.commit(staged.path)
    assert tree(tmp_path) == {"real.fits": "real", "x.fits": "real"}


def test_device_is_written_directly(stager: Stager) -> None:
    staged = stager.open(os.devnull)
    assert staged.is_direct
    assert staged.path == os.devnull
    assert staged.commit(staged.path) == os.devnull
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_pipe_is_written_directly(stager: Stager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    assert stager.open(str(tmp_path / "pipe")).is_direct
    assert stager.open(str(tmp_path / "link")).is_direct


@pytest.mark.parametrize("outname", ["", ".", "..", "/", "no/../x.fits"])
def test_name_that_nothing_can_be_moved_to_is_left_to_the_hook(
    stager: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outname: str
) -> None:
    monkeypatch.chdir(tmp_path)
    staged = stager.open(outname)
    assert staged.path == outname
    assert staged.commit(outname) == outname


def test_file_in_place_of_the_folder_is_left_to_the_hook(stager: Stager, final: Path) -> None:
    final.write_text("not a folder")
    staged = stager.open(str(final / "x.fits"))
    with pytest.raises(NotADirectoryError):
        Path(staged.path).write_text("new")
    staged.discard()


# Names


@pytest.mark.parametrize(
    "name",
    ["a\nb.fits", "-rf", "x" * 255, "\udcff.fits", " ", "~", "*", "a%sb", "ünï", ".hidden"],
    ids=["newline", "dash", "long", "surrogate", "space", "tilde", "star", "percent", "u", "dot"],
)
def test_unusual_name_is_kept(stager: Stager, tmp_path: Path, name: str) -> None:
    for text in ("first", "second"):
        assert write(stager, tmp_path / name, text) == str(tmp_path / name)
        assert tree(tmp_path) == {name: text}


def test_name_that_no_file_can_have_is_left_to_the_hook(stager: Stager, tmp_path: Path) -> None:
    for name, error in (("a\0b", ValueError), ("x" * 256, OSError)):
        staged = stager.open(str(tmp_path / name))
        with pytest.raises(error):
            Path(staged.path).write_text("new")
        staged.discard()


def test_name_of_the_staging_folder_is_refused(stager: Stager, tmp_path: Path) -> None:
    with pytest.raises(OutnameError, match="another name"):
        stager.open(str(tmp_path / STAGING_NAME))


def test_pipeline_within_a_hook_may_write_to_the_staging_folder(
    stager: Stager, tmp_path: Path
) -> None:
    staged = stager.open(str(tmp_path / "x.fits"))
    inner = Stager()
    write(inner, Path(staged.path).with_name("inner.fits"), "inner")
    inner.close()
    Path(staged.path).write_text("outer")
    staged.commit(staged.path)
    assert tree(tmp_path) == {"x.fits": "outer", "inner.fits": "inner"}


# Inputs


@pytest.mark.parametrize("way", ["same", "link", "hard link", "dots", "group"])
def test_output_that_would_overwrite_an_input_is_refused(
    stager: Stager, tmp_path: Path, way: str
) -> None:
    source, final = tmp_path / "in.fits", tmp_path / "out.fits"
    source.write_text("raw")
    names: list[object] = [str(source)]
    if way == "link":
        final.symlink_to(source)
    elif way == "hard link":
        final.hardlink_to(source)
    else:
        final = tmp_path / ".." / tmp_path.name / "in.fits" if way == "dots" else source
    if way == "group":
        names = ["missing.fits", [(source,)]]
    assert overwrites_input(final, names)
    with pytest.raises(CollisionError, match=r"outdir, outname_append or outname") as caught:
        stager.open(str(final), names)
    assert repr(str(final)) in str(caught.value)
    assert source.read_text() == "raw"


def test_side_file_is_not_put_over_the_input_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in.fits").write_text("raw")
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Stager()) as stager:
        monkeypatch.chdir("elsewhere")
        staged = stager.open(str(tmp_path / "out.fits"), ["in.fits"])
        for name in ("out.fits", "in.fits"):
            Path(staged.path).with_name(name).write_text("new")
        with pytest.raises(CollisionError, match=r"in\.fits"):
            staged.commit(None)
        staged.discard()
    assert (tmp_path / "in.fits").read_text() == "raw"


def test_other_file_is_no_input(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("same")
    assert not overwrites_input(tmp_path / "a", [str(tmp_path / "b"), ["a\0", "missing", 1, None]])
    assert not overwrites_input(tmp_path / "missing", [str(tmp_path / "missing")])


# Errors


def test_output_that_cannot_be_moved_names_the_final_path_and_the_remedy(
    stager: Stager, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(source: str, destination: str) -> None:
        raise PermissionError(13, "Permission denied", source, None, destination)

    staged = stager.open(str(old))
    Path(staged.path).write_text("new")
    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PermissionError, match="Make the folder writable") as caught:
        staged.commit(staged.path)
    assert caught.value.filename == str(old)
    assert STAGING_NAME not in str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), PermissionError)
    assert os.listdir(os.path.dirname(staged.path)) == []
    assert old.read_text() == "old"


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "old"])
def test_folder_that_cannot_be_written_to(
    stager: Stager, final: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Without a staging folder, the hook of a new output fails; an old output would be damaged."""
    if is_there:
        final.write_text("old")

    def denied(path: str, mode: int = 0o777) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", denied)
    if is_there:
        with pytest.raises(PermissionError, match=r"atomic = False.*out\.fits"):
            stager.open(str(final))
    else:
        assert stager.open(str(final)).is_direct


def test_error_that_names_the_staging_folder_is_explained(stager: Stager, final: Path) -> None:
    staged = stager.open(str(final))
    for error, is_explained in (
        (FileNotFoundError(2, "No such file", staged.path), True),
        (subprocess.CalledProcessError(1, ["convert", staged.path]), True),
        (ValueError("no stars"), False),
    ):
        explain(error, staged.path, staged.outname)
        notes = getattr(error, "__notes__", [])
        assert any(repr(str(final)) in note for note in notes) == is_explained
    staged.discard()


def test_error_that_takes_no_note_stays_what_it_is(stager: Stager, final: Path) -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        filename: str

    staged = stager.open(str(final))
    error = Frozen(staged.path)
    explain(error, staged.path, staged.outname)
    assert not hasattr(error, "__notes__")
    staged.discard()


def test_error_without_text_is_explained_as_well(stager: Stager, final: Path) -> None:
    class Mute(Exception):
        filename = ""

        def __str__(self) -> str:
            raise RuntimeError

    staged = stager.open(str(final))
    error = Mute()
    error.filename = staged.path
    explain(error, staged.path, staged.outname)
    assert str(final) in error.__notes__[0]
    staged.discard()


def test_threads_write_to_one_folder_each_with_its_stager(tmp_path: Path) -> None:
    n_threads, n_files = 6, 30
    barrier = threading.Barrier(n_threads, timeout=TIMEOUT)

    def work(number: int) -> None:
        barrier.wait()
        with contextlib.closing(Stager()) as stager:
            for file in range(n_files):
                write(stager, tmp_path / f"{number}-{file}", f"{number} {file}")
                staged = stager.open(str(tmp_path / f"{number}-{file}.fits"))
                previews = Path(staged.path).parent / "previews" / str(file)
                previews.mkdir(parents=True)
                (previews / str(number)).write_text("preview")
                staged.commit(None)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))
    found = tree(tmp_path)
    for number in range(n_threads):
        for file in range(n_files):
            assert found.pop(f"{number}-{file}") == f"{number} {file}"
            assert found.pop(f"previews/{file}/{number}") == "preview"
    assert set(found.values()) == {None}
    assert STAGING_NAME not in os.listdir(tmp_path)


# What a hook does in the staging folder is what it would have done in the final one

NAMES = st.sampled_from(["x", "x.png", "sub/x.png", "sub/deep/x", "other"])
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["write", "append", "remove", "rename"]), NAMES, NAMES), max_size=6
)


def act(folder: Path, actions: list[tuple[str, str, str]], main: Path) -> None:
    for number, (action, name, other) in enumerate(actions):
        path = main if name == "x" else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if action == "write":
            path.write_text(str(number))
        elif action == "append" and path == main:
            with path.open("a") as file:
                file.write(str(number))
        elif action == "remove" and path == main:
            path.unlink(missing_ok=True)
        elif action == "rename" and path == main and path.exists():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            path.rename(folder / other)


@given(actions=ACTIONS, was_there=st.booleans(), returned=NAMES)
def test_staged_hook_leaves_what_a_direct_one_would(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[str, str, str]],
    was_there: bool,
    returned: str,
) -> None:
    direct, final = (tmp_path_factory.mktemp("direct"), tmp_path_factory.mktemp("staged"))
    for folder in (direct, final):
        make_store(folder / "sub", "old")
        if was_there:
            (folder / "x").write_text("old")
    act(direct, actions, direct / "x")
    with contextlib.closing(Stager()) as stager:
        staged: StagedOutput = stager.open(str(final / "x"))
        act(Path(staged.path).parent, actions, Path(staged.path))
        name = staged.commit(Path(staged.path).parent / returned)
    assert name == str(final / returned)
    assert files(final) == files(direct)
    assert STAGING_NAME not in os.listdir(final)


def files(folder: Path) -> dict[str, str]:
    return {name: text for name, text in tree(folder).items() if text is not None}
