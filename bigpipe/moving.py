"""Files and folders on disk: how one replaces another, and whether a copy is unchanged.

Owns single moves, copies and writes. `bigpipe.outputs` decides which to make, and in which order.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigpipe.file_states import flat_names

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
    "places",
    "put",
    "remove",
    "status_of",
    "write_whole",
]

COPY_STEP = 1 << 30  # bytes per request to the kernel, which copies 2 GiB at most
READ_STEP = 1 << 20  # bytes; arbitrary
# A change this soon after the last one may not change a file's times: 2 s on FAT and some
# network file systems, 10 ms at most elsewhere.
TIME_RESOLUTION_NS = 2_000_000_000

_CAN_ASK = os.access in os.supports_follow_symlinks and os.access in os.supports_effective_ids
# Some sandboxes and C libraries refuse the system call, which looks as if no file existed.
_CAN_ASK = _CAN_ASK and os.access(os.sep, os.F_OK, follow_symlinks=False, effective_ids=True)

_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """Attributes of which at least one changes when a file is changed."""

    path: str
    inode: int
    size: int
    modified: int
    changed: int


class Copy:
    """A copy of a file or folder, which can tell whether it has been changed.

    Parameters
    ----------
    source : str
        The file or folder to copy, with its mode and times.
    destination : str
        The name of the copy.
    """

    def __init__(self, source: str, destination: str) -> None:
        self._source = source
        self._destination = destination
        self._before = _stamp(source)
        copy(source, destination)
        self._stamps = _stamps(destination)

    def is_untouched(self) -> bool:
        """Whether the copy is unchanged. A folder changed within 2 s counts as touched."""
        if self._stamps != _stamps(self._destination):
            return False
        if all(x.changed - x.modified > TIME_RESOLUTION_NS for x in self._stamps):
            return True
        return _are_equal_files(self._source, self._destination)

    def is_current(self) -> bool:
        """Whether the source has not changed since it was copied."""
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
    """Yield the moves to make, except for ``mains``; new folders move in one piece."""
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


def places(source: str, destination: str) -> Iterator[str]:
    """Yield the final name of a file that is to be moved, or of each in a folder; not of links."""
    if os.path.isdir(source) and not os.path.islink(source):
        with os.scandir(source) as entries:
            for entry in entries:
                yield from places(entry.path, os.path.join(destination, entry.name))
    elif not os.path.islink(source):  # which has no content that could be lost
        yield destination


def put(source: str, destination: str, wholly: bool) -> None:
    """Move to a name, replacing a file; with ``wholly``, also a folder."""
    try:
        os.replace(source, destination)
    except OSError as error:
        if not wholly or error.errno not in _IN_THE_WAY:
            raise
        _exchange(source, destination)


def _exchange(source: str, destination: str) -> None:
    """Replace a folder, or a file by a folder; the old one takes the name ``source``."""
    if _exchange_at_once(source, destination):
        return
    # If killed here, neither has the final name, but the old output still exists.
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
        with suppress(OSError):  # gone already, or `StagingFolder.empty` finds that it still exists
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
    """Copy a file with its mode and times, sharing its blocks where possible."""
    with open(source, "rb") as reader, open(destination, "wb") as writer:
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), COPY_STEP):
                pass
        except (AttributeError, OSError):  # not on this system, or not between these two
            shutil.copyfileobj(reader, writer)  # continues where the kernel stopped
    shutil.copystat(source, destination)


def make_folders_of(destination: str, source: str) -> None:
    """Create the missing folders of a final name, like those that the hook has made."""
    folder, model = os.path.dirname(destination), os.path.dirname(source)
    if not os.path.isdir(folder):
        make_folders_of(folder, model)
        with suppress(FileExistsError):  # another worker was faster
            os.mkdir(folder)
            shutil.copymode(model, folder)


def is_there(path: str) -> bool:
    """Return whether a name is taken, even by a broken link.

    For a free name, as most outputs have, `os.path.lexists` raises and catches an exception, which
    takes longer than the system call.
    """
    if not _CAN_ASK:
        return os.path.lexists(path)
    try:
        return os.access(path, os.F_OK, follow_symlinks=False, effective_ids=True)
    except ValueError:  # no name that a file can have
        return False


def status_of(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of a file or folder, or ``None`` if it does not exist."""
    try:
        return os.stat(path)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return None


def overwrites_input(
    final: str | os.PathLike[str], inputs: Iterable[Any], home: str | None = None
) -> bool:
    """Return whether a name leads, by any path or link, to an existing file among the inputs.

    Parameters
    ----------
    final : str or os.PathLike
        Name that would be written to.
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
        "folder writable, with room for a copy, give another outdir, or set atomic = False in the "
        "class"
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
    """Return the error of an output that was lost with the folder in which it was written."""
    text = (
        "the output is lost: its folder was removed or renamed while it was written. Make the "
        "folder again, or give create_outdir=True, and run the file once more"
    )
    return FileNotFoundError(errno.ENOENT, text, name)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file completely or leave it unchanged; a link stays a link.

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
        with suppress(OSError):  # it may not have been created
            os.unlink(temporary)
        # On a full disk the error has no file name, or that of the temporary file.
        if isinstance(error, OSError) and error.filename in (None, temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    with suppress(OSError):  # some file systems cannot sync a folder: the file is whole anyway
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
