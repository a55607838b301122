"""Outputs that appear whole: hooks write in a staging folder, from which files are moved.

Owns how an output gets to its final name. `bigpipe.staging` owns the folders, `bigpipe.moving`
single moves; `bigpipe.claims.register` decides who may write a name::

    night/                                      the folder of the outputs
        a_bmp.fits                              <---+  os.replace, when file_write returned
        .bigpipe-staging/                           |
            <host>-<pid>-<random>/                  |  one for each stager, locked (flock)
                a_bmp.fits                      ----+  what file_write was told to write

Staging is in the folder of the output, as only a move within a file system is atomic.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from bigpipe import moving
from bigpipe.environment import current_folder
from bigpipe.errors import CollisionError, OutnameError
from bigpipe.staging import (
    STAGING_NAME,
    StagingFolder,
    can_be_replaced,
    nearest_folder,
    remove_staging,
)

__all__ = ["StagedOutput", "Stager"]

MAX_IDLE = 16  # staging folders that a stager keeps; arbitrary, each costs a file descriptor
MAX_NAMED = 100  # files in a new folder that are named as side files; arbitrary
_NO_NAMES = ("", os.curdir, os.pardir)
_NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)


class Stager:
    """Give each output a staging folder, and reuse and remove these folders.

    Each worker process or thread has its own stager; threads must not share one.

    Parameters
    ----------
    announce : callable, optional
        Called with the path of each staging folder before it is made, so that another process
        can remove it if this one is killed.
    """

    def __init__(self, announce: Callable[[str], None] | None = None) -> None:
        self._announce = announce
        self._pid = os.getpid()
        self.home = current_folder()  # relative names start here, wherever hooks go
        # The device and inode of an output folder, whatever it is called at the moment.
        self._idle: dict[tuple[int, int], StagingFolder] = {}
        self._all: set[StagingFolder] = set()
        self._being_made: list[str] = []
        self._last: StagingFolder | None = None

    def open(self, outname: str | os.PathLike[str], inputs: Iterable[Any] = ()) -> StagedOutput:
        """Prepare the place where a hook writes an output.

        Parameters
        ----------
        outname : str or os.PathLike
            The final name, relative to the current folder at the time of the call.
        inputs : iterable, optional
            Names, or nested lists of names, that must not be overwritten.

        Returns
        -------
        StagedOutput
            To be committed or discarded.

        Raises
        ------
        CollisionError
            If the final name is one of the inputs.
        OutnameError
            If the name is that of the staging folder.
        OSError
            If the staging folder, or the copy of an earlier run's output, cannot be made.
        """
        name = os.fspath(outname)
        trimmed = name.rstrip(os.sep)
        folder, _, base = trimmed.rpartition(os.sep)
        if base == STAGING_NAME:
            raise OutnameError(f"{name!r} is the name of bigpipe's own folder; give another name")
        exists = moving.is_there(trimmed)
        inputs = tuple(inputs)
        if exists and moving.overwrites_input(trimmed, inputs, self.home):
            raise _collision(name)
        if base in _NO_NAMES or (exists and not can_be_replaced(trimmed)):
            return StagedOutput(name, exists)
        anchor, below, staging = folder, base, self._take_again(folder)
        if staging is None:
            anchor, status = nearest_folder(os.path.dirname(trimmed))
            below = trimmed[len(anchor) :].lstrip(os.sep)
            if status is None or os.pardir in below.split(os.sep):
                return StagedOutput(name, exists)
            try:
                staging = self.take(anchor, status)
            except OSError as error:
                if not exists and error.errno in _NO_WRITING:
                    return StagedOutput(name, False)  # the hook cannot write either, and says why
                raise moving.not_staged(error, name) from error
        staged = StagedOutput(name, exists, self, staging, anchor, below, inputs)
        if exists:
            staged.copy_existing()
        return staged

    def anchored(self, name: str) -> str:
        """Return a name that leads to the same file as when this stager was made.

        A relative name becomes absolute if a hook has changed the current folder.
        """
        if name.startswith(os.sep) or self.home in (None, current_folder()):
            return name
        return os.path.join(self.home or "", name)

    def is_here(self) -> bool:
        """Whether this is the stager's process, not a child forked by a hook that is unwinding."""
        return self._pid == os.getpid()

    def _take_again(self, folder: str) -> StagingFolder | None:
        """Return the staging folder used last, if ``folder`` is the real path of its parent."""
        staging = self._last
        if staging is None or staging.folder != folder or staging.key not in self._idle:
            return None
        # If the path leads elsewhere now, `take` finds out where.
        return self._idle.pop(staging.key) if staging.is_in_place() else None

    def take(self, folder: str, status: os.stat_result) -> StagingFolder:
        """Return an empty staging folder in a folder that has this status."""
        staging = self._idle.pop((status.st_dev, status.st_ino), None)
        if staging is not None:
            if staging.is_in_place():
                return staging
            self._all.discard(staging)
            staging.remove()
        staging = StagingFolder(os.path.realpath(folder or os.curdir), status, self._note)
        self._all.add(staging)
        self._being_made.clear()
        return staging

    def _note(self, path: str) -> None:
        self._being_made.append(path)
        if self._announce is not None:
            self._announce(path)

    def give_back(self, staging: StagingFolder) -> None:
        """Take back a staging folder, empty, for the next output of its folder."""
        if staging.key in self._idle:  # outputs that were open at the same time
            self._drop(staging)
        else:
            self._idle[staging.key] = self._last = staging
            if len(self._idle) > MAX_IDLE:
                self._drop(self._idle.pop(next(iter(self._idle))))

    def close(self) -> None:
        """Remove all staging folders of this stager. It may be used again."""
        self._idle.clear()
        for staging in list(self._all):
            self._drop(staging)
        while self._being_made:  # making it was interrupted by Ctrl-C
            remove_staging(self._being_made.pop())

    def _drop(self, staging: StagingFolder) -> None:
        self._all.discard(staging)
        staging.remove()


