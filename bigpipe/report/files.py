"""Writing what a report consists of: into a file or a pipe, and never over a journal.

Owns the files. What is in them is told by the other modules of this package.
"""

from __future__ import annotations

import os
from contextlib import suppress

from bigpipe.errors import JournalError
from bigpipe.moving import write_whole

__all__ = ["write_file"]

_SQLITE = b"SQLite format 3\0"


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that it is there whole, or is what it was.

    Raises
    ------
    JournalError
        If there is a journal of that name.
    OSError
        If it cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, a pipe; or a folder
        try:
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:  # which has no name if it was opened
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        return
    with suppress(FileNotFoundError), open(path, "rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            raise JournalError(f"{os.fspath(path)!r} is a journal: give the report another name")
    write_whole(path, content)
