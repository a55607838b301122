"""``bigpipe run`` and ``bigpipe plan``: a pipeline from a shell.

Owns their arguments, and what is told of how a run ended. What is asked for is read by
`bigpipe.cli.settings`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from typing import Any

from bigpipe.cli import screen
from bigpipe.cli.settings import PREFIX, Settings, settings_of
from bigpipe.errors import (
    BigpipeError,
    FileError,
    OptionError,
    PipelineError,
    TooManyErrorsError,
)
from bigpipe.flags import add_flags, resolved

__all__ = ["Intermixed", "add"]

_FORMATS = ("table", "csv", "json", "ecsv")
_MAX_TRACEBACKS = 3  # of failures of different kinds; arbitrary
_INPUTS = """\
TARGET is package.module:Name or script.py:Name: a subclass of BigMultiPipe, an object of
one, or a function that takes data and returns data; without :Name, the one pipeline there.

INPUT is a file; a folder, with --glob; a pattern in quotes; @FILE, a list of names; - for
such a list on standard input.
"""


class Intermixed(argparse.ArgumentParser):
    """A parser that takes flags between the other arguments, and no flag by its beginning."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})
        self._is_inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments in any order; refuse those that are unknown here, not further up."""
        if self._is_inside:
            return super().parse_known_args(args, namespace)
        self._is_inside = True
        try:
            if any(action.nargs == "*" for action in self._get_positional_actions()):
                found, unknown = self.parse_known_intermixed_args(args, namespace)
            else:  # any order will do for one; and a name that begins with - may follow --
                found, unknown = super().parse_known_args(args, namespace)
        finally:
            self._is_inside = False
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._hint(unknown[0])}")
        return found, unknown

    def _hint(self, word: str) -> str:
        if not word.startswith("-"):
            return ""
        if os.path.exists(word):
            return f"; if the file is meant, write {os.path.join('.', word)}"
        flags = (x for action in self._actions for x in action.option_strings)
        near = difflib.get_close_matches(word.partition("=")[0], flags, n=1)
        return f"; did you mean {near[0]}?" if near else ""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    run = commands.add_parser(
        "run",
        help="run a pipeline over files: a class, an object or a function of your own",
        usage="bigpipe run [options] TARGET INPUT ...",
        description=f"Run a pipeline over files, and print what became of each.\n\n{_INPUTS}",
        epilog="Exit codes: 0 all went well, 1 files failed, 2 it cannot be done, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(run)
    run.set_defaults(run=_run)
    plan = commands.add_parser(
        "plan",
        help="tell what run would do with the same arguments, and what is in the way",
        usage="bigpipe plan [options] TARGET INPUT ...",
        description=f"Tell what run would do with the same arguments.\n\n{_INPUTS}",
        epilog="Exit codes: 0 nothing is in the way, 1 something is, 2 it cannot be done.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(plan)
    plan.set_defaults(run=_plan)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="TARGET INPUT", help=argparse.SUPPRESS)
    asked = parser.add_argument_group("what is run")
    asked.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="a keyword of the hooks; a value of TOML, other words are text; may come often",
    )
    asked.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with target, inputs, options, and keywords under [set]; flags win",
    )
    asked.add_argument("--glob", metavar="PATTERN", help="which files of folders, as '*.fits'")
    asked.add_argument(
        "--group",
        action="store_true",
        help="each INPUT is one group, whose files are read together: 'raw/bias*.fits'",
    )
    asked.add_argument("-0", "--null", action="store_true", help="names in lists end with NUL")
    asked.add_argument("--format", choices=_FORMATS, help="form of the results (default: table)")
    add_flags(parser.add_argument_group("options of the run"), PREFIX)


def _run(arguments: argparse.Namespace) -> int:
    from bigpipe.cli.results import print_results, results_of

    with screen.only_results_on_stdout():
        try:
            settings, pipe, in_names, given = _prepared(arguments)
        except BigpipeError as error:
            return screen.refuse_for(error)
        stopped = None
        try:
            pout = pipe.pipeline(in_names, **given)
        except PipelineError as error:
            pout = error.pout
            if isinstance(error, TooManyErrorsError):
                stopped = str(error.message).partition("\n")[0]
        except FileError as error:
            _say_traceback(error)
            screen.say(f"bigpipe: {error}")
            return screen.FILES_FAILED
        except BigpipeError as error:
            return screen.refuse_for(error)
    results = results_of(pout, in_names)
    print_results(results, settings.format or "table", sys.stdout)
    sys.stdout.flush()
    errors = [result.error for result in results if result.error is not None]
    _say_kinds(errors)
    if hasattr(pout, "summary"):
        screen.say(pout.summary())
    if stopped is not None:
        screen.say(f"bigpipe: {stopped}")
    return screen.FILES_FAILED if errors else screen.OK


def _plan(arguments: argparse.Namespace) -> int:
    with screen.only_results_on_stdout():
        try:
            _, pipe, in_names, given = _prepared(arguments)
            preview = pipe.plan(in_names, **given)
        except BigpipeError as error:
            return screen.refuse_for(error)
    print(preview)
    return screen.OK if preview.is_good else screen.FILES_FAILED


def _prepared(
    arguments: argparse.Namespace,
) -> tuple[Settings, Any, list[str | list[str]], dict[str, Any]]:
    """Return what was asked for: the pipeline, its inputs, and options and keywords for it."""
    from bigpipe.cli.inputs import expanded
    from bigpipe.cli.target import pipeline_of

    settings = settings_of(arguments)
    if settings.target is None:
        raise OptionError("nothing to run is given: bigpipe run script.py:Name files ...")
    if settings.format not in (None, *_FORMATS):
        raise OptionError(f"format={settings.format!r} is not one of {', '.join(_FORMATS)}")
    if not settings.inputs:
        raise OptionError("no inputs are given: name files after the target")
    in_names = expanded(
        settings.inputs,
        pattern=settings.glob,
        are_null_ended=arguments.null,
        are_groups=settings.group,
    )
    keywords = dict(settings.keywords)
    pipe = pipeline_of(settings.target, keywords)
    options = {name: resolved(name, value) for name, value in settings.options.items()}
    return settings, pipe, in_names, {**options, **keywords}


def _say_kinds(errors: list[FileError]) -> None:
    """Show the traceback of the first failure of each kind."""
    first: dict[tuple[str, str], FileError] = {}
    for error in errors:
        first.setdefault(error.kind, error)
    for error in list(first.values())[:_MAX_TRACEBACKS]:
        _say_traceback(error)


def _say_traceback(error: FileError) -> None:
    if error.traceback:
        screen.say(f"{error}\n{error.traceback}")
