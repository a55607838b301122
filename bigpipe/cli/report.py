"""``bigpipe report`` and ``bigpipe watch``: show a run after it has ended, or while it works.

Owns their arguments. The work is done by `bigpipe.report`, which is imported only when a command
runs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bigpipe.cli.journals import JOURNAL
from bigpipe.cli.screen import FILES_FAILED, OK, refuse, say

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    report = commands.add_parser(
        "report",
        help="write a report of a run: timeline, memory, files, failures, advice",
        description=(
            "Write a report of a run as one page, which any browser opens without a network: "
            "what each worker did when, memory, files, failures, and advice. With --trace or "
            "--csv but no --output, write only those."
        ),
    )
    report.add_argument("journal", type=Path, metavar="JOURNAL", help=JOURNAL)
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: the journal's name with the extension .html)",
    )
    report.add_argument(
        "--run", type=int, dest="number", metavar="N", help="number of the run (default: the last)"
    )
    report.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write a trace for Perfetto or about:tracing (JSON)",
    )
    report.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a table with a line for each input (CSV)"
    )
    report.set_defaults(run=_report)
    watch = commands.add_parser(
        "watch",
        help="follow a run from another terminal",
        description=(
            "Show which file each worker has, how far the run is and how long it will still take, "
            "until the run ends. Where the output is not a terminal, print this once."
        ),
    )
    watch.add_argument("journal", type=Path, metavar="JOURNAL", help=JOURNAL)
    watch.add_argument(
        "--interval",
        type=_seconds,
        metavar="S",
        default=1.0,
        help="seconds between updates (default: 1)",
    )
    watch.set_defaults(run=_watch)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0.05 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.05 and 3600 seconds")
    return seconds


def _report(arguments: argparse.Namespace) -> int:
    from bigpipe.report.html import write_page
    from bigpipe.report.record import record_of
    from bigpipe.report.tables import write_csv
    from bigpipe.report.trace import write_trace

    page = arguments.output
    if page is None and arguments.trace is None and arguments.csv is None:
        page = arguments.journal.with_suffix(".html")
    record = record_of(arguments.journal, arguments.number)
    for write, path in (
        (write_page, page),
        (write_trace, arguments.trace),
        (write_csv, arguments.csv),
    ):
        if path is not None:
            try:
                write(record, path)
            except BrokenPipeError:  # the reader closed it
                raise
            except OSError as error:
                return refuse(str(error))
            say(f"wrote {path}")
    return OK


def _watch(arguments: argparse.Namespace) -> int:
    from bigpipe.report.watch import watch

    last = watch(arguments.journal, sys.stdout, interval_s=arguments.interval)
    return FILES_FAILED if last.samples and last.samples[-1].n_failed else OK
