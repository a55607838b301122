"""The commands that show a journal, and the one that removes leftovers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bigpipe
from bigpipe import no_outfile
from bigpipe.cli import main
from bigpipe.outputs import Stager
from tests.pipes import Doubler, fail
from tests.programs import run_python

ROOT = Path(bigpipe.__file__).parents[1]


@pytest.fixture
def night(make_files, tmp_path):
    """A journal of three files, the second of which failed, and their names."""
    names = make_files(3)
    (tmp_path / "out").mkdir()
    Doubler(outdir=tmp_path / "out", journal=tmp_path / "night1.bigpipe").pipeline(
        names,
        trouble={("data_process", "001.bin"): fail},
        on_error="return",
        executor="serial",
        flat="flat.fits",
    )
    return str(tmp_path / "night1.bigpipe"), names


def test_status_tells_how_far_a_run_is(night, capsys):
    journal, _ = night
    assert main(["status", journal]) == 0
    told = capsys.readouterr().out
    assert f"{journal}: 1 run; the last, of tests.pipes.Doubler, began" in told
    assert "and finished" in told
    assert "3 of 3 files ended: 2 written, 1 failed" in told


def test_status_tells_of_a_run_that_was_killed(tmp_path, capsys):
    code = """
import os, signal
from bigpipe import no_outfile
from tests.pipes import Doubler
open("a", "w").close(), open("b", "w").close()
pipe = Doubler(journal="j", post_process_list=no_outfile, executor="serial")
for result in pipe.iter_pipeline(["a", "b"], ordered=True):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    run_python("-c", code, cwd=tmp_path)
    assert main(["status", str(tmp_path / "j")]) == 0
    told = capsys.readouterr().out
    assert "was killed" in told
    assert "of 2 files ended" in told


@pytest.mark.parametrize(
    ("arguments", "told", "not_told"),
    [
        ([], "data_process raised ValueError on '{name}'", "Traceback"),
        (["--traceback"], "ValueError: 001.bin is no good", "nothing of this"),
        (["--names"], "{name}\n", "raised"),
        (["-0"], "{name}\0", "\n"),
    ],
    ids=["lines", "tracebacks", "names", "names with NUL"],
)
def test_errors_are_shown_and_told_by_the_exit_code(night, capsys, arguments, told, not_told):
    journal, names = night
    assert main(["errors", journal, *arguments]) == 1
    out, err = capsys.readouterr()
    assert told.format(name=names[1]) in out
    assert not_told not in out
    is_list = arguments in (["--names"], ["-0"])
    assert err == ("" if is_list else "1 file failed\n  1 x ValueError in data_process\n")


def test_run_without_errors_has_none_to_show(make_files, tmp_path, capsys):
    journal = tmp_path / "j"
    pipe = Doubler(journal=journal, post_process_list=no_outfile, executor="serial")
    pipe.pipeline(make_files(1))
    assert main(["errors", str(journal)]) == 0
    assert capsys.readouterr().out == ""


def test_output_is_traced_by_the_journals_around_it(night, tmp_path, monkeypatch, capsys):
    _, names = night
    (tmp_path / "damaged.bigpipe").write_bytes(b"no journal at all")
    monkeypatch.chdir(tmp_path / "out")
    assert main(["trace", "000_bmp.bin"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(tmp_path / "out" / "000_bmp.bin")
    assert lines[1].endswith(", unchanged")
    assert lines[2] == f"  from {names[0]!r}"
    assert lines[3] == f"    {names[0]}, 8 B"
    assert lines[4].startswith("  by tests.pipes.Doubler, run 1 on ")
    block = lines[lines.index("  keywords") :]
    assert any(line.split() == ["flat", "'flat.fits'"] for line in block)
    block = lines[lines.index("  versions") :]
    assert any(line.split() == ["bigpipe", bigpipe.__version__] for line in block)


def test_output_that_looks_like_a_flag_is_traced(night, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "--", "-a.npy"]) == 2
    assert f"no journal has the output '{tmp_path}/-a.npy'" in capsys.readouterr().err


def test_trace_tells_what_has_changed_since(night, tmp_path, capsys):
    journal, names = night
    output = tmp_path / "out" / "000_bmp.bin"
    output.unlink()
    Path(names[0]).write_bytes(b"other")
    assert main(["trace", str(output), "--journal", journal]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(", removed since")
    assert lines[3].endswith("8 B, changed since")


def test_trace_tells_of_the_journal_whose_run_wrote_the_output_last(night, tmp_path, capsys):
    _, names = night
    for journal in ("aa.bigpipe", "zz.bigpipe"):  # the night's is called otherwise
        pipe = Doubler(journal=tmp_path / "out" / journal, outdir=str(tmp_path / "out"))
        pipe.pipeline(names[:1], executor="serial", level=journal)
    assert main(["trace", str(tmp_path / "out" / "000_bmp.bin")]) == 0
    said = capsys.readouterr().out
    assert "zz.bigpipe" in said
    assert ", unchanged" in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["status", "none"], "there is no journal"),
        (["status", "."], "'.' is a folder: give the name of a journal"),
        (["errors", "{names[0]}"], "not a journal"),
        (["trace", "elsewhere"], "no journal has the output"),
        (["trace", "elsewhere", "--journal", "{journal}"], "has no record of"),
        (["clean", "none"], "is not a folder"),
    ],
    ids=["no journal", "a folder", "another file", "unknown", "unknown to this", "no folder"],
)
def test_what_cannot_be_told_is_said(night, capsys, arguments, told):
    journal, names = night
    arguments = [argument.format(journal=journal, names=names) for argument in arguments]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert out == ""


def test_clean_removes_what_killed_runs_have_left_and_nothing_in_use(tmp_path, capsys):
    code = """
import os, signal, sys
from bigpipe.outputs import Stager
staged = Stager().open(sys.argv[1], [])
open(staged.path, "w").close()
os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "a" / "b").mkdir(parents=True)
    stager = Stager()
    staged = stager.open(str(tmp_path / "in_use.fits"), [])
    Path(staged.path).touch()
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        arguments = [sys.executable, "-c", code, str(folder / "out.fits")]
        subprocess.run(arguments, cwd=ROOT, check=False, timeout=100)
    assert main(["clean", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert sorted(line.split()[0] for line in out.splitlines()) == ["kept", "removed", "removed"]
    assert "1 kept" in err
    staged.commit(staged.path)
    stager.close()
    assert main(["clean", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "no leftovers of killed runs remain\n")
    assert not (tmp_path / "a" / "out.fits").exists()
    assert (tmp_path / "in_use.fits").exists()
