"""Writing what a report consists of: whole or not at all, and never over a journal.

Owns the files. What is in them is told by the other modules of this package.
"""

from __future__ import annotations

import os
from contextlib import suppress

from bigpipe.errors import JournalError

__all__ = ["write_whole"]

_SQLITE = b"SQLite format 3\0"


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that it is there whole, or is what it was.

    Raises
    ------
    JournalError
        If there is a journal of that name.
    OSError
        If it cannot be written.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a terminal, a pipe; or a folder
        with open(path, "wb") as file:
            file.write(content)
        return
    target = os.path.realpath(path)  # a link stays a link
    with suppress(FileNotFoundError), open(target, "rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            raise JournalError(f"{os.fspath(path)!r} is a journal: give the report another name")
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):  # it may not have come into being
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:  # not a name that was given
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
