"""Scripts by which shells complete arguments, in those shells that are there."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from bigpipe.cli import main
from bigpipe.flags import flag_of
from bigpipe.options import NAMES


@pytest.fixture
def script(capsys, request):
    """A function that returns the script for a shell, which must be there."""

    def made(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return made


def said(shell, text, *arguments):
    ran = subprocess.run(
        [shell, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    return ran.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_has_every_command_and_flag(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("run", "plan", "demo", "status", "completion"):
        assert word in text
    for name in NAMES:
        assert flag_of(name)[2:] in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_can_read_its_script(shell, script, tmp_path):
    path = tmp_path / "script"
    path.write_text(script(shell))
    assert said(shell, "", "-n", str(path)) == ""


BASH = """
{script}
COMP_WORDS=({words}); COMP_CWORD={last}
_bigpipe
echo "${{COMPREPLY[@]}}"
"""
ASKED = [
    (["bigpipe", "pl"], ["plan"]),
    (["bigpipe", "run", "--outd"], ["--outdir"]),
    (["bigpipe", "run", "--executor", "t"], ["threads"]),
    (["bigpipe", "plan", "x.py", "--on-error", "f"], ["finish"]),
    (["bigpipe", "run", "--format", "e"], ["ecsv"]),
    (["bigpipe", "completion", "z"], ["zsh"]),
]


@pytest.mark.parametrize(("words", "answer"), ASKED, ids=[" ".join(words) for words, _ in ASKED])
def test_bash_completes(words, answer, script):
    text = BASH.format(script=script("bash"), words=" ".join(words), last=len(words) - 1)
    assert said("bash", text, "--norc").split() == answer


@pytest.mark.parametrize(("words", "answer"), ASKED, ids=[" ".join(words) for words, _ in ASKED])
def test_fish_completes(words, answer, script):
    text = f"{script('fish')}\ncomplete -C '{' '.join(words)}'\n"
    answers = [line.partition("\t")[0] for line in said("fish", text, "--no-config").splitlines()]
    assert answers == answer


def test_zsh_takes_the_script_for_a_completion(script):
    text = f"autoload -U compinit; compinit -u -D\n{script('zsh')}\nprint $_comps[bigpipe]\n"
    assert said("zsh", text, "-f").strip() == "_bigpipe"
