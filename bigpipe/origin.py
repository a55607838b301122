"""Records of a run in a journal and of the origin of an output, and their text.

`bigpipe.journal` makes the records.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime

from bigpipe.budget import format_bytes
from bigpipe.errors import shown
from bigpipe.records import FileResult

__all__ = ["JournalRun", "Origin", "told"]


@dataclass(frozen=True)
class JournalRun:
    """One run recorded in a journal."""

    number: int
    """Number of the run in the journal, from 1."""
    began: datetime
    """When the run began, in local time."""
    ended: datetime | None
    """When the run ended; ``None`` if it has not ended or was killed."""
    state: str
    """``'finished'``, ``'interrupted'`` (Ctrl-C, an error), ``'running'`` or ``'killed'``."""
    host: str
    """Name of the machine."""
    pid: int
    """Process id of the caller."""
    folder: str
    """Working directory of the caller."""
    pipe: str
    """Class of the pipeline, including its module."""
    n_files: int | None
    """Number of inputs; ``None`` if it was not known in advance."""
    fingerprint: str
    """Fingerprint of keywords, options and code. A later run with another one runs its files
    again."""
    parts: dict[str, str] = field(repr=False)
    """Fingerprint of each keyword, attribute, hook and function."""
    keywords: dict[str, str] = field(repr=False)
    """Keywords of the hooks, abbreviated."""
    versions: dict[str, str] = field(repr=False)
    """Versions of Python and of the imported packages."""
    options: dict[str, str] = field(repr=False, default_factory=dict)
    """Options that differed from their defaults, abbreviated."""


@dataclass(frozen=True)
class Origin:
    """Where an output comes from."""

    output: str
    """Absolute name of the output."""
    is_as_written: bool
    """Whether the output still has the size and time it had when written."""
    result: FileResult
    """Result of the input."""
    written: datetime
    """When the file ended, in local time."""
    inputs: tuple[tuple[str, int | None, str | None, bool], ...]
    """For each input: absolute name, bytes, SHA-256 if known, whether size and time are unchanged.
    """
    run: JournalRun
    """The run that made it: keywords, code, versions."""


def told(origin: Origin) -> str:
    """Return the origin of an output as readable text."""
    run, result = origin.run, origin.result
    state = "unchanged" if origin.is_as_written else _changed(origin.output)
    lines = [
        origin.output,
        f"  written {origin.written:%Y-%m-%d %H:%M:%S}, {state}",
        f"  from {shown(result.in_name)}",
    ]
    for name, size, checksum, is_same in origin.inputs:
        parts = [name, "no file" if size is None else format_bytes(size)]
        parts += [f"SHA-256 {checksum}"] if checksum else []
        parts += [] if is_same else [_changed(name)]
        lines.append(f"    {', '.join(parts)}")
    lines.append(f"  by {run.pipe}, run {run.number} on {run.host}, in {run.folder}")
    lines += _block("keywords", run.keywords)
    lines += _block("fingerprints of keywords and code", run.parts)
    lines += _block("versions", run.versions)
    return "\n".join(lines)


def _changed(name: str) -> str:
    return "changed since" if os.path.lexists(name) else "removed since"


def _block(title: str, items: dict[str, str]) -> list[str]:
    if not items:
        return []
    width = max(map(len, items))
    return [f"  {title}", *(f"    {name:<{width}}  {text}" for name, text in items.items())]
