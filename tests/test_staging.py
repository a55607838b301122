"""The folders in which outputs are staged: made, locked, removed, by this run and the next."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigpipe.errors import BigpipeWarning
from bigpipe.outputs import Stager
from bigpipe.staging import (
    STAGING_NAME,
    StagingFolder,
    as_final,
    remove_dead_staging,
    remove_if_unlocked,
)
from tests.mischief import descriptors_left

TIMEOUT = 60.0  # seconds; only a test that fails ever waits so long


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
    return final


def write(stager: Stager, final: Path, text: str = "new") -> None:
    staged = stager.open(str(final))
    Path(staged.path).write_text(text)
    staged.commit(staged.path)


def open_below(folder: Path) -> set[str]:
    """Return the paths that this process has open; a removed one ends in ' (deleted)'."""
    paths = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself, which is closed
            paths.add(os.readlink(f"/proc/self/fd/{name}"))
    return {path for path in paths if path.startswith(f"{folder}/")}


@pytest.mark.parametrize("name", ["chmod", "mkdir", "open", "flock", "fstat"])
def test_staging_folder_whose_making_is_broken_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = fcntl if name == "flock" else os
    function = getattr(module, name)

    def break_off(path: Any, *args: Any) -> None:
        if name != "open":  # who is interrupted there does not learn what was opened
            function(path, *args)
        if path != str(tmp_path / STAGING_NAME) or name == "chmod":
            monkeypatch.undo()
            raise KeyboardInterrupt

    before = os.listdir("/dev/fd")
    monkeypatch.setattr(module, name, break_off)
    with pytest.raises(KeyboardInterrupt):
        StagingFolder(str(tmp_path), tmp_path.stat(), None)
    assert os.listdir(tmp_path) == []
    assert os.listdir("/dev/fd") == before


def test_staging_folder_that_cannot_be_opened_is_removed(tmp_path: Path) -> None:
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        StagingFolder(str(tmp_path), tmp_path.stat(), None)
    assert os.listdir(tmp_path) == []


def test_staging_folder_is_removed_though_descriptors_have_run_out(tmp_path: Path) -> None:
    folder = StagingFolder(str(tmp_path), tmp_path.stat(), None)
    with descriptors_left(0):
        folder.remove()
    assert os.listdir(tmp_path) == []


CHILD = """
import os, sys
from bigpipe.outputs import Stager
announce = lambda path: os.write(1, os.fsencode(path) + b"\\n")
staged = Stager(announce).open(sys.argv[1])
with open(staged.path, "w") as file:
    file.write("half")
    file.flush()
    os.write(1, b"written\\n")
    sys.stdin.read()
