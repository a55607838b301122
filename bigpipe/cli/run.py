"""``bigpipe run`` and ``bigpipe plan``: run a pipeline from a shell.

Owns their arguments, and what they print when the run has ended. `bigpipe.cli.settings` reads what
the arguments ask for.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from bigpipe.cli import screen
from bigpipe.cli.settings import PREFIX, Settings, settings_of
from bigpipe.errors import (
    MAX_KINDS_SHOWN,
    BigpipeError,
    FileError,
    OptionError,
    PipelineError,
    TooManyErrorsError,
    by_kind,
)
from bigpipe.flags import add_flags, flag_of, in_flags, resolved
from bigpipe.near_names import names_meant
from bigpipe.options import ELSEWHERE

__all__ = ["Intermixed", "add"]

_FORMATS = ("table", "csv", "json", "ecsv")
_MAX_TRACEBACKS = 3  # of the most frequent kinds of failure; arbitrary
_USUAL_FLAGS = {
    **dict.fromkeys(("j", "n", "jobs", "procs", "workers", "cores"), "--num-processes"),
    **dict.fromkeys(("o", "d", "output", "output_dir", "output_folder"), "--outdir"),
    **dict.fromkeys(("k", "keyword", "param"), "--set"),
    **dict.fromkeys(("r", "recursive"), "--glob '**/*'"),
    "dry_run": "bigpipe plan",
    "q": "--no-progress",
    "quiet": "--no-progress",
    **{name: flag_of(option) for name, option in ELSEWHERE.items()},
}
_INPUTS = """\
TARGET is script.py:Name or package.module:Name. Name is a subclass of
BigMultiPipe, an object of one, or a function that takes data and returns data.
Leave out :Name if the script or module has only one pipeline.

INPUT is a file; a folder, with --glob; a pattern in quotes; @FILE, a file that
lists names, one per line; or -, for such a list on standard input.
"""


class Intermixed(argparse.ArgumentParser):
    """A parser that accepts flags between positional arguments, but no abbreviated flags."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})
        self._is_inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments in any order; refuse unknown ones here, not in the parent parser."""
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
            return f"; if you mean the file, write {os.path.join('.', word)}"
        flags = [x for action in self._actions for x in action.option_strings]
        flag = word.partition("=")[0]
        usual = _USUAL_FLAGS.get(flag.lstrip("-").replace("-", "_"))
        is_run = "--set" in flags
        near = [usual] if usual is not None and is_run else names_meant(flag, flags)
        if near:
            return f"; did you mean {' or '.join(near)}?"
        keyword = flag.lstrip("-").replace("-", "_")
        is_keyword = is_run and word.startswith("--") and keyword.isidentifier()
        return f"; if it is a keyword of the hooks, write --set {keyword}=..." if is_keyword else ""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    run = commands.add_parser(
        "run",
        help="run your pipeline or function over files",
        usage="bigpipe run [options] TARGET INPUT ...",
        description=f"Run a pipeline over files and print the outcome of each.\n\n{_INPUTS}",
        epilog=(
            "Example: bigpipe run night.py:Reduce 'raw/*.fits' --outdir reduced --create-outdir\n\n"
            "Exit codes: 0 success, 1 files failed, 2 could not run, 130 interrupted."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(run)
    run.set_defaults(run=_run)
    plan = commands.add_parser(
        "plan",
        help="show what run would do with the same arguments, and any problems",
        usage="bigpipe plan [options] TARGET INPUT ...",
        description=(
            "Show what run would do with the same arguments, and any problems, without\n"
            f"running it.\n\n{_INPUTS}"
        ),
        epilog="Exit codes: 0 no problems, 1 problems found, 2 could not plan.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(plan)
    plan.set_defaults(run=_plan)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="TARGET INPUT", help=argparse.SUPPRESS)
    asked = parser.add_argument_group("what to run")
    asked.add_argument(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="keyword for the hooks; VALUE is TOML, or else text; may be repeated",
    )
    asked.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with target, inputs, options, and keywords under [set]; flags override it",
    )
    asked.add_argument(
        "--glob", metavar="PATTERN", help="files to take from folders, such as '*.fits'"
    )
    asked.add_argument(
        "--group",
        action="store_true",
        help="make the files of each INPUT, such as 'raw/bias*.fits', one group, read together",
    )
    asked.add_argument(
        "-0", "--null", action="store_true", help="names in lists end with NUL, not newline"
    )
    asked.add_argument("--format", choices=_FORMATS, help="format of the results (default: table)")
    add_flags(parser.add_argument_group("options of the run"), PREFIX)


def _run(arguments: argparse.Namespace) -> int:
    from bigpipe.cli.results import print_results, results_of
    from bigpipe.pout import Pout

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
            screen.say(_with_traceback(error))
            screen.say("bigpipe: stopped at this failure, because of --on-error raise")
            return screen.FILES_FAILED
        except BigpipeError as error:
            return screen.refuse_for(error)
    results = results_of(pout, in_names)
    print_results(results, settings.format or "table", sys.stdout)
    sys.stdout.flush()
    errors = [result.error for result in results if result.error is not None]
    _say_kinds(errors)
    if isinstance(pout, Pout):
        screen.say(pout.summary(failures=False))
    if stopped is not None:
        screen.say(f"bigpipe: {in_flags(stopped)}")
    return screen.FILES_FAILED if errors else screen.OK


def _plan(arguments: argparse.Namespace) -> int:
    with screen.only_results_on_stdout():
        try:
            _, pipe, in_names, given = _prepared(arguments)
            preview = pipe.plan(in_names, **given)
        except BigpipeError as error:
            return screen.refuse_for(error)
    print(in_flags(str(preview)))
    return screen.OK if preview.is_good else screen.FILES_FAILED


def _prepared(
    arguments: argparse.Namespace,
) -> tuple[Settings, Any, list[str | list[str]], dict[str, Any]]:
    """Return what the arguments ask for: settings, pipeline, inputs, and options with keywords."""
    from bigpipe.cli.inputs import expanded
    from bigpipe.cli.target import pipeline_of

    settings = settings_of(arguments)
    if settings.target is None:
        raise OptionError(
            "no target given: name a pipeline and its inputs, such as script.py:Name 'raw/*.fits'"
        )
    if settings.format not in (None, *_FORMATS):
        raise OptionError(f"format={settings.format!r} is not one of {', '.join(_FORMATS)}")
    if not settings.inputs:
        raise OptionError("no inputs given: name files after the target")
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
    """Count the failures of each kind and show the first of each."""
    groups = list(by_kind(errors).items())
    for i, ((hook, what), alike) in enumerate(groups[:MAX_KINDS_SHOWN]):
        text = _with_traceback(alike[0]) if i < _MAX_TRACEBACKS else in_flags(str(alike[0]))
        screen.say(f"{len(alike)} x {what} in {hook}, first: {text}")
    if len(groups) > MAX_KINDS_SHOWN:
        screen.say(f"and {len(groups) - MAX_KINDS_SHOWN} more kinds of failure")


def _with_traceback(error: FileError) -> str:
    return "\n".join(filter(None, (in_flags(str(error)), error.traceback)))
