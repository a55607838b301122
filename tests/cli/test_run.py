"""``bigpipe run`` and ``bigpipe plan`` from their arguments to their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bigpipe.cli import main

ROOT = Path(__file__).parents[2]
REDUCE = "code/reduction.py:Reduce"
HERE = ("--outdir", "out", "--executor", "serial", "--no-progress")


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "bigpipe", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def table(text):
    head, *rows = [line.split() for line in text.splitlines()]
    return [dict(zip(head, row, strict=False)) for row in rows]


def test_class_of_a_script_is_run_over_files(folder, capsys):
    assert main(["run", REDUCE, *HERE, "raw/0.npy", "raw/1.npy"]) == 0
    captured = capsys.readouterr()
    rows = table(captured.out)
    assert [row["in_name"] for row in rows] == ["raw/0.npy", "raw/1.npy"]
    assert [row["outcome"] for row in rows] == ["written"] * 2
    assert np.load(rows[1]["outname"]).max() == 11
    assert "2 files: 2 written" in captured.err


def test_flags_may_stand_anywhere(folder, capsys):
    arguments = ["--outdir=out", REDUCE, "--executor", "serial", "raw/0.npy", "-0", "raw/1.npy"]
    assert main(["run", *arguments, "--no-progress"]) == 0
    assert len(table(capsys.readouterr().out)) == 2


def test_function_is_run(folder, capsys):
    assert main(["run", "code/reduction.py:double", *HERE, "raw/1.npy", "--set", "factor=5"]) == 0
    assert np.load("out/1_bmp.npy").max() == 5


@pytest.mark.parametrize("form", ["table", "csv", "json", "ecsv"])
def test_group_is_run_and_shown_with_its_members(form, folder, capsys):
    names = ["--outname", "mean.npy", "--format", form]
    assert main(["run", "code/reduction.py:mean", *HERE, "--group", "raw/[12].npy", *names]) == 0
    assert np.load("out/mean.npy").max() == 1.5
    assert '["raw/1.npy", "raw/2.npy"]' in capsys.readouterr().out.replace('""', '"')


def test_plan_knows_groups(folder, capsys):
    assert (
        main(["plan", "code/reduction.py:mean", *HERE, "--group", "raw/0.npy", "raw/[12].npy"]) == 0
    )
    assert "2 files: 2 to run" in capsys.readouterr().out


def test_object_is_run_with_what_it_was_made_with(folder, capsys):
    assert main(["run", "code/reduction.py:pipe", "raw/1.npy", "--num-processes", "1"]) == 0
    assert np.load("out/1_bmp.npy").max() == 2


def test_keywords_reach_the_constructor_that_names_them_and_the_hooks(folder, capsys):
    sets = ["--set", "scale=3", "--set", "limit=5"]
    assert main(["run", REDUCE, *HERE, "raw/1.npy", *sets]) == 0
    assert np.load("out/1_bmp.npy").max() == 13


def test_functions_of_the_script_can_be_options(folder, capsys):
    note = ["--post-process-list", "code/reduction.py:note", "--format", "json"]
    assert main(["run", REDUCE, *HERE, "raw/1.npy", *note]) == 0
    meta = json.loads(capsys.readouterr().out)["meta"]
    assert meta == {"max": 11.0, "shape": [2, 2], "sky": {"level": 7}}


def test_pipeline_that_returns_a_plain_list_gives_the_same_table(folder, capsys):
    assert main(["run", "code/reduction.py:Planless", *HERE, "raw/1.npy"]) == 0
    [row] = table(capsys.readouterr().out)
    assert (row["in_name"], row["outname"]) == ("raw/1.npy", "out/1_bmp.npy")


def test_failed_files_give_exit_code_1_and_one_traceback_of_each_kind(folder, capsys):
    assert main(["run", REDUCE, *HERE, "raw", "--glob", "*.npy", "--set", "limit=0"]) == 1
    captured = capsys.readouterr()
    assert [row["outcome"] for row in table(captured.out)] == ["written", "failed", "failed"]
    assert captured.err.count('raise ValueError("too bright")') == 1
    assert captured.err.count("data_process raised ValueError") == 1
    assert "2 x ValueError in data_process, first: data_process raised" in captured.err
    assert "3 files: 1 written, 2 failed" in captured.err


def test_first_error_that_ends_the_run_gives_exit_code_1(folder, capsys):
    arguments = ["raw", "--glob", "*", "--set", "limit=0", "--on-error", "raise"]
    assert main(["run", REDUCE, *HERE, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("data_process raised ValueError on 'raw/1.npy': too bright") == 1
    assert captured.err.endswith("bigpipe: stopped at this failure, because of --on-error raise\n")


def test_failures_of_more_kinds_than_fit_are_counted(folder, capsys):
    code = "KINDS = [type(f'Kind{i}Error', (Exception,), {}) for i in range(10)]\n"
    code += "def fail(data):\n    raise KINDS[int(data[0])]('no good')\n"
    Path("failing.py").write_text(code)
    for i in range(10):
        np.save(f"raw/{i}.npy", np.array([i]))
    assert main(["run", "failing.py:fail", *HERE, "raw/*.npy"]) == 1
    said = capsys.readouterr().err
    assert said.count("1 x Kind") == 8
    assert said.count("Traceback") == 3
    assert "and 2 more kinds of failure" in said


def test_run_that_is_stopped_for_its_errors_says_so(folder, capsys):
    arguments = ["raw", "--glob", "*", "--set", "limit=0", "--max-errors", "1"]
    assert main(["run", REDUCE, *HERE, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].endswith("and --max-errors=1 allows no more")
    assert "failed" in captured.out


@pytest.mark.parametrize("name", ["run", "plan"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no target given"),
        ([REDUCE], "no inputs given"),
        (["nowhere.py:x", "a"], "no script 'nowhere.py'"),
        ([REDUCE, "raw"], "'raw' is a folder: choose its files"),
        ([REDUCE, "raw/*.fits"], "no file matches 'raw/*.fits'"),
        (
            [REDUCE, "a", "--outdri", "x"],
            "unrecognized arguments: --outdri x; did you mean --outdir",
        ),
        ([REDUCE, "a", "--mem-frac", "0"], "argument --mem-frac: 0 is not above zero"),
        ([REDUCE, "a", "--set", "limit"], "write --set name=value"),
        ([REDUCE, "a", "--set", "mem_frac=1"], "is an option, not a keyword: give --mem-frac"),
        ([REDUCE, "a", "--config", "nowhere.toml"], "cannot read 'nowhere.toml'"),
        ([REDUCE, "a", "--order", "code/reduction.py:nothing"], "has no nothing"),
        ([REDUCE, "a", "--process-size", "2 X"], "--process-size: '2 X' has no known unit"),
        (["code/reduction.py:night", "a"], "is an int: name a subclass or object"),
        (["code/reduction.py:Demanding", "a"], "needs --set night=..."),
        (["code/reduction.py:Broken", "a"], "raised ValueError: no catalogue"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_cannot_be_done_is_answered_with_exit_code_2(name, arguments, message, folder, capsys):
    assert main([name, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert captured.out == ""
    assert not any(Path("out").iterdir())


def test_file_that_looks_like_a_flag_can_be_named(folder, capsys):
    os.rename("raw/1.npy", "-1.npy")
    assert main(["run", REDUCE, *HERE, "-1.npy"]) == 2
    assert "unrecognized arguments: -1.npy; if you mean the file, write ./-1.npy" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main(["run", REDUCE, *HERE, "./-1.npy"]) == 0
    assert main(["run", REDUCE, *HERE, "--", "-1.npy"]) == 0


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--nums", "; did you mean --num-processes?"),
        ("-j", "; did you mean --num-processes?"),
        ("--n-jobs=4", "; did you mean --num-processes?"),
        ("--mem", "; did you mean --mem-available or --mem-frac?"),
        ("--timeout", "; did you mean --file-timeout?"),
        ("--create_outdir", "; did you mean --create-outdir?"),
        ("-o", "; did you mean --outdir?"),
        ("--dry-run", "; did you mean bigpipe plan?"),
        ("--sigma-clip=3", "; if it is a keyword of the hooks, write --set sigma_clip=..."),
        ("-x", "unrecognized arguments: -x"),
    ],
)
def test_flag_that_is_unknown_is_answered_with_the_one_meant(flag, hint, folder, capsys):
    assert main(["run", REDUCE, "raw/1.npy", flag]) == 2
    assert capsys.readouterr().err.rstrip().endswith(hint)


def test_hint_is_a_flag_of_the_same_command(folder, capsys):
    assert main(["report", "one.bigpipe", "--out", "x"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("--out x; did you mean --output?")
    assert main(["report", "one.bigpipe", "-j"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("unrecognized arguments: -j")


def test_file_too_many_is_not_taken_for_a_flag(folder, capsys):
    assert main(["status", "one.bigpipe", "code/reduction.py"]) == 2
    assert capsys.readouterr().err.endswith("unrecognized arguments: code/reduction.py\n")


def test_error_in_the_script_is_shown_where_it_is(folder, capsys):
    Path("broken.py").write_text("x = 1\n1 / 0\n")
    assert main(["run", "broken.py:x", "a"]) == 2
    error = capsys.readouterr().err
    assert 'broken.py", line 2' in error
    assert "bigpipe: error: broken.py cannot be imported: ZeroDivisionError" in error
    assert "references.py" not in error


def test_warning_of_bigpipe_is_one_line(folder, capsys):
    with pytest.warns(UserWarning, match="no function takes the keyword 'facter'"):
        main(["run", "code/reduction.py:double", *HERE, "raw/1.npy", "--set", "facter=5"])


# Plan.


def test_plan_prints_what_would_be_done_and_runs_nothing(folder, capsys):
    assert main(["plan", REDUCE, *HERE, "raw/*.npy"]) == 0
    assert "3 files: 3 to run" in capsys.readouterr().out
    assert not any(Path("out").iterdir())


def test_plan_has_exit_code_1_if_something_is_in_the_way(folder, capsys):
    assert main(["plan", REDUCE, "--outdir", "nowhere", "raw/1.npy", "raw/9.npy"]) == 1
    said = capsys.readouterr().out
    assert "the input is missing" in said
    assert said.splitlines()[-2].endswith("make it, or give --create-outdir")


# As a process.


@pytest.mark.process
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_only_results_are_on_standard_output(method, folder):
    workers = ("--executor", "processes", "--num-processes", "2", "--start-method", method)
    ran = command("run", REDUCE, "raw/*.npy", "--outdir", "out", *workers, "--format", "json")
    out, err = ran.communicate(timeout=100)
    assert ran.returncode == 0, err
    assert [json.loads(line)["outname"] for line in out.splitlines()] == [
        f"out/{i}_bmp.npy" for i in range(3)
    ]
    assert err.count("printed by") == 3
    assert err.count("echoed") == 3


@pytest.mark.process
def test_names_come_from_standard_input(folder):
    ran = command("run", REDUCE, "-", "-0", *HERE, "--format", "csv", stdin=subprocess.PIPE)
    out, err = ran.communicate("raw/0.npy\0raw/2.npy", timeout=100)
    assert ran.returncode == 0, err
    assert [line.partition(",")[0] for line in out.splitlines()[1:]] == ["raw/0.npy", "raw/2.npy"]


@pytest.mark.process
@pytest.mark.parametrize("form", ["table", "csv", "ecsv", "json"])
def test_name_that_is_no_text_is_printed(form, folder):
    name = "raw/\udcff.npy"
    np.save(name, np.ones(2))
    out, err = command("run", REDUCE, name, *HERE, "--format", form).communicate(timeout=100)
    assert r"raw/\udcff.npy" in out.replace("\\\\", "\\"), err


@pytest.mark.process
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_log_message_names_the_file_that_it_is_about(executor, folder):
    arguments = ("code/reduction.py:dim", "--outdir", "out", "--executor", executor, "raw/1.npy")
    _, err = command("run", *arguments).communicate(timeout=100)
    assert "'raw/1.npy': no signal\n" in err


@pytest.mark.process
def test_warning_has_no_line_of_code(folder):
    arguments = ("code/reduction.py:double", *HERE, "raw/1.npy", "--set", "facter=5")
    _, err = command("run", *arguments).communicate(timeout=100)
    assert "bigpipe: warning: no function takes the keyword 'facter'" in err
    assert "pout =" not in err


WAITING = """
import os, time
def wait(data):
    with open("begun", "w") as fifo:
        fifo.write("x")
    time.sleep(60)
    return data
