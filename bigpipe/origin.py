"""What a journal tells of a run, and of where an output comes from; in records and in words.

Owns the records and their text. They are made by `bigpipe.journal`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bigpipe.budget import format_bytes
from bigpipe.errors import shown
from bigpipe.records import FileResult

__all__ = ["JournalRun", "Origin", "told"]


@dataclass(frozen=True)
class JournalRun:
    """One run that a journal tells of."""

    number: int
    """Its place among the runs of the journal, from 1."""
    began: datetime
    """When it began, in local time."""
    ended: datetime | None
    """When it ended; ``None`` if it has not, or was killed."""
    state: str
    """``'finished'``, ``'interrupted'`` (Ctrl-C, an error), ``'at work'``, ``'killed'``."""
    host: str
    """The machine."""
    pid: int
    """Process id of the caller."""
    folder: str
    """The caller's current folder."""
    pipe: str
    """Class of the pipeline, with its module."""
    n_files: int | None
    """Inputs; ``None`` if their number was not known beforehand."""
    fingerprint: str
    """Of keywords, options and code. Files whose run has another one are run again."""
    parts: dict[str, str] = field(repr=False)
    """Fingerprint of each keyword, attribute, hook and function."""
    keywords: dict[str, str] = field(repr=False)
    """Keywords of the hooks, in a short form for people."""
    versions: dict[str, str] = field(repr=False)
    """Of Python and of the packages that were imported."""
    options: dict[str, str] = field(repr=False, default_factory=dict)
    """Those that were not what they are by default, in a short form for people."""


@dataclass(frozen=True)
class Origin:
    """Where an output comes from."""

    output: str
    """Absolute name of the output."""
    is_as_written: bool
    """It has the size and the time that it was given then."""
    result: FileResult
    """What became of the input."""
    written: datetime
    """When its file ended, in local time."""
    inputs: tuple[tuple[str, int | None, str | None, bool], ...]
    """Of each input: absolute name, bytes, SHA-256 if known, whether size and time are still so."""
    run: JournalRun
    """The run that made it: keywords, code, versions."""


def told(origin: Origin) -> str:
    """Return where an output comes from, as lines for a person."""
    run, result = origin.run, origin.result
    state = "as it was written" if origin.is_as_written else "changed since, or gone"
    lines = [
        origin.output,
        f"  written {origin.written:%Y-%m-%d %H:%M:%S}, {state}",
        f"  from {shown(result.in_name)}",
    ]
    for name, size, checksum, is_same in origin.inputs:
        parts = [name, "no file" if size is None else format_bytes(size)]
        parts += [f"SHA-256 {checksum}"] if checksum else []
        parts += [] if is_same else ["changed since, or gone"]
        lines.append(f"    {', '.join(parts)}")
    lines.append(f"  by {run.pipe}, run {run.number} on {run.host}, in {run.folder}")
    lines += _block("keywords", run.keywords)
    lines += _block("fingerprints of keywords and code", run.parts)
    lines += _block("versions", run.versions)
    return "\n".join(lines)


def _block(title: str, items: dict[str, str]) -> list[str]:
    if not items:
        return []
    width = max(map(len, items))
    return [f"  {title}", *(f"    {name:<{width}}  {text}" for name, text in items.items())]
