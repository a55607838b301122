"""A list that may be long and is kept on disk until it is read.

Owns the temporary file. `bigpipe.claims.register` decides what it contains.
"""

from __future__ import annotations

import marshal
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

__all__ = ["MAX_IN_MEMORY", "Spool"]

MAX_IN_MEMORY = 500  # items written to disk at a time; arbitrary


class Spool:
    """Items kept in a temporary file, which are read once, in order."""

    def __init__(self) -> None:
        self._new: list[Any] = []
        self._file: IO[bytes] | None = None
        self._read_to = 0

    def extend(self, things: Iterable[Any]) -> None:
        """Add items that `marshal` can write."""
        self._new.extend(things)
        if len(self._new) >= MAX_IN_MEMORY:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._file.seek(0, os.SEEK_END)
        marshal.dump(self._new, self._file)
        self._new = []

    def read_on(self) -> Iterator[Any]:
        """Yield the items added since the last call."""
        if self._file is not None:
            self._file.seek(self._read_to)
            while True:
                try:
                    things = marshal.load(self._file)
                except EOFError:
                    break
                yield from things
            self._read_to = self._file.tell()
        things, self._new = self._new, []
        yield from things

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
