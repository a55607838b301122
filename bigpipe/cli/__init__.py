"""The ``bigpipe`` command: reads arguments, calls what they ask for, tells how it ended.

Owns words on the screen and exit codes. What a subcommand does is in its own package, which
is imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigpipe.cli import completion, run
from bigpipe.cli.screen import FILES_FAILED, INTERRUPTED, OK, READER_GONE, refuse, say
from bigpipe.report.command import add as add_report_and_watch

__all__ = ["main"]

_JOURNAL = "what was given to the run as journal"
_SIMULATION_ONLY = ("frames", "shape", "seed")


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
    from bigpipe.errors import JournalError

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
    for add in (
        run.add,
        _add_demo,
        _add_status,
        _add_errors,
        _add_trace,
        _add_clean,
        add_report_and_watch,
    ):
        add(commands)
    completion.add(commands, parser)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bigpipe")
    except PackageNotFoundError:  # run from its source, not installed
        return "(not installed)"


def _add_demo(commands: argparse._SubParsersAction[Any]) -> None:
    demo = commands.add_parser(
        "demo",
        help="reduce a night of CCD frames: a simulated one, or your own",
        description=(
            "Simulate a small night of raw CCD frames, reduce it in parallel, and tell how "
            "far the result is from the simulated truth. With --input, reduce the frames of "
            "a folder of your own, which is only read."
        ),
    )
    demo.add_argument(
        "--input", type=Path, metavar="DIR", help="folder of raw FITS frames to reduce"
    )
    demo.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("bigpipe-demo"),
        help="folder for the results, new or empty or of an earlier demo (default: bigpipe-demo)",
    )
    demo.add_argument(
        "--num-processes",
        type=_number_of_processes,
        metavar="N",
        help="processes at once; below 1: that part of the cores (default: one for each core)",
    )
    demo.add_argument("--frames", type=int, metavar="N", help="lights to simulate (default: 24)")
    demo.add_argument(
        "--shape", type=_shape, metavar="NYxNX", help="size to simulate (default: 800x800)"
    )
    demo.add_argument("--seed", type=int, metavar="N", help="of what is random (default: 1)")
    demo.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run with --input made in the output folder",
    )
    demo.set_defaults(run=_demo)


def _number_of_processes(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return int(value) if value == int(value) else value


def _shape(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x,](\d+)", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 800x800")
    return int(match[1]), int(match[2])


def _demo(arguments: argparse.Namespace) -> int:
    from bigpipe.errors import BigpipeError, PipelineError

    given = [name for name in _SIMULATION_ONLY if getattr(arguments, name) is not None]
    if arguments.input is not None and given:
        return refuse(f"--{given[0]} is for a simulated night: leave it out, or --input.")

    from bigpipe.demo import DemoSettings, run_demo

    wanted = {
        "output": arguments.output,
        "source": arguments.input,
        "n_lights": arguments.frames,
        "shape": arguments.shape,
        "seed": arguments.seed,
        "num_processes": arguments.num_processes,
        "overwrite": arguments.overwrite,
    }
    settings = DemoSettings(**{name: x for name, x in wanted.items() if x is not None})
    try:
        report = run_demo(settings, say)
    except PipelineError as error:
        refuse(str(error.message))
        return FILES_FAILED
    except (BigpipeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        return refuse(str(error))
    print(report.text())
    return FILES_FAILED if report.n_failed else OK


def _add_command(
    commands: argparse._SubParsersAction[Any], name: str, what: str
) -> argparse.ArgumentParser:
    described = f"{what[0].upper()}{what[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=described)
    return parser


def _add_status(commands: argparse._SubParsersAction[Any]) -> None:
    status = _add_command(
        commands, "status", "tell how far a run is, or how it ended, from its journal"
    )
    status.add_argument("journal", type=Path, metavar="JOURNAL", help=_JOURNAL)
    status.set_defaults(run=_status)


def _add_errors(commands: argparse._SubParsersAction[Any]) -> None:
    errors = _add_command(
        commands, "errors", "show what failed in the last run of a journal, and why"
    )
    errors.add_argument("journal", type=Path, metavar="JOURNAL", help=_JOURNAL)
    errors.add_argument(
        "--traceback", action="store_true", help="with the traceback of each, not a line alone"
    )
    errors.add_argument(
        "--names", action="store_true", help="only the names of the inputs, one to a line"
    )
    errors.add_argument(
        "-0", "--null", action="store_true", help="names that end with NUL, for bigpipe run - -0"
    )
    errors.set_defaults(run=_errors)


def _add_trace(commands: argparse._SubParsersAction[Any]) -> None:
    trace = _add_command(
        commands,
        "trace",
        "tell by which input, keywords, code and versions an output was made",
    )
    trace.add_argument("output", type=Path, metavar="FILE", help="an output")
    trace.add_argument(
        "--journal",
        type=Path,
        metavar="JOURNAL",
        help="(default: all *.bigpipe in the output's folder, those above it, and this one)",
    )
    trace.set_defaults(run=_trace)


def _add_clean(commands: argparse._SubParsersAction[Any]) -> None:
    clean = _add_command(
        commands, "clean", "remove what killed runs have left in a folder, and below it"
    )
    clean.add_argument("folder", type=Path, metavar="DIR", help="a folder of outputs")
    clean.add_argument(
        "--checkpoints",
        action="store_true",
        help="also unfinished outputs of files that would go on from a checkpoint",
    )
    clean.set_defaults(run=_clean)


def _status(arguments: argparse.Namespace) -> int:
    from bigpipe.journal import Journal

    with Journal(arguments.journal) as journal:
        print(journal.status())
    return OK


def _errors(arguments: argparse.Namespace) -> int:
    from bigpipe.errors import shown, summarise
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
        say(f"{n} file{'' if n == 1 else 's'} failed\n{summarise(errors)}")
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
    for path in journals:
        try:
            with Journal(path) as journal:
                print(told(journal.trace(output)))
        except JournalError as error:
            if arguments.journal is not None:
                return refuse(str(error))
        else:
            return OK
    return refuse(f"no journal knows {str(output)!r} ({len(journals)} looked at): give --journal")


def _clean(arguments: argparse.Namespace) -> int:
    from bigpipe.staging import STAGING_NAME, remove_dead_staging

    if not arguments.folder.is_dir():
        return refuse(f"{str(arguments.folder)!r} is no folder")
    left = 0
    for staging in sorted(arguments.folder.rglob(STAGING_NAME)):
        before = {path.name for path in staging.iterdir()}
        remove_dead_staging(staging.parent)
        after = {path.name for path in staging.iterdir()} if staging.is_dir() else set()
        for name in sorted(before - after):
            print(f"removed {staging / name}")
        for name in sorted(after):
            left += 1
            print(f"left {staging / name}: in use, or of another machine")
    left += _clean_checkpoints(arguments.folder, remove=arguments.checkpoints)
    say(f"{left} left" if left else "nothing is left of killed runs")
    return OK


def _clean_checkpoints(folder: Path, *, remove: bool) -> int:
    """Remove checkpoints, or say that there are some; return how many are left."""
    from bigpipe.streaming.chunked.checkpoint_folder import CHECKPOINT_NAME, remove_dead_checkpoints

    n_left = 0
    for parent in sorted(folder.rglob(CHECKPOINT_NAME)):
        if not remove:
            n_left += len(list(parent.iterdir()))
            continue
        removed, left = remove_dead_checkpoints(parent)
        for name in removed:
            print(f"removed {name}")
        for name in left:
            print(f"left {name}: in use")
        n_left += len(left)
    if n_left and not remove:
        say("files that were not finished go on from their checkpoints: --checkpoints removes them")
    return n_left
