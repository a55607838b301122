"""``bigpipe completion``: scripts that let shells complete the command's arguments.

Owns the scripts. They are made from the parser, so they know every flag.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["SHELLS", "add"]

_HOW = """\
Print a script that lets a shell complete the arguments of bigpipe. Load it in

  ~/.bashrc                    eval "$(bigpipe completion bash)"
  ~/.zshrc, after compinit     eval "$(bigpipe completion zsh)"
  ~/.config/fish/config.fish   bigpipe completion fish | source
"""


@dataclass(frozen=True)
class _Flag:
    """A flag of a command."""

    strings: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]


@dataclass(frozen=True)
class _Command:
    name: str
    help: str
    flags: tuple[_Flag, ...]
    choices: tuple[str, ...]  # of the positional argument; empty if it is a file


def add(commands: argparse._SubParsersAction[Any], parser: argparse.ArgumentParser) -> None:
    """Add the command.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    parser : argparse.ArgumentParser
        The parser of the whole command.
    """
    completion = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete arguments",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=tuple(SHELLS), help="the shell")
    completion.set_defaults(run=partial(_print, commands, parser))


def _print(commands: Any, parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    print(SHELLS[arguments.shell](list(_commands_of(commands))))
    return 0


def _commands_of(commands: Any) -> Iterator[_Command]:
    helps = {action.dest: action.help or "" for action in commands._get_subactions()}
    for name, parser in commands.choices.items():
        flags = tuple(_flag_of(action) for action in parser._actions if action.option_strings)
        words = [
            x for action in parser._actions if not action.option_strings for x in _words(action)
        ]
        yield _Command(name, helps.get(name, ""), flags, tuple(words))


def _flag_of(action: argparse.Action) -> _Flag:
    text = re.split(r" \(default|[.;:]( |$)", (action.help or "").replace("%%", "%"))[0]
    return _Flag(tuple(action.option_strings), text, action.nargs != 0, tuple(_words(action)))


def _words(action: argparse.Action) -> list[str]:
    """Return the values an argument may have: its choices, or those that its metavar lists."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return metavar[1:-1].split(",") if metavar.startswith("{") else []


def _bash(commands: list[_Command]) -> str:
    values, flags = [], []
    for command in commands:
        for flag in command.flags:
            for string in flag.strings if flag.choices else ():
                values.append(_bash_case(f"{command.name}:{string}", flag.choices))
        strings = [string for flag in command.flags for string in flag.strings]
        flags.append(_bash_case(f"{command.name}:-*", strings))
        if command.choices:
            flags.append(_bash_case(f"{command.name}:*", command.choices))
    names = " ".join(command.name for command in commands)
    lines = [
        "_bigpipe() {",
        '    local current=${COMP_WORDS[COMP_CWORD]} words=""',
        "    COMPREPLY=()",
        "    if [[ $COMP_CWORD -eq 1 ]]; then",
        f'        words="{names}"',
        "    else",
        "        case ${COMP_WORDS[1]}:${COMP_WORDS[COMP_CWORD-1]} in",
        *values,
        "        esac",
        "        if [[ -z $words ]]; then case ${COMP_WORDS[1]}:$current in",
        *flags,
        "        esac; fi",
        "    fi",
        '    if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); fi',
        "}",
        "complete -o bashdefault -o default -F _bigpipe bigpipe",
    ]
    return "\n".join(lines)


def _bash_case(pattern: str, words: Any) -> str:
    return f'            {pattern}) words="{" ".join(words)}" ;;'


def _zsh(commands: list[_Command]) -> str:
    described = [_quoted(f"{each.name}:{each.help}") for each in commands]
    cases = []
    for command in commands:
        specs = [_zsh_spec(flag, string) for flag in command.flags for string in flag.strings]
        words = f":word:({' '.join(command.choices)})" if command.choices else "*:file:_files"
        cases.append(f"        {command.name}) _arguments {' '.join([*specs, _quoted(words)])} ;;")
    lines = [
        "#compdef bigpipe",
        "_bigpipe() {",
        f"    local -a commands=({' '.join(described)})",
        "    if (( CURRENT == 2 )); then _describe command commands; return; fi",
        "    local command=$words[2]",
        "    shift words; (( CURRENT-- ))",
        "    case $command in",
        *cases,
        "    esac",
        "}",
        'if [[ $funcstack[1] == _bigpipe ]]; then _bigpipe "$@"; else compdef _bigpipe bigpipe; fi',
    ]
    return "\n".join(lines)


def _zsh_spec(flag: _Flag, string: str) -> str:
    text = re.sub(r"([\[\]:])", r"\\\1", flag.help)
    value = f":value:({' '.join(flag.choices)})" if flag.choices else ":value:_files"
    return _quoted(f"*{string}[{text}]{value if flag.takes_value else ''}")


def _fish(commands: list[_Command]) -> str:
    lines = []
    for command in commands:
        name = command.name
        lines.append(
            f"complete -c bigpipe -n __fish_use_subcommand -f -a {name} -d {_quoted(command.help)}"
        )
        for flag in command.flags:
            lines.append(_fish_line(name, flag))
        if command.choices:
            words = _quoted(" ".join(command.choices))
            lines.append(f"complete -c bigpipe -n {_fish_seen(name)} -f -a {words}")
    return "\n".join(lines)


def _fish_seen(name: str) -> str:
    return _quoted(f"__fish_seen_subcommand_from {name}")


def _fish_line(command: str, flag: _Flag) -> str:
    parts = ["complete -c bigpipe -n", _fish_seen(command)]
    for string in flag.strings:
        parts += ["-l", string[2:]] if string.startswith("--") else ["-s", string[1:]]
    if flag.choices:
        parts += ["-x", "-a", _quoted(" ".join(flag.choices))]
    elif flag.takes_value:
        parts.append("-r")
    return " ".join([*parts, "-d", _quoted(flag.help)])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
