"""Full disks, read-only folders, and folders that are removed."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.deeds import RemoveFolder
from tests.faults.night import Fault
from tests.faults.places import as_anyone, on_small_disk, with_mounts
from tests.faults.trial import N_FILES, Trial

pytestmark = pytest.mark.process

NAME = "005.bin"
LARGE = 200_000  # bytes of an input that finds no room


@dataclass(frozen=True)
class LimitFiles:
    """Let no file get larger than so many bytes."""

    n_bytes: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.n_bytes, self.n_bytes))


# Outputs.


@pytest.fixture
def large(trial: Trial) -> Path:
    """One of the inputs, made so large that there is no room for its output."""
    path = trial.night.folder / "in" / NAME
    path.write_bytes(bytes(LARGE))
    return path


def make_small(path: Path) -> None:
    path.write_bytes(b"005\n" * 100)


def test_output_over_the_limit_of_a_files_size_fails_alone(trial: Trial, large: Path):
    ended = trial.run(before=(LimitFiles(LARGE),))
    trial.observe_run("output over RLIMIT_FSIZE", ended, NAME)
    assert ended.of(NAME).brief() == "failed: OSError in file_write"
    assert "File too large" in ended.of(NAME).message
    trial.check_all_but(NAME)
    make_small(large)
    trial.resume()


def test_output_that_fills_the_disk_fails_alone(trial: Trial, large: Path):
    """With one worker, because others that write at the same time would find the disk full, too."""
    disk = on_small_disk(trial.night.out, 300_000)
    ended = trial.run(prefix=disk, num_processes=1)
    trial.observe_run("output fills the disk", ended, NAME)
    assert ended.of(NAME).brief() == "failed: OSError in file_write"
    assert "No space left" in ended.of(NAME).message
    trial.check_all_but(NAME)
    make_small(large)
    trial.resume()


def test_disk_with_room_for_some_outputs_holds_those(trial: Trial):
    disk = on_small_disk(trial.night.out, 10 * 4096)
    ended = trial.run(prefix=disk)
    trial.observe_run("disk with room for some outputs", ended)
    written = [account for account in ended.accounts if account.cause is None]
    failed = [account for account in ended.accounts if account.cause is not None]
    assert 0 < len(written) < N_FILES
    assert {account.cause for account in failed} == {"OSError"}
    assert all("No space left" in account.message for account in failed)
    trial.check_all_but(*(account.name for account in failed))
    trial.resume()


def check_nothing_is_written(trial: Trial, fault: str, prefix: list[str], cause: str) -> None:
    """Run where the output folder may not be written to; then resume where it may."""
    ended = trial.run(prefix=prefix)
    trial.night.out.chmod(0o755)
    trial.observe_run(fault, ended)
    trial.observe("file", ended.of(NAME).brief())
    assert {account.brief() for account in ended.accounts} == {f"failed: {cause} in file_write"}
    trial.check_all_but(*(account.name for account in ended.accounts))
    trial.resume()


def test_output_folder_that_may_not_be_written_to_fails_every_file(trial: Trial):
    trial.night.out.mkdir(mode=0o555)
    check_nothing_is_written(trial, "read-only output folder", as_anyone(), "PermissionError")


def test_output_folder_on_a_read_only_disk_fails_every_file(trial: Trial):
    trial.night.out.mkdir()
    out = trial.night.out
    disk = with_mounts(f"mount --bind '{out}' '{out}'", f"mount -o remount,bind,ro '{out}'")
    check_nothing_is_written(trial, "output folder on a read-only disk", disk, "OSError")


@pytest.mark.parametrize("create_outdir", [False, True], ids=["", "create_outdir"])
@pytest.mark.parametrize("point", ["in data_process", "mid-write", "before commit"])
def test_output_folder_that_is_removed_is_not_written_to_in_vain(
    trial: Trial, point: str, create_outdir: bool
):
    trial.night.out.mkdir()
    options = {"num_processes": 1, "create_outdir": create_outdir, "order": "given"}
    ended = trial.run_here(Fault(RemoveFolder(trial.night.out), point, NAME), **options)
    what = " (create_outdir)" if create_outdir else ""
    trial.observe_run(f"output folder removed {point}{what}", ended, NAME)
    later = {account.brief() for account in ended.accounts if account.name > NAME}
    assert later == {"written" if create_outdir else "failed: FileNotFoundError in file_write"}
    if point == "in data_process":
        assert {ended.of(NAME).brief()} == later
    else:
        assert "its folder was removed" in ended.of(NAME).message
    earlier = [account.name for account in ended.accounts if account.name < NAME]
    failed = [account.name for account in ended.accounts if account.cause is not None]
    trial.night.out.mkdir(exist_ok=True)
    trial.check_all_but(*earlier, *failed)
    trial.resume(may_redo=True)


# The journal.


@dataclass(frozen=True)
class FillDisk:
    """Fill the disk of a folder to its last byte."""

    folder: Path

    def __call__(self, name: str) -> None:
        with (self.folder / "filler").open("wb", buffering=0) as file:
            for n_bytes in (65536, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(n_bytes)):
                        pass


def test_journal_on_a_disk_that_gets_full_loses_no_output(trial: Trial):
    folder = trial.night.journal.parent
    disk = on_small_disk(folder, 1 << 20)
    fault = Fault(FillDisk(folder), "after read", NAME, mark="once")
    ended = trial.run(fault, prefix=disk)
    trial.observe_run("disk of the journal fills up", ended)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("cannot be written") == 1
    (folder / "filler").unlink()
    trial.check_outputs(ended)
    trial.resume(may_redo=True)


def test_journal_over_the_limit_of_a_files_size_loses_no_output(trial: Trial):
    ended = trial.run(before=(LimitFiles(1 << 16),))
    trial.observe_run("journal over RLIMIT_FSIZE", ended)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("cannot be written") == 1
    trial.check_outputs(ended)
    trial.resume(may_redo=True)


def test_journal_that_cannot_be_made_stops_the_run_before_its_first_file(trial: Trial):
    folder = trial.night.journal.parent
    folder.mkdir()
    folder.chmod(0o555)
    ended = trial.run(prefix=as_anyone())
    folder.chmod(0o755)
    trial.observe_run("read-only folder of the journal", ended)
    assert ended.returncode == 1
    assert "JournalError" in ended.stderr
    assert trial.night.passed("before read") == []
    trial.resume()
