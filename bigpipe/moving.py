"""Files and folders on disk: how one replaces another, and what copies are alike.

Owns single moves, copies and writes. Which are made, and in which order, is `bigpipe.outputs`'s.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigpipe.claims import flat_names

__all__ = [
    "Copy",
    "copy",
    "is_there",
    "lost",
    "make_folders_of",
    "moves",
    "not_moved",
    "not_staged",
    "overwrites_input",
    "put",
    "remove",
    "status_of",
    "write_whole",
]

COPY_STEP = 1 << 30  # bytes asked of the kernel at once; it copies 2 GiB at most
READ_STEP = 1 << 20  # bytes; arbitrary
# A change this soon after the last may leave a file's times as they were: 2 s on FAT and some
# network file systems, 10 ms at most elsewhere.
TIME_RESOLUTION_NS = 2_000_000_000

_CAN_ASK = os.access in os.supports_follow_symlinks and os.access in os.supports_effective_ids
# Some sandboxes and C libraries refuse the system call, which looks as if nothing were there.
_CAN_ASK = _CAN_ASK and os.access(os.sep, os.F_OK, follow_symlinks=False, effective_ids=True)

_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when anything is done to a file."""

    path: str
    inode: int
    size: int
    modified: int
    changed: int


class Copy:
    """A copy of a file or folder, which knows whether something has been done to it.

    Parameters
    ----------
    source : str
        What is copied, with its mode and times.
    destination : str
        Where to.
    """

    def __init__(self, source: str, destination: str) -> None:
        self._source = source
        self._destination = destination
        self._before = _stamp(source)
        copy(source, destination)
        self._stamps = _stamps(destination)

    def is_untouched(self) -> bool:
        """Whether the copy is as it was made. A folder changed within 2 s counts as touched."""
        if self._stamps != _stamps(self._destination):
            return False
        if all(x.changed - x.modified > TIME_RESOLUTION_NS for x in self._stamps):
            return True
        return _are_equal_files(self._source, self._destination)

    def is_current(self) -> bool:
        """Whether the source is still what was copied."""
        return os.path.lexists(self._source) and _stamp(self._source) == self._before


def _stamp(path: str) -> _Stamp:
    status = os.lstat(path)
    return _Stamp(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _stamps(path: str) -> list[_Stamp]:
    found = [_stamp(path)]
    for folder, folders, names in os.walk(path):
        found += [_stamp(os.path.join(folder, name)) for name in sorted(folders + names)]
    return found


def _are_equal_files(one: str, other: str) -> bool:
    if not (os.path.isfile(one) and os.path.isfile(other)):
        return False
    with open(one, "rb") as left, open(other, "rb") as right:
        while True:
            parts = left.read(READ_STEP), right.read(READ_STEP)
            if parts[0] != parts[1]:
                return False
            if not parts[0]:
                return True


def moves(source: str, destination: str, mains: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield what is to be moved where, but for ``mains``; new folders in one piece."""
    with os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(destination, entry.name)
            if entry.path in mains:
                continue
            has_main = any(main.startswith(entry.path + os.sep) for main in mains)
            if entry.is_dir(follow_symlinks=False) and (has_main or os.path.isdir(place)):
                yield from moves(entry.path, place, mains)
            else:
                yield entry.path, place


def put(source: str, destination: str, wholly: bool) -> None:
    """Move to a place where a file may be; ``wholly``: or a folder, which is replaced."""
    try:
        os.replace(source, destination)
    except OSError as error:
        if not wholly or error.errno not in _IN_THE_WAY:
            raise
        _exchange(source, destination)


def _exchange(source: str, destination: str) -> None:
    """Replace a folder, or a file by a folder; what was there takes the place of ``source``."""
    if _exchange_at_once(source, destination):
        return
    # Killed here, both are lost to their name, but what was there is not lost.
    aside = os.path.join(os.path.dirname(destination), f".bigpipe-old-{os.urandom(8).hex()}")
    os.rename(destination, aside)
    try:
        os.rename(source, destination)
    except BaseException:
        os.rename(aside, destination)
        raise
    os.rename(aside, source)


def _exchange_at_once(source: str, destination: str) -> bool:
    import ctypes

    at_cwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:  # not Linux, or an old C library
        return False
    paths = os.fsencode(source), os.fsencode(destination)
    return bool(renameat2(at_cwd, paths[0], at_cwd, paths[1], rename_exchange) == 0)


def remove(path: str) -> None:
    """Remove a file, a link or a folder, as far as that is possible."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # gone already, or `StagingFolder.empty` finds it is still there
            os.unlink(path)


def copy(source: str, destination: str) -> None:
    """Copy a file, a link or a folder."""
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(source, destination, symlinks=True, copy_function=_copy_file)
    elif os.path.islink(source):
        os.symlink(os.readlink(source), destination)
    else:
        _copy_file(source, destination)


def _copy_file(source: str, destination: str) -> None:
    """Copy a file with its mode and times, by sharing its blocks where that can be."""
    with open(source, "rb") as reader, open(destination, "wb") as writer:
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), COPY_STEP):
                pass
        except (AttributeError, OSError):  # not on this system, or not between these two
            shutil.copyfileobj(reader, writer)  # goes on where the kernel stopped
    shutil.copystat(source, destination)


