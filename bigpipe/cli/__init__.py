"""The ``bigpipe`` command: reads arguments, calls what they ask for, tells how it ended.

Owns the parser, and the exit codes of what ends any command. Each command has a module here, which
imports what it needs when it is asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from bigpipe.cli import clean, completion, demo, journals, report, run
from bigpipe.cli.screen import INTERRUPTED, OK, READER_GONE, refuse
from bigpipe.errors import JournalError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``bigpipe`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if not given.

    Returns
    -------
    int
        Exit code: 0, all went well; 1, some files failed; 2, it cannot be done as asked;
        130, interrupted; 141, who read the output has left.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read the output has left. Python would complain again when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


def _run(argv: Sequence[str] | None) -> int:
    parser = _make_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # argparse has printed why
        return end.code if isinstance(end.code, int) else OK
    if arguments.run is None:
        parser.print_help()
        return OK
    try:
        code: int = arguments.run(arguments)
    except JournalError as error:
        return refuse(str(error))
    return code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bigpipe", description="Run a loop over large files on every core."
    )
    parser.add_argument("--version", action="version", version=f"bigpipe {_version()}")
    parser.set_defaults(run=None)
    commands: argparse._SubParsersAction[Any] = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=run.Intermixed
    )
    for module in (run, demo, journals, report, clean):
        module.add(commands)
    completion.add(commands, parser)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bigpipe")
    except PackageNotFoundError:  # run from its source, not installed
        return "(not installed)"