"""


class Child:
    """A process that stops in the middle of writing an output."""

    def __init__(self, final: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(final)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.announced, self.is_writing = self._lines()

    def _lines(self) -> tuple[Path, bool]:
        assert self.process.stdout is not None
        told = b""
        while told.count(b"\n") < 2:
            ready, _, _ = select.select([self.process.stdout], [], [], TIMEOUT)
            assert ready
            part = os.read(self.process.stdout.fileno(), 5000)
            assert part, "the child has ended"
            told += part
        path, _, rest = told.partition(b"\n")
        return Path(os.fsdecode(path)), rest == b"written\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == -signal.SIGKILL


@pytest.fixture
def child(old: Path) -> Iterator[Child]:
    child = Child(old)
    assert child.is_writing
    yield child
    child.process.kill()
    child.process.communicate(timeout=TIMEOUT)


@pytest.mark.process
def test_killed_process_leaves_the_old_output_and_the_next_run_tidies_up(
    child: Child, old: Path
) -> None:
    child.kill()
    assert old.read_text() == "old"
    assert (child.announced / old.name).read_text() == "half"
    remove_dead_staging(old.parent)
    assert os.listdir(old.parent) == [old.name]
    assert old.read_text() == "old"


@pytest.mark.process
def test_living_process_keeps_its_staging_folder(child: Child, old: Path) -> None:
    remove_dead_staging(old.parent)
    assert (child.announced / old.name).read_text() == "half"
    child.kill()
    remove_dead_staging(old.parent)


@pytest.mark.process
def test_stager_removes_what_killed_runs_have_left(child: Child, old: Path) -> None:
    child.kill()
    stager = Stager()
    write(stager, old)
    assert not child.announced.exists()
    stager.close()
    assert os.listdir(old.parent) == [old.name]


def test_staging_folder_is_announced_before_it_is_made(final: Path) -> None:
    announced = []

    def announce(path: str) -> None:
        assert not os.path.exists(path)
        announced.append(path)

    stager = Stager(announce)
    staged = stager.open(str(final))
    assert announced == [os.path.dirname(staged.path)]
    assert os.path.isdir(announced[0])
    staged.discard()
    stager.close()


def test_close_removes_the_folders_of_this_stager_alone(stager: Stager, tmp_path: Path) -> None:
    other = Stager()
    staged = other.open(str(tmp_path / "x.fits"))
    write(stager, tmp_path / "y.fits")
    stager.close()
    Path(staged.path).write_text("x")
    staged.commit(staged.path)
    other.close()
    assert sorted(os.listdir(tmp_path)) == ["x.fits", "y.fits"]


def test_stager_may_be_used_after_close(stager: Stager, final: Path) -> None:
    for text in ("one", "two"):
        write(stager, final, text)
        stager.close()
    assert os.listdir(final.parent) == ["out.fits"]
    assert final.read_text() == "two"


def test_folders_of_other_hosts_and_of_others_stay(tmp_path: Path) -> None:
    staging = tmp_path / STAGING_NAME
    theirs = [f"not-{socket.gethostname()}-12-0123456789abcdef", "a-folder-of-mine"]
    ours = f"{os.uname().nodename}-12-0123456789abcdef"
    for name in (*theirs, ours):
        (staging / name).mkdir(parents=True)
    remove_dead_staging(tmp_path)
    assert sorted(os.listdir(staging)) == sorted(theirs)
    assert not open_below(tmp_path)
    shutil.rmtree(staging)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_removed_nor_what_it_leads_to(tmp_path: Path, kind: str) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "night.fits").write_text("data")
    path = tmp_path / "in the place of a folder"
    if kind == "link":
        path.symlink_to(kept)
    else:
        path.write_text("")
    assert remove_if_unlocked(str(path)) is None
    assert (kept / "night.fits").exists()
    assert path.exists()


def test_staging_folder_in_a_shared_folder_is_shared(stager: Stager, tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    stager.open(str(tmp_path / "x.fits")).discard()
    assert stat.S_IMODE((tmp_path / STAGING_NAME).stat().st_mode) == 0o2775


@pytest.mark.parametrize("moment", ["before it is made", "before it is opened", "before the lock"])
def test_folder_that_is_swept_away_while_it_is_made_is_made_again(
    stager: Stager, final: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    mkdir, flock, swept = os.mkdir, fcntl.flock, []

    def sweep(now: str) -> None:
        if now == moment and not swept:
            swept.append(now)
            remove_dead_staging(final.parent)
            assert not (final.parent / STAGING_NAME).exists()

    def make(path: str, mode: int = 0o777) -> None:
        if os.path.basename(path) != STAGING_NAME:
            sweep("before it is made")
        mkdir(path, mode)
        if os.path.basename(path) != STAGING_NAME:
            sweep("before it is opened")

    def lock(fd: int, operation: int) -> None:
        sweep("before the lock")
        flock(fd, operation)

    monkeypatch.setattr(os, "mkdir", make)
    monkeypatch.setattr(fcntl, "flock", lock)
    write(stager, final)
    assert swept == [moment]
    assert final.read_text() == "new"
    assert not [path for path in open_below(final.parent) if path.endswith(" (deleted)")]


def test_folder_that_a_sweep_has_locked_is_not_used(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, refused = fcntl.flock, []

    def first_refused(fd: int, operation: int) -> None:
        if not refused:
            refused.append(fd)
            raise BlockingIOError
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", first_refused)
    made: list[str] = []
    stager = Stager(made.append)
    staged = stager.open(str(final))
    assert len(refused) == 1
    assert os.path.dirname(staged.path) == made[-1] != made[0]
    assert open_below(final.parent) == {made[-1]}
    staged.discard()
    stager.close()


def test_file_system_without_locks_works_and_nothing_is_swept(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    stager, other = Stager(), Stager()
    staged = stager.open(str(final))
    Path(staged.path).write_text("new")
    write(other, final.with_name("other.fits"))
    staged.commit(staged.path)
    stager.close()
    other.close()
    assert sorted(os.listdir(final.parent)) == ["other.fits", "out.fits"]


def test_folder_that_is_swept_for_ever_is_told(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StagingFolder, "_lock", lambda self: False)
    with pytest.raises(OSError, match="other processes keep removing it"):
        Stager().open(str(final))
    remove_dead_staging(final.parent)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_file_system_that_makes_no_folders_is_told_at_once() -> None:
    with pytest.raises(OSError, match=r"makes no new folders.*give another outdir") as caught:
        Stager().open("/proc/x.fits")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOTSUP, "/proc/x.fits")


def test_files_written_above_the_folder_are_told_and_kept(tmp_path: Path) -> None:
    stager = Stager()
    staged = stager.open(str(tmp_path / "x.fits"))
    lost = Path(staged.path).parent.parent / "previews"
    lost.mkdir()
    staged.commit(None)
    with pytest.warns(BigpipeWarning, match="previews"):
        stager.close()
    assert lost.exists()
    shutil.rmtree(lost.parent)


@pytest.mark.parametrize(
    ("folder", "base"),
    [("out", "a.fits"), ("out", "below/a.fits"), ("out with-1-spaces", "a.fits")],
    ids=["beside", "in a folder that is missing", "spaces"],
)
def test_text_names_what_is_staged_as_it_will_be_called(
    tmp_path: Path, folder: str, base: str
) -> None:
    final = tmp_path / folder
    final.mkdir()
    staging = StagingFolder(str(final), os.stat(final), None)
    text = f"File {staging.path}/{base} exists, as does {final}/b"
    assert as_final(text) == f"File {final}/{base} exists, as does {final}/b"
    staging.remove()
