"""The rows of a journal for runs and files, and their conversion to a `FileResult`.

Owns the columns and their contents. All are numbers or text, and structured text is JSON, so
reading a row runs no code. `bigpipe.journal_store.file` writes rows to disk.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from bigpipe.encoding import decode, encode
from bigpipe.errors import FileError, RemoteError, UnsafeValueError
from bigpipe.records import FileResult, Outcome, Sample

__all__ = [
    "SAMPLE_COLUMNS",
    "WRITTEN",
    "WRITTEN_COLUMNS",
    "FileRow",
    "FileState",
    "FileTexts",
    "LiveRow",
    "RunRow",
    "current_folder",
    "encoded_name",
    "error_text",
    "file_row",
    "file_texts",
    "pipe_name",
    "result_of",
    "written_row",
]

_quoted = json.JSONEncoder().encode  # of text

FileState = tuple[int, int] | tuple[int, int, str]
"""Bytes and time of the last change (ns since 1970) of a file, and its SHA-256 if asked for."""

FileTexts = tuple[str, str, str, str | None, str | None, str | None]
"""`FileRow.inputs`, ``outputs``, ``seconds``, ``outname``, ``meta`` and ``lost`` as text. Made in
the worker, as encoding is most of the work of the journal, and workers share it."""


class RunRow(NamedTuple):
    """One run."""

    began_at: float
    """Seconds since 1970."""
    ended_at: float | None
    """The same; ``None`` while it runs, and if it was killed."""
    end: str | None
    """``'finished'``, or ``'interrupted'`` before its last input; ``None`` as for ``ended_at``."""
    host: str
    pid: int
    """The machine, and the process id of the caller."""
    folder: str
    """The current folder."""
    pipe: str
    """The class of the pipeline, including its module."""
    n_files: int | None
    """Number of inputs, if it was known."""
    fingerprint: str
    """Fingerprint of keywords, options and code together."""
    parts: str
    """Fingerprint of each of them (JSON)."""
    keywords: str
    """Keywords of the hooks, abbreviated (JSON)."""
    versions: str
    """Versions of Python and of packages (JSON)."""
    options: str | None = None
    """Options that differ from their defaults, abbreviated (JSON)."""


class FileRow(NamedTuple):
    """One attempt at one file."""

    run: int
    """Number of the run."""
    place: int
    """Place of the input in ``in_names``."""
    key: str
    """Key that identifies the input: its absolute name, or a JSON list of names."""
    in_name: str
    """The input as it was given (encoded)."""
    inputs: str
    """`FileState` of each of its files before it was read, ``null`` if not a file (JSON)."""
    attempt: int
    """Number of the attempt, from 1."""
    is_final: int
    """0 if the file was retried after this attempt."""
    outcome: str
    """Value of `Outcome`."""
    rejected_by: str | None
    """Hook, or hook and function, that returned ``None``."""
    outname: str | None
    """Name of the output as it was returned (encoded)."""
    outputs: str
    """Name and `FileState` of each file put in place for it, including side files (JSON)."""
    meta: str | None
    """Metadata (encoded)."""
    lost: str | None
    """What could not be encoded, and why; the result cannot be taken from the journal then."""
    ended_at: float
    """Seconds since 1970."""
    seconds: str
    """Seconds in each hook (JSON)."""
    peak_rss: int | None
    growth: int | None
    projected: int | None
    worker: int | None
    error: str | None
    """Message, hook, exit code, traceback and cause of the error (JSON)."""
    began_at: float | None = None
    """Seconds since 1970."""

    @property
    def given(self) -> Any:
        """The input as it was given."""
        return decode(self.in_name)

    @property
    def states(self) -> list[Any]:
        """`FileState` of each of its files, as a list; ``None`` for one that is not a file."""
        states: list[Any] = json.loads(self.inputs)
        return states

    @property
    def n_bytes(self) -> int | None:
        """Bytes of its files together; ``None`` if no name was that of a file."""
        sizes = [state[0] for state in self.states if state is not None]
        return sum(sizes) if sizes else None

    @property
    def returned(self) -> Any:
        """Name of the output as it was returned."""
        return None if self.outname is None else decode(self.outname)

    @property
    def placed(self) -> list[Any]:
        """Name and `FileState`, as lists, of each file put in place for it."""
        placed: list[Any] = json.loads(self.outputs)
        return placed

    @property
    def hook_seconds(self) -> dict[str, float]:
        """Seconds in each hook."""
        seconds: dict[str, float] = json.loads(self.seconds)
        return seconds


class LiveRow(NamedTuple):
    """The current file of one worker."""

    worker: int
    """Its number in the run."""
    pid: int | None
    """Its process id, if it is a process."""
    place: int
    """Place of the input in ``in_names``."""
    in_name: str
    """The input as it was given (encoded)."""
    hook: str | None
    """The hook that is running, with the function of a list after a colon."""
    since: float
    """When the worker began the file, in seconds since 1970."""
    memory: int | None
    """Bytes that the worker and its children use."""
    is_paused: int
    """1 if the worker is paused because memory is short."""

    @property
    def given(self) -> Any:
        """The input as it was given."""
        return decode(self.in_name)


SAMPLE_COLUMNS = ("run", *Sample._fields)

WRITTEN = {"attempt": 1, "is_final": 1, "outcome": Outcome.WRITTEN.value}
"""Columns with the same value for all files written at the first attempt, which most files are.
The run is constant, too; columns that are not stored are ``None``."""
WRITTEN_COLUMNS = (
    *("place", "key", "in_name", "inputs", "outputs", "seconds", "outname", "meta", "ended_at"),
    *("peak_rss", "growth", "projected", "worker", "began_at"),
)
"""The columns that differ between such files."""


def file_texts(
    inputs: Sequence[FileState | None],
    seconds: dict[str, float],
    outputs: Sequence[tuple[str, FileState | None]] = (),
    returned: tuple[Any, Any] | None = None,
) -> FileTexts:
    """Return the text columns of a file's row.

    Parameters
    ----------
    inputs : sequence of FileState or None
        State of each of its files before it was read.
    seconds : dict
        Seconds in each hook.
    outputs : sequence of (str, FileState or None), optional
        Files that were put in place, and their states.
    returned : tuple of outname and meta, optional
        What ``file_process`` returned; ``None`` if it failed.
    """
    lost = meta = outname = None
    if returned is not None:
        try:
            outname = _encoded(returned[0], "outname")
            meta = encode(returned[1], name="meta")
        except UnsafeValueError as error:
            lost = str(error)
        except MemoryError:  # the file is finished and must not fail because of its row
            lost = "memory ran out while its metadata was made text"
    return (
        _states_text(inputs),
        _outputs_text(outputs),
        _seconds_format(tuple(seconds)) % tuple(seconds.values()),
        outname,
        meta,
        lost,
    )


def file_row(
    run: int, key: str, result: FileResult, texts: FileTexts, ended_at: float, *, is_final: bool
) -> FileRow:
    """Return the row of a file."""
    inputs, outputs, seconds, outname, meta, lost = texts
    return FileRow(
        run,
        result.index,
        key,
        encoded_name(result.in_name),
        inputs,
        result.attempts,
        int(is_final),
        result.outcome.value,
        result.rejected_by,
        outname,
        outputs,
        meta,
        lost,
        ended_at,
        seconds,
        result.peak_rss,
        result.growth,
        result.projected,
        result.worker,
        None if result.error is None else error_text(result.error),
        result.began_at,
    )


def written_row(key: str, result: FileResult, texts: FileTexts, ended_at: float) -> tuple[Any, ...]:
    """Return the `WRITTEN_COLUMNS` of a file that was written at the first attempt."""
    inputs, outputs, seconds, outname, meta, _ = texts
    return (
        result.index,
        key,
        encoded_name(result.in_name),
        inputs,
        outputs,
        seconds,
        outname,
        meta,
        ended_at,
        result.peak_rss,
        result.growth,
        result.projected,
        result.worker,
        result.began_at,
    )


# Common values are put together by hand: the JSON encoder would take several times as long.


def _encoded(value: Any, name: str = "value") -> str:
    if value is None:
        return "null"
    return _quoted(value) if type(value) is str and value.isascii() else encode(value, name)


def _states_text(states: Sequence[FileState | None]) -> str:
    return f"[{', '.join(map(_state_text, states))}]"


def _state_text(state: FileState | None) -> str:
    if state is None:
        return "null"
    checksum = "" if len(state) == 2 else f', "{state[2]}"'
    return f"[{state[0]}, {state[1]}{checksum}]"


def _outputs_text(outputs: Sequence[tuple[str, FileState | None]]) -> str:
    texts = [f"[{_quoted(name)}, {_state_text(state)}]" for name, state in outputs]
    return f"[{', '.join(texts)}]"


@functools.lru_cache(maxsize=100)
def _seconds_format(hooks: tuple[str, ...]) -> str:
    names = [_quoted(hook).replace("%", "%%") for hook in hooks]
    return f"{{{', '.join(f'{name}: %.6f' for name in names)}}}"


def encoded_name(in_name: Any) -> str:
    """Return an input as text that can be decoded, or is at least readable."""
    try:
        return _encoded(in_name)
    except UnsafeValueError:  # an object of the caller's own class: keep its text
        return encode(str(in_name))


def current_folder() -> str:
    """Return the current folder as stored in a journal."""
    # A name that is not valid UTF-8 cannot be stored unchanged.
    return os.getcwd().encode("utf-8", "backslashreplace").decode()


def pipe_name(pipe: Any) -> str:
    """Return the name of a pipeline in a journal."""
    cls = type(pipe)
    return f"{cls.__module__}.{cls.__qualname__}"


def error_text(error: FileError) -> str:
    """Return an error as JSON."""
    cause = error.__cause__
    return json.dumps(
        {
            "message": str(error),
            "hook": error.hook,
            "exitcode": error.exitcode,
            "attempts": error.attempts,
            "traceback": error.traceback,
            "kind": error.kind[1],
            "cause": None if cause is None else _described(cause),
        }
    )


def _described(cause: BaseException) -> str:
    if isinstance(cause, RemoteError):
        return str(cause)
    try:
        return f"{type(cause).__name__}: {cause}"
    except Exception:  # a foreign __str__ may raise anything
        return type(cause).__name__


def result_of(row: FileRow, index: int, in_name: Any) -> FileResult:
    """Return the result in a row, for an input of another run."""
    error = None if row.error is None else _error_of(row.error, in_name)
    return FileResult(
        index,
        in_name,
        row.returned,
        {"bmp_error": error} if error is not None else decode(row.meta or "{}"),
        Outcome(row.outcome),
        row.rejected_by,
        error,
        row.hook_seconds,
        row.peak_rss,
        row.attempt,
        row.worker,
        row.projected,
        from_journal=True,
        began_at=row.began_at,
        growth=row.growth,
    )


def _error_of(text: str, in_name: Any) -> FileError:
    told = json.loads(text)
    error = FileError(
        told["message"],
        in_name=in_name,
        hook=told["hook"],
        exitcode=told["exitcode"],
        attempts=told["attempts"],
        traceback=told["traceback"],
    )
    if told["cause"] is not None:
        error.__cause__ = RemoteError(told["cause"])
    return error
