"""Hooks that kill their worker, raise or return unusual objects, or change the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import mischief, pipes
from tests.faults.deeds import Give, Odd
from tests.faults.night import Fault
from tests.faults.sizes import SIZES
from tests.faults.trial import Trial
from tests.mischief import HoldsLock, Unloadable, Unpicklable

pytestmark = pytest.mark.process

NAME = "005.bin"


@dataclass(frozen=True)
class Bad:
    """What a hook does wrong, which hook, and the outcome of its file."""

    deed: Callable[[str], Any]
    point: str
    account: str
    """The same in the words of `Account.brief`."""


def fails(deed: Callable[[str], Any], cause: str) -> Bad:
    return Bad(deed, "in data_process", f"failed: {cause} in data_process")


def gives(make: type, cause: str) -> Bad:
    return Bad(Give(make), "in post_process", f"failed: {cause} in post_process")


def is_harmless(deed: Callable[[str], Any]) -> Bad:
    return Bad(deed, "in data_process", "written")


DEATHS = {
    "segmentation fault": Bad(mischief.crash, "mid-write", "killed: SIGSEGV in file_write"),
    "os._exit(3)": Bad(pipes.exit_at_once, "mid-write", "killed: exit code 3 in file_write"),
    "os._exit(0)": Bad(mischief.exit_with_zero, "mid-write", "killed: exit code 0 in file_write"),
    "closes all descriptors": Bad(
        mischief.close_all_descriptors, "mid-write", "killed: exit code 1 in file_write"
    ),
}
ERRORS = {
    "sys.exit": fails(mischief.exit_politely, "SystemExit"),
    "MemoryError": fails(mischief.run_out_of_memory, "MemoryError"),
    "recursion limit": fails(mischief.recurse, "RecursionError"),
    "KeyboardInterrupt": fails(mischief.interrupt, "KeyboardInterrupt"),
    "exception that cannot be unpickled": fails(pipes.fail_unpicklably, "RemoteError"),
    "exception that cannot be pickled": fails(mischief.RaiseOf(HoldsLock), "RemoteError"),
    "error in the middle of writing": Bad(
        pipes.fail, "mid-write", "failed: ValueError in file_write"
    ),
}
UNSENDABLE = {
    "metadata that cannot be pickled": gives(Unpicklable, "TypeError"),
    "metadata that cannot be unpickled": gives(Unloadable, "ValueError"),
}
HARMLESS = {
    "closes standard output": is_harmless(mischief.close_stdout),
    "ignores all signals": is_harmless(mischief.change_signals),
    "forks, and the child returns": is_harmless(mischief.fork_and_return),
    "forks, and the child raises": is_harmless(mischief.fork_and_raise),
    "leaves a thread running": Bad(mischief.leave_thread, "mid-write", "written"),
    "changes the current folder": Bad(mischief.ChangeFolder(Path("/")), "mid-write", "written"),
}
ALL = DEATHS | ERRORS | UNSENDABLE | HARMLESS


@pytest.mark.parametrize("what", ALL)
def test_hook_costs_its_own_file_at_most_and_that_is_made_up_for(trial: Trial, what: str):
    bad = ALL[what]
    ended = trial.run_here(Fault(bad.deed, bad.point, NAME))
    trial.observe_run(what, ended, NAME)
    assert ended.of(NAME).brief() == bad.account
    assert {account.brief() for account in ended.but(NAME)} == {"written"}
    if bad in HARMLESS.values():
        trial.check_complete(ended)
    else:
        assert NAME in ended.of(NAME).message
        trial.check_all_but(*([] if what in UNSENDABLE else [NAME]))  # it was written by then
    trial.resume()


@pytest.mark.parametrize("what", ["segmentation fault", "sys.exit"])
def test_file_that_has_failed_in_a_program_is_made_up_for_in_another(trial: Trial, what: str):
    ended = trial.run(Fault(ALL[what].deed, ALL[what].point, NAME))
    trial.observe_run(what, ended, NAME)
    assert ended.returncode == 0
    trial.check_all_but(NAME)
    trial.resume()


def test_program_that_a_hook_leaves_behind_ends_with_the_run(trial: Trial):
    note = trial.night.folder / "program"
    ended = trial.run_here(Fault(mischief.LeaveProgram(note), "mid-write", NAME))
    trial.observe_run("leaves a child process running", ended, NAME)
    assert mischief.has_gone(int(note.read_text()))
    trial.check_complete(ended)
    trial.resume()


def check_metadata_comes_back(trial: Trial, what: str, give: Give, n_again: int) -> str:
    """Check that metadata is there, and still when resumed; return what was warned of."""
    fault = Fault(give, "in post_process", NAME)
    ended = trial.run_here(fault)
    trial.observe_run(what, ended, NAME)
    assert ended.of(NAME).meta["given"] == give(NAME)
    assert {account.brief() for account in ended.accounts} == {"written"}
    resumed = trial.run_here(fault)
    assert resumed.accounts == ended.accounts
    assert trial.night.passed("before read").count(NAME) == 1 + n_again
    trial.observe("again", n_again)
    trial.observe("resumed", "as before")
    return ended.stderr


def test_large_metadata_arrives(trial: Trial):
    give = Give(bytes, (SIZES.meta_bytes,))
    what = f"metadata of {SIZES.meta_bytes / 1e6:.0f} MB"
    warned = check_metadata_comes_back(trial, what, give, 0)
    assert "MiB in the journal" in warned


def test_metadata_without_a_safe_form_is_made_anew_when_resumed(trial: Trial):
    what = "metadata that a journal cannot keep"
    warned = check_metadata_comes_back(trial, what, Give(Odd), 1)
    assert "'given'" in warned
