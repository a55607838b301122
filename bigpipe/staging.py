"""Staging folders: where outputs are until they are complete.

Owns how they are made, locked and removed, and tells those of killed runs from those in use.
`bigpipe.outputs` writes to them and moves outputs out of them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress

from bigpipe.errors import BigpipeWarning
from bigpipe.moving import remove, status_of

__all__ = [
    "MAX_TRIES",
    "STAGING_NAME",
    "StagingFolder",
    "as_final",
    "can_be_replaced",
    "explain",
    "nearest_folder",
    "remove_dead_staging",
    "remove_if_unlocked",
    "remove_staging",
]

STAGING_NAME = ".bigpipe-staging"
MAX_TRIES = 100  # to make a folder that others sweep away; arbitrary, one or two are needed

_OWN_NAME = re.compile(r"(?P<host>.+)-\d+-[0-9a-f]{16}", re.DOTALL)
_IN_STAGING = re.compile(rf"{re.escape(STAGING_NAME)}/[^/\n]+-\d+-[0-9a-f]{{16}}/")


def as_final(text: str) -> str:
    """Return text with the names of staged outputs replaced by their final names."""
    return _IN_STAGING.sub("", text)


def explain(exception: BaseException, path: str, outname: str) -> None:
    """Add a note with the final name to a hook's exception that names a path in staging."""
    names = (getattr(exception, "filename", None), getattr(exception, "filename2", None))
    try:
        text = f"{exception} {names}"
    except Exception:  # a foreign __str__ may raise anything
        text = str(names)
    if path != outname and STAGING_NAME in text:
        with suppress(Exception):  # a frozen exception takes no note
            exception.add_note(f"{path!r} is where {outname!r} stays until complete.")


