from __future__ import annotations

import os
from argparse import _SubParsersAction
from pathlib import Path
from typing import Any

import pytest

import bigpipe.demo
from bigpipe.cli import _make_parser, main
from tests.programs import run_python

SMALL = ("--frames", "1", "--shape", "64x64", "--num-processes", "1")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bigpipe ")


def test_help_is_printed_where_no_command_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_each_command_says_what_it_does_and_what_it_takes() -> None:
    [commands] = (
        action for action in _make_parser()._actions if isinstance(action, _SubParsersAction)
    )
    for name, parser in commands.choices.items():
        assert parser.description, name
        for action in parser._actions:
            assert action.help, (name, action.dest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nonsense"], "invalid choice", id="command"),
        pytest.param(["demo", "--shape", "100"], "is not of the form", id="shape"),
        pytest.param(["demo", "--frames", "many"], "invalid int", id="frames"),
        pytest.param(["demo", "--num-processes", "-1"], "--num-processes", id="processes"),
        pytest.param(["demo", "--num-processes", "x"], "'x' is not a number of", id="no number"),
        pytest.param(["watch", "--interval", "x", "j"], "'x' is not a number of s", id="interval"),
        pytest.param(["demo", "--input", "x", "--seed", "1"], "--seed applies", id="seed of input"),
        pytest.param(["demo", "--input", "nowhere"], "nowhere does not exist", id="input"),
        pytest.param(["demo", "--frames", "0"], "at least 1", id="no frames"),
    ],
)
def test_usage_mistake_is_answered_without_a_traceback(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not any(tmp_path.iterdir())


def test_folder_that_cannot_be_made_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", *SMALL, "--output", str(tmp_path / "file" / "out")]) == 2
    assert "--output" in capsys.readouterr().err


def test_demo_prints_results_on_stdout_and_stages_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *SMALL, "--output", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "1 of 1 light frame reduced" in captured.out
    assert "Reducing 1 light frame\n" in captured.err
    assert "Reducing" not in captured.out


def test_seed_decides_the_night(tmp_path: Path) -> None:
    for seed, name in (("1", "a"), ("1", "b"), ("2", "c")):
        assert main(["demo", *SMALL, "--seed", seed, "--output", str(tmp_path / name)]) == 0
    raw = [(tmp_path / name / "raw" / "light-001.fits").read_bytes() for name in "abc"]
    assert raw[0] == raw[1]
    assert raw[0] != raw[2]


def test_exit_code_tells_that_files_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *SMALL, "--output", str(tmp_path / "night")]) == 0
    raw = tmp_path / "night" / "raw"
    raw.rename(tmp_path / "frames")
    (tmp_path / "frames" / "broken.fits").write_text("broken")
    arguments = ["--input", str(tmp_path / "frames"), "--num-processes", "1"]
    assert main(["demo", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert "broken.fits: this is not a FITS file" in capsys.readouterr().out


def test_interruption_has_the_exit_code_of_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bigpipe.demo, "run_demo", interrupted)
    assert main(["demo", "--output", str(tmp_path)]) == 130


@pytest.mark.process
def test_demo_runs_as_a_module_in_workers(tmp_path: Path) -> None:
    arguments = ("--frames", "3", "--shape", "96x128", "--num-processes", "2")
    done = run_python("-m", "bigpipe", "demo", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 light frames reduced" in done.stdout
    assert len(list((tmp_path / "bigpipe-demo" / "reduced").glob("*.fits"))) == 3
    assert "Traceback" not in done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.process
def test_reader_that_leaves_early_gets_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_python("-m", "bigpipe", "demo", *SMALL, stdout=writing, cwd=tmp_path)
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_command_starts_without_loading_what_only_a_demo_needs() -> None:
    script = "import sys, bigpipe.cli as c; c.main(['--help']); print(*sys.modules, sep=chr(10))"
    done = run_python("-c", script)
    loaded = set(done.stdout.split())
    assert "bigpipe.cli" in loaded
    assert not loaded & {"numpy", "astropy", "bigpipe.demo"}
