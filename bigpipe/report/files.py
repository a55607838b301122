"""Writes the files of a report: whole, to a file or a pipe, and never over a journal.

Owns the writing. The other modules of this package make the content.
"""

from __future__ import annotations

import os
from contextlib import suppress

from bigpipe.errors import JournalError
from bigpipe.moving import write_whole

__all__ = ["write_file"]

_SQLITE = b"SQLite format 3\0"


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file; on an error, leave what was there unchanged.

    Raises
    ------
    JournalError
        If the file that is there is a journal.
    OSError
        If the file cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, a pipe; or a folder
        try:
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:  # an error of write names no file
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        return
    with suppress(FileNotFoundError), open(path, "rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            raise JournalError(f"{os.fspath(path)!r} is a journal: give the report another name")
    try:
        write_whole(path, content)
    except FileNotFoundError as error:
        what = "the folder of this file does not exist; make it first"
        raise FileNotFoundError(error.errno, what, os.fspath(path)) from None
