"""One file's passage through the hooks, in parts that can run separately.

Owns the order of the hooks, and moves outputs into place. The hooks are `bigpipe.hooks` and its
subclasses. A strategy of `bigpipe.executors` decides when each part runs, and beside which other
files::

    read        file_read                                     may run ahead
    prepare     pre_process
    process     data_process_meta_create, outname_create      may run with other files
    write       file_write, and the output put in place       may run behind
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigpipe.claims.register import Claimant
from bigpipe.context import FileContext
from bigpipe.errors import CollisionError, FileTimeoutError
from bigpipe.moving import is_there
from bigpipe.outputs import StagedOutput
from bigpipe.plurals import plural
from bigpipe.staging import explain

__all__ = ["RESERVED", "Passage", "creates_outdir", "make_folder_of", "process_batch"]

RESERVED = ("in_name", "data", "meta", "bmp_meta")
"""Arguments that bigpipe passes to hooks by keyword; users' keywords cannot have these names."""


class Passage:
    """The passage of one file.

    Parameters
    ----------
    pipe : Hooks
        The object whose hooks are called.
    file : FileContext
        Record of the file; must be the current one while a part runs.
    in_name : object
        The input.
    kwargs : dict
        All keywords for this file.

    Attributes
    ----------
    data : object
        The data between two parts.
    outname, meta : object
        The result so far.

    Notes
    -----
    The parts are called in order, each in any thread. A part that returns ``False`` ends the
    passage: the file is rejected.
    """

    __slots__ = ("_file", "_pipe", "_target", "data", "in_name", "kwargs", "meta", "outname")

    def __init__(self, pipe: Any, file: FileContext, in_name: Any, kwargs: dict[str, Any]) -> None:
        self._pipe = pipe
        self._file = file
        self.in_name = in_name
        self.kwargs = kwargs
        self.data: Any = None
        self.meta: Any = {}
        self.outname: Any = None
        self._target: Any = None

    def read(self) -> bool:
        """Read the file."""
        file = self._file
        file.begin("file_read")
        self.data = self._pipe.file_read(self.in_name, **self.kwargs)
        return self.data is not None or self._reject()

    def prepare(self) -> bool:
        """Run `pre_process`."""
        file = self._file
        file.begin("pre_process")
        returned = self._pipe.pre_process(self.data, **self.kwargs)
        self.data, added = file.pair(returned, "(data, kwargs)")
        if self.data is None:
            return self._reject()
        kwargs = self.kwargs
        if added:
            kwargs.update(added)
        for name in RESERVED:
            if name in kwargs:
                del kwargs[name]
        return True

    def process(self) -> bool:
        """Process the data and determine its output name."""
        pipe, file, kwargs = self._pipe, self._file, self.kwargs
        in_name = file.remaining_names()
        file.begin("data_process_meta_create")
        data, self.data = self.data, None
        returned = pipe.data_process_meta_create(data, in_name=in_name, **kwargs)
        data, self.meta = file.pair(returned, "(data, meta)")
        if data is None:
            return self._reject()
        self.in_name = file.remaining_names()
        self._aim(data)
        self.data = data
        return True

    def _aim(self, data: Any) -> None:
        """Determine the output name of the data."""
        self._file.begin("outname_create")
        pipe, in_name = self._pipe, self.in_name
        name = pipe.outname_create(in_name, data=data, meta=self.meta, **self.kwargs)
        self._target = os.fsdecode(name) if isinstance(name, bytes) else name

    def write(self) -> bool:
        """Write the output, so that it appears whole or not at all."""
        self._file.begin("file_write")
        self.kwargs.pop("outname", None)
        data, self.data = self.data, None
        self.outname = self._write(data)
        return self.outname is not None or self._reject()

    def _reject(self) -> bool:
        self._file.reject()
        return False

    def _anchored(self, outname: Any) -> Any:
        """Return the output name, made absolute if a hook has changed the working directory."""
        stager = self._file.stager
        if stager is None or not isinstance(outname, (str, os.PathLike)):
            return outname
        name = os.fspath(outname)
        anchored = stager.anchored(name)
        if anchored == name:
            return outname
        return Path(anchored) if isinstance(outname, Path) else anchored

    def _write(self, data: Any) -> Any:
        pipe, file, meta = self._pipe, self._file, self.meta
        in_name, kwargs = self.in_name, self.kwargs
        outname = self._target = self._anchored(self._target)
        if not isinstance(outname, (str, os.PathLike)):
            return pipe.file_write(data, outname, meta=meta, in_name=in_name, **kwargs)
        final = os.fspath(outname)
        if creates_outdir(meta, kwargs.get("create_outdir")):
            make_folder_of(final)
        claimant = file.claimant or Claimant()
        staged = file.stager.open(final, [in_name]) if pipe.atomic and file.stager else None
        if staged is None or staged.is_direct:
            existed = is_there(final)
            claimant.ask(final, existed)
            claimant.confirm()
            returned = pipe.file_write(data, outname, meta=meta, in_name=in_name, **kwargs)
            exists = is_there(final)
            file.has_written |= exists
            file.outputs.append(final)
            if returned is None and exists and not existed:
                file.unnamed = final
            return returned
        claimant.ask(final, staged.exists)
        try:
            path = Path(staged.path) if isinstance(outname, Path) else staged.path
            returned = pipe.file_write(data, path, meta=meta, in_name=in_name, **kwargs)
            claimant.confirm()
        except BaseException as error:
            had_folder = os.path.lexists(os.path.dirname(staged.path))
            staged.discard()
            explain(error, staged.path, staged.outname)
            if isinstance(error, OSError) and staged.exists:
                _confirm_instead(claimant, error)
            if isinstance(error, FileNotFoundError) and not had_folder:
                raise _missing_folder(final) from error
            raise
        committed, placed = staged.commit(returned), staged.placed
        file.has_written |= bool(placed)
        file.outputs += placed
        if staged.side_files:
            file.side_files = {**file.side_files, **staged.side_files}
        if committed is None:
            if placed and os.path.lexists(final):
                file.unnamed = final
        elif committed == final and len(placed) == 1 and not placed[0].endswith(final):
            file.unnamed = _with_extension(final, placed[0])
        _name_finally(meta, staged)
        return Path(committed) if isinstance(returned, Path) and committed else committed


