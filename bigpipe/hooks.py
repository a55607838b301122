"""The hooks that a subclass fills in, and what each does by itself.

Owns what happens to a file between its name and its ``(outname, meta)``. Knows nothing of
processes or of other files: those are `bigpipe.pipeline` and `bigpipe.run`. The order in which
the hooks are called is `bigpipe.passage`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from bigpipe import context
from bigpipe.context import FileContext
from bigpipe.options import CONTROL_OPTIONS, FUNCTION_LISTS, Options, assure_list
from bigpipe.outname import outname_creator
from bigpipe.outputs import Stager
from bigpipe.passage import RESERVED, Passage, creates_outdir, make_folder_of, process_batch
from bigpipe.slices import takes_slices
from bigpipe.steps import bmp_cleanup

__all__ = ["RESERVED", "Hooks"]

_CONTROL = frozenset(CONTROL_OPTIONS) - {"outname"}


class Hooks:
    """What is done to one file; the base of `bigpipe.BigMultiPipe`."""

    atomic: bool = True
    """Outputs appear whole: `file_write` is given a path in a staging folder. Set to
    ``False`` in a subclass that must write in place."""

    _bmp_options = Options()
    _bmp_outname: Callable[..., str] = staticmethod(outname_creator)
    _bmp_passage_cls = Passage
    kwargs: dict[str, Any]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FUNCTION_LISTS:  # whose property a subclass may have hidden
            value = assure_list(value)
        super().__setattr__(name, value)

    def _bmp_set_functions(self, name: str, given: Any) -> None:
        """Set a list of functions: that of the class, if none is given."""
        of_class = next(vars(cls)[name] for cls in type(self).__mro__ if name in vars(cls))
        if isinstance(of_class, property):
            if given is None and of_class.fset is None:
                return  # of a subclass, which makes the list itself
        elif given is None:
            # Not asked of the object, where a function would be a method.
            is_static = isinstance(of_class, staticmethod)
            given = [*assure_list(of_class.__func__ if is_static else of_class)]
        setattr(self, name, given)

    @property
    def pre_process_list(self) -> list[Any]:
        """Functions run before `data_process`; setting ``None`` empties the list.

        A subclass may set it in its body, for objects that are made without it.
        Each is called as ``function(data, **kwargs)`` in the worker and returns data;
        ``None``, which rejects the file; or a dict with the key ``'bmp_data'`` (the data)
        and perhaps ``'bmp_kwargs'`` (keywords for the rest of this file's way).
        """
        return self._pre_process_list

    @pre_process_list.setter
    def pre_process_list(self, value: list[Any]) -> None:
        self._pre_process_list = value

    @property
    def post_process_list(self) -> list[Any]:
        """Functions run after `data_process`; setting ``None`` empties the list.

        A subclass may set it in its body, for objects that are made without it.
        Each is called as ``function(data, bmp_meta=meta, **kwargs)`` in the worker, writes
        what it wants to keep into ``bmp_meta`` and returns data; ``None`` stops the file
        there, without output.
        """
        return self._post_process_list

    @post_process_list.setter
    def post_process_list(self, value: list[Any]) -> None:
        self._post_process_list = value

    def _bmp_all_of(self, name: str, kwargs: dict[str, Any]) -> list[Any]:
        """Take a list of functions out of keywords; return it, after that of the object."""
        return [*getattr(self, name), *assure_list(kwargs.pop(name, None))]

    @property
    def _bmp_functions(self) -> tuple[Any, ...]:
        """Functions that hooks call, whose keywords are known and whose code counts."""
        return ()

    def kwargs_merge(self, **kwargs: Any) -> dict[str, Any]:
        """Return the object's keywords updated with those given."""
        return {**self.kwargs, **kwargs}

    def _bmp_control(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return all keywords of a hook, those that the object was constructed with too."""
        given = kwargs.keys()
        if given >= _CONTROL and (not self.kwargs or given >= self.kwargs.keys()):
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
        passage = self._bmp_passage_cls(self, file, in_name, kwargs)
        if passage.read() and passage.prepare() and passage.process():
            passage.write()
        return (passage.outname, passage.meta)

    def _bmp_passage(self, file: FileContext, in_name: Any, kwargs: dict[str, Any]) -> Any:
        """Return a file's way through the hooks in parts; ``None`` if a subclass has its own."""
        if type(self).file_process is not Hooks.file_process:
            return None
        return self._bmp_passage_cls(self, file, in_name, kwargs)

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

    def _bmp_read_slice(self, name: Any, start: Any, end: Any, kwargs: dict[str, Any]) -> Any:
        """Read a part of a file along its first axis, or all of it if that is all it can."""
        if takes_slices(self.file_read):
            return self.file_read(name, **{**kwargs, "start": start, "end": end})
        data = self.file_read(name, **kwargs)
        return None if data is None else data[start:end]

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
        for function in self._bmp_all_of("pre_process_list", kwargs):
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
        if file is not None and file.batched:
            (data,), file.batched = file.batched, ()  # it was processed beside others
            if isinstance(data, BaseException):
                raise data
        else:
            if file is not None:
                file.begin("data_process")
            data = self._bmp_data_process(data, kwargs)
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

    def data_process_batch(self, data_list: list[Any], **kwargs: Any) -> Any:
        """Process the data of several files at once. To be overridden where that is faster.

        Called in the worker, once for each batch, in place of `data_process` if the run has a
        ``batch_size``. Without one, it is called with a single data by a class that defines this
        and does not define `data_process` beside it.

        Parameters
        ----------
        data_list : list
            What `pre_process` returned for each file of the batch, at most ``batch_size``.
        **kwargs
            Keywords of the run, and ``in_name``, the list of the inputs, and ``kwargs_list``,
            the keywords of each file, with those that its ``pre_process_list`` has added.

        Returns
        -------
        iterable
            The processed data of each, in the same order: ``None`` rejects a file, an exception
            is its failure. If this hook raises, the files are done again one by one.
        """
        each = kwargs.pop("kwargs_list")
        return [self.data_process(data, **own) for data, own in zip(data_list, each, strict=True)]

    @property
    def _bmp_has_batches(self) -> bool:
        return type(self).data_process_batch is not Hooks.data_process_batch

    def _bmp_process_batch(
        self, batch: Sequence[tuple[Any, dict[str, Any]]], common: dict[str, Any]
    ) -> list[Any]:
        return process_batch(self, batch, common)

    def _bmp_data_process(self, data: Any, kwargs: dict[str, Any]) -> Any:
        """Call `data_process`; or `data_process_batch` if only that was defined last."""
        if not self._bmp_has_batches or not _comes_before(
            type(self), "data_process_batch", "data_process"
        ):
            return self.data_process(data, **kwargs)
        (data,) = process_batch(self, [(data, kwargs)])
        if isinstance(data, BaseException):
            raise data
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
        functions = self._bmp_all_of("post_process_list", kwargs)
        keep_all = kwargs.pop("no_bmp_cleanup", False)
        file = context.current()
        meta: dict[str, Any] = {}
        for function in functions:
            if file is not None:
                file.begin("post_process", function)
                if "in_name" in kwargs:
                    kwargs["in_name"] = file.remaining_names(kwargs["in_name"])
            data = function(data, bmp_meta=meta, **kwargs)
            if data is None:
                break
        if meta and not keep_all:
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
        if creates_outdir(kwargs.get("meta"), kwargs.get("create_outdir", own)):
            make_folder_of(os.fspath(outname))
        return outname


def _comes_before(cls: type, name: str, other: str) -> bool:
    """Return whether a method is defined by a class nearer than the one of another."""
    own = [vars(each) for each in cls.__mro__]
    places = [next(i for i, names in enumerate(own) if x in names) for x in (name, other)]
    return places[0] < places[1]