class StagedOutput:
    """One output on its way to its final name. Made by `Stager.open`.

    Parameters
    ----------
    outname : str
        The final name, as it was given.
    exists : bool
        Whether there was something under that name.
    stager : Stager, optional
        The stager that gave ``staging``. Without both, the output is written directly, as for a
        device or a pipe.
    staging : StagingFolder, optional
        An empty staging folder.
    anchor : str
        The folder that it is in, as given: the output's, or the nearest existing one above.
    below : str
        The part of the final name after ``anchor``.
    inputs : tuple
        Names that must not be overwritten.

    Attributes
    ----------
    path : str
        Where to write. Absolute, unless `is_direct`.
    is_direct : bool
        Whether `path` is the final name itself.
    placed : list of str
        Absolute names that `commit` has put in place, or has tried to.
    side_files : dict
        Those of all files but the output itself and links, a hundred of each new folder at most;
        the values say whether there was something before.
    """

    _copy: moving.Copy | None = None
    _root = _main = _final = ""

    def __init__(
        self,
        outname: str,
        exists: bool,
        stager: Stager | None = None,
        staging: StagingFolder | None = None,
        anchor: str = "",
        below: str = "",
        inputs: tuple[Any, ...] = (),
    ) -> None:
        self.outname = self.path = outname
        self.exists = exists
        self.placed: list[str] = []
        self.side_files: dict[str, bool] = {}
        self._stager = stager
        self._staging = staging
        self._anchor = anchor
        self._inputs = inputs
        self.is_direct = staging is None
        if staging is not None:
            self._root = staging.path
            self.path = self._main = staging.inside + below
            if os.sep in below:
                below = os.path.normpath(below)
                self._main = staging.inside + below
            self._final = staging.place + below
            if outname.endswith(os.sep):
                self.path += os.sep

    def final_name(self, name: Any) -> str | None:
        """Return the final name for a name that a hook used.

        Parameters
        ----------
        name : str, bytes, os.PathLike or None
            `path`, or another name in the staging folder. Other names are returned unchanged.

        Returns
        -------
        str or None
            The name; relative if ``outname`` is.
        """
        if name is None:
            return None
        text = name if type(name) is str else os.fsdecode(name)
        if text in (self.path, self._main):
            return self.outname
        inside = None if self.is_direct else self._inside(text)
        if inside is None:
            return text
        return os.path.join(self._anchor, inside) if inside else self._anchor or os.curdir

    def commit(self, returned: Any) -> str | None:
        """Move everything that the hook left to its final place, side files first.

        Parameters
        ----------
        returned : str, bytes, os.PathLike or None
            The name that the hook returned.

        Returns
        -------
        str or None
            The final name of what it returned; ``None`` for ``None``.

        Raises
        ------
        CollisionError
            If a side file would overwrite an input. Nothing has been moved then.
        OSError
            If a file cannot be moved; a file that had its final name before is unchanged.
            `FileNotFoundError` if the folder was removed while the output was written there.
        TypeError
            If what the hook returned is not a name.
        """
        is_empty = False
        try:
            if not (returned is None or isinstance(returned, (str, bytes, os.PathLike))):
                raise TypeError(
                    f"file_write returned {type(returned).__name__} for {self.outname!r}; "
                    "it must return the name that it wrote, or None"
                )
            name = self.final_name(returned)
            if self._staging is not None:
                is_empty = self._put_only()
                if not is_empty:
                    self._put_all(returned)
        finally:
            self._release(is_empty)
        return name

    def discard(self) -> None:
        """Remove what the hook left. The final name is not touched."""
        if self._stager is not None and self._stager.is_here():
            self._release(is_empty=False)

    def copy_existing(self) -> None:
        """Copy the existing output to staging, for hooks that refuse, skip, append or update."""
        target = os.path.realpath(self._final)
        try:
            self._copy = moving.Copy(target, self._main)
        except OSError as error:
            if os.path.exists(target):  # else a link to nowhere, or removed just now
                self.discard()
                raise moving.not_staged(error, self.outname) from error
            moving.remove(self._main)

    def _release(self, is_empty: bool) -> None:
        if self._stager is not None and self._staging is not None:
            if is_empty or self._staging.empty():
                self._stager.give_back(self._staging)
            self._staging = None

    def _inside(self, text: str) -> str | None:
        """Return a path relative to the staging folder, ``None`` if it is not in there."""
        if STAGING_NAME not in text:
            return None
        if not text.startswith(self._root):
            folder, base = os.path.split(text)
            text = os.path.join(os.path.realpath(folder), base)
        relative = os.path.relpath(text, self._root)
        if relative.split(os.sep, 1)[0] == os.pardir:
            return None
        return "" if relative == os.curdir else relative

    def _put_only(self) -> bool:
        """Move the output if it is new and the only file; return whether nothing is left."""
        if self.exists:
            return False
        assert self._staging is not None
        left = self._staging.names()
        if not left and not self._staging.is_in_place():
            raise moving.lost(self.outname)
        if left != [self._main[len(self._root) + 1 :]]:
            return not left
        try:
            os.replace(self._main, self._final)
        except OSError:  # _put_all finds a way, or says what is wrong
            return False
        self.placed.append(self._final)
        return True

    def _put_all(self, returned: Any) -> None:
        """Move everything; the output last, so that whoever sees it sees its side files."""
        assert self._staging is not None
        if not self._staging.is_in_place():
            raise moving.lost(self.outname)
        self._protect_inputs(self._staging)
        mains = self._mains(returned)
        is_removed = self._copy is not None and self._main not in mains
        planned = [
            *moving.moves(self._root, self._staging.folder, mains),
            *((main, self._staging.place_of(main)) for main in mains),
        ]
        for source, destination in planned:
            if source == self._main and self._copy is not None and self._copy.is_untouched():
                continue
            if source != self._main:
                for place in islice(moving.places(source, destination), MAX_NAMED):
                    self.side_files[place] = os.path.lexists(place)
            try:
                self._move(source, destination, source in mains)
            except OSError as error:
                raise moving.not_moved(error, destination) from error
        # If the hook removed its copy of an existing output, remove that, unless it has changed.
        if is_removed and self._copy is not None and self._copy.is_current():
            os.rename(self._final, self._main)

    def _protect_inputs(self, staging: StagingFolder) -> None:
        home = None if self._stager is None else self._stager.home
        for folder, _, names in os.walk(self._root) if self._inputs else ():
            for name in names:
                place = staging.place_of(os.path.join(folder, name))
                if moving.overwrites_input(place, self._inputs, home):
                    raise _collision(place)

    def _mains(self, returned: Any) -> list[str]:
        """Return what is replaced as a whole: the output, and the name that the hook returned."""
        mains = [self._main]
        inside = self._inside(os.fsdecode(returned)) if returned is not None else None
        if inside:
            other = os.path.join(self._root, inside)
            if os.path.commonpath([other, self._main]) not in (other, self._main):
                mains.append(other)
        return [main for main in mains if os.path.lexists(main)]

    def _move(self, source: str, destination: str, wholly: bool) -> None:
        assert self._stager is not None
        self.placed.append(destination)
        moving.make_folders_of(destination, source)
        if os.path.islink(source):
            self._point_to_final(source)
        elif os.path.islink(destination):  # written through, as it would have been
            destination = os.path.realpath(destination)
        try:
            moving.put(source, destination, wholly)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._move_across(source, destination, wholly)
            elif os.path.isdir(source) and os.path.isdir(destination) and not wholly:
                # Another worker has made the folder in the meantime.
                for inner, its_place in list(moving.moves(source, destination)):
                    self._move(inner, its_place, False)
            else:
                raise

    def _move_across(self, source: str, destination: str, wholly: bool) -> None:
        """Move to another file system: first to a staging folder there."""
        assert self._stager is not None
        folder = os.path.dirname(destination)
        staging = self._stager.take(folder, os.stat(folder))
        try:
            near = os.path.join(staging.path, os.path.basename(destination))
            moving.copy(source, near)
            moving.put(near, destination, wholly)
        finally:
            if staging.empty():
                self._stager.give_back(staging)

    def _point_to_final(self, link: str) -> None:
        """Let a link to something in the staging folder follow it to its final place."""
        target = os.readlink(link)
        if self._staging is not None and target.startswith(self._root + os.sep):
            os.unlink(link)
            os.symlink(self._staging.place_of(target), link)


def _collision(name: str) -> CollisionError:
    return CollisionError(
        f"the output {name!r} would overwrite an input; "
        "give another outdir, outname_append or outname"
    )
