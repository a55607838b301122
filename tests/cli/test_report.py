"""The commands ``bigpipe report`` and ``bigpipe watch``."""

from __future__ import annotations

import os

import pytest

from bigpipe.cli import main
from tests.pipes import Doubler, fail
from tests.programs import run_python


@pytest.fixture
def journal(make_files, tmp_path):
    """The journal of a run, in a folder of its own."""
    for name in ("out", "notes"):
        (tmp_path / name).mkdir()
    path = tmp_path / "notes" / "night.bigpipe"
    pipe = Doubler(outdir=tmp_path / "out", journal=path, executor="serial", on_error="return")
    names = make_files(3)
    pipe.pipeline(names[:1])
    pipe.pipeline(names, trouble={("file_read", "002.bin"): fail}, fingerprint="1")
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_page_is_written_beside_the_journal(journal, capsys):
    assert main(["report", str(journal)]) == 0
    assert names_in(journal.parent) == ["night.bigpipe", "night.html"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"wrote {journal.with_suffix('.html')}\n")


def test_each_form_is_written_where_it_is_asked_for(journal, tmp_path, capsys):
    folder = tmp_path / "all"
    folder.mkdir()
    names = ("-o", "run.html"), ("--trace", "trace.json"), ("--csv", "files.csv")
    asked = [x for option, name in names for x in (option, str(folder / name))]
    assert main(["report", str(journal), "--run", "1", *asked]) == 0
    assert names_in(folder) == ["files.csv", "run.html", "trace.json"]
    assert len((folder / "files.csv").read_text().splitlines()) == 2
    assert names_in(journal.parent) == ["night.bigpipe"]


def test_table_alone_can_go_to_a_pipe(journal):
    ran = run_python("-m", "bigpipe", "report", journal, "--csv", "/dev/stdout", is_to_succeed=True)
    assert len(ran.stdout.splitlines()) == 4
    assert names_in(journal.parent) == ["night.bigpipe"]


def test_reader_of_a_table_that_leaves_early_is_told_apart_from_a_mistake(journal):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        arguments = ("report", journal, "--csv", f"/dev/fd/{writing}")
        ran = run_python("-m", "bigpipe", *arguments, pass_fds=[writing])
    finally:
        os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report", "none"], "there is no journal"),
        (["watch", "none"], "there is no journal"),
        (["report", "{journal}", "--run", "7"], "has no run 7"),
        (["report", "{journal}", "-o", "{journal}"], "is a journal: give the report"),
        (
            ["report", "{journal}", "-o", "no/folder/run.html"],
            "the folder of this file does not exist; make it first",
        ),
        (["watch", "{journal}", "--interval", "0"], "not between"),
    ],
    ids=["no journal", "nothing to watch", "no run", "over the journal", "no folder", "interval"],
)
def test_mistake_is_answered_without_a_traceback(journal, arguments, told, capsys):
    assert main([argument.format(journal=journal) for argument in arguments]) == 2
    assert told in capsys.readouterr().err


def test_exit_code_of_watch_tells_that_files_failed(journal, capsys):
    assert main(["watch", str(journal)]) == 1
    assert "3 of 3 files, 1 failed" in capsys.readouterr().out
