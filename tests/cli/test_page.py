"""The page about commands shows what they print."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checked import BLOCK, FLAGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.rst").read_text("utf-8")
CAPTIONED = re.compile(r"code-block:: \w+\n +:caption: (\S+)\n((?:\n| +.*\n)+)")
SECONDS = re.compile(r"\b\d+\.\d+(e-\d+)?\b|\b\d+e-\d+\b")
CONSOLE = re.compile(r"code-block:: console\n((?:\n| +.*\n)+)")


def dedented(text):
    return re.sub(r"^    ", "", text.strip("\n"), flags=re.MULTILINE) + "\n"


@pytest.mark.process
def test_commands_print_what_is_shown(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "bigpipe"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bigpipe "$@"\n')
    program.chmod(0o755)
    for name, text in CAPTIONED.findall(PAGE):
        (tmp_path / name).write_text(dedented(text))
    setup = BLOCK.search(PAGE)["code"]
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def output_of(*command):
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    output_of(sys.executable, "-c", dedented(setup))
    shell_blocks = [dedented(text).partition("\n") for text in CONSOLE.findall(PAGE)]
    assert len(shell_blocks) > 5
    checker = doctest.OutputChecker()
    for command, _, text in shell_blocks:
        printed = SECONDS.sub("0.1", output_of("sh", "-c", command.removeprefix("$ ")))
        shown = SECONDS.sub("0.1", text)
        example = doctest.Example(command, shown)
        assert checker.check_output(shown, printed, FLAGS), checker.output_difference(
            example, printed, FLAGS
        )
