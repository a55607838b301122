"""``bigpipe status``, ``errors`` and ``trace``: show what a journal records.

Owns their arguments and what they print. `bigpipe.journal` reads the journal.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bigpipe.cli.screen import FILES_FAILED, OK, refuse, say
from bigpipe.plurals import plural

__all__ = ["JOURNAL", "add"]

JOURNAL = "file that was given to the run as --journal, or in Python as journal"


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the three commands.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    _add_status(commands)
    _add_errors(commands)
    _add_trace(commands)


def _add_command(
    commands: argparse._SubParsersAction[Any], name: str, what: str
) -> argparse.ArgumentParser:
    described = f"{what[0].upper()}{what[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=described)
    return parser


def _add_status(commands: argparse._SubParsersAction[Any]) -> None:
    status = _add_command(
        commands, "status", "show the progress of a journal's last run, or how it ended"
    )
    status.add_argument("journal", type=Path, metavar="JOURNAL", help=JOURNAL)
    status.set_defaults(run=_status)


def _add_errors(commands: argparse._SubParsersAction[Any]) -> None:
    errors = _add_command(
        commands, "errors", "list the files that failed in the last run of a journal, and why"
    )
    errors.add_argument("journal", type=Path, metavar="JOURNAL", help=JOURNAL)
    errors.add_argument(
        "--traceback", action="store_true", help="show the traceback of each failure"
    )
    errors.add_argument(
        "--names", action="store_true", help="print only the names of the inputs, one per line"
    )
    errors.add_argument(
        "-0", "--null", action="store_true", help="as --names, but end each name with NUL"
    )
    errors.set_defaults(run=_errors)


def _add_trace(commands: argparse._SubParsersAction[Any]) -> None:
    trace = _add_command(
        commands,
        "trace",
        "show the inputs, keywords, code and versions that made an output",
    )
    trace.add_argument("output", type=Path, metavar="FILE", help="the output")
    trace.add_argument(
        "--journal",
        type=Path,
        metavar="JOURNAL",
        help=(
            "journal to search (default: each *.bigpipe in the output's folder, the folders above "
            "it, and the current folder)"
        ),
    )
    trace.set_defaults(run=_trace)


def _status(arguments: argparse.Namespace) -> int:
    from bigpipe.journal import Journal

    with Journal(arguments.journal) as journal:
        print(journal.status())
    return OK


def _errors(arguments: argparse.Namespace) -> int:
    from bigpipe.errors import by_kind, shown
    from bigpipe.journal import Journal

    with Journal(arguments.journal) as journal:
        errors = journal.errors()
    are_names = arguments.names or arguments.null
    for error in errors:
        if are_names:
            name = error.in_name if isinstance(error.in_name, str) else shown(error.in_name)
            print(name, end="\0" if arguments.null else "\n")
        else:
            print(error)
            if arguments.traceback and error.traceback:
                print(error.traceback)
    if errors and not are_names:
        n = len(errors)
        say(f"{n} {plural(n, 'file')} failed")
        for (hook, what), alike in by_kind(errors).items():
            say(f"  {len(alike)} x {what} in {hook}")
    return FILES_FAILED if errors else OK


def _trace(arguments: argparse.Namespace) -> int:
    from bigpipe.errors import JournalError
    from bigpipe.journal import Journal
    from bigpipe.origin import told

    output = arguments.output.absolute()
    journals = [arguments.journal]
    if arguments.journal is None:
        folders = dict.fromkeys([output.parent, *output.parent.parents, Path.cwd()])
        journals = [path for folder in folders for path in sorted(folder.glob("*.bigpipe"))]
    found = []
    for path in journals:
        try:
            with Journal(path) as journal:
                found.append(journal.trace(output))
        except JournalError as error:
            if arguments.journal is not None:
                return refuse(str(error))
    if not found:
        n = len(journals)
        searched = f"{n} {plural(n, 'journal')} searched"
        return refuse(f"no journal has the output {str(output)!r} ({searched}): give --journal")
    print(told(max(found, key=lambda origin: (origin.is_as_written, origin.written))))
    return OK
