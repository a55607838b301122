"""The hooks that a subclass fills in: their order for one file, and what each does by itself.

Owns what happens to a file between its name and its ``(outname, meta)``. Knows nothing of
processes or of other files: those are `bigpipe.pipeline` and `bigpipe.run`. How an output
comes to its place is `bigpipe.outputs`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from bigpipe import context
from bigpipe.claims import Claimant
from bigpipe.context import FileContext
from bigpipe.options import CONTROL_OPTIONS, Options, assure_list
from bigpipe.outname import outname_creator
from bigpipe.outputs import StagedOutput, Stager, explain
from bigpipe.steps import bmp_cleanup

__all__ = ["RESERVED", "Hooks"]

RESERVED = ("in_name", "data", "meta", "bmp_meta")
"""Arguments that the hooks are called with by name: keywords must not come twice."""

_CONTROL = frozenset(CONTROL_OPTIONS) - {"outname"}


class Hooks:
    """What is done to one file; the base of `bigpipe.BigMultiPipe`."""

    atomic: bool = True
    """Outputs appear whole: `file_write` is given a path in a staging folder. Set to
    ``False`` in a subclass that must write in place."""

    _bmp_options = Options()
    _bmp_outname: Callable[..., str] = staticmethod(outname_creator)
    kwargs: dict[str, Any]

    @property
    def pre_process_list(self) -> list[Any]:
        """Functions run before `data_process`; setting ``None`` empties the list.

        Each is called as ``function(data, **kwargs)`` in the worker and returns data;
        ``None``, which rejects the file; or a dict with the key ``'bmp_data'`` (the data)
        and perhaps ``'bmp_kwargs'`` (keywords for the rest of this file's way).
        """
        return self._pre_process_list

    @pre_process_list.setter
    def pre_process_list(self, value: Any) -> None:
        self._pre_process_list = assure_list(value)

    @property
    def post_process_list(self) -> list[Any]:
        """Functions run after `data_process`; setting ``None`` empties the list.

        Each is called as ``function(data, bmp_meta=meta, **kwargs)`` in the worker, writes
        what it wants to keep into ``bmp_meta`` and returns data; ``None`` stops the file
        there, without output.
        """
        return self._post_process_list

    @post_process_list.setter
    def post_process_list(self, value: Any) -> None:
        self._post_process_list = assure_list(value)

    @property
    def _bmp_functions(self) -> tuple[Any, ...]:
        """Functions that hooks call, whose keywords are known and whose code counts."""
        return ()

    def kwargs_merge(self, **kwargs: Any) -> dict[str, Any]:
        """Return the object's keywords updated with those given."""
        return {**self.kwargs, **kwargs}

    def _bmp_control(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return all keywords of a hook, those that the object was constructed with too."""
        if kwargs.keys() >= _CONTROL and kwargs.keys() >= self.kwargs.keys():
            return kwargs  # a run has put in everything
        merged = self.kwargs_merge(**kwargs)
        if merged.keys() >= _CONTROL:
            return merged  # a run has put in everything
        own = {name: getattr(self, name, None) for name in CONTROL_OPTIONS if name != "outname"}
        own["outname"] = self._bmp_options.outname
        own = {name: value for name, value in own.items() if name == "outdir" or value is not None}
        return {**own, **merged}

    def worker_init(self, **kwargs: Any) -> None:
        """Prepare a worker: called once in each, before its first file.

        In the worker's process, or in the caller's if files are processed there; in each
        thread for ``executor='threads'``. To open a catalogue or load a model into
        ``self``. If it raises, no file can be processed and all fail with this error.
        """

    def worker_exit(self, **kwargs: Any) -> None:
        """End a worker: called once in each that was prepared, after its last file.

        Also after an error or Ctrl-C, not after a worker was killed. If it raises, a
        warning says so.
        """

    def projected_size(self, in_name: Any, **kwargs: Any) -> Any:
        """Tell how much memory a file will need, if that can be known before it is read.

        Called in the caller's process, once for each file, before it is handed out; so it
        should be quick: look at a header, not at data.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords of the run.

        Returns
        -------
        number, str or None
            Bytes that a worker needs at most while it has the file, itself included, as for
            the option ``process_size``. Here ``None``: learned from the files before.
        """
        return None

    def file_process(self, in_name: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Take one file through all hooks.

        Called in the worker, once for each file. To be overridden where something else
        reads, processes and writes a file by itself.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file.

        Returns
        -------
        tuple
            ``(outname, meta)``; ``(None, {})`` if the file was rejected.
        """
        file = context.current()
        if file is not None and file.pipe is self:
            if in_name is file.in_name:
                return self._bmp_file_process(file, in_name, kwargs)
            with file.renamed(in_name):  # by the file_process of a subclass
                return self._bmp_file_process(file, in_name, kwargs)
        # Called directly, outside a run.
        with closing(Stager()) as stager:
            file = FileContext(in_name, pipe=self, stager=stager)
            with context.enter(file):
                return self._bmp_file_process(file, in_name, self._bmp_control(kwargs))

    def _bmp_file_process(
        self, file: FileContext, in_name: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        file.begin("file_read")
        data = self.file_read(in_name, **kwargs)
        if data is None:
            file.reject()
            return (None, {})
        file.begin("pre_process")
        data, added = self.pre_process(data, **kwargs)
        if data is None:
            file.reject()
            return (None, {})
        kwargs.update(added or {})
        for name in RESERVED:
            kwargs.pop(name, None)
        in_name = file.remaining_names()
        file.begin("data_process_meta_create")
        data, meta = self.data_process_meta_create(data, in_name=in_name, **kwargs)
        if data is None:
            file.reject()
            return (None, meta)
        in_name = file.remaining_names()
        file.begin("outname_create")
        outname = self.outname_create(in_name, data=data, meta=meta, **kwargs)
        file.begin("file_write")
        kwargs.pop("outname", None)
        outname = self._bmp_write(file, data, outname, meta, in_name, kwargs)
        if outname is None:
            file.reject()
        return (outname, meta)

    def _bmp_write(
        self, file: FileContext, data: Any, outname: Any, meta: Any, in_name: Any, kwargs: Any
    ) -> Any:
        """Call `file_write` so that what it writes appears whole, or not at all."""
        if not isinstance(outname, (str, os.PathLike)):
            return self.file_write(data, outname, meta=meta, in_name=in_name, **kwargs)
        final = os.fspath(outname)
        if _creates_outdir(meta, kwargs.get("create_outdir")):
            _make_folder_of(final)
        claimant = file.claimant or Claimant()
        staged = file.stager.open(final, [in_name]) if self.atomic and file.stager else None
        if staged is None or staged.is_direct:
            existed = os.path.lexists(final)
            claimant.ask(final, existed)
            claimant.confirm()
            returned = self.file_write(data, outname, meta=meta, in_name=in_name, **kwargs)
            exists = os.path.lexists(final)
            file.has_written |= exists
            file.outputs.append(final)
            if returned is None and exists and not existed:
                file.unnamed = final
            return returned
        claimant.ask(final, staged.exists)
        try:
            path = Path(staged.path) if isinstance(outname, Path) else staged.path
            returned = self.file_write(data, path, meta=meta, in_name=in_name, **kwargs)
            claimant.confirm()
        except BaseException as error:
            had_folder = os.path.lexists(os.path.dirname(staged.path))
            staged.discard()
            explain(error, staged)
            if isinstance(error, FileNotFoundError) and not had_folder:
                raise _missing_folder(final) from error
            raise
        committed = staged.commit(returned)
        file.has_written |= bool(staged.placed)
        file.outputs += staged.placed
        if committed is None and staged.placed and os.path.lexists(final):
            file.unnamed = final
        _name_finally(meta, staged)
        return Path(committed) if isinstance(returned, Path) and committed else committed

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read a file. To be overridden.

        Called in the worker, once for each file, and by this method itself for each
        member of a group.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file.

        Returns
        -------
        object
            The data; here, the file's bytes; for a group, the list of what its members
            read as. ``None`` rejects the file.
        """
        if isinstance(in_name, (str, os.PathLike)):
            with open(in_name, "rb") as file:
                return file.read()
        if not isinstance(in_name, Iterable) or isinstance(in_name, bytes):
            raise TypeError(f"{in_name!r} is neither a name (str or path) nor a list of names")
        return [self.file_read(name, **kwargs) for name in in_name]

    def pre_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the functions of `pre_process_list`, in order.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `file_read` returned.
        **kwargs
            Keywords for this file; ``pre_process_list`` (function or list of functions) is
            run after that of the object.

        Returns
        -------
        tuple
            ``(data, kwargs)``: the data, ``None`` if a function rejected it, and the
            keywords with those that functions have added.
        """
        kwargs = self._bmp_control(kwargs)
        file = context.current()
        given = assure_list(kwargs.pop("pre_process_list", None))
        for function in [*self.pre_process_list, *given]:
            if file is not None:
                file.begin("pre_process", function)
            result = function(data, **kwargs)
            if isinstance(result, dict) and "bmp_data" in result:
                kwargs.update(result.get("bmp_kwargs") or {})
                result = result["bmp_data"]
            if result is None:
                return (None, {})
            data = result
        return (data, kwargs)

    def data_process_meta_create(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Process the data and make the metadata: `data_process`, then `post_process`.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `pre_process` returned.
        **kwargs
            Keywords for this file, ``in_name`` among them.

        Returns
        -------
        tuple
            ``(data, meta)``; data ``None`` ends the file without output.
        """
        kwargs = self._bmp_control(kwargs)
        file = context.current()
        if file is not None:
            file.begin("data_process")
        data = self.data_process(data, **kwargs)
        if data is None:
            return (None, {})
        if file is not None:
            file.begin("post_process")
        return self.post_process(data, **kwargs)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        """Process the data. To be overridden.

        Called in the worker, once for each file. Opens no files.

        Parameters
        ----------
        data : object
            What `pre_process` returned.
        **kwargs
            Keywords for this file, ``in_name`` among them.

        Returns
        -------
        object
            The processed data; here, the same. ``None`` rejects the file.
        """
        return data

    def post_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the functions of `post_process_list`, in order, then `bmp_cleanup`.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `data_process` returned.
        **kwargs
            Keywords for this file, ``in_name`` among them; ``post_process_list`` (function
            or list of functions) is run after that of the object, and ``no_bmp_cleanup``
            keeps what functions have marked for removal.

        Returns
        -------
        tuple
            ``(data, meta)``: the data, ``None`` if a function stopped the file, and the
            dict that the functions have filled.
        """
        kwargs = self._bmp_control(kwargs)
        kwargs.pop("bmp_meta", None)
        given = assure_list(kwargs.pop("post_process_list", None))
        keep_all = kwargs.pop("no_bmp_cleanup", False)
        file = context.current()
        meta: dict[str, Any] = {}
        for function in [*self.post_process_list, *given]:
            if file is not None:
                file.begin("post_process", function)
                if "in_name" in kwargs:
                    kwargs["in_name"] = file.remaining_names(kwargs["in_name"])
            data = function(data, bmp_meta=meta, **kwargs)
            if data is None:
                break
        if not keep_all:
            bmp_cleanup(data, bmp_meta=meta)
        return (data, meta)

    def outname_create(self, in_name: Any, **kwargs: Any) -> Any:
        """Make the name of the output, by `outname_creator`.

        Called in the worker, once for each file that is to be written.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file, and ``data`` and ``meta``.

        Returns
        -------
        str
            The name, path included.

        Raises
        ------
        OutnameError
            If no name can be made.
        """
        return self._bmp_outname(in_name, **self._bmp_control(kwargs))

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the output. To be overridden; here, only its folder is made if asked for.

        Called in the worker, once for each file that is to be written.

        Parameters
        ----------
        data : object
            The processed data.
        outname : str
            Where to write: the final base name, in a staging folder from which all that
            is left there is moved into place at once when this hook returns.
        **kwargs
            Keywords for this file, ``in_name`` and ``meta`` among them. The folder is made
            if ``meta`` or they have a true ``create_outdir``.

        Returns
        -------
        str or None
            The name written.
        """
        own = self._bmp_control({}).get("create_outdir")
        if _creates_outdir(kwargs.get("meta"), kwargs.get("create_outdir", own)):
            _make_folder_of(os.fspath(outname))
        return outname


def _creates_outdir(meta: Any, create_outdir: Any) -> bool:
    from_meta = meta.get("create_outdir") if isinstance(meta, dict) else None
    return bool(create_outdir if from_meta is None else from_meta)


def _name_finally(meta: Any, staged: StagedOutput) -> None:
    """Give names that the hook has put into the metadata their final form."""
    if isinstance(meta, dict):
        for key, value in meta.items():
            if isinstance(value, (str, Path)) and os.path.dirname(staged.path) in str(value):
                meta[key] = type(value)(staged.final_name(value) or "")


def _missing_folder(outname: str) -> FileNotFoundError:
    what = "the folder of the output does not exist: make it, or give create_outdir=True"
    return FileNotFoundError(errno.ENOENT, what, os.path.dirname(outname))


def _make_folder_of(outname: str) -> None:
    folder = os.path.dirname(outname)
    if folder:
        os.makedirs(folder, exist_ok=True)