def make_folders_of(destination: str, source: str) -> None:
    """Make the missing folders of a final place, like those that the hook has made."""
    folder, model = os.path.dirname(destination), os.path.dirname(source)
    if not os.path.isdir(folder):
        make_folders_of(folder, model)
        with suppress(FileExistsError):  # another worker was faster
            os.mkdir(folder)
            shutil.copymode(model, folder)


def is_there(path: str) -> bool:
    """Whether a name is taken, be it by a link to nowhere.

    For a name that is free, as that of most outputs, `os.path.lexists` makes an exception and
    catches it, which takes longer than to ask.
    """
    if not _CAN_ASK:
        return os.path.lexists(path)
    try:
        return os.access(path, os.F_OK, follow_symlinks=False, effective_ids=True)
    except ValueError:  # no name that a file can have
        return False


def status_of(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of what is there, or ``None``."""
    try:
        return os.stat(path)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return None


def overwrites_input(
    final: str | os.PathLike[str], inputs: Iterable[Any], home: str | None = None
) -> bool:
    """Tell whether a name is, by whatever path or link, an existing file among the inputs.

    Parameters
    ----------
    final : str or os.PathLike
        Where something would be written.
    inputs : iterable
        Names, or nested lists of names.
    home : str, optional
        Folder that relative names of inputs start from; ``None`` for the current one.

    Returns
    -------
    bool
        Whether writing it would destroy an input.
    """
    found = status_of(final)
    if found is None:
        return False
    names = flat_names(list(inputs))
    others = (status_of(os.path.join(home or "", name)) for name in names)
    return any(other is not None and os.path.samestat(found, other) for other in others)


def not_staged(error: OSError, name: str) -> OSError:
    """Return the error of an output whose copy or staging folder cannot be made."""
    text = (
        f"the output cannot be prepared ({error.strerror or error}: {error.filename!r}). Make its "
        "folder writable, with room for a copy, or set atomic = False in the class"
    )
    return OSError(error.errno or errno.EIO, text, name)


def not_moved(error: OSError, destination: str) -> OSError:
    """Return the error of an output that cannot be put in place."""
    text = (
        f"the output is written, but cannot be moved to its name ({error.strerror or error}); an "
        "earlier output is unchanged. Make the folder writable, or remove what is in the way"
    )
    return OSError(error.errno or errno.EIO, text, error.filename2 or destination)


def lost(name: str) -> OSError:
    """Return the error of an output that has gone with the folder in which it was written."""
    text = (
        "the output is lost: its folder was removed or renamed while it was written. Make the "
        "folder again, or give create_outdir=True, and run the file once more"
    )
    return FileNotFoundError(errno.ENOENT, text, name)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that it is there whole, or is what it was; a link stays a link.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".bigpipe-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):  # it may not have come into being
            os.unlink(temporary)
        # On a full disk there is no name, and the other is not one that was given.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    with suppress(OSError):  # some file systems cannot sync a folder: the file is whole anyway
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