def process_batch(
    pipe: Any, batch: Sequence[tuple[Any, dict[str, Any]]], common: dict[str, Any] | None = None
) -> list[Any]:
    """Call `data_process_batch` with the data and keywords of several files.

    Parameters
    ----------
    pipe : Hooks
        Whose hook is called.
    batch : sequence of (object, dict)
        The data and the keywords of each file.
    common : dict, optional
        The keywords of the run; by default, those of the first, where all are of one file.

    Raises
    ------
    TypeError, ValueError
        If it does not return one result for each.
    """
    each = [kwargs for _, kwargs in batch]
    common = each[0] if common is None else common
    common = {name: value for name, value in common.items() if name != "in_name"}
    names = [kwargs.get("in_name") for kwargs in each]
    data_list = [data for data, _ in batch]
    returned = pipe.data_process_batch(data_list, in_name=names, kwargs_list=each, **common)
    is_list = returned is None or isinstance(returned, Iterable)
    if not is_list or isinstance(returned, (Mapping, str, bytes)):
        raise TypeError(
            f"data_process_batch returned {type(returned).__name__}, not a list of results; "
            "let it return one for each file, in the same order"
        )
    results = list(returned) if returned is not None else []
    if len(results) != len(batch):
        n = len(batch)
        raise ValueError(
            f"data_process_batch returned {len(results)} results for {n} {plural(n, 'file')}; let "
            "it return one for each, in the same order"
        )
    return results


def creates_outdir(meta: Any, create_outdir: Any) -> bool:
    """Return whether the folder of an output should be created."""
    from_meta = meta.get("create_outdir") if isinstance(meta, dict) else None
    return bool(create_outdir if from_meta is None else from_meta)


def make_folder_of(outname: str) -> None:
    """Create the folder of a name."""
    folder = os.path.dirname(outname)
    if folder:
        try:
            os.makedirs(folder, exist_ok=True)
        except FileExistsError as error:
            what = "a file has the name of the output's folder: give another outdir"
            raise NotADirectoryError(errno.ENOTDIR, what, error.filename) from error
        except FileNotFoundError as error:  # as in /proc
            what = "the folder of the output cannot be made: give another outdir"
            raise FileNotFoundError(errno.ENOENT, what, error.filename) from error


def _with_extension(outname: str, written: str) -> str | None:
    """Return what was written if its name is the output's with an extension, as of `numpy.save`."""
    folder, name = os.path.split(written)
    base = os.path.basename(outname)
    if not name.startswith(base + ".") or os.path.lexists(os.path.join(folder, base)):
        return None
    return os.path.join(os.path.dirname(outname), name)


def _name_finally(meta: Any, staged: StagedOutput) -> None:
    """Replace staging names in the metadata by final names."""
    if isinstance(meta, dict) and meta:
        folder = os.path.dirname(staged.path)
        for key, value in meta.items():
            if isinstance(value, (str, Path)) and folder in str(value):
                meta[key] = type(value)(staged.final_name(value) or "")


def _confirm_instead(claimant: Claimant, error: OSError) -> None:
    """Raise `CollisionError` instead if another input of this run has written the name."""
    if not isinstance(error, FileTimeoutError):
        try:
            claimant.confirm()
        except CollisionError as collision:
            raise collision from error


def _missing_folder(outname: str) -> FileNotFoundError:
    what = "the folder of the output does not exist: make it, or give create_outdir=True"
    return FileNotFoundError(errno.ENOENT, what, os.path.dirname(outname))
