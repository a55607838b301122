"""Inputs that are missing, damaged, unreadable, oddly named, or given under two names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.deeds import CutShort, RemoveFile
from tests.faults.night import Fault
from tests.faults.places import as_anyone
from tests.faults.trial import Trial

pytestmark = pytest.mark.process

NAME = "005.bin"


# Inputs that cannot be read.


def removed(path: Path) -> None:
    path.unlink()


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncated(path: Path) -> None:
    os.truncate(path, 42)


def a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def on_a_bad_disk(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")  # can be opened, and not be read


BAD = {
    "missing": (removed, "FileNotFoundError"),
    "a directory": (a_directory, "IsADirectoryError"),
    "truncated": (truncated, "EOFError"),
    "a dangling link": (a_link_to_nowhere, "FileNotFoundError"),
    "a link to itself": (a_link_to_itself, "OSError"),
    "input/output error": (on_a_bad_disk, "OSError"),
}


def check_input_fails_alone(trial: Trial, fault: str, spoil: Callable[[Path], None]) -> None:
    """Spoil an input, run; then put it back, and resume."""
    path = trial.night.folder / "in" / NAME
    names = trial.night.names()
    content = path.read_bytes()
    spoil(path)
    ended = trial.run_here(names=names)
    trial.observe_run(fault, ended, NAME)
    assert ended.of(NAME).brief() == f"failed: {BAD[fault][1]} in file_read"
    assert NAME in ended.of(NAME).message
    assert {account.brief() for account in ended.but(NAME)} == {"written"}
    trial.check_all_but(NAME)
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    trial.resume(names=names)


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_fails_alone_and_is_made_up_for_when_it_is_good(trial: Trial, fault: str):
    if fault == "input/output error" and sys.platform != "linux":
        pytest.skip("only Linux has a file that cannot be read by anyone")
    check_input_fails_alone(trial, fault, BAD[fault][0])


def test_input_that_may_not_be_read_fails_alone(trial: Trial):
    path = trial.night.folder / "in" / NAME
    path.chmod(0)
    ended = trial.run(prefix=as_anyone())
    path.chmod(0o600)
    trial.observe_run("unreadable", ended, NAME)
    assert ended.of(NAME).brief() == "failed: PermissionError in file_read"
    trial.check_all_but(NAME)
    trial.resume()


def test_empty_input_is_an_input(trial: Trial):
    (trial.night.folder / "in" / NAME).write_bytes(b"")
    ended = trial.run_here()
    trial.observe_run("empty", ended, NAME)
    assert (trial.night.out / "005_bmp.bin").read_bytes() == b""
    trial.check_complete(ended)
    trial.resume()


@pytest.mark.parametrize("how", ["removed", "truncated"])
def test_input_that_changes_after_it_was_listed_fails_alone(trial: Trial, how: str):
    path = trial.night.folder / "in" / NAME
    names = trial.night.names()
    content = path.read_bytes()
    deed = RemoveFile(path) if how == "removed" else CutShort(path, 42)
    ended = trial.run_here(Fault(deed, "before read", NAME), names=names)
    trial.observe_run(f"{how} between listing and reading", ended, NAME)
    assert ended.of(NAME).cause == {"removed": "FileNotFoundError", "truncated": "EOFError"}[how]
    path.write_bytes(content)
    trial.resume(names=names)


def test_input_that_changes_after_it_was_processed_is_processed_again(trial: Trial):
    path = trial.night.folder / "in" / NAME
    trial.run_here()
    path.write_bytes(b"new\n")
    ended = trial.run_here()
    trial.observe_run("changed between two runs", ended, NAME)
    trial.check_complete(ended)
    assert (trial.night.out / "005_bmp.bin").read_bytes() == b"new\nnew\n"
    assert len(trial.night.passed("before read")) == len(trial.night.names()) + 1
    trial.observe("again", 1)
    trial.observe("resumed", "as a serial run")


# Names.


@dataclass(frozen=True)
class Name:
    """An odd base name."""

    name: bytes
    is_too_long: bool = False
    """Whether the output's name, which is longer, would be too long."""


NAMES = {
    "newline in the name": Name(b"a\nb.bin"),
    "surrogate in the name": Name(b"\xe9toile.bin"),
    "leading dash": Name(b"--help.bin"),
    "leading dot": Name(b".bin"),
    "255 bytes in the name": Name(b"n" * 251 + b".bin", is_too_long=True),
    "percent and braces": Name(b"%s{0}$HOME`.bin"),
    "spaces and a quote": Name(b" ' \".bin "),
}


@pytest.fixture
def odd(request: pytest.FixtureRequest, trial: Trial) -> str:
    """Make an input of an odd name; return that."""
    name = os.fsdecode(NAMES[request.param].name)
    try:
        (trial.night.folder / "in" / name).write_bytes(b"odd\n" * 100)
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error}")
    return name


@pytest.mark.parametrize("odd", NAMES, indirect=True)
@pytest.mark.parametrize("appended", ["", "_bmp"], ids=["same name", "longer name"])
def test_oddly_named_input_is_processed_and_not_again(
    trial: Trial, odd: str, appended: str, request: pytest.FixtureRequest
):
    what = request.node.callspec.params["odd"]
    ended = trial.run_here(outname_append=appended)
    trial.observe_run(what, ended, odd)
    if NAMES[what].is_too_long and appended:
        assert ended.of(odd).brief() == "failed: OSError in file_write"
        assert "too long" in ended.of(odd).message
        trial.check_all_but(odd)
        (trial.night.folder / "in" / odd).unlink()
    else:
        trial.check_complete(ended, outname_append=appended)
    trial.resume(outname_append=appended)


# Two names for one file.


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic link", "hard link"])
def test_file_with_two_names_makes_two_outputs(trial: Trial, link: Callable[[str, str], None]):
    folder = trial.night.folder / "in"
    link(folder / NAME, folder / "other.bin")
    ended = trial.run_here()
    trial.observe_run(f"two names for one file: {link.__name__}", ended, "other.bin")
    trial.check_complete(ended)
    trial.resume()


@pytest.mark.parametrize("way", ["in/../in", "link"])
def test_one_name_in_two_ways_makes_one_output_and_one_error(trial: Trial, way: str):
    """Also in a resumed run: the output of one input does not count for the other."""
    folder = trial.night.folder
    (folder / "link").symlink_to("in")
    names = [*trial.night.names(), str(folder / way / NAME)]
    briefs = ["failed: CollisionError in file_write", *["written"] * len(trial.night.names())]
    for _ in range(2):
        ended = trial.run_here(names=names)
        assert sorted(account.brief() for account in ended.accounts) == briefs
        assert {account.name for account in ended.accounts if account.cause} == {NAME}
        trial.check_all_but()
    trial.observe_run(f"one file given twice: {way}", ended)
    trial.observe("file", "written once")
    trial.observe("resumed", "as before")