class StagingFolder:
    """A staging folder of this process, locked as long as the process lives.

    Parameters
    ----------
    folder : str
        The real path of the folder to make it in.
    status : os.stat_result
        Status of ``folder``.
    announce : callable or None
        Called with each path before it is made.

    Attributes
    ----------
    place, inside : str
        ``folder`` and the path of this folder, each with a separator at the end.

    Notes
    -----
    Another run removes the folder if it finds it unlocked:

    1. A makes the folder. B sees it, locks it, removes it. A cannot open or lock it: A retries.
    2. A opens it, B removes it, A locks it. The path no longer leads to it: A retries.
    3. A has locked it, and it still exists: B can no longer lock it.

    Processes that a hook has forked keep the lock. Until they end, the folder of a killed worker
    counts as in use, which is harmless.
    """

    def __init__(
        self, folder: str, status: os.stat_result, announce: Callable[[str], None] | None
    ) -> None:
        self.folder = folder
        self.place = os.path.join(folder, "")
        self.key = (status.st_dev, status.st_ino)
        self._parent = os.path.join(folder, STAGING_NAME)
        self._fd = -1
        for _ in range(MAX_TRIES):
            name = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(8).hex()}"
            self.path = os.path.join(self._parent, name)
            self.inside = self.path + os.sep
            if announce is not None:
                announce(self.path)
            try:
                self._make_parent(status)
                os.mkdir(self.path)
                if self._lock():
                    return
            except FileNotFoundError:  # removed by another run before it was opened
                continue
            except BaseException:  # Ctrl-C too
                self._unlock()
                remove_staging(self.path)
                raise
        raise OSError(errno.EAGAIN, "other processes keep removing it", self._parent)

    def _make_parent(self, status: os.stat_result) -> None:
        try:
            os.mkdir(self._parent)
        except FileExistsError:
            remove_dead_staging(self.folder)
            return
        except FileNotFoundError as error:
            if os.path.isdir(self.folder):  # as in /proc
                text = "its file system makes no new folders"
                raise OSError(errno.ENOTSUP, text, self._parent) from error
            raise
        # Anybody who may write to the folder may stage there, such as others in the group.
        with suppress(OSError):  # some file systems have no modes
            os.chmod(self._parent, stat.S_IMODE(status.st_mode))

    def _lock(self) -> bool:
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # no locks on this file system: others cannot lock it either
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another run is removing it
                self._unlock()
                return False
        status = os.fstat(self._fd)
        self._identity = (status.st_ino, status.st_dev)
        if not self.is_in_place():
            self._unlock()
            return False
        return True

    def _unlock(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def is_in_place(self) -> bool:
        """Whether the path still leads to this folder, which may have been moved or removed."""
        status = status_of(self.path)
        return status is not None and (status.st_ino, status.st_dev) == self._identity

    def names(self) -> list[str]:
        """Return the names in it."""
        return os.listdir(self._fd)

    def place_of(self, path: str) -> str:
        """Return the final path of something in this folder."""
        return os.path.join(self.folder, os.path.relpath(path, self.path))

    def empty(self) -> bool:
        """Remove its contents; return whether that worked."""
        with suppress(FileNotFoundError):  # moved or removed from outside, with all in it
            for name in os.listdir(self.path):
                remove(os.path.join(self.path, name))
            return not os.listdir(self.path)
        return False

    def remove(self) -> None:
        """Remove it, and its parent folder if that is then empty."""
        if self.is_in_place():
            _remove_folder(self.path)
        self._unlock()
        try:
            os.rmdir(self._parent)
        except OSError:  # other stagers are there, or it has been removed with all in it
            self._tell_strangers()

    def _tell_strangers(self) -> None:
        with suppress(OSError):
            strangers = [x for x in os.listdir(self._parent) if not _OWN_NAME.fullmatch(x)]
            if strangers:
                warnings.warn(
                    f"file_write has left {strangers} in {self._parent!r}, which bigpipe does not "
                    "move into place: it wrote outside the folder of its outname. Make such names "
                    "from a keyword (outdir), or set atomic = False in the class.",
                    BigpipeWarning,
                    stacklevel=2,
                )


def remove_staging(path: str) -> None:
    """Remove a staging folder without an owner, and its parent folder if that is then empty."""
    _remove_folder(path)
    with suppress(OSError):  # not empty, or gone
        os.rmdir(os.path.dirname(path))


def _remove_folder(path: str) -> None:
    try:
        os.rmdir(path)  # unlike `rmtree`, this needs no descriptor, of which there may be none left
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def remove_dead_staging(folder: str | os.PathLike[str]) -> None:
    """Remove the staging folders that killed runs have left in a folder.

    Those of running processes stay. So do those of other hosts, and those on file systems without
    locks, as it is unknown whether they are in use.

    Parameters
    ----------
    folder : str or os.PathLike
        A folder of outputs.
    """
    parent = os.path.join(folder, STAGING_NAME)
    try:
        names = os.listdir(parent)
    except OSError:  # there is none
        return
    for name in names:
        match = _OWN_NAME.fullmatch(name)
        # On some file systems only the same host sees a lock.
        if match is None or match["host"] != os.uname().nodename:
            continue
        remove_if_unlocked(os.path.join(parent, name))
    with suppress(OSError):  # not empty
        os.rmdir(parent)


def remove_if_unlocked(path: str) -> bool | None:
    """Remove a folder that nobody has locked.

    Returns
    -------
    bool or None
        Whether it was removed; ``None`` if there is none that can be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, another user's, or not made by bigpipe
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:  # in use, or there are no locks here
        return False
    finally:
        os.close(fd)
    return True


def can_be_replaced(path: str) -> bool:
    """Return whether a name is free, or is a file or folder, directly or through a link."""
    status = status_of(path)
    return status is None or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


def nearest_folder(folder: str) -> tuple[str, os.stat_result | None]:
    """Return the folder, or the nearest existing one above; no status if none can be used."""
    status = status_of(folder or os.curdir)
    while status is None and folder:
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
        status = status_of(folder or os.curdir)
    return folder, status if status is not None and stat.S_ISDIR(status.st_mode) else None
