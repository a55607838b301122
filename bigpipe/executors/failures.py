"""The error of a file, for what its hook raised.

Owns its message and its traceback. `bigpipe.errors` has the class.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from types import TracebackType
from typing import Any

from bigpipe.errors import BigpipeError, FileError, FileTimeoutError, message_of, shown
from bigpipe.executors.failing_member import failing_member
from bigpipe.slices import parts
from bigpipe.staging import as_final

__all__ = ["describe", "file_error", "hook_frames"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

MAX_STDERR = 300  # characters of a program's standard error in a message; a few lines


def file_error(
    raised: BaseException, hook: str, in_name: Any, chunk: int | None = None
) -> FileError:
    """Return the error of a file for what its hook raised."""
    where = "" if in_name is None else f" on {shown(in_name)}"
    member = failing_member(in_name, raised.__traceback__)
    if member is not None:
        where = f" on {shown(member)} of a group of {len(in_name)}"
    if chunk is not None:
        where += f", chunk {chunk} (counted from 0)"
    message = f"{hook} raised {describe(raised, where)}"
    if isinstance(raised, MemoryError):
        message += "; memory ran out: lower num_processes, or give process_size"
    is_group = isinstance(in_name, tuple) and parts(in_name) is None
    if is_group and isinstance(raised, (AttributeError, TypeError)):
        message += "; the input is a tuple: give a group of files as a list"
    if isinstance(raised, TypeError):
        message += _remedy_of_call(raised)
    if isinstance(raised, FileTimeoutError):
        message = (
            f"{shown(in_name)} {raised}, in {hook}; raise file_timeout if it may take that long"
        )
    error = FileError(message, in_name=in_name, hook=hook, traceback=_formatted(raised))
    error.__cause__ = raised
    return error


def _remedy_of_call(raised: TypeError) -> str:
    """Return what to do if a hook could not be called with the keywords; ``""`` if it had begun."""
    text = message_of(raised)
    if not _is_inside_bigpipe(_outside_bigpipe(raised.__traceback__)):
        return ""
    if "unexpected keyword argument" in text:
        return "; hooks receive all keywords: add **kwargs to its parameters"
    if "required positional argument" in text or "required keyword-only argument" in text:
        return "; give what is missing as a keyword, or the parameter a default"
    return ""


def hook_frames(error: FileError) -> TracebackType | None:
    """Return the frames of the hook that raised, if they were kept, for a debugger."""
    cause = error.__cause__
    return None if cause is None else _outside_bigpipe(cause.__traceback__)


def describe(raised: BaseException, where: str = "") -> str:
    """Return an exception as text, with where it was raised after its type."""
    text = as_final(message_of(raised) + _complaint(raised))
    return f"{type(raised).__name__}{where}: {text}" if text else type(raised).__name__ + where


def _complaint(raised: BaseException) -> str:
    """Return what a program that failed or hung wrote to standard error, if it was captured."""
    # Only exceptions of subprocess have both. It need not be imported to find out.
    said = getattr(raised, "stderr", None) if hasattr(raised, "cmd") else None
    if isinstance(said, bytes):
        said = said.decode(errors="replace")
    if not isinstance(said, str) or not said.strip():
        return ""
    text = " ".join(said.split())
    return f" Standard error: {text if len(text) <= MAX_STDERR else '...' + text[-MAX_STDERR:]}"


def _formatted(raised: BaseException) -> str:
    """Return the traceback as Python shows it; without the exception itself if that fails.

    An error about a file that bigpipe itself raises, or about how it called a hook, has its cause
    and remedy in the message, so no frames of bigpipe are shown with it.
    """
    frames = _outside_bigpipe(raised.__traceback__)
    is_told = isinstance(raised, (BigpipeError, OSError)) or (
        isinstance(raised, TypeError) and _remedy_of_call(raised)
    )
    if is_told and _is_inside_bigpipe(frames):
        if _tells_cause(raised):
            return ""
        frames = None
    try:
        return "".join(traceback.format_exception(type(raised), raised, frames))
    except Exception:  # such as of a SyntaxError made by hand, or of a __getattr__ that raises
        return "".join(traceback.format_tb(frames)) + describe(raised) + "\n"


def _tells_cause(raised: BaseException) -> bool:
    """Return whether an exception has no cause, or repeats what that says."""
    cause = raised.__cause__
    if cause is None:
        return raised.__context__ is None or raised.__suppress_context__
    return message_of(cause) in message_of(raised) and _is_inside_bigpipe(cause.__traceback__)


def _outside_bigpipe(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the hook on; the frames before it are the same for every file."""
    outside = frames
    while outside is not None:
        if not (_is_inside_bigpipe(outside) or _file_of(outside) == contextlib.__file__):
            return outside
        outside = outside.tb_next
    return frames


def _is_inside_bigpipe(frames: TracebackType | None) -> bool:
    return frames is not None and _file_of(frames).startswith(_PACKAGE)


def _file_of(frames: TracebackType) -> str:
    return frames.tb_frame.f_code.co_filename
