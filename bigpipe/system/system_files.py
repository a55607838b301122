"""Small text files of the system, below ``/proc`` and ``/sys``.

Owns a cheap way to read them, and the table of mounts. `bigpipe.measure`,
`bigpipe.system.cgroups` and `bigpipe.system.filesystems` interpret them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from bigpipe.interrupts import Postponed

__all__ = ["Mount", "mounts_in", "read_text", "word_after"]


def read_text(path: str) -> str | None:
    """Return the text of a system file; ``None`` if it cannot be read."""
    # Some are read ten times a second. With a file object, that would take nearly twice as long. An
    # interruption before `try` would leave the descriptor open.
    with Postponed(), suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = iter(lambda: os.read(file, 1 << 16), b"")
            return b"".join(parts).decode("utf-8", "surrogateescape")
        finally:
            os.close(file)
    return None


def word_after(words: str, text: str | None) -> str:
    """Return the word after `words` at the beginning of a line; ``''`` if no line begins so.

    Compiling a pattern for each file would take longer than reading them all.
    """
    return next(iter(f"\n{text or ''}".partition(f"\n{words}")[2].split(maxsplit=1)), "")


class Mount(NamedTuple):
    """A mounted file system."""

    root: str
    """The folder of the file system that appears at the mount point."""
    point: str
    kind: str
    """Such as ``'ext4'``."""
    options: str
    """Options of the file system, not of the mount."""


def mounts_in(text: str | None) -> Iterator[Mount]:
    r"""Yield the mounts in a text in the format of ``/proc/self/mountinfo``, in order.

    Examples
    --------
    >>> list(mounts_in(r"30 22 0:40 / /a\040b rw - nfs4 srv:/h rw,hard"))
    [Mount(root='/', point='/a b', kind='nfs4', options='rw,hard')]
    """
    for line in (text or "").split("\n"):
        before, _, after = line.partition(" - ")
        fields, source = before.split(" "), after.split(" ")
        if len(fields) >= 5 and source[0]:
            yield Mount(_unescaped(fields[3]), _unescaped(fields[4]), source[0], source[-1])


def _unescaped(field: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash."""
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
