"""What people and programs see of a command: exit codes, and lines on standard error.

Owns which stream is used for what. Each command prints its own results.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import IO, Any

from bigpipe.errors import BigpipeWarning, shown
from bigpipe.flags import in_flags
from bigpipe.prints import is_terminal

__all__ = [
    "FILES_FAILED",
    "INTERRUPTED",
    "OK",
    "READER_GONE",
    "USAGE",
    "drop_stdout",
    "has_colour",
    "only_results_on_stdout",
    "open_streams",
    "refuse",
    "refuse_for",
    "say",
    "width",
]

OK, FILES_FAILED, USAGE = 0, 1, 2
INTERRUPTED, READER_GONE = 130, 141  # as a shell reports Ctrl-C and SIGPIPE

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@contextlib.contextmanager
def open_streams() -> Iterator[None]:
    """Discard what is printed to standard output or standard error if that is closed.

    Otherwise ``print(..., file=None)`` would write a message among the results.
    """
    with contextlib.ExitStack() as stack:
        if sys.stdout is None:
            stack.enter_context(contextlib.redirect_stdout(_nowhere(stack)))
        if sys.stderr is None:
            stack.enter_context(contextlib.redirect_stderr(_nowhere(stack)))
        yield


def _nowhere(stack: contextlib.ExitStack) -> IO[str]:
    return stack.enter_context(open(os.devnull, "w", encoding="utf-8"))


def drop_stdout() -> None:
    """Discard the rest of the results, which Python would fail to flush at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def refuse(message: str) -> int:
    """Print why the command cannot run as asked, and return the exit code for that."""
    say(f"bigpipe: error: {message}")
    return USAGE


def refuse_for(error: BaseException) -> int:
    """Refuse because of an error; if the user's code raised it, show where."""
    cause = error.__cause__
    frames = None if cause is None else cause.__traceback__
    while frames is not None and not _is_callers(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    if cause is not None and (frames is not None or isinstance(cause, SyntaxError)):
        say("".join(traceback.format_exception(type(cause), cause, frames)).rstrip())
    return refuse(in_flags(str(error)))


def _is_callers(filename: str) -> bool:
    return not filename.startswith(("<frozen ", _PACKAGE, os.path.dirname(os.__file__)))


def width() -> int | None:
    """Return the columns of the terminal; ``None`` if standard output is not a terminal."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def has_colour() -> bool:
    """Return whether results may be coloured: see https://no-color.org."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and not is_dumb


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Redirect to standard error what hooks and the programs they start print, in workers too.

    Warnings of bigpipe are shown without the line of code that raised them, which is bigpipe's.
    Log messages that no handler takes are shown with the file that they are about.
    """
    stock = warnings.formatwarning

    def formatted(message: Any, category: Any, *rest: Any, **more: Any) -> str:
        if issubclass(category, BigpipeWarning):
            return f"bigpipe: warning: {in_flags(str(message))}\n"
        return stock(message, category, *rest, **more)

    warnings.formatwarning = formatted
    last = logging.lastResort
    if last is not None:
        last.setFormatter(_Naming())
    try:
        with _stdout_descriptor_on_stderr(), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        warnings.formatwarning = stock
        if last is not None:
            last.setFormatter(None)


class _Naming(logging.Formatter):
    """Puts the input's name in front of a message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a name that would break it is escaped."""
        in_name = getattr(record, "in_name", None)
        text = super().format(record)
        return text if in_name is None else f"{shown(in_name)}: {text}"


@contextlib.contextmanager
def _stdout_descriptor_on_stderr() -> Iterator[None]:
    try:
        number = sys.stdout.fileno()
        sys.stdout.flush()
        kept = os.dup(number)
    except (AttributeError, OSError, io.UnsupportedOperation):  # closed, or no real stream
        yield
        return
    try:
        with contextlib.suppress(OSError):  # standard error may be closed
            os.dup2(2, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
