"""The ``bigpipe`` command: parses the arguments, runs a command, returns its exit code.

Owns the parser, and the exit codes of endings that any command may have. Each command has a module
here, which imports what it needs only when the command runs.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from typing import Any

from bigpipe.cli import clean, completion, demo, journals, report, run
from bigpipe.cli.screen import (
    INTERRUPTED,
    OK,
    READER_GONE,
    drop_stdout,
    open_streams,
    refuse,
)
from bigpipe.errors import JournalError

__all__ = ["main"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``bigpipe`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default, those of the process.

    Returns
    -------
    int
        Exit code: 0, success; 1, some files failed; 2, the command could not run as asked;
        130, interrupted; 141, the reader of the output closed it.
    """
    with open_streams():
        try:
            code = _run(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:  # the reader of the output closed it
            drop_stdout()
            return READER_GONE
        except OSError as error:
            if error.errno not in _NO_ROOM or error.filename is not None:
                raise
            drop_stdout()
            return refuse(
                f"cannot write to standard output ({error}): make room on the disk that it goes to"
            )
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
        prog="bigpipe",
        description="Run a loop over large files on every core.",
        epilog="bigpipe COMMAND --help describes a command and its arguments.",
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
    except PackageNotFoundError:  # run from a source folder, not installed
        return "(not installed)"
