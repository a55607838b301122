"""What identifies a file and its state: absolute name, size, time of last change, checksum.

Owns what is compared to tell whether an input or output has changed, and which files an input
names. `bigpipe.running.resume` decides what follows.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

__all__ = [
    "State",
    "checksum",
    "checksums",
    "flat_names",
    "input_states",
    "key_of",
    "names_of",
    "state_of",
]

State = tuple[int, int]
"""Bytes, and time of the last change in ns since 1970. For a folder: total size, newest time."""


def key_of(in_name: Any) -> str:
    """Return the key of an input, which does not depend on the current folder.

    Parameters
    ----------
    in_name : str, os.PathLike or (nested) list of them
        An input.

    Returns
    -------
    str
        The absolute name, with links not followed; for a group, a JSON list of such names.

    Examples
    --------
    >>> key_of("/data/../raw/a.fits"), key_of(["/raw/a.fits", ["/raw/b.fits"]])
    ('/raw/a.fits', '["/raw/a.fits", ["/raw/b.fits"]]')
    """
    if isinstance(in_name, (str, os.PathLike)):
        key = os.path.abspath(os.fsdecode(in_name))
        # A database cannot store names that are not valid UTF-8.
        return key if key.isascii() or key.isprintable() else json.dumps(key)
    if isinstance(in_name, (list, tuple)):
        return json.dumps(_nested(in_name))
    return f"{type(in_name).__qualname__} {in_name!r}"


def names_of(key: str) -> list[str]:
    """Return the files of the input that has this key.

    Examples
    --------
    >>> names_of("/raw/a.fits"), names_of('["/raw/a.fits", ["/raw/b.fits"]]')
    (['/raw/a.fits'], ['/raw/a.fits', '/raw/b.fits'])
    """
    return list(flat_names(json.loads(key) if key.startswith(("[", '"')) else key))


def flat_names(in_name: Any) -> Iterator[str]:
    """Yield the file names of an input: its own, or those of a nested group."""
    if isinstance(in_name, (str, os.PathLike)):
        name = os.fspath(in_name)
        if isinstance(name, str):
            yield name
    elif isinstance(in_name, (list, tuple)):
        for member in in_name:
            yield from flat_names(member)


def _nested(in_name: Any) -> Any:
    if isinstance(in_name, (list, tuple)):
        return [_nested(member) for member in in_name]
    if isinstance(in_name, (str, os.PathLike)):
        return os.path.abspath(os.fsdecode(in_name))
    return repr(in_name)


def state_of(name: str) -> State | None:
    """Return size and time of a file, or of a folder's contents; ``None`` if it does not exist."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):  # ValueError: the name has a null character
        return None
    if stat.S_ISDIR(status.st_mode):
        return _state_of_folder(name, status.st_mtime_ns)
    return (status.st_size, status.st_mtime_ns)


def _state_of_folder(name: str, newest: int) -> State:
    size = 0
    for folder, _, files in os.walk(name):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            try:
                status = os.lstat(path)
            except OSError:  # removed meanwhile
                continue
            newest = max(newest, status.st_mtime_ns)
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (size, newest)


def input_states(in_name: Any) -> tuple[State | None, ...]:
    """Return the states of all files of an input."""
    if type(in_name) is str:
        return (state_of(in_name),)
    return tuple(map(state_of, flat_names(in_name)))


def checksum(name: str) -> str | None:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder.

    Return ``None`` if it cannot be read.
    """
    try:
        if not os.path.isdir(name):
            return _sha256(name)
        digest = hashlib.sha256()
        for path in sorted(_files_below(name)):
            digest.update(os.fsencode(os.path.relpath(path, name)) + b"\0")
            digest.update(_sha256(path).encode())
    except (OSError, ValueError):  # ValueError: the name has a null character
        return None
    return digest.hexdigest()


def checksums(in_name: Any) -> tuple[str | None, ...]:
    """Return the checksums of all files of an input."""
    return tuple(map(checksum, flat_names(in_name)))


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(folder: str) -> Iterator[str]:
    for above, _, files in os.walk(folder):
        yield from (os.path.join(above, file) for file in files)
