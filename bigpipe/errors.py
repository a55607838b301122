"""Exceptions and warnings of bigpipe: what went wrong, with which file, and what to do.

Owns the exception classes and how they print and pickle. The code that detects a failure chooses
its exception (`bigpipe.executors.worker`, `bigpipe.run`).
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

__all__ = [
    "MAX_KINDS_SHOWN",
    "BigpipeError",
    "BigpipeWarning",
    "CollisionError",
    "EncodingError",
    "FileError",
    "FileTimeoutError",
    "FormatError",
    "InNamesError",
    "JournalError",
    "MemoryBudgetError",
    "OptionError",
    "OutnameError",
    "PipelineError",
    "RemoteError",
    "StepError",
    "StoreError",
    "StreamError",
    "TooManyErrorsError",
    "UnsafeValueError",
    "UnsendableError",
    "WorkerError",
    "WorkerTraceback",
    "by_kind",
    "how_ended",
    "message_of",
    "show_worker_traceback",
    "shown",
    "signal_name",
    "summarise",
    "warn",
]

MAX_KINDS_SHOWN = 8  # lines of a summary by kind; arbitrary, fits a small terminal
MAX_MEMBERS_SHOWN = 3  # names of a group in a message; arbitrary
MAX_MESSAGE_SHOWN = 500  # characters of one message in a summary; arbitrary


class BigpipeError(Exception):
    """Base of every exception that bigpipe itself raises."""


class OptionError(BigpipeError, ValueError):
    """An option has an invalid value. Raised when a run starts, before any file is read."""


class InNamesError(BigpipeError, TypeError):
    """The value given as ``in_names`` is not a list of inputs."""


class OutnameError(BigpipeError, ValueError):
    """An output name cannot be made, or points to a place where nothing may be written."""


class FormatError(BigpipeError, ValueError):
    """A file cannot be read or written by its extension, or the package for it is missing."""


class CollisionError(BigpipeError, FileExistsError):
    """Two inputs would have the same output, or an output would overwrite an input."""


class MemoryBudgetError(BigpipeError, EnvironmentError):
    """The memory budget is too small for one worker, or for one file."""


class JournalError(BigpipeError, RuntimeError):
    """A journal cannot be used: another run uses it, it is damaged, or it is not a journal."""


class UnsendableError(BigpipeError, TypeError):
    """A keyword, the pipeline object or data cannot be sent to another process."""


class StepError(BigpipeError, TypeError):
    """An object is not a step, or a step has ended, cannot be copied or cannot save its state."""


class StoreError(BigpipeError, ValueError):
    """An array in a file cannot be read or written in chunks, or not with these arguments."""


class StreamError(BigpipeError, ValueError):
    """A step has an invalid parameter or cannot use a chunk, or parallel streams do not match."""


class EncodingError(BigpipeError, ValueError):
    """A text was not written by `bigpipe.encoding.encode`, or is damaged."""


class UnsafeValueError(BigpipeError, TypeError):
    """A value cannot be written as text that can be read back without running code.

    Parameters
    ----------
    message : str
        Where the value is, its type, and what to do.
    path : tuple
        The keys and indices that lead from the value to be encoded to this one; ``()`` if it is
        that value itself. A key that is not a plain value is given as its repr.
    type_name : str
        Type of the value, including the module.
    """

    def __init__(self, message: str, *, path: tuple[Any, ...] = (), type_name: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.type_name = type_name

    def __reduce__(self) -> tuple[Any, ...]:
        remade = partial(type(self), path=self.path, type_name=self.type_name)
        return (remade, (str(self),))


class WorkerError(BigpipeError, RuntimeError):
    """A worker died or could not be started."""


class FileTimeoutError(BigpipeError, TimeoutError):
    """One file took longer than ``file_timeout``."""


class RemoteError(BigpipeError):
    """Replaces an exception of a worker that could not be pickled.

    Its message is the type and text of the original.
    """


class BigpipeWarning(UserWarning):
    """A probable mistake that does not stop the run."""


class WorkerTraceback(BigpipeError):
    """The traceback of a worker as text, shown as the cause of its exception.

    Parameters
    ----------
    text : str
        The formatted traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class FileError(BigpipeError, RuntimeError):
    """One file failed, was killed or timed out.

    Parameters
    ----------
    message : str
        What happened, where, and which option to change if one helps.
    in_name : str, os.PathLike or list
        The input as it was given.
    hook : str or None
        The hook that was running: ``'file_read'``, or ``'pre_process: reject'`` with the
        function of the list after the colon. ``None`` if no hook had begun.
    exitcode : int or None
        Exit code of the worker, or minus the number of the signal that killed it. ``None`` if
        the worker did not end.
    attempts : int
        Number of times the file was begun, including this one.
    traceback : str
        The worker's traceback as text; ``''`` if there is none.

    Notes
    -----
    ``__cause__`` is the exception that the hook raised, if any. The ``__cause__`` of that one
    prints the worker's traceback; in a `PipelineError`, only the first failure of each kind
    does. The error can always be pickled: a `RemoteError` replaces a cause that cannot.
    """

    def __init__(
        self,
        message: str,
        *,
        in_name: Any = None,
        hook: str | None = None,
        exitcode: int | None = None,
        attempts: int = 1,
        traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.in_name = in_name
        self.hook = hook
        self.exitcode = exitcode
        self.attempts = attempts
        self.traceback = traceback

    @property
    def signal(self) -> int | None:
        """Number of the signal that killed the worker, or ``None``."""
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None

    @property
    def kind(self) -> tuple[str, str]:
        """Hook and kind of failure, by which summaries group errors."""
        cause = self.__cause__
        if isinstance(cause, RemoteError):
            what = str(cause).partition(":")[0]
        elif cause is not None:
            what = type(cause).__name__
        elif self.signal is not None:
            what = signal_name(self.signal)
        elif self.exitcode is not None:
            what = f"exit code {self.exitcode}"
        else:
            what = type(self).__name__
        return (self.hook or "before the first hook", what)

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("in_name", "hook", "exitcode", "attempts", "traceback")
        fields = {name: getattr(self, name) for name in names}
        return (_rebuild_file_error, (str(self), fields, _portable(self.__cause__)))


Portable = tuple[bytes | None, str, str]
"""An exception: pickled, or ``None`` where that is impossible; its type; its text."""


def _portable(cause: BaseException | None) -> Portable | None:
    if cause is None:
        return None
    return (_pickled(cause), type(cause).__name__, message_of(cause))


def _pickled(cause: BaseException) -> bytes | None:
    """Pickle an exception if it can be unpickled; by value if its class is not importable."""
    import pickle

    import cloudpickle

    for dumps in (pickle.dumps, cloudpickle.dumps):
        try:
            data: bytes = dumps(cause)
        except Exception:  # a foreign __reduce__ may raise anything; type and text are kept
            continue
        if _unpickled(data) is not None:  # many exceptions can be pickled but not unpickled
            return data
    return None


def _unpickled(data: bytes) -> BaseException | None:
    import pickle

    try:
        cause = pickle.loads(data)
    except Exception:  # its class is not importable here, or refuses its arguments
        return None
    return cause if isinstance(cause, BaseException) else None


def message_of(exception: BaseException) -> str:
    """Return an exception's message, or a note that its ``__str__`` raised."""
    try:
        return str(exception)
    except Exception as error:  # a foreign __str__ may raise anything
        return f"<no text: its __str__ raised {type(error).__name__}>"


def _rebuild_file_error(
    message: str, fields: dict[str, Any], portable: Portable | None
) -> FileError:
    error = FileError(message, **fields)
    if portable is not None:
        data, name, text = portable
        cause = None if data is None else _unpickled(data)
        error.__cause__ = RemoteError(f"{name}: {text}") if cause is None else cause
        show_worker_traceback(error)
    return error


def show_worker_traceback(error: FileError) -> None:
    """Replace the traceback of an error's cause with the worker's, as text."""
    cause = error.__cause__
    if cause is None:
        return
    frames: BaseException | None = cause
    while frames is not None and frames.__traceback__ is not None:
        BaseException.with_traceback(frames, None)  # a frozen dataclass refuses attributes
        frames = frames.__context__
    # The error of a pipeline inside the hook already shows a traceback of its own.
    if error.traceback and not isinstance(cause, FileError):
        object.__setattr__(cause, "__cause__", WorkerTraceback(error.traceback))


class PipelineError(BigpipeError, ExceptionGroup[FileError]):
    """Some files of a run failed; all the others are done.

    Parameters
    ----------
    message : str
        First line of the summary.
    errors : sequence of FileError
        One for each file that failed, in input order.
    pout : list of tuple
        The whole result of the run, in input order. The entry of a failed file is
        ``(None, {'bmp_error': FileError})``.

    Attributes
    ----------
    exceptions : tuple of FileError
        The errors; ``except*`` and `ExceptionGroup.split` work as usual.
    pout : Pout
        The result.

    Notes
    -----
    The message counts the failures by hook and kind. In a printed traceback, only the first
    failure of each kind shows its own.
    """

    pout: Any

    def __new__(cls, message: str, errors: Sequence[FileError], pout: Any = None) -> PipelineError:
        """Make the group, its summary and its short form."""
        self = super().__new__(cls, f"{message}\n{summarise(errors)}", list(errors))
        self.pout = pout
        _shorten_repeats(errors)
        return self

    def __init__(self, message: str, errors: Sequence[FileError], pout: Any = None) -> None:
        super().__init__(message, errors)

    def __str__(self) -> str:
        return str(self.message)  # a group would add "(2 sub-exceptions)" to the last line

    def derive(self, excs: Sequence[Any]) -> PipelineError:  # type: ignore[override]
        """Make a group of some of the errors, for ``except*`` and ``split``."""
        return PipelineError(f"{len(excs)} of the files that failed", excs, self.pout)

    def __reduce__(self) -> tuple[Any, ...]:
        head = str(self.message).partition("\n")[0]
        return (type(self), (head, list(self.exceptions), self.pout))


class TooManyErrorsError(PipelineError):
    """A run was stopped because too many files failed: see the option ``max_errors``.

    Outputs already written stay. Raised by `BigMultiPipe.pipeline`, it has all errors, and the
    results so far as `PipelineError.pout`. Raised by ``iter_pipeline``, it has only the last
    error, as all other results have been yielded.
    """


def summarise(errors: Sequence[FileError]) -> str:
    """Count errors by hook and kind, most frequent first, with an example of each."""
    lines = []
    groups = by_kind(errors)
    for (hook, what), alike in list(groups.items())[:MAX_KINDS_SHOWN]:
        text = str(alike[0]).partition("\n")[0]
        if len(text) > MAX_MESSAGE_SHOWN:
            text = text[: MAX_MESSAGE_SHOWN - 3] + "..."
        lines.append(f"  {len(alike)} x {what} in {hook}, first: {text}")
    if len(groups) > MAX_KINDS_SHOWN:
        lines.append(f"  and {len(groups) - MAX_KINDS_SHOWN} more kinds")
    return "\n".join(lines)


def by_kind(errors: Iterable[FileError]) -> dict[tuple[str, str], list[FileError]]:
    """Group errors by hook and kind, the most frequent kind first."""
    groups: dict[tuple[str, str], list[FileError]] = {}
    for error in errors:
        groups.setdefault(error.kind, []).append(error)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _shorten_repeats(errors: Sequence[FileError]) -> None:
    """Let only the first failure of each kind print the worker's traceback."""
    for error in errors:  # hide all tracebacks before showing any: errors may share a cause
        cause = error.__cause__
        if cause is not None and isinstance(cause.__cause__, WorkerTraceback):
            object.__setattr__(cause, "__cause__", None)
    for first, *_ in by_kind(errors).values():
        cause = first.__cause__
        if cause is not None and cause.__traceback__ is None:
            show_worker_traceback(first)


def shown(in_name: Any) -> str:
    """Return an input as text for a message; for a large group, the first names and the count.

    Examples
    --------
    >>> shown("a.fits"), shown(["a.fits", "b.fits", "c.fits", "d.fits"])
    ("'a.fits'", "['a.fits', 'b.fits', 'c.fits', ... 4 in all]")
    """
    if type(in_name) is str:  # the usual case: ten times faster than the checks below
        return repr(in_name)
    if isinstance(in_name, os.PathLike):
        return repr(os.fspath(in_name))
    if not isinstance(in_name, (list, tuple)):
        return repr(in_name)
    first = ", ".join(shown(member) for member in in_name[:MAX_MEMBERS_SHOWN])
    if len(in_name) > MAX_MEMBERS_SHOWN:
        first += f", ... {len(in_name)} in all"
    return f"[{first}]"


def signal_name(number: int) -> str:
    """Return a signal's name, such as ``'SIGKILL'``, or its number as text if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_ended(exitcode: int) -> str:
    """Return how a process ended, as a predicate for a sentence, from its exit code.

    Examples
    --------
    >>> how_ended(-9), how_ended(3)
    ('was killed by SIGKILL', 'ended with exit code 3')
    """
    if exitcode < 0:
        return f"was killed by {signal_name(-exitcode)}"
    return f"ended with exit code {exitcode}"


def warn(message: str) -> None:
    """Warn at the line of the caller's code that called bigpipe, however deep the call is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "bigpipe":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, BigpipeWarning, stacklevel=level)