"""


@pytest.mark.process
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_interruption_has_exit_code_130_and_no_traceback(executor, folder):
    Path("waiting.py").write_text(WAITING)
    os.mkfifo("begun")
    ran = command("run", "waiting.py:wait", "raw/1.npy", *HERE, "--executor", executor)
    with open("begun") as fifo:  # the file is in its hook
        fifo.read()
    ran.send_signal(signal.SIGINT)
    out, err = ran.communicate(timeout=100)
    assert ran.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.process
def test_reader_that_leaves_early_gets_no_traceback(folder):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "bigpipe", "run", REDUCE, "raw/1.npy", *HERE],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        os.close(writing)
    assert ran.returncode == 141
    assert "Traceback" not in ran.stderr


def run_with(streams, *arguments):
    """Run the command as a shell does that is told what to do with the standard streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "bigpipe", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize("names", [["raw/1.npy"], ["raw/1.npy", "raw/2.npy"]], ids=["one", "two"])
def test_closed_standard_output_costs_only_the_results(names, folder):
    ran = run_with(">&-", "run", REDUCE, *names, "--outdir", "out", "--num-processes", "2")
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
    assert f"{len(names)} written" in ran.stderr
    assert len(list(folder.glob("out/*.npy"))) == len(names)


@pytest.mark.process
@pytest.mark.parametrize("command", ["plan", "--help"])
def test_other_commands_do_without_standard_output_too(command, folder):
    arguments = [REDUCE, "raw/1.npy", *HERE] if command == "plan" else []
    ran = run_with(">&-", command, *arguments)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.process
def test_what_is_said_is_not_among_the_results_where_standard_error_is_closed(folder):
    ran = run_with("2>&-", "run", REDUCE, "raw/1.npy", *HERE, "--format", "json")
    assert ran.returncode == 0
    assert [json.loads(line)["in_name"] for line in ran.stdout.splitlines()] == ["raw/1.npy"]


@pytest.mark.process
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_results_that_find_no_room_are_said_in_one_line(folder):
    ran = run_with(">/dev/full", "run", REDUCE, "raw/1.npy", *HERE)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("bigpipe: error: cannot write to standard output")
